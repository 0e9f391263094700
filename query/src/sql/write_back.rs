//! Writes that one partition cannot decide: the rows are gathered, the client's text runs over them here,
//! and the rows that it changed go back as images. Each image of a changed or deleted row carries the row
//! that it was computed on; if that is no longer there, the write is refused and computed again.

use common::protocol::{Statement, StatementResult};
use common::{Result, Value};

use super::gather::{self, budget};
use super::relations::{Filled, Purpose, fill};
use super::write::{Combine, Pending};
use super::{Limits, images};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::Change;

/// Turns the statement into work.
pub(super) async fn prepare(
    planner: &Planner,
    access: &impl PartitionAccess,
    change: &Change,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<Pending> {
    let relations = gather::relations(planner, &whole(change), values, &statement.sql, Purpose::Write);
    let Filled { mut merge, waiting } = fill(access, relations).await?;
    let (watch, text) = (waiting.watch(), statement.clone());
    let written = access
        .compute(move || {
            let interrupted = || watch.is_over();
            merge.write(std::slice::from_ref(&text), &budget(limits.max_rows, &interrupted))
        })
        .await;
    waiting.answered();
    let (mut results, effects) = written?;
    let result: StatementResult = results.pop().unwrap_or_default();
    let routed = images::route(planner, effects)?;
    let mut unentered = Vec::new();
    for changed in routed.tables {
        if let Some(greatest) = changed.greatest_new_rowid {
            access.rowids_set(&changed.table.name, greatest).await?;
        }
        if changed.table.global_indexes.iter().any(|index| index.building) {
            unentered.push((changed.table, changed.changed));
        }
    }
    Ok(Pending {
        work: routed.images.into_work().collect(),
        combine: Combine::Known(Box::new(result)),
        allocated: None,
        computed: true,
        meets_rows: change.meets_rows,
        copies: false,
        unentered,
    })
}

/// The relations are made as declared, so every stored column is needed.
fn whole(change: &Change) -> Vec<crate::plan::Source> {
    change
        .sources
        .iter()
        .map(|source| crate::plan::Source { columns: source.table.stored().collect(), ..source.clone() })
        .collect()
}
