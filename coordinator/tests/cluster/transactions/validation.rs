//! What a transaction was told is true when it commits, or it does not commit.

use http::{Method, StatusCode};
use serde_json::json;

use super::super::Cluster;
use super::{TOTAL, assert_conflict};

#[tokio::test(flavor = "multi_thread")]
async fn counted_rowids_and_triggers_act_once_however_many_partitions_there_are() {
    for partitions in [1, 4] {
        let cluster = Cluster::start().await;
        cluster.database(json!({"name": "bank", "partitions": partitions})).await;
        for sql in [
            "CREATE TABLE entry (id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER)",
            "CREATE TABLE noted (id INTEGER PRIMARY KEY, entry INTEGER)",
            "CREATE TRIGGER note AFTER INSERT ON entry BEGIN INSERT INTO noted (entry) VALUES (new.id); END",
        ] {
            cluster.rows(sql).await;
        }
        let transaction = cluster.begin(json!({})).await;
        for n in 1..=3 {
            let inserted = transaction.result(&format!("INSERT INTO entry (n) VALUES ({n})")).await;
            assert_eq!(inserted["last_insert_rowid"], n, "{partitions} partitions");
        }
        let noted = "SELECT entry FROM noted ORDER BY entry";
        assert_eq!(transaction.rows(noted).await, json!([[1], [2], [3]]), "{partitions} partitions");
        transaction.commit().await;
        assert_eq!(cluster.rows("SELECT count(*), max(entry) FROM noted").await, json!([[3, 3]]));
        cluster.rows("DELETE FROM entry").await;
        assert_eq!(cluster.rows("INSERT INTO entry (n) VALUES (9) RETURNING id").await, json!([[4]]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rowids_that_the_transaction_sets_itself_come_before_generated_ones() {
    for partitions in [1, 4] {
        let cluster = Cluster::start().await;
        cluster.accounts(partitions).await;
        let transaction = cluster.begin(json!({})).await;
        transaction.result("INSERT INTO account VALUES (1000, 'm', 0)").await;
        for (owner, id) in [("n", 1001), ("o", 1002)] {
            let next = format!("INSERT INTO account (owner, n) VALUES ('{owner}', 0) RETURNING id");
            assert_eq!(transaction.rows(&next).await, json!([[id]]), "{partitions} partitions");
        }
        transaction.commit().await;
        let next = "INSERT INTO account (owner, n) VALUES ('p', 0) RETURNING id";
        assert_eq!(cluster.rows(next).await, json!([[1003]]), "{partitions} partitions");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_chance_are_those_of_the_statement_though_it_is_run_again() {
    let cluster = Cluster::start().await;
    cluster.database(json!({"name": "bank", "partitions": 1})).await;
    cluster.rows("CREATE TABLE other (id INTEGER PRIMARY KEY)").await;
    cluster
        .rows(
            "CREATE TABLE drawn (id INTEGER PRIMARY KEY, n INTEGER DEFAULT (random()), \
             at TEXT DEFAULT (strftime('%f', 'now')), b BLOB DEFAULT (randomblob(20)))",
        )
        .await;
    let transaction = cluster.begin(json!({})).await;
    let told = transaction.rows("INSERT INTO drawn (id) VALUES (1), (2) RETURNING id, n, at, b").await;
    assert_ne!(told[0][1], told[1][1]);
    let read = "SELECT random(), julianday('now'), hex(randomblob(8)), (SELECT count(*) FROM drawn)";
    transaction.rows(read).await;
    // The partition changes, so that all of it is run again.
    cluster.rows("INSERT INTO other VALUES (1)").await;
    transaction.commit().await;
    assert_eq!(cluster.rows("SELECT id, n, at, b FROM drawn ORDER BY id").await, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refused_statement_told_must_be_true_at_the_commit() {
    for partitions in [1, 4] {
        let cluster = Cluster::start().await;
        cluster.accounts(partitions).await;
        let clash = "INSERT INTO account (owner, n) VALUES ('b', 1)";
        for others_change in [false, true] {
            let transaction = cluster.begin(json!({})).await;
            transaction.result("UPDATE account SET n = n + 1 WHERE id = 1").await;
            let (status, error) = transaction.ask(clash).await;
            assert_eq!(
                (status, &error["code"]),
                (StatusCode::CONFLICT, &json!("unique_violation")),
                "{error}"
            );
            cluster.rows("UPDATE account SET n = 7 WHERE id = 4").await;
            if others_change {
                cluster.rows("DELETE FROM account WHERE owner = 'b'").await;
                assert_conflict(&transaction.end("commit").await);
            } else {
                transaction.commit().await;
            }
        }
        assert_eq!(cluster.rows("SELECT n FROM account WHERE id = 1").await, json!([[101]]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_before_a_rollback_to_a_savepoint_must_be_true_at_the_commit() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    for others_change in [false, true] {
        let transaction = cluster.begin(json!({})).await;
        transaction.result("SAVEPOINT one").await;
        transaction.result("UPDATE account SET n = n + 1 WHERE id = 1 RETURNING n").await;
        transaction.result("ROLLBACK TO one").await;
        transaction.result("UPDATE account SET n = n - 1 WHERE id = 2").await;
        if others_change {
            cluster.rows("UPDATE account SET n = 5 WHERE id = 1").await;
            assert_conflict(&transaction.end("commit").await);
        } else {
            transaction.commit().await;
        }
    }
    assert_eq!(cluster.rows("SELECT n FROM account WHERE id < 3 ORDER BY id").await, json!([[5], [99]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn deferred_foreign_keys_wait_for_the_commit_on_one_partition() {
    let cluster = Cluster::start().await;
    cluster.database(json!({"name": "bank", "partitions": 1})).await;
    cluster.rows("CREATE TABLE parent (id INTEGER PRIMARY KEY)").await;
    cluster
        .rows(
            "CREATE TABLE child (id INTEGER PRIMARY KEY, \
             of INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
        )
        .await;
    let transaction = cluster.begin(json!({})).await;
    transaction.result("INSERT INTO child VALUES (1, 1)").await;
    transaction.result("INSERT INTO parent VALUES (1)").await;
    transaction.commit().await;
    let transaction = cluster.begin(json!({})).await;
    transaction.result("INSERT INTO child VALUES (2, 2)").await;
    let (status, refused) = transaction.end("commit").await;
    assert_eq!(
        (status, &refused["code"]),
        (StatusCode::CONFLICT, &json!("foreign_key_violation")),
        "{refused}"
    );
    assert_eq!((&refused["retryable"], &refused["outcome"]), (&json!(false), &json!("not_applied")));
    assert_eq!(cluster.rows("SELECT id FROM child").await, json!([[1]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_can_roll_its_whole_transaction_back() {
    let cluster = Cluster::start().await;
    cluster.accounts(1).await;
    let transaction = cluster.begin(json!({})).await;
    transaction.result("UPDATE account SET n = 0").await;
    let (status, error) = transaction.ask("INSERT OR ROLLBACK INTO account (owner, n) VALUES ('a', 1)").await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("unique_violation")), "{error}");
    transaction.assert_gone().await;
    assert_eq!(cluster.rows(TOTAL).await, json!([[400, 4]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_belong_to_a_transaction_says_so() {
    let cluster = Cluster::start().await;
    cluster.accounts(2).await;
    let transaction = cluster.begin(json!({})).await;
    let named = |path: &str| format!("/databases/bank/{path}&transaction={}", transaction.id);
    for path in ["export?table=account&format=csv", "export?table=account&format=ndjson"] {
        let (status, refused) = cluster.ask(Method::GET, &named(path), None).await;
        assert_eq!((status.as_u16(), &refused["code"]), (422, &json!("not_supported")), "{refused}");
    }
    let path = named("import?table=account&format=csv");
    let (status, refused) = cluster.ask(Method::POST, &path, Some(json!("id,owner,n"))).await;
    assert_eq!((status.as_u16(), &refused["code"]), (422, &json!("not_supported")), "{refused}");
    // The transaction goes on, and a table that was made meanwhile is found as long as nothing was done.
    cluster.rows("CREATE TABLE late (id INTEGER PRIMARY KEY)").await;
    transaction.result("INSERT INTO late VALUES (1)").await;
    transaction.commit().await;
    assert_eq!(cluster.rows("SELECT id FROM late").await, json!([[1]]));
}
