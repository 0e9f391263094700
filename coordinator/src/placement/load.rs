//! How much each node has to do.

use std::collections::BTreeMap;

use common::catalog::{Catalog, Node, NodeStatus, ReplicaRole};
use common::{NodeId, PartitionId};

/// What having a replica weighs by itself …
const ONE: u64 = 1_000;
/// … and what it weighs to hold, and to be asked, as much as replicas are on the average.
const AVERAGE: u64 = 3_000;
/// Where partitions hold less on the average, it counts little what each holds …
const BYTES_MIN: u64 = 64 << 20;
/// … and where they are asked less often, how often each is.
const REQUESTS_MIN: u64 = 100;

/// What a partition was found to hold and to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionLoad {
    /// Size of its pages in use.
    pub bytes: u64,
    /// Requests a second of late, on all its replicas.
    pub requests: u64,
}

/// The loads of partitions, as far as they are known.
pub type Measured = BTreeMap<PartitionId, PartitionLoad>;

/// What a node carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Replicas.
    pub(super) replicas: usize,
    /// Replicas that were meant to lead when their partition was made.
    pub(super) leaders: usize,
    /// What the replicas weigh.
    pub(super) weight: u64,
}

/// What replicas weigh, relative to each other.
pub(super) struct Weights<'m> {
    measured: &'m Measured,
    unit: PartitionLoad,
    average: PartitionLoad,
}

impl<'m> Weights<'m> {
    pub(super) fn new(measured: &'m Measured) -> Weights<'m> {
        let count = measured.len().max(1) as u64;
        let average = PartitionLoad {
            bytes: measured.values().map(|load| load.bytes).sum::<u64>() / count,
            requests: measured.values().map(|load| load.requests).sum::<u64>() / count,
        };
        let unit = PartitionLoad {
            bytes: average.bytes.max(BYTES_MIN),
            requests: average.requests.max(REQUESTS_MIN),
        };
        Weights { measured, unit, average }
    }

    /// What a replica of the partition weighs; one of which nothing is known, such as a new one, the average.
    pub(super) fn of(&self, partition: PartitionId) -> u64 {
        let load = self.measured.get(&partition).copied().unwrap_or(self.average);
        ONE + share(load.bytes, self.unit.bytes) + share(load.requests, self.unit.requests)
    }

    /// What a replica of a partition that is still to come weighs.
    pub(super) fn of_new(&self) -> u64 {
        ONE + share(self.average.bytes, self.unit.bytes) + share(self.average.requests, self.unit.requests)
    }
}

/// What `value` weighs, where the average is `unit`.
fn share(value: u64, unit: u64) -> u64 {
    let share = u128::from(value) * u128::from(AVERAGE) / u128::from(unit.max(1));
    u64::try_from(share).unwrap_or(u64::MAX / 1_024)
}

/// Whether new replicas may be put on the node: it reports, and it has proved who it is.
pub(super) fn takes_replicas(node: &Node) -> bool {
    node.status == NodeStatus::Active && node.instance.is_some()
}

/// The loads of all nodes that take replicas.
pub(super) fn loads(catalog: &Catalog, weights: &Weights) -> BTreeMap<NodeId, Load> {
    let takers = catalog.nodes.values().filter(|node| takes_replicas(node));
    let mut loads: BTreeMap<NodeId, Load> = takers.map(|node| (node.id.clone(), Load::default())).collect();
    for partition in catalog.partitions.values() {
        let living = partition.replicas.iter().filter(|replica| replica.role != ReplicaRole::Lost);
        for (position, replica) in living.enumerate() {
            if let Some(load) = loads.get_mut(&replica.node) {
                load.replicas += 1;
                load.leaders += usize::from(position == 0);
                load.weight += weights.of(partition.id);
            }
        }
    }
    loads
}
