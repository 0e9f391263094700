//! Requests that change the schema and rows: all of it or nothing, over every layout.
//!
//! `POLYLITE_STATEMENTS=<count>` has a dump hold so many.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::support::{Cluster, MIXED, VERTICAL};
use common::{ErrorCode, Value};
use differential::seed::setting;
use query::PartitionAccess as _;

fn layouts() -> Vec<(&'static str, Cluster)> {
    vec![
        ("one partition", Cluster::hashed(1, None)),
        ("8 horizontal", Cluster::hashed(8, None)),
        ("3 vertical", Cluster::layout(VERTICAL, None)),
        ("4 x 2 mixed", Cluster::layout(MIXED, None)),
    ]
}

/// What there is: the schema, and the rows of its tables.
async fn state(cluster: &Cluster) -> Vec<Vec<Vec<Value>>> {
    let mut state =
        vec![cluster.rows("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").await];
    for table in cluster
        .rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL ORDER BY 1")
        .await
    {
        let [Value::Text(name)] = table.as_slice() else { panic!("{table:?}") };
        if !name.starts_with("sqlite_") {
            state.push(cluster.rows(&format!("SELECT rowid, * FROM {name} ORDER BY 1")).await);
        }
    }
    state
}

async fn filled(cluster: &Cluster) {
    cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b INT, c DEFAULT 'c')").await;
    let rows: Vec<String> = (1..40).map(|id| format!("({id}, 'a{id}', {})", id % 7)).collect();
    cluster.ok(&format!("INSERT INTO t (id, a, b) VALUES {}", rows.join(", "))).await;
    cluster.ok("CREATE TABLE child (id INTEGER PRIMARY KEY, t REFERENCES t ON DELETE CASCADE)").await;
    cluster.ok("INSERT INTO child VALUES (1, 1), (2, 2), (3, NULL)").await;
}

/// A migration with statements of all kinds.
const MIGRATION: [&str; 12] = [
    "CREATE TABLE fresh (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b INT)",
    "INSERT INTO fresh SELECT id, a, b FROM t",
    "ALTER TABLE t ADD COLUMN d INT DEFAULT 5 CHECK (d > 0)",
    "UPDATE t SET d = id, b = b + 1 WHERE id % 2",
    "CREATE UNIQUE INDEX t_d ON t (d, a)",
    "ALTER TABLE t DROP COLUMN c",
    "DELETE FROM t WHERE id = 2",
    "CREATE TABLE sums AS SELECT b, count(*) AS n FROM t GROUP BY b",
    "CREATE TRIGGER log AFTER DELETE ON fresh BEGIN INSERT INTO sums VALUES (old.b, -1); END",
    "DELETE FROM fresh WHERE id > 36",
    "ALTER TABLE fresh RENAME COLUMN a TO name",
    "ALTER TABLE fresh RENAME TO afresh",
];

#[tokio::test]
async fn an_error_at_any_place_leaves_nothing() {
    for (name, cluster) in layouts() {
        filled(&cluster).await;
        let before = state(&cluster).await;
        for place in 0..=MIGRATION.len() {
            for (wrong, code) in [
                ("INSERT INTO child VALUES (9, 99)", ErrorCode::ForeignKeyViolation),
                ("CREATE UNIQUE INDEX wrong ON child (id > 0)", ErrorCode::UniqueViolation),
                ("CREATE TABLE t (x)", ErrorCode::SqlError),
                ("SELECT * FROM nowhere", ErrorCode::SqlError),
            ] {
                let mut statements = MIGRATION.to_vec();
                statements.insert(place, wrong);
                let error = cluster.batch(&statements).await.unwrap_err();
                let told = (error.code, error.statement);
                assert_eq!(told, (code, u32::try_from(place).ok()), "{name}: {wrong} at {place}: {error:?}");
            }
        }
        assert_eq!(state(&cluster).await, before, "{name}");
        // A write that does not come about leaves nothing either.
        cluster.writes_left.store(0, Ordering::SeqCst);
        assert_eq!(cluster.batch(&MIGRATION).await.unwrap_err().code, ErrorCode::Unavailable);
        cluster.writes_left.store(u64::MAX, Ordering::SeqCst);
        assert_eq!(state(&cluster).await, before, "{name}");
        cluster.batch(&MIGRATION).await.unwrap();
        let after =
            cluster.rows("SELECT count(*), sum(d), max(b), (SELECT count(*) FROM child) FROM t").await;
        assert_eq!(after, [[38.into(), 490.into(), 7.into(), 2.into()]], "{name}");
        let refused = cluster.error("INSERT INTO afresh VALUES (1000, 'a3', 1)").await;
        assert_eq!(refused.message, "UNIQUE constraint failed: afresh.name", "{name}");
        assert_eq!(cluster.error("UPDATE t SET d = 0").await.code, ErrorCode::CheckViolation, "{name}");
        cluster.ok("UPDATE t SET a = a || '!', b = b - 1, d = d + 1").await;
        assert_eq!(
            cluster.rows("SELECT count(*) FROM t WHERE a LIKE '%!'").await,
            [[Value::from(38)]],
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_others_change_meanwhile_is_computed_anew() {
    for (name, mut cluster) in layouts() {
        cluster.interleaves = true;
        filled(&cluster).await;
        let cluster = Arc::new(cluster);
        let writer = Arc::clone(&cluster);
        let writes = async move {
            for id in 1..40 {
                let sql = format!("UPDATE t SET b = b + 1000 WHERE id = {id}");
                writer.ok(&sql).await;
            }
        };
        let migration = async {
            loop {
                let done = cluster
                    .batch(&["CREATE TABLE sums AS SELECT sum(b) AS total FROM t", "UPDATE t SET b = -b"])
                    .await;
                match done {
                    Err(error) if error.code == ErrorCode::SerializationFailure => {}
                    done => break done.map(drop).unwrap(),
                }
            }
        };
        futures_util::future::join(writes, migration).await;
        // Every row was counted as it was when its sign changed.
        let rows = cluster.rows("SELECT (SELECT total FROM sums), sum(b) FROM t").await;
        let [[Value::Integer(total), Value::Integer(now)]] = [[rows[0][0].clone(), rows[0][1].clone()]]
        else {
            panic!("{rows:?}")
        };
        assert_eq!((now + total) % 1000, 0, "{name}: {rows:?}");
        assert_eq!((now + total) / 1000 + (total / 1000), 39, "{name}: {rows:?}");
    }
}

#[tokio::test]
async fn a_dump_is_one_request() {
    let count = setting("POLYLITE_STATEMENTS").map_or(3_000, |count| usize::try_from(count).unwrap());
    let rows = i64::try_from(count).unwrap();
    for (name, cluster) in layouts() {
        let mut dump = vec![
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b REAL)".to_owned(),
            "CREATE TABLE u (k TEXT PRIMARY KEY, t INT REFERENCES t)".to_owned(),
        ];
        dump.extend((0..count).map(|row| match row % 2 {
            0 => format!("INSERT INTO t VALUES ({row}, 'row''{row}', -{row}.5)"),
            _ => format!("INSERT INTO u VALUES ('{row}', {})", row - 1),
        }));
        dump.push("CREATE INDEX t_b ON t (b)".to_owned());
        dump.push("CREATE UNIQUE INDEX u_t ON u (t)".to_owned());
        dump.push(
            "CREATE VIEW v AS SELECT count(*) AS n, sum(b) AS s FROM t JOIN u ON u.t = t.id".to_owned(),
        );
        let statements: Vec<&str> = dump.iter().map(String::as_str).collect();
        let begun = Instant::now();
        let results = cluster.batch(&statements).await.unwrap();
        println!("{name}: {count} INSERTs in {:.1} s", begun.elapsed().as_secs_f64());
        assert_eq!(results.iter().map(|result| result.affected_rows).sum::<u64>(), count as u64, "{name}");
        assert_eq!(results[count].last_insert_rowid, Some(rows - 2), "{name}");
        assert_eq!(cluster.rows("SELECT n FROM v").await, [[Value::from(rows / 2)]], "{name}");
        let next = cluster.ok("INSERT INTO t (a) VALUES ('next')").await;
        assert_eq!(next.last_insert_rowid, Some(rows - 1), "{name}");
        assert_eq!(
            cluster.error("INSERT INTO u VALUES ('z', 0)").await.message,
            "UNIQUE constraint failed: u.t"
        );
    }
}

/// A table that exists already is no change: others may insert at the same time, with rowids that they have been given.
#[tokio::test]
async fn a_request_whose_definitions_have_nothing_to_do_takes_rowids_as_any_does() {
    let cluster = Cluster::hashed(4, Some("region"));
    cluster.ok("CREATE TABLE t (region TEXT, n INT UNIQUE)").await;
    cluster.ok("INSERT INTO t VALUES ('a', 1)").await;
    let given = cluster.allocate_rowids("t", 5).await.unwrap();
    let exists = "CREATE TABLE IF NOT EXISTS t (region TEXT, n INT)";
    let statements = [exists, "INSERT INTO t VALUES ('b', 2)", "DROP TABLE IF EXISTS none"];
    let answers = cluster.batch(&statements).await.unwrap();
    assert_eq!(answers.iter().map(|answer| answer.affected_rows).collect::<Vec<_>>(), [0, 1, 0]);
    let rowid = cluster.rows("SELECT rowid FROM t WHERE n = 2").await;
    assert_eq!(rowid, [[Value::Integer(given + 5)]]);
    let refused =
        cluster.batch(&[exists, "INSERT INTO t VALUES ('c', 3)", "INSERT INTO t VALUES ('d', 2)"]).await;
    let error = refused.unwrap_err();
    assert_eq!((error.code, error.statement), (ErrorCode::UniqueViolation, Some(2)));
    assert_eq!(cluster.rows("SELECT count(*) FROM t").await, [[Value::Integer(2)]]);
    cluster.batch(&[exists, "CREATE TABLE IF NOT EXISTS t (x)"]).await.unwrap();
}
