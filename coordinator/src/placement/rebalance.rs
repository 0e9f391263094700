//! Spreading replicas and leaders evenly over the nodes, one step at a time.

use std::collections::BTreeMap;

use common::catalog::{Catalog, DatabaseState, Partition, Replica, ReplicaRole};
use common::{NodeId, PartitionId, ReplicaId};

use super::load::loads;
use crate::catalog::Command;

/// The next replica to move: from the node with the most to the one with the fewest, if they differ by more than
/// one. `None` when replicas are spread evenly.
#[must_use]
pub fn next_move(catalog: &Catalog) -> Option<Command> {
    let loads = loads(catalog);
    let (light, fewest) = loads.iter().min_by_key(|(_, load)| load.replicas)?;
    let mut heavy: Vec<_> = loads.iter().filter(|(_, load)| load.replicas > fewest.replicas + 1).collect();
    heavy.sort_by_key(|(_, load)| std::cmp::Reverse(load.replicas));
    heavy.into_iter().find_map(|(node, _)| {
        let leaving = |partition: &&Partition| {
            let holds_light = partition.replicas.iter().any(|replica| replica.node == *light);
            !holds_light && is_ready(catalog, partition) && voter_on(partition, node).is_some()
        };
        let partition = catalog.partitions.values().find(leaving)?;
        let replaces = voter_on(partition, node).map(|replica| replica.id);
        Some(Command::AddReplica { partition: partition.id, node: light.clone(), replaces })
    })
}

/// The next partition to be led by another of its replicas, given who leads: from the node that leads the most to one
/// that leads at least two fewer. `None` when leaders are spread evenly.
#[must_use]
pub fn next_leader(catalog: &Catalog, leaders: &BTreeMap<PartitionId, ReplicaId>) -> Option<Command> {
    let mut led: BTreeMap<NodeId, usize> = loads(catalog).into_keys().map(|node| (node, 0)).collect();
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
    use crate::placement::fixture;

    fn counts(catalog: &Catalog) -> Vec<usize> {
        loads(catalog).values().map(|load| load.replicas).collect()
    }

    #[test]
    fn a_node_that_joins_gets_its_share_and_every_partition_keeps_its_replicas() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "d", 8, 3);
        assert_eq!(next_move(&catalog), None);
        fixture::add_node(&mut catalog, "n4");
        let mut moves = 0;
        while let Some(command) = next_move(&catalog) {
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
}
