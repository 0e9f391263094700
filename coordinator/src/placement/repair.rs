//! Bringing partitions to the number of replicas that they are meant to have.

use std::collections::BTreeSet;

use common::catalog::{Catalog, DatabaseState, NodeStatus, OperationWork, Partition, ReplicaRole};
use common::{NodeId, PartitionId};

use super::load::loads;
use crate::catalog::{Command, is_open};

/// Replicas that are moved or made at the same time, so that serving clients goes before repairing.
const REPAIRS_MAX: usize = 4;

/// Commands that begin the next repairs: lost replicas leave their groups, and where a partition has fewer
/// replicas than its factor and a node is free, one is made there. One change per partition at a time.
#[must_use]
pub fn repairs(catalog: &Catalog) -> Vec<Command> {
    let busy: BTreeSet<PartitionId> = catalog
        .operations
        .values()
        .filter(|operation| is_open(operation))
        .filter_map(changed_partition)
        .collect();
    let mut loads = loads(catalog);
    let mut commands = Vec::new();
    for partition in catalog.partitions.values() {
        if busy.len() + commands.len() >= REPAIRS_MAX {
            break;
        }
        if busy.contains(&partition.id) || !can_change(catalog, partition) {
            continue;
        }
        if let Some(lost) = partition.replicas.iter().find(|replica| replica.role == ReplicaRole::Lost) {
            commands.push(Command::RemoveReplica { partition: partition.id, replica: lost.id });
        } else if is_short(catalog, partition) {
            let holders: BTreeSet<&NodeId> = partition.replicas.iter().map(|replica| &replica.node).collect();
            let free = loads.iter_mut().filter(|(node, _)| !holders.contains(node));
            if let Some((node, load)) = free.min_by_key(|(_, load)| load.replicas) {
                load.replicas += 1;
                commands.push(Command::AddReplica { partition: partition.id, node: node.clone() });
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

fn is_short(catalog: &Catalog, partition: &Partition) -> bool {
    let wanted = catalog.databases.get(&partition.database).map_or(0, |database| database.replication_factor);
    partition.replicas.len() < usize::try_from(wanted).unwrap_or(usize::MAX)
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
    use crate::placement::fixture;

    /// Begins and finishes repairs until nothing is left to do, and counts them.
    fn repair_all(catalog: &mut Catalog) -> usize {
        let mut count = 0;
        loop {
            let commands = repairs(catalog);
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
        assert_eq!((repairs(&catalog), under_replicated(&catalog)), (vec![], 6));
        fixture::add_node(&mut catalog, "n2");
        fixture::add_node(&mut catalog, "n3");
        assert_eq!(repairs(&catalog).len(), REPAIRS_MAX);
        assert_eq!(repair_all(&mut catalog), 12);
        assert_eq!((replica_counts(&catalog), under_replicated(&catalog)), (vec![3; 6], 0));
    }

    #[test]
    fn a_partition_is_changed_by_one_operation_at_a_time() {
        let mut catalog = fixture::cluster(1);
        fixture::create(&mut catalog, "d", 1, 3);
        fixture::add_node(&mut catalog, "n2");
        fixture::add_node(&mut catalog, "n3");
        let [command] = repairs(&catalog).try_into().unwrap();
        fixture::run(&mut catalog, &command);
        assert_eq!(repairs(&catalog), []);
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
        assert_eq!(repairs(&catalog).len(), 1);
        catalog.nodes.get_mut(&NodeId::from("n1")).unwrap().status = NodeStatus::Inactive;
        assert_eq!(repairs(&catalog), []);
    }
}
