//! Reads by what partitions can do themselves.

use common::protocol::{Params, RowsHeader, Statement, StatementResult};
use common::{ErrorCode, Result, Value};

use super::gather::{blocks_of, bytes_max, evaluate};
use super::{ordered, partial, ship};
use crate::Planner;
use crate::access::{PartitionAccess, RowStream};
use crate::plan::{Planned, Pushed, Read};

/// The rows; `None` if they have to be gathered.
pub(super) async fn stream(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    read: &Read,
    values: &[Value],
) -> Result<Option<RowStream>> {
    let (columns, types) = planned.names();
    let header = RowsHeader { columns, types, index: 0 };
    let Ok(pushed) = &read.pushed else { return Ok(None) };
    match pushed {
        Pushed::Ordered(plan) => {
            let Some(values) = &ship::with_sent(planner, access, read, values).await? else {
                return Ok(None);
            };
            let Some(run) = plan.bind(values) else { return Ok(None) };
            let partitions = pushed.partitions(planner.database(), read.group, values);
            let rows =
                ordered::stream(access, &partitions, run, plan.keys.clone(), plan.hidden, header).await;
            unless_sqlite_fails(rows)
        }
        Pushed::Partial(_) | Pushed::Composed(_) => {
            // That parts cannot be merged may show late, so nothing is sent before the answer is complete.
            let answer = run(planner, access, planned, read, values, u32::MAX).await?;
            let complete = answer.filter(|answer| !answer.truncated);
            Ok(complete.map(|answer| RowStream { header, blocks: blocks_of(vec![answer.rows]) }))
        }
    }
}

/// The answer; `None` if the rows have to be gathered.
pub(super) async fn run(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    read: &Read,
    values: &[Value],
    max_rows: u32,
) -> Result<Option<StatementResult>> {
    if let Ok(pushed @ Pushed::Partial(plan)) = &read.pushed {
        let Some(values) = &ship::with_sent(planner, access, read, values).await? else { return Ok(None) };
        let Some(run) = plan.bind(values) else { return Ok(None) };
        let partitions = pushed.partitions(planner.database(), read.group, values);
        return unless_sqlite_fails(partial::run(access, &partitions, plan, run, max_rows).await);
    }
    if let Ok(Pushed::Composed(composed)) = &read.pushed {
        let Some(values) = ship::with_sent(planner, access, read, values).await? else { return Ok(None) };
        let statement = Statement { sql: composed.text.clone(), params: Params::Positional(values) };
        return unless_sqlite_fails(evaluate(access, statement, max_rows).await);
    }
    // The boxed future breaks the cycle of two ways to ask for the same rows.
    let rows = Box::pin(stream(planner, access, planned, read, values)).await?;
    let Some(rows) = rows else { return Ok(None) };
    unless_sqlite_fails(ordered::collect(rows, max_rows, bytes_max(max_rows)).await)
}

/// Where an expression fails, whether the statement fails too depends on the rows that one file would have
/// evaluated it on, and the same goes for what cannot be merged exactly. Gathering decides.
pub(super) fn unless_sqlite_fails<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code == ErrorCode::SqlError => Ok(None),
        Err(error) => Err(error),
    }
}
