//! Transactions over several requests beside the same statements between BEGIN and COMMIT in one SQLite file, in every
//! layout: statements that roll the whole transaction back, foreign keys that wait for the commit, and what is told of
//! statements before.

use common::Value;
use differential::Layout;
use differential::layout::LAYOUTS;
use polylite_client::{Client, CreateDatabase, Database, ErrorCode, PartitionType, TransactionOptions};
use sqlite::single_file::SingleFile;
use tests::process_cluster::ProcessCluster;
use tokio::runtime::Runtime;

/// Tables and rows that every transaction begins with.
const SCHEMA: [&str; 7] = [
    "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT UNIQUE, n INTEGER CHECK (n >= 0))",
    "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT UNIQUE ON CONFLICT ROLLBACK)",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, of INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TRIGGER limited BEFORE UPDATE ON parent WHEN new.name = 'no' \
     BEGIN SELECT RAISE(ROLLBACK, 'this name is not taken'); END",
    "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4), (5, 'e', 5), (6, 'f', 6)",
    "INSERT INTO parent VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four')",
];

/// What must be equal in the end.
const CONTENTS: [&str; 4] = [
    "SELECT id, owner, n FROM account ORDER BY id",
    "SELECT id, text FROM note ORDER BY id",
    "SELECT id, name FROM parent ORDER BY id",
    "SELECT id, of FROM child ORDER BY id",
];

/// Statements of a transaction. Where one rolls it back, none follows: SQLite would run it by itself.
const TRANSACTIONS: [&[&str]; 12] = [
    // A plain conflict is the statement's own, and the transaction goes on.
    &[
        "UPDATE account SET n = n + 10 WHERE id <= 2",
        "INSERT INTO account VALUES (9, 'a', 0)",
        "DELETE FROM account WHERE id = 6",
    ],
    &["UPDATE account SET n = n + 10", "INSERT OR ROLLBACK INTO account VALUES (9, 'b', 0)"],
    &["INSERT INTO account VALUES (10, 'j', 1)", "INSERT OR ROLLBACK INTO account VALUES (10, 'k', 0)"],
    &[
        "INSERT INTO account VALUES (11, 'j', 1)",
        "INSERT OR ROLLBACK INTO account VALUES (12, 'k', 0), (13, 'l', -1)",
    ],
    &["DELETE FROM account WHERE id = 1", "UPDATE OR ROLLBACK account SET owner = 'c' WHERE id = 4"],
    &["DELETE FROM account WHERE id = 3", "UPDATE OR ROLLBACK account SET owner = 'c' WHERE id = 4"],
    &["UPDATE account SET n = 7 WHERE id = 5", "UPDATE OR ROLLBACK account SET n = n - 5"],
    &["INSERT INTO note VALUES (1, 'x'), (2, 'y')"],
    &["INSERT INTO note VALUES (3, 'z')", "INSERT INTO note VALUES (4, 'x')"],
    &["UPDATE parent SET name = 'other' WHERE id = 1", "UPDATE parent SET name = 'no' WHERE id = 3"],
    &[
        "UPDATE parent SET name = 'more' WHERE id = 2",
        "SAVEPOINT s",
        "UPDATE parent SET name = 'no' WHERE id > 2",
    ],
    // The order of rows within one statement does not matter, deferred or not.
    &["INSERT INTO child VALUES (1, 1), (2, 4)", "DELETE FROM child WHERE id = 2"],
];

fn database(cluster: &ProcessCluster, runtime: &Runtime, layout: Layout, number: usize) -> Database {
    let client = Client::new(cluster.coordinator_urls()).expect("addresses are URLs");
    let partition_type = match (layout.buckets, layout.column_groups) {
        (_, 1) => PartitionType::Horizontal,
        (1, _) => PartitionType::Vertical,
        _ => PartitionType::Mixed,
    };
    let mut wanted =
        CreateDatabase::sql(format!("d{number}")).partition_type(partition_type).replication_factor(1);
    if layout.buckets > 1 {
        wanted = wanted.partitions(layout.buckets);
    }
    runtime.block_on(async {
        let database = client.create_database(&wanted).await.expect("a database is made");
        for sql in SCHEMA {
            database.sql(sql).execute().await.expect(sql);
        }
        database
    })
}

fn one_file() -> SingleFile {
    let file = SingleFile::new().expect("SQLite works");
    SCHEMA.iter().for_each(|sql| file.run(sql).expect(sql));
    file
}

/// What a statement is told: nothing, or why it is refused.
type Told = Result<(), (String, String)>;

fn alone(file: &SingleFile, sql: &str) -> Told {
    let told = file.execute_alone(sql);
    told.map(drop).map_err(|error| (error.code.as_str().to_owned(), error.message))
}

#[test]
fn statements_that_roll_their_transaction_back_do_so_in_every_layout() {
    let cluster = ProcessCluster::start(1, 3);
    let runtime = Runtime::new().expect("a runtime starts");
    for (number, layout) in LAYOUTS.into_iter().enumerate() {
        let (database, file) = (database(&cluster, &runtime, layout, number), one_file());
        for statements in TRANSACTIONS {
            file.run("BEGIN").expect("none is open");
            runtime.block_on(async {
                let open = database.begin(TransactionOptions::default()).await.expect("it begins");
                for sql in statements {
                    let told = open.sql(*sql).execute().await.map(drop);
                    let told = told.map_err(|error| (error.code.clone(), error.message.clone()));
                    assert_eq!(told, alone(&file, sql), "{sql}, {}", layout.name);
                }
                let ended = open.commit().await;
                match file.has_transaction() {
                    true => ended.unwrap_or_else(|error| panic!("{statements:?}: {error:?}")),
                    false => {
                        let error = ended.expect_err("it is rolled back");
                        assert!(error.is(ErrorCode::TransactionGone), "{statements:?}: {error:?}");
                    }
                }
            });
            if file.has_transaction() {
                file.run("COMMIT").expect("nothing is violated");
            }
            assert_equal(&database, &file, &runtime, &format!("{statements:?}, {}", layout.name));
        }
    }
}

fn assert_equal(database: &Database, file: &SingleFile, runtime: &Runtime, after: &str) {
    for sql in CONTENTS {
        let rows = runtime.block_on(database.sql(sql).query()).expect(sql);
        let found: Vec<_> = rows.iter().map(|row| row.values().to_vec()).collect();
        assert_eq!(found, file.query(sql).expect(sql), "{sql} after {after}");
    }
}

#[test]
fn a_deferred_foreign_key_is_never_taken_otherwise_than_one_file_takes_it() {
    let cluster = ProcessCluster::start(1, 3);
    let runtime = Runtime::new().expect("a runtime starts");
    for (number, layout) in LAYOUTS.into_iter().enumerate() {
        let (database, file) = (database(&cluster, &runtime, layout, number), one_file());
        let violates = "INSERT INTO child VALUES (7, 70)";
        let satisfies = "INSERT INTO parent VALUES (70, 'seventy')";
        runtime.block_on(async {
            // Between the requests of a transaction it is refused with a word of its own, and nothing of it stays.
            let open = database.begin(TransactionOptions::default()).await.expect("it begins");
            let refused = open.sql(violates).execute().await.expect_err("it waits for a later request");
            assert!(refused.is(ErrorCode::NotSupported), "{refused:?}");
            // Within one request it is as in one file, and the transaction has gone on.
            open.sql("UPDATE account SET n = 0 WHERE id = 1").execute().await.expect("it goes on");
            open.batch().sql(violates).sql(satisfies).run().await.expect("it is satisfied in the end");
            open.commit().await.expect("nothing is violated");
        });
        file.run("BEGIN").expect("none is open");
        for sql in ["UPDATE account SET n = 0 WHERE id = 1", violates, satisfies] {
            assert_eq!(alone(&file, sql), Ok(()));
        }
        file.run("COMMIT").expect("nothing is violated");
        assert_equal(&database, &file, &runtime, layout.name);
        // A request of its own commits, and is refused as a commit is.
        let refused = runtime.block_on(database.sql("INSERT INTO child VALUES (8, 80)").execute());
        let refused = refused.map(drop).map_err(|error| (error.code, error.message));
        assert_eq!(refused, alone(&file, "INSERT INTO child VALUES (8, 80)"), "{}", layout.name);
    }
}

/// Requests of one transaction that ask what those before have done.
const TOLD_OF_BEFORE: [&str; 14] = [
    "SELECT changes(), total_changes(), last_insert_rowid()",
    "INSERT INTO parent VALUES (50, 'fifty')",
    "SELECT changes(), total_changes(), last_insert_rowid()",
    "INSERT INTO child (of) VALUES (last_insert_rowid())",
    "SELECT id, of, changes(), last_insert_rowid() AS \"last\" FROM child WHERE of = 50",
    "UPDATE account SET n = n + 1 WHERE id > 2",
    "SELECT changes(), total_changes(), last_insert_rowid()",
    "SELECT id, owner FROM account WHERE id = changes() ORDER BY 1",
    "UPDATE account SET n = 100 + changes() WHERE id = last_insert_rowid()",
    "UPDATE account SET n = 0 WHERE id = 99",
    "SELECT name, changes() FROM parent WHERE id < 3 ORDER BY total_changes(), id",
    "INSERT INTO parent (name) VALUES ('next') RETURNING id, changes(), total_changes()",
    "DELETE FROM parent WHERE id = last_insert_rowid()",
    "SELECT changes(), total_changes(), last_insert_rowid()",
];

#[test]
fn requests_of_a_transaction_are_told_of_those_before() {
    let cluster = ProcessCluster::start(1, 3);
    let runtime = Runtime::new().expect("a runtime starts");
    for (number, layout) in LAYOUTS.into_iter().enumerate() {
        let (database, file) = (database(&cluster, &runtime, layout, number), one_file());
        // Another connection.
        file.execute("SELECT 1").expect("it is a statement");
        file.run("BEGIN").expect("none is open");
        runtime.block_on(async {
            let open = database.begin(TransactionOptions::default()).await.expect("it begins");
            for sql in TOLD_OF_BEFORE {
                let expected = file.execute_alone(sql).expect(sql);
                let found = open.sql(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                assert_eq!(found.rows.columns(), expected.columns, "{sql}, {}", layout.name);
                let rows: Vec<_> = found.rows.iter().map(|row| row.values().to_vec()).collect();
                assert_eq!(rows, expected.rows.to_values().expect("values"), "{sql}, {}", layout.name);
            }
            // What was taken back was done nevertheless, as SQLite has it.
            for sql in ["SAVEPOINT s", "INSERT INTO parent VALUES (60, 'sixty')", "ROLLBACK TO s"] {
                file.execute_alone(sql).expect(sql);
                open.sql(sql).execute().await.expect(sql);
            }
            let asked = "SELECT changes(), total_changes(), last_insert_rowid()";
            let expected = file.execute_alone(asked).expect(asked).rows.to_values().expect("values");
            let found = open.batch().sql(asked).sql("UPDATE account SET n = 5 WHERE id = 1").sql(asked);
            let found = found.run().await.expect("they run");
            let rows = |index: usize| -> Vec<Vec<Value>> {
                let executed = found[index].as_ref().expect("it is done");
                executed.rows.iter().map(|row| row.values().to_vec()).collect()
            };
            assert_eq!(rows(0), expected, "{}", layout.name);
            file.execute_alone("UPDATE account SET n = 5 WHERE id = 1").expect("it is changed");
            let expected = file.execute_alone(asked).expect(asked).rows.to_values().expect("values");
            assert_eq!(rows(2), expected, "{}", layout.name);
            open.commit().await.expect("nobody is in the way");
        });
        file.run("COMMIT").expect("nothing is violated");
        assert_equal(&database, &file, &runtime, layout.name);
    }
}
