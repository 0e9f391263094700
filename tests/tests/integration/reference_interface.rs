//! The interface that older clients know, route by route: paths, fields, messages and shapes.

use serde_json::{Value as Json, json};
use tests::process_cluster::ServerProcess;
use tests::raw_http::send;

/// A running server and one of its processes' addresses.
struct Peer<'a> {
    url: &'a str,
}

impl Peer<'_> {
    /// Sends a request; the answer must have this status, and these fields with these values.
    #[track_caller]
    fn expect(&self, method: &str, path: &str, body: Json, status: u16, fields: &Json) -> Json {
        let answer = send(self.url, method, path, &body);
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.body);
        assert_eq!(answer.body["success"], status < 400, "{method} {path} {body}: {}", answer.body);
        for (name, value) in fields.as_object().into_iter().flatten() {
            assert_eq!(answer.body[name], *value, "'{name}' of {method} {path} {body}: {}", answer.body);
        }
        answer.body
    }

    /// A refusal with this text.
    #[track_caller]
    fn refuses(&self, method: &str, path: &str, body: Json, status: u16, error: &str) {
        let answer = self.expect(method, path, body, status, &json!({}));
        let told = answer["error"].as_str().unwrap_or_default();
        assert!(told.starts_with(error), "{method} {path}: {told}");
    }
}

fn tables() -> Json {
    json!([{"name": "t", "indexes": ["n"], "columns": [
        {"name": "id", "data_type": "INTEGER", "primary_key": true, "nullable": false, "default": null},
        {"name": "n", "data_type": "TEXT", "primary_key": false, "nullable": true, "default": null}]}])
}

fn object(operation: &str, rest: Json) -> Json {
    let mut object = json!({ "operation": operation });
    object.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    object
}

/// Databases, and what is refused about them.
fn check_databases(coordinator: &Peer<'_>) {
    let none = Json::Null;
    let refused = |body: Json, error: &str| coordinator.refuses("POST", "/databases", body, 400, error);
    coordinator.expect("GET", "/databases", none.clone(), 200, &json!({"databases": []}));
    refused(json!({"name": "a"}), "Missing required fields");
    refused(json!({"db_type": "SQL"}), "Missing required fields");
    refused(json!({"name": "a", "db_type": "GRAPH"}), "Invalid database type: GRAPH");
    refused(json!({"name": "a", "db_type": "SQL", "partition_type": "X"}), "Invalid partition type: X");
    refused(
        json!({"name": "a", "db_type": "SQL", "tables": [{"name": "t"}]}),
        "Missing required fields for table",
    );
    let column = json!([{"name": "t", "columns": [{"name": "x"}]}]);
    refused(json!({"name": "a", "db_type": "SQL", "tables": column}), "Missing required fields for column");

    let declared = json!({"name": "a", "db_type": "SQL", "partition_type": "HORIZONTAL", "partition_key": "id",
        "tables": tables()});
    let made = json!({"message": "Database 'a' created successfully"});
    coordinator.expect("POST", "/databases", declared.clone(), 200, &made);
    coordinator.refuses("POST", "/databases", declared, 409, "Database 'a' already exists");
    coordinator.expect("POST", "/databases", json!({"name": "d", "db_type": "NOSQL"}), 200, &json!({}));
    coordinator.expect("GET", "/databases", none.clone(), 200, &json!({"databases": ["a", "d"]}));
    let described =
        coordinator.expect("GET", "/databases/a", none.clone(), 200, &json!({}))["database"].take();
    for (name, value) in
        [("name", "a"), ("db_type", "SQL"), ("partition_type", "HORIZONTAL"), ("partition_key", "id")]
    {
        assert_eq!(described[name], value);
    }
    for (name, value) in tables()[0].as_object().expect("a table") {
        assert_eq!(described["tables"][0][name], *value);
    }
    let described =
        coordinator.expect("GET", "/databases/d", none.clone(), 200, &json!({}))["database"].take();
    assert_eq!((&described["partition_type"], &described["tables"]), (&json!("VERTICAL"), &json!([])));
    coordinator.refuses("GET", "/databases/zz", none.clone(), 404, "Database 'zz' not found");
    coordinator.refuses("DELETE", "/databases/zz", none, 404, "Database 'zz' does not exist");
}

/// Storage nodes, twice registered and unknown ones. Answers the address of one.
fn check_nodes(coordinator: &Peer<'_>) -> String {
    let none = Json::Null;
    let nodes = coordinator.expect("GET", "/nodes", none.clone(), 200, &json!({}))["nodes"].take();
    let nodes = nodes.as_object().expect("an object by id");
    assert_eq!(nodes.len(), 3);
    let (id, node) = nodes.iter().next().expect("a node");
    assert_eq!(
        node.as_object().expect("a node").keys().collect::<Vec<_>>(),
        ["id", "host", "port", "status", "databases"]
    );
    assert_eq!((&node["id"], &node["status"]), (&json!(id), &json!("active")));
    let registered = json!({"message": "Storage node registered successfully", "node_id": id});
    for extra in [json!({}), json!({"id": "other", "status": "active", "databases": []})] {
        let mut introduction = extra;
        introduction["host"] = node["host"].clone();
        introduction["port"] = node["port"].clone();
        coordinator.expect("POST", "/nodes", introduction, 200, &registered);
    }
    coordinator.refuses("POST", "/nodes", json!({"host": "localhost"}), 400, "Missing required fields");
    coordinator.expect("GET", &format!("/nodes/{id}"), none.clone(), 200, &json!({ "node": node }));
    coordinator.refuses("GET", "/nodes/zz", none.clone(), 404, "Storage node 'zz' not found");
    coordinator.refuses("DELETE", "/nodes/zz", none, 404, "Storage node 'zz' not found");
    // A hint: the node answers, so it stays what it is.
    let hint = json!({"status": "inactive"});
    coordinator.expect("POST", &format!("/nodes/{id}/status"), hint, 200, &json!({"status": "active"}));
    format!("http://{}:{}", node["host"].as_str().expect("a host"), node["port"])
}

/// Query objects on rows.
fn check_rows(coordinator: &Peer<'_>) {
    let ask = |operation: &str, rest: Json, status: u16, fields: Json| {
        coordinator.expect("POST", "/query/a", object(operation, rest), status, &fields)
    };
    let row = json!({"id": 1, "n": "x"});
    let insert = json!({"table": "t", "values": row});
    ask("insert", insert.clone(), 200, json!({"data": [row], "affected_rows": 1}));
    ask("insert", insert, 409, json!({"error": "UNIQUE constraint failed: t.id"}));
    let all = json!({"table": "t", "columns": ["*"], "where": {}, "order_by": null, "limit": null});
    let answer = ask("query", all.clone(), 200, json!({"data": [row]}));
    assert!(answer.get("affected_rows").is_none() && answer.get("cached").is_none(), "{answer}");
    ask("query", all, 200, json!({"data": [row], "cached": true}));
    ask("get", json!({"table": "t", "where": {"id": {"$gt": 0, "$lt": 9}}}), 200, json!({"data": [row]}));
    ask("query", json!({"table": "zz"}), 404, json!({"error": "Table 'zz' does not exist"}));
    let update = json!({"table": "t", "values": {"n": "y"}, "where": {"id": 1}});
    ask("update", update, 200, json!({"data": [{"id": 1, "n": "y"}], "affected_rows": 1}));
    ask("delete", json!({"table": "t", "where": {"id": 1}}), 200, json!({"affected_rows": 1}));
    ask("frob", json!({"table": "t"}), 400, json!({"error": "Unsupported SQL operation: frob"}));
    coordinator.refuses("POST", "/query/a", json!({"table": "t"}), 400, "Missing required fields");
    coordinator.refuses(
        "POST",
        "/query/zz",
        object("query", json!({"table": "t"})),
        404,
        "Database 'zz' not found",
    );
}

/// Query objects on documents.
fn check_documents(coordinator: &Peer<'_>) {
    let ask = |operation: &str, rest: Json, status: u16, fields: Json| {
        coordinator.expect("POST", "/query/d", object(operation, rest), status, &fields)
    };
    let inserted = json!({"data": {"id": 1}, "affected_rows": 1});
    ask("insert", json!({"collection": "c", "document": {"x": 1}}), 200, inserted.clone());
    ask("insert", json!({"document": {"x": 1}}), 200, inserted);
    ask("get", json!({"collection": "c", "id": 1}), 200, json!({"data": {"_id": 1, "x": 1}}));
    ask("get", json!({"collection": "c", "id": 99}), 200, json!({"data": null}));
    ask(
        "get",
        json!({"collection": "c", "id": null, "where": null}),
        200,
        json!({"data": [{"_id": 1, "x": 1}]}),
    );
    let change = json!({"collection": "c", "document": {"y": 2}, "id": 1});
    ask("update", change, 200, json!({"data": {"_id": 1, "x": 1, "y": 2}, "affected_rows": 1}));
    let change = json!({"collection": "c", "document": {"y": 3}, "where": {"x": 1}});
    ask("update", change, 200, json!({"affected_rows": 1}));
    let change = json!({"collection": "c", "document": {"y": 3}, "id": 99});
    ask("update", change, 200, json!({"data": null, "affected_rows": 0}));
    let neither =
        |operation: &str| format!("Either document ID or conditions are required for {operation} operation");
    ask("update", json!({"collection": "c", "document": {"y": 2}}), 400, json!({"error": neither("UPDATE")}));
    ask("delete", json!({"collection": "c"}), 400, json!({"error": neither("DELETE")}));
    ask("delete", json!({"collection": "c", "id": 1}), 200, json!({"affected_rows": 1}));
}

/// Partitions, cache and cluster.
fn check_cluster(coordinator: &Peer<'_>) {
    let none = Json::Null;
    for (database, kind) in [("a", "HORIZONTAL"), ("d", "VERTICAL")] {
        let path = format!("/partitions/{database}");
        let partitions = coordinator.expect("GET", &path, none.clone(), 200, &json!({}))["partitions"].take();
        for (id, partition) in partitions.as_object().expect("an object by id") {
            assert_eq!(
                (&partition["id"], &partition["database_name"], &partition["partition_type"]),
                (&json!(id), &json!(database), &json!(kind))
            );
            assert_eq!(partition["storage_nodes"].as_array().map(Vec::len), Some(3), "{partition}");
        }
    }
    coordinator.refuses("GET", "/partitions/zz", none.clone(), 404, "Database 'zz' not found");
    let stats = coordinator.expect("GET", "/cache/stats", none.clone(), 200, &json!({}))["stats"].take();
    for counter in ["hits", "misses", "evictions", "expirations", "size", "max_size"] {
        assert!(stats[counter].is_u64(), "{counter} in {stats}");
    }
    let cleared = json!({"message": "Cache cleared successfully"});
    coordinator.expect("POST", "/cache/clear", none.clone(), 200, &cleared);
    coordinator.expect("POST", "/cache/clear", json!({}), 200, &cleared);
    coordinator.refuses("POST", "/cluster/join", json!({}), 400, "Missing required fields");
    let address = coordinator.url.trim_start_matches("http://");
    let status = json!({"is_leader": true, "leader": address, "address": address});
    coordinator.expect("GET", "/cluster/status", none, 200, &status);
}

/// A storage node's own routes.
fn check_storage_node(node: &Peer<'_>) {
    let none = Json::Null;
    let databases = json!({"sql": ["a"], "nosql": ["d"]});
    let status =
        node.expect("GET", "/status", none.clone(), 200, &json!({"databases": databases, "partitions": 7}));
    assert!(status["port"].is_u64() && status["node_id"].is_string(), "{status}");
    node.expect("GET", "/databases", none.clone(), 200, &json!({ "databases": databases }));
    let columns = json!([{"name": "id", "data_type": "INTEGER", "nullable": false, "primary_key": true},
        {"name": "n", "data_type": "TEXT", "nullable": true, "primary_key": false}]);
    let tables = json!({"t": {"name": "t", "columns": columns, "indexes": ["n"]}});
    let described = json!({"database": {"name": "a", "type": "sql", "tables": tables}});
    node.expect("GET", "/databases/a", none.clone(), 200, &described);
    let described = node.expect("GET", "/databases/d", none.clone(), 200, &json!({}))["database"].take();
    assert_eq!(described["collections"]["default"]["fields"], json!({"x": "int"}), "{described}");
    node.refuses("GET", "/databases/zz", none.clone(), 404, "Database 'zz' not found");
    node.expect("GET", "/database/a/type", none.clone(), 200, &json!({"type": "sql"}));
    node.expect("GET", "/database/d/type", none.clone(), 200, &json!({"type": "nosql"}));
    node.refuses("GET", "/database/zz/type", none.clone(), 404, "Database 'zz' not found");
    // The attributes of documents lie in several partitions.
    node.refuses("GET", "/database/d/file", none.clone(), 400, "the node holds several partitions");
    let shares = node.expect("GET", "/partitions/d", none.clone(), 200, &json!({}));
    let share = shares["partitions"][0]["id"].as_str().expect("an id");
    let file = send(node.url, "GET", &format!("/database/d/file?partition={share}"), &none);
    assert!(file.status == 200 && file.body.as_str().is_some_and(|file| file.contains("SQLite format 3")));
    let query = object("query", json!({"table": "t"}));
    let nothing = json!({"data": [], "error": null, "affected_rows": 0});
    node.expect("POST", "/query/a", query.clone(), 200, &nothing);
    node.expect("POST", "/query/zz", query, 200, &nothing);
    let documents = json!({"operation": "query", "collection": "default"});
    let whole = node.expect("POST", "/query/d", documents, 200, &json!({"error": null, "affected_rows": 0}));
    assert!(whole["data"][0]["x"].is_i64(), "{whole}");
    let listed = node.expect("GET", "/partitions", none.clone(), 200, &json!({}));
    assert_eq!(listed["partitions"].as_array().map(Vec::len), Some(7), "a list here");
    node.expect("GET", "/replications", none.clone(), 200, &json!({"tasks": []}));
    node.refuses("GET", "/replications/x", none.clone(), 404, "Replication task 'x'");
    node.refuses("POST", "/replications", json!({"db_name": "a"}), 400, "Missing required fields");
    let without_schema = json!({"name": "q", "db_type": "sql"});
    node.refuses("POST", "/databases", without_schema, 400, "Schema is required for SQL databases");
    let made = json!({"name": "q", "db_type": "sql", "schema": {"tables": []}});
    node.expect("POST", "/databases", made, 200, &json!({}));
    node.expect("DELETE", "/databases/q", none.clone(), 200, &json!({}));
    node.refuses("DELETE", "/databases/q", none, 404, "Database 'q' does not exist");
}

#[test]
fn routes_of_old_answer_in_their_shapes() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let log = home.path().join("dev.log");
    let server = ServerProcess::start(home.path(), "dev", &["--ephemeral", "--port", "0"], &log);
    let coordinator = Peer { url: server.url() };
    check_databases(&coordinator);
    let node = check_nodes(&coordinator);
    check_rows(&coordinator);
    check_documents(&coordinator);
    check_cluster(&coordinator);
    check_storage_node(&Peer { url: &node });
    let dropped = json!({"message": "Database 'a' deleted successfully"});
    coordinator.expect("DELETE", "/databases/a", Json::Null, 200, &dropped);
    coordinator.refuses("GET", "/databases/a", Json::Null, 404, "Database 'a' not found");
}
