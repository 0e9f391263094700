//! Three storage nodes agree: each has every acknowledged row, one of them may die, and one that comes back
//! with an empty disk is made whole again.

use std::collections::BTreeMap;

use polylite_client::{Client, Column, CreateDatabase, Request, Table};
use serde_json::{Value as Json, json};

use super::schema_and_crud::assert_described;
use super::stage::{Stage, eventually, sorted_by_id};
use super::{Category, tests};

const DATABASE: &str = "test_consensus";
const TABLE: &str = "test_table";
const NODES: usize = 3;
/// The node that dies and is replaced.
const LOST: usize = 2;

pub(super) fn category() -> Category {
    Category {
        name: "consensus",
        title: "Consensus and Fault Tolerance",
        points: 30,
        nodes: NODES,
        tests: tests![
            "Test that the consensus database was created successfully." => the_database_was_created,
            "Test that all storage nodes are registered." => all_nodes_are_registered,
            "Test inserting initial data into the consensus database." => inserting_initial_data,
            "Test querying the initial data to verify it was inserted correctly." => querying_initial_data,
            "Test inserting additional data to verify continuing consensus." => inserting_additional_data,
            "Test querying the additional data to verify consistency." => querying_additional_data,
            "Test stopping one storage node to simulate a failure." => stopping_a_node,
            "Test starting a replacement node after a failure." => starting_a_replacement,
            "Test registering the replacement node with the coordinator." => registering_the_replacement,
            "Test verifying node count after restarting a node." => node_count_after_a_restart,
        ],
    }
}

fn table() -> Table {
    Table::new(TABLE)
        .column(Column::new("id", "INTEGER").primary_key())
        .column(Column::new("name", "TEXT").not_null())
        .column(Column::new("value", "TEXT"))
}

fn row(id: i64) -> Json {
    json!({"id": id, "name": format!("Name {id}"), "value": format!("Value {id}")})
}

fn rows(ids: std::ops::RangeInclusive<i64>) -> Json {
    ids.map(row).collect()
}

/// Asserts what a coordinator answers, and what each of some storage nodes answers from its own replicas.
async fn assert_everywhere(stage: &mut Stage, nodes: &[usize], conditions: Json, expected: &Json) {
    assert_eq!(stage.rows(DATABASE, TABLE, conditions.clone()).await, *expected);
    let query = json!({"operation": "query", "table": TABLE, "where": conditions});
    for &node in nodes {
        assert_eq!(stage.node_query(node, DATABASE, &query).await, *expected, "replicas of node {node}");
    }
}

async fn the_database_was_created(stage: &mut Stage) {
    stage.create(&CreateDatabase::sql(DATABASE).table(table()).partition_key("id")).await;
    assert!(stage.lists(DATABASE).await);
    let all = json!(["node-0", "node-1", "node-2"]);
    for partition in stage.partitions(DATABASE).await {
        let mut nodes = partition["storage_nodes"].as_array().expect("a list").clone();
        nodes.sort_by_key(Json::to_string);
        assert_eq!(json!(nodes), all, "every node has a replica");
        assert!(nodes.contains(&partition["leader"]), "one of them leads: {partition}");
    }
}

async fn all_nodes_are_registered(stage: &mut Stage) {
    let nodes = stage.get("/nodes").await["nodes"].take();
    assert_eq!(nodes.as_object().map(serde_json::Map::len), Some(NODES), "{nodes}");
    for number in 0..NODES {
        let node = &nodes[format!("node-{number}")];
        let port = stage.cluster().node(number).port();
        assert_eq!((&node["status"], &node["port"]), (&json!("active"), &json!(port)), "{node}");
        assert_eq!(node["databases"], json!([DATABASE]));
        assert_eq!(stage.node_get(number, "/status").await["node_id"], format!("node-{number}"));
    }
}

async fn inserting_initial_data(stage: &mut Stage) {
    for id in 1..=3 {
        stage.insert(DATABASE, TABLE, row(id)).await;
    }
}

async fn querying_initial_data(stage: &mut Stage) {
    assert_everywhere(stage, &[0, 1, 2], json!({"id": {"$lte": 3}}), &rows(1..=3)).await;
}

async fn inserting_additional_data(stage: &mut Stage) {
    for id in 4..=5 {
        stage.insert(DATABASE, TABLE, row(id)).await;
    }
}

async fn querying_additional_data(stage: &mut Stage) {
    assert_everywhere(stage, &[0, 1, 2], json!({"id": {"$gt": 3}}), &rows(4..=5)).await;
    assert_everywhere(stage, &[0, 1, 2], json!({}), &rows(1..=5)).await;
}

async fn stopping_a_node(stage: &mut Stage) {
    let lost = replicas_of(&stage.node(LOST)).await.expect("the node tells its replicas");
    assert_eq!(lost.len(), stage.partitions(DATABASE).await.len());
    stage.left = json!(lost);
    stage.cluster().kill_node(LOST);
    // Nobody waits for the failure to be noticed: what is acknowledged has a majority either way.
    for id in 6..=10 {
        stage.insert(DATABASE, TABLE, row(id)).await;
    }
    assert_everywhere(stage, &[0, 1], json!({}), &rows(1..=10)).await;
    eventually("the dead node is noticed", async || {
        let nodes = stage.get("/nodes").await["nodes"].take();
        let status = |number: usize| nodes[format!("node-{number}")]["status"].clone();
        let as_expected = status(0) == "active" && status(1) == "active" && status(LOST) != "active";
        if as_expected { Ok(()) } else { Err(nodes) }
    })
    .await;
    assert_described(stage, DATABASE, &[table()]).await;
}

/// The ids of a node's replicas by partition.
async fn replicas_of(node: &Client) -> Result<BTreeMap<String, u64>, String> {
    let request = Request::get(format!("/partitions/{DATABASE}"));
    let answer: Json = node.send(&request).await.map_err(|error| error.to_string())?;
    let partitions = answer["partitions"].as_array().ok_or("no list")?;
    let replica =
        |partition: &Json| Some((partition["id"].as_str()?.to_owned(), partition["replica"].as_u64()?));
    partitions.iter().map(replica).collect::<Option<_>>().ok_or_else(|| "no ids".to_owned())
}

async fn starting_a_replacement(stage: &mut Stage) {
    let lost: BTreeMap<String, u64> =
        serde_json::from_value(stage.left.take()).expect("the replicas that died");
    stage.cluster().wipe_node(LOST);
    stage.cluster().restart_node(LOST);
    let node = stage.node(LOST);
    let rebuilt = eventually("every replica is rebuilt", async || {
        let replicas = replicas_of(&node).await?;
        let query = json!({"operation": "query", "table": TABLE});
        let query = Request::post(format!("/query/{DATABASE}"), &query).expect("JSON").reads();
        let found: Json = node.send(&query).await.map_err(|error| error.to_string())?;
        let found = sorted_by_id(found["data"].clone());
        let is_whole = replicas.keys().eq(lost.keys()) && found == rows(1..=10);
        if is_whole { Ok(replicas) } else { Err(format!("{replicas:?} {found}")) }
    })
    .await;
    for (partition, replica) in &rebuilt {
        // It has forgotten its votes, and must not vote a second time under the old name.
        assert_ne!(lost.get(partition), Some(replica), "partition {partition} has its old replica");
    }
}

async fn registering_the_replacement(stage: &mut Stage) {
    let port = stage.cluster().node(LOST).port();
    let answer = stage.post("/nodes", &json!({"host": "localhost", "port": port, "status": "active"})).await;
    assert_eq!(answer["node_id"], format!("node-{LOST}"), "it is known by its address");
    assert_eq!(answer["message"], "Storage node registered successfully");
    let nodes = stage.get("/nodes").await["nodes"].take();
    assert_eq!(nodes.as_object().map(serde_json::Map::len), Some(NODES), "nothing is doubled: {nodes}");
}

async fn node_count_after_a_restart(stage: &mut Stage) {
    eventually("all nodes are active and all partitions whole", async || {
        let status = stage.get("/cluster/status").await;
        let nodes = status["nodes"].as_object().expect("an object by id");
        let active = nodes.values().filter(|node| node["status"] == "active").count();
        if (active, status["under_replicated"].as_u64()) == (NODES, Some(0)) { Ok(()) } else { Err(status) }
    })
    .await;
    // The replacement is worth as much as the node that it replaces: another one may die now.
    stage.cluster().kill_node(0);
    stage.insert(DATABASE, TABLE, row(11)).await;
    assert_everywhere(stage, &[1, LOST], json!({}), &rows(1..=11)).await;
    stage.cluster().restart_node(0);
    // Metadata survive their coordinator.
    let described = stage.describe(DATABASE).await;
    stage.cluster().kill_coordinator(0);
    stage.cluster().restart_coordinator(0);
    assert_eq!(stage.describe(DATABASE).await, described);
    stage.cluster().await_active_nodes(NODES);
    let nodes = stage.get("/nodes").await["nodes"].take();
    assert_eq!(nodes.as_object().map(serde_json::Map::len), Some(NODES), "{nodes}");
    assert_everywhere(stage, &[0, 1, LOST], json!({}), &rows(1..=11)).await;
}
