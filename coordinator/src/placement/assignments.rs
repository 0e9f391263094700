//! What a node should run, read off the catalog.

use std::collections::BTreeMap;

use common::catalog::{Catalog, Database, OperationWork, Partition, Replica, ReplicaRole, Retired};
use common::partition_map::{Bucket, BucketRange};
use common::protocol::{Assignment, Assignments, PeerAddress};
use common::{NodeId, PartitionId, ReplicaId};

use crate::catalog::{filling_epoch, is_open};

/// The assignments of a node. Their version moves only when some node's assignments may have changed.
#[must_use]
pub fn assignments(catalog: &Catalog, node: &NodeId) -> Assignments {
    let mapped = catalog.databases.values().flat_map(|database| {
        database.partitions().map(move |(_, bucket, id)| (database, bucket.clone(), id))
    });
    let mapped = mapped.map(|place| (place, true));
    let replicas = mapped.chain(unmapped(catalog).map(|place| (place, false)));
    let replicas = replicas.filter_map(|((database, bucket, id), mapped)| {
        let partition = catalog.partitions.get(&id)?;
        let own = living(partition).find(|replica| replica.node == *node)?;
        Some(Assignment { mapped, ..assignment(catalog, database, &bucket, partition, own) })
    });
    Assignments {
        cluster: catalog.cluster.clone(),
        version: catalog.placement_version,
        replicas: replicas.collect(),
    }
}

/// Partitions that are in no map: those of buckets that were replaced, which own nothing, and those of buckets that are
/// being filled.
fn unmapped(catalog: &Catalog) -> impl Iterator<Item = (&Database, Bucket, PartitionId)> {
    let retired = catalog.databases.values().flat_map(|database| {
        let closed = |retired: &Retired| Bucket { range: BucketRange::NOTHING, ..retired.bucket.clone() };
        database.retired.iter().map(move |retired| (database, closed(retired)))
    });
    let open = catalog.operations.values().filter(|operation| is_open(operation));
    let filled = open.filter_map(|operation| match &operation.work {
        OperationWork::ReplaceBuckets { database, sources, targets, .. } => {
            let database = catalog.databases.get(database)?;
            let epoch = filling_epoch(sources);
            Some(targets.iter().map(move |target| (database, Bucket { epoch, ..target.clone() })))
        }
        _ => None,
    });
    let buckets = retired.chain(filled.flatten());
    buckets.flat_map(|(database, bucket)| {
        let partitions = bucket.partitions.clone();
        partitions.into_iter().map(move |id| (database, bucket.clone(), id))
    })
}

fn assignment(
    catalog: &Catalog,
    database: &Database,
    bucket: &Bucket,
    partition: &Partition,
    own: &Replica,
) -> Assignment {
    // Whoever founds the group must name the same voters, also one that was lost since.
    let founders = partition.replicas.iter().filter(|replica| replica.role != ReplicaRole::Learner);
    Assignment {
        partition: partition.id,
        uuid: partition.uuid.clone(),
        replica: own.id,
        peers: peers(catalog, partition),
        founders: (!partition.bootstrapped).then(|| founders.map(|replica| replica.id).collect()),
        stands_first: living(partition).next().is_some_and(|first| first.id == own.id),
        database: database.name.clone(),
        kind: database.kind,
        partition_type: database.partition_type,
        partition_key: database.partition_key.clone(),
        range: bucket.range.clone(),
        epoch: bucket.epoch,
        mapped: true,
    }
}

/// Where the replicas of a partition are reached, lost ones left out.
#[must_use]
pub(crate) fn peers(catalog: &Catalog, partition: &Partition) -> BTreeMap<ReplicaId, PeerAddress> {
    living(partition)
        .filter_map(|replica| {
            let address = catalog.nodes.get(&replica.node)?.address();
            Some((replica.id, PeerAddress { node: replica.node.clone(), address }))
        })
        .collect()
}

fn living(partition: &Partition) -> impl Iterator<Item = &Replica> {
    partition.replicas.iter().filter(|replica| replica.role != ReplicaRole::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Command;
    use crate::placement::fixture;

    #[test]
    fn a_new_partition_is_founded_by_all_and_led_by_one() {
        let mut catalog = fixture::cluster(3);
        fixture::begin_create(&mut catalog, "d", 4, 3);
        let mut first = BTreeMap::<_, Vec<NodeId>>::new();
        for node in catalog.nodes.keys() {
            let assigned = assignments(&catalog, node);
            assert_eq!((assigned.version, assigned.replicas.len()), (catalog.version, 4));
            for assignment in assigned.replicas {
                assert_eq!(assignment.founders.as_ref().unwrap().len(), 3);
                assert_eq!(assignment.peers.len(), 3);
                assert_eq!(assignment.peers[&assignment.replica].node, *node);
                if assignment.stands_first {
                    first.entry(assignment.partition).or_default().push(node.clone());
                }
            }
        }
        assert_eq!(first.values().map(Vec::len).collect::<Vec<_>>(), [1; 4]);
    }

    #[test]
    fn once_a_partition_runs_nobody_founds_it_again() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "d", 1, 3);
        let assigned = assignments(&catalog, &"n1".into());
        assert_eq!(assigned.replicas[0].founders, None);
    }

    #[test]
    fn a_wiped_node_is_not_given_its_old_replicas() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "d", 2, 3);
        let (host, port) = ("localhost".to_owned(), catalog.nodes[&NodeId::from("n2")].port);
        let wiped = Command::RegisterNode { node: None, instance: Some("empty".into()), host, port };
        fixture::run(&mut catalog, &wiped);
        assert_eq!(assignments(&catalog, &"n2".into()).replicas, []);
        let others = assignments(&catalog, &"n1".into());
        assert_eq!(others.version, catalog.version);
        assert!(others.replicas.iter().all(|assignment| assignment.peers.len() == 2));
    }

    #[test]
    fn rowids_do_not_move_the_version() {
        let mut catalog = fixture::cluster(1);
        fixture::create(&mut catalog, "d", 1, 1);
        let before = assignments(&catalog, &"n1".into());
        catalog.version += 1;
        let command = Command::RowidsSetByClient { database: "d".into(), table: "t".into() };
        // No such table: a refused command changes nothing either.
        assert!(crate::catalog::apply(&mut catalog, 1, &command).is_err());
        assert_eq!(assignments(&catalog, &"n1".into()), before);
    }
}
