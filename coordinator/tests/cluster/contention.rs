//! Many clients at the same rows, and many rows at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::Cluster;

async fn sql(cluster: &Cluster, text: &str) -> (StatusCode, Json) {
    let body = json!({ "sql": text, "timeout_ms": 60_000 });
    cluster.ask(Method::POST, "/databases/shop/sql", Some(body)).await
}

async fn result(cluster: &Cluster, text: &str) -> Json {
    let (status, answer) = sql(cluster, text).await;
    let shown: String = text.chars().take(80).collect();
    assert_eq!(status, StatusCode::OK, "{shown}: {answer}");
    answer["results"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_under_contention_counts_every_increment_once() {
    let cluster = Arc::new(Cluster::start().await);
    cluster.database(json!({"name": "shop"})).await;
    result(&cluster, "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER)").await;
    result(&cluster, "INSERT INTO counter VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)").await;
    let clients = (0..8).map(|_| {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..20 {
                let text = "UPDATE counter SET n = n + 1 WHERE id = 3 RETURNING n";
                seen.push(result(&cluster, text).await["rows"][0][0].as_i64().unwrap());
            }
            seen
        })
    });
    let seen: Vec<i64> = join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 160, "each value was answered once");
    assert_eq!(result(&cluster, "SELECT n FROM counter WHERE id = 3").await["rows"], json!([[160]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_rows_are_written_together_or_not_at_all() {
    let cluster = Cluster::start().await;
    cluster.database(json!({"name": "shop"})).await;
    result(&cluster, "CREATE TABLE item (id INTEGER PRIMARY KEY, price INTEGER CHECK (price >= 0))").await;
    let insert = |last_price: i64| {
        let mut text = String::from("INSERT INTO item VALUES ");
        for id in 1..10_000 {
            write!(text, "({id}, {id}), ").unwrap();
        }
        write!(text, "(10000, {last_price})").unwrap();
        text
    };
    let (status, refused) = sql(&cluster, &insert(-1)).await;
    assert_eq!((status, &refused["code"]), (StatusCode::CONFLICT, &json!("check_violation")), "{refused}");
    assert_eq!(refused["outcome"], "not_applied");
    assert_eq!(result(&cluster, "SELECT count(*) FROM item").await["rows"], json!([[0]]));
    assert_eq!(result(&cluster, &insert(1)).await["affected_rows"], 10_000);
    assert_eq!(result(&cluster, "SELECT count(*) FROM item").await["rows"], json!([[10_000]]));
    let (status, refused) = sql(&cluster, "UPDATE item SET price = price - 2").await;
    assert_eq!(status, StatusCode::CONFLICT, "{refused}");
    assert_eq!(result(&cluster, "SELECT min(price) FROM item").await["rows"], json!([[1]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_whole_table_comes_through_beside_writers_that_never_rest() {
    let cluster = Arc::new(Cluster::start().await);
    cluster.database(json!({"name": "shop", "partitions": 4})).await;
    result(&cluster, "CREATE TABLE item (id INTEGER PRIMARY KEY, n INTEGER)").await;
    let rows: Vec<String> = (1..=200).map(|id| format!("({id}, 0)")).collect();
    result(&cluster, &format!("INSERT INTO item VALUES {}", rows.join(", "))).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (1..=4)
        .map(|writer| {
            let (cluster, stop) = (Arc::clone(&cluster), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut written = 0_i64;
                while !stop.load(Ordering::Relaxed) {
                    for id in (writer..=200).step_by(4) {
                        result(&cluster, &format!("UPDATE item SET n = n + 1 WHERE id = {id}")).await;
                        written += 1;
                    }
                }
                written
            })
        })
        .collect();
    // Computed from all rows, so that each change of any of them gets in its way.
    for _ in 0..3 {
        assert_eq!(insistently(&cluster, WHOLE_TABLE).await["affected_rows"], 200);
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.expect("no writer fails");
    }
    let total = written + 3 * 200 * 200;
    assert_eq!(result(&cluster, "SELECT sum(n) FROM item").await["rows"], json!([[total]]));
}

const WHOLE_TABLE: &str = "UPDATE item SET n = n + (SELECT count(*) FROM item WHERE n >= 0)";
/// A machine may be so slow that a second of locks is too short, but hardly ever so often.
const TRIES_MAX: usize = 5;

async fn insistently(cluster: &Cluster, text: &str) -> Json {
    for _ in 1..TRIES_MAX {
        let (status, answer) = sql(cluster, text).await;
        if status == StatusCode::OK {
            return answer["results"][0].clone();
        }
        assert_eq!(answer["code"], "serialization_failure", "{answer}");
    }
    result(cluster, text).await
}
