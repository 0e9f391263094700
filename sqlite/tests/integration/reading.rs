//! Snapshots, the pool of readers, backups and care of the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Replica, sql, statement};
use common::{Hlc, PartitionId, TransactionId};
use sqlite::applier::FileContents;
use sqlite::system::{Decision, Identity};
use sqlite::{Applier, Budget, Flow, Location, Maintenance, Prepared, Reader, ReaderPool, SystemState};

const SCHEMA: &[&str] = &["CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"];

fn count(rows: &sqlite::Snapshot<'_>) -> i64 {
    let result = rows.query(&statement("SELECT count(*) FROM t"), &Budget::default()).unwrap();
    let common::Value::Integer(count) = result.rows.to_values().unwrap()[0][0] else { panic!() };
    count
}

#[test]
fn a_snapshot_is_one_state_and_open_batches_are_not_seen() {
    let replica = Replica::new(SCHEMA);
    let mut reader = Reader::open(&replica.location).unwrap();
    let snapshot = reader.snapshot().unwrap();
    replica.execute(&["INSERT INTO t VALUES (1, 'a')"]);
    assert_eq!((count(&snapshot), snapshot.system().position().unwrap().index), (0, 0));
    drop(snapshot);
    let mut executor = replica.executor();
    executor.begin().unwrap();
    executor.run(&[sql("INSERT INTO t VALUES (2, 'b')")], &Budget::default()).unwrap();
    let snapshot = reader.snapshot().unwrap();
    assert_eq!((count(&snapshot), snapshot.system().position().unwrap().index), (1, 1));
}

#[test]
fn a_stream_is_cut_into_blocks_and_can_be_stopped() {
    let replica = Replica::new(SCHEMA);
    replica.execute(&["INSERT INTO t SELECT value, printf('%200s', value) FROM generate_series(1, 5000)"]);
    let mut reader = Reader::open(&replica.location).unwrap();
    let snapshot = reader.snapshot().unwrap();
    let (mut blocks, mut rows) = (0, 0);
    let all = statement("SELECT id, v FROM t ORDER BY id");
    let header = |names: Vec<String>, types: Vec<String>| {
        assert_eq!((names, types), (vec!["id".into(), "v".into()], vec!["INTEGER".into(), "TEXT".into()]));
        Flow::Continue
    };
    snapshot
        .stream(&all, &Budget::unlimited(), header, |block| {
            blocks += 1;
            rows += block.rows;
            Flow::Continue
        })
        .unwrap();
    assert_eq!(rows, 5_000);
    assert!((10..30).contains(&blocks), "{blocks}");
    let mut seen = 0;
    snapshot
        .stream(&all, &Budget::unlimited(), header, |_| {
            seen += 1;
            Flow::Stop
        })
        .unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn many_connections_hold_no_more_memory_than_the_process_may() {
    const BOUND: u32 = 24 << 20;
    // Without cached pages: what a connection knows of the schema, and statements.
    const OF_A_CONNECTION: u64 = 256 << 10;
    let replica = Replica::new(SCHEMA);
    replica.execute(&["INSERT INTO t SELECT value, hex(randomblob(500)) FROM generate_series(1, 8000)"]);
    sqlite::heap::bound(BOUND);
    let everything = statement("SELECT sum(length(v)) FROM t");
    let mut readers: Vec<Reader> = (0..40).map(|_| Reader::open(&replica.location).unwrap()).collect();
    for reader in &mut readers {
        reader.query(&everything, &Budget::unlimited()).unwrap();
    }
    let (held, may_hold) = (sqlite::heap::used(), u64::from(BOUND) + 40 * OF_A_CONNECTION);
    assert!(held <= may_hold, "{held} bytes are held");
    drop(readers);
    assert!(sqlite::heap::used() < u64::from(BOUND), "closed connections hold nothing");
}

#[test]
fn a_pool_lends_no_more_readers_than_it_may() {
    let replica = Replica::new(SCHEMA);
    let pool = Arc::new(ReaderPool::new(replica.location.clone(), 2, 1));
    let (first, second) = (pool.acquire().unwrap(), pool.acquire().unwrap());
    assert_eq!(pool.lent(), 2);
    let got_one = Arc::new(AtomicBool::new(false));
    let waiter = {
        let (pool, got_one) = (Arc::clone(&pool), Arc::clone(&got_one));
        std::thread::spawn(move || {
            let mut reader = pool.acquire().unwrap();
            got_one.store(true, Ordering::SeqCst);
            reader.query(&statement("SELECT 1"), &Budget::default()).unwrap();
        })
    };
    assert!(!got_one.load(Ordering::SeqCst));
    drop(first);
    waiter.join().unwrap();
    assert!(got_one.load(Ordering::SeqCst));
    drop(second);
    assert_eq!(pool.lent(), 0);
}

#[test]
fn a_backup_taken_while_writing_is_one_state() {
    let replica = Replica::new(SCHEMA);
    replica.execute(&["INSERT INTO t SELECT value, hex(randomblob(400)) FROM generate_series(1, 5000)"]);
    let before = replica.digest();
    let maintenance = Maintenance::open(&replica.location).unwrap();
    let target = Location::file(replica.folder.path().join("copy.db"));
    let mut next = 10_000;
    maintenance
        .backup(&target, |_| {
            replica.execute(&[
                &format!("INSERT INTO t VALUES ({next}, 'later')"),
                "UPDATE t SET v = 'x' WHERE id < 50",
            ]);
            next += 1;
            true
        })
        .unwrap();
    assert!(next >= 10_002, "the copy was made in several steps");
    assert!(!replica.folder.path().join("copy.db-wal").exists());
    let FileContents::Replica(state) = Applier::inspect(&target).unwrap() else { panic!() };
    assert_eq!(state.position.index, 1);
    let copy = Maintenance::open(&target).unwrap();
    assert_eq!(copy.digest().unwrap(), before);
    assert_eq!(copy.integrity_check().unwrap(), [""; 0]);
    let stopped = Location::file(replica.folder.path().join("stopped.db"));
    assert!(maintenance.backup(&stopped, |_| false).is_err());
}

#[test]
fn checkpoints_empty_the_log_once_no_reader_needs_it() {
    let replica = Replica::new(SCHEMA);
    let maintenance = Maintenance::open(&replica.location).unwrap();
    let mut reader = Reader::open(&replica.location).unwrap();
    let snapshot = reader.snapshot().unwrap();
    replica.execute(&["INSERT INTO t SELECT value, hex(randomblob(400)) FROM generate_series(1, 1000)"]);
    assert!(maintenance.wal_bytes().unwrap() > 500_000);
    assert!(maintenance.bytes().unwrap() > maintenance.wal_bytes().unwrap());
    let used = maintenance.used_bytes().unwrap();
    assert!(used > 0 && used < maintenance.bytes().unwrap(), "{used}");
    assert!(!maintenance.checkpoint(Duration::ZERO).unwrap().restarted);
    assert!(maintenance.wal_bytes().unwrap() > 500_000, "the reader's snapshot is of before");
    drop(snapshot);
    let checkpoint = maintenance.checkpoint(Duration::ZERO).unwrap();
    assert!(checkpoint.restarted && checkpoint.moved_frames == checkpoint.log_frames);
    replica.execute(&["INSERT INTO t VALUES (1001, 'one row')"]);
    assert!(maintenance.wal_bytes().unwrap() < 100_000, "the log has begun anew");
    assert!(maintenance.empty_wal().unwrap().restarted);
    assert_eq!(maintenance.wal_bytes().unwrap(), 0);
    maintenance.sync_wal().unwrap();
    assert_eq!(maintenance.count_rows().unwrap(), [("t".to_owned(), 1_001)]);
}

#[test]
fn a_reader_that_ends_soon_is_waited_for() {
    let replica = Replica::new(SCHEMA);
    let maintenance = Maintenance::open(&replica.location).unwrap();
    let mut reader = Reader::open(&replica.location).unwrap();
    let snapshot = reader.snapshot().unwrap();
    replica.execute(&["INSERT INTO t VALUES (1, 'one row')"]);
    let (begin, begun) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            begin.send(()).unwrap();
            maintenance.checkpoint(Duration::from_secs(60)).unwrap()
        });
        begun.recv().unwrap();
        drop(snapshot);
        assert!(waiting.join().unwrap().restarted);
    });
}

#[test]
fn a_file_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::file(folder.path().join("p.db"));
    assert_eq!(Applier::inspect(&location).unwrap(), FileContents::Absent);
    assert!(!location.path.exists());
    std::fs::write(&location.path, b"").unwrap();
    assert_eq!(Applier::inspect(&location).unwrap(), FileContents::Unformed);
    assert!(Applier::open(&location).is_err());
    let state = SystemState {
        identity: Identity { database: "shop".into(), partition: PartitionId(7) },
        generation: 3,
        ..SystemState::default()
    };
    drop(Applier::create(&location, &state).unwrap());
    assert_eq!(Applier::inspect(&location).unwrap(), FileContents::Replica(Box::new(state)));
    assert!(Applier::create(&location, &SystemState::default()).is_err());
    // What is there and cannot be opened is not absent.
    std::fs::create_dir(folder.path().join("folder.db")).unwrap();
    assert!(Applier::inspect(&Location::file(folder.path().join("folder.db"))).is_err());
    std::fs::write(folder.path().join("bad.db"), [7; 8_192]).unwrap();
    assert!(Applier::inspect(&Location::file(folder.path().join("bad.db"))).is_err());
}

#[test]
fn open_transactions_are_kept_with_the_rows() {
    let replica = Replica::new(SCHEMA);
    let effects = {
        let mut executor = replica.executor();
        executor.begin().unwrap();
        executor.run(&[sql("INSERT INTO t VALUES (1, 'a')")], &Budget::default()).unwrap();
        let effects = executor.take_effects();
        executor.rollback();
        effects
    };
    let id = |unique, deadline| TransactionId { deadline: Hlc(deadline), unique };
    let prepared = Prepared {
        transaction: id(1, 50),
        decider: PartitionId(1),
        participants: vec![PartitionId(1), PartitionId(2)],
        schema_version: 1,
        index: 9,
        hlc: Hlc(8),
    };
    let mut applier = replica.applier();
    applier.begin().unwrap();
    applier.system().put_prepared(&prepared).unwrap();
    applier.system().put_prepared_piece(prepared.transaction, 0, b"piece").unwrap();
    applier.commit().unwrap();
    assert_eq!(replica.read("SELECT count(*) FROM t"), [[0.into()]]);
    assert_eq!(applier.system().all_prepared().unwrap(), std::slice::from_ref(&prepared));

    applier.begin().unwrap();
    let piece = |number| applier.system().prepared_piece(prepared.transaction, number).unwrap();
    assert_eq!((piece(0), piece(1)), (Some(b"piece".to_vec()), None));
    applier.apply(&effects).unwrap();
    applier.system().remove_prepared(prepared.transaction).unwrap();
    assert_eq!(applier.system().prepared_piece(prepared.transaction, 0).unwrap(), None);
    for (unique, deadline, commit) in [(1, 50, true), (2, 40, false), (3, 60, false)] {
        let transaction = id(unique, deadline);
        let decision = Decision { transaction, commit, participants: Vec::new(), index: 10, at: Hlc(0) };
        applier.system().put_decision(&decision).unwrap();
    }
    applier.commit().unwrap();
    assert_eq!(replica.read("SELECT count(*) FROM t"), [[1.into()]]);
    applier.begin().unwrap();
    let before = applier.system().decisions_before(Hlc(55)).unwrap();
    assert_eq!(before.iter().map(|decision| decision.commit).collect::<Vec<_>>(), [false, true], "in order");
    applier.system().remove_decision(before[0].transaction).unwrap();
    applier.commit().unwrap();
    assert_eq!(applier.system().all_decisions().unwrap().len(), 2);
    assert!(applier.system().decision(id(2, 40)).unwrap().is_none());
}
