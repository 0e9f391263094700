//! Writes that no partition can decide alone: conflicts with rows elsewhere, subqueries, rows that move, foreign
//! keys, triggers, statements of a batch that read what earlier ones wrote.
//!
//! The rows that they look through are brought into a [`TrialDatabase`], and the client's own texts run there. What
//! they change says which other rows matter: these are looked up, and the texts run again, until nothing is
//! missing. Then the changed rows go to their buckets, with proofs of all that was read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::entry::{Change, Effects};
use common::names::quote_identifier;
use common::protocol::{Params, Statement, StatementResult};
use common::schema::ObjectKind;
use common::{Error, ErrorCode, Result, Value};
use sqlite::{ForeignKeys, Trial, TrialDatabase, Workspace};

use super::gather::budget;
use super::lookups::{self, Finder, Known, Lookups};
use super::waiting::Waiting;
use super::write::{Combine, Pending};
use super::{Limits, images, proven};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::{Footprint, Source};
use crate::route::Route;
use crate::table::Table;

/// Rounds of looking up what is missing; a chain of rows that is longer is read as a whole.
const ROUNDS_MAX: usize = 24;

/// Rounds after which tables are read as a whole.
const ROUNDS_BY_KEY: usize = 12;

/// Rowids are generated from here on until it is known how many are needed.
const PROVISIONAL: i64 = 1 << 62;

/// A statement to be computed.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) statement: Statement,
    pub(super) footprint: Footprint,
    /// Its parameters by number.
    pub(super) values: Vec<Value>,
}

/// Computes statements in order, as one: their answers, and the work that they come to.
pub(super) async fn prepare(
    planner: &Planner,
    access: &impl PartitionAccess,
    parts: Vec<Part>,
    limits: Limits,
) -> Result<(Vec<StatementResult>, Pending)> {
    let mut computation = Computation::begin(planner, access, parts, limits).await?;
    let trial = match computation.settle().await {
        Ok(trial) => trial,
        Err(error) => {
            computation.release().await;
            return Err(error);
        }
    };
    match trial.outcome {
        Ok(results) => {
            let pending = computation.pending(trial.effects).await?;
            Ok((results, pending))
        }
        Err(failure) => {
            computation.release().await;
            Err(failure.into())
        }
    }
}

struct Computation<'a, A> {
    planner: &'a Planner,
    access: &'a A,
    limits: Limits,
    statements: Arc<[Statement]>,
    footprint: Footprint,
    /// Taken while work is done on another thread.
    workspace: Option<TrialDatabase>,
    /// Names of the tables that are looked through.
    scanned: BTreeSet<String>,
    known: Known,
    /// Rowids allocated by table: first and count.
    allocated: BTreeMap<String, (i64, u64)>,
}

impl<'a, A: PartitionAccess> Computation<'a, A> {
    async fn begin(
        planner: &'a Planner,
        access: &'a A,
        parts: Vec<Part>,
        limits: Limits,
    ) -> Result<Computation<'a, A>> {
        let mut footprint = Footprint::default();
        let mut sources: Vec<(Source, Vec<Value>)> = Vec::new();
        let mut statements = Vec::with_capacity(parts.len());
        for part in parts {
            footprint.checks_foreign_keys |= part.footprint.checks_foreign_keys;
            footprint.meets_rows |= part.footprint.meets_rows;
            footprint.writes.extend(part.footprint.writes);
            footprint.inserts.extend(part.footprint.inserts);
            footprint.tables.extend(part.footprint.tables);
            sources.extend(part.footprint.scans.into_iter().map(|source| (source, part.values.clone())));
            statements.push(part.statement);
        }
        footprint.tables.sort_by(|a, b| a.name.cmp(&b.name));
        footprint.tables.dedup_by(|a, b| a.name == b.name);
        let relations = relations(&footprint, &sources);
        let mut known = Known::default();
        let scanned: BTreeSet<String> = sources.iter().map(|(source, _)| source.table.name.clone()).collect();
        let mut fragments = Vec::new();
        for (mut source, values) in sources {
            let declared = || source.table.stored().collect();
            source.columns = relations.get(&source.table.name).cloned().unwrap_or_else(declared);
            if source.filters.is_empty()
                && source.route == Route::default()
                && !known.whole.insert(source.table.name.clone())
            {
                continue;
            }
            fragments.extend(lookups::fragments_of(planner, &source, &values));
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
        let bounds = access.workspace();
        let workspace = access.compute(move || plan.workspace(&bounds)).await?;
        let (workspace, proofs) = proven::load(access, workspace, fragments).await?;
        known.proofs = proofs;
        Ok(Computation {
            planner,
            access,
            limits,
            statements: statements.into(),
            footprint,
            workspace: Some(workspace),
            scanned,
            known,
            allocated: BTreeMap::new(),
        })
    }

    /// Tries the statements until they have met every row that matters.
    async fn settle(&mut self) -> Result<Trial> {
        let loosely =
            if self.footprint.checks_foreign_keys { ForeignKeys::Unchecked } else { ForeignKeys::Checked };
        for round in 0..ROUNDS_MAX {
            self.begin_rowids(|_| Some(PROVISIONAL)).await?;
            let trial = self.attempt(loosely).await?;
            let lookups = self.lookups(&trial.effects, round)?;
            if !lookups.is_empty() {
                self.fetch(lookups).await?;
                continue;
            }
            let needed = self.rowids_needed(&trial.effects)?;
            if needed.is_empty() && loosely == ForeignKeys::Checked {
                return Ok(trial);
            }
            self.allocate(&needed).await?;
            let allocated = self.allocated.clone();
            self.begin_rowids(|table| allocated.get(&table.name).map(|(first, _)| *first)).await?;
            let trial = self.attempt(ForeignKeys::Checked).await?;
            let lookups = self.lookups(&trial.effects, round)?;
            if lookups.is_empty() {
                return Ok(trial);
            }
            self.fetch(lookups).await?;
        }
        Err(Error::new(ErrorCode::SerializationFailure, "the rows that the statement needs kept changing")
            .with_hint("send it again"))
    }

    async fn attempt(&mut self, foreign_keys: ForeignKeys) -> Result<Trial> {
        let (statements, max_rows) = (Arc::clone(&self.statements), self.limits.max_rows);
        let waiting = Waiting::new(self.access.workspace(), self.access.deadline());
        let watch = waiting.watch();
        let trial = self
            .work(move |workspace| {
                let interrupted = || watch.is_over();
                Ok(workspace.attempt(&statements, foreign_keys, &budget(max_rows, &interrupted))?)
            })
            .await;
        waiting.answered();
        trial
    }

    /// Does work on the workspace where it does not hold up others.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut TrialDatabase) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut workspace = self.take_workspace()?;
        let (workspace, done) = self
            .access
            .compute(move || {
                let done = work(&mut workspace);
                (workspace, done)
            })
            .await;
        self.workspace = Some(workspace);
        done
    }

    fn take_workspace(&mut self) -> Result<TrialDatabase> {
        self.workspace.take().ok_or_else(|| Error::internal("a workspace was lost"))
    }

    /// What the changes make necessary and is not here yet.
    fn lookups(&mut self, effects: &Effects, round: usize) -> Result<Lookups> {
        let generated = self.allocated.values().map(|(first, _)| *first).min().unwrap_or(PROVISIONAL);
        let finder = Finder { planner: self.planner, footprint: &self.footprint, generated };
        let mut lookups = finder.lookups(effects, &mut self.known)?;
        if round >= ROUNDS_BY_KEY && !lookups.is_empty() {
            for table in &self.footprint.tables {
                lookups.add_whole(&table.name, &self.known);
            }
        }
        let workspace = self.workspace.as_ref().ok_or_else(|| Error::internal("a workspace was lost"))?;
        for effect in &effects.rows {
            let table = &effects.tables[usize::from(effect.table)];
            let (Change::Update { old_key, .. } | Change::Delete { key: old_key, .. }) = &effect.change
            else {
                continue;
            };
            if matches!(old_key.as_slice(), [Value::Integer(rowid)] if workspace.stand_in(table) == Some(*rowid))
            {
                lookups.add_whole(table, &self.known);
            }
        }
        Ok(lookups)
    }

    async fn fetch(&mut self, lookups: Lookups) -> Result<()> {
        let tables = self.counted_tables();
        self.work(move |workspace| {
            tables.iter().try_for_each(|table| Ok(workspace.end_rowids(table.definition())?))
        })
        .await?;
        let workspace = self.take_workspace()?;
        let fetched = lookups::fetch(self.planner, self.access, workspace, lookups, &mut self.known).await?;
        self.workspace = Some(fetched);
        Ok(())
    }

    /// Tables whose next rowid the rows in the workspace do not tell.
    fn counted_tables(&self) -> Vec<Arc<Table>> {
        let counted = |table: &&Arc<Table>| {
            table.rowid_name.is_some()
                && self.footprint.inserts.contains(&table.name)
                && (table.autoincrement
                    || !(self.known.whole.contains(&table.name) || self.scanned.contains(&table.name)))
        };
        self.footprint.tables.iter().filter(counted).cloned().collect()
    }

    async fn begin_rowids(&mut self, next: impl Fn(&Table) -> Option<i64>) -> Result<()> {
        let begins: Vec<(Arc<Table>, i64)> = self
            .counted_tables()
            .into_iter()
            .filter_map(|table| next(&table).map(|next| (table, next)))
            .collect();
        let unable = self
            .work(move |workspace| {
                let mut unable = Vec::new();
                for (table, next) in begins {
                    if !workspace.begin_rowids(table.definition(), next)? {
                        unable.push(table.name.clone());
                    }
                }
                Ok(unable)
            })
            .await?;
        if unable.is_empty() {
            return Ok(());
        }
        let mut lookups = Lookups::default();
        unable.iter().for_each(|table| lookups.add_whole(table, &self.known));
        self.fetch(lookups).await
    }

    /// How many rowids were generated provisionally, by table.
    fn rowids_needed(&self, effects: &Effects) -> Result<BTreeMap<String, u64>> {
        let counted: BTreeSet<String> =
            self.counted_tables().iter().map(|table| table.name.clone()).collect();
        let mut needed = BTreeMap::new();
        for effect in &effects.rows {
            let table = &effects.tables[usize::from(effect.table)];
            let Change::Insert { key, .. } = &effect.change else { continue };
            let [Value::Integer(rowid)] = key.as_slice() else { continue };
            if let Ok(count @ 1..) = u64::try_from(rowid.saturating_sub(PROVISIONAL).saturating_add(1))
                && counted.contains(table)
            {
                if count > u64::from(u32::MAX) {
                    return Err(Error::new(ErrorCode::SqlError, "database or disk is full").with_hint(
                        "the table's greatest rowid is the greatest integer; give rowids yourself",
                    ));
                }
                let most: &mut u64 = needed.entry(table.clone()).or_default();
                *most = count.max(*most);
            }
        }
        Ok(needed)
    }

    async fn allocate(&mut self, needed: &BTreeMap<String, u64>) -> Result<()> {
        for (table, count) in needed {
            if self.allocated.get(table).is_some_and(|(_, has)| has >= count) {
                continue;
            }
            if let Some((first, count)) = self.allocated.remove(table) {
                self.give_back(table, first, count).await;
            }
            let first = if self.counts_itself(table) {
                self.next_in_only_bucket(table).await?
            } else {
                self.access.allocate_rowids(table, *count).await?
            };
            self.allocated.insert(table.clone(), (first, *count));
        }
        Ok(())
    }

    /// What the only partition would generate.
    async fn next_in_only_bucket(&mut self, name: &str) -> Result<i64> {
        let table = self.planner.table(name).ok_or_else(|| Error::internal("a table is gone"))?;
        let rowid = table.rowid_name.unwrap_or("rowid");
        let mut sql = format!("SELECT max({rowid}) FROM {}", quote_identifier(name));
        let mut params = Params::None;
        if table.autoincrement {
            sql = format!(
                "SELECT max(n) FROM (SELECT seq AS n FROM sqlite_sequence WHERE name = ? UNION ALL {sql})"
            );
            params = Params::Positional(vec![table.name.as_str().into()]);
        }
        let (rows, proof) = proven::read(self.access, 0, Statement { sql, params }).await?;
        self.known.proofs.extend(proof);
        Ok(match rows.first().map(Vec::as_slice) {
            Some([Value::Integer(greatest)]) => greatest.saturating_add(1).max(1),
            _ => 1,
        })
    }

    async fn release(&mut self) {
        for (table, (first, count)) in std::mem::take(&mut self.allocated) {
            self.give_back(&table, first, count).await;
        }
    }

    async fn give_back(&mut self, table: &str, first: i64, count: u64) {
        if !self.counts_itself(table) {
            self.access.release_rowids(table, first, count).await;
        }
    }

    /// Whether the only partition that holds a table generates its rowids, rather than the catalog.
    fn counts_itself(&self, table: &str) -> bool {
        let is_split = || self.planner.table(table).is_some_and(|table| table.is_split());
        self.planner.buckets() == 1 && !is_split()
    }

    /// The work that the changes come to.
    async fn pending(self, effects: Effects) -> Result<Pending> {
        let routed = images::route(self.planner, effects)?;
        let mut unentered = Vec::new();
        for changed in routed.tables {
            let allocated = self.allocated.get(&changed.table.name);
            let end = allocated.map_or(i64::MIN, |(first, count)| first.saturating_add_unsigned(*count));
            // Rowids below are allocated, or lower than allocated ones.
            if let Some(greatest) = changed.greatest_new_rowid.filter(|greatest| *greatest >= end)
                && !self.counts_itself(&changed.table.name)
            {
                self.access.rowids_set(&changed.table.name, greatest).await?;
            }
            if changed.table.global_indexes.iter().any(|index| index.building) {
                unentered.push((changed.table, changed.changed));
            }
        }
        let allocated: Vec<(String, i64, u64)> = self
            .allocated
            .iter()
            .filter(|(table, _)| !self.counts_itself(table))
            .map(|(table, (first, count))| (table.clone(), *first, *count))
            .collect();
        Ok(Pending {
            work: routed.images.into_work().collect(),
            proofs: self.known.proofs,
            combine: Combine::Known(Box::default()),
            allocated,
            computed: true,
            copies: false,
            meets_rows: self.footprint.meets_rows,
            unentered,
        })
    }
}

/// Columns of the tables that are only read, so that they need neither constraints nor other columns.
fn relations(footprint: &Footprint, sources: &[(Source, Vec<Value>)]) -> BTreeMap<String, Vec<usize>> {
    let mut relations: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (source, _) in sources {
        if !footprint.checks_foreign_keys && !footprint.writes.contains(&source.table.name) {
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
