//! Work on the partitions before it is sent, and the answer made of what they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::protocol::{Proof, Statement, StatementResult, WorkItem};
use common::row::RowBlock;
use common::{Error, ErrorCode, Outcome, Result, Value};

use super::computed::{self, Part};
use super::images::Place;
use super::{ATTEMPTS_MAX, Limits, index_build, insert, restamp};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::{Action, Footprint, Planned};
use crate::table::Table;

/// One statement's work, ready to be sent.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// By bucket, in order.
    pub(crate) work: Vec<(usize, WorkItem)>,
    /// Proofs of what it was computed from, by bucket.
    pub(crate) proofs: Vec<(usize, Proof)>,
    /// How the answer is made.
    pub(crate) combine: Combine,
    /// Rowids that were allocated for it: table, first, count.
    pub(crate) allocated: Vec<(String, i64, u64)>,
    /// Whether it was computed from rows that another request may have changed since.
    pub(crate) computed: bool,
    /// Whether a unique violation may be a conflict that its text deals with, once it sees the row.
    pub(crate) meets_rows: bool,
    /// Each of its buckets does the same on its own copy of a reference table; what one answers counts.
    pub(crate) copies: bool,
    /// Rows that it changes or deletes of tables with a global index under construction, or that have lost columns.
    pub(crate) unready: Unready,
    /// The greatest rowid of the rows that an INSERT makes.
    pub(crate) greatest_rowid: Option<i64>,
}

/// By table, rows whose entries in an index under construction may be missing, or whose stamps may be old.
type Unready = Vec<(Arc<Table>, Vec<Place>)>;

/// How the answer is made of the partitions' results.
#[derive(Debug)]
pub(crate) enum Combine {
    /// Rows one after another, counts added up. `header` has the names that the client's text gives to columns
    /// and their types; the rows that were sent have these rowids, in order, if they are known.
    Sum { header: Option<(Vec<String>, Vec<String>)>, rowids: Vec<i64> },
    /// It is known already.
    Known(Box<StatementResult>),
}

impl Default for Combine {
    fn default() -> Self {
        Combine::Sum { header: None, rowids: Vec::new() }
    }
}

impl Pending {
    /// The same text on some buckets.
    pub(crate) fn everywhere(buckets: &[usize], statement: &Statement) -> Pending {
        let work = buckets.iter().map(|&bucket| (bucket, WorkItem::Statement(statement.clone())));
        Pending { work: work.collect(), ..Pending::default() }
    }
}

/// Whose item it is.
#[derive(Clone, Copy, Debug)]
struct Owner {
    /// Position of the statement.
    statement: usize,
    /// Whether its result counts; those of row images and of further copies of a row do not.
    counts: bool,
}

/// How often work that was refused is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    Never,
    /// The reason may lie in the work itself.
    Once,
    /// Other requests got in the way.
    Often,
}

/// Why work was refused, and whether trying again may help.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    again: Again,
    /// Whether one file might name another row, or another constraint, since several partitions looked at rows
    /// and none saw the others'.
    pub(crate) names_one_of_several: bool,
    /// What to enter, or to stamp anew, first, then.
    unready: Unready,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { error, again: Again::Never, names_one_of_several: false, unready: Vec::new() }
    }
}

/// Whether a row was refused for its values.
pub(super) fn is_of_a_row(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::UniqueViolation
            | ErrorCode::CheckViolation
            | ErrorCode::NotNullViolation
            | ErrorCode::ForeignKeyViolation
    ) || error.message == NO_ROWID
}

/// Whether an INSERT is to be tried as one file would run it: which of its rows is refused, and for what, depends on all.
pub(super) fn is_of_rows_made(error: &Error) -> bool {
    is_of_a_row(error) || error.message == Error::malformed_text().message
}

/// What SQLite says of a value that is no rowid.
const NO_ROWID: &str = "datatype mismatch";

impl Refusal {
    /// Whether another attempt may succeed after so many.
    pub(crate) fn may_pass(&self, attempts: usize) -> bool {
        attempts
            < match self.again {
                Again::Never => 1,
                Again::Once => 2,
                Again::Often => ATTEMPTS_MAX,
            }
    }

    /// Does what must be done before the next attempt.
    pub(crate) async fn clear_the_way(self, planner: &Planner, access: &impl PartitionAccess) -> Result<()> {
        for (table, places) in &self.unready {
            if table.lost_columns {
                restamp::stamp_anew(planner, access, table, places).await?;
            }
            let entered = index_build::enter_before_change(planner, access, table, places).await;
            entered.map_err(|mut error| {
                planner.reword(&mut error);
                error
            })?;
        }
        Ok(())
    }
}

/// Turns a write into work.
pub(crate) async fn prepare(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<Pending> {
    match &planned.action {
        Action::OneBucket => Ok(Pending::everywhere(&[0], statement)),
        Action::Change(change) => match change.buckets(planner.database(), values) {
            Some(buckets) => {
                Ok(Pending { copies: change.target.reference, ..Pending::everywhere(&buckets, statement) })
            }
            None => compute(planner, access, &change.footprint, values, statement, limits).await,
        },
        Action::Compute(footprint) => compute(planner, access, footprint, values, statement, limits).await,
        Action::Insert(insert) => insert::prepare(planner, access, planned, insert, values, None).await,
        _ => Err(Error::internal("a statement that is no write was sent as one")),
    }
}

/// Turns a write into work whose refusal names what one file would name: it meets the rows that it is in
/// conflict with.
pub(crate) async fn prepare_exactly(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<Pending> {
    let footprint = planned.footprint().ok_or_else(|| Error::internal("a statement cannot be computed"))?;
    compute(planner, access, &footprint.meeting_rows(), values, statement, limits).await
}

async fn compute(
    planner: &Planner,
    access: &impl PartitionAccess,
    footprint: &Footprint,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<Pending> {
    let part = Part { step: statement.clone().into(), footprint: footprint.clone(), values: values.to_vec() };
    let (mut results, pending) = computed::prepare(planner, access, vec![part], limits).await?;
    let result = results.pop().unwrap_or_default();
    Ok(Pending { combine: Combine::Known(Box::new(result)), ..pending })
}

/// Sends the work of some statements as one write; answers one result per statement.
pub(crate) async fn send(
    planner: &Planner,
    access: &impl PartitionAccess,
    pendings: Vec<Pending>,
    max_rows: u32,
) -> Result<Vec<StatementResult>, Refusal> {
    // Bucket → items, each with the statement that it belongs to and whether it is a statement itself.
    let mut buckets: BTreeMap<usize, (Vec<WorkItem>, Vec<Owner>)> = BTreeMap::new();
    let mut rest = Vec::with_capacity(pendings.len());
    let mut unready = Vec::new();
    let changes_rows = pendings.iter().any(|pending| !pending.work.is_empty());
    let mut is_each_alone = true;
    for (index, mut pending) in pendings.into_iter().enumerate() {
        is_each_alone &= pending.copies || is_of_one_statement(&pending);
        let first = pending.work.first().map(|(bucket, _)| *bucket);
        // Proofs come before all work, which they must not see. What changes nothing needs none.
        let proofs = std::mem::take(&mut pending.proofs).into_iter().filter(|_| changes_rows);
        let work = proofs.map(|(bucket, proof)| (bucket, WorkItem::Proof(proof))).chain(pending.work);
        for (bucket, item) in work {
            let (items, owners) = buckets.entry(bucket).or_default();
            let is_copy = pending.copies && Some(bucket) != first;
            let counts = matches!(item, WorkItem::Statement(_)) && !is_copy;
            owners.push(Owner { statement: index, counts });
            items.push(item);
        }
        unready.extend(pending.unready);
        let again = (pending.computed, pending.meets_rows);
        rest.push((pending.combine, pending.allocated, again));
    }
    let owners: Vec<Vec<Owner>> = buckets.values().map(|(_, owners)| owners.clone()).collect();
    let work: Vec<(usize, Vec<WorkItem>)> =
        buckets.into_iter().map(|(bucket, (items, _))| (bucket, items)).collect();
    let answers = if work.is_empty() {
        Vec::new()
    } else {
        match access.write(work, max_rows).await {
            Ok(answers) => answers,
            Err(error) => {
                let allocated: Vec<_> =
                    rest.iter().flat_map(|(combine, allocated, _)| taken(combine, allocated)).collect();
                let computed = rest.iter().any(|(_, _, (computed, _))| *computed);
                let meets_rows = rest.iter().any(|(_, _, (_, meets_rows))| *meets_rows);
                let refusal =
                    refused(planner, access, error, &owners, &allocated, (computed, meets_rows)).await;
                // Partitions do not wait for each other, so one may refuse a statement before another an earlier one.
                let may_be_later = owners.len() > 1 && refusal.error.statement != Some(0);
                let names_one_of_several =
                    (!is_each_alone || may_be_later) && !meets_rows && is_of_a_row(&refusal.error);
                return Err(Refusal { unready, names_one_of_several, ..refusal });
            }
        }
    };
    let mut parts: Vec<Vec<StatementResult>> = rest.iter().map(|_| Vec::new()).collect();
    for (owners, results) in owners.iter().zip(answers) {
        if owners.len() != results.len() {
            return Err(Error::internal("a partition answered another number of results")
                .with_outcome(Outcome::Applied)
                .into());
        }
        for (owner, result) in owners.iter().zip(results) {
            if owner.counts {
                parts[owner.statement].push(result);
            }
        }
    }
    let mut results = Vec::with_capacity(rest.len());
    for ((combine, allocated, _), parts) in rest.into_iter().zip(parts) {
        // Where the client gave some of the rowids, the last one inserted need not be the greatest.
        let all_allocated = |count: u64| match &combine {
            Combine::Sum { rowids, .. } => rowids.len() as u64 == count,
            Combine::Known(_) => false,
        };
        for allocated in allocated.into_iter().filter(|(.., count)| all_allocated(*count)) {
            // AUTOINCREMENT counts rows that a conflict clause left out, too.
            let counts_on = planner.table(&allocated.0).is_some_and(|table| table.autoincrement);
            if !counts_on {
                release_unused(access, allocated, &parts).await;
            }
        }
        results.push(combined(combine, parts, max_rows));
    }
    Ok(results)
}

/// Gives back the rowids behind the last row that was inserted: a conflict clause may have left rows out.
async fn release_unused(
    access: &impl PartitionAccess,
    (table, first, count): (String, i64, u64),
    parts: &[StatementResult],
) {
    let end = first.saturating_add_unsigned(count);
    let greatest = parts.iter().filter_map(|part| part.last_insert_rowid).max();
    let unused = greatest.map_or(first, |greatest| greatest.saturating_add(1).max(first));
    if let Ok(count @ 1..) = u64::try_from(end.saturating_sub(unused)) {
        access.release_rowids(&table, unused, count).await;
    }
}

/// Rowids that were allocated for rows.
struct Taken {
    table: String,
    first: i64,
    count: u64,
    /// Whether others of the statement's rowids are the client's own.
    others: bool,
}

fn taken(combine: &Combine, allocated: &[(String, i64, u64)]) -> Vec<Taken> {
    let others = |count: u64| !matches!(combine, Combine::Sum { rowids, .. } if rowids.len() as u64 == count);
    allocated
        .iter()
        .map(|(table, first, count)| Taken {
            table: table.clone(),
            first: *first,
            count: *count,
            others: others(*count),
        })
        .collect()
}

/// Makes an error the client's own: its constraint's name, its statement's number; and gives back what was
/// taken for the work.
async fn refused(
    planner: &Planner,
    access: &impl PartitionAccess,
    mut error: Error,
    owners: &[Vec<Owner>],
    allocated: &[Taken],
    (computed, meets_rows): (bool, bool),
) -> Refusal {
    error.statement = error.statement.and_then(|item| {
        let owner = owners.iter().flatten().nth(item as usize)?;
        u32::try_from(owner.statement).ok()
    });
    if error.outcome != Outcome::NotApplied {
        return error.into();
    }
    let is_in_the_way = error.code == ErrorCode::SerializationFailure && computed
        || meets_rows && error.code == ErrorCode::UniqueViolation;
    let mut again = if is_in_the_way { Again::Often } else { Again::Never };
    for Taken { table, first, count, others } in allocated {
        access.release_rowids(table, *first, *count).await;
        let collided =
            error.code == ErrorCode::UniqueViolation && planner.is_rowid_collision(table, &error.message);
        if collided {
            // The greatest rowid must be looked up before the next one is handed out.
            if let Err(other) = access.rowids_set(table, *first).await {
                return other.into();
            }
            // It may as well be one of the client's own that is taken.
            again = again.max(if *others { Again::Once } else { Again::Often });
        }
    }
    planner.reword(&mut error);
    Refusal { again, ..Refusal::from(error) }
}

/// Whether it is a single statement on a single partition, which names what one file names.
fn is_of_one_statement(pending: &Pending) -> bool {
    matches!(pending.work.as_slice(), [] | [(_, WorkItem::Statement(_))])
}

pub(super) fn combined(combine: Combine, parts: Vec<StatementResult>, max_rows: u32) -> StatementResult {
    let (header, rowids) = match combine {
        Combine::Known(mut result) => {
            result.cut(max_rows);
            return *result;
        }
        Combine::Sum { header, rowids } => (header, rowids),
    };
    // Each partition tells the last row that it inserted; the last of these in the statement's order counts.
    let position = |part: &StatementResult| {
        let inserted = part.last_insert_rowid?;
        rowids.iter().rposition(|rowid| *rowid == inserted)
    };
    let last = parts.iter().filter_map(position).max().map(|position| rowids[position]);
    let mut sum = StatementResult::default();
    let mut blocks = Vec::new();
    for part in parts {
        sum.is_read |= part.is_read;
        sum.affected_rows += part.affected_rows;
        sum.truncated |= part.truncated;
        sum.last_insert_rowid = sum.last_insert_rowid.max(part.last_insert_rowid);
        if !part.columns.is_empty() {
            (sum.columns, sum.types) = (part.columns, part.types);
            blocks.push(part.rows);
        }
    }
    sum.rows = joined(&blocks);
    sum.cut(max_rows);
    if let Some((columns, types)) = header {
        (sum.columns, sum.types) = (columns, types);
        sum.rows.columns = u32::try_from(sum.columns.len()).unwrap_or(u32::MAX);
    }
    sum.last_insert_rowid = last.or(sum.last_insert_rowid);
    sum
}

fn joined(blocks: &[RowBlock]) -> RowBlock {
    if let [only] = blocks {
        return only.clone();
    }
    let mut data = Vec::with_capacity(blocks.iter().map(|block| block.data.len()).sum());
    for block in blocks {
        data.extend_from_slice(&block.data);
    }
    RowBlock {
        columns: blocks.first().map_or(0, |block| block.columns),
        rows: blocks.iter().map(|block| block.rows).sum(),
        data: data.into(),
    }
}
