//! Spreading replicas and leaders evenly over the nodes, one step at a time.

use std::collections::BTreeMap;

use common::catalog::{Catalog, DatabaseState, Node, NodeStatus, Partition, Replica, ReplicaRole};
use common::{NodeId, PartitionId, ReplicaId};

use super::load::{Measured, Weights, loads, takes_replicas};
use crate::catalog::Command;

/// The next replica to move from a node that carries much to one that carries little, by number, size and requests of
/// their replicas: the one that leaves the two most alike. `None` when moving would make two nodes differ more, or hardly
/// less, so that it comes to an end.
#[must_use]
pub fn next_move(catalog: &Catalog, measured: &Measured) -> Option<Command> {
    let weights = Weights::new(measured);
    let loads = loads(catalog, &weights);
    let mut nodes: Vec<_> = loads.iter().collect();
    nodes.sort_by_key(|(_, load)| load.weight);
    // From the heaviest first, to the lightest first.
    let pairs = nodes.iter().rev().flat_map(|heavy| nodes.iter().map(move |light| (heavy, light)));
    pairs.into_iter().find_map(|((from, heavy), (to, light))| {
        let apart = heavy.weight.checked_sub(light.weight).filter(|apart| *apart > 0)?;
        let leaving = catalog.partitions.values().filter(|partition| {
            let holds = partition.replicas.iter().any(|replica| replica.node == **to);
            !holds && is_ready(catalog, partition) && 4 * weights.of(partition.id) <= 3 * apart
        });
        let replicas = leaving.filter_map(|partition| Some((partition.id, voter_on(partition, from)?.id)));
        let (partition, left) = replicas.max_by_key(|(id, _)| (weights.of(*id), std::cmp::Reverse(*id)))?;
        Some(Command::AddReplica { partition, node: (*to).clone(), replaces: Some(left) })
    })
}

/// The next partition to be led by another of its replicas, given who leads: from the node that leads the most to one
/// that leads at least two fewer. `None` when leaders are spread evenly.
#[must_use]
pub fn next_leader(catalog: &Catalog, leaders: &BTreeMap<PartitionId, ReplicaId>) -> Option<Command> {
    let takers = catalog.nodes.values().filter(|node| takes_replicas(node));
    let mut led: BTreeMap<NodeId, usize> = takers.map(|node| (node.id.clone(), 0)).collect();
    for node in catalog.partitions.values().filter_map(|partition| leading_node(partition, leaders)) {
        if let Some(count) = led.get_mut(node) {
            *count += 1;
        }
    }
    let moves = catalog.partitions.values().filter(|partition| is_ready(catalog, partition));
    let best = moves
        .filter_map(|partition| {
            let from = led.get(leading_node(partition, leaders)?)?;
            let voters = partition.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
            let (to, replica) = voters
                .filter_map(|replica| Some((led.get(&replica.node)?, replica)))
                .min_by_key(|(count, _)| **count)?;
            (*from > to + 1).then_some((from - to, partition.id, replica.id))
        })
        .max_by_key(|(gain, partition, _)| (*gain, std::cmp::Reverse(*partition)));
    best.map(|(_, partition, replica)| Command::TransferLeader { partition, replica })
}

/// Whether it is known who takes replicas, and none is being made or taken away: what looks even meanwhile would not be so
/// afterwards.
#[must_use]
pub fn is_settled(catalog: &Catalog) -> bool {
    let in_doubt = |node: &Node| matches!(node.status, NodeStatus::Suspected | NodeStatus::Syncing);
    let votes = |replica: &Replica| replica.role == ReplicaRole::Voter;
    !catalog.nodes.values().any(in_doubt)
        && catalog.partitions.values().all(|partition| partition.replicas.iter().all(votes))
}

fn leading_node<'p>(
    partition: &'p Partition,
    leaders: &BTreeMap<PartitionId, ReplicaId>,
) -> Option<&'p NodeId> {
    let leader = leaders.get(&partition.id)?;
    partition.replicas.iter().find(|replica| replica.id == *leader).map(|replica| &replica.node)
}

fn is_ready(catalog: &Catalog, partition: &Partition) -> bool {
    let database = catalog.databases.get(&partition.database);
    let settled = partition.replicas.iter().all(|replica| replica.role == ReplicaRole::Voter);
    settled && database.is_some_and(|database| database.state == DatabaseState::Ready)
}

fn voter_on<'p>(partition: &'p Partition, node: &NodeId) -> Option<&'p Replica> {
    partition.replicas.iter().find(|replica| replica.node == *node && replica.role == ReplicaRole::Voter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{PartitionLoad, fixture};

    fn counts(catalog: &Catalog) -> Vec<usize> {
        loads(catalog, &Weights::new(&Measured::new())).values().map(|load| load.replicas).collect()
    }

    #[test]
    fn a_node_that_joins_gets_its_share_and_every_partition_keeps_its_replicas() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "d", 8, 3);
        assert_eq!(next_move(&catalog, &Measured::new()), None);
        fixture::add_node(&mut catalog, "n4");
        let mut moves = 0;
        while let Some(command) = next_move(&catalog, &Measured::new()) {
            let operation = fixture::operation(fixture::run(&mut catalog, &command));
            fixture::run(&mut catalog, &Command::FinishOperation { operation });
            moves += 1;
            assert!(moves < 100, "it never ends");
        }
        assert_eq!((counts(&catalog), moves), (vec![6; 4], 6));
        for partition in catalog.partitions.values() {
            let mut nodes: Vec<_> = partition.replicas.iter().map(|replica| &replica.node).collect();
            nodes.sort();
            nodes.dedup();
            assert_eq!(nodes.len(), 3);
        }
    }

    #[test]
    fn a_silent_node_and_a_replica_that_is_being_made_unsettle_the_cluster() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "d", 2, 3);
        assert!(is_settled(&catalog));
        catalog.nodes.get_mut(&NodeId::from("n2")).unwrap().status = NodeStatus::Suspected;
        assert!(!is_settled(&catalog));
        catalog.nodes.get_mut(&NodeId::from("n2")).unwrap().status = NodeStatus::Active;
        fixture::add_node(&mut catalog, "n4");
        let moving = next_move(&catalog, &Measured::new()).unwrap();
        let operation = fixture::operation(fixture::run(&mut catalog, &moving));
        assert!(!is_settled(&catalog));
        fixture::run(&mut catalog, &Command::FinishOperation { operation });
        assert!(is_settled(&catalog));
    }

    #[test]
    fn leaders_are_spread_in_as_few_steps_as_it_takes() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "d", 6, 3);
        let on_n1 = |partition: &Partition| voter_on(partition, &"n1".into()).unwrap().id;
        let mut leaders: BTreeMap<_, _> =
            catalog.partitions.values().map(|partition| (partition.id, on_n1(partition))).collect();
        let mut steps = 0;
        while let Some(Command::TransferLeader { partition, replica }) = next_leader(&catalog, &leaders) {
            leaders.insert(partition, replica);
            steps += 1;
            assert!(steps < 100, "it never ends");
        }
        assert_eq!(steps, 4);
    }

    #[test]
    fn replicas_are_moved_until_what_nodes_hold_and_do_is_even() {
        let mut catalog = fixture::cluster(2);
        fixture::create(&mut catalog, "d", 8, 1);
        // Those of the first node are large, of the second small.
        let on_first = |partition: &Partition| partition.replicas[0].node == "n1".into();
        let load = |partition: &Partition| PartitionLoad {
            bytes: if on_first(partition) { 4 << 30 } else { 1 << 20 },
            requests: 0,
        };
        let measured: Measured =
            catalog.partitions.values().map(|partition| (partition.id, load(partition))).collect();
        let mut moves = 0;
        while let Some(command) = next_move(&catalog, &measured) {
            let operation = fixture::operation(fixture::run(&mut catalog, &command));
            fixture::run(&mut catalog, &Command::FinishOperation { operation });
            moves += 1;
            assert!(moves < 10, "it never ends");
        }
        let held = |node: &str| -> u64 {
            let there = catalog.partitions.values().filter(|one| one.replicas[0].node == node.into());
            there.map(|partition| measured[&partition.id].bytes >> 30).sum()
        };
        assert_eq!((held("n1"), held("n2")), (8, 8), "after {moves} moves");
    }
}
