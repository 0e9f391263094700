//! Documents in transactions.

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::super::Cluster;
use super::{Transaction, assert_conflict};

const COLLECTION: &str = "/databases/bank/collections/event";

impl Transaction<'_> {
    /// Sends a request to the collection, with the transaction in its body.
    async fn collection(&self, route: &str, mut body: Json) -> Json {
        body["transaction"] = json!(self.id);
        let (status, answer) =
            self.cluster.ask(Method::POST, &format!("{COLLECTION}/{route}"), Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{route}: {answer}");
        answer
    }

    /// The path of a document, with the transaction in the query string.
    fn document(&self, id: &str) -> String {
        format!("{COLLECTION}/documents/{id}?transaction={}", self.id)
    }
}

async fn count(cluster: &Cluster, filter: Json) -> Json {
    let (status, answer) =
        cluster.ask(Method::POST, &format!("{COLLECTION}/count"), Some(json!({ "filter": filter }))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["count"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_and_tables_belong_to_one_transaction() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    let collection = COLLECTION;
    let put = |id: &str| format!("{collection}/documents/{id}");
    let (status, _) = cluster.ask(Method::PUT, &put("1"), Some(json!({"kind": "old"}))).await;
    assert_eq!(status, StatusCode::OK);
    let transaction = cluster.begin(json!({})).await;
    let named = format!("?transaction={}", transaction.id);
    let many = json!({"documents": [{"kind": "new"}, {"kind": "new"}], "transaction": transaction.id});
    let (status, made) = cluster.ask(Method::POST, &format!("{collection}/documents"), Some(many)).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let (status, _) =
        cluster.ask(Method::PATCH, &(put("1") + &named), Some(json!({"kind": "changed"}))).await;
    assert_eq!(status, StatusCode::OK);
    transaction.result("UPDATE account SET n = 0 WHERE id = 1").await;
    let count = |transaction: Option<&str>| {
        let mut body = json!({"filter": {"kind": {"$ne": "old"}}});
        transaction.into_iter().for_each(|id| body["transaction"] = json!(id));
        let path = format!("{collection}/count");
        let cluster = &cluster;
        async move { cluster.ask(Method::POST, &path, Some(body)).await.1["count"].clone() }
    };
    assert_eq!(count(Some(&transaction.id)).await, 3);
    assert_eq!(count(None).await, 0);
    transaction.commit().await;
    assert_eq!(count(None).await, 3);
    assert_eq!(cluster.rows("SELECT n FROM account WHERE id = 1").await, json!([[0]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_change_documents_works_in_a_transaction() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    let transaction = cluster.begin(json!({})).await;
    // The collection comes to be with its first document, in a transaction as well.
    let many: Vec<Json> = (1..=6).map(|id| json!({"_id": id, "n": id, "kind": "new"})).collect();
    let made = transaction.collection("documents", json!({ "documents": many })).await;
    assert_eq!(made["ids"], json!([1, 2, 3, 4, 5, 6]));
    let update = json!({"$inc": {"n": 10}, "$set": {"kind": "big"}});
    let updated =
        transaction.collection("update", json!({"filter": {"n": {"$gt": 3}}, "update": update})).await;
    assert_eq!((&updated["matched"], &updated["modified"]), (&json!(3), &json!(3)));
    let upsert = json!({"filter": {"_id": 9}, "update": {"$set": {"n": 9}}, "upsert": true});
    assert_eq!(transaction.collection("update", upsert).await["upserted_id"], 9);
    let operations = json!([
        {"insertOne": {"document": {"_id": 7, "n": 7}}},
        {"updateOne": {"filter": {"_id": 7}, "update": {"$mul": {"n": 2}}}},
        {"replaceOne": {"filter": {"_id": 1}, "replacement": {"n": 100}}},
        {"deleteOne": {"filter": {"_id": 2}}},
    ]);
    transaction.collection("bulk", json!({"operations": operations, "atomic": true})).await;
    let (status, _) = cluster.ask(Method::DELETE, &transaction.document("3"), None).await;
    assert_eq!(status, StatusCode::OK);
    let (status, patched) =
        cluster.ask(Method::PATCH, &transaction.document("9"), Some(json!({"$push": {"list": 1}}))).await;
    assert_eq!((status, &patched["document"]["list"]), (StatusCode::OK, &json!([1])), "{patched}");
    let (_, read) = cluster.ask(Method::GET, &transaction.document("1"), None).await;
    assert_eq!(read["document"]["n"], 100, "{read}");
    let find = json!({"filter": {}, "sort": {"_id": 1}, "projection": {"n": 1}});
    let found = transaction.collection("find", find).await;
    let numbers: Vec<&Json> =
        found["documents"].as_array().unwrap().iter().map(|found| &found["n"]).collect();
    assert_eq!(json!(numbers), json!([100, 14, 15, 16, 14, 9]));
    let pipeline = json!([{"$group": {"_id": "$kind", "sum": {"$sum": "$n"}}}, {"$sort": {"sum": 1}}]);
    let grouped = transaction.collection("aggregate", json!({ "pipeline": pipeline })).await;
    assert_eq!(grouped["documents"][0]["sum"], 45, "{grouped}");
    let distinct = transaction.collection("distinct", json!({"field": "kind"})).await;
    assert_eq!(distinct["values"], json!(["big"]));
    assert_eq!(count(&cluster, json!({})).await, 0, "nobody else sees it");
    transaction.commit().await;
    assert_eq!(count(&cluster, json!({})).await, 6);
    assert_eq!(cluster.rows("SELECT sum(doc ->> '$.n') FROM event").await, json!([[168]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_others_change_make_a_transaction_fail() {
    let cluster = Cluster::start().await;
    cluster.accounts(4).await;
    let put = |id: &str| format!("{COLLECTION}/documents/{id}");
    for id in ["1", "2"] {
        let (status, _) = cluster.ask(Method::PUT, &put(id), Some(json!({"n": 100}))).await;
        assert_eq!(status, StatusCode::OK);
    }
    // Lost update: both have read the same document.
    let (first, second) = (cluster.begin(json!({})).await, cluster.begin(json!({})).await);
    for transaction in [&first, &second] {
        let body = json!({"filter": {"_id": 1}, "update": {"$inc": {"n": 1}}});
        transaction.collection("update", body).await;
        let (_, read) = cluster.ask(Method::GET, &transaction.document("1"), None).await;
        assert_eq!(read["document"]["n"], 101, "{read}");
    }
    first.commit().await;
    assert_conflict(&second.end("commit").await);
    // Write skew: each decides by what the other one changes.
    let (first, second) = (cluster.begin(json!({})).await, cluster.begin(json!({})).await);
    for (transaction, id) in [(&first, 1), (&second, 2)] {
        let pipeline = json!([{"$group": {"_id": null, "sum": {"$sum": "$n"}}}]);
        let sum = transaction.collection("aggregate", json!({ "pipeline": pipeline })).await;
        assert_eq!(sum["documents"][0]["sum"], 201, "{sum}");
        let body = json!({"filter": {"_id": id}, "update": {"$set": {"n": 0}}});
        transaction.collection("update", body).await;
    }
    second.commit().await;
    assert_conflict(&first.end("commit").await);
    assert_eq!(count(&cluster, json!({"n": 101})).await, 1);
    // That a document is not there is something that was seen, too.
    let transaction = cluster.begin(json!({})).await;
    let (status, _) = cluster.ask(Method::GET, &transaction.document("3"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    transaction.collection("documents", json!({"documents": [{"_id": 4}]})).await;
    let (status, _) = cluster.ask(Method::PUT, &put("3"), Some(json!({"n": 3}))).await;
    assert_eq!(status, StatusCode::OK);
    assert_conflict(&transaction.end("commit").await);
}
