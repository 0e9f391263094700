//! Reads that partitions answer at once: few rows that are found quickly, as an index finds them.
//!
//! One message to each partition and one back are all. Where a partition would take longer, the statement is run as
//! one that may read anything; what the attempt has cost is little beside that.

use common::Result;
use common::Value;
use common::protocol::{RowsHeader, StatementResult};

use super::gather::{blocks_of, bytes_max};
use super::pushed::unless_sqlite_fails;
use super::{ordered, partial};
use crate::Planner;
use crate::access::{PartitionAccess, RowStream};
use crate::plan::{Planned, Pushed, Read};

/// The rows; `None` if the partitions do not have them at once.
pub(super) async fn stream(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    read: &Read,
    values: &[Value],
) -> Result<Option<RowStream>> {
    let Ok(pushed @ Pushed::Ordered(plan)) = &read.pushed else { return Ok(None) };
    if !read.sent.is_empty() {
        return Ok(None);
    }
    let Some(run) = plan.bind(values) else { return Ok(None) };
    let partitions = pushed.partitions(planner.database(), read.group, values);
    let answered = unless_sqlite_fails(access.read_briefly(&partitions, &run.statement).await)?;
    let Some(answers) = answered.flatten() else { return Ok(None) };
    let blocks = answers.into_iter().map(|rows| blocks_of(vec![rows])).collect();
    let (columns, types) = planned.names();
    let header = RowsHeader { columns, types, index: 0 };
    Ok(Some(ordered::merged(blocks, run, plan.keys.clone(), plan.hidden, header)))
}

/// The answer; `None` if the partitions do not have it at once.
pub(super) async fn run(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    read: &Read,
    values: &[Value],
    max_rows: u32,
) -> Result<Option<StatementResult>> {
    if let Some(rows) = stream(planner, access, planned, read, values).await? {
        return ordered::collect(rows, max_rows, bytes_max(max_rows)).await.map(Some);
    }
    let Ok(pushed @ Pushed::Partial(plan)) = &read.pushed else { return Ok(None) };
    if !read.sent.is_empty() {
        return Ok(None);
    }
    let Some(run) = plan.bind(values).filter(|run| run.hashed.is_none()) else { return Ok(None) };
    let partitions = pushed.partitions(planner.database(), read.group, values);
    let answered = unless_sqlite_fails(access.read_briefly(&partitions, &run.fragment).await)?;
    let Some(parts) = answered.flatten() else { return Ok(None) };
    unless_sqlite_fails(partial::merged(access, plan, parts, run.merge, max_rows).await)
}
