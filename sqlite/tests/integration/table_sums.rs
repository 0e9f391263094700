//! Sums of tables follow every change, also of the schema, and tell a file that is not what was written.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use crate::support::Replica;
use common::entry::{Change, Effect, Effects};
use sqlite::{Applier, Digest, Finding, Maintenance, TableSum, TableSums, scrub};

const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b REAL)",
    "CREATE TABLE gone (x)",
    "CREATE TABLE keyed (k TEXT, v, PRIMARY KEY (k)) WITHOUT ROWID",
];

/// A replica whose sums are kept as a storage node keeps them.
struct Kept {
    replica: Replica,
    applier: Applier,
    sums: TableSums,
    version: u64,
}

impl Kept {
    fn new() -> Kept {
        let replica = Replica::new(SCHEMA);
        let applier = replica.applier();
        let mut kept = Kept { replica, applier, sums: TableSums::default(), version: 1 };
        kept.apply(&["INSERT INTO t SELECT value, 'a' || value, value FROM generate_series(1, 50)"]);
        kept.apply(&[
            "INSERT INTO gone VALUES (1), (2.5), (NULL)",
            "INSERT INTO keyed VALUES ('k', 1), ('l', NULL)",
        ]);
        kept
    }

    /// Runs statements on a copy of the schema and lands their rows.
    fn apply(&mut self, statements: &[&str]) {
        let mut executor = self.replica.executor();
        executor.begin().unwrap();
        let work: Vec<_> = statements.iter().map(|text| crate::support::sql(text)).collect();
        executor.run(&work, &sqlite::Budget::default()).unwrap();
        let (_, changes) = executor.take_changes();
        self.sums.add(&changes);
        let sums = self.sums.clone();
        executor
            .commit(|system| sums.names().try_for_each(|table| system.put_table_sum(table, sums.get(table))))
            .unwrap();
        self.assert_followed(statements);
    }

    fn change_schema(&mut self, statements: &[&str]) {
        self.version += 1;
        let texts: Vec<String> = statements.iter().map(|&text| text.to_owned()).collect();
        self.applier.begin().unwrap();
        let sums = self.applier.change_schema(self.version, &texts, &self.sums).unwrap();
        self.sums = sums.expect("a new version");
        let system = self.applier.system();
        system.remove_table_sums().unwrap();
        self.sums.names().for_each(|table| system.put_table_sum(table, self.sums.get(table)).unwrap());
        self.applier.commit().unwrap();
        self.assert_followed(statements);
    }

    /// What was kept up with the changes is what reading everything finds.
    fn assert_followed(&self, statements: &[&str]) {
        let read = Maintenance::open(&self.replica.location).unwrap().digest().unwrap();
        assert_eq!(self.applier.digest(&self.sums).unwrap(), read, "after {statements:?}");
        assert_eq!(scrub(&self.replica.location, &|_| true).unwrap(), Finding::Sound, "after {statements:?}");
    }
}

#[test]
fn sums_follow_every_change_of_the_schema() {
    let mut kept = Kept::new();
    for statements in [
        &["ALTER TABLE t ADD COLUMN c"][..],
        &["ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'x'"],
        &["ALTER TABLE t RENAME COLUMN a TO name"],
        &["ALTER TABLE t DROP COLUMN b"],
        &["ALTER TABLE t RENAME TO u"],
        &["DROP TABLE gone", "CREATE TABLE gone (x)"],
        &["ALTER TABLE u DROP COLUMN d", "ALTER TABLE u ADD COLUMN d TEXT"],
        &["CREATE INDEX i ON u(name)", "CREATE UNIQUE INDEX j ON keyed(v)"],
        &["DROP TABLE gone"],
        &["CREATE TABLE more (id INTEGER PRIMARY KEY AUTOINCREMENT, x)"],
    ] {
        kept.change_schema(statements);
    }
    kept.apply(&["UPDATE u SET name = NULL, c = 1.0 WHERE id < 9", "INSERT INTO more(x) VALUES (1), (2)"]);
    kept.apply(&["DELETE FROM u WHERE id > 40", "DELETE FROM more WHERE x = 2"]);
    assert_eq!(kept.sums.rows(), 40 + 2 + 1);
}

#[test]
fn a_change_of_the_schema_reads_only_the_tables_that_it_touches() {
    let mut kept = Kept::new();
    // Sums that reading would not find: they are still there where nothing was read.
    let untrue = |table: &str| (table.to_owned(), TableSum { rows: 7, digest: Digest(7) });
    kept.sums = ["t", "gone", "keyed"].map(untrue).into_iter().collect();
    let statements = [
        "CREATE TABLE more (x)",
        "CREATE INDEX i ON t(a)",
        "ALTER TABLE t ADD COLUMN c",
        "ALTER TABLE gone RENAME TO there",
        "ALTER TABLE keyed ADD COLUMN d DEFAULT 5",
    ];
    kept.applier.begin().unwrap();
    let sums = kept.applier.change_schema(2, &statements.map(str::to_owned), &kept.sums).unwrap().unwrap();
    kept.applier.commit().unwrap();
    assert_eq!([sums.get("t").rows, sums.get("there").rows, sums.get("keyed").rows], [7, 7, 2]);
}

#[test]
fn a_scrub_finds_a_row_that_was_changed_and_one_that_was_removed() {
    for forged in [
        Change::Delete { key: vec![7.into()], old_row: None },
        Change::Update {
            old_key: vec![7.into()],
            key: vec![7.into()],
            old_row: None,
            row: vec![7.into(), "forged".into(), 7.0.into()],
        },
    ] {
        let kept = Kept::new();
        let mut other = Applier::open(&kept.replica.location).unwrap();
        other.begin().unwrap();
        let rows = vec![Effect { table: 0, change: forged }];
        other.apply(&Effects { tables: vec!["t".into()], rows }).unwrap();
        other.commit().unwrap();
        let found = scrub(&kept.replica.location, &|_| true).unwrap();
        assert!(matches!(&found, Finding::Damaged(what) if what.contains("the rows of t")), "{found:?}");
    }
}

#[test]
fn a_scrub_finds_bytes_that_the_disk_has_changed() {
    let kept = Kept::new();
    Maintenance::open(&kept.replica.location).unwrap().checkpoint(Duration::ZERO).unwrap();
    let path = &kept.replica.location.path;
    let bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(3).position(|text| text == b"a37").unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_at(b"b", at as u64).unwrap();
    assert!(matches!(scrub(&kept.replica.location, &|_| true).unwrap(), Finding::Damaged(_)));
}

#[test]
fn a_scrub_that_is_told_to_ends() {
    let kept = Kept::new();
    kept.replica
        .execute(&["INSERT INTO t SELECT value, hex(zeroblob(500)), 0 FROM generate_series(100, 400)"]);
    assert_eq!(scrub(&kept.replica.location, &|_| false).unwrap(), Finding::Ended);
}
