//! What the leader executes, replicas apply.

use crate::support::{Replica, named, sql, with};
use common::ErrorCode;
use common::entry::{Change, Effect, Effects};
use common::protocol::WorkItem;
use sqlite::{Budget, Executor, Failure};

const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b REAL, c)",
    "CREATE TABLE plain (x, y INTEGER CHECK (y < 1000))",
    "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT NOT NULL)",
    "CREATE TABLE keyed (k TEXT COLLATE NOCASE, n REAL, v, PRIMARY KEY (k, n)) WITHOUT ROWID",
    "CREATE TABLE made (a INTEGER, g AS (a * 2), s TEXT AS ('s' || a) STORED, z TEXT)",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE)",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent(id) ON DELETE CASCADE ON UPDATE CASCADE,
        q TEXT REFERENCES parent(code) DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE loose (id INTEGER PRIMARY KEY DESC, v)",
    "CREATE TABLE rowid (rowid TEXT, v)",
    "CREATE TABLE only (id INTEGER PRIMARY KEY)",
    "CREATE TABLE strict (a INTEGER, b ANY) STRICT",
];

fn pair() -> (Replica, Replica) {
    (Replica::new(SCHEMA), Replica::new(SCHEMA))
}

/// Runs each statement as a request of one batch on the leader, applies the batch on the follower, and
/// compares.
fn replicate(leader: &Replica, follower: &Replica, statements: &[&str]) {
    let effects = leader.execute(statements);
    follower.apply(&effects);
    assert_eq!(leader.digest(), follower.digest(), "after {statements:?}: {effects:?}");
}

#[test]
fn every_kind_of_change_arrives() {
    let (leader, follower) = pair();
    for batch in [
        &["INSERT INTO t VALUES (1,'a',1,x'00'), (2,'b',2.5,NULL), (3,NULL,NULL,'c')"][..],
        &["INSERT OR REPLACE INTO t VALUES (4,'a',9,9)", "UPDATE t SET id = id + 10 WHERE id > 2"],
        &["INSERT INTO t VALUES (2,'z',0,0) ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = b + 1"],
        &["INSERT OR IGNORE INTO t VALUES (2,'y',0,0)", "DELETE FROM t WHERE id = 2"],
        &[
            "INSERT INTO plain VALUES (1,2), (3,4), ('5','6')",
            "UPDATE plain SET rowid = rowid + 100 WHERE x = 3",
        ],
        &["UPDATE plain SET y = y * 2", "DELETE FROM plain"],
        &["INSERT INTO plain DEFAULT VALUES"],
        &["INSERT INTO counted(v) VALUES ('x'), ('y')", "DELETE FROM counted WHERE id = 2"],
        &["INSERT INTO counted(v) SELECT 'none' WHERE 0", "INSERT INTO counted(v) VALUES ('z')"],
        &["INSERT INTO keyed VALUES ('A', 1, 1), ('b', 2, 2)", "UPDATE keyed SET k = 'a' WHERE k = 'A'"],
        &["REPLACE INTO keyed VALUES ('a', 1.0, 'new')", "UPDATE keyed SET n = n + 0.5, v = n"],
        &["DELETE FROM keyed WHERE k = 'B'"],
        &["INSERT INTO made(a, z) VALUES (1,'q'), (NULL, NULL)", "UPDATE made SET a = 7 WHERE z = 'q'"],
        &[
            "INSERT INTO parent VALUES (1,'one'), (2,'two')",
            "INSERT INTO child VALUES (1,1,'one'), (2,2,'two')",
        ],
        &[
            "UPDATE parent SET id = 5 WHERE id = 1",
            "UPDATE child SET q = NULL",
            "DELETE FROM parent WHERE id = 2",
        ],
        &["INSERT INTO loose VALUES (NULL, 1), (7, 2)", "UPDATE loose SET id = 8 WHERE id = 7"],
        &["INSERT INTO rowid VALUES ('r', 1)", "UPDATE rowid SET v = 2", "UPDATE rowid SET _rowid_ = 9"],
        &["INSERT INTO only VALUES (1), (2)", "UPDATE only SET id = id + 5", "UPDATE only SET id = id"],
        &["INSERT INTO strict VALUES (1, 'x'), (2, 2.0)", "UPDATE strict SET b = x'ff' WHERE a = 2"],
        &["DELETE FROM t", "DELETE FROM keyed", "DELETE FROM made"],
    ] {
        replicate(&leader, &follower, batch);
    }
}

#[test]
fn results_say_what_a_statement_did() {
    let replica = Replica::new(SCHEMA);
    let mut executor = replica.executor();
    executor.begin().unwrap();
    let insert = sql("INSERT INTO counted(v) VALUES ('a'), ('b') RETURNING id, v, id + 1 AS next");
    let results = executor
        .run(
            &[insert, sql("SELECT last_insert_rowid()"), sql("UPDATE counted SET v = 'c'")],
            &Budget::default(),
        )
        .unwrap();
    assert_eq!(results[0].columns, ["id", "v", "next"]);
    assert_eq!(results[0].types, ["INTEGER", "TEXT", ""]);
    assert_eq!(results[0].rows.rows, 2);
    assert_eq!((results[0].affected_rows, results[0].last_insert_rowid), (2, Some(2)));
    assert!(results[1].is_read);
    assert_eq!(results[1].rows.to_values().unwrap(), [[2.into()]]);
    assert_eq!((results[2].affected_rows, results[2].last_insert_rowid), (2, None));
    let next = executor.run(&[sql("SELECT last_insert_rowid()")], &Budget::default()).unwrap();
    assert_eq!(next[0].rows.to_values().unwrap(), [[0.into()]], "another request's rowid must not be seen");
    executor.rollback();
}

#[test]
fn parameters_are_bound_by_position_and_name() {
    let replica = Replica::new(SCHEMA);
    let mut executor = replica.executor();
    executor.begin().unwrap();
    let budget = Budget::default();
    let run = |executor: &mut Executor, item: WorkItem| executor.run(&[item], &budget);
    run(&mut executor, with("INSERT INTO t VALUES (?, ?, ?3, NULL)", vec![1.into(), "a".into(), 2.5.into()]))
        .unwrap();
    run(&mut executor, named("UPDATE t SET a = :a WHERE id = @id", &[("a", "b".into()), ("id", 1.into())]))
        .unwrap();
    let wrong = [
        with("SELECT ?", vec![]),
        with("SELECT ?", vec![1.into(), 2.into()]),
        sql("SELECT ?"),
        named("SELECT :a", &[("b", 1.into())]),
        named("SELECT :a", &[("a", 1.into()), ("b", 1.into())]),
    ];
    for item in wrong {
        assert_eq!(run(&mut executor, item).unwrap_err().code(), Some(ErrorCode::BadRequest));
    }
}

#[test]
fn a_failed_request_costs_its_neighbours_nothing() {
    let (leader, follower) = pair();
    let mut executor = leader.executor();
    executor.begin().unwrap();
    let budget = Budget::default();
    executor.run(&[sql("INSERT INTO t VALUES (1,'a',1,1)")], &budget).unwrap();
    executor
        .run(&[sql("INSERT INTO parent VALUES (1,'p')"), sql("INSERT INTO child VALUES (1,1,NULL)")], &budget)
        .unwrap();
    executor.run(&[sql("INSERT INTO counted(v) VALUES ('kept')")], &budget).unwrap();
    executor.run(&[sql("UPDATE parent SET id = 2")], &budget).unwrap();
    for (bad, code) in [
        ("INSERT INTO t VALUES (2,'a',0,0)", ErrorCode::UniqueViolation),
        ("INSERT OR ROLLBACK INTO t VALUES (9,'q',0,0), (1,'b',0,0)", ErrorCode::UniqueViolation),
        ("INSERT OR FAIL INTO t VALUES (8,'p',0,0), (1,'b',0,0)", ErrorCode::UniqueViolation),
        ("INSERT INTO counted(v) VALUES ('lost'), (NULL)", ErrorCode::NotNullViolation),
        ("UPDATE OR ROLLBACK counted SET v = NULL", ErrorCode::NotNullViolation),
        ("INSERT INTO plain VALUES (1, 5000)", ErrorCode::CheckViolation),
        ("INSERT INTO strict VALUES ('x', 1)", ErrorCode::CheckViolation),
        ("INSERT INTO child VALUES (5, 99, NULL)", ErrorCode::ForeignKeyViolation),
        ("INSERT INTO child VALUES (5, NULL, 'nobody')", ErrorCode::ForeignKeyViolation),
        ("INSERT INTO nowhere VALUES (1)", ErrorCode::SqlError),
        (
            "INSERT INTO t SELECT value, value, 0, 0 FROM generate_series(100, 10000000)",
            ErrorCode::StatementTimeout,
        ),
    ] {
        let short = Budget { instructions: Some(200_000), ..Budget::default() };
        let failure =
            executor.run(&[sql("INSERT INTO t VALUES (50,'gone',0,0)"), sql(bad)], &short).unwrap_err();
        assert_eq!(failure.code(), Some(code), "{bad}: {failure}");
        let Failure::Refused(error) = failure else { panic!("{bad}") };
        assert_eq!(
            error.statement,
            Some(if bad.contains("nobody") { u32::MAX } else { 1 }).filter(|n| *n == 1),
            "{bad}"
        );
    }
    executor.run(&[sql("INSERT INTO t VALUES (2,'b',2,2)")], &budget).unwrap();
    let effects = executor.take_effects();
    executor.commit(|_| Ok(())).unwrap();
    drop(executor);
    follower.apply(&effects);
    assert_eq!(leader.digest(), follower.digest());
    assert_eq!(leader.read("SELECT count(*) FROM t"), [[2.into()]]);
    assert_eq!(leader.read("SELECT p FROM child"), [[2.into()]]);
}

#[test]
fn a_unique_violation_has_sqlites_own_text() {
    let replica = Replica::new(SCHEMA);
    let mut executor = replica.executor();
    executor.begin().unwrap();
    let work = [sql("INSERT INTO t VALUES (1,'a',1,1)"), sql("INSERT INTO t VALUES (1,'b',1,1)")];
    let Failure::Refused(error) = executor.run(&work, &Budget::default()).unwrap_err() else { panic!() };
    assert_eq!(error.message, "UNIQUE constraint failed: t.id");
    assert_eq!(error.sqlite_code, Some(1555));
    assert_eq!(executor.take_effects(), Effects::default());
}

#[test]
fn deferred_violations_may_be_mended_within_a_request() {
    let (leader, follower) = pair();
    let mut executor = leader.executor();
    executor.begin().unwrap();
    let work =
        [sql("INSERT INTO child VALUES (1, NULL, 'late')"), sql("INSERT INTO parent VALUES (1, 'late')")];
    executor.run(&work, &Budget::default()).unwrap();
    let effects = executor.take_effects();
    executor.commit(|_| Ok(())).unwrap();
    drop(executor);
    follower.apply(&effects);
    assert_eq!(leader.digest(), follower.digest());
}

#[test]
fn row_images_land_only_on_the_row_they_were_computed_on() {
    let leader = Replica::new(SCHEMA);
    let mut executor = leader.executor();
    executor.keep_old_rows(true);
    executor.begin().unwrap();
    executor.run(&[sql("INSERT INTO t VALUES (1,'a',1,1)")], &Budget::default()).unwrap();
    executor.commit(|_| Ok(())).unwrap();

    executor.begin().unwrap();
    executor.run(&[sql("UPDATE t SET c = c + 1")], &Budget::default()).unwrap();
    let images = executor.take_effects();
    executor.rollback();

    executor.begin().unwrap();
    let landed = executor.run(&[WorkItem::Effects(images.clone())], &Budget::default()).unwrap();
    assert_eq!(landed[0].affected_rows, 1);
    assert_eq!(executor.take_effects(), images, "landing is captured like executing");
    executor.commit(|_| Ok(())).unwrap();

    executor.begin().unwrap();
    let again = executor.run(&[WorkItem::Effects(images.clone())], &Budget::default()).unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::SerializationFailure));
    executor.run(&[sql("DELETE FROM t")], &Budget::default()).unwrap();
    let gone = executor.run(&[WorkItem::Effects(images)], &Budget::default()).unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::SerializationFailure));
}

#[test]
fn text_that_is_not_utf8_is_not_stored() {
    let replica = Replica::new(SCHEMA);
    let mut executor = replica.executor();
    executor.begin().unwrap();
    let failure =
        executor.run(&[sql("INSERT INTO plain VALUES (CAST(x'ff' AS TEXT), 1)")], &Budget::default());
    assert_eq!(failure.unwrap_err().code(), Some(ErrorCode::NotSupported));
    let read =
        executor.run(&[sql("SELECT count(*), CAST(x'ff' AS TEXT) FROM plain")], &Budget::default()).unwrap();
    assert_eq!(read[0].rows.to_values().unwrap(), [[0.into(), "\u{fffd}".into()]]);
}

#[test]
fn rows_of_global_indexes_are_replicated_and_out_of_clients_reach() {
    let schema = &[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)",
        "CREATE TABLE _unique_1 (a TEXT UNIQUE, _rowid INTEGER)",
    ];
    let (leader, follower) = (Replica::new(schema), Replica::new(schema));
    let row = |rowid: i64, text: &str| Effects {
        tables: vec!["_unique_1".into()],
        rows: vec![Effect {
            table: 0,
            change: Change::Insert { key: vec![rowid.into()], row: vec![text.into(), rowid.into()] },
        }],
    };
    let mut executor = leader.executor();
    executor.begin().unwrap();
    let budget = Budget::default();
    executor.run(&[sql("INSERT INTO t VALUES (1, 'x')"), WorkItem::Effects(row(1, "x"))], &budget).unwrap();
    let taken =
        executor.run(&[sql("INSERT INTO t VALUES (2, 'x')"), WorkItem::Effects(row(2, "x"))], &budget);
    let Err(Failure::Refused(error)) = taken else { panic!("{taken:?}") };
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::UniqueViolation, "UNIQUE constraint failed: _unique_1.a")
    );
    let refused = executor.run(&[sql("DELETE FROM _unique_1")], &budget).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::SqlForbidden));
    let (effects, sums) = executor.take_changes();
    assert_eq!(effects.tables, ["t", "_unique_1"]);
    assert_eq!(sums.rows(), 1, "rows of the system are not counted");
    executor.commit(|_| Ok(())).unwrap();
    drop(executor);
    follower.apply(&effects);
    assert_eq!(leader.digest(), follower.digest());
}

#[test]
fn images_of_another_schema_are_refused_as_such() {
    let replica = Replica::new(SCHEMA);
    let mut executor = replica.executor();
    executor.begin().unwrap();
    let image = |table: &str, row| Effects {
        tables: vec![table.into()],
        rows: vec![Effect { table: 0, change: Change::Insert { key: vec![1.into()], row } }],
    };
    for effects in [image("gone", vec![1.into()]), image("only", vec![1.into(), 2.into()])] {
        let failure = executor.run(&[WorkItem::Effects(effects)], &Budget::default()).unwrap_err();
        assert_eq!(failure.code(), Some(ErrorCode::StaleSchema), "{failure}");
    }
    executor.run(&[sql("INSERT INTO only VALUES (1)")], &Budget::default()).unwrap();
}

#[test]
fn a_replica_that_differs_is_found_out() {
    let (leader, follower) = pair();
    follower.apply(&leader.execute(&["INSERT INTO t VALUES (1, 'a', 1, 1)"]));
    let update = leader.execute(&["UPDATE t SET b = 2"]);
    follower.execute(&["DELETE FROM t"]);
    let mut applier = follower.applier();
    applier.begin().unwrap();
    assert!(matches!(applier.apply(&update), Err(Failure::Storage { .. })));
    applier.rollback();
    assert_ne!(leader.digest(), follower.digest());
}

#[test]
fn connections_may_move_between_threads() {
    fn moves<T: Send>() {}
    moves::<Executor>();
    moves::<sqlite::Applier>();
    moves::<sqlite::Reader>();
    moves::<sqlite::PooledReader>();
    moves::<sqlite::Shadow>();
    moves::<sqlite::MergeDatabase>();
    moves::<sqlite::Maintenance>();
}
