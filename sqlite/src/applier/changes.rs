//! Landing changes one after the other, of rows and of the schema that these are of.

use std::sync::Arc;

use common::entry::{Change, Effect};
use common::protocol::SchemaStep;
use common::row::ValueRef;

use super::Applier;
use crate::error::{Failure, Result};
use crate::executor::land_surely;
use crate::layout::Layouts;
use crate::table_sums::{ChangeSums, TableSums};
use crate::touched_keys::rowid_of;

/// What changes have made of the tables' sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Landed {
    /// Rows have changed: so the sums change.
    Rows(TableSums),
    /// The schema has changed as well: these are all sums from now on.
    Schema {
        /// The schema's version.
        version: u64,
        /// The sums.
        sums: TableSums,
    },
}

/// Changes that are landed within an open transaction.
pub(super) struct Changes<'a> {
    applier: &'a Applier,
    /// The tables that effects name by number …
    names: &'a [String],
    /// … and where they are among the layouts, as far as they are there now.
    positions: Vec<Option<usize>>,
    layouts: Arc<Layouts>,
    /// What has changed since the schema last did.
    sums: ChangeSums,
    /// All sums before these changes; afterwards those of when the schema last changed.
    before: &'a TableSums,
    schema: Option<(u64, TableSums)>,
}

impl<'a> Changes<'a> {
    pub(super) fn begin(applier: &'a Applier, names: &'a [String], before: &'a TableSums) -> Changes<'a> {
        let layouts = applier.layouts();
        let positions = positions(&layouts, names);
        Changes { applier, names, positions, layouts, sums: ChangeSums::default(), before, schema: None }
    }

    pub(super) fn land(&mut self, effect: &Effect) -> Result<()> {
        match &effect.change {
            Change::Schema(step) => self.define(step),
            _ => self.land_row(effect),
        }
    }

    fn land_row(&mut self, effect: &Effect) -> Result<()> {
        let position = self.positions.get(usize::from(effect.table)).copied().flatten();
        let layout = position.map(|position| &self.layouts.tables[position]).ok_or_else(|| {
            let name = self.names.get(usize::from(effect.table)).map_or("?", String::as_str);
            Failure::diverged(format!("effects name the table {name}, which is not here"))
        })?;
        let (raw, watch) = (self.applier.connection.raw(), &self.applier.watch);
        let old = self.sums.old(raw, layout, &effect.change, &mut watch.borrow_mut())?;
        land_surely(raw, layout, effect)?;
        self.sums.count(layout, effect, old);
        if let Change::Insert { key, row } | Change::Update { key, row, .. } = &effect.change {
            let column = |at| row.get(at).map_or(ValueRef::Null, ValueRef::from);
            watch.borrow_mut().touch(layout, rowid_of(key), column);
        }
        Ok(())
    }

    /// The leader has done the same on the same rows, so a refusal means that these are others.
    fn define(&mut self, step: &SchemaStep) -> Result<()> {
        let sums = self.sums_now();
        let after =
            self.applier.define(step.version, &step.statements, &sums).map_err(|failure| match failure {
                Failure::Refused(error) => {
                    Failure::diverged(format!("the schema does not change as it did: {}", error.message))
                }
                storage @ Failure::Storage { .. } => storage,
            })?;
        self.schema = Some((step.version, after));
        self.layouts = self.applier.layouts();
        self.positions = positions(&self.layouts, self.names);
        Ok(())
    }

    /// All sums as they are now; what changes from here on is counted anew.
    fn sums_now(&mut self) -> TableSums {
        let mut sums = self.schema.take().map_or_else(|| self.before.clone(), |(_, sums)| sums);
        sums.add(&std::mem::take(&mut self.sums).of(self.names));
        sums
    }

    pub(super) fn end(mut self) -> Landed {
        match self.schema.as_ref().map(|(version, _)| *version) {
            Some(version) => Landed::Schema { version, sums: self.sums_now() },
            None => Landed::Rows(self.sums.of(self.names)),
        }
    }
}

fn positions(layouts: &Layouts, names: &[String]) -> Vec<Option<usize>> {
    names.iter().map(|name| layouts.position(name)).collect()
}
