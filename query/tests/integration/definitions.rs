//! Schema changes by text and by declaration, import and export.

use crate::support::Cluster;
use common::{ErrorCode, Value};
use futures_util::StreamExt as _;
use query::access::PartitionAccess as _;
use query::schema::declare_tables;
use serde_json::json;

#[tokio::test]
async fn tables_change_by_text() {
    let cluster = Cluster::hashed(3, Some("region"));
    cluster.ok("CREATE TABLE sales (id INTEGER PRIMARY KEY, region TEXT, n INT)").await;
    cluster.ok("CREATE TABLE IF NOT EXISTS sales (x)").await;
    let spec = cluster.database().schema.table("Sales").unwrap().clone();
    assert_eq!(spec.partition_key, ["region"]);
    assert_eq!(spec.global_indexes[0].columns, ["id"]);
    for region in ["north", "south", "east", "west"] {
        cluster.ok(&format!("INSERT INTO sales (region, n) VALUES ('{region}', 1), ('{region}', 2)")).await;
    }
    assert_eq!(
        cluster.error("INSERT INTO sales VALUES (3, 'west', 0)").await.message,
        "UNIQUE constraint failed: sales.id"
    );
    assert!(cluster.plan("SELECT * FROM sales WHERE region = 'north'")[0].starts_with("SINGLE"));
    cluster.ok("ALTER TABLE sales RENAME COLUMN region TO area").await;
    cluster.ok("ALTER TABLE sales ADD COLUMN note TEXT DEFAULT 'none'").await;
    cluster.ok("ALTER TABLE sales RENAME TO deals").await;
    assert!(cluster.plan("SELECT * FROM deals WHERE area = 'north'")[0].starts_with("SINGLE"));
    assert_eq!(
        cluster.rows("SELECT count(*), min(note) FROM deals").await,
        [[8.into(), Value::from("none")]]
    );
    assert_eq!(
        cluster.error("INSERT INTO deals (id, area) VALUES (3, 'x')").await.message,
        "UNIQUE constraint failed: deals.id"
    );
    cluster.ok("CREATE VIEW big AS SELECT area, sum(n) AS total FROM deals GROUP BY area").await;
    assert_eq!(cluster.rows("SELECT total FROM big WHERE area = 'east'").await, [[Value::from(3)]]);
    assert_eq!(cluster.error("ALTER TABLE deals DROP COLUMN area").await.code, ErrorCode::SqlError);
    cluster.ok("DROP VIEW big").await;
    cluster.ok("DROP TABLE deals").await;
    cluster.ok("DROP TABLE IF EXISTS deals").await;
    assert!(cluster.database().schema.tables.is_empty());
    cluster.ok("CREATE TABLE deals (area TEXT, u UNIQUE)").await;
}

#[tokio::test]
async fn a_unique_index_without_the_key_keeps_values_apart() {
    let cluster = Cluster::hashed(3, None);
    cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b)").await;
    cluster.ok("CREATE UNIQUE INDEX ta ON t (a)").await;
    cluster.ok("INSERT INTO t VALUES (1, 'x', 1), (2, NULL, 1), (3, NULL, 1)").await;
    assert_eq!(
        cluster.error("INSERT INTO t VALUES (4, 'X', 1)").await.message,
        "UNIQUE constraint failed: t.a"
    );
    assert_eq!(cluster.error("CREATE UNIQUE INDEX tb ON t (b)").await.code, ErrorCode::UniqueViolation);
    assert_eq!(
        cluster.error("CREATE UNIQUE INDEX te ON t (lower(b))").await.message,
        "UNIQUE constraint failed: index 'te'"
    );
    cluster.ok("DROP INDEX ta").await;
    cluster.ok("INSERT INTO t VALUES (4, 'X', 1)").await;
    cluster.ok("CREATE UNIQUE INDEX tk ON t (id, b)").await;
    cluster.ok("CREATE INDEX plain ON t (b)").await;
    assert_eq!(cluster.rows("SELECT count(*) FROM t INDEXED BY plain WHERE b = 1").await, [[Value::from(4)]]);
}

#[tokio::test]
async fn tables_are_declared_by_fields() {
    let cluster = Cluster::hashed(3, Some("region"));
    let tables = json!([
        {"name": "users", "columns": [
            {"name": "id", "data_type": "INTEGER", "primary_key": true, "nullable": false},
            {"name": "full name", "data_type": "VARCHAR(20)", "default": "no one"},
            {"name": "at", "data_type": "TIMESTAMP", "default": "CURRENT_TIMESTAMP"}],
         "indexes": ["full name"]},
        {"name": "parts", "columns": [
            {"name": "a", "data_type": "TEXT", "primary_key": true},
            {"name": "b", "data_type": "INTEGER", "primary_key": true},
            {"name": "region", "data_type": "TEXT"}], "partition_key": ["a"]}]);
    let change = declare_tables(&cluster.database(), &tables).unwrap();
    cluster.change_schema(change).await.unwrap();
    let schema = cluster.database().schema.clone();
    assert_eq!(schema.version, 1);
    assert_eq!(schema.table("users").unwrap().partition_key, ["id"]);
    assert_eq!(schema.table("parts").unwrap().partition_key, ["a"]);
    assert_eq!(schema.table("users").unwrap().declared.as_ref().unwrap().columns[1].default, json!("no one"));
    cluster.ok("INSERT INTO users (id) VALUES (5)").await;
    assert_eq!(
        cluster.rows("SELECT \"full name\", length(at) FROM users").await,
        [[Value::from("no one"), 19.into()]]
    );
    cluster.ok("INSERT INTO parts VALUES ('x', 1, 'r'), ('x', 2, 'r'), ('y', 1, NULL)").await;
    assert_eq!(
        cluster.error("INSERT INTO parts VALUES ('y', 1, 'z')").await.code,
        ErrorCode::UniqueViolation
    );
    for (tables, code) in [
        (json!([{"name": "t"}]), ErrorCode::BadRequest),
        (json!([{"name": "t", "columns": [{"name": "a"}]}]), ErrorCode::BadRequest),
        (
            json!([{"name": "t", "columns": [{"name": "a", "data_type": "INT); DROP TABLE users; --"}]}]),
            ErrorCode::BadRequest,
        ),
        (json!([{"name": "_t", "columns": [{"name": "a", "data_type": "INT"}]}]), ErrorCode::BadName),
        (
            json!([{"name": "t", "columns": [{"name": "a", "data_type": "INT"}], "reference": "yes"}]),
            ErrorCode::BadRequest,
        ),
        (
            json!([{"name": "t", "columns": [{"name": "a", "data_type": "INT"}], "partition_key": "b"}]),
            ErrorCode::BadRequest,
        ),
    ] {
        assert_eq!(declare_tables(&cluster.database(), &tables).unwrap_err().code, code, "{tables}");
    }
}

#[tokio::test]
async fn rows_go_in_and_out_in_bulk() {
    for buckets in [1, 4] {
        let cluster = Cluster::hashed(buckets, None);
        cluster.ok("CREATE TABLE t (a INT, b TEXT DEFAULT 'x', c REAL UNIQUE)").await;
        let rows =
            (0..3_000).map(|n| vec![Value::Text(n.to_string()), Value::Text(format!("{n}.5"))]).collect();
        let columns = ["a".to_owned(), "c".to_owned()];
        let count = query::rows::insert(&cluster.planner(), &cluster, "t", &columns, rows).await.unwrap();
        assert_eq!(count, 3_000);
        assert_eq!(
            cluster.rows("SELECT count(*), sum(a), sum(c), min(b), typeof(a) FROM t").await,
            [[3_000.into(), 4_498_500.into(), Value::Real(4_500_000.0), "x".into(), "integer".into()]]
        );
        let again = vec![vec![Value::from("1"), Value::from("7.5")]];
        let error =
            query::rows::insert(&cluster.planner(), &cluster, "t", &columns, again).await.unwrap_err();
        assert_eq!(error.message, "UNIQUE constraint failed: t.c");
        let mut stream = query::rows::export(&cluster.planner(), &cluster, "t").await.unwrap();
        assert_eq!(stream.header.columns, ["a", "b", "c"]);
        let mut next = 0;
        while let Some(block) = stream.blocks.next().await {
            for row in block.unwrap().to_values().unwrap() {
                assert_eq!(row[0], Value::Integer(next));
                next += 1;
            }
        }
        assert_eq!(next, 3_000);
    }
}

#[tokio::test]
async fn views_that_would_grow_without_bound_are_refused() {
    let cluster = Cluster::hashed(2, None);
    cluster.ok("CREATE TABLE t (a)").await;
    cluster.ok("CREATE VIEW v0 AS SELECT a FROM t").await;
    let mut refused = None;
    for level in 1..30 {
        let sql = format!("CREATE VIEW v{level} AS SELECT x.a FROM v{0} x JOIN v{0} y", level - 1);
        if let Err(error) = cluster.sql(&sql).await {
            refused = Some((level, error.code));
            break;
        }
    }
    assert_eq!(refused, Some((10, ErrorCode::SqlError)));
    assert_eq!(cluster.error("SELECT count(*) FROM v9, v9, v9, v9").await.code, ErrorCode::SqlError);
}

#[tokio::test]
async fn rows_that_are_imported_fire_triggers_and_need_their_parents() {
    for cluster in [Cluster::hashed(1, None), Cluster::hashed(3, None)] {
        for sql in [
            "CREATE TABLE p (id INTEGER PRIMARY KEY)",
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b REFERENCES p)",
            "CREATE TABLE log (a)",
            "CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO log VALUES (NEW.a); END",
            "INSERT INTO p VALUES (1)",
        ] {
            cluster.ok(sql).await;
        }
        let (planner, columns) = (cluster.planner(), ["a".to_owned(), "b".to_owned()]);
        let rows = |parent: i64| (0..300).map(|a| vec![Value::from(a), Value::from(parent)]).collect();
        let orphans = query::rows::insert(&planner, &cluster, "t", &columns, rows(2)).await.unwrap_err();
        assert_eq!(orphans.code, ErrorCode::ForeignKeyViolation);
        assert_eq!(query::rows::insert(&planner, &cluster, "t", &columns, rows(1)).await.unwrap(), 300);
        let counted = cluster.rows("SELECT (SELECT count(*) FROM t), (SELECT sum(a) FROM log)").await;
        assert_eq!(counted, [[Value::from(300), Value::from(44_850)]]);
    }
}
