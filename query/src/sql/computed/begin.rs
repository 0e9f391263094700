//! Beginning: the rows that the statements look through are brought into a database that has the tables as the
//! client declared them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::schema::ObjectKind;
use common::{Error, Result, Value};
use sqlite::{TrialDatabase, Workspace};

use super::{Computation, Part, RefusedBefore};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::{Footprint, Source};
use crate::route::Route;
use crate::sql::lookups::{self, Known};
use crate::sql::read_first::First;
use crate::sql::{Limits, proven, sequences};
use crate::table::Table;

impl<'a, A: PartitionAccess> Computation<'a, A> {
    pub(super) async fn begin(
        planner: &'a Planner,
        access: &'a A,
        parts: Vec<Part>,
        limits: Limits,
    ) -> Result<Computation<'a, A>> {
        let mut footprint = Footprint::default();
        let mut sources: Vec<(Source, Vec<Value>)> = Vec::new();
        let mut steps = Vec::with_capacity(parts.len());
        let is_alone = parts.len() == 1;
        for part in parts {
            // Another statement may change what is read first.
            if is_alone {
                footprint.steps = part.footprint.steps;
            }
            footprint.checks_foreign_keys |= part.footprint.checks_foreign_keys;
            footprint.meets_rows |= part.footprint.meets_rows;
            footprint.reads_schema |= part.footprint.reads_schema;
            footprint.reads_sequences |= part.footprint.reads_sequences;
            footprint.writes.extend(part.footprint.writes);
            footprint.inserts.extend(part.footprint.inserts);
            footprint.tables.extend(part.footprint.tables);
            sources.extend(part.footprint.scans.into_iter().map(|source| (source, part.values.clone())));
            steps.push(part.step);
        }
        footprint.tables.sort_by(|a, b| a.name.cmp(&b.name));
        footprint.tables.dedup_by(|a, b| a.name == b.name);
        let relations = relations(&footprint, &sources);
        let mut known = Known::default();
        let scanned: BTreeSet<String> = sources.iter().map(|(source, _)| source.table.name.clone()).collect();
        let mut fragments = Vec::new();
        for (source, _) in &mut sources {
            let declared = || source.table.stored().collect();
            source.columns = relations.get(&source.table.name).cloned().unwrap_or_else(declared);
        }
        let first = First::read(planner, access, &footprint.steps, &mut sources).await?;
        for (number, (source, values)) in sources.iter().enumerate() {
            if source.filters.is_empty()
                && source.route == Route::default()
                && !known.whole.insert(source.table.name.clone())
            {
                continue;
            }
            if !first.rows.contains_key(&number) {
                fragments.extend(lookups::fragments_of(planner, source, values));
            }
        }
        for table in footprint.tables.iter().filter(|table| footprint.inserts.contains(&table.name)) {
            let is_counted = table.autoincrement || table.rowid_name.is_none();
            if !scanned.contains(&table.name) || known.whole.contains(&table.name) || is_counted {
                continue;
            }
            if table.is_split() {
                fragments.extend(lookups::fragments_of(planner, &Source::whole(table), &[]));
            } else {
                fragments.extend(lookups::last_rows(planner, table));
            }
        }
        let plan = Layout::of(planner, &footprint, relations);
        let (bounds, before) = (access.workspace(), access.done_before().unwrap_or_default());
        let workspace = access
            .compute(move || {
                let mut workspace = plan.workspace(&bounds)?;
                workspace.continue_from(before);
                first.add_to(&mut workspace)?;
                Ok::<_, Error>((workspace, first.proofs))
            })
            .await?;
        let (workspace, proofs) = workspace;
        known.proofs = proofs;
        let (workspace, proofs) = proven::load(access, workspace, fragments).await?;
        known.proofs.extend(proofs);
        let workspace = if footprint.reads_sequences {
            let (workspace, proofs) = sequences::load(planner, access, workspace).await?;
            known.proofs.extend(proofs);
            workspace
        } else {
            workspace
        };
        Ok(Computation {
            planner,
            access,
            limits,
            steps: steps.into(),
            footprint,
            workspace: Some(workspace),
            scanned,
            known,
            allocated: BTreeMap::new(),
            refused_before: RefusedBefore::default(),
        })
    }
}

/// Columns of the tables that are only read, so that they need neither constraints nor other columns.
fn relations(footprint: &Footprint, sources: &[(Source, Vec<Value>)]) -> BTreeMap<String, Vec<usize>> {
    let mut relations: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (source, _) in sources {
        // Where the schema is read, tables are as the client declared them.
        if !footprint.reads_schema
            && !footprint.checks_foreign_keys
            && !footprint.writes.contains(&source.table.name)
        {
            relations.entry(source.table.name.clone()).or_default().extend(&source.columns);
        }
    }
    for columns in relations.values_mut() {
        columns.sort_unstable();
        columns.dedup();
    }
    relations
}

/// What a workspace is made of.
struct Layout {
    relations: Vec<(Arc<Table>, Vec<usize>)>,
    /// Tables as declared, their indexes, views and triggers.
    statements: Vec<String>,
}

impl Layout {
    fn of(planner: &Planner, footprint: &Footprint, mut relations: BTreeMap<String, Vec<usize>>) -> Layout {
        if footprint.reads_schema {
            let objects = planner.database().schema.objects.iter();
            return Layout {
                relations: Vec::new(),
                statements: objects.map(|object| object.sql.clone()).collect(),
            };
        }
        let (mut statements, mut only_read) = (Vec::new(), Vec::new());
        for table in &footprint.tables {
            if let Some(columns) = relations.remove(&table.name) {
                only_read.push((Arc::clone(table), columns));
                continue;
            }
            statements.push(table.sql.clone());
            statements.extend(table.indexes.iter().filter_map(|index| index.sql.clone()));
        }
        let views = planner.objects(ObjectKind::View);
        let is_here =
            |name: &str| footprint.writes.contains(name) || views.iter().any(|view| view.name == name);
        statements.extend(views.iter().map(|view| view.sql.clone()));
        let triggers = planner.objects(ObjectKind::Trigger);
        statements.extend(
            triggers.iter().filter(|trigger| is_here(&trigger.table)).map(|trigger| trigger.sql.clone()),
        );
        Layout { relations: only_read, statements }
    }

    fn workspace(&self, limits: &Workspace) -> Result<TrialDatabase> {
        let mut workspace = TrialDatabase::new(limits)?;
        for (table, columns) in &self.relations {
            workspace.create_relation(&proven::gathered(table, columns))?;
        }
        self.statements.iter().try_for_each(|sql| workspace.create(sql))?;
        Ok(workspace)
    }
}
