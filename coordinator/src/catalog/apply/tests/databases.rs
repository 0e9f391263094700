//! Databases come and go.

use super::*;

#[test]
fn a_database_is_seen_when_its_operation_has_finished() {
    let mut catalog = cluster(3);
    let id = fixture::begin_create(&mut catalog, "d", 4, 3);
    let database = &catalog.databases["d"];
    assert_eq!((database.state, database.buckets.len()), (DatabaseState::Creating, 4));
    assert!(catalog.partitions.values().all(|partition| !partition.bootstrapped));
    run(&mut catalog, &Command::FinishOperation { operation: id.clone() });
    assert_eq!(catalog.databases["d"].state, DatabaseState::Ready);
    assert!(catalog.partitions.values().all(|partition| partition.bootstrapped));
    assert_eq!(catalog.operations[&id].state, OperationState::Completed);
}

#[test]
fn a_name_is_taken_from_the_beginning_and_free_after_failure() {
    let mut catalog = cluster(1);
    let id = fixture::begin_create(&mut catalog, "d", 1, 1);
    let new = fixture::new_database(&catalog, "d", 1, 1);
    let error = refused(&mut catalog, &Command::CreateDatabase(Box::new(new)));
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::DatabaseExists, "Database 'd' already exists")
    );
    run(&mut catalog, &Command::FailOperation { operation: id, error: Error::internal("no") });
    assert!(catalog.databases.is_empty() && catalog.partitions.is_empty());
    create(&mut catalog, "d", 1, 1);
    assert_eq!(
        catalog.partitions.keys().copied().collect::<Vec<_>>(),
        [PartitionId(2)],
        "ids are not reused"
    );
}

#[test]
fn nodes_must_still_be_there_and_differ() {
    let mut catalog = cluster(2);
    let mut new = fixture::new_database(&catalog, "d", 1, 2);
    new.partitions[0].nodes[0] = "gone".into();
    let error = refused(&mut catalog, &Command::CreateDatabase(Box::new(new.clone())));
    assert_eq!((error.code, error.code.retryable()), (ErrorCode::Unavailable, true));
    new.partitions[0].nodes = vec!["n1".into(), "n1".into()];
    refused(&mut catalog, &Command::CreateDatabase(Box::new(new)));
}

#[test]
fn a_dropped_database_ends_whatever_else_was_under_way() {
    let mut catalog = cluster(1);
    let creation = fixture::begin_create(&mut catalog, "d", 2, 1);
    let drop = Command::DropDatabase { database: "d".into() };
    let id = operation(run(&mut catalog, &drop));
    assert_eq!(catalog.operations[&creation].state, OperationState::Cancelled);
    assert_eq!(catalog.databases["d"].state, DatabaseState::Dropping);
    let error = refused(&mut catalog, &drop);
    assert_eq!(error.message, "Database 'd' does not exist");
    // The former driver may not know yet.
    run(&mut catalog, &Command::FinishOperation { operation: creation });
    assert_eq!(catalog.databases["d"].state, DatabaseState::Dropping);
    run(&mut catalog, &Command::FinishOperation { operation: id });
    assert!(catalog.databases.is_empty() && catalog.partitions.is_empty());
}
