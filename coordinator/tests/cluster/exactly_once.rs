//! Writes with an idempotency key, sent more than once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value as Json, json};

use crate::{Cluster, shop};

/// An answer as the client gets it.
#[derive(Debug, PartialEq)]
struct Told {
    status: u16,
    body: Bytes,
    replayed: bool,
}

impl Told {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Cluster {
    async fn send(&self, method: Method, path: &str, key: &str, body: &str) -> Told {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", if path.contains("/import") { "text/csv" } else { "application/json" })
            .header("idempotency-key", key);
        let response = self.coordinator.face().answer(request.body(body.to_owned()).unwrap()).await;
        let (status, replayed) =
            (response.status().as_u16(), response.headers().contains_key("idempotency-replayed"));
        Told { status, replayed, body: response.into_body().collect().await.unwrap().to_bytes() }
    }

    async fn keyed(&self, path: &str, key: &str, body: Json) -> Told {
        self.send(Method::POST, path, key, &body.to_string()).await
    }

    /// Sends a write twice, and says what it was answered the first time.
    async fn twice(&self, path: &str, key: &str, body: Json) -> Json {
        let first = self.keyed(path, key, body.clone()).await;
        assert_eq!((first.status, first.replayed), (200, false), "{path} {body}: {first:?}");
        let second = self.keyed(path, key, body.clone()).await;
        assert_eq!((second.status, second.replayed), (200, true), "{path} {body}: {second:?}");
        assert_eq!(first.body, second.body, "{path} {body}");
        first.json()
    }

    async fn value(&self, sql: &str) -> Json {
        self.sql(sql).await["rows"][0][0].clone()
    }
}

const SQL: &str = "/databases/shop/sql";

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_statement_changes_nothing_and_gets_the_first_answer() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    for (number, (sql, count)) in [
        // Its text sends it to one partition.
        ("INSERT INTO users (id, name, price) VALUES (1, 'a', 1.0) RETURNING id, name", 1),
        ("UPDATE users SET price = price + 1 WHERE id = 1 RETURNING price", 1),
        // Rows of several.
        ("INSERT INTO users (id, name, price) VALUES (2,'b',1), (3,'c',1), (4,'d',1), (5,'e',1)", 5),
        ("UPDATE users SET price = price + 1 RETURNING id", 5),
        // The rowid is generated.
        ("INSERT INTO users (name, price) VALUES ('f', 1)", 6),
        // Computed here.
        ("INSERT INTO users (id, name, price) SELECT id + 100, name, price + 1 FROM users WHERE id < 3", 8),
        ("UPDATE users SET price = (SELECT max(price) FROM users) + 1 WHERE id = 1", 8),
        ("DELETE FROM users WHERE id IN (2, 3, 999)", 6),
        // Nothing to do the first time.
        ("DELETE FROM users WHERE name = 'late'", 6),
    ]
    .into_iter()
    .enumerate()
    {
        cluster.twice(SQL, &format!("k{number}"), json!({ "sql": sql })).await;
        assert_eq!(cluster.value("SELECT count(*) FROM users").await, count, "{sql}");
    }
    assert_eq!(cluster.value("SELECT price FROM users WHERE id = 1").await, 5.0);
    cluster.sql("INSERT INTO users (id, name) VALUES (77, 'late')").await;
    let again = cluster.keyed(SQL, "k8", json!({"sql": "DELETE FROM users WHERE name = 'late'"})).await;
    assert_eq!(again.json()["results"][0]["affected_rows"], 0, "as the first time");
    let batch = json!({"statements": ["INSERT INTO users (id) VALUES (200)",
        {"sql": "UPDATE users SET price = 9 WHERE id = ?", "params": [200]}, "SELECT count(*) FROM users"]});
    cluster.twice(SQL, "batch", batch).await;
    // Who took part learns of the last decision after the answer.
    let deadline = Instant::now() + Duration::from_secs(60);
    while cluster.get("/cluster/status").await["in_doubt_transactions"] != 0 {
        assert!(Instant::now() < deadline, "a transaction stays in doubt");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_change_of_schema_and_rows_changes_nothing_and_gets_the_first_answer() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let many =
        |table: &str| format!("INSERT INTO {table} VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')");
    let batch = |statements: &[&str]| json!({ "statements": statements });
    for (number, (request, table, count)) in [
        (batch(&["CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT)", &many("t")]), "t", 5),
        // A second time it would do something else.
        (batch(&["CREATE TABLE IF NOT EXISTS t (id, v)", "INSERT INTO t (v) SELECT v FROM t"]), "t", 10),
        (
            batch(&[
                "CREATE TABLE n (id INTEGER PRIMARY KEY, v TEXT, w INT DEFAULT 3)",
                "INSERT INTO n (id, v) SELECT id, v FROM t WHERE id < 10",
                "DROP TABLE t",
                "ALTER TABLE n RENAME TO t",
                "CREATE UNIQUE INDEX tv ON t (id, v)",
            ]),
            "t",
            9,
        ),
        (json!({ "sql": "CREATE TABLE c AS SELECT v, w FROM t" }), "c", 9),
        (
            batch(&["ALTER TABLE c ADD COLUMN x INT", "UPDATE c SET x = w", "DELETE FROM c WHERE x IS NULL"]),
            "c",
            9,
        ),
        // No row is changed.
        (batch(&["CREATE TABLE e (id)", "DELETE FROM e"]), "e", 0),
    ]
    .into_iter()
    .enumerate()
    {
        cluster.twice(SQL, &format!("k{number}"), request.clone()).await;
        assert_eq!(cluster.value(&format!("SELECT count(*) FROM {table}")).await, count, "{request}");
    }
    let refused = batch(&["CREATE TABLE gone (id)", "INSERT INTO t (id) VALUES (77), (1)"]);
    for _ in 0..2 {
        let told = cluster.keyed(SQL, "refused", refused.clone()).await;
        assert_eq!(told.code(), (409, "unique_violation".to_owned()));
        assert_eq!(told.json()["outcome"], "not_applied");
        assert_eq!(told.json()["statement"], 1);
    }
    assert_eq!(cluster.value("SELECT count(*) FROM sqlite_schema WHERE name = 'gone'").await, 0);
    assert_eq!(cluster.value("SELECT count(*) FROM t").await, 9);
    // Nothing is left that would keep other changes of the schema away.
    cluster.sql("CREATE TABLE gone (id)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_request_and_must_be_well_formed() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let insert = |id: i64| json!({ "sql": format!("INSERT INTO users (id) VALUES ({id})") });
    cluster.twice(SQL, "k", insert(1)).await;
    for id in 2..=9 {
        let other = cluster.keyed(SQL, "k", insert(id)).await;
        assert_eq!(other.code(), (422, "idempotency_mismatch".to_owned()));
        assert_eq!(other.json()["outcome"], "not_applied");
    }
    let many = json!({"sql": "INSERT INTO users (id) VALUES (2), (3), (4), (5), (6)"});
    assert_eq!(cluster.keyed(SQL, "k", many).await.code().0, 422);
    assert_eq!(cluster.value("SELECT count(*) FROM users").await, 1);
    for bad in [String::new(), "with space".into(), "x".repeat(256)] {
        assert_eq!(
            cluster.keyed(SQL, &bad, insert(2)).await.code(),
            (400, "bad_request".to_owned()),
            "{bad}"
        );
    }
    // Reads do not use a key up.
    let read = cluster.keyed(SQL, "r", json!({"sql": "SELECT count(*) FROM users"})).await;
    assert_eq!((read.status, read.replayed), (200, false));
    cluster.twice(SQL, "r", insert(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_not_kept_and_large_answers_refused() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let insert = |ids: &str| json!({ "sql": format!("INSERT INTO users (id) VALUES {ids}") });
    for (key, ids) in [("one", "(1)"), ("many", "(2), (3), (4), (5), (6)")] {
        cluster.sql("INSERT OR IGNORE INTO users (id) VALUES (1), (2)").await;
        assert_eq!(cluster.keyed(SQL, key, insert(ids)).await.code(), (409, "unique_violation".to_owned()));
        cluster.sql("DELETE FROM users WHERE id < 3").await;
        cluster.twice(SQL, key, insert(ids)).await;
    }
    // A key whose request was refused is free for another one.
    assert_eq!(cluster.keyed(SQL, "free", insert("(2)")).await.code().0, 409);
    cluster.twice(SQL, "free", insert("(50)")).await;
    let count = cluster.value("SELECT count(*) FROM users").await;
    for sql in [
        "INSERT INTO users (id) VALUES (60) RETURNING hex(zeroblob(200000))",
        "INSERT INTO users (id) VALUES (60), (61), (62), (63) RETURNING hex(zeroblob(60000))",
    ] {
        let large = cluster.keyed(SQL, "large", json!({ "sql": sql })).await;
        assert_eq!(large.code(), (413, "result_too_big".to_owned()), "{sql}");
        assert_eq!(large.json()["outcome"], "not_applied");
        assert_eq!(cluster.value("SELECT count(*) FROM users").await, count, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_session_are_refused_once_they_are_older_than_its_newest_thousand() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let insert = |id: i64| json!({ "sql": format!("INSERT INTO users (id) VALUES ({id})") });
    for sequence in [1, 2, 3, 1_001] {
        cluster.twice(SQL, &format!("s.{sequence}"), insert(sequence)).await;
    }
    assert_eq!(cluster.keyed(SQL, "s.1", insert(1)).await.code(), (410, "idempotency_key_gone".to_owned()));
    assert!(cluster.keyed(SQL, "s.2", insert(2)).await.replayed);
    let late = json!({"sql": "INSERT INTO users (id) VALUES (10), (11), (12), (13), (14)"});
    assert_eq!(cluster.keyed(SQL, "s.0", late).await.code().0, 410);
    assert_eq!(cluster.value("SELECT count(*) FROM users").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_side_by_side_are_one_write() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    cluster.sql("INSERT INTO users (id, price) VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)").await;
    for (key, sql) in [
        ("one", "UPDATE users SET price = price + 1 WHERE id = 1 RETURNING price"),
        ("many", "UPDATE users SET price = price + 1 RETURNING price"),
        ("new", "INSERT INTO users (id) VALUES (10), (11), (12), (13), (14)"),
    ] {
        let attempts = (0..6).map(|_| cluster.keyed(SQL, key, json!({ "sql": sql })));
        let told = futures_util::future::join_all(attempts).await;
        assert!(told.iter().all(|told| told.status == 200), "{told:?}");
        assert!(told.iter().all(|one| one.body == told[0].body), "{told:?}");
        assert_eq!(told.iter().filter(|told| !told.replayed).count(), 1, "{told:?}");
    }
    assert_eq!(cluster.value("SELECT sum(price) FROM users WHERE id < 10").await, 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_and_query_objects_are_written_once() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let base = "/databases/shop/collections/people";
    let documents = format!("{base}/documents");
    let ada = cluster.twice(&documents, "a", json!({"name": "Ada", "n": 0})).await;
    let id = ada["id"].as_str().unwrap();
    let many: Vec<Json> = (0..20).map(|number| json!({"_id": number, "n": 0})).collect();
    cluster.twice(&documents, "b", json!({ "documents": many })).await;
    let update = json!({"filter": {}, "update": {"$inc": {"n": 1}}});
    assert_eq!(cluster.twice(&format!("{base}/update"), "c", update).await["modified"], 21);
    let one = format!("{documents}/{id}");
    for (key, method, body) in [
        ("d", Method::PATCH, json!({"$inc": {"n": 5}})),
        ("e", Method::PUT, json!({"name": "Ada", "n": 7})),
        ("f", Method::DELETE, json!({})),
    ] {
        let first = cluster.send(method.clone(), &one, key, &body.to_string()).await;
        assert_eq!(first.status, 200, "{method} {first:?}");
        let second = cluster.send(method.clone(), &one, key, &body.to_string()).await;
        assert_eq!((&first.body, second.replayed), (&second.body, true), "{method}");
        if method != Method::DELETE {
            assert_eq!(first.json()["document"]["n"], if key == "d" { 6 } else { 7 });
        }
    }
    let found = cluster.post(&format!("{base}/find"), json!({"filter": {"n": 1}})).await;
    assert_eq!(found["documents"].as_array().unwrap().len(), 20);
    cluster.twice(&format!("{base}/delete"), "g", json!({"filter": {"_id": {"$lt": 5}}})).await;
    assert_eq!(cluster.post(&format!("{base}/count"), json!({})).await["count"], 15);

    let insert = json!({"operation": "insert", "table": "users", "values": {"name": "x", "price": 1.0}});
    cluster.twice("/query/shop", "h", insert).await;
    let update =
        json!({"operation": "update", "table": "users", "values": {"price": 2.0}, "where": {"name": "x"}});
    let updated = cluster.twice("/query/shop", "i", update).await;
    assert_eq!((&updated["affected_rows"], &updated["data"][0]["price"]), (&json!(1), &json!(2.0)));
    let update = json!({"operation": "update", "collection": "people", "id": 7, "document": {"n": 70}});
    let updated = cluster.twice("/query/shop", "j", update).await;
    assert_eq!(updated["data"]["n"], 70);
    assert_eq!(cluster.value("SELECT count(*) FROM users").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_and_imports_are_done_once() {
    let cluster = Cluster::start().await;
    cluster.twice("/databases", "a", shop()).await;
    assert_eq!(cluster.keyed("/databases", "b", shop()).await.code(), (409, "database_exists".to_owned()));
    cluster.twice(SQL, "c", json!({"sql": "CREATE TABLE notes (id INTEGER PRIMARY KEY, note TEXT)"})).await;
    let table =
        json!({"name": "more", "columns": [{"name": "id", "data_type": "INTEGER", "primary_key": true}]});
    cluster.twice("/databases/shop/tables", "d", table).await;
    let rows: String = (1..=6_000).map(|id| format!("{id},n{id}\n")).collect();
    let csv = format!("id,name\n{rows}");
    for _ in 0..2 {
        let imported = cluster.send(Method::POST, "/databases/shop/import?table=users", "e", &csv).await;
        assert_eq!((imported.status, &imported.json()["rows"]), (200, &json!(6_000)));
    }
    assert_eq!(cluster.value("SELECT count(*) FROM users").await, 6_000);
    let first = cluster.send(Method::DELETE, "/databases/shop", "f", "").await;
    let second = cluster.send(Method::DELETE, "/databases/shop", "f", "").await;
    assert_eq!((first.status, second.replayed, &first.body), (200, true, &second.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_with_keys_over_several_partitions_commit_together() {
    const WRITES: i64 = 40;
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    cluster.sql("INSERT INTO users (id, price) VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)").await;
    let key = |number: i64| match number % 2 {
        0 => format!("plain-{number}"),
        _ => format!("session.{number}"),
    };
    let write = |number: i64| match number % 4 {
        // One of them is refused among the others, and one is computed from rows.
        0 => {
            json!({"statements": ["UPDATE users SET price = price + 1", "INSERT INTO users (id) VALUES (1)"]})
        }
        1 => json!({"sql": "UPDATE users SET price = price + (SELECT min(price) * 0 + 1 FROM users)"}),
        _ => json!({"sql": "UPDATE users SET price = price + 1 RETURNING price"}),
    };
    let all = |attempt: i64| {
        let cluster = &cluster;
        let sent = (0..WRITES).map(move |number| async move {
            let told = cluster.keyed(SQL, &key(number), write(number)).await;
            assert_eq!(told.status, if number % 4 == 0 { 409 } else { 200 }, "{attempt}: {told:?}");
            assert_eq!(told.replayed, attempt > 0 && told.status == 200, "{attempt}: {told:?}");
            told.body
        });
        futures_util::future::join_all(sent)
    };
    let first = all(0).await;
    let second = all(1).await;
    for (number, (first, second)) in first.iter().zip(&second).enumerate() {
        assert!(number % 4 == 0 || first == second, "{first:?} {second:?}");
    }
    let expected = (WRITES - WRITES / 4) as f64;
    for sql in ["SELECT min(price) FROM users", "SELECT max(price) FROM users"] {
        assert_eq!(cluster.value(sql).await, expected, "{sql}");
    }
    assert_eq!(cluster.get("/cluster/status").await["in_doubt_transactions"], 0);
}
