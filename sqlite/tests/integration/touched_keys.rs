//! The keys that changes touch, as the leader notes them while it executes and when it lands what another has executed.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::Value;
use common::hash::key_hash;
use common::row::ValueRef;
use sqlite::{Budget, KeyColumns, Touched, WatchList};

use crate::support::{Replica, sql};

const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, x)",
    "CREATE TABLE keyed (a TEXT, b INTEGER, v, PRIMARY KEY (a, b)) WITHOUT ROWID",
    "INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0), (3, 'c', 0), (4, 'd', 0)",
    "INSERT INTO keyed VALUES ('k', 1, 0), ('k', 2, 0)",
];

fn watched() -> WatchList {
    let key = |table: &str, columns: &[&str]| KeyColumns {
        table: table.to_owned(),
        columns: columns.iter().map(|&name| name.to_owned()).collect(),
    };
    Arc::new([key("T", &[]), key("t", &["NAME"]), key("keyed", &["b", "a"]), key("t", &["missing"])])
}

fn hashes(keys: &[&[Value]]) -> BTreeSet<u64> {
    keys.iter().map(|key| key_hash(key.iter().map(ValueRef::from))).collect()
}

/// What was touched of a list's key.
fn found(touched: &[Touched], number: usize) -> BTreeSet<u64> {
    match &touched[number] {
        Touched::Hashes(hashes) => hashes.iter().copied().collect(),
        Touched::Any => panic!("number {number} is not told apart"),
    }
}

/// Statements, and the keys that they touch: rowids, names, and the keys of the other table.
type Case<'a> = (&'a str, &'a [i64], &'a [&'a str], &'a [(i64, &'a str)]);

const CASES: &[Case<'_>] = &[
    ("INSERT INTO t VALUES (9, 'i', 0)", &[9], &["i"], &[]),
    ("UPDATE t SET x = 1 WHERE id = 2", &[2], &["b"], &[]),
    ("UPDATE t SET id = 20, name = 'bb' WHERE id = 2", &[2, 20], &["b", "bb"], &[]),
    ("DELETE FROM t WHERE id > 2", &[3, 4], &["c", "d"], &[]),
    ("INSERT OR REPLACE INTO t VALUES (7, 'a', 5)", &[1, 7], &["a"], &[]),
    ("UPDATE keyed SET b = b + 1 WHERE b = 2", &[], &[], &[(2, "k"), (3, "k")]),
    ("DELETE FROM keyed WHERE b = 1.0", &[], &[], &[(1, "k")]),
    ("UPDATE t SET x = 1 WHERE id = 99", &[], &[], &[]),
];

#[test]
fn what_is_executed_and_what_is_landed_touches_the_keys_that_rows_had_and_have() {
    for (statement, rowids, names, others) in CASES {
        let ids: Vec<[Value; 1]> = rowids.iter().map(|id| [Value::Integer(*id)]).collect();
        let named: Vec<[Value; 1]> = names.iter().map(|name| [Value::from(*name)]).collect();
        let keyed: Vec<[Value; 2]> =
            others.iter().map(|(b, a)| [Value::Integer(*b), Value::from(*a)]).collect();
        let expected = [
            hashes(&ids.iter().map(<[_; 1]>::as_slice).collect::<Vec<_>>()),
            hashes(&named.iter().map(<[_; 1]>::as_slice).collect::<Vec<_>>()),
            hashes(&keyed.iter().map(<[_; 2]>::as_slice).collect::<Vec<_>>()),
        ];
        let replica = Replica::new(SCHEMA);
        let mut executor = replica.executor();
        executor.begin().unwrap();
        executor.watch(&watched());
        executor.run(&[sql(statement)], &Budget::default()).unwrap();
        let (effects, _) = executor.take_changes();
        let executed = executor.take_touched().0;
        executor.rollback();
        drop(executor);
        let mut applier = replica.applier();
        applier.watch(&watched());
        applier.begin().unwrap();
        applier.apply(&effects).unwrap();
        let landed = applier.take_touched().0;
        applier.rollback();
        for (number, expected) in expected.iter().enumerate() {
            assert_eq!(&found(&executed, number), expected, "executed: {statement}");
            assert_eq!(&found(&landed, number), expected, "landed: {statement}");
        }
        let any = if rowids.is_empty() { Touched::Hashes(Vec::new()) } else { Touched::Any };
        assert_eq!((&executed[3], &landed[3]), (&any, &any), "a column that is not there: {statement}");
    }
}

#[test]
fn a_table_that_changes_its_columns_is_watched_on() {
    let replica = Replica::new(SCHEMA);
    let mut executor = replica.executor();
    executor.watch(&watched());
    let mut applier = replica.applier();
    applier.begin().unwrap();
    let added = ["ALTER TABLE t ADD COLUMN missing".to_owned(), "ALTER TABLE t DROP COLUMN x".to_owned()];
    applier.change_schema(2, &added, &sqlite::TableSums::default()).unwrap();
    applier.commit().unwrap();
    executor.begin().unwrap();
    executor.run(&[sql("UPDATE t SET missing = 5 WHERE id = 1")], &Budget::default()).unwrap();
    let touched = executor.take_touched().0;
    executor.rollback();
    assert_eq!(found(&touched, 3), hashes(&[&[Value::Null], &[Value::Integer(5)]]));
    assert_eq!(found(&touched, 1), hashes(&[&[Value::from("a")]]));
}

#[test]
fn of_very_many_keys_none_is_told() {
    let replica = Replica::new(SCHEMA);
    let mut executor = replica.executor();
    executor.watch(&watched());
    executor.begin().unwrap();
    let many = "INSERT INTO t SELECT value, value, value FROM generate_series(100, 40000)";
    executor.run(&[sql(many)], &Budget::default()).unwrap();
    assert_eq!(executor.take_touched().0[0], Touched::Any);
    executor.rollback();
}
