//! The task that rolls operations forward on the coordinator that leads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::catalog::{Catalog, NodeStatus, Operation, OperationWork};
use common::protocol::Assignment;
use common::{Error, NodeId, Result};
use consensus_runtime::Role;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::replacing::retiring;
use super::resizing::Resizer;
use super::spreading::Spreading;
use super::{
    Operations, create_database, drain, leader_transfer, rebalance, replacing, replicas, schema_change,
    schema_transaction,
};
use crate::catalog::{Command, is_open, now_ms};
use crate::placement::{Patience, assignments, repairs};

/// How often it looks for repairs and for operations that have to be taken up again.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub(super) async fn run(operations: Operations) {
    let mut role = operations.catalog.leadership();
    loop {
        let Ok(term) = role.wait_for(|role| role.role == Role::Leader).await.map(|role| role.term) else {
            return;
        };
        tokio::select! {
            () = lead(&operations) => {}
            deposed = role.wait_for(|role| role.role != Role::Leader || role.term != term) => {
                if deposed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Drives for as long as this coordinator leads: dropped when it no longer does, with all that it has begun.
async fn lead(operations: &Operations) {
    // What the former leader entered has to be seen before anything is decided.
    while let Err(error) = operations.catalog.confirmed().await {
        tracing::debug!(%error, "the new leader's catalog is not confirmed yet");
    }
    let mut changed = operations.catalog.changed();
    let mut running = JoinSet::new();
    let mut driven = BTreeSet::new();
    let mut announced = Announced::default();
    let mut repaired = Instant::now();
    let mut spreading = Spreading::new();
    let mut resizer = Resizer::new();
    loop {
        changed.mark_unchanged();
        let catalog = operations.catalog.view();
        let is_new = catalog.placement_version != announced.version;
        announced.announce(operations, &catalog);
        for operation in catalog.operations.values().filter(|operation| is_open(operation)) {
            if driven.insert(operation.id.clone()) {
                running.spawn(drive(operations.clone(), operation.clone()));
            }
        }
        for (database, retired) in retiring::due(&catalog) {
            let name = format!("retired {database} {:?}", retired.bucket.partitions);
            if driven.insert(name.clone()) {
                let operations = operations.clone();
                running.spawn(async move {
                    retiring::retire(&operations, database, retired).await;
                    tokio::time::sleep(INTERVAL).await;
                    name
                });
            }
        }
        if is_new || repaired.elapsed() >= INTERVAL {
            repair(operations, &catalog).await;
            repaired = Instant::now();
        }
        spreading.look(operations, &catalog).await;
        resizer.look(operations, &catalog).await;
        tokio::select! {
            Some(ended) = running.join_next() => match ended {
                // If it did not come to its end, it is taken up again with the next look.
                Ok(id) => drop(driven.remove(&id)),
                Err(error) => {
                    tracing::error!(%error, "an operation's driver ended by a panic");
                    driven.clear();
                    running = JoinSet::new();
                }
            },
            changed = changed.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Rolls one operation to its end; answers its id.
async fn drive(operations: Operations, operation: Operation) -> String {
    let driven = match &operation.work {
        OperationWork::DropDatabase { .. } => finish(&operations, &operation.id).await,
        OperationWork::ChangeSchema { transaction: None, .. } => {
            schema_change::drive(&operations, &operation.id).await
        }
        OperationWork::DrainNode { node, .. } => drain::drive(&operations, &operation.id, node).await,
        OperationWork::Rebalance => rebalance::drive(&operations, &operation.id).await,
        _ => carry_out(&operations, &operation).await,
    };
    if let Err(error) = driven {
        tracing::warn!(operation = operation.id, %error, "an operation is taken up again later");
        // Else a catalog without quorum would be asked without pause.
        tokio::time::sleep(INTERVAL).await;
    }
    operation.id
}

/// Rolls an operation on partitions to its end. After an error, or if it is dropped, it is to be taken up again.
pub async fn carry_out(cluster: &impl Cluster, operation: &Operation) -> Result<()> {
    match &operation.work {
        OperationWork::CreateDatabase { database, statements, group_statements } => {
            let statements: Vec<_> = std::iter::once(statements).chain(group_statements).cloned().collect();
            create_database::drive(cluster, &operation.id, database, &statements).await
        }
        OperationWork::AddReplica { partition, replica, node, replaces } => {
            let new = replicas::NewReplica { partition: *partition, replica: *replica, replaces: *replaces };
            replicas::add(cluster, &operation.id, new, node).await
        }
        OperationWork::RemoveReplica { partition, replica } => {
            replicas::remove(cluster, &operation.id, *partition, *replica).await
        }
        OperationWork::TransferLeader { partition, replica } => {
            leader_transfer::drive(cluster, &operation.id, *partition, *replica).await
        }
        OperationWork::ReplaceBuckets { .. } => replacing::drive(cluster, &operation.id).await,
        OperationWork::ChangeSchema { transaction: Some(_), .. } => {
            schema_transaction::drive(cluster, &operation.id).await
        }
        OperationWork::DropDatabase { .. }
        | OperationWork::ChangeSchema { transaction: None, .. }
        | OperationWork::DrainNode { .. }
        | OperationWork::Rebalance => Err(Error::internal("this is no operation on partitions")),
    }
}

pub(super) async fn finish(cluster: &impl Cluster, id: &str) -> Result<()> {
    let command = Command::FinishOperation { operation: id.to_owned() };
    cluster.propose(command).await.map(drop)
}

pub(super) async fn fail(cluster: &impl Cluster, id: &str, error: Error) -> Result<()> {
    tracing::warn!(operation = id, %error, "an operation has failed");
    let command = Command::FailOperation { operation: id.to_owned(), error };
    cluster.propose(command).await.map(drop)
}

/// Begins the repairs that placement asks for.
async fn repair(operations: &Operations, catalog: &Catalog) {
    let patience = Patience {
        now_ms: now_ms(),
        repair_after_ms: u64::try_from(operations.repair_after.as_millis()).unwrap_or(u64::MAX),
    };
    for command in repairs(catalog, &operations.health.measured().await, patience) {
        if let Err(error) = operations.catalog.propose(command).await {
            tracing::debug!(%error, "a repair was not begun");
        }
    }
}

/// What each node was told to run. Nodes ask too, with every report; this saves the wait.
#[derive(Default)]
struct Announced {
    version: u64,
    told: BTreeMap<NodeId, Vec<Assignment>>,
}

impl Announced {
    fn announce(&mut self, operations: &Operations, catalog: &Catalog) {
        if catalog.placement_version == self.version {
            return;
        }
        self.version = catalog.placement_version;
        self.told.retain(|node, _| catalog.nodes.contains_key(node));
        for node in catalog.nodes.values().filter(|node| node.status != NodeStatus::Inactive) {
            let assignments = assignments(catalog, &node.id);
            if self.told.get(&node.id) == Some(&assignments.replicas) {
                continue;
            }
            self.told.insert(node.id.clone(), assignments.replicas.clone());
            let (storage, address) = (operations.storage.clone(), node.address());
            tokio::spawn(async move {
                if let Err(error) = storage.assign(&address, assignments).await {
                    tracing::debug!(%error, address, "a storage node was not told what to run; it will ask");
                }
            });
        }
    }
}
