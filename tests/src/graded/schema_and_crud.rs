//! Databases and their schemas, and the four things that are done with rows and documents.

use polylite_client::{Column, CreateDatabase, PartitionType, Table, Which};
use serde_json::{Value as Json, json};

use super::stage::{Stage, eventually};
use super::{Category, tests};

pub(super) fn category() -> Category {
    Category {
        name: "schema_and_crud",
        title: "Schema Definition and Basic CRUD Operations",
        points: 20,
        nodes: 1,
        tests: tests![
            "Test creating a SQL database with schema." => creating_a_sql_database,
            "Test creating a NoSQL database." => creating_a_nosql_database,
            "Test retrieving database schema." => retrieving_a_schema,
            "Test storage node status." => node_status,
            "Test SQL CRUD operations." => sql_crud,
            "Test NoSQL CRUD operations." => nosql_crud,
            "Test creating a database with a complex schema." => complex_schema,
            "Test deleting a database." => deleting_a_database,
            "Test creating databases with different partition types." => partition_types,
            "Test creating a database with a complex schema including various data types." => data_types,
            "Test creating a database with multiple tables and relationships." => related_tables,
        ],
    }
}

fn id() -> Column {
    Column::new("id", "INTEGER").primary_key()
}

/// What a table is described by, out of what it was declared by.
pub(super) fn as_described(table: &Table) -> Json {
    let columns: Vec<Json> = table
        .columns
        .iter()
        .map(|column| {
            json!({"name": column.name, "data_type": column.data_type, "primary_key": column.primary_key,
                "nullable": column.nullable, "default": column.default})
        })
        .collect();
    json!({"name": table.name, "columns": columns, "indexes": table.indexes})
}

/// Asserts that the tables of a database are described as they were declared.
pub(super) async fn assert_described(stage: &Stage, database: &str, declared: &[Table]) {
    let described = stage.describe(database).await;
    let described = described["tables"].as_array().expect("a list of tables");
    assert_eq!(described.len(), declared.len(), "{described:?}");
    for table in declared {
        let found = described.iter().find(|found| found["name"] == *table.name);
        let mut found = found.unwrap_or_else(|| panic!("{} is described", table.name)).clone();
        // Where a table's rows lie is told beside its schema.
        found
            .as_object_mut()
            .expect("an object")
            .retain(|field, _| ["name", "columns", "indexes"].contains(&&**field));
        assert_eq!(found, as_described(table));
    }
}

fn users() -> Table {
    Table::new("users")
        .column(id())
        .column(Column::new("name", "TEXT"))
        .column(Column::new("age", "INTEGER"))
        .index("name")
}

async fn creating_a_sql_database(stage: &mut Stage) {
    let declared = CreateDatabase::sql("test_sql_db")
        .table(users())
        .partition_type(PartitionType::Horizontal)
        .partition_key("id");
    stage.create(&declared).await;
    assert!(stage.lists("test_sql_db").await);
    stage.insert("test_sql_db", "users", json!({"id": 1, "name": "Ann", "age": 30})).await;
    let again = stage.client().create_database(&declared).await.expect_err("the name is taken");
    assert_eq!(again.code, "database_exists");
    assert_eq!(
        stage.rows("test_sql_db", "users", json!({"name": "Ann"})).await,
        json!([{"id": 1, "name": "Ann", "age": 30}]),
        "the refused creation left the rows alone"
    );
}

async fn creating_a_nosql_database(stage: &mut Stage) {
    stage.create(&CreateDatabase::nosql("test_nosql_db").partition_type(PartitionType::Vertical)).await;
    assert!(stage.lists("test_nosql_db").await);
    let database = stage.database("test_nosql_db");
    database.nosql_insert("people", json!({"name": "Ann"})).await.expect("the document is inserted");
    let found = database.nosql_get("people", Which::Where(json!({"name": "Ann"}))).await;
    assert_eq!(found.expect("the documents are found").data[0]["name"], "Ann");
}

async fn retrieving_a_schema(stage: &mut Stage) {
    let described = stage.describe("test_sql_db").await;
    assert_eq!(
        (
            &described["name"],
            &described["db_type"],
            &described["partition_type"],
            &described["partition_key"]
        ),
        (&json!("test_sql_db"), &json!("SQL"), &json!("HORIZONTAL"), &json!("id"))
    );
    assert_described(stage, "test_sql_db", &[users()]).await;
    let described = stage.describe("test_nosql_db").await;
    assert_eq!((&described["name"], &described["db_type"]), (&json!("test_nosql_db"), &json!("NOSQL")));
    let unknown = stage.client().describe("no_such_database").await.expect_err("nobody made it");
    assert_eq!(
        (unknown.status, unknown.message.as_str()),
        (Some(404), "Database 'no_such_database' not found")
    );
}

async fn node_status(stage: &mut Stage) {
    let port = stage.cluster().node(0).port();
    let status = stage.node_get(0, "/status").await;
    assert_eq!(
        (&status["host"], &status["port"], &status["node_id"]),
        (&json!("localhost"), &json!(port), &json!("node-0"))
    );
    assert_eq!(status["databases"], json!({"sql": ["test_sql_db"], "nosql": ["test_nosql_db"]}));
    let held = stage.node_get(0, "/partitions").await["partitions"].as_array().map(Vec::len);
    assert_eq!(status["partitions"].as_u64(), held.map(|held| held as u64));
    let nodes = stage.get("/nodes").await["nodes"].take();
    let expected = json!({"node-0": {"id": "node-0", "host": "localhost", "port": port, "status": "active",
        "databases": ["test_nosql_db", "test_sql_db"]}});
    assert_eq!(nodes, expected);
}

async fn sql_crud(stage: &mut Stage) {
    const DATABASE: &str = "test_sql_crud";
    let users = Table::new("users")
        .column(id())
        .column(Column::new("name", "TEXT"))
        .column(Column::new("email", "TEXT"));
    stage.create(&CreateDatabase::sql(DATABASE).table(users).partition_key("id")).await;
    let ann = json!({"id": 1, "name": "Ann", "email": "ann@example.com"});
    let bob = json!({"id": 2, "name": "Bob", "email": "bob@example.com"});
    stage.insert(DATABASE, "users", ann.clone()).await;
    stage.insert(DATABASE, "users", bob.clone()).await;
    assert_eq!(stage.rows(DATABASE, "users", json!({})).await, json!([ann, bob]));

    let database = stage.database(DATABASE);
    let values = json!({"email": "ann@polylite.test"});
    let updated =
        database.sql_update("users", values, Some(json!({"id": 1}))).await.expect("the row is updated");
    let ann = json!({"id": 1, "name": "Ann", "email": "ann@polylite.test"});
    assert_eq!((updated.data, updated.affected_rows), (json!([ann]), 1));
    assert_eq!(stage.rows(DATABASE, "users", json!({"id": 1})).await, json!([ann]));

    let deleted = database.sql_delete("users", Some(json!({"id": 1}))).await.expect("the row is deleted");
    assert_eq!(deleted.affected_rows, 1);
    assert_eq!(stage.rows(DATABASE, "users", json!({})).await, json!([bob]));
    // The storage node itself, asked directly.
    let query = |id: i64| json!({"operation": "query", "table": "users", "where": {"id": id}});
    assert_eq!(stage.node_query(0, DATABASE, &query(1)).await, json!([]));
    assert_eq!(stage.node_query(0, DATABASE, &query(2)).await, json!([bob]));
    let twice = database.sql_insert("users", bob).await.expect_err("the id is taken");
    assert_eq!((twice.status, twice.message.as_str()), (Some(409), "UNIQUE constraint failed: users.id"));
}

async fn nosql_crud(stage: &mut Stage) {
    const DATABASE: &str = "test_nosql_crud";
    stage.create(&CreateDatabase::nosql(DATABASE)).await;
    let database = stage.database(DATABASE);
    let ann = json!({"name": "Ann", "age": 35, "tags": ["a", "b", "c"], "address": {"city": "Rome"}});
    let bob = json!({"name": "Bob", "age": 25, "tags": []});
    let mut ids = Vec::new();
    for document in [&ann, &bob] {
        let done = database.nosql_insert("people", document.clone()).await.expect("the document is inserted");
        assert_eq!(done.affected_rows, 1);
        ids.push(done.data["id"].as_i64().expect("an integer id"));
    }
    assert_ne!(ids[0], ids[1]);
    let all = async || {
        let found = database.nosql_get("people", Which::Where(json!({}))).await.expect("they are found").data;
        let mut found = found.as_array().expect("a list").clone();
        found.sort_by_key(|document| document["_id"].as_i64());
        found
    };
    assert_eq!(all().await, [with_id(&ann, ids[0]), with_id(&bob, ids[1])]);

    let change = json!({"age": 36, "tags": ["a", "b", "c", "d"]});
    let updated =
        database.nosql_update("people", change, Which::Id(ids[0].into())).await.expect("it is updated");
    let ann = json!({"name": "Ann", "age": 36, "tags": ["a", "b", "c", "d"], "address": {"city": "Rome"}});
    assert_eq!((updated.data, updated.affected_rows), (with_id(&ann, ids[0]), 1));
    let one = async |id: i64| {
        database.nosql_get("people", Which::Id(id.into())).await.expect("it is answered").data
    };
    assert_eq!(one(ids[0]).await, with_id(&ann, ids[0]));

    let deleted = database.nosql_delete("people", Which::Id(ids[0].into())).await.expect("it is deleted");
    assert_eq!(deleted.affected_rows, 1);
    assert_eq!(one(ids[0]).await, Json::Null);
    assert_eq!(all().await, [with_id(&bob, ids[1])]);
    let query = json!({"operation": "get", "collection": "people", "id": ids[0]});
    assert_eq!(stage.node_query(0, DATABASE, &query).await, Json::Null);
}

fn with_id(document: &Json, id: i64) -> Json {
    let mut document = document.clone();
    document["_id"] = json!(id);
    document
}

async fn complex_schema(stage: &mut Stage) {
    const DATABASE: &str = "test_complex_schema";
    let created = || Column::new("created_at", "TIMESTAMP").default("CURRENT_TIMESTAMP");
    let users = Table::new("users")
        .column(id())
        .column(Column::new("username", "TEXT").not_null())
        .column(Column::new("email", "TEXT").not_null())
        .column(created())
        .index("username")
        .index("email");
    let posts = Table::new("posts")
        .column(id())
        .column(Column::new("user_id", "INTEGER").not_null())
        .column(Column::new("title", "TEXT"))
        .column(Column::new("content", "TEXT"))
        .column(created())
        .index("user_id");
    let comments = Table::new("comments")
        .column(id())
        .column(Column::new("post_id", "INTEGER").not_null())
        .column(Column::new("content", "TEXT"))
        .column(created())
        .index("post_id");
    let tables = [users, posts, comments];
    stage.create(&CreateDatabase::sql(DATABASE).tables(tables.clone()).partition_key("id")).await;
    assert_described(stage, DATABASE, &tables).await;

    let row = json!({"id": 1, "username": "ann", "email": "ann@example.com"});
    let done = stage.database(DATABASE).sql_insert("users", row).await.expect("the row is inserted");
    assert_eq!(done.affected_rows, 1);
    // The default is the time at which the row was inserted.
    let age =
        "SELECT id, abs(strftime('%s', 'now') - strftime('%s', created_at)) < 600 AS is_recent FROM users";
    assert_eq!(stage.sql(DATABASE, age).await, json!([{"id": 1, "is_recent": 1}]));
    let missing = stage.database(DATABASE).sql_insert("posts", json!({"id": 1})).await;
    assert_eq!(missing.expect_err("user_id may not be NULL").code, "not_null_violation");
}

async fn deleting_a_database(stage: &mut Stage) {
    const DATABASE: &str = "test_delete_db";
    let declared = CreateDatabase::sql(DATABASE).table(users());
    stage.create(&declared).await;
    stage.insert(DATABASE, "users", json!({"id": 1, "name": "Ann", "age": 30})).await;
    assert!(stage.lists(DATABASE).await);
    stage.client().drop_database(DATABASE).await.expect("the database is dropped");
    assert!(!stage.lists(DATABASE).await);
    let gone = stage.client().describe(DATABASE).await.expect_err("it is gone");
    assert_eq!(gone.status, Some(404));
    let node = stage.node(0);
    eventually("the node lets go of the database", async || {
        let path = format!("/databases/{DATABASE}");
        match node.send::<Json>(&polylite_client::Request::get(path)).await {
            Err(error) if error.status == Some(404) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    // One of the same name begins without the rows of the old one.
    stage.create(&declared).await;
    assert_eq!(stage.rows(DATABASE, "users", json!({})).await, json!([]));
    stage.client().drop_database(DATABASE).await.expect("the database is dropped");
}

async fn partition_types(stage: &mut Stage) {
    let items = || {
        let items = Table::new("items").column(id()).column(Column::new("name", "TEXT"));
        items.column(Column::new("value", "REAL"))
    };
    for (database, way, key) in [
        ("test_horizontal_db", PartitionType::Horizontal, Some("id")),
        ("test_vertical_db", PartitionType::Vertical, None),
        ("test_mixed_db", PartitionType::Mixed, Some("id")),
    ] {
        let mut declared = CreateDatabase::sql(database).table(items()).partition_type(way);
        if let Some(key) = key {
            declared = declared.partition_key(key);
        }
        stage.create(&declared).await;
        assert!(stage.lists(database).await);
        stage.assert_divided(database, way, key).await;
        let rows = json!([{"id": 1, "name": "one", "value": 1.5}, {"id": 2, "name": "two", "value": 2.5}]);
        for row in rows.as_array().expect("a list") {
            stage.insert(database, "items", row.clone()).await;
        }
        assert_eq!(stage.rows(database, "items", json!({})).await, rows);
    }
}

async fn data_types(stage: &mut Stage) {
    const DATABASE: &str = "test_data_types";
    let records = Table::new("records")
        .column(id())
        .column(Column::new("name", "TEXT").not_null())
        .column(Column::new("age", "INTEGER"))
        .column(Column::new("salary", "REAL"))
        .column(Column::new("is_active", "BOOLEAN").default("TRUE"))
        .column(Column::new("created_at", "TIMESTAMP").default("CURRENT_TIMESTAMP"))
        .column(Column::new("data", "BLOB"));
    stage.create(&CreateDatabase::sql(DATABASE).table(records.clone()).partition_key("id")).await;
    assert_described(stage, DATABASE, &[records]).await;
    // Values keep the types that were declared for them.
    let given = json!({"id": 1, "name": "Ann", "age": 30, "salary": 1234.5, "created_at": "2024-02-29 12:00:00",
        "data": {"$blob": "AAEC/w=="}});
    let done = stage.database(DATABASE).sql_insert("records", given.clone()).await.expect("it is inserted");
    let mut stored = given;
    stored["is_active"] = json!(1);
    assert_eq!(done.data, json!([stored]));
    assert_eq!(stage.rows(DATABASE, "records", json!({"id": 1})).await, json!([stored]));
    let types = "SELECT typeof(id) AS id, typeof(name) AS name, typeof(age) AS age, typeof(salary) AS salary, \
        typeof(is_active) AS is_active, typeof(created_at) AS created_at, typeof(data) AS data FROM records";
    let expected = json!([{"id": "integer", "name": "text", "age": "integer", "salary": "real",
        "is_active": "integer", "created_at": "text", "data": "blob"}]);
    assert_eq!(stage.sql(DATABASE, types).await, expected);
}

async fn related_tables(stage: &mut Stage) {
    const DATABASE: &str = "test_relationships";
    let users = Table::new("users").column(id()).column(Column::new("username", "TEXT").not_null());
    let products = Table::new("products")
        .column(id())
        .column(Column::new("name", "TEXT").not_null())
        .column(Column::new("price", "REAL").not_null());
    let orders = Table::new("orders")
        .column(id())
        .column(Column::new("user_id", "INTEGER").not_null())
        .column(Column::new("order_date", "TIMESTAMP").default("CURRENT_TIMESTAMP"))
        .index("user_id");
    let order_items = Table::new("order_items")
        .column(id())
        .column(Column::new("order_id", "INTEGER").not_null())
        .column(Column::new("product_id", "INTEGER").not_null())
        .column(Column::new("quantity", "INTEGER").not_null())
        .index("order_id")
        .index("product_id");
    let tables = [users, products, orders, order_items];
    stage.create(&CreateDatabase::sql(DATABASE).tables(tables.clone()).partition_key("id")).await;
    assert!(stage.lists(DATABASE).await);
    assert_described(stage, DATABASE, &tables).await;

    for (table, rows) in [
        ("users", json!([{"id": 1, "username": "ann"}, {"id": 2, "username": "bob"}])),
        (
            "products",
            json!([{"id": 1, "name": "desk", "price": 250.0}, {"id": 2, "name": "lamp", "price": 19.5}]),
        ),
        ("orders", json!([{"id": 1, "user_id": 1}, {"id": 2, "user_id": 2}])),
        (
            "order_items",
            json!([{"id": 1, "order_id": 1, "product_id": 1, "quantity": 1},
                {"id": 2, "order_id": 1, "product_id": 2, "quantity": 4},
                {"id": 3, "order_id": 2, "product_id": 2, "quantity": 1}]),
        ),
    ] {
        for row in rows.as_array().expect("a list") {
            let done = stage.database(DATABASE).sql_insert(table, row.clone()).await;
            assert_eq!(done.expect("the row is inserted").affected_rows, 1);
        }
    }
    // The relationships hold over all four tables, wherever their rows lie.
    let bills = "SELECT username, sum(quantity * price) AS total FROM users JOIN orders ON user_id = users.id \
        JOIN order_items ON order_id = orders.id JOIN products ON product_id = products.id \
        GROUP BY username ORDER BY username";
    let expected = json!([{"username": "ann", "total": 328.0}, {"username": "bob", "total": 19.5}]);
    assert_eq!(stage.sql(DATABASE, bills).await, expected);
}
