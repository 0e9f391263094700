//! Where the rows of a partition go when other buckets take its bucket's place.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::catalog::Database;
use common::schema::GlobalIndex;
use common::{Error, Result, Value};

use crate::table::{Key, Table, bucket_of, bucket_of_index_row};
use crate::{Planner, Rules};

/// Who is to have a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The bucket at a place in the map.
    Bucket(usize),
    /// Every bucket: rows of reference tables, and what the system remembers of requests.
    Everywhere,
}

/// Says where rows of one column group's partitions belong in a database whose map is as it is to become.
pub struct Relocation {
    planner: Planner,
    group: usize,
    /// Tables of global indexes, with the table that each is about.
    indexes: BTreeMap<String, (Arc<Table>, GlobalIndex)>,
}

impl Relocation {
    /// For rows of a column group.
    pub fn new(database: Arc<Database>, group: usize) -> Result<Relocation> {
        let planner = Planner::new(Arc::clone(&database), Rules::none())?;
        let mut indexes = BTreeMap::new();
        for spec in database.schema.tables.values() {
            let Some(table) = planner.table(&spec.name) else { continue };
            for index in &spec.global_indexes {
                indexes.insert(index.table.clone(), (Arc::clone(&table), index.clone()));
            }
        }
        Ok(Relocation { planner, group, indexes })
    }

    /// Who is to have a row, as a partition stores it: its key, and its stored columns.
    pub fn destination(&self, table: &str, key: &[Value], row: &[Value]) -> Result<Destination> {
        let database = self.planner.database();
        if let Some((base, index)) = self.indexes.get(table) {
            let folded = base
                .folded_entry(index, key)
                .ok_or_else(|| Error::internal("an index has an unknown collation"))?;
            return Ok(Destination::Bucket(bucket_of_index_row(database, &folded)));
        }
        let Some(table) = self.planner.table(table).filter(|table| !table.reference) else {
            // What is left beside the client's tables are keys of requests and counters.
            return Ok(Destination::Everywhere);
        };
        Ok(Destination::Bucket(bucket_of(database, &self.place(&table, key, row)?)))
    }

    /// What of a row decides between ranges of keys; `None` where its key does not say where it lies.
    pub fn key_of(&self, table: &str, key: &[Value], row: &[Value]) -> Result<Option<Value>> {
        let Some(table) = self.planner.table(table).filter(|table| !table.reference) else {
            return Ok(None);
        };
        Ok(self.place(&table, key, row)?.into_iter().next())
    }

    /// The values by which a row of a client's table finds its bucket.
    fn place(&self, table: &Table, key: &[Value], row: &[Value]) -> Result<Vec<Value>> {
        match &table.key {
            Key::Rowid => Ok(key.to_vec()),
            Key::Columns(columns) => columns
                .iter()
                .map(|column| fold(table, *column, self.value_of(table, *column, key, row)?))
                .collect(),
        }
    }

    fn value_of<'r>(
        &self,
        table: &Table,
        column: usize,
        key: &'r [Value],
        row: &'r [Value],
    ) -> Result<&'r Value> {
        let found = if table.rowid_alias == Some(column) {
            key.first()
        } else if table.is_split() {
            // The stamps of parts stand before the columns, the anchor's has those of all others.
            let stamps = if self.group == table.parts[0].group { table.parts.len() - 1 } else { 1 };
            let part = table.parts.iter().find(|part| part.group == self.group);
            let at = part.and_then(|part| part.stored(table).position(|other| other == column));
            at.and_then(|at| row.get(stamps + at))
        } else {
            table.stored().position(|other| other == column).and_then(|at| row.get(at))
        };
        found.ok_or_else(|| Error::internal("a stored row lacks a column of its key"))
    }
}

fn fold(table: &Table, column: usize, value: &Value) -> Result<Value> {
    let folded = table.folded(column, value.clone());
    folded.ok_or_else(|| Error::internal("a key column has an unknown collation"))
}
