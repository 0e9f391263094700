//! Buckets are split and merged.

use common::catalog::{Database, ReplacingStage};
use common::hash::SLOTS;
use common::partition_division::{SplitPoint, merged, split};
use common::partition_map::{BucketRange, bucket_of_home};

use super::*;
use crate::catalog::{NewPartition, filling_epoch, serving_epoch};
use crate::placement::{Measured, assignments, choose_nodes};

fn database(catalog: &Catalog) -> &Database {
    &catalog.databases["d"]
}

fn anchors(catalog: &Catalog) -> Vec<PartitionId> {
    database(catalog).buckets.iter().map(|bucket| bucket.partitions[0]).collect()
}

fn new_partitions(catalog: &Catalog, ranges: &[BucketRange]) -> Vec<NewPartition> {
    let nodes = choose_nodes(catalog, &Measured::default(), ranges.len(), 3).unwrap();
    let numbered = ranges.iter().cloned().zip(nodes).enumerate();
    let new = numbered.map(|(number, (range, nodes))| NewPartition {
        uuid: format!("new {number} at {}", catalog.version),
        range,
        nodes,
    });
    new.collect()
}

fn split_command(catalog: &Catalog, place: usize) -> Command {
    let halves = split(&database(catalog).buckets[place].range, &SplitPoint::Middle).unwrap();
    let targets = new_partitions(catalog, &halves);
    Command::ReplaceBuckets {
        database: "d".into(),
        sources: vec![anchors(catalog)[place]],
        targets,
        automatic: false,
    }
}

fn close(catalog: &mut Catalog, operation: &str, attempt: u32) {
    let operation = operation.to_owned();
    run(catalog, &Command::AdvanceReplacing { operation, attempt, stage: ReplacingStage::Closing });
}

fn finish(operation: &str, attempt: u32) -> Command {
    Command::FinishReplacing { operation: operation.into(), attempt }
}

/// What must hold of every map: no slot is without an owner, and every partition is there.
fn check_map(catalog: &Catalog) {
    let database = database(catalog);
    let ranges = database.buckets.iter().map(|bucket| &bucket.range);
    let whole = common::partition_division::union(ranges).expect("no gap");
    assert!(whole.is_everything());
    assert!((0..SLOTS).all(|slot| bucket_of_home(&database.buckets, slot) < database.buckets.len()));
    assert!(database.partitions().all(|(_, _, id)| catalog.partitions.contains_key(&id)));
}

#[test]
fn a_split_is_seen_when_it_has_finished_and_the_old_partition_stays_until_it_is_forgotten() {
    let mut catalog = cluster(3);
    create(&mut catalog, "d", 2, 3);
    let before = anchors(&catalog);
    let command = split_command(&catalog, 0);
    let id = operation(run(&mut catalog, &command));
    assert_eq!(anchors(&catalog), before, "nothing is published yet");
    assert_eq!(catalog.partitions.len(), 4);
    let epochs = |catalog: &Catalog| -> Vec<(PartitionId, u64, bool)> {
        let assigned = assignments(catalog, &"n1".into()).replicas;
        assigned.into_iter().map(|one| (one.partition, one.epoch, one.mapped)).collect()
    };
    let (p3, p4) = (PartitionId(3), PartitionId(4));
    assert_eq!(
        epochs(&catalog),
        [(before[0], 1, true), (before[1], 1, true), (p3, 2, false), (p4, 2, false)]
    );
    refused(&mut catalog, &finish(&id, 1));
    close(&mut catalog, &id, 1);
    refused(&mut catalog, &finish(&id, 2));
    run(&mut catalog, &finish(&id, 1));
    check_map(&catalog);
    assert_eq!(anchors(&catalog), [p3, p4, before[1]]);
    assert_eq!(database(&catalog).successor(before[0]), p3);
    assert_eq!(epochs(&catalog), [(p3, 3, true), (p4, 3, true), (before[1], 1, true), (before[0], 2, false)]);
    let retired = assignments(&catalog, &"n1".into()).replicas.pop().unwrap();
    assert!(retired.range.is_nothing(), "an old partition owns nothing");
    run(&mut catalog, &Command::ForgetRetired { database: "d".into(), partition: before[0] });
    assert_eq!(catalog.partitions.len(), 3);
    check_map(&catalog);
}

#[test]
fn neighbours_are_merged_and_others_are_not() {
    let mut catalog = cluster(3);
    create(&mut catalog, "d", 4, 3);
    let before = anchors(&catalog);
    let range = merged(&database(&catalog).buckets[1].range, &database(&catalog).buckets[2].range).unwrap();
    let targets = new_partitions(&catalog, std::slice::from_ref(&range));
    let of = |sources: Vec<PartitionId>| Command::ReplaceBuckets {
        database: "d".into(),
        sources,
        targets: targets.clone(),
        automatic: false,
    };
    assert_eq!(refused(&mut catalog, &of(vec![before[1], before[3]])).code, ErrorCode::BadRequest);
    assert_eq!(refused(&mut catalog, &of(vec![before[2], before[1]])).code, ErrorCode::BadRequest);
    assert_eq!(refused(&mut catalog, &of(vec![before[0], before[1]])).code, ErrorCode::SerializationFailure);
    let id = operation(run(&mut catalog, &of(vec![before[1], before[2]])));
    close(&mut catalog, &id, 1);
    run(&mut catalog, &finish(&id, 1));
    assert_eq!(database(&catalog).buckets[1].range, range);
    assert_eq!(anchors(&catalog).len(), 3);
    check_map(&catalog);
}

#[test]
fn an_attempt_that_is_given_up_leaves_nothing_and_the_old_partitions_serve_again() {
    let mut catalog = cluster(3);
    create(&mut catalog, "d", 2, 3);
    let before = anchors(&catalog);
    let command = split_command(&catalog, 1);
    let id = operation(run(&mut catalog, &command));
    close(&mut catalog, &id, 1);
    let Command::ReplaceBuckets { targets, .. } = split_command(&catalog, 1) else { unreachable!() };
    let restart =
        |attempt| Command::RestartReplacing { operation: id.clone(), attempt, targets: targets.clone() };
    run(&mut catalog, &restart(1));
    refused(&mut catalog, &restart(1));
    refused(&mut catalog, &finish(&id, 1));
    assert_eq!(database(&catalog).buckets[1].epoch, 3, "it was being closed in epoch 2");
    assert_eq!(anchors(&catalog), before);
    let ids: Vec<u64> = catalog.partitions.keys().map(|id| id.0).collect();
    assert_eq!(ids, [1, 2, 5, 6], "partitions of another attempt are others");
    let OperationWork::ReplaceBuckets { sources, attempt, stage, .. } = &catalog.operations[&id].work else {
        panic!("another operation")
    };
    assert_eq!((*attempt, *stage), (2, ReplacingStage::Fresh));
    assert_eq!((filling_epoch(sources), serving_epoch(sources)), (4, 5));
    run(&mut catalog, &Command::CancelOperation { operation: id.clone() });
    assert_eq!(catalog.partitions.len(), 2);
    assert_eq!(database(&catalog).buckets[1].epoch, 3, "it was not being closed again");
    check_map(&catalog);
}

#[test]
fn a_database_is_changed_in_one_way_at_a_time() {
    let mut catalog = cluster(3);
    create(&mut catalog, "d", 2, 3);
    let command = split_command(&catalog, 0);
    run(&mut catalog, &command);
    assert_eq!(refused(&mut catalog, &command).code, ErrorCode::SerializationFailure);
    let schema = common::schema::Schema { version: 2, ..database(&catalog).schema.clone() };
    let change = Command::ChangeSchema {
        database: "d".into(),
        expected_version: 1,
        schema,
        statements: Vec::new(),
        group_statements: Vec::new(),
        undo: Vec::new(),
        transaction: None,
    };
    assert_eq!(refused(&mut catalog, &change).code, ErrorCode::StaleSchema, "it waits");
    run(&mut catalog, &Command::DropDatabase { database: "d".into() });
    let open = catalog.operations.values().filter(|operation| super::super::is_open(operation));
    assert_eq!(open.count(), 1, "only the drop goes on");
}

#[test]
fn the_only_partition_is_not_split_and_the_last_two_are_not_merged() {
    let mut catalog = cluster(3);
    create(&mut catalog, "d", 1, 3);
    let command = split_command(&catalog, 0);
    assert_eq!(refused(&mut catalog, &command).code, ErrorCode::NotSupported);
    let mut catalog = cluster(3);
    create(&mut catalog, "d", 2, 3);
    let whole = common::partition_map::hash_ranges(1);
    let (sources, targets) = (anchors(&catalog), new_partitions(&catalog, &whole));
    let merge = Command::ReplaceBuckets { database: "d".into(), sources, targets, automatic: false };
    assert_eq!(refused(&mut catalog, &merge).code, ErrorCode::NotSupported);
}

#[test]
fn what_people_have_asked_for_is_counted_and_what_the_cluster_does_by_itself_is_not() {
    let mut catalog = cluster(3);
    create(&mut catalog, "d", 2, 3);
    for (automatic, asked) in [(false, 3), (true, 3), (false, 4)] {
        let mut command = split_command(&catalog, 0);
        if let Command::ReplaceBuckets { automatic: by_itself, .. } = &mut command {
            *by_itself = automatic;
        }
        let operation = operation(run(&mut catalog, &command));
        close(&mut catalog, &operation, 1);
        run(&mut catalog, &finish(&operation, 1));
        assert_eq!(database(&catalog).buckets_asked, asked);
    }
    let counts = catalog.replacements;
    assert_eq!((counts.splits, counts.merges, counts.automatic, anchors(&catalog).len()), (3, 0, 1, 5));
}
