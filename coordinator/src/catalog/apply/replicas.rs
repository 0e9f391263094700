//! Commands that add replicas to partitions and take lost ones away.

use common::catalog::{Catalog, OperationWork, Partition, Replica, ReplicaRole};
use common::{Error, ErrorCode, NodeId, PartitionId, ReplicaId, Result};

use super::{operations, placement_changed};
use crate::catalog::Answer;

/// The new replica is a learner until its operation finishes.
pub(super) fn add(
    catalog: &mut Catalog,
    at: u64,
    id: PartitionId,
    node: &NodeId,
    replaces: Option<ReplicaId>,
) -> Result<Answer> {
    check_idle(catalog, id)?;
    if !catalog.nodes.contains_key(node) {
        return Err(Error::new(ErrorCode::NodeNotFound, format!("Storage node '{node}' not found")));
    }
    let replica = ReplicaId(catalog.next_replica);
    let partition = known(catalog, id)?;
    let lives = |replica: &Replica| replica.role != ReplicaRole::Lost;
    let lives_there = |replica: &Replica| replica.node == *node && lives(replica);
    if partition.replicas.iter().any(lives_there) {
        let message = format!("Storage node '{node}' holds a replica of partition {id} already");
        return Err(Error::bad_request(message));
    }
    let leaves = |leaving| partition.replicas.iter().any(|found| found.id == leaving && lives(found));
    if let Some(leaving) = replaces.filter(|leaving| !leaves(*leaving)) {
        return Err(Error::new(ErrorCode::NotFound, format!("Replica {leaving} not found")));
    }
    partition.replicas.push(Replica { id: replica, node: node.clone(), role: ReplicaRole::Learner });
    catalog.next_replica += 1;
    placement_changed(catalog);
    let work = OperationWork::AddReplica { partition: id, replica, node: node.clone(), replaces };
    Ok(Answer::Operation(operations::begin(catalog, at, work)))
}

/// All of the new replicas or none.
pub(super) fn add_all(catalog: &mut Catalog, at: u64, database: &str, node: &NodeId) -> Result<Answer> {
    if !catalog.databases.contains_key(database) {
        let message = format!("Database '{database}' not found");
        return Err(Error::new(ErrorCode::DatabaseNotFound, message));
    }
    let lives_there = |replica: &Replica| replica.node == *node && replica.role != ReplicaRole::Lost;
    let missing: Vec<PartitionId> = catalog
        .partitions
        .values()
        .filter(|partition| partition.database == database && !partition.replicas.iter().any(lives_there))
        .map(|partition| partition.id)
        .collect();
    missing.iter().try_for_each(|id| check_idle(catalog, *id))?;
    let mut begun = Vec::with_capacity(missing.len());
    for id in missing {
        // What could be refused of one is refused of the first: the node is unknown.
        if let Answer::Operation(operation) = add(catalog, at, id, node, None)? {
            begun.push(operation);
        }
    }
    Ok(Answer::Operations(begun))
}

pub(super) fn remove(catalog: &mut Catalog, at: u64, id: PartitionId, replica: ReplicaId) -> Result<Answer> {
    check_idle(catalog, id)?;
    let partition = known(catalog, id)?;
    let found = partition.replicas.iter().find(|found| found.id == replica);
    match found.map(|found| found.role) {
        Some(ReplicaRole::Lost) => {}
        Some(_) => return Err(Error::bad_request(format!("replica {replica} is not lost"))),
        None => return Err(Error::new(ErrorCode::NotFound, format!("Replica {replica} not found"))),
    }
    let work = OperationWork::RemoveReplica { partition: id, replica };
    Ok(Answer::Operation(operations::begin(catalog, at, work)))
}

/// Only a voter can lead.
pub(super) fn transfer_leader(
    catalog: &mut Catalog,
    at: u64,
    id: PartitionId,
    replica: ReplicaId,
) -> Result<Answer> {
    let found = known(catalog, id)?.replicas.iter().find(|found| found.id == replica);
    if found.is_none_or(|found| found.role != ReplicaRole::Voter) {
        return Err(Error::bad_request(format!("replica {replica} of partition {id} has no vote")));
    }
    let work = OperationWork::TransferLeader { partition: id, replica };
    Ok(Answer::Operation(operations::begin(catalog, at, work)))
}

/// One change of a partition's members at a time.
fn check_idle(catalog: &Catalog, id: PartitionId) -> Result<()> {
    let changes = |work: &OperationWork| {
        matches!(work, OperationWork::AddReplica { partition, .. }
            | OperationWork::RemoveReplica { partition, .. } if *partition == id)
    };
    if catalog.operations.values().any(|operation| operations::is_open(operation) && changes(&operation.work))
    {
        let message = format!("the replicas of partition {id} are being changed");
        return Err(Error::new(ErrorCode::SerializationFailure, message));
    }
    Ok(())
}

fn known(catalog: &mut Catalog, id: PartitionId) -> Result<&mut Partition> {
    catalog
        .partitions
        .get_mut(&id)
        .ok_or_else(|| Error::new(ErrorCode::PartitionNotFound, format!("Partition {id} not found")))
}
