//! Schema changes: one at a time, published or undone as a whole.

use common::catalog::SchemaTransaction;
use common::{Hlc, TransactionId};

use super::*;

fn change(catalog: &Catalog, expected_version: u64, tables: &[&str]) -> Command {
    let mut schema = catalog.databases["d"].schema.clone();
    schema.version = expected_version + 1;
    schema.tables = tables.iter().map(|name| (name.to_lowercase(), table(name))).collect();
    schema.objects = vec![SchemaObject {
        kind: ObjectKind::Table,
        name: "T".into(),
        table: "T".into(),
        sql: "CREATE TABLE T (x)".into(),
    }];
    Command::ChangeSchema {
        database: "d".into(),
        expected_version,
        schema,
        statements: vec!["DDL".into()],
        group_statements: vec![],
        undo: vec!["UNDO".into()],
        transaction: None,
    }
}

#[test]
fn a_change_is_published_when_it_finishes_and_keeps_rowids_handed_out_meanwhile() {
    let mut catalog = with_table();
    let command = change(&catalog, 1, &["T", "u"]);
    let id = operation(run(&mut catalog, &command));
    assert_eq!(catalog.databases["d"].schema.version, 1);
    assert_eq!(catalog.databases["d"].schema_change.as_ref(), Some(&id));
    run(&mut catalog, &rowids::allocate(5, None));
    run(&mut catalog, &Command::FinishOperation { operation: id });
    let database = &catalog.databases["d"];
    assert_eq!((database.schema.version, database.schema_change.as_ref()), (2, None));
    assert_eq!(database.schema.table("T").unwrap().next_rowid, 6);
    assert_eq!(database.schema.table("u").unwrap().next_rowid, 1);
}

#[test]
fn changes_come_one_at_a_time_and_on_the_version_that_they_were_planned_on() {
    let mut catalog = with_table();
    let late = refused(&mut catalog.clone(), &change(&catalog, 0, &["T"]));
    assert_eq!((late.code, late.version), (ErrorCode::StaleSchema, Some(1)));
    let command = change(&catalog, 1, &["T"]);
    run(&mut catalog, &command);
    let second = refused(&mut catalog, &command);
    assert_eq!((second.code, second.version), (ErrorCode::StaleSchema, Some(2)));
}

#[test]
fn a_refused_change_leaves_the_objects_and_moves_the_version() {
    let mut catalog = with_table();
    let command = change(&catalog, 1, &["T"]);
    let id = operation(run(&mut catalog, &command));
    let unique = Error::new(ErrorCode::UniqueViolation, "UNIQUE constraint failed: t.x");
    let refuse = |error: &Error| Command::RefuseSchemaChange { operation: id.clone(), error: error.clone() };
    run(&mut catalog, &refuse(&unique));
    run(&mut catalog, &refuse(&Error::internal("another")));
    let OperationWork::ChangeSchema { refused, .. } = &catalog.operations[&id].work else { panic!() };
    assert_eq!(refused.as_deref(), Some(&unique), "the first refusal counts");
    run(&mut catalog, &Command::FailOperation { operation: id.clone(), error: unique.clone() });
    let database = &catalog.databases["d"];
    assert_eq!((database.schema.version, database.schema.objects.len()), (3, 0));
    assert_eq!(database.schema_change, None);
    assert_eq!(catalog.operations[&id].error.as_ref(), Some(&unique));
}

#[test]
fn a_renamed_tables_rowids_are_looked_up() {
    let mut catalog = with_table();
    run(&mut catalog, &rowids::allocate(3, None));
    let Command::ChangeSchema { mut schema, .. } = change(&catalog, 1, &["new"]) else { panic!() };
    schema.tables.get_mut("new").unwrap().next_rowid = 4;
    let command = Command::ChangeSchema {
        database: "d".into(),
        expected_version: 1,
        schema,
        statements: vec![],
        group_statements: vec![],
        undo: vec![],
        transaction: None,
    };
    let id = operation(run(&mut catalog, &command));
    run(&mut catalog, &Command::FinishOperation { operation: id });
    assert!(catalog.databases["d"].schema.table("new").unwrap().rowids_set_by_client);
}

/// A change that a transaction makes, and its operation.
fn begin_transaction(catalog: &mut Catalog) -> String {
    let mut command = change(catalog, 1, &["T", "u"]);
    let Command::ChangeSchema { transaction, .. } = &mut command else { panic!() };
    let id = TransactionId { deadline: Hlc(u64::MAX), unique: u128::MAX };
    *transaction = Some(SchemaTransaction { id, decider: PartitionId(1), patience_ms: 5_000 });
    // What the log holds must come back from it.
    let encoded = serde_json::to_vec(&command).unwrap();
    assert_eq!(serde_json::from_slice::<Command>(&encoded).unwrap(), command);
    operation(run(catalog, &command))
}

#[test]
fn a_change_by_a_transaction_is_published_when_that_has_committed() {
    let mut catalog = with_table();
    let id = begin_transaction(&mut catalog);
    let second = refused(&mut catalog.clone(), &change(&catalog, 1, &["T"]));
    assert_eq!((second.code, second.version), (ErrorCode::StaleSchema, Some(2)), "it keeps others out");
    run(&mut catalog, &Command::FinishOperation { operation: id });
    let database = &catalog.databases["d"];
    assert_eq!((database.schema.version, database.schema_change.as_ref()), (2, None));
    assert!(database.schema.table("u").is_some());
}

#[test]
fn a_change_by_a_transaction_that_aborts_leaves_the_version_as_it_is() {
    let mut catalog = with_table();
    let id = begin_transaction(&mut catalog);
    let error = Error::new(ErrorCode::SerializationFailure, "aborted");
    run(&mut catalog, &Command::FailOperation { operation: id.clone(), error: error.clone() });
    let database = &catalog.databases["d"];
    assert_eq!((database.schema.version, database.schema_change.as_ref()), (1, None));
    assert!(database.schema.table("u").is_none());
    assert_eq!(catalog.operations[&id].error.as_ref(), Some(&error));
    // Its end is told once more, by whoever has taken it up.
    run(&mut catalog, &Command::FinishOperation { operation: id });
    assert_eq!(catalog.databases["d"].schema.version, 1);
    begin_transaction(&mut catalog);
}
