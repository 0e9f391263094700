//! Several statements, all or none: their work is put together and sent as one write.
//!
//! Nothing is written before the last statement is prepared. Where a statement has to see, over several
//! partitions, what an earlier one writes, all of them are computed at the coordinator instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::protocol::{Statement, StatementResult};
use common::{Error, ErrorCode, Result, Value};
use sqlite::TrialStep;

use super::computed::{self, Part};
use super::write::{self, Pending, send};
use super::{Limits, collections, define, insert, migration, only_reads, read};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::deferral::Deferral;
use crate::plan::{Action, Footprint, Planned, Source};
use crate::planner::is_definition;

/// A statement of the batch with its plan and its parameters.
struct Member<'a> {
    statement: &'a Statement,
    planned: Arc<Planned>,
    values: Vec<Value>,
    /// Whether foreign keys wait for the end of the request when it runs.
    deferred: bool,
}

/// Runs the statements; the error names the one that failed.
pub(super) async fn run(
    planner: &Planner,
    access: &impl PartitionAccess,
    statements: &[Statement],
    limits: Limits,
) -> Result<Vec<StatementResult>> {
    if statements.iter().all(|statement| is_definition(&statement.sql)) {
        // They are checked one after another: a later one may name what an earlier one makes.
        if limits.read_only {
            return Err(only_reads().at_statement(0));
        }
        return Ok(define::run(planner, access, statements, limits).await?.0);
    }
    if statements.iter().any(|statement| is_definition(&statement.sql)) {
        return Ok(migration::run(planner, access, statements, limits).await?.0);
    }
    let mut members = Vec::with_capacity(statements.len());
    let mut deferred = false;
    for (index, statement) in statements.iter().enumerate() {
        match planner.plan(&statement.sql) {
            Ok(planned) => {
                // One that only SQLite understands.
                if matches!(planned.action, Action::Definition) {
                    return Ok(migration::run(planner, access, statements, limits).await?.0);
                }
                let values = planned.values(&statement.params).map_err(|error| error.at_statement(index))?;
                collections::check_write(planner, &planned, limits.writer)
                    .map_err(|error| error.at_statement(index))?;
                let later = planned.deferral().map_or(deferred, |deferral| deferral.after(deferred));
                members.push(Member { statement, planned, values, deferred });
                deferred = later;
            }
            Err(error) => {
                let earlier = failure_of(planner, access, &members, limits).await;
                return Err(earlier.unwrap_or_else(|| error.at_statement(index)));
            }
        }
    }
    if limits.read_only
        && let Some(index) = members.iter().position(|member| !member.planned.is_read)
    {
        return Err(only_reads().at_statement(index));
    }
    let (mut attempt, mut exactly) = (0, false);
    let can_be_computed = members.iter().all(|member| member.planned.footprint().is_some());
    loop {
        attempt += 1;
        let prepared = if exactly || must_be_computed(planner, access, &members) {
            // What tells of statements before is computed, even where the only bucket might do all.
            let footprint = |member: &Member<'_>| {
                member.planned.footprint().or_else(|| planner.footprint(&member.statement.sql))
            };
            let parts = parts(planner, &members, &footprint, exactly).ok_or_else(cannot_be_computed)?;
            let computed = computed::prepare(planner, access, parts, limits).await;
            computed.map(|(results, pending)| (results, vec![pending], Vec::new()))
        } else {
            prepare(planner, access, &members, limits).await
        };
        let (mut results, pendings, places) = match prepared {
            Err(error) if !exactly && can_be_computed && write::is_of_rows_made(&error) => {
                exactly = true;
                continue;
            }
            prepared => prepared?,
        };
        match send(planner, access, pendings, limits.max_rows).await {
            Ok(answers) => {
                for (place, answer) in places.iter().zip(answers) {
                    results[*place] = answer;
                }
                return Ok(results);
            }
            Err(refusal) if refusal.may_pass(attempt) => {
                refusal.clear_the_way(planner, access).await?;
                access.back_off(attempt).await;
            }
            Err(refusal) if refusal.names_one_of_several && !exactly && can_be_computed => exactly = true,
            Err(mut refusal) => {
                let place =
                    |index: u32| places.get(index as usize).and_then(|&place| u32::try_from(place).ok());
                refusal.error.statement = refusal.error.statement.and_then(place);
                return Err(refusal.error);
            }
        }
    }
}

/// The error of one of some statements, where a later one has no plan: in one file they would have run before it.
async fn failure_of(
    planner: &Planner,
    access: &impl PartitionAccess,
    members: &[Member<'_>],
    limits: Limits,
) -> Option<Error> {
    if limits.read_only {
        return None;
    }
    let footprint = |member: &Member<'_>| planner.footprint(&member.statement.sql);
    match computed::prepare(planner, access, parts(planner, members, &footprint, true)?, limits).await {
        // A deferred foreign key, which is of no statement, is checked when all of them have run.
        Err(error) => {
            let is_of_a_statement = error.code != ErrorCode::ForeignKeyViolation || error.statement.is_some();
            let is_earlier = write::is_of_a_row(&error) && is_of_a_statement;
            (is_earlier || error.code == ErrorCode::SqlError).then_some(error)
        }
        Ok((_, pending)) => {
            release(access, &[pending]).await;
            None
        }
    }
}

/// Whether a statement reads or changes several partitions together with what others write, so that no partition
/// can see all of it: then all of them are computed at the coordinator, as one.
fn must_be_computed(planner: &Planner, access: &impl PartitionAccess, members: &[Member<'_>]) -> bool {
    let writes = members.iter().filter(|member| !member.planned.is_read).count();
    let can_all_be = members.iter().all(|member| member.planned.footprint().is_some());
    let mut written: BTreeSet<String> = BTreeSet::new();
    // Tables whose next rowid is not known before it is known which rows an earlier statement leaves out.
    let mut uncounted: BTreeSet<&str> = BTreeSet::new();
    let (mut any_written, goes_on) = (false, access.done_before().is_some());
    if defers_foreign_keys(planner, members) {
        return true;
    }
    for Member { planned, values, .. } in members {
        if planned.asks_of_statements_before && (any_written || goes_on) {
            return true;
        }
        // Counters count what the statements before insert.
        if matches!(planned.action, Action::Sequences) && any_written {
            return true;
        }
        any_written |= !planned.is_read;
        if let Action::Insert(insert) = &planned.action {
            let table = insert.target.name.as_str();
            if can_all_be && uncounted.contains(table) {
                return true;
            }
            uncounted.extend((insert.meets_rows() && insert.target.rowid_name.is_some()).then_some(table));
        }
        let is_computed = match &planned.action {
            Action::Compute(_) if planned.is_read && writes > 0 => return true,
            Action::Compute(_) => true,
            Action::Change(change) => change.buckets(planner.database(), values).is_none(),
            _ => false,
        };
        if is_computed && writes > 1 {
            return true;
        }
        // What a transaction reads must still be true when it commits, whether or not it wrote that itself.
        if let Action::Read(read) = &planned.action
            && writes > 0
            && (can_all_be || depends_on(&read.sources, &written))
            && read.single(planner.database(), values).is_none()
        {
            return true;
        }
        written.extend(writes_of(planned));
    }
    false
}

/// Whether foreign keys that statements check are to wait for the end of the request.
fn defers_foreign_keys(planner: &Planner, members: &[Member<'_>]) -> bool {
    let checks = |member: &Member<'_>| {
        let footprint = || member.planned.footprint().or_else(|| planner.footprint(&member.statement.sql));
        member.deferred
            && !member.planned.is_read
            && footprint().is_some_and(|found| found.checks_foreign_keys)
    };
    members.iter().any(checks)
}

/// What is computed at the coordinator; `None` if a statement cannot be.
fn parts(
    planner: &Planner,
    members: &[Member<'_>],
    footprint: &dyn Fn(&Member<'_>) -> Option<Footprint>,
    exactly: bool,
) -> Option<Vec<Part>> {
    let part = |member: &Member<'_>| {
        let footprint = footprint(member)?;
        let footprint = if exactly { footprint.meeting_rows() } else { footprint };
        Some(Part { step: step_of(planner, member), footprint, values: member.values.clone() })
    };
    members.iter().map(part).collect()
}

fn step_of(planner: &Planner, Member { statement, planned, values, deferred }: &Member<'_>) -> TrialStep {
    step(planner, planned, values, statement, *deferred)
}

/// What is tried for a statement. `deferred`: whether foreign keys wait when it runs.
pub(super) fn step(
    planner: &Planner,
    planned: &Planned,
    values: &[Value],
    statement: &Statement,
    deferred: bool,
) -> TrialStep {
    match &planned.action {
        Action::Explain(other) => TrialStep::Answered(define::explain(planner, other, values)),
        Action::DeferForeignKeys(Deferral::Set(on)) => TrialStep::DeferForeignKeys(*on),
        Action::DeferForeignKeys(asked) => TrialStep::Answered(asked.answer(deferred)),
        _ => TrialStep::Statement(statement.clone()),
    }
}

pub(super) fn cannot_be_computed() -> Error {
    Error::internal("a statement of a request cannot be computed")
}

/// Answers of the reads, work of the writes, and whose work it is.
type Prepared = (Vec<StatementResult>, Vec<Pending>, Vec<usize>);

async fn prepare(
    planner: &Planner,
    access: &impl PartitionAccess,
    members: &[Member<'_>],
    limits: Limits,
) -> Result<Prepared> {
    let mut results = vec![StatementResult::default(); members.len()];
    let (mut pendings, mut places) = (Vec::new(), Vec::new());
    let mut written = Written::default();
    let writes = members.iter().any(|member| !member.planned.is_read);
    if !writes || reads_several_times(planner, members) {
        at_one_moment(planner, access, members).await?;
    }
    for (index, member) in members.iter().enumerate() {
        let done = prepare_one(planner, access, member, (&written, writes), limits).await;
        match done {
            Ok(Step::Answer(result)) => results[index] = result,
            Ok(Step::Work(pending)) => {
                written.add_rowid(&member.planned, pending.greatest_rowid);
                pendings.push(pending);
                places.push(index);
            }
            Err(error) => {
                release(access, &pendings).await;
                return Err(error.at_statement(index));
            }
        }
        written.tables.extend(writes_of(&member.planned));
    }
    Ok((results, pendings, places))
}

/// What the statements before one write.
#[derive(Default)]
struct Written {
    tables: BTreeSet<String>,
    /// The greatest rowids of the rows that they insert, by table.
    rowids: BTreeMap<String, i64>,
}

impl Written {
    fn add_rowid(&mut self, planned: &Planned, greatest: Option<i64>) {
        if let (Action::Insert(insert), Some(greatest)) = (&planned.action, greatest) {
            let known = self.rowids.entry(insert.target.name.clone()).or_insert(greatest);
            *known = greatest.max(*known);
        }
    }
}

/// Whether there are several reads, one of them of several partitions.
fn reads_several_times(planner: &Planner, members: &[Member<'_>]) -> bool {
    let reads = members.iter().filter(|member| member.planned.is_read).count();
    let of_several = |member: &Member<'_>| match &member.planned.action {
        Action::Read(read) => read.single(planner.database(), &member.values).is_none(),
        _ => false,
    };
    reads > 1 && members.iter().any(of_several)
}

/// Has all statements see the database as it was at one moment.
async fn at_one_moment(
    planner: &Planner,
    access: &impl PartitionAccess,
    members: &[Member<'_>],
) -> Result<()> {
    let (mut partitions, mut reads) = (BTreeSet::new(), 1);
    for Member { planned, values, .. } in members {
        match &planned.action {
            Action::OneBucket => partitions.extend([0]),
            Action::Read(read) => {
                match read.single(planner.database(), values) {
                    Some(partition) => partitions.extend([partition]),
                    None => partitions.extend(read.partitions(planner.database(), values)),
                }
                reads = reads.max(read.reads_at_once());
            }
            Action::Compute(footprint) => {
                partitions.extend(footprint.partitions(planner.database(), values));
                reads = reads.max(footprint.reads_at_once());
            }
            _ => {}
        }
    }
    access.read_at_one_moment(partitions.into_iter().collect(), reads).await
}

enum Step {
    Answer(StatementResult),
    Work(Pending),
}

async fn prepare_one(
    planner: &Planner,
    access: &impl PartitionAccess,
    member: &Member<'_>,
    (written, writes): (&Written, bool),
    limits: Limits,
) -> Result<Step> {
    let Member { statement, planned, values, deferred } = member;
    if let Action::Insert(insert) = &planned.action {
        let above = written.rowids.get(&insert.target.name).copied();
        return insert::prepare(planner, access, planned, insert, values, above).await.map(Step::Work);
    }
    if !planned.is_read {
        return write::prepare(planner, access, planned, values, statement, limits).await.map(Step::Work);
    }
    let bucket = match &planned.action {
        Action::DeferForeignKeys(deferral) => return Ok(Step::Answer(deferral.answer(*deferred))),
        Action::Sequences if !written.tables.is_empty() => {
            return Err(Error::internal("a batch that reads what it has counted is not computed"));
        }
        Action::OneBucket if writes => Some(0),
        Action::Read(read) if writes => {
            let single = read.single(planner.database(), values);
            if single.is_none() && depends_on(&read.sources, &written.tables) {
                return Err(Error::internal("a batch that reads its own rows is not computed"));
            }
            single
        }
        _ => None,
    };
    match bucket {
        // It must see what is written before it, and stay true until all is written, so it goes along.
        Some(bucket) => Ok(Step::Work(Pending::everywhere(&[bucket], statement))),
        None => read(planner, access, planned, values, statement, limits).await.map(Step::Answer),
    }
}

fn depends_on(sources: &[Source], written: &BTreeSet<String>) -> bool {
    sources.iter().any(|source| written.contains(&source.table.name))
}

fn writes_of(planned: &Planned) -> BTreeSet<String> {
    match &planned.action {
        Action::Change(change) => change.footprint.writes.clone(),
        Action::Compute(footprint) => footprint.writes.clone(),
        Action::Insert(insert) => insert.footprint.writes.clone(),
        // With one bucket everything goes there in order.
        Action::OneBucket if !planned.is_read => BTreeSet::from([String::new()]),
        _ => BTreeSet::new(),
    }
}

async fn release(access: &impl PartitionAccess, pendings: &[Pending]) {
    for (table, first, count) in pendings.iter().flat_map(|pending| &pending.allocated) {
        access.release_rowids(table, *first, *count).await;
    }
}
