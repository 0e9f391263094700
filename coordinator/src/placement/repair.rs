//! Bringing partitions to the number of replicas that they are meant to have.

use std::collections::BTreeSet;

use common::catalog::{
    Catalog, DatabaseState, Node, NodeStatus, OperationWork, Partition, Replica, ReplicaRole,
};
use common::{NodeId, PartitionId};

use super::load::{Measured, Weights, loads, takes_replicas};
use crate::catalog::{Command, is_open};

/// Replicas that are moved or made at the same time, so that serving clients goes before repairing.
const REPAIRS_MAX: usize = 4;

/// When a node counts as gone for good.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// A node that is inactive for so long has its replicas made anew elsewhere.
    pub repair_after_ms: u64,
}

impl Patience {
    /// Whether the node's replicas are to be elsewhere: it drains, or is gone.
    fn gives_up(self, node: &Node) -> bool {
        let gone = |since: u64| self.now_ms.saturating_sub(since) >= self.repair_after_ms;
        match node.status {
            NodeStatus::Draining => true,
            NodeStatus::Inactive => node.inactive_since.is_some_and(gone),
            _ => false,
        }
    }
}

/// Commands that begin the next repairs: lost replicas leave their groups; where a partition has fewer replicas than
/// its factor, those on nodes that are given up not counted, and a node is free, one is made there, in the place of
/// one that is given up. Partitions with the fewest voters come first, each on the free node that carries the least by
/// what was measured, and one change per partition at a time.
#[must_use]
pub fn repairs(catalog: &Catalog, measured: &Measured, patience: Patience) -> Vec<Command> {
    let busy: BTreeSet<PartitionId> = catalog
        .operations
        .values()
        .filter(|operation| is_open(operation))
        .filter_map(changed_partition)
        .collect();
    let weights = Weights::new(measured);
    let mut loads = loads(catalog, &weights);
    let mut commands = Vec::new();
    let stays = |replica: &Replica| {
        let node = catalog.nodes.get(&replica.node);
        replica.role != ReplicaRole::Lost && node.is_some_and(|node| !patience.gives_up(node))
    };
    let staying = |partition: &Partition| partition.replicas.iter().filter(|replica| stays(replica)).count();
    let mut partitions: Vec<&Partition> = catalog.partitions.values().collect();
    partitions.sort_by_key(|partition| staying(partition));
    for partition in partitions {
        if busy.len() + commands.len() >= REPAIRS_MAX {
            break;
        }
        if busy.contains(&partition.id) || !can_change(catalog, partition) {
            continue;
        }
        if let Some(lost) = partition.replicas.iter().find(|replica| replica.role == ReplicaRole::Lost) {
            commands.push(Command::RemoveReplica { partition: partition.id, replica: lost.id });
        } else if staying(partition) < wanted(catalog, partition) {
            let holders: BTreeSet<&NodeId> = partition.replicas.iter().map(|replica| &replica.node).collect();
            let free = loads.iter_mut().filter(|(node, _)| !holders.contains(node));
            if let Some((node, load)) = free.min_by_key(|(_, load)| load.weight) {
                load.weight += weights.of(partition.id);
                let replaces = partition.replicas.iter().find(|replica| !stays(replica)).map(|left| left.id);
                let (partition, node) = (partition.id, node.clone());
                commands.push(Command::AddReplica { partition, node, replaces });
            }
        }
    }
    commands
}

fn changed_partition(operation: &common::catalog::Operation) -> Option<PartitionId> {
    match &operation.work {
        OperationWork::AddReplica { partition, .. } | OperationWork::RemoveReplica { partition, .. } => {
            Some(*partition)
        }
        _ => None,
    }
}

/// Its database is in use, and a majority of its voters live: without one no change would come to its end.
fn can_change(catalog: &Catalog, partition: &Partition) -> bool {
    let ready = catalog
        .databases
        .get(&partition.database)
        .is_some_and(|database| database.state == DatabaseState::Ready);
    let lives = |node: &NodeId| {
        catalog
            .nodes
            .get(node)
            .is_some_and(|node| !matches!(node.status, NodeStatus::Inactive | NodeStatus::Suspected))
    };
    let voters = partition.replicas.iter().filter(|replica| replica.role != ReplicaRole::Learner);
    let (mut total, mut living) = (0, 0);
    for replica in voters {
        total += 1;
        living += usize::from(replica.role == ReplicaRole::Voter && lives(&replica.node));
    }
    ready && living > total / 2
}

fn wanted(catalog: &Catalog, partition: &Partition) -> usize {
    let wanted = catalog.databases.get(&partition.database).map_or(0, |database| database.replication_factor);
    usize::try_from(wanted).unwrap_or(usize::MAX)
}

/// Partitions that the node cannot give away, because every other node holds a replica of them already.
#[must_use]
pub fn stuck_on(catalog: &Catalog, node: &NodeId) -> usize {
    let takers: Vec<&NodeId> =
        catalog.nodes.values().filter(|node| takes_replicas(node)).map(|node| &node.id).collect();
    let is_stuck = |partition: &&Partition| {
        let holders: BTreeSet<&NodeId> = partition.replicas.iter().map(|replica| &replica.node).collect();
        // While a new replica is being made, that is where one goes.
        let settled = partition.replicas.iter().all(|replica| replica.role == ReplicaRole::Voter);
        settled && holders.contains(node) && takers.iter().all(|free| holders.contains(free))
    };
    catalog.partitions.values().filter(is_stuck).count()
}

/// How many partitions have fewer replicas in good order than their factor.
#[must_use]
pub fn under_replicated(catalog: &Catalog) -> usize {
    let is_under = |partition: &&Partition| {
        let good =
            |node: &NodeId| catalog.nodes.get(node).is_some_and(|node| node.status != NodeStatus::Inactive);
        let voters = partition
            .replicas
            .iter()
            .filter(|replica| replica.role == ReplicaRole::Voter && good(&replica.node))
            .count();
        catalog.databases.get(&partition.database).is_some_and(|database| {
            voters < usize::try_from(database.replication_factor).unwrap_or(usize::MAX)
        })
    };
    catalog.partitions.values().filter(is_under).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{PartitionLoad, fixture};

    /// Nobody has been away for long.
    const SOON: Patience = Patience { now_ms: 0, repair_after_ms: 60_000 };

    /// Begins and finishes repairs until nothing is left to do, and counts them.
    fn repair_all(catalog: &mut Catalog) -> usize {
        let mut count = 0;
        loop {
            let commands = repairs(catalog, &Measured::new(), SOON);
            assert!(commands.len() <= REPAIRS_MAX);
            if commands.is_empty() {
                return count;
            }
            for command in commands {
                let operation = fixture::operation(fixture::run(catalog, &command));
                fixture::run(catalog, &Command::FinishOperation { operation });
                count += 1;
            }
            assert!(count < 1_000, "repairs never end");
        }
    }

    fn replica_counts(catalog: &Catalog) -> Vec<usize> {
        catalog.partitions.values().map(|partition| partition.replicas.len()).collect()
    }

    #[test]
    fn replicas_are_made_when_nodes_join() {
        let mut catalog = fixture::cluster(1);
        fixture::create(&mut catalog, "d", 6, 3);
        assert_eq!((repairs(&catalog, &Measured::new(), SOON), under_replicated(&catalog)), (vec![], 6));
        fixture::add_node(&mut catalog, "n2");
        fixture::add_node(&mut catalog, "n3");
        assert_eq!(repairs(&catalog, &Measured::new(), SOON).len(), REPAIRS_MAX);
        assert_eq!(repair_all(&mut catalog), 12);
        assert_eq!((replica_counts(&catalog), under_replicated(&catalog)), (vec![3; 6], 0));
    }

    #[test]
    fn a_partition_is_changed_by_one_operation_at_a_time() {
        let mut catalog = fixture::cluster(1);
        fixture::create(&mut catalog, "d", 1, 3);
        fixture::add_node(&mut catalog, "n2");
        fixture::add_node(&mut catalog, "n3");
        let [command] = repairs(&catalog, &Measured::new(), SOON).try_into().unwrap();
        fixture::run(&mut catalog, &command);
        assert_eq!(repairs(&catalog, &Measured::new(), SOON), []);
    }

    #[test]
    fn a_wiped_nodes_replicas_are_taken_out_and_made_anew_under_new_ids() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "d", 4, 3);
        let before: BTreeSet<_> = catalog
            .partitions
            .values()
            .flat_map(|partition| &partition.replicas)
            .map(|replica| replica.id)
            .collect();
        let port = catalog.nodes[&NodeId::from("n2")].port;
        let wiped = Command::RegisterNode {
            node: Some("n2".into()),
            instance: Some("empty".into()),
            host: "localhost".into(),
            port,
        };
        fixture::run(&mut catalog, &wiped);
        assert_eq!(repair_all(&mut catalog), 8);
        for partition in catalog.partitions.values() {
            let on_n2: Vec<_> =
                partition.replicas.iter().filter(|replica| replica.node.as_str() == "n2").collect();
            assert_eq!((partition.replicas.len(), on_n2.len()), (3, 1));
            assert!(!before.contains(&on_n2[0].id) && on_n2[0].role == ReplicaRole::Voter);
        }
    }

    #[test]
    fn a_partition_without_a_living_majority_is_left_alone() {
        let mut catalog = fixture::cluster(2);
        fixture::create(&mut catalog, "d", 1, 3);
        fixture::add_node(&mut catalog, "n3");
        assert_eq!(repairs(&catalog, &Measured::new(), SOON).len(), 1);
        catalog.nodes.get_mut(&NodeId::from("n1")).unwrap().status = NodeStatus::Inactive;
        assert_eq!(repairs(&catalog, &Measured::new(), SOON), []);
    }

    /// Begins and finishes repairs until nothing is left to do.
    fn repair_with(catalog: &mut Catalog, patience: Patience) -> usize {
        let mut count = 0;
        loop {
            let commands = repairs(catalog, &Measured::new(), patience);
            if commands.is_empty() {
                return count;
            }
            for command in commands {
                let operation = fixture::operation(fixture::run(catalog, &command));
                fixture::run(catalog, &Command::FinishOperation { operation });
                count += 1;
            }
        }
    }

    fn silence(catalog: &mut Catalog, node: &str) -> u64 {
        let instance = catalog.nodes[&NodeId::from(node)].instance.clone();
        let status = NodeStatus::Inactive;
        fixture::run(catalog, &Command::SetNodeStatus { node: node.into(), instance, status });
        catalog.nodes[&NodeId::from(node)].inactive_since.unwrap()
    }

    fn on(catalog: &Catalog, node: &str) -> usize {
        let replicas = catalog.partitions.values().flat_map(|partition| &partition.replicas);
        replicas.filter(|replica| replica.node.as_str() == node).count()
    }

    #[test]
    fn replicas_of_a_node_that_stays_away_are_made_anew_elsewhere_and_only_then() {
        let mut catalog = fixture::cluster(4);
        fixture::create(&mut catalog, "d", 4, 3);
        let since = silence(&mut catalog, "n2");
        let held = on(&catalog, "n2");
        assert!(held > 0);
        let early = Patience { now_ms: since + 59_999, repair_after_ms: 60_000 };
        assert_eq!(repairs(&catalog, &Measured::new(), early), []);
        let late = Patience { now_ms: since + 60_000, ..early };
        assert_eq!(repair_with(&mut catalog, late), held);
        assert_eq!((on(&catalog, "n2"), under_replicated(&catalog)), (0, 0));
        assert_eq!(replica_counts(&catalog), [3; 4]);
    }

    #[test]
    fn a_dead_nodes_replica_stays_where_no_other_node_is_free() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "d", 2, 3);
        let since = silence(&mut catalog, "n3");
        let late = Patience { now_ms: since + 60_000, repair_after_ms: 60_000 };
        assert_eq!(repairs(&catalog, &Measured::new(), late), []);
        assert_eq!((on(&catalog, "n3"), under_replicated(&catalog)), (2, 2));
    }

    #[test]
    fn a_draining_node_gives_everything_away_at_once() {
        let mut catalog = fixture::cluster(4);
        fixture::create(&mut catalog, "d", 4, 3);
        fixture::run(&mut catalog, &Command::DrainNode { node: "n1".into() });
        assert_eq!(stuck_on(&catalog, &"n1".into()), 0);
        repair_with(&mut catalog, SOON);
        assert_eq!((on(&catalog, "n1"), replica_counts(&catalog)), (0, vec![3; 4]));
        fixture::run(&mut catalog, &Command::DrainNode { node: "n2".into() });
        assert_eq!(stuck_on(&catalog, &"n2".into()), 4);
    }

    #[test]
    fn a_replica_is_made_where_the_least_is_held_though_there_may_be_more_replicas() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "lost", 1, 3);
        let lost = *catalog.partitions.keys().next().unwrap();
        let since = silence(&mut catalog, "n3");
        fixture::add_node(&mut catalog, "n4");
        fixture::create(&mut catalog, "large", 1, 1);
        fixture::create(&mut catalog, "small", 6, 1);
        // One large partition is on n4 alone, all small ones are on n5 alone.
        fixture::add_node(&mut catalog, "n5");
        let mut measured = Measured::new();
        for partition in catalog.partitions.values_mut().filter(|partition| partition.id != lost) {
            let (node, bytes) = if partition.database == "large" { ("n4", 8 << 30) } else { ("n5", 1 << 20) };
            partition.replicas[0].node = node.into();
            measured.insert(partition.id, PartitionLoad { bytes, requests: 0 });
        }
        let late = Patience { now_ms: since + 60_000, repair_after_ms: 60_000 };
        let chosen = |measured: &Measured| match repairs(&catalog, measured, late).as_slice() {
            [Command::AddReplica { partition, node, .. }] if *partition == lost => node.to_string(),
            others => panic!("{others:?}"),
        };
        assert_eq!(chosen(&measured), "n5");
        assert_eq!(chosen(&Measured::new()), "n4");
    }

    #[test]
    fn the_partition_with_the_fewest_replicas_is_repaired_first() {
        let mut catalog = fixture::cluster(2);
        fixture::create(&mut catalog, "a", 1, 2);
        fixture::create(&mut catalog, "b", 1, 3);
        let weak = *catalog.partitions.keys().last().unwrap();
        catalog.partitions.get_mut(&weak).unwrap().replicas.pop();
        catalog.databases.get_mut("a").unwrap().replication_factor = 3;
        fixture::add_node(&mut catalog, "n3");
        assert!(
            matches!(&repairs(&catalog, &Measured::new(), SOON)[0], Command::AddReplica { partition, .. } if *partition == weak)
        );
    }
}
