//! Transactions over several requests.

mod documents;
mod locks;
mod validation;

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::Cluster;

/// A transaction of a client.
struct Transaction<'a> {
    cluster: &'a Cluster,
    id: String,
}

impl Cluster {
    pub(super) async fn database(&self, mut fields: Json) {
        fields["db_type"] = json!("SQL");
        let (status, made) = self.ask(Method::POST, "/databases", Some(fields)).await;
        assert_eq!(status, StatusCode::OK, "{made}");
    }

    async fn begin(&self, options: Json) -> Transaction<'_> {
        let (status, begun) = self.ask(Method::POST, "/databases/bank/transactions", Some(options)).await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        assert!(begun["expires_at"].as_str().unwrap().ends_with('Z'), "{begun}");
        Transaction { cluster: self, id: begun["transaction"].as_str().unwrap().to_owned() }
    }

    /// Rows of a statement outside of any transaction.
    async fn rows(&self, sql: &str) -> Json {
        let (status, answer) =
            self.ask(Method::POST, "/databases/bank/sql", Some(json!({ "sql": sql }))).await;
        assert_eq!(status, StatusCode::OK, "{sql}: {answer}");
        answer["results"][0]["rows"].clone()
    }

    async fn accounts(&self, partitions: u64) {
        self.database(json!({"name": "bank", "partitions": partitions})).await;
        self.rows("CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT UNIQUE, n INTEGER NOT NULL)")
            .await;
        self.rows("INSERT INTO account VALUES (1, 'a', 100), (2, 'b', 100), (3, 'c', 100), (4, 'd', 100)")
            .await;
    }
}

impl Transaction<'_> {
    async fn ask(&self, sql: &str) -> (StatusCode, Json) {
        let body = json!({"sql": sql, "transaction": self.id});
        self.cluster.ask(Method::POST, "/databases/bank/sql", Some(body)).await
    }

    async fn result(&self, sql: &str) -> Json {
        let (status, answer) = self.ask(sql).await;
        assert_eq!(status, StatusCode::OK, "{sql}: {answer}");
        answer["results"][0].clone()
    }

    async fn rows(&self, sql: &str) -> Json {
        self.result(sql).await["rows"].clone()
    }

    async fn end(&self, how: &str) -> (StatusCode, Json) {
        let path = format!("/databases/bank/transactions/{}/{how}", self.id);
        self.cluster.ask(Method::POST, &path, None).await
    }

    async fn commit(&self) {
        let (status, answer) = self.end("commit").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    async fn assert_gone(&self) {
        let (status, answer) = self.ask("SELECT 1").await;
        assert_eq!((status, &answer["code"]), (StatusCode::GONE, &json!("transaction_gone")), "{answer}");
    }
}

fn assert_conflict((status, answer): &(StatusCode, Json)) {
    assert_eq!(*status, StatusCode::CONFLICT, "{answer}");
    assert_eq!(answer["code"], "serialization_failure", "{answer}");
    assert_eq!((&answer["retryable"], &answer["outcome"]), (&json!(true), &json!("not_applied")), "{answer}");
}

const TOTAL: &str = "SELECT sum(n), count(*) FROM account";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_does_is_seen_by_itself_and_by_others_once_it_commits() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    let transaction = cluster.begin(json!({})).await;
    for id in 1..=4 {
        let changed =
            transaction.result(&format!("UPDATE account SET n = n - {id} WHERE id = {id} RETURNING n")).await;
        assert_eq!(changed["rows"], json!([[100 - id]]));
    }
    transaction.result("INSERT INTO account (owner, n) VALUES ('e', 7), ('f', 3)").await;
    assert_eq!(transaction.rows(TOTAL).await, json!([[400, 6]]));
    let owners = transaction.rows("SELECT owner FROM account WHERE n < 99 ORDER BY n DESC, owner").await;
    assert_eq!(owners, json!([["b"], ["c"], ["d"], ["e"], ["f"]]));
    transaction.result("DELETE FROM account WHERE n = 96").await;
    transaction.result("UPDATE account SET n = n + 1").await;
    assert_eq!(transaction.rows(TOTAL).await, json!([[309, 5]]));
    assert_eq!(cluster.rows(TOTAL).await, json!([[400, 4]]));
    let (_, open) = cluster.ask(Method::GET, "/transactions", None).await;
    assert_eq!(open["transactions"][0]["transaction"], transaction.id.as_str(), "{open}");
    transaction.commit().await;
    assert_eq!(cluster.rows(TOTAL).await, json!([[309, 5]]));
    transaction.commit().await;
    assert_eq!(cluster.rows(TOTAL).await, json!([[309, 5]]), "it commits once");
    transaction.assert_gone().await;
    let (_, open) = cluster.ask(Method::GET, "/transactions", None).await;
    assert_eq!(open["transactions"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_decide_by_what_the_other_one_changes_one_fails() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    // Each may take an account down as long as both together keep 200: one of them has to see the other.
    let both = "SELECT sum(n) FROM account WHERE id IN (1, 2)";
    let (first, second) = (cluster.begin(json!({})).await, cluster.begin(json!({})).await);
    for (transaction, id) in [(&first, 1), (&second, 2)] {
        assert_eq!(transaction.rows(both).await, json!([[200]]));
        transaction.result(&format!("UPDATE account SET n = 0 WHERE id = {id}")).await;
    }
    first.commit().await;
    assert_conflict(&second.end("commit").await);
    assert_conflict(&second.end("commit").await);
    assert_eq!(cluster.rows(both).await, json!([[100]]));
    // A lost update is the same with one row.
    let (first, second) = (cluster.begin(json!({})).await, cluster.begin(json!({})).await);
    for transaction in [&first, &second] {
        assert_eq!(transaction.rows("SELECT n FROM account WHERE id = 3").await, json!([[100]]));
        transaction.result("UPDATE account SET n = 101 WHERE id = 3").await;
    }
    second.commit().await;
    assert_conflict(&first.end("commit").await);
    // What does not meet does not conflict, though it lies on the same partitions.
    let (first, second) = (cluster.begin(json!({})).await, cluster.begin(json!({})).await);
    for (transaction, id) in [(&first, 3), (&second, 4)] {
        transaction.result(&format!("UPDATE account SET n = n + 1 WHERE id = {id} RETURNING n")).await;
    }
    first.commit().await;
    second.commit().await;
    assert_eq!(cluster.rows("SELECT n FROM account WHERE id > 2 ORDER BY id").await, json!([[102], [101]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_taken_and_given_back() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    let transaction = cluster.begin(json!({"mode": "pessimistic"})).await;
    assert_eq!(transaction.rows("SELECT n FROM account WHERE id = 1").await, json!([[100]]));
    transaction.result("UPDATE account SET n = n + 1 WHERE id = 1").await;
    transaction.result("UPDATE account SET n = n - 1 WHERE id = 2").await;
    transaction.commit().await;
    assert_eq!(cluster.rows(TOTAL).await, json!([[400, 4]]));
    cluster.rows("UPDATE account SET n = 100").await;
    // A lock that is given back by a rollback lets the next one in.
    let locking = cluster.begin(json!({})).await;
    let body = json!({"sql": "SELECT n FROM account WHERE id = 2", "lock": true, "transaction": locking.id});
    let (status, read) = cluster.ask(Method::POST, "/databases/bank/sql", Some(body)).await;
    assert_eq!((status, &read["results"][0]["rows"]), (StatusCode::OK, &json!([[100]])), "{read}");
    assert_eq!(locking.end("rollback").await.0, StatusCode::OK);
    cluster.rows("UPDATE account SET n = 5 WHERE id = 2").await;
    let body = json!({"sql": "SELECT 1", "lock": true});
    assert_eq!(cluster.ask(Method::POST, "/databases/bank/sql", Some(body)).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_only_reads_sees_one_moment() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    let transaction = cluster.begin(json!({"read_only": true})).await;
    cluster.rows("UPDATE account SET n = n + 1").await;
    cluster.rows("DELETE FROM account WHERE id = 2").await;
    assert_eq!(transaction.rows(TOTAL).await, json!([[400, 4]]));
    assert_eq!(transaction.rows("SELECT n FROM account WHERE id = 2").await, json!([[100]]));
    let (status, refused) = transaction.ask("DELETE FROM account").await;
    assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("sql_forbidden")));
    assert_eq!(transaction.rows(TOTAL).await, json!([[400, 4]]));
    transaction.commit().await;
    assert_eq!(cluster.rows(TOTAL).await, json!([[303, 3]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_fails_leaves_the_transaction_as_it_was() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    let transaction = cluster.begin(json!({})).await;
    transaction.result("UPDATE account SET n = 1 WHERE id = 1").await;
    let (status, error) = transaction.ask("INSERT INTO account (owner, n) VALUES ('z', 1), ('b', 1)").await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("unique_violation")), "{error}");
    let (status, _) = transaction.ask("CREATE TABLE other (id)").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(transaction.rows(TOTAL).await, json!([[301, 4]]));
    transaction.commit().await;
    assert_eq!(cluster.rows(TOTAL).await, json!([[301, 4]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_goes_back_to_its_savepoints() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    let transaction = cluster.begin(json!({})).await;
    for sql in [
        "DELETE FROM account WHERE id = 1",
        "SAVEPOINT one",
        "DELETE FROM account WHERE id = 2",
        "SAVEPOINT two",
        "DELETE FROM account",
        "ROLLBACK TO two",
    ] {
        transaction.result(sql).await;
    }
    assert_eq!(transaction.rows(TOTAL).await, json!([[200, 2]]));
    transaction.result("ROLLBACK TO SAVEPOINT One").await;
    assert_eq!(transaction.rows(TOTAL).await, json!([[300, 3]]));
    assert_eq!(transaction.ask("ROLLBACK TO two").await.1["error"], "no such savepoint: two");
    transaction.result("RELEASE one").await;
    assert_eq!(transaction.ask("ROLLBACK TO one").await.0, StatusCode::BAD_REQUEST);
    transaction.result("COMMIT").await;
    assert_eq!(cluster.rows(TOTAL).await, json!([[300, 3]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_end_by_rollback_by_hand_and_by_time() {
    let cluster = Cluster::start().await;
    cluster.accounts(2).await;
    let transaction = cluster.begin(json!({})).await;
    transaction.result("DELETE FROM account").await;
    assert_eq!(transaction.end("rollback").await.0, StatusCode::OK);
    transaction.assert_gone().await;
    let transaction = cluster.begin(json!({})).await;
    transaction.result("DELETE FROM account").await;
    let path = format!("/transactions/{}", transaction.id);
    assert_eq!(cluster.ask(Method::DELETE, &path, None).await.0, StatusCode::OK);
    assert_eq!(transaction.end("commit").await.0, StatusCode::GONE);
    let transaction = cluster.begin(json!({"max_duration_ms": 1})).await;
    while transaction.ask("DELETE FROM account").await.0 != StatusCode::GONE {}
    assert_eq!(transaction.end("commit").await.0, StatusCode::GONE);
    assert_eq!(cluster.rows(TOTAL).await, json!([[400, 4]]));
    for (options, status) in [(json!({"mode": "other"}), 400), (json!({"idle_timeout_ms": 0}), 400)] {
        let refused = cluster.ask(Method::POST, "/databases/bank/transactions", Some(options)).await;
        assert_eq!(refused.0.as_u16(), status, "{}", refused.1);
    }
}
