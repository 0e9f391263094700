//! What rows are entered as in global indexes. Values of columns are at hand; what an index computes (expressions,
//! generated columns), and whether its WHERE lets a row in, is asked of SQLite before, over the row alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use common::entry::Effects;
use common::schema::GlobalIndex;
use common::{Error, Result, Value};

use super::images::{self, Image, columns_of};
use super::proven::gathered;
use crate::Planner;
use crate::access::PartitionAccess;
use crate::table::Table;

/// A row's entry in a global index.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The indexed values.
    pub(super) values: Vec<Value>,
    /// The same folded by their collations.
    pub(super) folded: Vec<Value>,
    /// The row's rowid, NULL if it has none.
    pub(super) rowid: Value,
}

/// What was computed of some rows: by the hidden table of an index the values of their entries, in the order in which
/// they are asked for.
#[derive(Debug, Default)]
pub(super) struct Entries {
    computed: BTreeMap<String, VecDeque<Option<Vec<Value>>>>,
}

impl Entries {
    /// Of the rows before and after each change.
    pub(super) async fn of_changes(
        planner: &Planner,
        access: &impl PartitionAccess,
        effects: &Effects,
    ) -> Result<Entries> {
        let mut entries = Entries::default();
        for (number, name) in effects.tables.iter().enumerate() {
            let Some(table) = planner.table(name).filter(|table| table.has_computed_entries()) else {
                continue;
            };
            let mut rows = Vec::new();
            for effect in effects.rows.iter().filter(|effect| usize::from(effect.table) == number) {
                let (old, new) = images::sides(&effect.change)?;
                rows.extend(old.into_iter().chain(new));
            }
            entries.add(planner, access, &table, &rows).await?;
        }
        Ok(entries)
    }

    /// Of some rows of a table.
    pub(super) async fn of_rows(
        planner: &Planner,
        access: &impl PartitionAccess,
        table: &Arc<Table>,
        rows: &[Image],
    ) -> Result<Entries> {
        let mut entries = Entries::default();
        if table.has_computed_entries() {
            entries.add(planner, access, table, rows).await?;
        }
        Ok(entries)
    }

    async fn add(
        &mut self,
        planner: &Planner,
        access: &impl PartitionAccess,
        table: &Arc<Table>,
        rows: &[Image],
    ) -> Result<()> {
        let computed: Vec<(String, String)> = table
            .global_indexes
            .iter()
            .filter_map(|index| Some((index.table.clone(), index.computed.as_ref()?.query.clone())))
            .collect();
        let rows: Vec<Vec<Value>> = rows.iter().map(|row| whole(table, row)).collect();
        let (idle, bounds) = (Arc::clone(planner.idle_databases()), access.workspace());
        let table = Arc::clone(table);
        let found = access
            .compute(move || {
                let indexes = table.indexes.iter().filter_map(|index| index.sql.as_deref());
                let ddl = std::iter::once(table.sql.as_str()).chain(indexes);
                let mut database = idle.take(&table.name, &bounds, ddl)?;
                let stored: Vec<usize> = table.stored().collect();
                let queries: Vec<&str> = computed.iter().map(|(_, query)| query.as_str()).collect();
                let answers = database.query_each(&gathered(&table, &stored), &rows, &queries)?;
                idle.keep(&table.name, database);
                Ok::<_, Error>(
                    computed.into_iter().map(|(hidden, _)| hidden).zip(answers).collect::<Vec<_>>(),
                )
            })
            .await?;
        for (hidden, answers) in found {
            self.computed.entry(hidden).or_default().extend(answers);
        }
        Ok(())
    }

    /// The entry of the next row in an index; `None` for a row that it leaves out, and for one with a NULL among the
    /// values, which equals no other.
    pub(super) fn next(&mut self, table: &Table, index: &GlobalIndex, row: &Image) -> Result<Option<Entry>> {
        let values = match &index.computed {
            None => Some(columns_of(table, row, &table.index_columns(index))?),
            Some(_) => {
                let computed = self.computed.get_mut(&index.table).and_then(VecDeque::pop_front);
                computed.ok_or_else(|| Error::internal("a row's entry was not computed"))?
            }
        };
        let Some(values) = values.filter(|values| !values.iter().any(Value::is_null)) else {
            return Ok(None);
        };
        let folded = table.folded_entry(index, &values);
        let folded = folded.ok_or_else(|| Error::internal("an index has an unknown collation"))?;
        let rowid = row.0.first().filter(|_| !table.without_rowid).cloned().unwrap_or_default();
        Ok(Some(Entry { values, folded, rowid }))
    }
}

/// A row with its rowid in front, if it has one, and as its column.
fn whole(table: &Table, (key, values): &Image) -> Vec<Value> {
    let mut row: Vec<Value> = table.rowid_name.and(key.first()).cloned().into_iter().collect();
    let rowid = |column: usize| key.first().filter(|_| table.rowid_alias == Some(column));
    row.extend(table.stored().zip(values).map(|(column, value)| rowid(column).unwrap_or(value).clone()));
    row
}
