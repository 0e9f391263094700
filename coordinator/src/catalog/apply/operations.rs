//! Beginning and ending operations. How one ends decides what becomes visible.

use common::catalog::{Catalog, DatabaseState, Operation, OperationState, OperationWork, ReplicaRole};
use common::{Error, ErrorCode, PartitionId, ReplicaId, Result};

use super::{databases, nodes, placement_changed, replacing, schemas};
use crate::catalog::Answer;

/// Ended operations are shown for so long, in milliseconds …
const ENDED_KEPT_MS: u64 = 3_600_000;
/// … and no more than this many of them.
const ENDED_KEPT_MAX: usize = 1_000;

/// Enters an operation and answers its id.
pub(super) fn begin(catalog: &mut Catalog, at: u64, work: OperationWork) -> String {
    forget_old(catalog, at);
    let id = format!("op-{}", catalog.next_number);
    catalog.next_number += 1;
    let operation = Operation {
        id: id.clone(),
        work,
        state: OperationState::Pending,
        error: None,
        started_at: at,
        ended_at: None,
    };
    catalog.operations.insert(id.clone(), operation);
    id
}

fn forget_old(catalog: &mut Catalog, at: u64) {
    catalog.operations.retain(|_, operation| {
        operation.ended_at.is_none_or(|ended| ended.saturating_add(ENDED_KEPT_MS) > at)
    });
    let mut ended: Vec<(u64, String)> = catalog
        .operations
        .values()
        .filter_map(|operation| operation.ended_at.map(|ended| (ended, operation.id.clone())))
        .collect();
    if ended.len() > ENDED_KEPT_MAX {
        ended.sort();
        for (_, id) in &ended[..ended.len() - ENDED_KEPT_MAX] {
            catalog.operations.remove(id);
        }
    }
}

/// Whether it still has something to do.
#[must_use]
pub fn is_open(operation: &Operation) -> bool {
    matches!(operation.state, OperationState::Pending | OperationState::Running)
}

/// An operation that has not ended; ended ones are left alone, so that a driver's repeated command is harmless.
pub(super) fn open<'a>(catalog: &'a mut Catalog, id: &str) -> Result<Option<&'a mut Operation>> {
    let operation = catalog
        .operations
        .get_mut(id)
        .ok_or_else(|| Error::new(ErrorCode::NotFound, format!("Operation '{id}' not found")))?;
    Ok(Some(operation).filter(|operation| is_open(operation)))
}

pub(super) fn start(catalog: &mut Catalog, id: &str) -> Result<Answer> {
    if let Some(operation) = open(catalog, id)? {
        operation.state = OperationState::Running;
    }
    Ok(Answer::Done)
}

pub(super) fn finish(catalog: &mut Catalog, at: u64, id: &str) -> Result<Answer> {
    let Some(operation) = open(catalog, id)? else { return Ok(Answer::Done) };
    if matches!(operation.work, OperationWork::ReplaceBuckets { .. }) {
        return Err(Error::internal("replacing buckets ends by naming its attempt"));
    }
    end(operation, at, OperationState::Completed, None);
    match operation.work.clone() {
        OperationWork::CreateDatabase { database, .. } => publish_database(catalog, &database),
        OperationWork::DropDatabase { database } => databases::remove(catalog, &database),
        OperationWork::ChangeSchema { database, schema, .. } => schemas::publish(catalog, &database, schema),
        OperationWork::AddReplica { partition, replica, replaces, .. } => {
            set_role(catalog, partition, replica, ReplicaRole::Voter);
            if let Some(left) = replaces {
                forget_replica(catalog, partition, left);
            }
        }
        // The node stays as it is, empty, until it is removed.
        OperationWork::DrainNode { .. } | OperationWork::Rebalance => {}
        // Refused above.
        OperationWork::ReplaceBuckets { .. } => {}
        OperationWork::RemoveReplica { partition, replica } => forget_replica(catalog, partition, replica),
        // Who leads is the group's own knowledge.
        OperationWork::TransferLeader { .. } => {}
    }
    Ok(Answer::Done)
}

pub(super) fn fail(catalog: &mut Catalog, at: u64, id: &str, error: &Error) -> Result<Answer> {
    let Some(operation) = open(catalog, id)? else { return Ok(Answer::Done) };
    end(operation, at, OperationState::Failed, Some(error));
    match operation.work.clone() {
        OperationWork::CreateDatabase { database, .. } => databases::remove(catalog, &database),
        // What is left of it is removed by another attempt, or by hand; clients do not see it.
        OperationWork::DropDatabase { .. } => {}
        OperationWork::ChangeSchema { database, transaction: Some(_), .. } => {
            schemas::drop_change(catalog, &database);
        }
        OperationWork::ChangeSchema { database, schema, .. } => {
            schemas::withdraw(catalog, &database, schema.version);
        }
        OperationWork::AddReplica { partition, replica, .. } => {
            // The group may know the replica by now, so it leaves like any lost one.
            set_role(catalog, partition, replica, ReplicaRole::Lost);
        }
        OperationWork::DrainNode { node, .. } => nodes::end_drain(catalog, &node),
        work @ OperationWork::ReplaceBuckets { .. } => drop(replacing::give_up(catalog, &work)),
        OperationWork::RemoveReplica { .. }
        | OperationWork::TransferLeader { .. }
        | OperationWork::Rebalance => {}
    }
    Ok(Answer::Done)
}

/// Gives an operation up, if nothing that it has done has to be undone.
pub(super) fn cancel(catalog: &mut Catalog, at: u64, id: &str) -> Result<Answer> {
    let Some(operation) = open(catalog, id)? else {
        return Err(Error::bad_request(format!("operation '{id}' has ended already")));
    };
    let work = operation.work.clone();
    let can_be = matches!(
        work,
        OperationWork::TransferLeader { .. }
            | OperationWork::DrainNode { .. }
            | OperationWork::Rebalance
            | OperationWork::ReplaceBuckets { .. }
    );
    if !can_be {
        let message = format!("operation '{id}' cannot be cancelled");
        return Err(Error::not_supported(message, "wait for it to end"));
    }
    end(operation, at, OperationState::Cancelled, None);
    if let OperationWork::DrainNode { node, .. } = &work {
        nodes::end_drain(catalog, node);
    }
    replacing::give_up(catalog, &work);
    Ok(Answer::Done)
}

/// One rebalancing at a time: another wish for it gets the one under way.
pub(super) fn rebalance(catalog: &mut Catalog, at: u64) -> Result<Answer> {
    let under_way = catalog
        .operations
        .values()
        .find(|operation| is_open(operation) && operation.work == OperationWork::Rebalance)
        .map(|operation| operation.id.clone());
    Ok(Answer::Operation(under_way.unwrap_or_else(|| begin(catalog, at, OperationWork::Rebalance))))
}

/// Ends everything that is under way for a database.
pub(super) fn end_all_of(
    catalog: &mut Catalog,
    at: u64,
    database: &str,
    state: OperationState,
    error: &Error,
) {
    let partitions = &catalog.partitions;
    let concerns = |work: &OperationWork| match work {
        OperationWork::CreateDatabase { database: of, .. }
        | OperationWork::DropDatabase { database: of }
        | OperationWork::ChangeSchema { database: of, .. }
        | OperationWork::ReplaceBuckets { database: of, .. } => of == database,
        OperationWork::AddReplica { partition, .. }
        | OperationWork::RemoveReplica { partition, .. }
        | OperationWork::TransferLeader { partition, .. } => {
            partitions.get(partition).is_some_and(|partition| partition.database == database)
        }
        OperationWork::DrainNode { .. } | OperationWork::Rebalance => false,
    };
    for operation in catalog.operations.values_mut() {
        if is_open(operation) && concerns(&operation.work) {
            end(operation, at, state, Some(error));
        }
    }
}

/// An operation has done its work, and what it was for is published.
pub(super) fn complete(catalog: &mut Catalog, at: u64, id: &str) {
    if let Some(operation) = catalog.operations.get_mut(id) {
        end(operation, at, OperationState::Completed, None);
    }
}

fn end(operation: &mut Operation, at: u64, state: OperationState, error: Option<&Error>) {
    operation.state = state;
    operation.error = error.cloned();
    operation.ended_at = Some(at);
}

fn publish_database(catalog: &mut Catalog, name: &str) {
    let Some(database) = catalog.databases.get_mut(name) else { return };
    database.state = DatabaseState::Ready;
    for (_, _, id) in database.partitions() {
        if let Some(partition) = catalog.partitions.get_mut(&id) {
            partition.bootstrapped = true;
        }
    }
    placement_changed(catalog);
}

fn set_role(catalog: &mut Catalog, partition: PartitionId, replica: ReplicaId, role: ReplicaRole) {
    let replicas = catalog.partitions.get_mut(&partition).into_iter().flat_map(|found| &mut found.replicas);
    for found in replicas.filter(|found| found.id == replica && found.role != ReplicaRole::Lost) {
        found.role = role;
    }
    placement_changed(catalog);
}

fn forget_replica(catalog: &mut Catalog, partition: PartitionId, replica: ReplicaId) {
    if let Some(partition) = catalog.partitions.get_mut(&partition) {
        partition.replicas.retain(|found| found.id != replica);
    }
    placement_changed(catalog);
}
