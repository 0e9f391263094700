//! Transactions that wait for each other, and how transactions are counted.

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::super::Cluster;
use super::{Transaction, assert_conflict};

/// Adds one to two rows in some order; says whether that was committed. Whatever fails is a conflict.
async fn add_to_both(transaction: &Transaction<'_>, ids: [i64; 2], met: &tokio::sync::Barrier) -> bool {
    let mut is_sound = true;
    for id in ids {
        let sql = format!("UPDATE account SET n = n + 1 WHERE id = {id}");
        let answer = transaction.ask(&sql).await;
        is_sound &= answer.0 == StatusCode::OK;
        if !is_sound {
            assert_conflict(&answer);
            return false;
        }
        if id == ids[0] {
            met.wait().await;
        }
    }
    let answer = transaction.end("commit").await;
    if answer.0 != StatusCode::OK {
        assert_conflict(&answer);
    }
    answer.0 == StatusCode::OK
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_wait_for_each_other_one_is_told_to_begin_again() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    let pessimistic = json!({"mode": "pessimistic"});
    let (first, second) = (cluster.begin(pessimistic.clone()).await, cluster.begin(pessimistic).await);
    let met = tokio::sync::Barrier::new(2);
    let (one, other) = tokio::join!(add_to_both(&first, [1, 2], &met), add_to_both(&second, [2, 1], &met));
    assert!(one || other, "the one that is left goes on");
    let sum = 400 + 2 * (i64::from(one) + i64::from(other));
    assert_eq!(cluster.rows("SELECT sum(n) FROM account").await, json!([[sum]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_counted_by_how_they_end() {
    let cluster = Cluster::start().await;
    cluster.accounts(2).await;
    let change = "UPDATE account SET n = n + 1 WHERE id = 1 RETURNING n";
    let (first, second) = (cluster.begin(json!({})).await, cluster.begin(json!({})).await);
    let third = cluster.begin(json!({})).await;
    for transaction in [&first, &second, &third] {
        transaction.result(change).await;
    }
    first.commit().await;
    assert_conflict(&second.end("commit").await);
    assert_eq!(third.end("rollback").await.0, StatusCode::OK);
    let short = cluster.begin(json!({"max_duration_ms": 1})).await;
    while short.ask("SELECT 1").await.0 != StatusCode::GONE {}
    let (_, metrics) = cluster.ask(Method::GET, "/metrics", None).await;
    let Json::String(metrics) = metrics else { panic!("{metrics}") };
    for outcome in ["committed", "conflict", "rolled_back", "expired"] {
        let line = format!("polylite_interactive_transactions_total{{outcome=\"{outcome}\"}} 1");
        assert!(metrics.lines().any(|shown| shown == line), "no {line}");
    }
}
