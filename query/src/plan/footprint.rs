//! What a statement touches if it is computed at the coordinator.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::Value;
use common::catalog::Database;

use super::{PlanNode, Source, Step, describe};
use crate::route::KeyColumn;
use crate::shadow::Checked;
use crate::table::Table;

/// How a table is found by its name.
pub(crate) type Find<'a> = dyn Fn(&str) -> Option<Arc<Table>> + 'a;

/// What a statement itself needs of tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Narrowed {
    pub(crate) sources: Vec<Source>,
    /// What of it is read before the rest, for the values that the rest is compared with.
    pub(crate) steps: Vec<Step>,
}

impl Narrowed {
    /// One table, of which a part is needed.
    pub(crate) fn to(source: Source) -> Narrowed {
        Narrowed { sources: vec![source], steps: Vec::new() }
    }
}

/// The tables of a statement, and what of their rows must be known before it can be computed. Rows that a
/// constraint or a foreign key is about are looked up once it is known which they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Footprint {
    /// Tables whose rows are looked through.
    pub(crate) scans: Vec<Source>,
    /// What of these is read before the rest, for the values that the rest is compared with. It holds as long as
    /// nothing but this statement's own table changes.
    pub(crate) steps: Vec<Step>,
    /// All tables, those that foreign keys and triggers lead to included.
    pub(crate) tables: Vec<Arc<Table>>,
    /// Names of those that may change.
    pub(crate) writes: BTreeSet<String>,
    /// Names of those that rows may be inserted into.
    pub(crate) inserts: BTreeSet<String>,
    /// Whether rows that are there already decide what becomes of a row that violates a constraint (OR
    /// REPLACE, OR IGNORE, UPSERT); otherwise the statement fails, for which they need not be known.
    pub(crate) meets_rows: bool,
    /// Whether foreign keys are checked or act.
    pub(crate) checks_foreign_keys: bool,
    /// Whether the schema itself is read.
    pub(crate) reads_schema: bool,
    /// Whether AUTOINCREMENT's counters are read.
    pub(crate) reads_sequences: bool,
}

impl Footprint {
    /// Of a statement that changes rows. `narrowed` says of some tables what part of their rows the
    /// statement itself needs; what triggers look through is read as a whole.
    pub(crate) fn of_write(
        checked: &Checked,
        narrowed: Narrowed,
        meets_rows: bool,
        find: &Find<'_>,
    ) -> Footprint {
        let scanned_inside = &checked.consequences.scans_inside;
        let Narrowed { sources, mut steps } = narrowed;
        let count = sources.len();
        let mut scans: Vec<Source> =
            sources.into_iter().filter(|source| !scanned_inside.contains(&source.table.name)).collect();
        // What is read first must still be so when the rest is looked at.
        if scans.len() < count || checked.consequences.fires_triggers || checked.writes.len() > 1 {
            steps.clear();
        }
        // Tables are tried as they are declared: what a generated column holds is not fetched with a row.
        let is_stored = |table: &Table, column: KeyColumn| match column {
            KeyColumn::Rowid => true,
            KeyColumn::Position(position) => table.stored().any(|stored| stored == position),
        };
        for Step { from, shipments } in &mut steps {
            let from = &scans[*from].table;
            shipments.retain(|shipment| is_stored(from, shipment.from_column));
        }
        steps.retain(|step| !step.shipments.is_empty());
        for name in &checked.consequences.scans {
            let known = scans.iter().any(|source| source.table.name == *name);
            let used = |table: &Arc<Table>| match checked.tables.get(name) {
                Some(usage) if !checked.writes.contains(name) => usage.positions(table),
                _ => table.stored().collect(),
            };
            scans.extend(
                find(name)
                    .filter(|_| !known)
                    .map(|table| Source { columns: used(&table), ..Source::whole(&table) }),
            );
        }
        let names = checked.tables.keys().chain(&checked.mentions);
        let tables: Vec<Arc<Table>> = names.filter_map(|name| find(name)).collect();
        let written = |table: &&Arc<Table>| checked.writes.contains(&table.name);
        let resolves_conflicts = tables.iter().filter(written).any(|table| table.resolves_conflicts);
        Footprint {
            scans,
            steps,
            writes: checked.writes.clone(),
            inserts: tables
                .iter()
                .map(|table| table.name.clone())
                .filter(|name| checked.consequences.inserts.contains(name))
                .collect(),
            meets_rows: meets_rows || resolves_conflicts || checked.consequences.fires_triggers,
            checks_foreign_keys: checked.consequences.checks_foreign_keys,
            reads_schema: checked.reads_schema,
            reads_sequences: checked.reads_sequences,
            tables,
        }
    }

    /// Of what may read and change anything.
    pub(crate) fn of_everything<'t>(tables: impl Iterator<Item = &'t Arc<Table>> + Clone) -> Footprint {
        Footprint {
            scans: tables.clone().map(Source::whole).collect(),
            writes: tables.clone().map(|table| table.name.clone()).collect(),
            tables: tables.map(Arc::clone).collect(),
            meets_rows: true,
            checks_foreign_keys: true,
            ..Footprint::default()
        }
    }

    /// Of what reads the schema, and AUTOINCREMENT's counters, and no rows.
    pub(crate) fn of_schema(reads_sequences: bool) -> Footprint {
        Footprint { reads_schema: true, reads_sequences, ..Footprint::default() }
    }

    /// Of a statement that reads the schema together with these tables.
    pub(crate) fn of_read_with_schema(checked: &Checked, sources: &[Source]) -> Footprint {
        Footprint {
            reads_schema: true,
            reads_sequences: checked.reads_sequences,
            ..Footprint::of_read(sources)
        }
    }

    /// The same with all rows that its rows are in conflict with.
    pub(crate) fn meeting_rows(self) -> Footprint {
        Footprint { meets_rows: true, ..self }
    }

    /// Of a statement that reads what is gathered from `sources`.
    pub(crate) fn of_read(sources: &[Source]) -> Footprint {
        Footprint {
            scans: sources.to_vec(),
            tables: sources.iter().map(|source| Arc::clone(&source.table)).collect(),
            ..Footprint::default()
        }
    }

    /// The partitions of which it looks through rows.
    pub(crate) fn partitions(&self, database: &Database, params: &[Value]) -> BTreeSet<usize> {
        let mut found: BTreeSet<usize> =
            self.scans.iter().flat_map(|source| source.partitions(database, params)).collect();
        if self.reads_sequences {
            found.extend(0..database.buckets.len());
        }
        found
    }

    /// How many reads of one partition may be under way at once.
    pub(crate) fn reads_at_once(&self) -> usize {
        self.scans.iter().map(Source::reads_at_once).sum::<usize>() + usize::from(self.reads_sequences)
    }

    pub(crate) fn describe(&self, database: &Database, params: &[Value]) -> PlanNode {
        let mut node = describe::gather("COMPUTE", &self.scans, database, params)
            .over(describe::shipments(&self.steps, &self.scans));
        if self.meets_rows {
            node = node
                .over([PlanNode::new("LOOK UP", "rows that its rows are in conflict with, by their keys")]);
        }
        if self.checks_foreign_keys {
            node = node.over([PlanNode::new("LOOK UP", "parents and children of its rows, by their keys")]);
        }
        node
    }
}
