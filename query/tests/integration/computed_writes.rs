//! Writes that are computed from rows of several partitions: triggers, foreign keys, statements that read what
//! the same request writes, and what other requests may do meanwhile.

use crate::support::Cluster;
use common::{ErrorCode, Value};

async fn both(statements: &[&str]) -> (Cluster, Cluster) {
    let (one, many) = (Cluster::hashed(1, None), Cluster::hashed(4, None));
    for sql in statements {
        one.ok(sql).await;
        many.ok(sql).await;
    }
    (one, many)
}

/// The same statement on both, with the same outcome, and the same rows of the tables afterwards.
async fn same(one: &Cluster, many: &Cluster, sql: &str, tables: &[&str]) {
    let (expected, found) = (one.sql(sql).await, many.sql(sql).await);
    if let Err(difference) = crate::support::compare::same(sql, &expected, &found) {
        panic!("{sql}: {difference}\n{expected:?}\n{found:?}");
    }
    for table in tables {
        let all = format!("SELECT * FROM {table} ORDER BY 1, 2");
        assert_eq!(many.rows(&all).await, one.rows(&all).await, "{table} after {sql}");
    }
}

#[tokio::test]
async fn an_audit_trigger_writes_its_table_and_does_not_read_it() {
    let (one, many) = both(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT)",
        "CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT NOT NULL, n INT)",
        "CREATE TRIGGER after_insert AFTER INSERT ON t BEGIN INSERT INTO log (what, n) VALUES ('new', new.n); END",
        "CREATE TRIGGER after_update AFTER UPDATE OF n ON t WHEN old.n <> new.n BEGIN
             INSERT INTO log (what, n) VALUES ('old', old.n), ('now', new.n); END",
    ])
    .await;
    for number in 0..5 {
        let insert = format!("INSERT INTO t (n) VALUES ({number}), ({number} * 10)");
        same(&one, &many, &insert, &["t", "log"]).await;
    }
    same(&one, &many, "UPDATE t SET n = n + 1 WHERE id = 3", &["t", "log"]).await;
    same(&one, &many, "UPDATE t SET n = n WHERE id < 4", &["t", "log"]).await;
    same(&one, &many, "DELETE FROM t WHERE n > 100", &["t", "log"]).await;
    *many.rows_streamed.lock().unwrap() = 0;
    many.ok("INSERT INTO t (n) VALUES (7)").await;
    assert_eq!(*many.rows_streamed.lock().unwrap(), 0, "nothing was read");
}

#[tokio::test]
async fn foreign_keys_act_over_partitions() {
    let (one, many) = both(&[
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE)",
        "CREATE TABLE cascades (id INTEGER PRIMARY KEY, p INT NOT NULL REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE TABLE nulls (id INTEGER PRIMARY KEY, c TEXT REFERENCES parent (code) ON DELETE SET NULL ON UPDATE CASCADE)",
        "CREATE TABLE tree (id INTEGER PRIMARY KEY, up INT REFERENCES tree ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO parent VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    ])
    .await;
    let tables = ["parent", "cascades", "nulls", "tree"];
    for sql in [
        "INSERT INTO cascades (p) VALUES (1), (2), (2)",
        "INSERT INTO cascades (p) VALUES (9)",
        "INSERT INTO nulls (c) VALUES ('a'), ('b'), (NULL)",
        "INSERT INTO nulls (c) VALUES ('nobody')",
        "UPDATE parent SET id = 20 WHERE id = 2",
        "UPDATE parent SET code = 'bb' WHERE code = 'b'",
        "UPDATE cascades SET p = 77 WHERE p = 1",
        "DELETE FROM parent WHERE id = 20",
        "INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, 4), (6, 1)",
        "INSERT INTO tree VALUES (7, 8)",
        "INSERT INTO tree VALUES (8, 9), (9, 8)",
        "DELETE FROM tree WHERE id = 2",
        "INSERT OR REPLACE INTO parent VALUES (1, 'z')",
        "DELETE FROM parent",
    ] {
        same(&one, &many, sql, &tables).await;
    }
}

#[tokio::test]
async fn a_foreign_key_that_is_set_to_what_it_was_finds_its_parent() {
    let (one, many) = both(&[
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, p INT NOT NULL REFERENCES parent, n INT)",
        "INSERT INTO parent VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO child VALUES (1, 1, 0), (2, 2, 0)",
    ])
    .await;
    for sql in ["UPDATE child SET p = 1, n = 5 WHERE id = 1", "UPDATE child SET p = p, n = n + 1"] {
        same(&one, &many, sql, &["parent", "child"]).await;
    }
}

#[tokio::test]
async fn a_row_with_a_parent_costs_one_read() {
    let many = Cluster::hashed(4, None);
    many.ok("CREATE TABLE p (id INTEGER PRIMARY KEY)").await;
    many.ok("CREATE TABLE c (id INTEGER PRIMARY KEY, p INT NOT NULL REFERENCES p)").await;
    many.ok("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO p SELECT i FROM n").await;
    for id in 1..20 {
        many.ok(&format!("INSERT INTO c (p) VALUES ({id})")).await;
    }
    *many.rows_streamed.lock().unwrap() = 0;
    many.ok("INSERT INTO c (p) VALUES (50)").await;
    assert_eq!(*many.rows_streamed.lock().unwrap(), 1);
    many.ok("UPDATE c SET id = id WHERE id = 5").await;
}

#[tokio::test]
async fn a_batch_reads_what_it_wrote() {
    let many = Cluster::hashed(4, None);
    many.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, n INT)").await;
    let results = many
        .batch(&[
            "INSERT INTO t (n) VALUES (1), (2), (3)",
            "UPDATE t SET n = n * 10 WHERE n > (SELECT min(n) FROM t)",
            "SELECT sum(n), count(*) FROM t",
            "INSERT INTO t (n) SELECT sum(n) FROM t",
        ])
        .await
        .unwrap();
    assert_eq!(results[1].affected_rows, 2);
    assert_eq!(results[2].rows.to_values().unwrap(), [[Value::Integer(51), Value::Integer(3)]]);
    assert_eq!(results[3].last_insert_rowid, Some(4));
    assert_eq!(many.rows("SELECT sum(n) FROM t").await, [[Value::Integer(102)]]);
    let error = many.batch(&["DELETE FROM t", "INSERT INTO t SELECT id, 1 FROM nothing"]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::SqlError);
}

/// Two tables are summed into each other at the same time; answers what the two sums come to. One after the
/// other gives 3 and 6; neither of the two may have missed the other.
async fn sums_of_each_other(ignores_proofs: bool) -> Value {
    let mut many = Cluster::hashed(4, None);
    for table in ["a", "b"] {
        many.ok(&format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, n INT)")).await;
        many.ok(&format!("INSERT INTO {table} VALUES (1, 1), (2, 1), (3, 1)")).await;
    }
    (many.interleaves, many.ignores_proofs) = (true, ignores_proofs);
    let (first, second) = tokio::join!(
        many.sql("INSERT INTO b (id, n) SELECT 100, sum(n) FROM a"),
        many.sql("INSERT INTO a (id, n) SELECT 100, sum(n) FROM b"),
    );
    first.unwrap();
    second.unwrap();
    let sum = "SELECT (SELECT n FROM a WHERE id = 100) + (SELECT n FROM b WHERE id = 100)";
    many.rows(sum).await.remove(0).remove(0)
}

#[tokio::test]
async fn writes_computed_from_each_others_rows_do_not_miss_each_other() {
    assert_eq!(sums_of_each_other(false).await, Value::Integer(9));
    assert_eq!(sums_of_each_other(true).await, Value::Integer(6), "the test finds what proofs prevent");
}

#[tokio::test]
async fn a_parent_does_not_go_while_it_gets_a_child() {
    for turn in 0..8 {
        let mut many = Cluster::hashed(4, None);
        many.interleaves = true;
        many.ok("CREATE TABLE p (id INTEGER PRIMARY KEY)").await;
        many.ok("CREATE TABLE c (id INTEGER PRIMARY KEY, p INT REFERENCES p)").await;
        many.ok(&format!("INSERT INTO p VALUES ({turn})")).await;
        let (insert, delete) =
            (format!("INSERT INTO c (p) VALUES ({turn})"), format!("DELETE FROM p WHERE id = {turn}"));
        let (inserted, deleted) = tokio::join!(many.sql(&insert), many.sql(&delete));
        let refused = inserted.err().or(deleted.err()).expect("one of them is refused");
        assert_eq!(refused.code, ErrorCode::ForeignKeyViolation);
        let orphans = "SELECT count(*) FROM c WHERE p NOT IN (SELECT id FROM p)";
        assert_eq!(many.rows(orphans).await, [[Value::Integer(0)]]);
    }
}

#[tokio::test]
async fn a_change_by_a_subquery_over_its_own_table_finds_its_rows() {
    let (one, many) = both(&[
        "CREATE TABLE rates (id INTEGER PRIMARY KEY, n INT)",
        "CREATE TABLE sales (id INTEGER PRIMARY KEY, rate INT, amount INT)",
        "INSERT INTO rates VALUES (1, 0), (2, 0), (3, 0)",
        "INSERT INTO sales VALUES (1, 1, 10), (2, 1, 20), (3, 3, 5)",
    ])
    .await;
    let tables = ["rates", "sales"];
    let update = "UPDATE rates SET n = (SELECT sum(amount) FROM sales WHERE rate = rates.id)";
    same(&one, &many, update, &tables).await;
    same(&one, &many, "DELETE FROM rates WHERE n < (SELECT max(n) FROM rates) OR rates.n IS NULL", &tables)
        .await;
}

#[tokio::test]
async fn writes_over_several_tables_read_the_rows_that_matter() {
    let (one, many) = both(&[
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)",
        "CREATE TABLE visits (id INTEGER PRIMARY KEY, person INT, n INT)",
        "INSERT INTO people SELECT value, 'p' || value FROM generate_series(1, 100)",
        "INSERT INTO visits SELECT value, value % 100 + 1, 0 FROM generate_series(1, 500)",
    ])
    .await;
    for (sql, most) in [
        ("UPDATE visits SET n = 7 WHERE person IN (SELECT id FROM people WHERE name = 'p5')", 6),
        ("UPDATE visits SET n = people.id FROM people WHERE person = people.id AND name = 'p6'", 6),
        (
            "UPDATE people SET name = (SELECT count(*) FROM visits v WHERE v.person = people.id) WHERE id = 8",
            6,
        ),
        ("DELETE FROM visits WHERE EXISTS (SELECT 1 FROM people p WHERE p.id = person AND p.name = 'p9')", 6),
        ("DELETE FROM visits AS v WHERE v.n = 7 AND v.id > (SELECT max(id) FROM visits) - 300", 500),
        // The last row of each partition tells which rowid is the next.
        (
            "INSERT INTO visits (person, n) SELECT p.id, v.n FROM people p JOIN visits v ON v.person = p.id
             WHERE p.name = 'p12'",
            10,
        ),
    ] {
        *many.rows_streamed.lock().unwrap() = 0;
        many.ok(sql).await;
        let read = *many.rows_streamed.lock().unwrap();
        assert!(read <= most, "{sql}: {read} rows\n{:#?}", many.plan(sql));
        one.ok(sql).await;
        for table in ["people", "visits"] {
            let all = format!("SELECT * FROM {table} ORDER BY id");
            assert_eq!(many.rows(&all).await, one.rows(&all).await, "{table} after {sql}");
        }
    }
    // What an earlier statement of the request changes matters to a later one.
    for cluster in [&one, &many] {
        let batch = [
            "UPDATE people SET name = 'late' WHERE id = 20",
            "UPDATE visits SET n = 99 WHERE person IN (SELECT id FROM people WHERE name = 'late')",
        ];
        cluster.batch(&batch).await.unwrap();
        assert_eq!(cluster.rows("SELECT count(*) FROM visits WHERE n = 99").await, [[Value::from(5)]]);
    }
}
