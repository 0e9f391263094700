//! Query objects on tables and collections.

use crate::support::{Cluster, moment};
use common::query_object::QueryObject;
use common::schema::DatabaseKind;
use common::{ErrorCode, Result};
use query::objects::{ObjectAnswer, run};
use serde_json::{Value as Json, json};

async fn ask(cluster: &Cluster, object: Json) -> Result<ObjectAnswer> {
    let object = QueryObject::parse(object, DatabaseKind::Sql)?;
    run(&cluster.planner(), cluster, object, moment(1_700_000_000_000)).await
}

#[tokio::test]
async fn tables_are_asked_by_objects() {
    for buckets in [1, 4] {
        let cluster = Cluster::hashed(buckets, Some("id"));
        cluster
            .ok("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE, age INTEGER DEFAULT 7)")
            .await;
        let answer =
            ask(&cluster, json!({"operation": "insert", "table": "users", "values": {"id": 1, "name": "a"}}))
                .await
                .unwrap();
        assert_eq!(answer.data, Some(json!([{"id": 1, "name": "a", "age": 7}])));
        assert_eq!(answer.affected_rows, Some(1));
        for id in 2..=6 {
            ask(&cluster, json!({"operation": "insert", "table": "users", "values": {"id": id, "name": format!("n{id}"), "age": null}})).await.unwrap();
        }
        let error = ask(&cluster, json!({"operation": "insert", "table": "users", "values": {"name": "a"}}))
            .await
            .unwrap_err();
        assert_eq!(error.message, "UNIQUE constraint failed: users.name");
        assert_eq!(error.sqlite_code, Some(2_067), "a unique column, whatever keeps it unique");
        assert_eq!(error.statement, None, "a query object is no batch");
        let answer = ask(&cluster, json!({"operation": "query", "table": "users", "columns": ["id"], "where": {"age": null, "id": {"$gt": 2, "$lte": 5}}, "order_by": "id DESC", "limit": 2})).await.unwrap();
        assert_eq!(answer.data, Some(json!([{"id": 5}, {"id": 4}])));
        assert_eq!(answer.affected_rows, None);
        let answer = ask(&cluster, json!({"operation": "update", "table": "users", "values": {"age": 9}, "where": {"id": {"$lt": 3}}})).await.unwrap();
        assert_eq!(answer.affected_rows, Some(2));
        assert_eq!(answer.data.unwrap().as_array().unwrap().len(), 2);
        let answer = ask(&cluster, json!({"operation": "delete", "table": "users", "where": {"id": 1}}))
            .await
            .unwrap();
        assert_eq!(answer.affected_rows, Some(1));
        let answer = ask(&cluster, json!({"operation": "sql", "sql": "SELECT count(*) AS n FROM users"}))
            .await
            .unwrap();
        assert_eq!(answer.data, Some(json!([{"n": 5}])));
        let error = ask(&cluster, json!({"operation": "query", "table": "nowhere"})).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::TableNotFound);
    }
}

#[tokio::test]
async fn collections_are_asked_by_objects() {
    for buckets in [1, 4] {
        let cluster = Cluster::hashed(buckets, None);
        for number in 1..=3 {
            let answer = ask(&cluster, json!({"operation": "insert", "collection": "people", "document": {"name": "Ann", "age": 30 + number}})).await.unwrap();
            assert_eq!(answer.data, Some(json!({"id": number})), "{buckets} buckets");
        }
        let answer = ask(&cluster, json!({"operation": "update", "collection": "people", "id": 2, "document": {"age": 36, "tags": ["a", "b"]}})).await.unwrap();
        assert_eq!(answer.data, Some(json!({"_id": 2, "name": "Ann", "age": 36, "tags": ["a", "b"]})));
        assert_eq!(answer.affected_rows, Some(1));
        let answer =
            ask(&cluster, json!({"operation": "query", "collection": "people", "where": {"age": 33}}))
                .await
                .unwrap();
        assert_eq!(answer.data, Some(json!([{"_id": 3, "name": "Ann", "age": 33}])));
        let answer =
            ask(&cluster, json!({"operation": "delete", "collection": "people", "id": 2})).await.unwrap();
        assert_eq!(answer.affected_rows, Some(1));
        let answer =
            ask(&cluster, json!({"operation": "get", "collection": "people", "id": 2})).await.unwrap();
        assert_eq!(answer.data, Some(Json::Null));
        let answer = ask(
            &cluster,
            json!({"operation": "update", "collection": "people", "id": 2, "document": {"a": 1}}),
        )
        .await
        .unwrap();
        assert_eq!((answer.data, answer.affected_rows), (Some(Json::Null), Some(0)));
        let answer =
            ask(&cluster, json!({"operation": "get", "collection": "nowhere", "id": 2})).await.unwrap();
        assert_eq!(answer.data, Some(Json::Null));
    }
}
