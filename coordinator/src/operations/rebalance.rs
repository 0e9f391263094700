//! Spreading replicas by number, size and load, then leaders, evenly over the nodes: one step after the other, each an operation of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use common::Result;
use common::catalog::Catalog;
use tokio::time::Instant;

use super::driver::finish;
use super::{Operations, is_open};
use crate::catalog::{Answer, Command};
use crate::placement::{is_settled, next_leader, next_move};

/// A step that takes longer is left to itself, and the next one begun.
const STEP_TIMEOUT: Duration = Duration::from_secs(3_600);
/// A node that has been silent for a moment is waited for, and so are repairs, but no longer than this in all.
const SETTLING_TIMEOUT: Duration = Duration::from_secs(60);
/// Most steps: a cluster that changes all the time must not be evened out for ever.
const STEPS_MAX: usize = 10_000;

pub(super) async fn drive(operations: &Operations, id: &str) -> Result<()> {
    super::replicas::start(operations, id).await?;
    // As it was at the beginning: else what moving costs would be evened out too.
    let measured = operations.health.measured().await;
    let patience = Instant::now() + SETTLING_TIMEOUT;
    for _ in 0..STEPS_MAX {
        let settled = |catalog: &Catalog| is_settled(catalog).then_some(());
        let left = patience.saturating_duration_since(Instant::now());
        if operations.catalog.wait_until(left, settled).await.is_none() {
            tracing::debug!(id, "the cluster is evened out though it has not settled");
        }
        let catalog = operations.catalog.confirmed().await?;
        if !catalog.operations.get(id).is_some_and(is_open) {
            // It was cancelled.
            return Ok(());
        }
        let command = match next_move(&catalog, &measured) {
            Some(command) => Some(command),
            None => next_leader(&catalog, &leaders(operations, &catalog).await),
        };
        let Some(command) = command else { break };
        step(operations, command).await?;
    }
    finish(operations, id).await
}

async fn leaders(
    operations: &Operations,
    catalog: &Catalog,
) -> BTreeMap<common::PartitionId, common::ReplicaId> {
    let ids: Vec<_> = catalog.partitions.keys().copied().collect();
    let facts = operations.health.ask(&ids).await;
    facts.into_iter().filter_map(|(partition, facts)| Some((partition, facts.leader?))).collect()
}

/// Begins a step and waits for its end, whatever it is: the next look at the catalog says what remains.
async fn step(operations: &Operations, command: Command) -> Result<()> {
    let Answer::Operation(step) = operations.catalog.propose(command).await? else { return Ok(()) };
    let ended = |catalog: &Catalog| (!catalog.operations.get(&step).is_some_and(is_open)).then_some(());
    if operations.catalog.wait_until(STEP_TIMEOUT, ended).await.is_none() {
        tracing::warn!(step, "a step of a rebalancing takes long");
    }
    Ok(())
}
