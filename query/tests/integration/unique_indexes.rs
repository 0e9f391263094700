//! UNIQUE indexes without the partition key, made over rows that are there already.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Cluster, MIXED};
use common::{ErrorCode, Value};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::RwLock;

/// The hidden tables of `t`'s global indexes, with whether they are under construction.
fn hidden(cluster: &Cluster) -> Vec<(String, bool)> {
    let database = cluster.database();
    let indexes = &database.schema.table("t").unwrap().global_indexes;
    indexes.iter().map(|index| (index.table.clone(), index.building)).collect()
}

fn entries(cluster: &Cluster) -> i64 {
    let tables = hidden(cluster);
    let [(table, false)] = tables.as_slice() else { panic!("{tables:?}") };
    cluster.hidden_rows(table)
}

/// 700 rows: more than two pages on each of two buckets; some are NULL.
async fn filled(cluster: &Cluster) {
    cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b INT)").await;
    cluster
        .ok("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 700) \
             INSERT INTO t SELECT i, CASE WHEN i % 10 THEN 'n' || i END, i FROM c")
        .await;
}

#[tokio::test]
async fn rows_that_are_there_are_entered() {
    for cluster in [Cluster::hashed(2, None), Cluster::ranged(&[300.into()], "id")] {
        filled(&cluster).await;
        cluster.ok("CREATE UNIQUE INDEX ta ON t (a, b)").await;
        assert_eq!(entries(&cluster), 630);
        cluster.ok("DROP INDEX ta").await;
        assert_eq!(hidden(&cluster), []);
        cluster.ok("CREATE UNIQUE INDEX ta ON t (a)").await;
        assert_eq!(entries(&cluster), 630);
        for sql in ["INSERT INTO t VALUES (701, 'N699', 1)", "UPDATE t SET a = 'n1' WHERE id = 2"] {
            let error = cluster.error(sql).await;
            assert_eq!(
                (error.code, error.message.as_str()),
                (ErrorCode::UniqueViolation, "UNIQUE constraint failed: t.a")
            );
        }
        cluster.ok("DELETE FROM t WHERE id <= 500").await;
        cluster.ok("INSERT INTO t VALUES (1000, 'N1', 1)").await;
        assert_eq!(entries(&cluster), 181);
    }
}

#[tokio::test]
async fn equal_values_are_told_and_nothing_is_left() {
    let cluster = Cluster::hashed(3, None);
    filled(&cluster).await;
    cluster.ok("INSERT INTO t VALUES (701, 'N699', 1)").await;
    let error = cluster.error("CREATE UNIQUE INDEX ta ON t (a)").await;
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::UniqueViolation, "UNIQUE constraint failed: t.a")
    );
    assert_eq!(hidden(&cluster), []);
    assert_eq!(cluster.rows("SELECT name FROM sqlite_schema WHERE type = 'index'").await.len(), 0);
    cluster.ok("INSERT INTO t VALUES (702, 'n1', 1)").await;
    cluster.ok("DELETE FROM t WHERE id > 700").await;
    cluster.ok("CREATE UNIQUE INDEX ta ON t (a)").await;
    assert_eq!(entries(&cluster), 630);
}

#[tokio::test]
async fn an_interrupted_build_promises_nothing_and_is_made_anew() {
    let cluster = Cluster::hashed(2, None);
    filled(&cluster).await;
    cluster.writes_left.store(2, Ordering::SeqCst);
    assert_eq!(cluster.error("CREATE UNIQUE INDEX ta ON t (a)").await.code, ErrorCode::Unavailable);
    cluster.writes_left.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(hidden(&cluster), [("_unique_1".to_owned(), true)]);
    assert!(cluster.rows("SELECT name FROM sqlite_schema WHERE type = 'index'").await.is_empty());
    // Rows change whether they were entered or not.
    cluster.ok("UPDATE t SET a = 'm' || id WHERE id % 7 = 1").await;
    cluster.ok("DELETE FROM t WHERE id % 7 = 2").await;
    assert_eq!(cluster.rows("SELECT count(*) FROM t WHERE a LIKE 'm%'").await, [[Value::from(100)]]);
    cluster.ok("CREATE UNIQUE INDEX ta ON t (a)").await;
    assert_eq!(hidden(&cluster), [("_unique_2".to_owned(), false)]);
    assert_eq!(cluster.rows("SELECT count(a) FROM t").await, [[Value::Integer(entries(&cluster))]]);
}

#[tokio::test]
async fn one_request_makes_tables_and_their_indexes() {
    let cluster = Cluster::hashed(3, None);
    cluster.batch(&["CREATE TABLE t (a, b)", "CREATE UNIQUE INDEX ta ON t (a)"]).await.unwrap();
    cluster.ok("INSERT INTO t VALUES (1, 2), (2, 2)").await;
    assert_eq!(entries(&cluster), 2);
    let refused = cluster.batch(&["ALTER TABLE t RENAME TO u", "CREATE UNIQUE INDEX ub ON u (b)"]).await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.message.as_str(), refused.statement), ("UNIQUE constraint failed: u.b", Some(1)));
    let refused = cluster.batch(&["CREATE TABLE v (c)", "CREATE UNIQUE INDEX tb ON t (b)"]).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::UniqueViolation);
    cluster.batch(&["CREATE UNIQUE INDEX tb ON t (b)", "DROP INDEX tb"]).await.unwrap();
    cluster.ok("UPDATE t SET b = a").await;
    cluster.batch(&["CREATE TABLE v (c)", "CREATE UNIQUE INDEX tb ON t (b)"]).await.unwrap();
    assert_eq!(cluster.error("INSERT INTO t VALUES (3, 1)").await.message, "UNIQUE constraint failed: t.b");
}

/// Inserts, changes and deletes rows until it is told to stop; sometimes a value that is there.
/// Whoever holds the write half of `writing` has the table for itself.
async fn disturb(cluster: Arc<Cluster>, stop: Arc<AtomicBool>, writing: Arc<RwLock<()>>, writer: i64) {
    let mut random = SmallRng::seed_from_u64(writer.unsigned_abs());
    let mut fresh = writer * 1_000_000;
    while !stop.load(Ordering::SeqCst) {
        let _writing = writing.read().await;
        fresh += 1;
        let some = random.random_range(0..400);
        let sql = match random.random_range(0..12) {
            0 => format!("INSERT INTO t (a) VALUES ({some})"),
            1..=3 => format!("DELETE FROM t WHERE a = {some}"),
            4..=6 => format!("UPDATE t SET a = {fresh} WHERE a = {some}"),
            _ => format!("INSERT INTO t (a) VALUES ({fresh}), (NULL)"),
        };
        if let Err(error) = cluster.sql(&sql).await {
            let expected = matches!(error.code, ErrorCode::UniqueViolation | ErrorCode::SerializationFailure);
            assert!(expected, "{sql}: {error:?}");
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_duplicate_slips_in_while_an_index_is_built() {
    build_beside_writers("CREATE UNIQUE INDEX ta ON t (a)", "t.a", 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_duplicate_slips_in_while_an_index_over_an_expression_is_built() {
    build_beside_writers("CREATE UNIQUE INDEX ta ON t (a || 'x') WHERE a IS NOT NULL", "index 'ta'", 3).await;
}

/// Makes and drops an index of `t`, over and over, while others write; it may only be refused for equal values.
async fn build_beside_writers(index: &str, violated: &str, rounds: usize) {
    let cluster = Arc::new(Cluster::hashed(3, None));
    cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT)").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = Arc::new(RwLock::new(()));
    let duplicates = "SELECT a FROM t WHERE a IS NOT NULL GROUP BY a HAVING count(*) > 1";
    let (mut made, mut refused) = (0, 0);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 1..=2 {
        writers.spawn(disturb(Arc::clone(&cluster), Arc::clone(&stop), Arc::clone(&writing), writer));
    }
    for round in 0..rounds {
        let refill = format!(
            "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 399) \
             INSERT INTO t (a) SELECT i FROM c WHERE i % 6 = {round} AND i NOT IN (SELECT a FROM t WHERE a IS NOT NULL)"
        );
        // A statement that reads the whole table could be refused time and again beside writers that never rest.
        let at_rest = writing.write().await;
        cluster.ok(&refill).await;
        drop(at_rest);
        match cluster.sql(index).await {
            Ok(_) => {
                made += 1;
                for _ in 0..3 {
                    assert_eq!(cluster.rows(duplicates).await, Vec::<Vec<Value>>::new());
                    tokio::task::yield_now().await;
                }
                cluster.ok("DROP INDEX ta").await;
            }
            Err(error) => {
                assert_eq!(error.message, format!("UNIQUE constraint failed: {violated}"), "{error:?}");
                refused += 1;
            }
        }
        let keep_first = "DELETE FROM t WHERE a IS NOT NULL AND id NOT IN (SELECT min(id) FROM t GROUP BY a)";
        let at_rest = writing.write().await;
        cluster.ok(keep_first).await;
        drop(at_rest);
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    cluster.ok("DELETE FROM t WHERE a IS NOT NULL AND id NOT IN (SELECT min(id) FROM t GROUP BY a)").await;
    cluster.ok(index).await;
    let count = cluster.rows("SELECT count(a), count(DISTINCT a) FROM t").await;
    assert_eq!(count[0][0], count[0][1]);
    assert_eq!(count[0][0], Value::Integer(entries(&cluster)));
    println!("made {made}, refused {refused}");
}

#[tokio::test]
async fn entries_of_expressions_follow_their_rows() {
    for cluster in [Cluster::hashed(2, None), Cluster::layout(MIXED, None)] {
        filled(&cluster).await;
        cluster.ok("CREATE UNIQUE INDEX ta ON t (upper(a)) WHERE b > 350").await;
        assert_eq!(entries(&cluster), 315);
        cluster.ok("UPDATE t SET b = 350 WHERE id > 600").await;
        assert_eq!(entries(&cluster), 225);
        let error = cluster.error("UPDATE t SET a = 'N351' WHERE id = 352").await;
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::UniqueViolation, "UNIQUE constraint failed: index 'ta'")
        );
        cluster.ok("DELETE FROM t WHERE id > 400").await;
        assert_eq!(entries(&cluster), 45);
        cluster.ok("DROP INDEX ta").await;
        assert_eq!(hidden(&cluster), []);
    }
}

#[tokio::test]
async fn a_conflict_with_an_entry_that_is_computed_reads_the_row_of_the_entry() {
    for cluster in [Cluster::hashed(4, None), Cluster::layout(MIXED, None)] {
        filled(&cluster).await;
        cluster.ok("CREATE UNIQUE INDEX whole ON t (lower(a), b % 1000)").await;
        cluster.ok("CREATE UNIQUE INDEX partly ON t (b) WHERE b > 100").await;
        for sql in [
            "INSERT INTO t VALUES (801, 'other', 444) ON CONFLICT (b) WHERE b > 100 DO UPDATE SET a = a || '!'",
            "INSERT OR REPLACE INTO t VALUES (802, 'N333', 333)",
            "UPDATE OR IGNORE t SET b = 555 WHERE id = 7",
        ] {
            *cluster.rows_streamed.lock().unwrap() = 0;
            cluster.ok(sql).await;
            let read = *cluster.rows_streamed.lock().unwrap();
            assert!(read <= 8, "{read} of 700 rows are read by {sql}");
        }
        let found =
            cluster.rows("SELECT id, a FROM t WHERE b IN (333, 444, 555) OR id > 800 ORDER BY id").await;
        let expected = [(444, "n444!"), (555, "n555"), (802, "N333")];
        let expected = expected.map(|(id, a): (i64, &str)| vec![Value::from(id), Value::from(a)]);
        assert_eq!(found, expected);
    }
}
