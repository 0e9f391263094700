//! Many clients at once: every acknowledged row is there, once, on every storage node.

use polylite_client::{Column, CreateDatabase, Database, Select, Table};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use super::stage::Stage;
use super::{Category, tests};

const DATABASE: &str = "test_concurrent";
const TABLE: &str = "concurrent_test";
const NODES: usize = 2;

pub(super) fn category() -> Category {
    Category {
        name: "concurrent_clients",
        title: "Concurrent Clients and Consistency Under Load",
        points: 50,
        nodes: NODES,
        tests: tests![
            "Test creating initial test data." => creating_initial_data,
            "Test setup for concurrent client tests." => setting_up_clients,
            "Test the client insert task function." => the_insert_task,
            "Test first batch of concurrent insert operations." => first_concurrent_inserts,
            "Test second batch of concurrent insert operations." => second_concurrent_inserts,
            "Test verifying all concurrent inserts." => verifying_inserts,
            "Test setting up data for concurrent read tests." => setting_up_reads,
            "Test the client read task function." => the_read_task,
            "Test concurrent read operations from multiple clients." => concurrent_reads,
            "Test setting up for mixed read/write operations." => setting_up_mixed_operations,
            "Test mixed read and write operations from multiple clients." => mixed_operations,
            "Test setting up data for concurrent update tests." => setting_up_updates,
            "Test the client update task function." => the_update_task,
            "Test first batch of concurrent update operations." => first_concurrent_updates,
            "Test second batch of concurrent update operations." => second_concurrent_updates,
            "Test setup for the consistency under load test." => setting_up_load,
            "Test data consistency under load with concurrent operations." => consistency_under_load,
            "Test verifying records created in the consistency test." => verifying_load,
            "Test system under additional load with concurrent operations." => additional_load,
        ],
    }
}

fn row(id: i64, value: i64) -> Json {
    json!({"id": id, "name": format!("Client {id}"), "value": value})
}

fn rows(ids: impl IntoIterator<Item = i64>) -> Json {
    ids.into_iter().map(|id| row(id, id)).collect()
}

/// What one client does: inserts a row, and finds it at once.
async fn insert_and_read(database: &Database, id: i64) {
    insert(database, id).await;
    assert_eq!(read(database, id).await, rows([id]));
}

async fn insert(database: &Database, id: i64) {
    let done = database.sql_insert(TABLE, row(id, id)).await.expect("the row is inserted");
    assert_eq!((done.data, done.affected_rows), (rows([id]), 1));
}

async fn read(database: &Database, id: i64) -> Json {
    let select = Select { conditions: Some(json!({"id": id})), ..Select::default() };
    database.sql_query(TABLE, &select).await.expect("the row is read").data
}

async fn update(database: &Database, id: i64, value: i64) {
    let done = database.sql_update(TABLE, json!({"value": value}), Some(json!({"id": id}))).await;
    assert_eq!(done.expect("the row is updated").affected_rows, 1);
}

/// Runs clients at the same time, each with a number and a connection of its own; all of them must succeed.
async fn clients<F>(stage: &Stage, count: i64, client: impl Fn(Database, i64) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    for number in 0..count {
        running.spawn(client(stage.database(DATABASE), number));
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Asserts the rows between two ids, as a coordinator answers them and as each storage node does by itself.
async fn assert_rows(stage: &mut Stage, first: i64, last: i64, expected: Json) {
    let conditions = json!({"id": {"$gte": first, "$lte": last}});
    assert_eq!(stage.rows(DATABASE, TABLE, conditions.clone()).await, expected);
    let query = json!({"operation": "query", "table": TABLE, "where": conditions});
    for node in 0..NODES {
        assert_eq!(stage.node_query(node, DATABASE, &query).await, expected, "replicas of node {node}");
    }
}

async fn creating_initial_data(stage: &mut Stage) {
    let table = Table::new(TABLE)
        .column(Column::new("id", "INTEGER").primary_key())
        .column(Column::new("name", "TEXT").not_null())
        .column(Column::new("value", "INTEGER"));
    stage.create(&CreateDatabase::sql(DATABASE).table(table).partition_key("id")).await;
    for id in 0..5 {
        insert(&stage.database(DATABASE), id).await;
    }
    assert_rows(stage, 0, 4, rows(0..5)).await;
}

async fn setting_up_clients(stage: &mut Stage) {
    for id in 10_000..10_005 {
        insert(&stage.database(DATABASE), id).await;
    }
    assert_rows(stage, 10_000, 10_004, rows(10_000..10_005)).await;
}

async fn the_insert_task(stage: &mut Stage) {
    insert_and_read(&stage.database(DATABASE), 9_901).await;
}

/// Clients that insert five rows each, from an id on.
async fn insert_at_once(stage: &Stage, count: i64, first: i64) {
    clients(stage, count, move |database, client| async move {
        for number in 0..5 {
            insert(&database, first + 100 * client + number).await;
        }
    })
    .await;
}

fn inserted_at_once(count: i64, first: i64) -> impl Iterator<Item = i64> {
    (0..count).flat_map(move |client| (0..5).map(move |number| first + 100 * client + number))
}

async fn first_concurrent_inserts(stage: &mut Stage) {
    insert_at_once(stage, 2, 20_000).await;
    assert_rows(stage, 20_000, 20_999, rows(inserted_at_once(2, 20_000))).await;
}

async fn second_concurrent_inserts(stage: &mut Stage) {
    insert_at_once(stage, 3, 25_000).await;
    assert_rows(stage, 25_000, 25_999, rows(inserted_at_once(3, 25_000))).await;
}

async fn verifying_inserts(stage: &mut Stage) {
    let all = rows(inserted_at_once(2, 20_000).chain(inserted_at_once(3, 25_000)));
    assert_eq!(all.as_array().map(Vec::len), Some(25));
    assert_rows(stage, 20_000, 30_000, all).await;
}

async fn setting_up_reads(stage: &mut Stage) {
    for id in 40_000..40_010 {
        insert(&stage.database(DATABASE), id).await;
    }
    assert_rows(stage, 40_000, 40_009, rows(40_000..40_010)).await;
}

async fn the_read_task(stage: &mut Stage) {
    assert_eq!(read(&stage.database(DATABASE), 40_005).await, rows([40_005]));
    assert_eq!(read(&stage.database(DATABASE), 40_010).await, json!([]));
}

async fn concurrent_reads(stage: &mut Stage) {
    clients(stage, 5, |database, client| async move {
        for number in 0..5 {
            let id = 40_000 + (client + 3 * number) % 10;
            assert_eq!(read(&database, id).await, rows([id]));
        }
    })
    .await;
}

async fn setting_up_mixed_operations(stage: &mut Stage) {
    for id in 45_000..45_005 {
        insert(&stage.database(DATABASE), id).await;
    }
    assert_rows(stage, 45_000, 45_004, rows(45_000..45_005)).await;
}

async fn mixed_operations(stage: &mut Stage) {
    clients(stage, 5, |database, client| async move {
        for number in 0..5 {
            // Every client writes and reads by turns, and no two begin alike.
            if (client + number) % 2 == 0 {
                insert(&database, 500 + 100 * client + number).await;
            } else {
                let id = 45_000 + number;
                assert_eq!(read(&database, id).await, rows([id]));
            }
        }
    })
    .await;
    let written = (0..5).flat_map(|client| {
        (0..5).filter(move |number| (client + number) % 2 == 0).map(move |number| 500 + 100 * client + number)
    });
    assert_rows(stage, 500, 999, rows(written)).await;
}

async fn setting_up_updates(stage: &mut Stage) {
    for id in 1_000..1_020 {
        let done = stage.database(DATABASE).sql_insert(TABLE, row(id, 0)).await.expect("the row is inserted");
        assert_eq!(done.affected_rows, 1);
    }
    assert_rows(stage, 1_000, 1_019, (1_000..1_020).map(|id| row(id, 0)).collect()).await;
}

async fn the_update_task(stage: &mut Stage) {
    let database = stage.database(DATABASE);
    update(&database, 1_005, 99).await;
    // A declared INTEGER is a number.
    assert_eq!(read(&database, 1_005).await, json!([row(1_005, 99)]));
}

/// Clients that update four rows each, from an id on.
async fn update_at_once(stage: &mut Stage, count: i64, first: i64) {
    clients(stage, count, move |database, client| async move {
        for number in 0..4 {
            let id = first + 4 * client + number;
            update(&database, id, 10 * id).await;
            assert_eq!(read(&database, id).await, json!([row(id, 10 * id)]));
        }
    })
    .await;
    let last = first + 4 * count - 1;
    assert_rows(stage, first, last, (first..=last).map(|id| row(id, 10 * id)).collect()).await;
}

async fn first_concurrent_updates(stage: &mut Stage) {
    update_at_once(stage, 2, 1_000).await;
}

async fn second_concurrent_updates(stage: &mut Stage) {
    update_at_once(stage, 3, 1_008).await;
    // All clients change one row: no change is lost.
    clients(stage, 3, |database, _| async move {
        for _ in 0..4 {
            let counted = format!("UPDATE {TABLE} SET value = value + 1 WHERE id = 9901");
            let done = database.sql(counted).execute().await.expect("the row is updated");
            assert_eq!(done.affected_rows, 1);
        }
    })
    .await;
    assert_rows(stage, 9_901, 9_901, json!([row(9_901, 9_901 + 12)])).await;
}

async fn setting_up_load(stage: &mut Stage) {
    assert!(stage.lists(DATABASE).await);
    let counted = stage.sql(DATABASE, &format!("SELECT count(*) AS n FROM {TABLE}")).await;
    // 5 + 5 + 1 + 25 + 10 + 5 + 13 + 20, as inserted by the tests before.
    assert_eq!(counted, json!([{"n": 84}]));
}

async fn consistency_under_load(stage: &mut Stage) {
    clients(stage, 5, |database, client| async move { insert_and_read(&database, 3_000 + client).await })
        .await;
}

async fn verifying_load(stage: &mut Stage) {
    assert_rows(stage, 3_000, 3_099, rows(3_000..3_005)).await;
}

async fn additional_load(stage: &mut Stage) {
    clients(stage, 3, |database, client| async move {
        for number in 0..3 {
            insert_and_read(&database, 4_000 + 10 * client + number).await;
        }
    })
    .await;
    let written = (0..3).flat_map(|client| (0..3).map(move |number| 4_000 + 10 * client + number));
    assert_rows(stage, 4_000, 4_099, rows(written)).await;
}
