//! Taking rows over from another partition.

use std::sync::Arc;

use common::Value;
use common::entry::{Change, Effects};
use common::protocol::StatementResult;

use super::{Executor, ForeignKeysOff, TriggersOff, as_stale, stale};
use crate::binding::bind_values;
use crate::budget::{Budget, Watch};
use crate::connection::ours;
use crate::error::Result;
use crate::keys::{self, Keys};
use crate::layout::SEQUENCES;
use crate::row_images::{Landing, land, layout_at, layouts_of};

impl Executor {
    /// Makes rows what they are in another partition. Whatever has their keys goes first, so that the order in which
    /// unique values have moved from row to row does not matter.
    pub(super) fn adopt(&mut self, effects: &Effects, budget: &Budget<'_>) -> Result<StatementResult> {
        let layouts = Arc::clone(self.capture.layouts());
        let tables = layouts_of(&layouts, &effects.tables).map_err(as_stale)?;
        let raw = self.connection.raw();
        let _watch = Watch::begin(raw, budget);
        let _constraints =
            ForeignKeysOff::begin(raw, self.enforces_foreign_keys && layouts.has_foreign_keys)?;
        let _triggers = TriggersOff::begin(raw, layouts.has_triggers)?;
        for effect in &effects.rows {
            let layout = layout_at(&tables, effect.table).map_err(as_stale)?;
            let (key, stays) = match &effect.change {
                Change::Insert { key, .. } => (key, layout.name == keys::TABLE),
                Change::Update { old_key, .. } => (old_key, false),
                Change::Delete { key, .. } => (key, false),
                Change::Schema(_) => continue,
            };
            if !stays && layout.name != SEQUENCES {
                let mut statement = raw.prepare_cached(&layout.delete)?;
                bind_values(&mut statement, 1, key)?;
                statement.raw_execute()?;
            }
        }
        for effect in &effects.rows {
            let layout = layout_at(&tables, effect.table).map_err(as_stale)?;
            let (Change::Insert { row, .. } | Change::Update { row, .. }) = &effect.change else { continue };
            if layout.name == SEQUENCES {
                self.adopt_counter(row)?;
            } else if layout.name == keys::TABLE {
                Keys::at(raw, self.place.clock).adopt(row, self.place.index)?;
            } else if land(raw, layout, &effect.change, false)? != Landing::Done {
                return Err(stale(format!("a row of {} is of another schema", layout.name)));
            }
        }
        Ok(StatementResult { affected_rows: effects.rows.len() as u64, ..StatementResult::default() })
    }

    /// AUTOINCREMENT's counter of a table is the greatest that any of its partitions had.
    fn adopt_counter(&self, row: &[Value]) -> Result<()> {
        let raw = self.connection.raw();
        let sql = ours!("UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1");
        let mut statement = raw.prepare_cached(sql)?;
        bind_values(&mut statement, 1, row)?;
        if statement.raw_execute()? == 0 {
            let mut statement =
                raw.prepare_cached(ours!("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"))?;
            bind_values(&mut statement, 1, row)?;
            statement.raw_execute()?;
        }
        Ok(())
    }
}
