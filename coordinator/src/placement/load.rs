//! How much each node has to do.

use std::collections::BTreeMap;

use common::NodeId;
use common::catalog::{Catalog, Node, NodeStatus, ReplicaRole};

/// What a node carries, by count: partitions of a database are of about the same size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Replicas.
    pub(super) replicas: usize,
    /// Replicas that were meant to lead when their partition was made.
    pub(super) leaders: usize,
}

/// Whether new replicas may be put on the node: it reports, and it has proved who it is.
pub(super) fn takes_replicas(node: &Node) -> bool {
    node.status == NodeStatus::Active && node.instance.is_some()
}

/// The loads of all nodes that take replicas.
pub(super) fn loads(catalog: &Catalog) -> BTreeMap<NodeId, Load> {
    let takers = catalog.nodes.values().filter(|node| takes_replicas(node));
    let mut loads: BTreeMap<NodeId, Load> = takers.map(|node| (node.id.clone(), Load::default())).collect();
    for partition in catalog.partitions.values() {
        let living = partition.replicas.iter().filter(|replica| replica.role != ReplicaRole::Lost);
        for (position, replica) in living.enumerate() {
            if let Some(load) = loads.get_mut(&replica.node) {
                load.replicas += 1;
                load.leaders += usize::from(position == 0);
            }
        }
    }
    loads
}
