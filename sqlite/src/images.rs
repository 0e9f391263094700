//! All that is replicated of a partition, as row images out of one snapshot, to be copied into other partitions.

use common::Value;
use common::entry::{Change, Effect, Effects};
use common::replacing::RowKey;

use crate::binding::{bind_values, values_of};
use crate::connection::ours;
use crate::error::Result;
use crate::layout::{Layout, Layouts};
use crate::query::Flow;
use crate::reader::Snapshot;
use crate::row_images::{layout_at, layouts_of};
use crate::{keys, system};

/// Rows that are handed on at a time …
const ROWS_MAX: usize = 500;
/// … unless they have this many bytes before.
const BYTES_MAX: usize = 256 << 10;

impl Snapshot<'_> {
    /// The statements that make everything that is replicated, in the order in which it was made.
    pub fn definition(&self) -> Result<Vec<String>> {
        let mut statement = self.connection().raw().prepare_cached(ours!(
            "SELECT tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"
        ))?;
        let mut rows = statement.query([])?;
        let mut statements = Vec::new();
        while let Some(row) = rows.next()? {
            let table: String = row.get(0)?;
            let made_by_system =
                system::is_local_table(&table) || table == keys::TABLE || table.starts_with("sqlite_");
            if !made_by_system {
                statements.push(row.get(1)?);
            }
        }
        Ok(statements)
    }

    /// Hands on every replicated row, as insertions, until somebody says [`Flow::Stop`].
    pub fn images(&self, mut hand_on: impl FnMut(Effects) -> Flow) -> Result<()> {
        let layouts = Layouts::read(self.connection().raw())?;
        for layout in &layouts.tables {
            if self.images_of_table(layout, &mut hand_on)? == Flow::Stop {
                return Ok(());
            }
        }
        Ok(())
    }

    fn images_of_table(&self, layout: &Layout, hand_on: &mut dyn FnMut(Effects) -> Flow) -> Result<Flow> {
        let mut statement = self.connection().raw().prepare(&layout.scan)?;
        let keys = layout.key_width();
        let mut rows = statement.query([])?;
        let (mut gathered, mut bytes) = (Vec::new(), 0);
        let mut pass = |gathered: &mut Vec<Effect>| {
            if gathered.is_empty() {
                return Flow::Continue;
            }
            hand_on(Effects { tables: vec![layout.name.clone()], rows: std::mem::take(gathered) })
        };
        while let Some(row) = rows.next()? {
            let key = values_of(row, 0..keys)?;
            let row = values_of(row, keys..keys + layout.stored.len())?;
            bytes += row.iter().map(size).sum::<usize>();
            gathered.push(Effect { table: 0, change: Change::Insert { key, row } });
            if gathered.len() >= ROWS_MAX || bytes >= BYTES_MAX {
                bytes = 0;
                if pass(&mut gathered) == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
        }
        Ok(pass(&mut gathered))
    }

    /// Some rows: those that are there as insertions, others as deletions, in the order of the keys.
    pub fn images_by_key(&self, wanted: &[RowKey]) -> Result<Effects> {
        let layouts = Layouts::read(self.connection().raw())?;
        let mut effects = Effects::default();
        for RowKey { table, key } in wanted {
            let index = effects.tables.iter().position(|name| name == table).unwrap_or_else(|| {
                effects.tables.push(table.clone());
                effects.tables.len() - 1
            });
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            let tables = layouts_of(&layouts, &effects.tables)?;
            let found = self.row_of(layout_at(&tables, index)?, key)?;
            let change = match found {
                Some(row) => Change::Insert { key: key.clone(), row },
                None => Change::Delete { key: key.clone(), old_row: None },
            };
            effects.rows.push(Effect { table: index, change });
        }
        Ok(effects)
    }

    fn row_of(&self, layout: &Layout, key: &[Value]) -> Result<Option<Vec<Value>>> {
        let mut statement = self.connection().raw().prepare_cached(&layout.select)?;
        bind_values(&mut statement, 1, key)?;
        let mut rows = statement.raw_query();
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(values_of(row, 0..layout.stored.len())?))
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Blob(blob) => blob.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => 8,
    }
}
