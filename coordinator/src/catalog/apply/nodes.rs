//! Commands about storage nodes, above all: who is who when one registers.
//!
//! A data directory calls itself by a random *instance*. It proves identity: what came back under another
//! address is still the same node, and what came back under the same address with another instance is a
//! node whose disk was wiped, which has forgotten its votes. Its replicas must never run again under their
//! ids, so they are marked lost.

use common::catalog::{Catalog, Node, NodeStatus, OperationWork, ReplicaRole};
use common::names::check_node_id;
use common::{Error, ErrorCode, NodeId, PartitionId, Result};

use super::{operations, placement_changed};
use crate::catalog::Answer;

pub(super) fn register(
    catalog: &mut Catalog,
    at: u64,
    wanted: Option<&NodeId>,
    instance: Option<&str>,
    host: &str,
    port: u16,
) -> Result<Answer> {
    if let Some(id) = wanted {
        check_node_id(id.as_str())?;
    }
    let id = match instance {
        Some(instance) => register_instance(catalog, at, wanted, instance, host, port)?,
        None => register_address(catalog, wanted, host, port)?,
    };
    placement_changed(catalog);
    Ok(Answer::Node(id))
}

/// An operator names an address: nobody's identity changes.
fn register_address(catalog: &mut Catalog, wanted: Option<&NodeId>, host: &str, port: u16) -> Result<NodeId> {
    if let Some(id) = id_at(catalog, host, port) {
        return Ok(id);
    }
    match wanted {
        Some(id) if catalog.nodes.contains_key(id) => Err(node_exists(id)),
        _ => Ok(insert(catalog, wanted, None, host, port)),
    }
}

/// A storage node introduces itself.
fn register_instance(
    catalog: &mut Catalog,
    at: u64,
    wanted: Option<&NodeId>,
    instance: &str,
    host: &str,
    port: u16,
) -> Result<NodeId> {
    let same_instance = |node: &&Node| node.instance.as_deref() == Some(instance);
    let known = catalog.nodes.values().find(same_instance).map(|node| node.id.clone());
    if let Some(id) = known.or_else(|| id_at(catalog, host, port)) {
        settle(catalog, at, &id, instance, host, port);
        return Ok(id);
    }
    if let Some(node) = wanted.and_then(|id| catalog.nodes.get(id)) {
        let id = node.id.clone();
        if node.instance.is_some() && lives(node.status) {
            return Err(node_exists(&id));
        }
        settle(catalog, at, &id, instance, host, port);
        return Ok(id);
    }
    Ok(insert(catalog, wanted, Some(instance), host, port))
}

/// The instance is the node of this id from now on, at this address.
fn settle(catalog: &mut Catalog, at: u64, id: &NodeId, instance: &str, host: &str, port: u16) {
    let other_at_address =
        catalog.nodes.values_mut().find(|other| other.id != *id && other.host == host && other.port == port);
    if let Some(other) = other_at_address {
        // It has moved or is gone; where to is unknown until it registers again.
        other.status = NodeStatus::Inactive;
        other.inactive_since = Some(at);
    }
    let node = catalog.nodes.get_mut(id).expect("the caller found this node");
    let wiped = node.instance.as_deref().is_some_and(|before| before != instance);
    node.instance = Some(instance.to_owned());
    host.clone_into(&mut node.host);
    node.port = port;
    if node.status != NodeStatus::Draining {
        node.status = NodeStatus::Active;
    }
    node.inactive_since = None;
    if wiped {
        lose_replicas(catalog, id);
    }
}

fn insert(
    catalog: &mut Catalog,
    wanted: Option<&NodeId>,
    instance: Option<&str>,
    host: &str,
    port: u16,
) -> NodeId {
    let id = wanted.cloned().unwrap_or_else(|| free_id(catalog));
    let node = Node {
        id: id.clone(),
        host: host.to_owned(),
        port,
        instance: instance.map(str::to_owned),
        status: NodeStatus::Active,
        inactive_since: None,
    };
    catalog.nodes.insert(id.clone(), node);
    id
}

fn free_id(catalog: &mut Catalog) -> NodeId {
    loop {
        let id = NodeId(format!("node-{}", catalog.next_number));
        catalog.next_number += 1;
        if !catalog.nodes.contains_key(&id) {
            return id;
        }
    }
}

fn id_at(catalog: &Catalog, host: &str, port: u16) -> Option<NodeId> {
    let mut nodes = catalog.nodes.values();
    nodes.find(|node| node.host == host && node.port == port).map(|node| node.id.clone())
}

fn lives(status: NodeStatus) -> bool {
    status != NodeStatus::Inactive
}

fn lose_replicas(catalog: &mut Catalog, node: &NodeId) {
    for partition in catalog.partitions.values_mut() {
        for replica in partition.replicas.iter_mut().filter(|replica| replica.node == *node) {
            replica.role = ReplicaRole::Lost;
        }
    }
}

fn node_exists(id: &NodeId) -> Error {
    Error::new(ErrorCode::NodeExists, format!("Storage node with ID '{id}' already exists"))
        .with_hint("choose another id, or stop the node that has it")
}

fn known<'a>(catalog: &'a mut Catalog, id: &NodeId) -> Result<&'a mut Node> {
    catalog.nodes.get_mut(id).ok_or_else(|| node_not_found(id))
}

fn node_not_found(id: &NodeId) -> Error {
    Error::new(ErrorCode::NodeNotFound, format!("Storage node '{id}' not found"))
}

pub(super) fn set_status(
    catalog: &mut Catalog,
    at: u64,
    id: &NodeId,
    instance: Option<&str>,
    status: NodeStatus,
) -> Result<Answer> {
    let node = known(catalog, id)?;
    if node.instance.as_deref() == instance {
        node.status = status;
        node.inactive_since = (status == NodeStatus::Inactive).then(|| node.inactive_since.unwrap_or(at));
    }
    Ok(Answer::Done)
}

/// It takes no new replicas, and those that it has are made anew on other nodes.
pub(super) fn drain(catalog: &mut Catalog, at: u64, id: &NodeId) -> Result<Answer> {
    known(catalog, id)?.status = NodeStatus::Draining;
    let drains = |work: &OperationWork| matches!(work, OperationWork::DrainNode { node, .. } if node == id);
    let under_way = catalog
        .operations
        .values()
        .find(|operation| operations::is_open(operation) && drains(&operation.work))
        .map(|operation| operation.id.clone());
    let held = catalog.partitions.values().flat_map(|partition| &partition.replicas);
    let replicas = held.filter(|replica| replica.node == *id && replica.role != ReplicaRole::Lost).count();
    let work = OperationWork::DrainNode { node: id.clone(), replicas };
    Ok(Answer::Operation(under_way.unwrap_or_else(|| operations::begin(catalog, at, work))))
}

/// A node that was draining is used again.
pub(super) fn end_drain(catalog: &mut Catalog, id: &NodeId) {
    if let Some(node) = catalog.nodes.get_mut(id).filter(|node| node.status == NodeStatus::Draining) {
        node.status = NodeStatus::Active;
    }
}

/// Its replicas count as lost; they leave their groups and are made anew on other nodes.
pub(super) fn remove(catalog: &mut Catalog, id: &NodeId) -> Result<Answer> {
    known(catalog, id)?;
    if let Some(partition) = partition_that_needs(catalog, id) {
        let mut error = Error::new(
            ErrorCode::NodeInUse,
            format!("Storage node '{id}' holds a replica that a partition needs for its quorum"),
        )
        .with_hint("wait until the partition has more replicas, or drop its database");
        error.partition = catalog.partitions.get(&partition).map(|partition| partition.uuid.clone());
        return Err(error);
    }
    catalog.nodes.remove(id);
    lose_replicas(catalog, id);
    placement_changed(catalog);
    Ok(Answer::Done)
}

/// A partition whose other voters that live are no majority. Taking a replica out of a group needs a majority
/// of the group as it is, so without one the partition would be stuck for ever.
fn partition_that_needs(catalog: &Catalog, id: &NodeId) -> Option<PartitionId> {
    let needs = |partition: &&common::catalog::Partition| {
        let voters = partition.replicas.iter().filter(|replica| replica.role != ReplicaRole::Learner);
        let (mut total, mut others_alive, mut is_voter) = (0, 0, false);
        for replica in voters {
            total += 1;
            if replica.role == ReplicaRole::Lost {
                continue;
            }
            if replica.node == *id {
                is_voter = true;
            } else if catalog.nodes.get(&replica.node).is_some_and(|node| lives(node.status)) {
                others_alive += 1;
            }
        }
        is_voter && others_alive < total / 2 + 1
    };
    catalog.partitions.values().find(needs).map(|partition| partition.id)
}
