//! Databases divided by columns, and by rows and columns, on a cluster of processes: made over HTTP, written,
//! read, shown, and used on when a node dies.

use std::collections::BTreeSet;
use std::time::Instant;

use polylite_client::{Client, Column, CreateDatabase, Database, Partition, PartitionType, Table};
use serde_json::{Value as Json, json};
use tests::process_cluster::{PATIENCE, ProcessCluster};

fn people() -> Table {
    Table::new("people")
        .column(Column::new("id", "INTEGER").primary_key())
        .column(Column::new("name", "TEXT").not_null())
        .column(Column::new("email", "TEXT"))
        .column(Column::new("age", "INTEGER"))
        .column(Column::new("visits", "INTEGER").default(0))
}

fn vertical() -> CreateDatabase {
    CreateDatabase::sql("tall")
        .partition_type(PartitionType::Vertical)
        .column_group("a_profile", ["name", "email"])
        .column_group("b_stats", ["age"])
        .column_group("c_use", ["visits"])
        .table(people())
}

fn mixed() -> CreateDatabase {
    CreateDatabase::sql("both").partition_type(PartitionType::Mixed).partitions(2).table(people())
}

async fn fill(database: &Database) {
    for id in 1..=12 {
        let insert = database.sql("INSERT INTO people (id, name, email, age) VALUES (?, ?, ?, ?)");
        let insert = insert.bind(id).bind(format!("n{id}")).bind(format!("{id}@x")).bind(20 + id);
        assert_eq!(insert.execute().await.expect("a row goes in").affected_rows, 1);
    }
    let update = database.sql("UPDATE people SET visits = age * 2, email = 'new' WHERE id = 7");
    assert_eq!(update.execute().await.expect("a row changes").affected_rows, 1);
    let delete = database.sql("DELETE FROM people WHERE age = 32");
    assert_eq!(delete.execute().await.expect("a row goes").affected_rows, 1);
}

async fn check(database: &Database) {
    let rows: Vec<Json> =
        database.sql("SELECT * FROM people WHERE id > 5 ORDER BY id").query_as().await.expect("rows");
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[1], json!({"id": 7, "name": "n7", "email": "new", "age": 27, "visits": 54}));
    assert_eq!(rows[5], json!({"id": 11, "name": "n11", "email": "11@x", "age": 31, "visits": 0}));
    let count = database.sql("SELECT count(*) FROM people WHERE visits = 0 AND name LIKE 'n%'").query().await;
    assert_eq!(count.expect("a row").scalar::<i64>().expect("a number"), 10);
    let refused = database.sql("INSERT INTO people (id, name) VALUES (3, 'x')").execute().await;
    assert!(
        refused.expect_err("the id is taken").to_string().contains("UNIQUE constraint failed: people.id")
    );
}

/// The columns of each partition, and how many nodes lead some.
fn shown(partitions: &[Partition]) -> (Vec<Vec<String>>, usize) {
    let mut columns: Vec<Vec<String>> =
        partitions.iter().map(|partition| partition.columns.clone().expect("columns are told")).collect();
    columns.sort();
    let leaders: BTreeSet<&String> = partitions.iter().filter_map(|found| found.leader.as_ref()).collect();
    (columns, leaders.len())
}

/// Asks until it is answered: the leaders of some partitions are gone.
async fn visit(database: &Database, visits: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let update =
            database.sql("UPDATE people SET visits = ?, name = name || '' WHERE id = 7").bind(visits);
        match update.execute().await {
            Ok(done) => return assert_eq!(done.affected_rows, 1),
            Err(error) => assert!(Instant::now() < deadline, "no writes any more: {error:?}"),
        }
    }
}

#[test]
fn databases_divided_by_columns_are_used_on_when_a_node_dies() {
    let mut cluster = ProcessCluster::start(1, 3);
    let client = Client::new(cluster.coordinator_urls()).expect("an address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let databases = runtime.block_on(async {
        let tall = client.create_database(&vertical()).await.expect("the database is made");
        let both = client.create_database(&mixed()).await.expect("the database is made");
        for database in [&tall, &both] {
            fill(database).await;
            check(database).await;
        }
        let (columns, leaders) = shown(&client.partitions(Some("tall")).await.expect("a list"));
        let named = |columns: &[&str]| -> Vec<String> {
            columns.iter().map(|column| format!("people.{column}")).collect()
        };
        assert_eq!(
            columns,
            [named(&["id", "age"]), named(&["id", "name", "email"]), named(&["id", "visits"])]
        );
        assert_eq!(leaders, 3, "the groups are led by different nodes");
        let (columns, _) = shown(&client.partitions(Some("both")).await.expect("a list"));
        assert_eq!(columns.len(), 6, "two buckets of three groups");
        assert_eq!(columns[0], columns[1]);
        [tall, both]
    });
    cluster.kill_node(1);
    runtime.block_on(async {
        for (visits, database) in (100..).zip(&databases) {
            visit(database, visits).await;
            let sum = database.sql("SELECT sum(visits), max(name), count(age) FROM people").query_as().await;
            let rows: Vec<Json> = sum.expect("rows");
            assert_eq!(rows, [json!({"sum(visits)": visits, "max(name)": "n9", "count(age)": 11})]);
        }
    });
}
