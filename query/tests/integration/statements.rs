//! Statements over partitions: what they answer, where they go, and what they refuse.

use crate::support::Cluster;
use common::protocol::{Params, Statement};
use common::{ErrorCode, Value};
use futures_util::StreamExt as _;
use query::sql::SqlRequest;

async fn people() -> Cluster {
    let cluster = Cluster::hashed(4, Some("id"));
    cluster
        .ok("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INT, email TEXT UNIQUE)")
        .await;
    for id in 1..=20 {
        cluster.ok(&format!("INSERT INTO people VALUES ({id}, 'n{id}', {}, 'e{id}@x')", 20 + id % 5)).await;
    }
    cluster
}

#[tokio::test]
async fn rows_are_spread_and_read_back_as_one_table() {
    let cluster = people().await;
    assert!(cluster.counts("people").iter().all(|&count| count > 0));
    assert_eq!(cluster.rows("SELECT count(*), sum(age) FROM people").await, [[20.into(), 440.into()]]);
    assert_eq!(cluster.rows("SELECT name FROM people WHERE id = 7").await, [[Value::from("n7")]]);
    assert_eq!(
        cluster.rows("SELECT id FROM people WHERE age > 22 ORDER BY id DESC LIMIT 2").await,
        [[Value::from(19)], [18.into()]]
    );
    assert_eq!(cluster.rows("SELECT 1 + 1").await, [[Value::from(2)]]);
}

#[tokio::test]
async fn a_key_leads_to_one_partition_and_filters_are_pushed() {
    let mut cluster = people().await;
    cluster.set_rules(query::Rules::default());
    assert!(cluster.plan("SELECT * FROM people WHERE id = 7")[0].starts_with("SINGLE"));
    let plan = cluster.plan("SELECT name FROM people p WHERE p.age > 22 AND random() > 0");
    assert!(
        plan[1].contains("SELECT rowid, \"name\", \"age\" FROM \"people\" WHERE (\"age\" > 22)"),
        "{plan:?}"
    );
    *cluster.rows_streamed.lock().unwrap() = 0;
    cluster.rows("SELECT name FROM people WHERE age = 21").await;
    assert_eq!(*cluster.rows_streamed.lock().unwrap(), 4);
}

#[tokio::test]
async fn generated_rowids_follow_each_other() {
    let cluster = people().await;
    let result = cluster.ok("INSERT INTO people (name) VALUES ('a'), ('b') RETURNING id, upper(name)").await;
    assert_eq!(result.last_insert_rowid, Some(22));
    assert_eq!(result.affected_rows, 2);
    assert_eq!(result.columns, ["id", "upper(name)"]);
    let result = cluster.ok("INSERT INTO people VALUES (100, 'c', 1, NULL), (NULL, 'd', 1, NULL)").await;
    assert_eq!(result.last_insert_rowid, Some(101));
    assert_eq!(cluster.ok("INSERT INTO people (name) VALUES ('e')").await.last_insert_rowid, Some(102));
}

#[tokio::test]
async fn unused_rowids_go_back() {
    let cluster = people().await;
    let error = cluster.error("INSERT INTO people (name) VALUES (NULL)").await;
    assert_eq!(error.message, "NOT NULL constraint failed: people.name");
    assert_eq!(cluster.ok("INSERT INTO people (name) VALUES ('a')").await.last_insert_rowid, Some(21));
}

#[tokio::test]
async fn uniqueness_holds_over_partitions() {
    let cluster = people().await;
    let error = cluster.error("INSERT INTO people VALUES (50, 'x', 1, 'e7@x')").await;
    assert_eq!(error.code, ErrorCode::UniqueViolation);
    assert_eq!(error.message, "UNIQUE constraint failed: people.email");
    let error = cluster.error("UPDATE people SET email = 'e1@x' WHERE id = 2").await;
    assert_eq!(error.message, "UNIQUE constraint failed: people.email");
    // A value that was given up can be taken, also in the same statement's place.
    assert_eq!(cluster.ok("DELETE FROM people WHERE id = 7").await.affected_rows, 1);
    cluster.ok("INSERT INTO people VALUES (50, 'x', 1, 'e7@x')").await;
    cluster.ok("UPDATE people SET email = 'new' WHERE id = 50").await;
    cluster.ok("INSERT INTO people VALUES (51, 'x', 1, 'e7@x')").await;
    let error = cluster.error("INSERT INTO people VALUES (51, 'x', 1, NULL)").await;
    assert_eq!(error.message, "UNIQUE constraint failed: people.id");
}

#[tokio::test]
async fn replace_and_upsert_meet_rows_of_other_partitions() {
    let cluster = people().await;
    cluster.ok("INSERT OR REPLACE INTO people VALUES (60, 'r', 1, 'e3@x')").await;
    assert_eq!(cluster.rows("SELECT id FROM people WHERE email = 'e3@x'").await, [[Value::from(60)]]);
    assert_eq!(cluster.rows("SELECT count(*) FROM people").await, [[Value::from(20)]]);
    let result = cluster
        .ok("INSERT INTO people VALUES (61, 'u', 1, 'e4@x') ON CONFLICT (email) DO UPDATE SET age = 99 RETURNING id, age")
        .await;
    assert_eq!(result.rows.to_values().unwrap(), [[Value::from(4), 99.into()]]);
    assert_eq!(cluster.ok("INSERT OR IGNORE INTO people VALUES (62, 'i', 1, 'e5@x')").await.affected_rows, 0);
    cluster.ok("INSERT INTO people VALUES (1, 'one', 5, NULL) ON CONFLICT (id) DO UPDATE SET name = excluded.name").await;
    assert_eq!(
        cluster.rows("SELECT name, age FROM people WHERE id = 1").await,
        [[Value::from("one"), 21.into()]]
    );
}

#[tokio::test]
async fn updates_and_deletes_reach_every_partition() {
    let cluster = people().await;
    assert_eq!(cluster.ok("UPDATE people SET age = age + 1").await.affected_rows, 20);
    assert_eq!(cluster.plan("UPDATE people SET age = 1")[0], "SCATTER p0,p1,p2,p3");
    assert!(cluster.plan("UPDATE people SET id = 1")[0].starts_with("COMPUTE"));
    assert_eq!(cluster.ok("UPDATE people SET id = id + 1000 WHERE id <= 10").await.affected_rows, 10);
    assert_eq!(cluster.rows("SELECT count(*), max(id) FROM people").await, [[20.into(), 1010.into()]]);
    assert_eq!(cluster.rows("SELECT name FROM people WHERE id = 1003").await, [[Value::from("n3")]]);
    let result = cluster
        .ok("DELETE FROM people WHERE id IN (SELECT id FROM people WHERE age = 22) RETURNING id")
        .await;
    assert_eq!(result.affected_rows, u64::from(result.rows.rows));
    assert_eq!(cluster.ok("DELETE FROM people").await.affected_rows, 20 - result.affected_rows);
    // Their rows in the index of e-mail addresses are gone too.
    assert_eq!(
        cluster.ok("INSERT INTO people VALUES (1, 'a', 1, 'e1@x'), (2, 'b', 1, 'e9@x')").await.affected_rows,
        2
    );
}

#[tokio::test]
async fn queries_feed_inserts_and_tables() {
    let cluster = people().await;
    let made = cluster.ok("CREATE TABLE ages AS SELECT age, count(*) AS n FROM people GROUP BY age").await;
    assert_eq!(made.affected_rows, 0, "as one file counts");
    assert_eq!(cluster.rows("SELECT sum(n) FROM ages").await, [[Value::from(20)]]);
    cluster.ok("INSERT INTO ages SELECT age + 100, n FROM ages WHERE n > 0").await;
    assert_eq!(cluster.rows("SELECT count(*) FROM ages").await, [[Value::from(10)]]);
    cluster.ok("WITH w AS (SELECT 1 AS a) INSERT INTO ages SELECT a, 0 FROM w").await;
    assert_eq!(cluster.rows("SELECT n FROM ages WHERE age = 1").await, [[Value::from(0)]]);
}

#[tokio::test]
async fn parameters_are_bound_by_position_and_by_name() {
    let cluster = people().await;
    let by = |values: Vec<Value>| Params::Positional(values);
    let result = cluster.with("SELECT name FROM people WHERE id = ?", by(vec!["3".into()])).await.unwrap();
    assert_eq!(result.rows.to_values().unwrap(), [[Value::from("n3")]]);
    let named = Params::Named(vec![("a".into(), 22.into()), ("b".into(), 5.into())]);
    let result = cluster
        .with("SELECT count(*) FROM people WHERE age = :a AND id > :b AND age < :a + 1", named)
        .await
        .unwrap();
    assert_eq!(result.rows.to_values().unwrap(), [[Value::from(3)]]);
    let error = cluster.with("SELECT ?", Params::None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BadRequest);
    let insert = "INSERT INTO people (name, age) VALUES (:n, :a + 1) RETURNING age";
    let named = Params::Named(vec![("a".into(), 22.into()), ("n".into(), "x".into())]);
    let result = cluster.with(insert, named).await.unwrap();
    assert_eq!(result.rows.to_values().unwrap(), [[Value::from(23)]]);
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let cluster = people().await;
    let error = cluster
        .batch(&[
            "INSERT INTO people VALUES (70, 'a', 1, NULL)",
            "UPDATE people SET age = 0 WHERE id = 70",
            "INSERT INTO people VALUES (3, 'dup', 1, NULL)",
        ])
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::UniqueViolation);
    assert_eq!(cluster.rows("SELECT count(*) FROM people").await, [[Value::from(20)]]);
    let results = cluster
        .batch(&[
            "INSERT INTO people VALUES (70, 'a', 1, NULL)",
            "UPDATE people SET age = 0",
            "SELECT age FROM people WHERE id = 70",
        ])
        .await
        .unwrap();
    assert_eq!(results[1].affected_rows, 21);
    assert_eq!(results[2].rows.to_values().unwrap(), [[Value::from(0)]]);
    let results = cluster.batch(&["UPDATE people SET age = 1", "SELECT sum(age) FROM people"]).await.unwrap();
    assert_eq!(results[1].rows.to_values().unwrap(), [[Value::from(21)]]);
}

#[tokio::test]
async fn without_atomicity_the_rest_runs_on() {
    let cluster = people().await;
    let statements = ["CREATE TABLE x (a)", "INSERT INTO nowhere VALUES (1)", "INSERT INTO x VALUES (1)"]
        .map(|sql| Statement { sql: sql.to_owned(), params: Params::None })
        .to_vec();
    let request = SqlRequest { statements, atomic: false, max_rows: 10, read_only: false };
    let results = cluster.run(request).await.unwrap();
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().message, "no such table: nowhere");
    assert_eq!(results[2].as_ref().unwrap().affected_rows, 1);
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_at_once() {
    let cluster = people().await;
    for (sql, code) in [
        ("BEGIN", ErrorCode::SqlForbidden),
        ("ROLLBACK", ErrorCode::SqlForbidden),
        ("ATTACH 'x' AS y", ErrorCode::SqlForbidden),
        ("VACUUM", ErrorCode::SqlForbidden),
        ("PRAGMA user_version = 3", ErrorCode::SqlForbidden),
        ("SELECT * FROM _sys", ErrorCode::SqlError),
        ("DELETE FROM sqlite_schema", ErrorCode::SqlForbidden),
        ("CREATE TABLE _x (a)", ErrorCode::BadName),
        ("CREATE TEMP TABLE x (a)", ErrorCode::SqlForbidden),
        ("CREATE VIRTUAL TABLE v USING fts5(a)", ErrorCode::NotSupported),
        ("CREATE TEMP TRIGGER x AFTER INSERT ON people BEGIN SELECT 1; END", ErrorCode::SqlForbidden),
        ("SELECT * FROM nowhere", ErrorCode::SqlError),
        ("SELEC 1", ErrorCode::SqlError),
        ("SELECT 1; SELECT 2", ErrorCode::SqlError),
        ("SELECT load_extension('x')", ErrorCode::SqlForbidden),
        ("INSERT INTO people (name) VALUES (1, 2)", ErrorCode::SqlError),
    ] {
        let error = cluster.error(sql).await;
        assert_eq!(error.code, code, "{sql}: {error:?}");
    }
    assert_eq!(cluster.error("SELECT * FROM nowhere").await.message, "no such table: nowhere");
}

#[tokio::test]
async fn the_schema_is_the_clients_alone() {
    let cluster = people().await;
    assert_eq!(
        cluster.rows("SELECT name FROM sqlite_schema WHERE type = 'table'").await,
        [[Value::from("people")]]
    );
    let columns = cluster.rows("PRAGMA table_info(people)").await;
    assert_eq!(columns.len(), 4);
    assert_eq!(cluster.rows("EXPLAIN QUERY PLAN SELECT * FROM people WHERE id = 1").await.len(), 1);
}

#[tokio::test]
async fn rowids_of_rows_that_were_left_out_go_back() {
    let cluster = Cluster::hashed(4, None);
    cluster.ok("CREATE TABLE t (k TEXT PRIMARY KEY, n INT)").await;
    let upsert = "INSERT INTO t VALUES (?, 1) ON CONFLICT (k) DO UPDATE SET n = n + 1";
    for key in ["a", "a", "b", "a", "b", "c"] {
        cluster.with(upsert, Params::Positional(vec![key.into()])).await.unwrap();
    }
    assert_eq!(
        cluster.rows("SELECT rowid, k, n FROM t ORDER BY rowid").await,
        [
            [1.into(), Value::from("a"), 3.into()],
            [2.into(), Value::from("b"), 2.into()],
            [3.into(), Value::from("c"), 1.into()]
        ]
    );
}

#[tokio::test]
async fn the_last_rowid_is_that_of_the_last_row() {
    let cluster = Cluster::hashed(4, None);
    cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, n INT)").await;
    let result = cluster.ok("INSERT OR REPLACE INTO t VALUES (7, 1), (100, 1), (-3, 1)").await;
    assert_eq!(result.last_insert_rowid, Some(-3));
    let result = cluster.ok("INSERT OR IGNORE INTO t VALUES (50, 1), (8, 1), (7, 2)").await;
    assert_eq!(result.last_insert_rowid, Some(8));
}

#[tokio::test]
async fn constraints_that_resolve_conflicts_do_so_over_partitions() {
    let cluster = Cluster::hashed(4, None);
    cluster.ok("CREATE TABLE t (a PRIMARY KEY ON CONFLICT REPLACE, b UNIQUE ON CONFLICT IGNORE, c)").await;
    cluster.ok("INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 3, 'z')").await;
    assert_eq!(cluster.ok("INSERT INTO t VALUES (4, 2, 'ignored')").await.affected_rows, 0);
    cluster.ok("INSERT INTO t VALUES (1, 9, 'replaces')").await;
    cluster.ok("INSERT INTO t VALUES (5, 1, 'is free again')").await;
    assert_eq!(
        cluster.rows("SELECT a, b FROM t ORDER BY a").await,
        [[1.into(), Value::from(9)], [2.into(), 2.into()], [3.into(), 3.into()], [5.into(), 1.into()]]
    );
}

/// All rows that a stream gives.
async fn streamed(cluster: &Cluster, sql: &str) -> common::Result<Vec<Vec<Value>>> {
    let statement = Statement { sql: sql.to_owned(), params: Params::None };
    let mut rows = query::sql::stream(&cluster.planner(), cluster, statement).await?;
    let mut all = Vec::new();
    while let Some(block) = rows.blocks.next().await {
        all.extend(block?.to_values().unwrap());
    }
    Ok(all)
}

#[tokio::test]
async fn an_answer_that_is_merged_can_be_streamed() {
    let cluster = people().await;
    let ages =
        streamed(&cluster, "SELECT age, count(*) FROM people GROUP BY age ORDER BY age").await.unwrap();
    let expected: Vec<Vec<Value>> = (20..25).map(|age| vec![age.into(), 4.into()]).collect();
    assert_eq!(ages, expected);
    // As many blocks as do not fit in what waits for the client.
    let large =
        "SELECT a.id, printf('%.*c', 100000, 'x') FROM people a JOIN people b ON b.age > 0 ORDER BY 1";
    assert_eq!(streamed(&cluster, large).await.unwrap().len(), 400);
    let none = streamed(&cluster, "SELECT name FROM people WHERE age > 100 ORDER BY name").await.unwrap();
    assert!(none.is_empty());
    let overflow = "SELECT sum(9223372036854775807) FROM people";
    assert_eq!(streamed(&cluster, overflow).await.unwrap_err().message, "integer overflow");
    // Whoever leaves stops the computation, which holds on to nothing afterwards.
    let statement = Statement { sql: large.to_owned(), params: Params::None };
    let mut rows = query::sql::stream(&cluster.planner(), &cluster, statement).await.unwrap();
    assert!(rows.blocks.next().await.unwrap().is_ok());
    drop(rows);
}

#[tokio::test]
async fn statistics_are_gathered_by_every_partition() {
    let cluster = people().await;
    cluster.ok("CREATE INDEX by_age ON people (age)").await;
    cluster.ok("ANALYZE").await;
    cluster.ok("ANALYZE people").await;
    assert_eq!(cluster.error("ANALYZE nowhere").await.message, "no such table: nowhere");
    cluster.ok("REINDEX").await;
    cluster.ok("REINDEX people").await;
    let nothing = cluster.error("REINDEX nowhere").await.message;
    assert_eq!(nothing, "unable to identify the object to be reindexed");
    for bucket in 0..4 {
        let sql = "SELECT stat FROM sqlite_stat1 WHERE idx = 'by_age'".to_owned();
        let statement = Statement { sql, params: Params::None };
        let found = query::PartitionAccess::read(&cluster, bucket, statement, 10).await.unwrap();
        let rows = cluster.counts("people")[bucket];
        let Value::Text(stat) = &found.rows.to_values().unwrap()[0][0] else { panic!("{found:?}") };
        assert!(stat.starts_with(&format!("{rows} ")), "{stat} for {rows} rows");
    }
    assert_eq!(cluster.rows("SELECT count(*) FROM people WHERE age = 21").await, [[Value::from(4)]]);
}

/// It was stored with replacement characters where the rows of an INSERT were placed one by one.
#[tokio::test]
async fn a_text_that_is_not_utf_8_is_not_stored_as_another_one() {
    for buckets in [1, 4] {
        let cluster = Cluster::hashed(buckets, None);
        cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a)").await;
        for sql in [
            "INSERT INTO t VALUES (1, 'x' || x'ff')",
            "INSERT INTO t (a) VALUES ('fine'), (CAST(x'ff' AS TEXT))",
            "INSERT INTO t (a) SELECT CAST(x'ff' AS TEXT)",
        ] {
            let error = cluster.error(sql).await;
            assert_eq!(error.code, ErrorCode::NotSupported, "{buckets}: {sql}: {error:?}");
        }
        assert!(cluster.rows("SELECT * FROM t").await.is_empty());
        cluster.ok("INSERT INTO t VALUES (1, CAST('x' || x'ff' AS BLOB))").await;
        assert_eq!(cluster.rows("SELECT hex(a) FROM t").await, [["78FF".into()]]);
    }
}
