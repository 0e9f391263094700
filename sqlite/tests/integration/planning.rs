//! What a coordinator learns from the shadow, and runs on gathered rows.

use crate::support::statement;
use common::ErrorCode;
use common::row::RowBlock;
use common::value::Affinity;
use sqlite::schema::{Generated, IndexOrigin};
use sqlite::{Budget, Flow, Gathered, MergeDatabase, Shadow, TableAccess, Workspace, WorkspaceLimits};

const SCHEMA: &[&str] = &[
    "CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT COLLATE NOCASE UNIQUE NOT NULL, age INT DEFAULT 18,
        name VARCHAR(20) NOT NULL CHECK (length(name) < 10), shout AS (upper(name)))",
    "CREATE TABLE orders (user INTEGER REFERENCES users(id) ON DELETE CASCADE, n INTEGER, total REAL, note, PRIMARY KEY (user, n)) WITHOUT ROWID",
    "CREATE UNIQUE INDEX young ON users(age, lower(name)) WHERE age < 30",
    "CREATE VIEW rich AS SELECT user, total FROM orders WHERE total > 100",
    "CREATE TABLE typed (a ANY, b INTEGER) STRICT",
];

fn shadow() -> Shadow {
    Shadow::new(SCHEMA.iter().copied()).unwrap()
}

fn access(table: &str, columns: &[&str]) -> TableAccess {
    TableAccess { table: table.into(), columns: columns.iter().map(|&c| c.into()).collect() }
}

#[test]
fn the_schema_is_read_as_sqlite_understood_it() {
    let shadow = shadow();
    let schema = shadow.schema();
    let users = schema.table("USERS").unwrap();
    assert_eq!((users.rowid_alias, users.rowid_name, users.autoincrement), (Some(0), Some("rowid"), true));
    let email = &users.columns[1];
    assert_eq!((email.affinity, email.collation.as_str(), email.not_null), (Affinity::Text, "NOCASE", true));
    assert_eq!(users.columns[2].default.as_deref(), Some("18"));
    assert_eq!(users.columns[4].generated, Generated::Virtual);
    assert_eq!(users.indexes.len(), 2);
    let unique = &users.indexes[0];
    assert_eq!((unique.unique, unique.origin, unique.partial), (true, IndexOrigin::Unique, false));
    assert_eq!((unique.terms[0].column, unique.terms[0].collation.as_str()), (Some(1), "NOCASE"));
    let young = &users.indexes[1];
    assert_eq!((young.name.as_str(), young.partial, young.terms[1].column), ("young", true, None));
    let orders = schema.table("orders").unwrap();
    assert_eq!((orders.primary_key.as_slice(), orders.without_rowid), (&[0, 1][..], true));
    assert_eq!(orders.foreign_keys[0].parent, "users");
    assert_eq!(orders.foreign_keys[0].on_delete, "CASCADE");
    assert_eq!(schema.view("rich").unwrap().sql, SCHEMA[3]);
    assert_eq!(schema.table("typed").unwrap().columns[0].affinity, Affinity::Blob);
    assert!(users.names_rowid("OID") && users.names_rowid("id") && !users.names_rowid("email"));
}

#[test]
fn columns_that_only_a_join_compares_are_read() {
    let shadow = Shadow::new([
        "CREATE TABLE a (k, x, y)",
        "CREATE TABLE b (k, z)",
        "CREATE VIEW v AS SELECT x, z FROM a JOIN b USING (k)",
    ])
    .unwrap();
    let reads = |sql: &str| {
        let mut reads = shadow.prepare(sql).unwrap().reads;
        reads.retain(|access| access.table != "v");
        reads.iter_mut().for_each(|access| access.columns.sort());
        reads.sort_by(|left, right| left.table.cmp(&right.table));
        reads
    };
    let with_key = [access("a", &["k", "x"]), access("b", &["k", "z"])];
    assert_eq!(reads("SELECT x, z FROM a JOIN b USING (k)"), with_key);
    assert_eq!(
        reads("SELECT (SELECT z FROM b), x FROM a WHERE 1 IN (SELECT 1 FROM a JOIN b USING (k))"),
        with_key
    );
    assert_eq!(reads("SELECT x, z FROM v"), with_key);
    let natural = [access("a", &["k", "x", "y"]), access("b", &["k", "z"])];
    assert_eq!(reads("SELECT x, z FROM a NATURAL JOIN b"), natural);
}

#[test]
fn a_statement_is_described() {
    let shadow = shadow();
    let read = shadow.prepare("SELECT a.id, a.age + ?, r.total AS t FROM users a JOIN rich r ON r.user = a.id WHERE a.name = :who").unwrap();
    assert_eq!(read.columns, ["id", "a.age + ?", "t"]);
    assert_eq!(read.types, ["INTEGER", "", "REAL"]);
    assert_eq!(read.parameters, [None, Some("who".to_owned())]);
    assert!(read.read_only && !read.changes_schema && !read.explain);
    let mut reads = read.reads.clone();
    reads.iter_mut().for_each(|access| access.columns.sort());
    assert!(reads.contains(&access("users", &["age", "id", "name"])), "{reads:?}");
    assert!(reads.contains(&access("orders", &["total", "user"])), "{reads:?}");

    let count = shadow.prepare("SELECT count(*), lower('X') FROM orders").unwrap();
    assert_eq!(count.reads, [access("orders", &[])]);
    assert_eq!(count.functions, ["count", "lower"]);
    let write = shadow.prepare("UPDATE orders SET note = 'x', total = total + 1 WHERE n = 3").unwrap();
    assert_eq!(write.writes, [access("orders", &["note", "total"])]);
    assert!(!write.read_only);
    assert!(shadow.prepare("EXPLAIN SELECT 1").unwrap().explain);
    assert!(shadow.prepare("CREATE TABLE x (a)").unwrap().changes_schema);
    let failure = shadow.prepare("SELECT nope FROM users").unwrap_err();
    assert_eq!(
        (failure.code(), failure.to_string().as_str()),
        (Some(ErrorCode::SqlError), "no such column: nope")
    );
}

#[test]
fn triggers_that_foreign_keys_set_off_look_through_tables() {
    let trigger =
        "CREATE TRIGGER gone BEFORE DELETE ON orders BEGIN INSERT INTO log SELECT count(*) FROM orders; END";
    let schema = SCHEMA.iter().copied().chain(["CREATE TABLE log (n)", trigger]);
    let shadow = Shadow::new(schema).unwrap();
    let scans_inside = |sql: &str| shadow.prepare(sql).unwrap().consequences.scans_inside;
    assert_eq!(scans_inside("DELETE FROM orders"), ["orders"]);
    assert_eq!(scans_inside("DELETE FROM users WHERE id = 1"), ["orders"]);
    // What foreign keys look for is looked up by its key.
    assert!(scans_inside("UPDATE users SET id = 2 WHERE id = 1").is_empty());
}

#[test]
fn ddl_is_tried_without_being_kept() {
    let shadow = shadow();
    let before = shadow.objects().unwrap();
    let after = shadow.objects_after("CREATE TABLE copied AS SELECT id, email AS mail FROM users").unwrap();
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(after.last().unwrap().name, "copied");
    let renamed = shadow.objects_after("ALTER TABLE orders RENAME COLUMN total TO sum").unwrap();
    assert!(renamed.iter().any(|object| object.name == "rich" && object.sql.contains("sum")), "{renamed:?}");
    assert_eq!(shadow.objects().unwrap(), before);
    let dropped = shadow.objects_after("DROP TABLE users").unwrap();
    assert!(!dropped.iter().any(|object| object.table == "users"));
}

#[test]
fn the_schema_is_answered_by_the_shadow() {
    let shadow = shadow();
    let rows =
        |text: &str| shadow.query(&statement(text), &Budget::default()).unwrap().rows.to_values().unwrap();
    assert_eq!(rows("SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_%' ESCAPE '\\'"), [[0.into()]]);
    assert_eq!(rows("SELECT name FROM sqlite_schema WHERE type = 'view'"), [["rich".into()]]);
    assert_eq!(rows("PRAGMA table_info(typed)").len(), 2);
    assert_eq!(rows("SELECT name FROM pragma_table_info('typed')").len(), 2);
}

#[test]
fn the_clients_text_runs_on_gathered_rows() {
    let shadow = shadow();
    let schema = shadow.schema();
    let (users, orders) = (schema.table("users").unwrap(), schema.table("orders").unwrap());
    let mut merge = MergeDatabase::new(&Workspace::default()).unwrap();
    // Neither email nor name is gathered although both are NOT NULL and one is UNIQUE; `shout` is computed.
    let gathered = Gathered { table: users, rowid: false, columns: &[0, 4] };
    merge.create_relation(&gathered).unwrap();
    let rows = [vec![2.into(), "B".into()], vec![1.into(), "A".into()]];
    merge.load(&gathered, &RowBlock::from_values(2, &rows)).unwrap();
    let gathered = Gathered { table: orders, rowid: false, columns: &[0, 1, 2] };
    merge.create_relation(&gathered).unwrap();
    let rows = [vec![2.into(), 1.into(), 150.0.into()], vec![1.into(), 1.into(), 50.0.into()]];
    merge.load(&gathered, &RowBlock::from_values(3, &rows)).unwrap();
    merge.create(&schema.view("rich").unwrap().sql).unwrap();
    let text = statement("SELECT u.shout, r.total FROM users AS u LEFT JOIN rich AS r ON r.user = u.id");
    let answer = merge.query(&text, &Budget::default()).unwrap();
    assert_eq!(
        answer.rows.to_values().unwrap(),
        [["A".into(), common::Value::Null], ["B".into(), 150.0.into()]]
    );
    let mut streamed = 0;
    let big = statement("SELECT printf('%1000s', value) FROM generate_series(1, 1000)");
    merge
        .stream(
            &big,
            &Budget::unlimited(),
            |names, _| {
                assert_eq!(names.len(), 1);
                Flow::Continue
            },
            |block| {
                streamed += block.rows;
                assert!(block.data.len() < 70_000);
                Flow::Continue
            },
        )
        .unwrap();
    assert_eq!(streamed, 1_000);
    let mut blocks = 0;
    merge
        .stream(
            &big,
            &Budget::unlimited(),
            |_, _| Flow::Continue,
            |_| {
                blocks += 1;
                Flow::Stop
            },
        )
        .unwrap();
    assert_eq!(blocks, 1);
}

/// Blocks of two rows each.
fn source(rows: i64) -> sqlite::RowSource {
    let mut next = 0;
    Box::new(move || {
        if next >= rows {
            return Ok(None);
        }
        next += 2;
        let block = [vec![(next - 1).into(), "odd".into()], vec![next.into(), "even".into()]];
        Ok(Some(RowBlock::from_values(2, &block)))
    })
}

#[test]
fn a_stream_is_scanned_as_it_comes() {
    let shadow = shadow();
    let users = shadow.schema().table("users").unwrap();
    let gathered = Gathered { table: users, rowid: true, columns: &[3] };
    let run = |text: &str| {
        let mut merge = MergeDatabase::new(&Workspace::default()).unwrap();
        merge.create_stream(&gathered, None).unwrap();
        let materialised = merge.scanned_once(text, false).unwrap().is_empty();
        let mut rows = source(10);
        if materialised {
            merge.settle(&gathered).unwrap();
            while let Some(block) = rows().unwrap() {
                merge.load(&gathered, &block).unwrap();
            }
        } else {
            merge.feed("users", rows).unwrap();
        }
        let answer = merge.query(&statement(text), &Budget::default()).unwrap();
        (materialised, answer)
    };
    let (materialised, answer) = run("SELECT rowid, name, email FROM users WHERE name = 'odd' LIMIT 2");
    assert!(!materialised);
    assert_eq!(
        answer.rows.to_values().unwrap(),
        [[1.into(), "odd".into(), common::Value::Null], [3.into(), "odd".into(), common::Value::Null]]
    );
    assert_eq!(answer.types, ["INTEGER", "VARCHAR(20)", "TEXT"]);
    let (materialised, answer) = run("SELECT name, count(*) FROM users GROUP BY name ORDER BY 1");
    assert!(!materialised);
    assert_eq!(answer.rows.to_values().unwrap(), [["even".into(), 5.into()], ["odd".into(), 5.into()]]);
    for twice in [
        "SELECT count(*) FROM users a JOIN users b ON a.rowid = b.rowid",
        "SELECT count(*) FROM users WHERE rowid IN (SELECT rowid FROM users)",
        "SELECT count(*) FROM users AS o WHERE EXISTS (SELECT 1 FROM users WHERE rowid = o.rowid)",
        "SELECT count(*) FROM (SELECT value FROM generate_series(1, 1)) CROSS JOIN users",
    ] {
        let (materialised, answer) = run(twice);
        assert!(materialised, "{twice}");
        assert_eq!(answer.rows.to_values().unwrap(), [[10.into()]], "{twice}");
    }
}

#[test]
fn a_streams_own_error_is_told() {
    let shadow = shadow();
    let users = shadow.schema().table("users").unwrap();
    let mut merge = MergeDatabase::new(&Workspace::default()).unwrap();
    let broken = Box::new(|| Err(common::Error::new(ErrorCode::NoQuorum, "the partition is gone")));
    merge.create_stream(&Gathered { table: users, rowid: false, columns: &[3] }, None).unwrap();
    let text = "SELECT count(*) FROM users";
    assert_eq!(merge.scanned_once(text, false).unwrap(), ["users"]);
    merge.feed("users", broken).unwrap();
    let failure = merge.query(&statement(text), &Budget::default()).unwrap_err();
    assert_eq!(failure.code(), Some(ErrorCode::NoQuorum));
    let again = merge.query(&statement(text), &Budget::default()).unwrap_err();
    assert!(sqlite::was_read_twice(&again.into()));
}

/// A merging database in which the tables `a`, `b` and `c` are streams of that many rows.
fn three_streams(rows: [u64; 3]) -> MergeDatabase {
    let shadow = Shadow::new([
        "CREATE TABLE a (x INTEGER, y TEXT)",
        "CREATE TABLE b (x INTEGER, y TEXT)",
        "CREATE TABLE c (x INTEGER, y TEXT)",
    ])
    .unwrap();
    let mut merge = MergeDatabase::new(&Workspace::default()).unwrap();
    for (name, rows) in ["a", "b", "c"].into_iter().zip(rows) {
        let table = shadow.schema().table(name).unwrap();
        merge.create_stream(&Gathered { table, rowid: true, columns: &[0, 1] }, Some(rows)).unwrap();
    }
    merge
}

#[test]
fn the_tables_that_a_plan_scans_once_are_found() {
    let once = |text: &str| {
        let mut found = three_streams([1_000_000, 100, 100]).scanned_once(text, false).unwrap();
        found.sort();
        found.join(" ")
    };
    assert_eq!(once("SELECT * FROM a AS other ORDER BY y"), "a");
    assert_eq!(once("SELECT y, count(*) FROM a GROUP BY y HAVING count(*) > 1"), "a");
    assert_eq!(once("SELECT x FROM a UNION ALL SELECT x FROM b UNION ALL SELECT x FROM c"), "a b c");
    assert_eq!(once("SELECT x FROM a EXCEPT SELECT x FROM b"), "a b");
    assert_eq!(once("SELECT x FROM a WHERE x IN (SELECT x FROM b)"), "a b");
    assert_eq!(once("SELECT x, (SELECT max(y) FROM b) FROM a"), "a b");
    assert_eq!(once("SELECT x, (SELECT max(y) FROM b WHERE b.x = a.x) FROM a"), "a");
    assert_eq!(once("SELECT x, row_number() OVER (ORDER BY y) FROM a"), "a");
    assert_eq!(once("SELECT count(*) FROM a one, a two"), "");
    assert_eq!(once("SELECT * FROM a FULL JOIN b ON a.x = b.x"), "");
    assert_eq!(once("SELECT x FROM a UNION SELECT y FROM a"), "");
    let recursive = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + a.x FROM n JOIN a ON a.x > n.i)
        SELECT count(*) FROM n";
    assert_eq!(once(recursive), "");
    let joined = once("SELECT count(*) FROM a JOIN b ON a.x = b.x LEFT JOIN c ON c.x = a.x");
    assert!(["a", "b", ""].contains(&joined.as_str()), "{joined}");
}

#[test]
fn rows_beyond_the_memory_are_sorted_on_disk_within_its_limit() {
    let sorted = |disk: u64| {
        let workspace =
            Workspace::new(WorkspaceLimits { memory: 1 << 20, disk, ..WorkspaceLimits::default() });
        let shadow = Shadow::new(["CREATE TABLE a (x INTEGER, y TEXT)"]).unwrap();
        let table = shadow.schema().table("a").unwrap();
        let mut merge = MergeDatabase::new(&workspace).unwrap();
        merge.create_stream(&Gathered { table, rowid: true, columns: &[0, 1] }, None).unwrap();
        let mut left = 100;
        let blocks = move || {
            left -= 1;
            let rows: Vec<_> = (0..100)
                .map(|row| {
                    let number = (left * 100 + row) * 7_919 % 10_000;
                    vec![(left * 100 + row).into(), number.into(), "y".repeat(500).into()]
                })
                .collect();
            Ok((left >= 0).then(|| RowBlock::from_values(3, &rows)))
        };
        merge.feed("a", Box::new(blocks)).unwrap();
        let answer = merge.query(&statement("SELECT x, y FROM a ORDER BY x"), &Budget::unlimited());
        let used = workspace.used();
        drop(merge);
        assert_eq!((workspace.used().disk, workspace.used().databases), (0, 0));
        (answer, used)
    };
    let (answer, used) = sorted(1 << 30);
    let rows = answer.unwrap().rows.to_values().unwrap();
    assert!(rows.iter().map(|row| row[0].clone()).eq((0..10_000).map(common::Value::from)));
    assert!(used.written > 4 << 20, "{used:?}");
    let (answer, _) = sorted(2 << 20);
    let error = common::Error::from(answer.unwrap_err());
    assert_eq!(error.code, ErrorCode::ResultTooBig, "{error}");
    assert!(error.message.contains("temporary disk space") && error.hint.is_some(), "{error:?}");
}

#[test]
fn the_order_of_a_join_follows_what_is_expected() {
    let plan = |a: u64, b: u64| {
        let shadow = Shadow::new(["CREATE TABLE a (x INTEGER)", "CREATE TABLE b (x INTEGER)"]).unwrap();
        let mut merge = MergeDatabase::new(&Workspace::default()).unwrap();
        for name in ["a", "b"] {
            let table = shadow.schema().table(name).unwrap();
            merge.create_relation(&Gathered { table, rowid: true, columns: &[0] }).unwrap();
        }
        // Once more, as after a stream that was settled.
        merge.expect_rows([("a", 1), ("b", 1)]).unwrap();
        merge.expect_rows([("a", a), ("b", b)]).unwrap();
        let sql = statement("EXPLAIN QUERY PLAN SELECT count(*) FROM a JOIN b ON a.x = b.x");
        let lines = merge.query(&sql, &Budget::default()).unwrap().rows.to_values().unwrap();
        lines.iter().find_map(|line| match &line[3] {
            common::Value::Text(text) => text.strip_prefix("SCAN ").map(str::to_owned),
            _ => None,
        })
    };
    // The large one is scanned and the small one searched.
    assert_eq!(plan(1_000_000, 10).as_deref(), Some("a"));
    assert_eq!(plan(10, 1_000_000).as_deref(), Some("b"));
}
