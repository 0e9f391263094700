//! Partitions are split and merged while clients count, coordinators and leaders die: nothing is lost or doubled, and
//! answers stay what they are.

use std::time::{Duration, Instant};

use polylite_client::{Client, Request};
use serde_json::{Value as Json, json};
use tests::counting_clients::CountingClients;
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tests::raw_http::send;
use tokio::runtime::Runtime;

/// How long partitions may take to be replaced on a slow machine, leaders dying meanwhile.
const REPLACED: Duration = Duration::from_secs(180);

struct Cluster {
    processes: ProcessCluster,
    runtime: Runtime,
    client: Client,
}

impl Cluster {
    fn start(coordinators: usize, nodes: usize) -> Cluster {
        let processes = ProcessCluster::start(coordinators, nodes);
        let client = Client::new(processes.coordinator_urls()).expect("addresses");
        Cluster { processes, runtime: Runtime::new().expect("a runtime starts"), client }
    }

    /// Sends what may be sent twice, until it is answered.
    fn ask(&self, request: &Request) -> Json {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.runtime.block_on(self.client.send::<Json>(request)) {
                Ok(answer) => return answer,
                Err(error) => {
                    let passes = error.retryable || error.status.is_none_or(|status| status >= 500);
                    assert!(passes && Instant::now() < deadline, "{request:?}: {error:?}");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }

    fn post(&self, path: &str, body: &Json) -> Json {
        self.ask(&Request::post(path, body).expect("JSON").reads())
    }

    /// The database's partitions in the order of their slots or keys, those of all column groups of a bucket together.
    fn ids(&self, database: &str) -> Vec<String> {
        let answer = self.ask(&Request::get(format!("/partitions/{database}")));
        let mut partitions: Vec<&Json> =
            answer["partitions"].as_object().expect("an object").values().collect();
        partitions.sort_by_key(|partition| {
            let value = &partition["partition_value"];
            (value["slots"][0].as_i64(), value["from"].as_i64())
        });
        partitions.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    }

    fn begin(&self, path: &str, body: &Json) -> String {
        // However often it is sent, it begins one operation.
        let key = format!("{}-{:?}", path.replace('/', "-"), Instant::now()).replace(' ', "");
        let request = Request::post(path, body).and_then(|request| request.idempotency_key(&key));
        self.ask(&request.expect("JSON and a key"))["operation"].as_str().expect("an operation").to_owned()
    }

    fn await_completed(&self, operation: &str) {
        let deadline = Instant::now() + REPLACED;
        loop {
            let answer = self.ask(&Request::get(format!("/cluster/operations/{operation}")));
            match answer["state"].as_str().expect("a state") {
                "completed" => return,
                "pending" | "running" => {}
                other => panic!("{operation} is {other}: {answer}"),
            }
            assert!(Instant::now() < deadline, "{operation} does not end: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn split(&self, partition: &str, body: &Json) {
        self.await_completed(&self.begin(&format!("/cluster/partitions/{partition}/split"), body));
    }

    fn merge(&self, left: &str, right: &str) {
        let body = json!({ "left": left, "right": right });
        self.await_completed(&self.begin("/cluster/partitions/merge", &body));
    }

    fn create(&self, body: &Json) {
        self.post("/databases", body);
    }

    fn rows(&self, database: &str, sql: &str) -> Json {
        let path = format!("/databases/{database}/sql?cache=bypass");
        self.post(&path, &json!({ "sql": sql }))["results"][0]["rows"].clone()
    }

    /// Status and code of an answer that is an error.
    fn refusal(&self, path: &str, body: &Json) -> (u16, String) {
        let answer = send(&self.processes.coordinator_url(0), "POST", path, body);
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    }
}

#[test]
fn nothing_is_lost_or_doubled_while_partitions_are_split_and_merged_under_load() {
    let cluster = Cluster::start(1, 3);
    cluster.create(&json!({ "name": "counted", "db_type": "SQL", "partitions": 2 }));
    let clients = CountingClients::start(&cluster.processes.coordinator_urls(), "counted", 4);
    clients.await_progress(20, PATIENCE);
    cluster.split(&cluster.ids("counted")[0], &json!({}));
    clients.await_progress(20, PATIENCE);
    let parts = cluster.ids("counted");
    assert_eq!(parts.len(), 3);
    cluster.split(&parts[2], &json!({ "at": 10_000 }));
    clients.await_progress(20, PATIENCE);
    let parts = cluster.ids("counted");
    cluster.merge(&parts[1], &parts[2]);
    clients.await_progress(20, PATIENCE);
    assert_eq!(cluster.ids("counted").len(), 3);
    clients.finish();
}

#[test]
fn a_split_comes_to_its_end_when_coordinators_and_leaders_die_on_the_way() {
    let mut cluster = Cluster::start(3, 3);
    cluster.create(&json!({ "name": "counted", "db_type": "SQL", "partitions": 2 }));
    let clients = CountingClients::start(&cluster.processes.coordinator_urls(), "counted", 4);
    clients.await_progress(20, PATIENCE);
    for (round, at) in [4_000, 2_000].into_iter().enumerate() {
        let first = cluster.ids("counted").remove(0);
        let operation = cluster.begin(&format!("/cluster/partitions/{first}/split"), &json!({ "at": at }));
        // Whatever they lead, and at whatever step.
        cluster.processes.kill_coordinator(round);
        cluster.processes.kill_node(round);
        cluster.await_completed(&operation);
        cluster.processes.restart_coordinator(round);
        cluster.processes.restart_node(round);
        clients.await_progress(20, PATIENCE);
    }
    assert_eq!(cluster.ids("counted").len(), 4);
    clients.finish();
}

/// Everything that the tables hold.
fn everything(cluster: &Cluster, database: &str) -> Vec<Json> {
    [
        "SELECT id, email, shelf FROM people ORDER BY id",
        "SELECT count(*), sum(id), min(email), max(email) FROM people",
        "SELECT p.id, s.name FROM people p JOIN shelves s ON s.id = p.shelf ORDER BY p.id",
        "SELECT rowid, word FROM words ORDER BY rowid",
        "SELECT count(*) FROM named",
    ]
    .iter()
    .map(|sql| cluster.rows(database, sql))
    .collect()
}

/// A value that is unique over all partitions stays so.
fn refuses_duplicates(cluster: &Cluster, name: &str) {
    for id in [1, 77, 150, 299] {
        let sql = format!("INSERT INTO people VALUES ({}, 'p{id}@example.org', 0)", 1_000 + id);
        let refusal = cluster.refusal(&format!("/databases/{name}/sql"), &json!({ "sql": sql }));
        assert_eq!(refusal, (409, "unique_violation".to_owned()), "{id}");
    }
}

fn check_exactness(database: &Json, name: &str, points: [Json; 2]) {
    let cluster = Cluster::start(1, 1);
    cluster.create(database);
    for sql in [
        "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT UNIQUE, shelf INTEGER)",
        "CREATE INDEX by_shelf ON people (shelf)",
        "CREATE TABLE shelves (id INTEGER PRIMARY KEY, name TEXT)",
        "CREATE TABLE words (word TEXT NOT NULL)",
        "CREATE VIEW named AS SELECT email FROM people WHERE shelf > 2",
    ] {
        cluster.rows(name, sql);
    }
    let people: Vec<String> =
        (1..=300).map(|id| format!("({id}, 'p{id}@example.org', {})", id % 7)).collect();
    cluster.rows(name, &format!("INSERT INTO people VALUES {}", people.join(",")));
    let shelves = "INSERT INTO shelves VALUES (0,'a'),(1,'b'),(2,'c'),(3,'d'),(4,'e'),(5,'f'),(6,'g')";
    cluster.rows(name, shelves);
    cluster.rows(name, "INSERT INTO words SELECT 'w' || id FROM people");
    let before = everything(&cluster, name);
    let count = cluster.ids(name).len();
    let [first, second] = points;
    let left = cluster.ids(name).remove(0);
    cluster.split(&left, &first);
    assert_eq!(everything(&cluster, name), before, "after the first split");
    let last = cluster.ids(name).pop().expect("partitions");
    cluster.split(&last, &second);
    assert_eq!(everything(&cluster, name), before, "after the second split");
    refuses_duplicates(&cluster, name);
    let gone = cluster.refusal(&format!("/cluster/partitions/{left}/split"), &json!({}));
    assert_eq!(gone, (404, "partition_not_found".to_owned()));
    let now = cluster.ids(name);
    let apart = cluster.refusal("/cluster/partitions/merge", &json!({ "left": now[0], "right": now[2] }));
    assert_eq!(apart, (400, "bad_request".to_owned()));
    cluster.merge(&now[0], &now[1]);
    assert_eq!(everything(&cluster, name), before, "after the first merge");
    let now = cluster.ids(name);
    cluster.merge(&now[0], &now[1]);
    assert_eq!(everything(&cluster, name), before, "after the second merge");
    refuses_duplicates(&cluster, name);
    assert_eq!(cluster.ids(name).len(), count);
    cluster.rows(name, "INSERT INTO people (email, shelf) VALUES ('new', 1)");
    assert_eq!(cluster.rows(name, "SELECT max(id) FROM people"), json!([[301]]), "rowids go on");
}

#[test]
fn answers_stay_exact_when_slots_are_split_and_merged() {
    let database = json!({ "name": "slots", "db_type": "SQL", "partitions": 2 });
    check_exactness(&database, "slots", [json!({}), json!({ "at": 12_345 })]);
}

#[test]
fn answers_stay_exact_when_ranges_of_keys_are_split_and_merged() {
    let database =
        json!({ "name": "keys", "db_type": "SQL", "partition_method": "range", "split_points": [100] });
    check_exactness(&database, "keys", [json!({ "at": 50 }), json!({ "at": 200 })]);
}

#[test]
fn answers_stay_exact_when_partitions_of_several_column_groups_are_split() {
    let cluster = Cluster::start(1, 1);
    cluster.create(&json!({
        "name": "mixed", "db_type": "SQL", "partition_type": "MIXED", "partitions": 2,
        "column_groups": { "one": ["a"], "two": ["b", "c"] },
        "tables": [{ "name": "t", "columns": [
            { "name": "id", "data_type": "INTEGER", "primary_key": true }, { "name": "a", "data_type": "TEXT" },
            { "name": "b", "data_type": "INTEGER" }, { "name": "c", "data_type": "REAL" },
        ] }],
    }));
    let values: Vec<String> = (1..=100).map(|id| format!("({id}, 'a{id}', {id}, {id}.5)")).collect();
    cluster.rows("mixed", &format!("INSERT INTO t VALUES {}", values.join(",")));
    let documents = cluster.client.database("mixed").collection("papers");
    let papers: Vec<Json> = (1..=50).map(|id| json!({ "_id": id, "a": id, "b": [id], "z": "w" })).collect();
    cluster.runtime.block_on(documents.insert_many(&papers)).expect("documents are inserted");
    let find = json!({ "filter": { "a": { "$gt": 5 } }, "sort": { "_id": 1 } });
    let path = "/databases/mixed/collections/papers/find?cache=bypass";
    let all = || {
        (cluster.rows("mixed", "SELECT * FROM t ORDER BY id"), cluster.post(path, &find)["documents"].clone())
    };
    let before = all();
    assert_eq!(before.1.as_array().map(Vec::len), Some(45));
    let count = cluster.ids("mixed").len();
    cluster.split(&cluster.ids("mixed")[0], &json!({}));
    assert_eq!(cluster.ids("mixed").len(), count + count / 2, "each column group is split");
    assert_eq!(all(), before);
    cluster.rows("mixed", "UPDATE t SET a = a || '!', b = b + 1");
    let changed = cluster.rows("mixed", "SELECT count(*) FROM t WHERE b = id + 1 AND a = 'a' || id || '!'");
    assert_eq!(changed, json!([[100]]));
}

#[test]
fn the_command_line_splits_and_merges() {
    let cluster = Cluster::start(1, 1);
    cluster.create(&json!({ "name": "d", "db_type": "SQL", "partitions": 2 }));
    let before = cluster.ids("d");
    cluster.processes.run(&["split-partition", "--partition-id", &before[0], "--at", "100"]).succeeded();
    let now = cluster.ids("d");
    assert_eq!(now.len(), 3);
    cluster.processes.run(&["merge-partitions", "--left", &now[0], "--right", &now[1]]).succeeded();
    assert_eq!(cluster.ids("d").len(), 2);
    cluster.create(&json!({ "name": "alone", "db_type": "SQL", "partitions": 1 }));
    let alone = cluster.ids("alone").remove(0);
    let refused = cluster.refusal(&format!("/cluster/partitions/{alone}/split"), &json!({}));
    assert_eq!(refused, (422, "not_supported".to_owned()));
}
