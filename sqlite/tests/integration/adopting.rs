//! What one partition holds is taken over by another, and again after it has changed.

use crate::support::Replica;
use common::entry::{Change, Effects};
use common::idempotency::{IdempotencyKey, Keeps, Kept, Keyed, KeyedRequest};
use common::protocol::{StatementResult, WorkItem};
use common::replacing::RowKey;
use common::{PartitionId, Value};
use sqlite::{Budget, Flow, Reader, Snapshot};

const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b REAL)",
    "CREATE TABLE plain (x, y)",
    "CREATE INDEX by_x ON plain (x)",
    "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT)",
    "CREATE TABLE keyed (k TEXT COLLATE NOCASE, n REAL, v, PRIMARY KEY (k, n)) WITHOUT ROWID",
    "CREATE TABLE made (a INTEGER, g AS (a * 2), s TEXT AS ('s' || a) STORED, z TEXT)",
    "CREATE VIEW seen AS SELECT a FROM t",
];

fn with_snapshot<T>(replica: &Replica, read: impl FnOnce(&Snapshot<'_>) -> T) -> T {
    let mut reader = Reader::open(&replica.location).unwrap();
    let snapshot = reader.snapshot().unwrap();
    read(&snapshot)
}

fn adopt(replica: &Replica, pieces: Vec<Effects>) {
    let mut executor = replica.executor();
    executor.begin().unwrap();
    for effects in pieces {
        executor.run(&[WorkItem::Adopted(effects)], &Budget::default()).unwrap();
    }
    let _ = executor.take_effects();
    executor.commit(|_| Ok(())).unwrap();
}

fn rows(replica: &Replica) -> Vec<Vec<Vec<Value>>> {
    ["t", "plain", "counted", "keyed", "made", "sqlite_sequence"]
        .iter()
        .map(|table| replica.read(&format!("SELECT * FROM {table} ORDER BY 1, 2")))
        .collect()
}

fn keys_of(effects: &Effects) -> Vec<RowKey> {
    let mut keys = Vec::new();
    for effect in &effects.rows {
        let table = effects.tables[usize::from(effect.table)].clone();
        let named = match &effect.change {
            Change::Insert { key, .. } | Change::Delete { key, .. } => vec![key],
            Change::Update { old_key, key, .. } => vec![old_key, key],
            Change::Schema(_) => continue,
        };
        keys.extend(named.into_iter().map(|key| RowKey { table: table.clone(), key: key.clone() }));
    }
    keys
}

#[test]
fn a_copy_out_of_images_is_the_same_and_follows_changes() {
    let source = Replica::new(SCHEMA);
    source.execute(&[
        "INSERT INTO t VALUES (1,'a',1), (2,'b',2.5), (3,'c',NULL)",
        "INSERT INTO plain VALUES (1,2), (NULL,x'01'), ('5','6')",
        "INSERT INTO counted(v) VALUES ('x'), ('y')",
        "DELETE FROM counted WHERE id = 2",
        "INSERT INTO keyed VALUES ('K', 1, 'one'), ('k', 2, 'two')",
        "INSERT INTO made(a, z) VALUES (7, 'z')",
    ]);
    let mut pieces = Vec::new();
    let statements = with_snapshot(&source, |snapshot| {
        let hand_on = |effects| {
            pieces.push(effects);
            Flow::Continue
        };
        snapshot.images(hand_on).unwrap();
        snapshot.definition().unwrap()
    });
    assert_eq!(statements, SCHEMA, "the definition is the client's own, in order");
    let target = Replica::new(&statements.iter().map(String::as_str).collect::<Vec<_>>());
    adopt(&target, pieces.clone());
    adopt(&target, pieces);
    assert_eq!(rows(&target), rows(&source), "taken over twice");

    // Unique values change places, keys move, rows go.
    let changed = source.execute(&[
        "UPDATE t SET a = 'tmp' WHERE id = 1",
        "UPDATE t SET a = 'a' WHERE id = 2",
        "UPDATE t SET a = 'b' WHERE id = 1",
        "UPDATE t SET id = 9 WHERE id = 3",
        "DELETE FROM plain WHERE x = 1",
        "INSERT INTO counted(v) VALUES ('z')",
        "UPDATE keyed SET n = 5 WHERE k = 'k' AND n = 2",
    ]);
    let keys = keys_of(&changed);
    let now = with_snapshot(&source, |snapshot| snapshot.images_by_key(&keys).unwrap());
    assert_eq!(now.rows.len(), keys.len(), "an answer for each key, in order");
    let mut pieces = Vec::new();
    let mut seen = Vec::new();
    for (key, effect) in keys.iter().zip(now.rows) {
        if !seen.contains(key) {
            seen.push(key.clone());
            pieces.push(effect);
        }
    }
    adopt(&target, vec![Effects { tables: now.tables, rows: pieces }]);
    assert_eq!(rows(&target), rows(&source), "after changes");
}

fn key(keeps: Keeps) -> WorkItem {
    let key = IdempotencyKey::parse(b"k").unwrap();
    WorkItem::Key(Keyed { request: KeyedRequest { key, digest: 1 }, keeps })
}

/// What is kept under the key.
fn kept(replica: &Replica) -> Option<Kept> {
    let mut executor = replica.executor();
    executor.begin().unwrap();
    let results: Vec<StatementResult> = executor.run(&[key(Keeps::Nothing)], &Budget::default()).unwrap();
    executor.rollback();
    let rows = results[0].rows.to_values().unwrap();
    let Some([Value::Blob(bytes)]) = rows.first().map(Vec::as_slice) else { return None };
    Some(common::protocol::decode(bytes).unwrap())
}

#[test]
fn an_answer_that_one_partition_keeps_counts_more_than_who_keeps_it() {
    let keeping = |keeps: Keeps| {
        let replica = Replica::new(&["CREATE TABLE t (id INTEGER PRIMARY KEY)"]);
        let mut executor = replica.executor();
        executor.begin().unwrap();
        executor.run(&[key(keeps)], &Budget::default()).unwrap();
        let effects = executor.take_effects();
        executor.commit(|_| Ok(())).unwrap();
        effects
    };
    let answer = Kept::Answer(b"done".as_slice().into());
    let answers = keeping(Keeps::Answer(b"done".as_slice().into()));
    for pointer in [Keeps::Decider(PartitionId(7)), Keeps::Claim(PartitionId(7))] {
        let pointers = keeping(pointer);
        for order in [[&pointers, &answers], [&answers, &pointers]] {
            let target = Replica::new(&["CREATE TABLE t (id INTEGER PRIMARY KEY)"]);
            adopt(&target, order.map(Clone::clone).to_vec());
            assert_eq!(kept(&target), Some(answer.clone()));
        }
    }
}
