//! What hostile SQL must get.

use std::cell::Cell;
use std::time::Instant;

use crate::support::{Replica, sql, statement};
use common::ErrorCode::{self, NotSupported, SqlError, SqlForbidden, StatementTimeout, ValueTooBig};
use sqlite::{Budget, Failure, Reader, Shadow};

const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)",
    "CREATE TABLE c (id INTEGER PRIMARY KEY AUTOINCREMENT)",
];

/// Runs on the executor and on a reader; writes are refused there in any case.
fn codes(text: &str) -> (Option<ErrorCode>, Option<ErrorCode>) {
    let replica = Replica::new(SCHEMA);
    let mut executor = replica.executor();
    executor.begin().unwrap();
    let budget = Budget { instructions: Some(30_000_000), ..Budget::default() };
    let executed = executor.run(&[sql(text)], &budget).err();
    executor.rollback();
    let read = Reader::open(&replica.location).unwrap().query(&statement(text), &budget).err();
    for failure in [&executed, &read].into_iter().flatten() {
        assert!(matches!(failure, Failure::Refused(_)), "{text}: {failure}");
    }
    (executed.and_then(|f| f.code()), read.and_then(|f| f.code()))
}

#[test]
fn forbidden_statements_are_refused_everywhere() {
    let replica = Replica::new(SCHEMA);
    let escape = replica.folder.path().join("escape.db");
    let escape = escape.display();
    let texts = [
        format!("ATTACH '{escape}' AS e"),
        format!("VACUUM INTO '{escape}'"),
        "VACUUM".into(),
        "DETACH main".into(),
        "SELECT load_extension('/x.so')".into(),
        "SELECT fts3_tokenizer('simple')".into(),
        "PRAGMA writable_schema=ON".into(),
        "PRAGMA synchronous=OFF".into(),
        "PRAGMA journal_mode=OFF".into(),
        "PRAGMA locking_mode=EXCLUSIVE".into(),
        "PRAGMA foreign_keys=OFF".into(),
        "PRAGMA mmap_size=1000000".into(),
        "PRAGMA temp_store_directory='/tmp'".into(),
        "PRAGMA wal_checkpoint".into(),
        "PRAGMA user_version=1".into(),
        "PRAGMA hard_heap_limit=1".into(),
        "SELECT * FROM pragma_database_list".into(),
        "SELECT * FROM pragma_table_list".into(),
        "PRAGMA table_info(_sys)".into(),
        "COMMIT".into(),
        "COMMIT; DELETE FROM t; BEGIN".into(),
        "BEGIN".into(),
        "ROLLBACK".into(),
        "SAVEPOINT a".into(),
        "RELEASE request".into(),
        "SELECT * FROM _sys".into(),
        "SELECT count(*) FROM _prepared".into(),
        "WITH x AS (SELECT * FROM _sys) SELECT 1 FROM x".into(),
        "EXPLAIN SELECT * FROM _sys".into(),
        "/*ours*/SELECT value FROM _sys WHERE key = 'position'".into(),
        "UPDATE _sys SET value = x'00'".into(),
        "DELETE FROM _decisions".into(),
        "INSERT INTO t SELECT 1, key FROM _sys".into(),
        "UPDATE sqlite_sequence SET seq = 1".into(),
        "DELETE FROM sqlite_sequence".into(),
        "SELECT * FROM dbstat".into(),
        "SELECT * FROM sqlite_schema".into(),
        "SELECT * FROM sqlite_master".into(),
        "CREATE TABLE x (a)".into(),
        "CREATE TEMP TABLE x (a)".into(),
        "CREATE TEMP VIEW x AS SELECT 1".into(),
        "DROP TABLE t".into(),
        "ALTER TABLE t ADD COLUMN b".into(),
        "ANALYZE".into(),
        "REINDEX".into(),
    ];
    for text in texts {
        assert_eq!(codes(&text), (Some(SqlForbidden), Some(SqlForbidden)), "{text}");
    }
    assert!(!replica.folder.path().join("escape.db").exists());
}

#[test]
fn statements_that_are_wrong_say_so() {
    let long = format!("SELECT 1 {}", "-".repeat(5 << 20));
    let union = vec!["SELECT 1"; 1_000].join(" UNION ");
    let columns = format!("SELECT {}", vec!["1"; 3_000].join(","));
    let deep = format!("SELECT {}1{}", "(1+".repeat(2_000), ")".repeat(2_000));
    let or = format!("SELECT {}", vec!["1"; 5_000].join(" OR "));
    for text in [
        "SELECT \"no_such_column\" FROM t",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('/x', 'y')",
        "SELECT edit('x')",
        "SELECT * FROM fsdir('/')",
        "SELECT 1; SELECT 2",
        "",
        " -- nothing\n;",
        "SELECT 1\0",
        "SELEC 1",
        &long,
        &union,
        &columns,
        &deep,
        &or,
    ] {
        let started = Instant::now();
        assert_eq!(codes(text), (Some(SqlError), Some(SqlError)), "{}", &text[..text.len().min(60)]);
        assert!(started.elapsed().as_millis() < 1_000);
    }
}

#[test]
fn ordinary_statements_are_not_mistaken_for_hostile_ones() {
    for text in [
        "SELECT value FROM json_each('[1,2]')",
        "SELECT fullkey FROM json_tree('{\"a\":1}') WHERE atom IS NOT NULL",
        "SELECT value FROM generate_series(1, 3)",
        "SELECT sqrt(2), upper('x'), date('now'), random(), last_insert_rowid(), sqlite_version()",
        "SELECT id, row_number() OVER (ORDER BY a) FROM t",
        "WITH RECURSIVE _c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM _c WHERE x < 5) SELECT sum(_c.x) FROM _c",
        "SELECT _x.id AS _y FROM t AS _x",
        "SELECT name, seq FROM sqlite_sequence",
        "EXPLAIN QUERY PLAN SELECT * FROM t",
        "VALUES (1), (2)",
        "; SELECT 1 ;",
        "/* a */ SELECT 1 -- b",
    ] {
        assert_eq!(codes(text), (None, None), "{text}");
    }
    let vacuum = "SELECT 'VACUUM' -- VACUUM";
    assert_eq!(codes(vacuum), (None, None));
}

#[test]
fn bombs_are_stopped() {
    for text in [
        "SELECT length(hex(randomblob(400000000)))",
        "SELECT printf('%.*c', 900000000, 'x')",
        "SELECT replace(replace(printf('%.*c', 10000, 'x'), 'x', printf('%.*c', 10000, 'y')), 'y', 'zzzzzzzzzz')",
    ] {
        assert_eq!(codes(text), (Some(ValueTooBig), Some(ValueTooBig)), "{text}");
    }
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c";
    assert_eq!(codes(endless), (Some(StatementTimeout), Some(StatementTimeout)));
    let pattern = format!("SELECT '{}' LIKE '{}'", "a".repeat(300), "%a".repeat(30_000));
    assert_eq!(codes(&pattern), (Some(SqlError), Some(SqlError)));
}

#[test]
fn a_deadline_is_kept_to() {
    let replica = Replica::new(SCHEMA);
    let mut reader = Reader::open(&replica.location).unwrap();
    let (started, asked) = (Instant::now(), Cell::new(0u32));
    let late = || {
        asked.set(asked.get() + 1);
        started.elapsed().as_millis() >= 100
    };
    let budget = Budget { interrupted: Some(&late), ..Budget::default() };
    let endless = statement("SELECT count(*) FROM generate_series(1, 1000000000000)");
    let failure = reader.query(&endless, &budget).unwrap_err();
    assert_eq!(failure.code(), Some(StatementTimeout));
    assert!(asked.get() > 1);
    assert!((100..400).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert!(
        reader.query(&statement("SELECT 1"), &Budget::default()).is_ok(),
        "the connection is as good as before"
    );
}

#[test]
fn answers_are_bounded() {
    let replica = Replica::new(SCHEMA);
    let mut reader = Reader::open(&replica.location).unwrap();
    let budget = Budget { rows: 10, ..Budget::default() };
    let result = reader.query(&statement("SELECT value FROM generate_series(1, 1000000)"), &budget).unwrap();
    assert_eq!((result.rows.rows, result.truncated), (10, true));
    let exact = reader.query(&statement("SELECT value FROM generate_series(1, 10)"), &budget).unwrap();
    assert_eq!((exact.rows.rows, exact.truncated), (10, false));
    let budget = Budget { bytes: 100_000, ..Budget::default() };
    let wide = statement("SELECT hex(zeroblob(10000)) FROM generate_series(1, 1000)");
    let result = reader.query(&wide, &budget).unwrap();
    assert!(result.truncated && result.rows.data.len() < 130_000);
}

#[test]
fn writes_are_refused_where_only_reading_is_asked_for() {
    let replica = Replica::new(SCHEMA);
    let mut reader = Reader::open(&replica.location).unwrap();
    for text in [
        "INSERT INTO t VALUES (1, 'a')",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "UPDATE t SET a = 1 RETURNING a",
        "REPLACE INTO t VALUES (1, 'a')",
    ] {
        let failure = reader.query(&statement(text), &Budget::default()).unwrap_err();
        assert_eq!(failure.code(), Some(SqlForbidden), "{text}");
    }
}

#[test]
fn ddl_is_checked_on_the_shadow() {
    let shadow = Shadow::new(SCHEMA.iter().copied()).unwrap();
    let before = shadow.objects().unwrap();
    for (text, code) in [
        ("CREATE TEMP TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END", SqlForbidden),
        ("CREATE VIRTUAL TABLE f USING fts5(a)", NotSupported),
        ("CREATE VIEW v AS SELECT * FROM _sys", SqlForbidden),
        ("CREATE VIEW v AS SELECT * FROM main._sys", SqlForbidden),
        ("CREATE TABLE _x (a)", ErrorCode::BadName),
        ("ALTER TABLE t RENAME TO _x", ErrorCode::BadName),
        ("CREATE VIEW _v AS SELECT 1", ErrorCode::BadName),
        ("CREATE TABLE sqlite_x (a)", SqlError),
        ("CREATE TABLE t (a)", SqlError),
        ("CREATE TEMP TABLE x (a)", SqlForbidden),
        ("CREATE TABLE x (a, rowid, oid, _rowid_)", NotSupported),
        ("CREATE TABLE x (a DEFAULT (load_extension('x')))", SqlForbidden),
        ("DROP TABLE sqlite_sequence", SqlError),
        ("ATTACH '/x' AS y", SqlForbidden),
    ] {
        assert_eq!(shadow.objects_after(text).unwrap_err().code(), Some(code), "{text}");
        assert_eq!(shadow.objects().unwrap(), before, "{text}");
    }
    for text in [
        "UPDATE sqlite_schema SET sql = 'x'",
        "DELETE FROM sqlite_stat1",
        "UPDATE sqlite_sequence SET seq = 1",
    ] {
        assert!(matches!(shadow.prepare(text).unwrap_err().code(), Some(SqlForbidden | SqlError)), "{text}");
    }
}

#[test]
fn a_bomb_of_views_is_refused() {
    let mut schema: Vec<String> = vec!["CREATE VIEW v0 AS SELECT 1 AS a".into()];
    for level in 1..30 {
        schema.push(format!("CREATE VIEW v{level} AS SELECT x.a FROM v{0} AS x, v{0} AS y", level - 1));
    }
    let shadow = Shadow::new(schema.iter().map(String::as_str)).unwrap();
    let started = Instant::now();
    let failure = shadow.prepare("SELECT * FROM v29").unwrap_err();
    assert!(matches!(failure.code(), Some(SqlError | StatementTimeout)), "{failure}");
    eprintln!("view bomb refused after {:?}: {failure}", started.elapsed());
}

#[test]
fn ddl_that_touches_the_system_is_refused_when_applied() {
    let replica = Replica::new(SCHEMA);
    let mut applier = replica.applier();
    applier.begin().unwrap();
    let view = vec!["CREATE VIEW v AS SELECT * FROM _sys".to_owned()];
    let none = sqlite::TableSums::default();
    assert_eq!(applier.change_schema(2, &view, &none).unwrap_err().code(), Some(SqlForbidden));
    let rows = vec!["CREATE TABLE late (a)".to_owned(), "CREATE UNIQUE INDEX u ON t(a)".to_owned()];
    assert!(applier.change_schema(2, &rows, &none).unwrap().is_some());
    assert!(applier.change_schema(2, &rows, &none).unwrap().is_none(), "the version is reached already");
    applier.commit().unwrap();
    assert_eq!(replica.applier().system().schema_version().unwrap(), 2);
}

#[test]
fn a_unique_index_over_equal_rows_is_refused_and_undone() {
    let replica = Replica::new(SCHEMA);
    replica.execute(&["INSERT INTO t VALUES (1, 'x'), (2, 'x')"]);
    let before = replica.digest();
    let mut applier = replica.applier();
    applier.begin().unwrap();
    let statements = vec!["CREATE TABLE late (a)".to_owned(), "CREATE UNIQUE INDEX u ON t(a)".to_owned()];
    let failure = applier.change_schema(2, &statements, &sqlite::TableSums::default()).unwrap_err();
    assert_eq!(failure.code(), Some(ErrorCode::UniqueViolation));
    applier.commit().unwrap();
    drop(applier);
    assert_eq!(replica.digest(), before);
}
