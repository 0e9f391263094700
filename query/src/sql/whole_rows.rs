//! INSERT into tables whose columns lie in several column groups: no partition sees the whole row, so rows are
//! made and checked here, by the client's own DDL, and sent as images. What other rows say about them (what is
//! unique) the partitions decide.

use std::sync::Arc;

use common::protocol::{StatementResult, WorkItem};
use common::{Error, Result};
use sqlite::{ForeignKeys, TrialStep};

use super::computed::of_transaction;
use super::entries::Entries;
use super::gather::budget;
use super::images;
use super::waiting::Waiting;
use super::write::{Combine, Pending, combined};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::table::Table;

/// Runs the statements, which insert some rows each, over an empty table, and turns the rows into work.
pub(super) async fn insert(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    work: Vec<(usize, WorkItem)>,
    allocated: Vec<(String, i64, u64)>,
) -> Result<Pending> {
    let made = make(planner, access, table, work).await;
    match made {
        Ok((result, images)) => Ok(Pending {
            work: images,
            combine: Combine::Known(Box::new(result)),
            allocated,
            ..Pending::default()
        }),
        Err(error) => {
            for (table, first, count) in allocated {
                access.release_rowids(&table, first, count).await;
            }
            Err(error)
        }
    }
}

async fn make(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    work: Vec<(usize, WorkItem)>,
) -> Result<(StatementResult, Vec<(usize, WorkItem)>)> {
    let steps: Vec<TrialStep> = work
        .into_iter()
        .filter_map(|(_, item)| match item {
            WorkItem::Statement(statement) => Some(statement.into()),
            _ => None,
        })
        .collect();
    let (workspace, ddl, name) = (access.workspace(), table.sql.clone(), table.name.clone());
    let idle = Arc::clone(planner.idle_databases());
    let waiting = Waiting::new(workspace.clone(), access.deadline());
    let watch = waiting.watch();
    let uniques: Vec<String> = table.indexes.iter().filter_map(|index| index.sql.clone()).collect();
    let made = access
        .compute(move || {
            let ddl = std::iter::once(&ddl).chain(&uniques).map(String::as_str);
            let mut database = idle.take(&name, &workspace, ddl)?;
            // Tables with foreign keys that matter are computed with their relations.
            let interrupted = || watch.is_over();
            let budget = budget(u32::MAX, &interrupted);
            let trial = database.attempt(&steps, ForeignKeys::Ignored, &budget)?;
            idle.keep(&name, database);
            Ok((trial.outcome, trial.refused, trial.effects))
        })
        .await;
    waiting.answered();
    let of_one = |error: Error| Error { statement: None, ..error };
    let (outcome, refused, effects) = made.map_err(of_one)?;
    let results = outcome.map_err(|failure| of_one(of_transaction(access, failure.into(), refused)))?;
    let routed = images::route(planner, effects, Entries::default())?;
    let result = combined(Combine::default(), results, u32::MAX);
    Ok((result, routed.images.into_work().collect()))
}
