//! Requests as the interface wants them, and answers as the library gives them.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use polylite_client::{
    Column, CreateDatabase, DocumentId, ErrorCode, Executed, Format, Outcome, Row, Select, Table, Target,
    Value, Which, local_error_codes,
};
use serde_json::{Value as Json, json};

use super::script::{Answer, Script, builder, client, error, ok};

#[tokio::test]
async fn statements_travel_with_their_parameters_and_rows_come_back_typed() {
    let body = r#"{"success":true,"results":[{"columns":["id","photo"],"types":["INTEGER","BLOB"],
        "rows":[[9223372036854775807,{"$blob":"AQI="}]],"truncated":false}],"time_ms":1.2}"#;
    let server = Script::start([ok(body)]).await;
    let client = builder(&[&server]).api_key("secret").build().expect("valid settings");
    let rows = client.database("a b").sql("SELECT * FROM t WHERE x = ?1 AND y IS ?2");
    let rows = rows.bind(vec![1_u8, 2]).bind(None::<i64>).max_rows(5).query().await.expect("rows");
    assert_eq!(rows.columns(), ["id", "photo"]);
    assert_eq!(rows[0].values(), [Value::Integer(i64::MAX), Value::Blob(vec![1, 2])]);

    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/databases/a%20b/sql"));
    assert_eq!(seen.headers["authorization"], "Bearer secret");
    let params = json!([{"$blob": "AQI="}, null]);
    let statement = json!({"sql": "SELECT * FROM t WHERE x = ?1 AND y IS ?2", "params": params});
    assert_eq!(seen.json(), json!({"statements": [statement], "atomic": true, "max_rows": 5}));
}

#[tokio::test]
async fn named_parameters_and_the_idempotency_key_are_sent() {
    let server = Script::start([ok(r#"{"results":[{"affected_rows":1,"last_insert_rowid":7}]}"#)]).await;
    let sql = client(&[&server]).database("shop").sql("INSERT INTO t VALUES (:a)").bind_named("a", 1.5);
    let executed = sql.idempotency_key("s.1").execute().await.expect("written");
    assert_eq!(executed.last_insert_rowid, Some(7));
    let seen = &server.seen()[0];
    assert_eq!(seen.headers["idempotency-key"], "s.1");
    assert_eq!(seen.json()["statements"][0]["params"], json!({"a": 1.5}));
}

#[tokio::test]
async fn a_batch_that_is_not_atomic_has_an_error_in_place_of_a_result() {
    let body = r#"{"results":[{"affected_rows":1},{"error":"no such table: u","code":"sql_error"}]}"#;
    let server = Script::start([ok(body)]).await;
    let batch = client(&[&server]).database("shop").batch().atomic(false);
    let results = batch.sql("DELETE FROM t WHERE a = ?").bind("x").sql("DELETE FROM u").run().await;
    let results = results.expect("an answer");
    assert_eq!(results[0], Ok(Executed { affected_rows: 1, ..Executed::default() }));
    assert!(results[1].as_ref().expect_err("no such table").is(ErrorCode::SqlError));
    assert_eq!(server.seen()[0].json()["atomic"], json!(false));
}

fn lines(text: &str) -> Answer {
    Answer::Status(200, vec![("content-type", "application/x-ndjson")], text.to_owned())
}

async fn streamed(answer: Answer) -> Vec<Result<Vec<Value>, polylite_client::Error>> {
    let server = Script::start([answer]).await;
    let stream = client(&[&server]).database("shop").sql("SELECT n FROM t").stream().await.expect("a stream");
    assert_eq!(stream.columns(), ["n"]);
    assert_eq!(server.seen()[0].headers["accept"], "application/x-ndjson");
    stream.map(|row| row.map(|row: Row| row.values().to_vec())).collect().await
}

#[tokio::test]
async fn rows_stream_line_by_line() {
    let rows =
        streamed(lines("{\"columns\":[\"n\"]}\n{\"row\":[1]}\n\n{\"row\":[null]}\n{\"end\":true}\n")).await;
    assert_eq!(rows, [Ok(vec![Value::Integer(1)]), Ok(vec![Value::Null])]);
}

#[tokio::test]
async fn a_stream_that_breaks_off_or_fails_is_not_taken_for_complete() {
    let rows = streamed(lines("{\"columns\":[\"n\"]}\n{\"row\":[1]}\n")).await;
    assert_eq!(rows[1].as_ref().expect_err("cut off").code, local_error_codes::CONNECTION_LOST);
    let failing = "{\"columns\":[\"n\"]}\n{\"error\":\"interrupted\",\"code\":\"statement_timeout\"}\n";
    let rows = streamed(lines(failing)).await;
    assert!(rows[0].as_ref().expect_err("failed").is(ErrorCode::StatementTimeout));
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let rows = streamed(ok(r#"{"results":[{"columns":["n"],"rows":[[1],[2]],"truncated":false}]}"#)).await;
    assert_eq!(rows, [Ok(vec![Value::Integer(1)]), Ok(vec![Value::Integer(2)])]);
}

#[tokio::test]
async fn a_database_is_declared_as_the_interface_names_it() {
    let server = Script::start([ok(r#"{"success":true}"#)]).await;
    let users = Table::new("users")
        .column(Column::new("id", "INTEGER").primary_key())
        .column(Column::new("at", "TIMESTAMP").default("CURRENT_TIMESTAMP"))
        .index("at");
    let declaration = CreateDatabase::sql("shop").partitions(8).partition_key("id").table(users);
    let database = client(&[&server]).create_database(&declaration).await.expect("created");
    assert_eq!(database.name(), "shop");
    let expected = json!({
        "name": "shop", "db_type": "SQL", "partition_key": "id", "partitions": 8,
        "tables": [{"name": "users", "indexes": ["at"], "columns": [
            {"name": "id", "data_type": "INTEGER", "primary_key": true, "nullable": false},
            {"name": "at", "data_type": "TIMESTAMP", "primary_key": false, "nullable": true,
             "default": "CURRENT_TIMESTAMP"},
        ]}],
    });
    assert_eq!(server.seen()[0].json(), expected);
}

#[tokio::test]
async fn documents_are_addressed_by_their_ids() {
    let missing = || error(404, "document_not_found", false, "not_applied");
    let answers = [
        ok(r#"{"id":"01J"}"#),
        ok(r#"{"document":{"_id":42,"name":"Ada"}}"#),
        missing(),
        missing(),
        ok(r#"{"deleted":3}"#),
        ok(r#"{"documents":[{"_id":1}]}"#),
    ];
    let server = Script::start(answers).await;
    let people = client(&[&server]).database("shop").collection("people");
    assert_eq!(people.insert(&json!({"name": "Ada"})).await, Ok(DocumentId::from("01J")));
    assert_eq!(people.get(42).await, Ok(Some(json!({"_id": 42, "name": "Ada"}))));
    assert_eq!(people.get::<Json>("42").await, Ok(None));
    assert_eq!(people.delete("x/y").await, Ok(false));
    assert_eq!(people.delete_many(json!({"age": {"$lt": 18}})).await, Ok(3));
    assert_eq!(
        people.find("age > 18").sort(json!({"age": 1})).limit(1).run::<Json>().await.expect("found").len(),
        1
    );
    let seen = server.seen();
    let paths: Vec<&str> =
        seen.iter().map(|request| request.path.rsplit("/people").next().expect("one")).collect();
    let expected =
        ["/documents", "/documents/42", "/documents/%2242%22", "/documents/x%2Fy", "/delete", "/find"];
    assert_eq!(paths, expected);
    assert_eq!(seen[5].json(), json!({"filter": "age > 18", "sort": {"age": 1}, "limit": 1}));
}

#[tokio::test]
async fn query_objects_have_the_fields_of_query_files() {
    let server = Script::start(vec![ok(r#"{"success":true,"data":[],"affected_rows":2}"#); 3]).await;
    let database = client(&[&server]).database("shop");
    let select = Select { conditions: Some(json!({"id": {"$gt": 1}})), limit: Some(3), ..Select::default() };
    let answer = database.sql_query("users", &select).await.expect("an answer");
    assert_eq!((answer.data, answer.affected_rows, answer.cached), (json!([]), 2, false));
    database.sql_update("users", json!({"age": 3}), None).await.expect("an answer");
    database.nosql_delete("people", Which::Id(7.into())).await.expect("an answer");
    let bodies: Vec<Json> = server.seen().iter().map(super::script::Seen::json).collect();
    let expected = [
        json!({"operation": "query", "table": "users", "where": {"id": {"$gt": 1}}, "limit": 3}),
        json!({"operation": "update", "table": "users", "values": {"age": 3}}),
        json!({"operation": "delete", "collection": "people", "id": 7}),
    ];
    assert_eq!(bodies, expected);
    assert_eq!(server.seen()[0].path, "/query/shop");
}

#[tokio::test]
async fn imports_and_exports_stream() {
    let partial =
        r#"{"error":"line 3: too many cells","code":"bad_request","outcome":"partial","applied":["2 rows"]}"#;
    let answers = [
        ok(r#"{"rows":2}"#),
        Answer::Status(400, Vec::new(), partial.to_owned()),
        Answer::Status(200, vec![("content-type", "text/csv")], "a,b\n1,2\n".to_owned()),
    ];
    let server = Script::start(answers).await;
    let database = client(&[&server]).database("shop");
    let target = Target::table("t");
    let pieces = || stream::iter(["a,b\n", "1,2\n"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece))));
    assert_eq!(database.import(&target, Format::Csv, Some("NA"), pieces()).await, Ok(2));
    let stopped = database.import(&target, Format::Csv, None, pieces()).await.expect_err("a bad line");
    assert_eq!((stopped.outcome, stopped.applied), (Outcome::Partial, vec![json!("2 rows")]));
    let exported: Vec<Bytes> =
        database.export(&target, Format::Csv).await.expect("a stream").try_collect().await.expect("whole");
    assert_eq!(exported.concat(), b"a,b\n1,2\n");
    let seen = server.seen();
    assert_eq!(seen[0].path, "/databases/shop/import?table=t&format=csv&null=NA");
    assert_eq!(seen[0].body, "a,b\n1,2\n");
    assert_eq!(seen[2].path, "/databases/shop/export?table=t&format=csv");
}

#[tokio::test]
async fn the_cluster_describes_itself() {
    let answers = [
        ok(
            r#"{"nodes":{"n1":{"id":"n1","host":"h","port":1,"status":"active","databases":["a"],"rack":"r"}}}"#,
        ),
        ok(
            r#"{"partitions":{"p":{"id":"p","database_name":"shop","partition_type":"HORIZONTAL","partition_key":"id",
            "partition_value":{"slots":[0,1]},"columns":null,"storage_nodes":["n1"],"leader":"n1","rows":2,"bytes":3}}}"#,
        ),
        ok(r#"{"success":true,"is_leader":true,"leader":null,"address":"h:1","term":4}"#),
        ok(r#"{"stats":{"hits":1,"misses":2,"evictions":0,"expirations":0,"size":1,"max_size":1000}}"#),
    ];
    let server = Script::start(answers).await;
    let client = client(&[&server]);
    assert_eq!(client.nodes().await.expect("nodes")[0].more["rack"], json!("r"));
    assert_eq!(client.partitions(Some("shop")).await.expect("partitions")[0].leader.as_deref(), Some("n1"));
    assert_eq!(client.status().await.expect("a status").term, Some(4));
    assert_eq!(client.cache_stats().await.expect("statistics").misses, 2);
    assert_eq!(server.seen()[1].path, "/partitions/shop");
}
