//! The whole product in one process: a coordinator and three storage nodes, spoken to through the HTTP
//! interface.

mod contention;
mod exactly_once;
mod migrations;
mod transactions;

use coordinator::{Coordinator, CoordinatorOptions};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value as Json, json};
use storage_node::{StorageNode, StorageNodeOptions};
use tempfile::TempDir;

/// A coordinator and its storage nodes over temporary directories.
struct Cluster {
    coordinator: Coordinator,
    nodes: Vec<StorageNode>,
    directory: TempDir,
}

impl Cluster {
    async fn start() -> Cluster {
        Cluster::start_in(tempfile::tempdir().unwrap(), vec![0; 4]).await
    }

    async fn start_in(directory: TempDir, ports: Vec<u16>) -> Cluster {
        let mut options = CoordinatorOptions::new(directory.path().join("coordinator"));
        options.host = "127.0.0.1".to_owned();
        options.port = ports[0];
        let coordinator = Coordinator::start(options).await.unwrap();
        let mut nodes = Vec::new();
        for (number, port) in (1..=3).zip(&ports[1..]) {
            let options = StorageNodeOptions {
                host: "127.0.0.1".to_owned(),
                port: *port,
                advertise: None,
                allowed_hosts: Vec::new(),
                data_dir: directory.path().join(format!("node-{number}")),
                coordinators: vec![coordinator.address().to_owned()],
                node_id: None,
                upkeep: Default::default(),
            };
            nodes.push(StorageNode::start(options).await.unwrap());
        }
        let cluster = Cluster { coordinator, nodes, directory };
        cluster.wait_for_nodes().await;
        cluster
    }

    /// Nodes register by themselves; the catalog tells when it has changed.
    async fn wait_for_nodes(&self) {
        let mut changed = self.coordinator.catalog().changed();
        while self.coordinator.catalog().view().nodes.len() < 3 {
            changed.changed().await.unwrap();
        }
    }

    /// Stops everything and starts it again on the same directories and ports.
    async fn restart(self) -> Cluster {
        let port = |address: &str| address.rsplit(':').next().unwrap().parse::<u16>().unwrap();
        let mut ports = vec![port(self.coordinator.address())];
        ports.extend(self.nodes.iter().map(|node| node.address().port()));
        for node in self.nodes {
            node.shutdown().await;
        }
        self.coordinator.shutdown().await;
        Cluster::start_in(self.directory, ports).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Json>) -> (StatusCode, Json) {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        let body = match body {
            None => String::new(),
            Some(json) => {
                request = request.header("content-type", "application/json");
                json.to_string()
            }
        };
        let response = self.coordinator.face().answer(request.body(body).unwrap()).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Json::String(text)))
    }

    async fn get(&self, path: &str) -> Json {
        let (status, answer) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "GET {path}: {answer}");
        answer
    }

    async fn post(&self, path: &str, body: Json) -> Json {
        let (status, answer) = self.ask(Method::POST, path, Some(body.clone())).await;
        assert_eq!(status, 200, "POST {path} {body}: {answer}");
        assert_eq!(answer["success"], true);
        answer
    }

    async fn refused(&self, path: &str, body: Json) -> (u16, String) {
        let (status, answer) = self.ask(Method::POST, path, Some(body)).await;
        assert_eq!(answer["success"], false, "{answer}");
        (status.as_u16(), answer["code"].as_str().unwrap().to_owned())
    }

    async fn sql(&self, sql: &str) -> Json {
        self.post("/databases/shop/sql", json!({ "sql": sql })).await["results"][0].clone()
    }
}

fn shop() -> Json {
    json!({"name": "shop", "db_type": "SQL", "tables": [{"name": "users", "indexes": ["name"], "columns": [
        {"name": "id", "data_type": "INTEGER", "primary_key": true, "nullable": false},
        {"name": "name", "data_type": "TEXT"},
        {"name": "price", "data_type": "REAL", "default": 1.5}]}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_over_four_partitions_survives_a_restart() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    assert_eq!(cluster.get("/databases").await["databases"], json!(["shop"]));
    assert_eq!(cluster.refused("/databases", shop()).await, (409, "database_exists".to_owned()));

    for id in 1..=20 {
        let insert =
            json!({"sql": "INSERT INTO users (id, name) VALUES (?, ?)", "params": [id, format!("n{id}")]});
        let answer = cluster.post("/databases/shop/sql", insert).await;
        assert_eq!(answer["results"][0]["affected_rows"], 1, "{answer}");
    }
    let count = cluster.sql("SELECT count(*), sum(price) FROM users").await;
    assert_eq!(count["rows"], json!([[20, 30.0]]));
    assert_eq!(cluster.sql("SELECT name FROM users WHERE id = 7").await["rows"], json!([["n7"]]));
    let updated = cluster.sql("UPDATE users SET price = 2.0 WHERE id <= 10").await;
    assert_eq!(updated["affected_rows"], 10);
    let duplicate = json!({"sql": "INSERT INTO users (id) VALUES (7)"});
    assert_eq!(cluster.refused("/databases/shop/sql", duplicate).await, (409, "unique_violation".to_owned()));
    let unknown = json!({"sql": "SELECT * FROM nowhere"});
    assert_eq!(cluster.refused("/databases/shop/sql", unknown).await, (400, "sql_error".to_owned()));

    let partitions = cluster.get("/partitions/shop").await["partitions"].clone();
    let partitions = partitions.as_object().unwrap();
    assert_eq!(partitions.len(), 4);
    let rows: u64 = partitions.values().map(|partition| partition["rows"].as_u64().unwrap()).sum();
    assert_eq!(rows, 20);
    for partition in partitions.values() {
        assert_eq!(partition["storage_nodes"].as_array().unwrap().len(), 3);
        assert!(partition["leader"].is_string(), "{partition}");
    }

    let cluster = cluster.restart().await;
    let count = cluster.sql("SELECT count(*), sum(price) FROM users").await;
    assert_eq!(count["rows"], json!([[20, 35.0]]));
    let inserted = cluster.sql("INSERT INTO users (name) VALUES ('made')").await;
    assert_eq!(inserted["last_insert_rowid"], 21);
    let (status, _) = cluster.ask(Method::DELETE, "/databases/shop", None).await;
    assert_eq!(status, 200);
    assert_eq!(cluster.get("/databases").await["databases"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn query_objects_of_the_reference_platform() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let query = async |object: Json| cluster.post("/query/shop", object).await;
    let inserted =
        query(json!({"operation": "insert", "table": "users", "values": {"id": 1, "name": "Ann"}})).await;
    assert_eq!(inserted["affected_rows"], 1);
    let found = query(json!({"operation": "query", "table": "users", "where": {"id": {"$gte": 1}}})).await;
    assert_eq!(found["data"], json!([{"id": 1, "name": "Ann", "price": 1.5}]));
    let updated =
        json!({"operation": "update", "table": "users", "values": {"price": 99.99}, "where": {"id": 1}});
    assert_eq!(query(updated).await["affected_rows"], 1);
    let deleted = json!({"operation": "delete", "table": "users", "where": {"id": 1}});
    assert_eq!(query(deleted).await["affected_rows"], 1);
    let (status, code) = cluster.refused("/query/shop", json!({"table": "users"})).await;
    assert_eq!((status, code.as_str()), (400, "bad_request"));
    let (status, code) = cluster.refused("/query/nowhere", json!({"operation": "query", "table": "t"})).await;
    assert_eq!((status, code.as_str()), (404, "database_not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_by_id_and_by_filter() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", json!({"name": "docs", "db_type": "NOSQL"})).await;
    let base = "/databases/docs/collections/people";
    let made = cluster.post(&format!("{base}/documents"), json!({"_id": 1, "name": "Ann", "age": 35})).await;
    assert_eq!(made["id"], 1);
    cluster.post(&format!("{base}/documents"), json!({"documents": [{"_id": 2, "age": 20}]})).await;
    let got = cluster.get(&format!("{base}/documents/1")).await;
    assert_eq!(got["document"]["name"], "Ann");
    let (status, patched) =
        cluster.ask(Method::PATCH, &format!("{base}/documents/1"), Some(json!({"age": 36}))).await;
    assert_eq!((status.as_u16(), &patched["document"]["age"]), (200, &json!(36)));
    let found = cluster.post(&format!("{base}/find"), json!({"filter": {"age": {"$gt": 30}}})).await;
    assert_eq!(found["documents"].as_array().unwrap().len(), 1);
    assert_eq!(cluster.post(&format!("{base}/count"), json!({})).await["count"], 2);
    let (status, _) = cluster.ask(Method::DELETE, &format!("{base}/documents/1"), None).await;
    assert_eq!(status, 200);
    let (status, gone) = cluster.ask(Method::GET, &format!("{base}/documents/1"), None).await;
    assert_eq!((status.as_u16(), gone["code"].as_str()), (404, Some("document_not_found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_asked_in_the_query_language() {
    let cluster = Cluster::start().await;
    cluster
        .post("/databases", json!({"name": "docs", "db_type": "NOSQL", "partition_type": "HORIZONTAL"}))
        .await;
    let base = "/databases/docs/collections/people";
    let documents: Vec<Json> =
        (1..=40).map(|id| json!({"_id": id, "age": 20 + id % 10, "tags": [id % 3, "t"], "team": {"name": format!("n{}", id % 4)}})).collect();
    cluster.post(&format!("{base}/documents"), json!({"documents": documents})).await;
    cluster.post(&format!("{base}/indexes"), json!({"name": "by_age", "fields": ["age"]})).await;
    let explained = cluster.post(&format!("{base}/explain"), json!({"find": {"filter": {"age": 25}}})).await;
    assert!(explained.to_string().contains("people.by_age"), "{explained}");
    let one = cluster.post(&format!("{base}/explain"), json!({"find": {"filter": {"_id": 7}}})).await;
    assert_eq!(one["partitions"].as_array().unwrap().len(), 1, "{one}");

    let count = async |filter: Json| {
        cluster.post(&format!("{base}/count"), json!({ "filter": filter })).await["count"].clone()
    };
    assert_eq!(count(json!({"age": 25, "tags": 1})).await, 1);
    assert_eq!(count(json!("team.name == 'n1' and age >= 25")).await, 6);
    let values = cluster.post(&format!("{base}/distinct"), json!({"field": "tags"})).await;
    assert_eq!(values["values"], json!([0, 1, 2, "t"]));
    let pipeline = json!({"pipeline": [{"$match": {"age": {"$lt": 22}}}, {"$group": {"_id": "$age", "n": {"$sum": 1}}}]});
    let made = cluster.post(&format!("{base}/aggregate"), pipeline).await;
    assert_eq!(made["documents"], json!([{"_id": 20, "n": 4}, {"_id": 21, "n": 4}]));
    let update =
        json!({"filter": {"tags": 2}, "update": {"$push": {"tags": {"$each": ["u"], "$slice": -2}}}});
    assert_eq!(cluster.post(&format!("{base}/update"), update).await["modified"], 13);

    let operations = json!({"atomic": true, "operations": [
        {"insertOne": {"document": {"_id": "new", "age": 1}}},
        {"updateMany": {"filter": {"_id": {"$in": [1, "new"]}}, "update": {"$inc": {"age": 100}}}},
        {"deleteOne": {"filter": {"_id": 2}}},
        {"updateOne": {"filter": {"_id": "made"}, "update": {"$set": {"x": 1}}, "upsert": true}},
    ]});
    let done = cluster.post(&format!("{base}/bulk"), operations).await;
    assert_eq!(
        done["results"],
        json!([{"id": "new"}, {"matched": 2, "modified": 2, "upserted_id": null}, {"deleted": 1},
        {"matched": 0, "modified": 0, "upserted_id": "made"}]),
        "{done}"
    );
    assert_eq!(count(json!({"age": {"$gt": 100}})).await, 2);
    let refused = json!({"atomic": true, "operations": [{"deleteMany": {"filter": {}}}, {"insertOne": {"document": {"_id": 1}}},
        {"insertOne": {"document": {"_id": 1}}}]});
    assert_eq!(cluster.refused(&format!("{base}/bulk"), refused).await, (409, "unique_violation".to_owned()));
    let unordered = json!({"ordered": false, "operations": [{"insertOne": {"document": {"_id": 1}}}, {"deleteOne": {"filter": {"_id": 1}}}]});
    let done = cluster.post(&format!("{base}/bulk"), unordered).await;
    assert_eq!(
        (&done["errors"][0]["code"], &done["deleted"]),
        (&json!("unique_violation"), &json!(1)),
        "{done}"
    );
    assert_eq!(count(json!({})).await, 40);

    let stream = Request::post(format!("{base}/find"))
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", "application/x-ndjson")
        .body(json!({"filter": {"age": 23}, "projection": {"age": 1}}).to_string())
        .unwrap();
    let response = cluster.coordinator.face().answer(stream).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let lines: Vec<Json> = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines[0], json!({"document": {"_id": 3, "age": 23}}));
    assert_eq!(lines.last().unwrap(), &json!({"end": {"documents": 4}}));
    for (route, body, place) in [
        ("find", json!({"filter": {"a": {"$in": 5}}}), "/filter/a/$in"),
        ("find", json!({"filter": "age >> 3"}), "position 5"),
        ("update", json!({"filter": {}, "update": {"$set": {"a.$x": 1}}}), "/update/$set/a.$x"),
        ("aggregate", json!({"pipeline": [{"$group": {"n": 1}}]}), "/pipeline/0/$group"),
        ("find", json!({"filter": {"a": {"$regex": "("}}}), "/filter/a/$regex"),
        ("find", json!({"filters": {}}), "/filters"),
    ] {
        let (status, answer) = cluster.ask(Method::POST, &format!("{base}/{route}"), Some(body)).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(place), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn import_and_export_are_inverse() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let mut text = String::from("id,name,price\n");
    for id in 1..=12_000 {
        text.push_str(&format!("{id},\"name, {id}\",{id}.5\n"));
    }
    let import = Request::post("/databases/shop/import?table=users&format=csv")
        .header("host", "localhost")
        .body(text.clone());
    let response = cluster.coordinator.face().answer(import.unwrap()).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Json = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["rows"], 12_000, "{answer}");
    let (_, exported) = cluster.ask(Method::GET, "/databases/shop/export?table=users&format=csv", None).await;
    assert_eq!(exported.as_str().unwrap(), text);

    let bad = Request::post("/databases/shop/import?table=users&format=csv")
        .header("host", "localhost")
        .body("id,name\n20001,a\n20002\n".to_owned())
        .unwrap();
    let response = cluster.coordinator.face().answer(bad).await;
    assert_eq!(response.status(), 400);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Json = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&answer["line"], &answer["rows"], &answer["outcome"]),
        (&json!(3), &json!(1), &json!("partial"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_transferred_by_an_operation_that_can_be_watched() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let partitions = cluster.get("/partitions/shop").await["partitions"].clone();
    let (id, partition) = partitions.as_object().unwrap().iter().next().unwrap();
    let path = format!("/cluster/partitions/{id}/transfer-leader");
    let nodes = partition["storage_nodes"].as_array().unwrap();
    let to = nodes.iter().find(|node| **node != partition["leader"]).unwrap();

    let (status, answer) = cluster.ask(Method::POST, &path, Some(json!({ "to": to }))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let operation = format!("/cluster/operations/{}", answer["operation"].as_str().unwrap());
    let mut changed = cluster.coordinator.catalog().changed();
    let ended = loop {
        let shown = cluster.get(&operation).await;
        if shown["state"] != "pending" && shown["state"] != "running" {
            break shown;
        }
        changed.changed().await.unwrap();
    };
    assert_eq!((&ended["state"], &ended["progress"]), (&json!("completed"), &json!(100)), "{ended}");
    let shown = cluster.get("/partitions/shop").await;
    assert_eq!(shown["partitions"][id]["leader"], *to);

    let (status, answer) = cluster.ask(Method::DELETE, &operation, None).await;
    assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("bad_request")), "it has ended: {answer}");
    assert_eq!(cluster.refused(&path, json!({ "to": "nobody" })).await, (404, "node_not_found".to_owned()));
    assert_eq!(cluster.refused(&path, json!({})).await, (400, "bad_request".to_owned()));
    let unknown = "/cluster/partitions/unknown/transfer-leader";
    assert_eq!(cluster.refused(unknown, json!({ "to": to })).await, (404, "partition_not_found".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_a_bookmark() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    for path in [
        "/databases",
        "/databases/shop",
        "/databases/shop/tables",
        "/databases/shop/collections",
        "/nodes",
        "/partitions",
        "/partitions/shop",
        "/cluster/status",
        "/cache/stats",
        "/health/live",
        "/health/ready",
        "/version",
    ] {
        let answer = cluster.get(path).await;
        assert!(answer["bookmark"].is_string(), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_cache_outlive_a_restart() {
    let cluster = Cluster::start().await;
    let config = cluster.post("/cache/config", json!({"max_size": 5, "expiration_seconds": 1})).await;
    let limits = json!({"enabled": true, "max_size": 5, "max_bytes": 64 << 20, "expiration_seconds": 1});
    assert_eq!(config["config"], limits);
    let cluster = cluster.restart().await;
    let stats = cluster.get("/cache/stats").await["stats"].clone();
    for (name, limit) in limits.as_object().unwrap() {
        assert_eq!(stats[name], *limit, "{stats}");
    }
    let too_many = json!({"max_bytes": "many"});
    assert_eq!(cluster.refused("/cache/config", too_many).await, (400, "bad_request".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_request_over_partitions_names_the_statement_that_failed() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    cluster.sql("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')").await;
    for taken in 1..=5 {
        for place in 0..4 {
            // Rows of every partition around the one that exists already.
            let mut statements: Vec<String> = (0..3)
                .map(|row| format!("INSERT INTO users (id) VALUES ({}), ({})", 100 + row, 200 + row))
                .collect();
            statements.insert(place, format!("INSERT INTO users (id) VALUES ({taken})"));
            let request = Some(json!({ "statements": statements }));
            let (status, answer) = cluster.ask(Method::POST, "/databases/shop/sql", request).await;
            assert_eq!((status.as_u16(), &answer["statement"]), (409, &json!(place)), "{taken}: {answer}");
            assert_eq!(answer["outcome"], "not_applied");
        }
    }
    assert_eq!(cluster.sql("SELECT count(*) FROM users").await["rows"], json!([[5]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_table_lies_beside_every_partition() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let levels = json!({"name": "levels", "reference": true, "columns": [
        {"name": "id", "data_type": "INTEGER", "primary_key": true},
        {"name": "title", "data_type": "TEXT", "default": "(hex(randomblob(4)))"}]});
    cluster.post("/databases/shop/tables", levels).await;
    let described = cluster.get("/databases/shop/tables").await["tables"].clone();
    let shown = |name: &str| {
        described.as_array().unwrap().iter().find(|table| table["name"] == name).unwrap()["reference"].clone()
    };
    assert_eq!((shown("levels"), shown("users")), (json!(true), json!(false)));

    let inserted = cluster.sql("INSERT INTO levels (title) VALUES ('low'), ('high') RETURNING id").await;
    assert_eq!((&inserted["rows"], &inserted["affected_rows"]), (&json!([[1], [2]]), &json!(2)));
    cluster.sql("INSERT INTO levels DEFAULT VALUES").await;
    cluster.sql("INSERT INTO users (id, name, price) VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 2)").await;
    assert_eq!(cluster.sql("UPDATE levels SET title = upper(title)").await["affected_rows"], 3);
    let joined = cluster
        .sql("SELECT u.name, l.title FROM users u JOIN levels l ON l.id = u.price ORDER BY u.id")
        .await;
    assert_eq!(joined["rows"], json!([["a", "LOW"], ["b", "HIGH"], ["c", "HIGH"]]));

    // Each partition has the three levels besides its users.
    let partitions = cluster.get("/partitions/shop").await["partitions"].clone();
    let rows = partitions.as_object().unwrap().values().map(|partition| partition["rows"].as_u64().unwrap());
    assert_eq!(rows.sum::<u64>(), 4 * 3 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_exported_as_csv_with_a_column_for_each_field() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", json!({"name": "docs", "db_type": "NOSQL"})).await;
    let documents =
        json!({"documents": [{"_id": 1, "name": "Ann", "age": 35}, {"_id": "x", "tags": ["a"], "age": "9"}]});
    cluster.post("/databases/docs/collections/people/documents", documents).await;
    let (status, text) =
        cluster.ask(Method::GET, "/databases/docs/export?collection=people&format=csv", None).await;
    assert_eq!(status, 200);
    assert_eq!(text, "_id,name,age,tags\n1,Ann,35,\nx,,\"9\",\"[\"\"a\"\"]\"\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_id_is_an_id_that_paths_can_name() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", json!({"name": "docs", "db_type": "NOSQL"})).await;
    let base = "/databases/docs/collections/people/documents";
    assert_eq!(cluster.post(base, json!({"_id": "", "name": "nobody"})).await["id"], "");
    assert_eq!(cluster.get(&format!("{base}/%22%22")).await["document"]["name"], "nobody");
    let (status, answer) = cluster.ask(Method::GET, &format!("{base}/"), None).await;
    assert_eq!((status.as_u16(), &answer["code"]), (404, &json!("not_found")), "{answer}");
    let (status, _) = cluster.ask(Method::DELETE, &format!("{base}/%22%22"), None).await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_explained_as_a_tree() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    cluster.sql("INSERT INTO users (id, name) SELECT value, 'n' || value FROM generate_series(1, 40)").await;

    let one = json!({"sql": "SELECT name FROM users WHERE id = ?", "params": [7]});
    let plan = cluster.post("/databases/shop/explain", one).await;
    assert_eq!(plan["node"], "SINGLE", "{plan}");
    assert_eq!(plan["partitions"].as_array().unwrap().len(), 1);
    assert_eq!(plan["partitions_pruned"].as_array().unwrap().len(), 3);
    let known = cluster.get("/partitions/shop").await["partitions"].clone();
    assert!(known.get(plan["partitions"][0].as_str().unwrap()).is_some(), "{plan}");
    assert_eq!(plan["children"][0]["node"], "SQLITE");
    assert!(plan["children"][0]["detail"].as_str().unwrap().starts_with("SEARCH users"), "{plan}");

    let all = json!({"sql": "SELECT name, row_number() OVER (ORDER BY name) FROM users",
        "analyze": true});
    let plan = cluster.post("/databases/shop/explain", all).await;
    assert_eq!(plan["rows"], 40, "{plan}");
    assert!(plan["milliseconds"].as_f64().unwrap() > 0.0);
    let fragment = plan["children"].as_array().unwrap().iter().find(|child| child["node"] == "FRAGMENT");
    let fragment = fragment.unwrap_or_else(|| panic!("no fragment: {plan}"));
    assert_eq!(fragment["partitions"].as_array().unwrap().len(), 4);
    assert_eq!(fragment["rows"], 40, "{plan}");
    assert!(plan["children"].as_array().unwrap().iter().any(|child| child["node"] == "WHY"), "{plan}");

    let write = json!({"sql": "DELETE FROM users", "analyze": true});
    let refused = cluster.refused("/databases/shop/explain", write).await;
    assert_eq!(refused, (422, "not_supported".to_owned()));
    let wrong = json!({"sql": "SELECT nothing FROM users"});
    assert_eq!(cluster.refused("/databases/shop/explain", wrong).await.1, "sql_error");
    assert_eq!(cluster.sql("SELECT count(*) FROM users").await["rows"], json!([[40]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_key_violated_across_partitions_has_the_code_of_one_file() {
    let cluster = Cluster::start().await;
    let spread = json!({"name": "shop", "db_type": "SQL", "partition_key": "region", "tables": [
        {"name": "users", "columns": [{"name": "id", "data_type": "INTEGER", "primary_key": true},
            {"name": "region", "data_type": "TEXT"}]}]});
    cluster.post("/databases", spread).await;
    cluster.sql("CREATE UNIQUE INDEX by_x ON users (id, region)").await;
    cluster.sql("INSERT INTO users VALUES (1, 'r0')").await;
    for region in 0..8 {
        let insert = json!({"sql": format!("INSERT INTO users VALUES (1, 'r{region}')")});
        let (status, answer) = cluster.ask(Method::POST, "/databases/shop/sql", Some(insert)).await;
        assert_eq!((status.as_u16(), &answer["sqlite_code"]), (409, &json!(1555)), "{answer}");
        assert_eq!(answer["error"], "UNIQUE constraint failed: users.id");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_keeps_its_id() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", json!({"name": "docs", "db_type": "NOSQL"})).await;
    let base = "/databases/docs/collections/people/documents";
    cluster.post(base, json!({"_id": 1, "name": "Ann"})).await;
    for other in [json!("1"), json!(2), json!(null)] {
        let (status, answer) =
            cluster.ask(Method::PATCH, &format!("{base}/1"), Some(json!({"_id": other, "age": 3}))).await;
        assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("bad_request")), "{answer}");
    }
    let same = Some(json!({"_id": 1, "age": 3}));
    let (status, answer) = cluster.ask(Method::PATCH, &format!("{base}/1"), same).await;
    assert_eq!((status.as_u16(), &answer["document"]["age"]), (200, &json!(3)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_nothing_and_one_of_a_bad_row_tell_where_they_are() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let import = async |body: &str| {
        let import =
            Request::post("/databases/shop/import?table=users&format=csv").header("host", "localhost");
        let response = cluster.coordinator.face().answer(import.body(body.to_owned()).unwrap()).await;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Json>(&body).unwrap()
    };
    let nothing = import("").await;
    assert_eq!(nothing["rows"], 0);
    assert_ne!(nothing["bookmark"], "b0", "the client has seen the database");
    cluster.sql("INSERT INTO users (id) VALUES (1)").await;
    let bad = import("id\n1\n").await;
    assert_eq!(bad["error"], "line 2: UNIQUE constraint failed: users.id");
}
