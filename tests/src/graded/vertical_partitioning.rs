//! Columns of a table in different places, documents beside them, and rows put together again.

use polylite_client::{Column, CreateDatabase, PartitionType, Table, Which};
use serde_json::{Value as Json, json};

use super::schema_and_crud::assert_described;
use super::stage::Stage;
use super::{Category, tests};

const SQL: &str = "test_vertical";
const NOSQL: &str = "test_nosql_vertical";

pub(super) fn category() -> Category {
    Category {
        name: "vertical_partitioning",
        title: "Vertical Partitioning",
        points: 30,
        nodes: 1,
        tests: tests![
            "Test creating a table schema suitable for vertical partitioning." => defining_a_schema,
            "Test creating a SQL database with vertical partitioning." => creating_a_sql_database,
            "Test that the vertically partitioned database exists." => the_sql_database_exists,
            "Test that the database has vertical partition type." => the_sql_database_is_vertical,
            "Test getting partition information for the vertical database." => sql_partitions,
            "Test creating a NoSQL database with vertical partitioning." => creating_a_nosql_database,
            "Test that the vertically partitioned NoSQL database exists." => the_nosql_database_exists,
            "Test that the NoSQL database has vertical partition type." => the_nosql_database_is_vertical,
            "Test inserting data into the vertically partitioned database." => inserting_a_row,
            "Test querying all data from the vertically partitioned database." => querying_all_rows,
            "Test querying specific data from the vertically partitioned database." => querying_one_row,
            "Test verifying the integrity of queried data." => the_row_is_whole,
            "Test inserting a document into the vertically partitioned NoSQL database." => inserting_a_document,
            "Test querying a document from the vertically partitioned NoSQL database." => querying_a_document,
            "Test verifying the integrity of the queried document." => the_document_is_whole,
            "Test verifying the partition count for vertical databases." => partition_counts,
            "Test verifying metadata for SQL vertical partitions." => sql_metadata,
            "Test verifying metadata for NoSQL vertical partitions." => nosql_metadata,
        ],
    }
}

fn products() -> Table {
    Table::new("products")
        .column(Column::new("id", "INTEGER").primary_key())
        .column(Column::new("name", "TEXT").not_null())
        .column(Column::new("description", "TEXT"))
        .column(Column::new("price", "REAL").not_null())
        .column(Column::new("stock", "INTEGER").not_null())
        .column(Column::new("category", "TEXT"))
        .column(Column::new("created_at", "TIMESTAMP").default("CURRENT_TIMESTAMP"))
        .index("category")
}

/// What a shop shows lies apart from what it counts.
fn vertical(name: &str) -> CreateDatabase {
    CreateDatabase::sql(name)
        .table(products())
        .partition_type(PartitionType::Vertical)
        .column_group("shown", ["name", "description", "category"])
        .column_group("counted", ["price", "stock", "created_at"])
}

/// The columns that each of the two groups holds.
fn groups() -> [Vec<&'static str>; 2] {
    [
        vec!["products.category", "products.description", "products.id", "products.name"],
        vec!["products.created_at", "products.id", "products.price", "products.stock"],
    ]
}

async fn defining_a_schema(stage: &mut Stage) {
    let name = "test_vertical_schema";
    assert_eq!(products().columns.len(), 7);
    stage.create(&vertical(name)).await;
    assert_described(stage, name, &[products()]).await;
}

async fn creating_a_sql_database(stage: &mut Stage) {
    stage.create(&vertical(SQL)).await;
    assert_described(stage, SQL, &[products()]).await;
}

async fn the_sql_database_exists(stage: &mut Stage) {
    assert!(stage.lists(SQL).await);
}

async fn the_sql_database_is_vertical(stage: &mut Stage) {
    let described = stage.describe(SQL).await;
    assert_eq!((&described["db_type"], &described["partition_type"]), (&json!("SQL"), &json!("VERTICAL")));
    assert_eq!(described["partition_key"], Json::Null);
}

async fn sql_partitions(stage: &mut Stage) {
    let mut found: Vec<Vec<String>> = Vec::new();
    for partition in stage.partitions(SQL).await {
        assert_eq!(partition["storage_nodes"], json!(["node-0"]));
        let columns = partition["columns"].as_array().expect("a list of columns");
        let mut columns: Vec<String> =
            columns.iter().map(|column| column.as_str().expect("a name").to_owned()).collect();
        columns.sort();
        found.push(columns);
    }
    found.sort();
    assert_eq!(found, groups());
}

async fn creating_a_nosql_database(stage: &mut Stage) {
    stage.create(&CreateDatabase::nosql(NOSQL).partition_type(PartitionType::Vertical)).await;
    assert_eq!(stage.describe(NOSQL).await["name"], NOSQL);
}

async fn the_nosql_database_exists(stage: &mut Stage) {
    assert!(stage.lists(NOSQL).await);
}

async fn the_nosql_database_is_vertical(stage: &mut Stage) {
    let described = stage.describe(NOSQL).await;
    assert_eq!((&described["db_type"], &described["partition_type"]), (&json!("NOSQL"), &json!("VERTICAL")));
}

async fn inserting_a_row(stage: &mut Stage) {
    let row = json!({"id": 1, "name": "Laptop", "description": "Thin and light", "price": 99.99, "stock": 100,
        "category": "Electronics"});
    let done = stage.database(SQL).sql_insert("products", row.clone()).await.expect("the row is inserted");
    assert_eq!(done.affected_rows, 1);
    // The answer has the default that was filled in.
    let mut stored = done.data[0].clone();
    let created = stored.as_object_mut().expect("a row").remove("created_at").expect("a default");
    assert_eq!(created.as_str().map(str::len), Some("2024-01-01 00:00:00".len()), "{created}");
    assert_eq!(stored, row);
}

async fn querying_all_rows(stage: &mut Stage) {
    let rows = stage.rows(SQL, "products", json!({})).await;
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "a row of two parts comes back once: {rows}");
    assert_eq!(rows[0]["id"], 1);
}

async fn querying_one_row(stage: &mut Stage) {
    let rows = stage.rows(SQL, "products", json!({"id": 1})).await;
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    assert_eq!(stage.rows(SQL, "products", json!({"id": 2})).await, json!([]));
    // Conditions on columns of both groups hold together.
    let both = json!({"name": "Laptop", "stock": {"$gte": 100}});
    assert_eq!(stage.rows(SQL, "products", both).await, rows);
    assert_eq!(
        stage.rows(SQL, "products", json!({"name": "Laptop", "stock": {"$gt": 100}})).await,
        json!([])
    );
}

async fn the_row_is_whole(stage: &mut Stage) {
    let rows = stage.rows(SQL, "products", json!({"id": 1})).await;
    let row = &rows[0];
    assert_eq!(
        [&row["id"], &row["name"], &row["description"], &row["category"]],
        [&json!(1), &json!("Laptop"), &json!("Thin and light"), &json!("Electronics")]
    );
    // A declared REAL is a number.
    assert_eq!((&row["price"], &row["stock"]), (&json!(99.99), &json!(100)));
    assert!(row["created_at"].is_string());
    assert_eq!(row.as_object().map(serde_json::Map::len), Some(7));
}

fn document() -> Json {
    json!({"document_id": "doc1", "title": "Test Document", "content": "Words.", "tags": ["test", "vertical"],
        "created_at": 1_714_521_600.25})
}

async fn documents_with_id(stage: &Stage, id: &str) -> Json {
    let which = Which::Where(json!({"document_id": id}));
    stage.database(NOSQL).nosql_get("documents", which).await.expect("the documents are found").data
}

async fn inserting_a_document(stage: &mut Stage) {
    let done = stage.database(NOSQL).nosql_insert("documents", document()).await.expect("it is inserted");
    assert_eq!(done.affected_rows, 1);
    assert!(done.data["id"].is_i64(), "{}", done.data);
}

async fn querying_a_document(stage: &mut Stage) {
    assert_eq!(documents_with_id(stage, "doc1").await.as_array().map(Vec::len), Some(1));
    assert_eq!(documents_with_id(stage, "doc2").await, json!([]));
}

async fn the_document_is_whole(stage: &mut Stage) {
    let mut found = documents_with_id(stage, "doc1").await[0].take();
    assert!(found.as_object_mut().expect("a document").remove("_id").is_some());
    assert_eq!(found, document());
}

async fn partition_counts(stage: &mut Stage) {
    let counts = [stage.partitions(SQL).await.len(), stage.partitions(NOSQL).await.len()];
    assert_eq!(counts, [2, 1], "one for each column group; documents are kept whole");
}

async fn sql_metadata(stage: &mut Stage) {
    stage.assert_divided(SQL, PartitionType::Vertical, None).await;
    // What lies where is true of the storage node's own files as well.
    let held = stage.node_get(0, &format!("/partitions/{SQL}")).await;
    let held = held["partitions"].as_array().expect("a list of partitions").clone();
    assert_eq!(held.len(), 2);
    assert!(
        held.iter().all(|partition| partition["partition_type"] == "VERTICAL" && partition["rows"] == 1),
        "{held:?}"
    );
}

async fn nosql_metadata(stage: &mut Stage) {
    let partitions = stage.assert_divided(NOSQL, PartitionType::Vertical, None).await;
    assert_eq!(partitions[0]["storage_nodes"], json!(["node-0"]));
    let status = stage.node_get(0, "/status").await;
    assert_eq!(status["databases"]["nosql"], json!([NOSQL]));
}
