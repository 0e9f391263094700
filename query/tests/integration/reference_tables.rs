//! Reference tables: every bucket has all rows, and they answer as one file's table does.

use crate::support::Cluster;
use crate::support::compare::same;
use common::{ErrorCode, Value};
use query::PartitionAccess as _;
use query::schema::declare_tables;
use serde_json::json;

const BUCKETS: usize = 4;

/// A cluster with the reference table `rates` and the ordinary table `sales`.
async fn cluster(buckets: u32) -> Cluster {
    let cluster = Cluster::hashed(buckets, None);
    let tables = json!([
        {"name": "rates", "reference": true, "indexes": ["region"], "columns": [
            {"name": "id", "data_type": "INTEGER", "primary_key": true},
            {"name": "code", "data_type": "TEXT", "nullable": false},
            {"name": "region", "data_type": "TEXT", "default": "nowhere"},
            {"name": "drawn", "data_type": "INTEGER", "default": "(random())"}]},
        {"name": "sales", "columns": [
            {"name": "id", "data_type": "INTEGER", "primary_key": true},
            {"name": "rate", "data_type": "INTEGER"},
            {"name": "amount", "data_type": "REAL"}]}
    ]);
    let change = declare_tables(&cluster.database(), &tables).unwrap();
    cluster.change_schema(change).await.unwrap();
    cluster.ok("CREATE UNIQUE INDEX codes ON rates (code COLLATE NOCASE)").await;
    cluster
}

/// That all buckets have the same rows.
async fn assert_copies_agree(cluster: &Cluster) {
    let statement = common::protocol::Statement {
        sql: "SELECT * FROM rates ORDER BY id".into(),
        params: common::protocol::Params::None,
    };
    let first = cluster.read(0, statement.clone(), 1_000).await.unwrap();
    for bucket in 1..BUCKETS {
        let copy = cluster.read(bucket, statement.clone(), 1_000).await.unwrap();
        assert_eq!(copy.rows, first.rows, "bucket {bucket}");
    }
}

#[tokio::test]
async fn copies_stay_equal_and_answer_as_one_file() {
    let (single, cluster) = (cluster(1).await, cluster(u32::try_from(BUCKETS).unwrap()).await);
    let statements = [
        "INSERT INTO rates (code, region, drawn) VALUES ('a', 'x', 1), ('b', 'y', 2), ('c', NULL, 3)",
        "INSERT INTO rates (code, region, drawn) VALUES ('A', 'x', 1)",
        "INSERT OR IGNORE INTO rates (code, region, drawn) VALUES ('d', 'x', 4), ('B', 'x', 1)",
        "INSERT INTO rates (id, code, drawn) VALUES (40, 'e', 5) RETURNING id, region",
        "INSERT INTO rates (code, drawn) VALUES ('f', 6) RETURNING id",
        "INSERT OR REPLACE INTO rates (id, code, drawn) VALUES (1, 'F', 7)",
        "INSERT INTO rates (code, drawn) VALUES ('e', 8) ON CONFLICT DO UPDATE SET region = excluded.code || region",
        "UPDATE rates SET region = upper(region), drawn = drawn + 1 WHERE code < 'e' RETURNING id, drawn",
        "UPDATE rates SET id = id + 100 WHERE code = 'c'",
        "UPDATE OR FAIL rates SET code = 'x' WHERE id > 3",
        "UPDATE rates SET code = 'd' WHERE code = 'b'",
        "DELETE FROM rates WHERE region = 'X' RETURNING code",
        "INSERT INTO sales SELECT id, id, id * 1.5 FROM rates ORDER BY id",
        "INSERT INTO sales SELECT id + 1000, id, 7 FROM rates ORDER BY id",
        "INSERT INTO rates (id, code, drawn) SELECT id + 5000, 's' || id, 1 FROM sales WHERE amount = 7",
        "DELETE FROM rates WHERE id IN (SELECT id + 5000 FROM sales WHERE rate = 40)",
        "UPDATE rates SET region = (SELECT sum(amount) FROM sales WHERE rate = rates.id)",
    ];
    for sql in statements {
        let (expected, found) = (single.sql(sql).await, cluster.sql(sql).await);
        same(sql, &expected, &found).unwrap_or_else(|difference| panic!("{sql}\n{difference}"));
        assert_copies_agree(&cluster).await;
    }
    for sql in [
        "SELECT * FROM rates ORDER BY id",
        "SELECT count(*), sum(drawn) FROM rates",
        "SELECT r.code, s.amount FROM sales s JOIN rates r ON r.id = s.rate ORDER BY s.id",
        "SELECT r.code, count(s.id) FROM rates r LEFT JOIN sales s ON r.id = s.rate GROUP BY r.code ORDER BY 1",
        "SELECT a.code, b.code FROM rates a JOIN rates b ON a.id < b.id ORDER BY a.id, b.id",
        "SELECT r.code, s.amount FROM sales s LEFT JOIN rates r ON r.id = s.rate WHERE s.id = 40",
    ] {
        assert_eq!(cluster.rows(sql).await, single.rows(sql).await, "{sql}");
    }
}

#[tokio::test]
async fn what_comes_by_chance_is_the_same_in_every_copy() {
    let cluster = cluster(u32::try_from(BUCKETS).unwrap()).await;
    cluster.ok("INSERT INTO rates (code) VALUES ('a'), ('b'), ('c')").await;
    cluster.ok("UPDATE rates SET drawn = random() WHERE code = 'b'").await;
    cluster
        .ok("INSERT INTO rates (code) VALUES ('a') ON CONFLICT (code COLLATE NOCASE) DO UPDATE SET drawn = random()")
        .await;
    cluster.ok("INSERT INTO rates (code) SELECT hex(randomblob(4)) FROM rates").await;
    assert_copies_agree(&cluster).await;
    assert_eq!(cluster.rows("SELECT count(DISTINCT drawn) FROM rates").await, [[Value::from(6)]]);
    assert_eq!(cluster.counts("rates"), [6; BUCKETS]);
}

#[tokio::test]
async fn a_write_that_one_copy_refuses_changes_none() {
    let cluster = cluster(u32::try_from(BUCKETS).unwrap()).await;
    let error = cluster.error("INSERT INTO rates (code) VALUES ('a'), ('A')").await;
    assert_eq!(error.code, ErrorCode::UniqueViolation);
    assert_eq!(cluster.counts("rates"), [0; BUCKETS]);
}

#[tokio::test]
async fn a_read_asks_one_bucket_and_one_that_the_statement_reads_anyway() {
    let cluster = cluster(u32::try_from(BUCKETS).unwrap()).await;
    for sql in [
        "SELECT count(*) FROM rates",
        "SELECT a.code FROM rates a, rates b",
        "SELECT r.code, s.amount FROM sales s LEFT JOIN rates r ON r.id = s.rate WHERE s.id = 40",
        "SELECT amount FROM sales WHERE id = 7 AND rate IN (SELECT id FROM rates)",
    ] {
        let plan = cluster.plan(sql);
        assert!(plan.len() == 1 && plan[0].starts_with("SINGLE"), "{sql}: {plan:#?}");
    }
    let plan = cluster.plan("SELECT r.code, s.amount FROM sales s JOIN rates r ON r.code = s.amount");
    let of_rates = plan.iter().find(|line| line.contains("\"rates\"")).unwrap();
    assert!(of_rates.contains("(pruned 3)"), "{plan:#?}");
}

#[tokio::test]
async fn a_reference_table_has_no_partition_key() {
    let cluster = Cluster::hashed(2, None);
    let tables = json!([{"name": "t", "reference": true, "partition_key": "a",
        "columns": [{"name": "a", "data_type": "INT"}]}]);
    assert_eq!(declare_tables(&cluster.database(), &tables).unwrap_err().code, ErrorCode::BadRequest);
}
