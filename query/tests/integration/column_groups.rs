//! Tables whose columns lie in several column groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Cluster, LAYOUTS, Layout, MIXED, VERTICAL};
use common::{ErrorCode, Value};
use futures_util::TryStreamExt as _;
use query::relocation::{Destination, Relocation};

async fn people(layout: Layout) -> Cluster {
    let cluster = Cluster::layout(layout, None);
    cluster
        .ok("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INT DEFAULT 7 CHECK (age < 200 OR city IS NULL), \
             city TEXT COLLATE NOCASE, height REAL, note, UNIQUE (name, city))")
        .await;
    cluster
        .ok("INSERT INTO people (id, name, age, city, height, note) VALUES \
             (1, 'Ann', 30, 'Oslo', 1.5, NULL), (2, 'Bob', 40, 'Rome', 2, x'01'), (3, 'Cid', NULL, NULL, 0, 'n')")
        .await;
    cluster
}

#[tokio::test]
async fn rows_are_taken_apart_and_put_together() {
    for layout in [VERTICAL, MIXED] {
        let cluster = people(layout).await;
        assert_eq!(
            cluster.counts("people").iter().sum::<u64>(),
            3 * layout.column_groups as u64,
            "{layout:?}"
        );
        let rows = cluster.rows("SELECT * FROM people ORDER BY id").await;
        assert_eq!(
            rows[1],
            vec![2.into(), "Bob".into(), 40.into(), "Rome".into(), 2.0.into(), Value::Blob(vec![1])]
        );
        assert_eq!(cluster.rows("SELECT count(*) FROM people").await, [[Value::Integer(3)]]);
        assert_eq!(cluster.rows("SELECT id FROM people WHERE city = 'OSLO'").await, [[Value::Integer(1)]]);
        assert_eq!(
            cluster.rows("SELECT name FROM people WHERE note IS NOT NULL AND age > 1").await,
            [["Bob".into()]]
        );
    }
}

#[tokio::test]
async fn constraints_over_the_whole_row_hold() {
    for layout in [VERTICAL, MIXED] {
        let cluster = people(layout).await;
        for (sql, message) in [
            ("INSERT INTO people (name) VALUES (NULL)", "NOT NULL constraint failed: people.name"),
            (
                "INSERT INTO people (name, age, city) VALUES ('x', 300, 'y')",
                "CHECK constraint failed: age < 200 OR city IS NULL",
            ),
            (
                "UPDATE people SET age = 201 WHERE id = 1",
                "CHECK constraint failed: age < 200 OR city IS NULL",
            ),
            (
                "INSERT INTO people (name, city) VALUES ('Ann', 'OSLO')",
                "UNIQUE constraint failed: people.name, people.city",
            ),
            (
                "UPDATE people SET name = 'Ann', city = 'oslo' WHERE id = 2",
                "UNIQUE constraint failed: people.name, people.city",
            ),
            ("INSERT INTO people (id, name) VALUES (2, 'x')", "UNIQUE constraint failed: people.id"),
        ] {
            assert_eq!(cluster.error(sql).await.message, message, "{layout:?} {sql}");
        }
        assert_eq!(cluster.rows("SELECT count(*), count(note) FROM people").await, [[3.into(), 2.into()]]);
    }
}

#[tokio::test]
async fn changes_touch_the_groups_that_they_change() {
    for layout in [VERTICAL, MIXED] {
        let cluster = people(layout).await;
        let changed = cluster.ok("UPDATE people SET note = 'new', age = age + 1 WHERE city = 'rome'").await;
        assert_eq!(changed.affected_rows, 1);
        cluster.ok("UPDATE people SET id = 9 WHERE id = 1").await;
        cluster.ok("DELETE FROM people WHERE height = 0").await;
        let inserted = cluster.ok("INSERT INTO people (name) VALUES ('Dan') RETURNING id, age").await;
        assert_eq!(inserted.rows.to_values().unwrap(), [[10.into(), 7.into()]]);
        assert_eq!(inserted.last_insert_rowid, Some(10));
        assert_eq!(
            cluster.rows("SELECT id, name, age, city, height, note FROM people ORDER BY id").await,
            [
                vec![2.into(), "Bob".into(), 41.into(), "Rome".into(), 2.0.into(), "new".into()],
                vec![9.into(), "Ann".into(), 30.into(), "Oslo".into(), 1.5.into(), Value::Null],
                vec![10.into(), "Dan".into(), 7.into(), Value::Null, Value::Null, Value::Null],
            ]
        );
        assert_eq!(cluster.counts("people").iter().sum::<u64>(), 3 * layout.column_groups as u64);
    }
}

#[tokio::test]
async fn what_one_group_has_is_answered_there() {
    let cluster = people(VERTICAL).await;
    let lines = |sql: &str| cluster.plan(sql);
    assert_eq!(lines("SELECT name FROM people WHERE age > 1"), ["SINGLE p0"]);
    assert_eq!(lines("SELECT height, id FROM people"), ["SINGLE p1"]);
    assert_eq!(lines("SELECT count(*) FROM people"), ["SINGLE p0"]);
    let several = lines("SELECT name, note FROM people WHERE note > 1 AND id = 7").join("\n");
    assert!(several.contains("REJOIN column groups of people"), "{several}");
    assert!(several.contains("p2 SELECT rowid"), "{several}");
}

#[tokio::test]
async fn generated_columns_are_computed_where_all_is_that_they_are_computed_from() {
    let cluster = Cluster::layout(VERTICAL, None);
    cluster
        .ok("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a, b, c, d AS (b || id), e AS (a || c || d), f AS (id))")
        .await;
    cluster.ok("CREATE INDEX by_d ON t (d)").await;
    cluster.ok("INSERT INTO t (a, b, c) VALUES ('a', 'b', 'c'), ('x', 'y', 'z')").await;
    assert_eq!(cluster.counts("t"), [2, 2, 2]);
    assert_eq!(cluster.plan("SELECT d FROM t WHERE d = 'b1'"), ["SINGLE p1"]);
    assert_eq!(cluster.plan("SELECT c, f FROM t"), ["SINGLE p2"]);
    let several = cluster.plan("SELECT e FROM t").join("\n");
    assert!(several.contains("REJOIN column groups of t"), "{several}");
    assert_eq!(
        cluster.rows("SELECT e, d, f FROM t WHERE e > '' ORDER BY id").await,
        [["acb1".into(), "b1".into(), 1.into()], ["xzy2".into(), "y2".into(), Value::Integer(2)]]
    );
    assert_eq!(cluster.rows("SELECT seq FROM sqlite_sequence").await, [[Value::Integer(2)]]);
}

#[tokio::test]
async fn parts_of_rows_with_generated_columns_tell_their_bucket() {
    let cluster = Cluster::layout(MIXED, Some("k"));
    cluster.ok("CREATE TABLE t (g AS (a || b), a, h AS (k || 1), k TEXT, b, c)").await;
    let relocations = [0, 1].map(|group| Relocation::new(cluster.database(), group).unwrap());
    for key in ["x", "y", "z", "1", "2"] {
        cluster.ok(&format!("INSERT INTO t (a, k, b, c) VALUES ('a', '{key}', 'b', 'c')")).await;
        let bucket = cluster.counts("t").iter().position(|count| *count == 1).unwrap();
        // Each part begins with a stamp.
        let anchor = [Value::Null, "a".into(), key.into(), "b".into()];
        let other = [Value::Null, key.into(), "c".into()];
        for (relocation, row) in relocations.iter().zip([&anchor[..], &other[..]]) {
            let destination = relocation.destination("t", &[1.into()], row).unwrap();
            assert_eq!(destination, Destination::Bucket(bucket), "{key}");
        }
        cluster.ok("DELETE FROM t").await;
    }
}

#[tokio::test]
async fn the_schema_of_split_tables_changes() {
    for layout in [VERTICAL, MIXED] {
        let cluster = people(layout).await;
        cluster.ok("ALTER TABLE people ADD COLUMN extra TEXT DEFAULT 'e'").await;
        cluster.ok("ALTER TABLE people RENAME COLUMN note TO remark").await;
        cluster.ok("ALTER TABLE people RENAME TO persons").await;
        cluster.ok("CREATE INDEX by_remark ON persons (remark)").await;
        cluster.ok("CREATE INDEX by_both ON persons (name, remark)").await;
        cluster.ok("CREATE VIEW v AS SELECT id, extra, remark FROM persons WHERE age > 1").await;
        cluster.ok("UPDATE persons SET remark = 'r', extra = 'x' WHERE id = 2").await;
        assert_eq!(
            cluster.rows("SELECT * FROM v ORDER BY 1").await,
            [[1.into(), "e".into(), Value::Null], [2.into(), "x".into(), "r".into()]]
        );
        assert_eq!(
            cluster.rows("SELECT id FROM persons INDEXED BY by_both WHERE name = 'Bob'").await.len(),
            1
        );
        cluster.ok("DROP VIEW v").await;
        cluster.ok("ALTER TABLE persons DROP COLUMN extra").await;
        assert_eq!(cluster.rows("SELECT * FROM persons").await[0].len(), 6);
        cluster.ok("DROP INDEX by_remark").await;
        cluster.ok("DROP TABLE persons").await;
        cluster.ok("CREATE TABLE people (a, b, c)").await;
        cluster.ok("INSERT INTO people VALUES (1, 2, 3)").await;
        assert_eq!(
            cluster.rows("SELECT rowid, * FROM people").await,
            [[1.into(), 1.into(), 2.into(), 3.into()]]
        );
    }
}

#[tokio::test]
async fn keys_of_all_kinds_are_joined_by() {
    for layout in LAYOUTS {
        let cluster = Cluster::layout(layout, Some("k"));
        cluster
            .ok("CREATE TABLE w (k TEXT COLLATE NOCASE, n, a, b, c, PRIMARY KEY (k, n)) WITHOUT ROWID")
            .await;
        cluster.ok("CREATE TABLE s (k INT, a TEXT, b BLOB, c REAL, d ANY, UNIQUE (c, k)) STRICT").await;
        for number in 0..40 {
            cluster
                .ok(&format!("INSERT INTO w VALUES ('K{}', {number}, {number}, 'b', -0.0)", number % 7))
                .await;
            cluster.ok(&format!("INSERT INTO s VALUES ({number} % 5, 'a', x'00', {number}, {number})")).await;
        }
        cluster.ok("UPDATE w SET k = 'x' || n, c = 1 WHERE n % 2").await;
        cluster.ok("UPDATE s SET c = c + 100, k = k + 1 WHERE c > 35").await;
        assert_eq!(
            cluster.rows("SELECT count(*), sum(a + c) FROM w WHERE b = 'b'").await,
            [[40.into(), 800.0.into()]],
            "{layout:?}"
        );
        assert_eq!(
            cluster.rows("SELECT sum(c), sum(k), sum(d) FROM s WHERE a = 'a'").await,
            [[1180.0.into(), 84.into(), 780.into()]]
        );
        cluster.ok("DELETE FROM w WHERE a < 30 AND b = 'b'").await;
        assert_eq!(cluster.rows("SELECT n FROM w WHERE c >= 0 AND a >= 0 ORDER BY n").await.len(), 10);
    }
}

#[tokio::test]
async fn whole_rows_are_exported_and_imported() {
    for layout in [VERTICAL, MIXED] {
        let cluster = people(layout).await;
        let columns = ["name", "note", "id"].map(str::to_owned);
        let rows = vec![vec!["Eve".into(), Value::Null, 4.into()], vec!["Fay".into(), 5.into(), Value::Null]];
        let planner = cluster.planner();
        assert_eq!(query::rows::insert(&planner, &cluster, "people", &columns, rows).await.unwrap(), 2);
        let exported = query::rows::export(&planner, &cluster, "people").await.unwrap();
        assert_eq!(exported.header.columns, ["id", "name", "age", "city", "height", "note"]);
        let blocks: Vec<_> = exported.blocks.try_collect().await.unwrap();
        let rows: Vec<Vec<Value>> = blocks.iter().flat_map(|block| block.to_values().unwrap()).collect();
        assert_eq!(rows.len(), 5);
        assert_eq!(rows[4], [5.into(), "Fay".into(), 7.into(), Value::Null, Value::Null, 5.into()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_are_never_seen_torn_while_others_write() {
    const ROWS: i64 = 20;
    for layout in [VERTICAL, MIXED] {
        let mut cluster = Cluster::layout(layout, None);
        // Two plans of one statement would see different moments.
        cluster.set_rules(query::Rules::default());
        let cluster = Arc::new(cluster);
        cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT, c INT)").await;
        for id in 0..ROWS {
            cluster.ok(&format!("INSERT INTO t VALUES ({id}, 0, 0, 0)")).await;
        }
        let done = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for writer in 1..=2 {
            let (cluster, done) = (Arc::clone(&cluster), Arc::clone(&done));
            writers.push(tokio::spawn(async move {
                let mut number = 0;
                while !done.load(Ordering::SeqCst) {
                    number += 1;
                    let (id, value) = (number % ROWS, number * 10 + writer);
                    let change =
                        format!("UPDATE t SET a = {value}, b = {value}, c = {value} WHERE id = {id}");
                    if let Err(error) = cluster.sql(&change).await {
                        assert_eq!(error.code, ErrorCode::SerializationFailure, "{error:?}");
                    }
                    if number % 7 == 0 {
                        let gone = format!("DELETE FROM t WHERE id = {id}");
                        let back =
                            format!("INSERT OR IGNORE INTO t VALUES ({id}, {value}, {value}, {value})");
                        let _ = cluster.sql(&gone).await;
                        let _ = cluster.sql(&back).await;
                    }
                    tokio::task::yield_now().await;
                }
                number
            }));
        }
        for read in 0..200 {
            let condition = ["TRUE", "c >= 0", "id = 3", "b % 2 = 1 AND a > 0"][read % 4];
            for row in cluster.rows(&format!("SELECT id, a, b, c FROM t WHERE {condition}")).await {
                assert!(row[1] == row[2] && row[2] == row[3], "{layout:?}: {row:?}");
            }
        }
        done.store(true, Ordering::SeqCst);
        for writer in writers {
            assert!(writer.await.unwrap() > 10, "the writers did not get to write");
        }
    }
}
