//! Having a node give away all that it holds, while it serves.
//!
//! Placement makes the replicas anew elsewhere, as it does for nodes that are gone; here leaders are handed over
//! first, so that nobody waits for an election, and the end is awaited.

use common::catalog::{Catalog, Node, NodeStatus, Partition, ReplicaRole};
use common::{Error, ErrorCode, NodeId, PartitionId, ReplicaId, Result};

use super::driver::{fail, finish};
use super::partition_leader::{self, Pauses};
use super::{Operations, is_open};
use crate::placement::stuck_on;

pub(super) async fn drive(operations: &Operations, id: &str, node: &NodeId) -> Result<()> {
    super::replicas::start(operations, id).await?;
    let mut pauses = Pauses::new();
    loop {
        let catalog = operations.catalog.view();
        if !catalog.operations.get(id).is_some_and(is_open) {
            // It was cancelled.
            return Ok(());
        }
        let held = held_by(&catalog, node);
        if held.is_empty() {
            return finish(operations, id).await;
        }
        if !catalog.nodes.get(node).is_some_and(|node| node.status == NodeStatus::Draining) {
            let message =
                format!("storage node '{node}' does not drain any more: it has stopped, or is used again");
            return fail(operations, id, Error::new(ErrorCode::Unavailable, message)).await;
        }
        let stuck = stuck_on(&catalog, node);
        if stuck > 0 {
            let message = format!(
                "{stuck} partitions have a replica on every other node that takes replicas, so storage node '{node}' \
                 cannot give its own away"
            );
            return fail(operations, id, Error::new(ErrorCode::NodeInUse, message)).await;
        }
        for (partition, replica, heir) in held {
            hand_over(operations, partition, replica, heir).await;
        }
        pauses.pause().await;
    }
}

/// The node's replicas, each with a voter elsewhere that may lead in its place.
fn held_by(catalog: &Catalog, node: &NodeId) -> Vec<(PartitionId, ReplicaId, Option<ReplicaId>)> {
    let of = |partition: &Partition| {
        let living = || partition.replicas.iter().filter(|replica| replica.role != ReplicaRole::Lost);
        let own = living().find(|replica| replica.node == *node)?;
        let heir = living().find(|other| {
            let may = |node: &Node| node.status == NodeStatus::Active;
            other.role == ReplicaRole::Voter
                && other.node != *node
                && catalog.nodes.get(&other.node).is_some_and(may)
        });
        Some((partition.id, own.id, heir.map(|heir| heir.id)))
    };
    catalog.partitions.values().filter_map(of).collect()
}

async fn hand_over(
    operations: &Operations,
    partition: PartitionId,
    replica: ReplicaId,
    heir: Option<ReplicaId>,
) {
    let leads = operations.health.leaders().get(partition).is_none_or(|leader| leader == replica);
    let Some(heir) = heir.filter(|_| leads) else { return };
    let handed = partition_leader::hand_over(operations, partition, replica, heir).await;
    if let Err(error) = handed {
        tracing::debug!(%partition, %error, "a draining node still leads");
    }
}
