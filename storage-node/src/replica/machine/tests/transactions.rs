//! Transactions over several partitions, as one participant sees them.

use common::entry::Effects;
use common::protocol::{JointPurpose, JointRequest, RequestWork, Verdict, WorkItem, WriteRequest};
use common::tries::{LockClaim, Repeated, TimeAndChance, Tried, TryRequest};
use common::{ErrorCode, Hlc, Outcome, PartitionId, TransactionId};

use super::super::job::nobody_waits;
use super::super::{Answer, Job, Machine, Reply};
use super::group::{PARTITION, TestGroup, committed, error, request, write};

const OTHER: PartitionId = PartitionId(8);

fn transaction(unique: u128) -> TransactionId {
    TransactionId { deadline: Hlc::from_millis(60_000), unique }
}

fn prepare(unique: u128, decider: PartitionId, sql: &str) -> Job {
    let write = request(&[sql]);
    Job::Joint(JointRequest {
        target: write.target,
        transaction: transaction(unique),
        participants: vec![PARTITION, OTHER],
        requests: vec![RequestWork { work: write.work, max_rows: write.max_rows }],
        purpose: JointPurpose::Prepare { decider, waits: true },
    })
}

fn decide(unique: u128, commit: bool, decides: bool) -> Job {
    let verdict = Verdict { commit, at: Hlc::from_millis(1_000) };
    Job::Decide { transaction: transaction(unique), verdict, decides }
}

fn carry_out(unique: u128) -> Job {
    Job::CarryOut { transaction: transaction(unique), at: Hlc::from_millis(1_000) }
}

#[test]
fn prepared_rows_appear_with_the_decision_on_every_replica() {
    let mut group = TestGroup::new(3);
    group.submit(0, prepare(1, PARTITION, "INSERT INTO t VALUES (1, 1)"));
    assert!(group.run(0)[0].result.is_ok());
    assert_eq!(group.count(0), 0);
    assert!(group.replicas.iter().all(|replica| replica.prepared().is_some()));
    group.submit(0, decide(1, true, true));
    assert!(committed(&group.run(0)[0]));
    assert_eq!(group.count(2), 1);
    assert!(group.replicas.iter().all(|replica| replica.prepared().is_none()));
    group.assert_equal();
}

#[test]
fn a_large_part_is_prepared_in_chunks_and_landed_from_its_pieces() {
    let mut group = TestGroup::new(3);
    group.replicas.iter_mut().for_each(|replica| replica.limit_entries(1_000));
    let insert = "INSERT INTO t SELECT value, value FROM generate_series(1, 2000)";
    group.submit(0, prepare(1, PARTITION, insert));
    let first = group.execute(0);
    assert!(first.proposals.len() > 10, "it travels as a set");
    group.accept(0, &first);
    // Power goes between two chunks and the rest: the set is met again in the log.
    group.tell(1);
    group.restart(1);
    group.run(0);
    assert!(group.replicas.iter().all(|replica| replica.prepared().is_some()));
    group.assert_equal();
    // What was prepared is in the file, not only in memory.
    group.restart(2);
    group.submit(0, decide(1, true, true));
    assert!(matches!(group.run(0)[0].result, Ok(Reply::Decided(Verdict { commit: true, .. }))));
    assert_eq!([0, 1, 2].map(|number| group.count(number)), [2_000; 3]);
    group.assert_equal();
}

#[test]
fn a_prepare_whose_caller_is_gone_is_not_begun() {
    let mut group = TestGroup::new(1);
    group.submit(0, prepare(1, OTHER, "INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    let gone = group.submit(0, prepare(2, OTHER, "INSERT INTO t VALUES (2, 2)"));
    let next = group.submit(0, write("INSERT INTO t VALUES (3, 3)"));
    group.gone.insert(gone);
    group.submit(0, decide(1, false, false));
    let answers = group.run(0);
    assert_eq!(answers.iter().find(|answer| answer.ticket == gone).unwrap().result, Err(nobody_waits()));
    assert!(answers.iter().find(|answer| answer.ticket == next).unwrap().result.is_ok());
    assert_eq!(group.replicas[0].prepared(), None, "the gate stays open");
}

#[test]
fn other_writers_wait_for_the_decision_even_under_a_new_leader() {
    let mut group = TestGroup::new(2);
    group.submit(0, prepare(1, OTHER, "INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    group.restart(1);
    group.elect(1);
    group.submit(1, write("INSERT INTO t VALUES (1, 2)"));
    group.submit(1, prepare(2, OTHER, "INSERT INTO t VALUES (3, 3)"));
    assert!(group.execute(1).proposals.is_empty(), "the gate is closed");
    group.submit(1, decide(1, true, false));
    let answers = group.run(1);
    assert!(committed(&answers[0]));
    assert_eq!(error(&answers[1]).code, ErrorCode::UniqueViolation);
    assert!(answers[2].result.is_ok());
    assert_eq!(group.replicas[0].prepared().unwrap().transaction, transaction(2));
    group.assert_equal();
}

#[test]
fn a_participant_says_that_it_knows_of_a_commit_at_once_and_has_reads_wait_for_it() {
    let mut group = TestGroup::new(2);
    group.submit(0, prepare(1, OTHER, "INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    assert!(!group.replicas[0].owes_commit(), "nobody can have been told that it has committed");
    group.submit(0, carry_out(1));
    let outbox = group.execute(0);
    assert!(committed(&outbox.answers[0]) && !outbox.proposals.is_empty());
    assert!(group.replicas[0].owes_commit());
    group.accept(0, &outbox);
    group.tell_all();
    assert!(!group.replicas[0].owes_commit());
    assert_eq!(group.count(1), 1);
    group.assert_equal();
}

#[test]
fn reads_of_a_new_leader_wait_for_what_the_last_one_may_have_told() {
    let mut group = TestGroup::new(2);
    group.submit(0, prepare(1, OTHER, "INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    group.submit(0, carry_out(1));
    assert!(committed(&group.execute(0).answers[0]), "it is told, and its entry is lost");
    group.elect(1);
    assert!(group.replicas[1].owes_commit());
    group.submit(1, decide(1, true, false));
    group.run(1);
    assert!(!group.replicas[1].owes_commit());
    assert_eq!([0, 1].map(|number| group.count(number)), [1; 2]);
    group.assert_equal();
}

#[test]
fn what_is_decided_or_confirmed_for_the_decider_is_told_when_the_log_has_it() {
    let mut group = TestGroup::new(2);
    for (unique, decider, commit) in [(1, OTHER, false), (2, PARTITION, true), (3, OTHER, true)] {
        let insert = format!("INSERT INTO t VALUES ({unique}, {unique})");
        group.submit(0, prepare(unique, decider, &insert));
        group.run(0);
        group.submit(0, decide(unique, commit, decider == PARTITION));
        let outbox = group.execute(0);
        assert!(outbox.answers.is_empty() && !group.replicas[0].owes_commit());
        group.accept(0, &outbox);
        group.tell_all();
        assert_eq!(committed(&group.replicas[0].drain().answers[0]), commit);
    }
}

#[test]
fn the_first_decision_wins() {
    let mut group = TestGroup::new(2);
    group.submit(0, prepare(1, PARTITION, "INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    group.submit(0, decide(1, false, true));
    assert!(!committed(&group.run(0)[0]));
    group.submit(0, decide(1, true, true));
    assert!(!committed(&group.run(0)[0]), "a paused coordinator comes too late");
    assert_eq!(group.count(0), 0);
    group.assert_equal();
}

#[test]
fn an_abort_before_the_prepare_keeps_the_prepare_out() {
    let mut group = TestGroup::new(2);
    group.submit(0, decide(1, false, false));
    assert!(!committed(&group.run(0)[0]));
    group.submit(0, prepare(1, OTHER, "INSERT INTO t VALUES (1, 1)"));
    assert_eq!(error(&group.run(0)[0]).code, ErrorCode::SerializationFailure);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    assert!(group.run(0)[0].result.is_ok());
}

#[test]
fn a_decider_that_is_asked_about_an_unknown_transaction_aborts_it() {
    let mut group = TestGroup::new(2);
    group.submit(0, decide(1, true, true));
    assert!(!committed(&group.run(0)[0]));
}

#[test]
fn past_its_deadline_a_transaction_is_neither_prepared_nor_committed_by_its_decider() {
    let mut group = TestGroup::new(2);
    group.submit(0, prepare(1, PARTITION, "INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    group.clock_us.set(61_000_000);
    group.submit(0, decide(1, true, true));
    assert!(!committed(&group.run(0)[0]));
    assert!(group.replicas[0].decisions().unwrap().is_empty(), "no tombstone is needed any more");
    group.submit(0, prepare(2, PARTITION, "INSERT INTO t VALUES (1, 1)"));
    assert_eq!(error(&group.run(0)[0]).code, ErrorCode::SerializationFailure);
    group.assert_equal();
}

#[test]
fn a_participant_carries_out_a_commit_after_the_deadline() {
    let mut group = TestGroup::new(2);
    group.submit(0, prepare(1, OTHER, "INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    group.clock_us.set(61_000_000);
    group.submit(0, decide(1, true, false));
    assert!(committed(&group.run(0)[0]));
    assert_eq!(group.count(1), 1);
}

#[test]
fn a_commit_is_remembered_by_its_decider_until_it_is_forgotten() {
    let mut group = TestGroup::new(2);
    group.submit(0, prepare(1, PARTITION, "INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    group.submit(0, decide(1, true, true));
    group.run(0);
    group.clock_us.set(61_000_000);
    group.submit(0, decide(2, false, true));
    group.run(0);
    let decisions = group.replicas[1].decisions().unwrap();
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].participants, [PARTITION, OTHER]);
    group.submit(0, Job::Forget { transactions: vec![transaction(1)] });
    assert_eq!(group.run(0)[0].result, Ok(Reply::Done));
    assert!(group.replicas[1].decisions().unwrap().is_empty());
}

const PINNED: TimeAndChance = TimeAndChance { now_ms: 86_400_000, seed: 7 };

fn attempt(sql: &str, own: Effects, lock: Option<LockClaim>) -> Job {
    Job::Try(TryRequest { write: request(&[sql]), own, lock, pinned: PINNED })
}

fn claim(transaction: u128, holds_others: bool) -> LockClaim {
    let began_ms = u64::try_from(transaction).unwrap();
    LockClaim { transaction, began_ms, holds_others, left_ms: 1_000 }
}

fn tried(answer: &Answer) -> Tried {
    match &answer.result {
        Ok(Reply::Tried(tried)) => Tried::clone(tried),
        other => panic!("{other:?} is no answer to a try"),
    }
}

#[test]
fn what_is_tried_sees_its_transaction_and_leaves_nothing() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    group.submit(0, attempt("INSERT INTO t VALUES (2, 2) RETURNING id", Effects::default(), None));
    let first = tried(&group.run(0)[0]);
    assert_eq!(first.effects.rows.len(), 1);
    group.submit(0, attempt("UPDATE t SET n = n + 10 WHERE id < 5", first.effects.clone(), None));
    let second = tried(&group.run(0)[0]);
    assert_eq!(second.results[0].affected_rows, 2);
    assert_eq!((second.effects.rows.len(), group.count(0)), (2, 1));
    // Together they commit, whether or not the partition has changed where it does not matter.
    let repeated = |sql: &str, tried: &Tried| {
        let work = request(&[sql]).work;
        let (effects, digest, index) = (tried.effects.clone(), tried.digest, tried.index);
        let refused = tried.refusal.is_some();
        WorkItem::Repeated(Repeated { work, max_rows: 100, pinned: PINNED, effects, digest, refused, index })
    };
    let work = vec![
        repeated("INSERT INTO t VALUES (2, 2) RETURNING id", &first),
        repeated("UPDATE t SET n = n + 10 WHERE id < 5", &second),
    ];
    let commit = Job::Write(WriteRequest { work, ..request(&[]) });
    group.submit(0, write("INSERT INTO t VALUES (9, 9)"));
    group.run(0);
    group.submit(0, commit.clone());
    assert!(group.run(0)[0].result.is_ok());
    assert_eq!(group.read(0, "SELECT n FROM t ORDER BY id"), [[11.into()], [12.into()], [9.into()]]);
    group.submit(0, commit);
    assert_eq!(error(&group.run(0)[0]).code, ErrorCode::SerializationFailure, "it would change other rows");
    group.assert_equal();
}

#[test]
fn nothing_but_what_is_tried_runs_where_the_state_must_stay() {
    let mut group = TestGroup::new(1);
    let attempt = || attempt("INSERT INTO t VALUES (1, 1)", Effects::default(), None);
    let first = group.submit(0, attempt());
    let gone = group.submit(0, attempt());
    let next = group.submit(0, write("INSERT INTO t VALUES (2, 2)"));
    group.gone.insert(gone);
    assert!(group.replicas[0].next_is_tried());
    let (ran, outbox) = group.execute_with(0, Machine::execute_tried);
    assert!(ran && outbox.proposals.is_empty());
    // Behind one that nobody waits for comes a write.
    assert!(group.replicas[0].next_is_tried());
    let (ran, outbox) = group.execute_with(0, Machine::execute_tried);
    assert!(!ran && outbox.proposals.is_empty());
    assert_eq!(outbox.answers.iter().map(|answer| answer.ticket).collect::<Vec<_>>(), [gone]);
    assert!(!group.replicas[0].next_is_tried());
    let told: Vec<_> = group.run(0).iter().map(|answer| answer.ticket).collect();
    assert!(told.contains(&next) && !told.contains(&gone), "{told:?}, after {first:?}");
    assert_eq!(group.count(0), 1);
}

#[test]
fn a_lock_keeps_other_writers_out_until_it_ends() {
    let mut group = TestGroup::new(1);
    let lock = |number| attempt("SELECT n FROM t", Effects::default(), Some(claim(number, false)));
    group.submit(0, lock(1));
    group.run(0);
    let writer = group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    let next = group.submit(0, lock(2));
    group.submit(0, lock(1));
    assert_eq!(group.run(0).len(), 1, "only its own transaction goes on");
    group.submit(0, Job::Unlock { transaction: 1 });
    let answers = group.run(0);
    assert_eq!(answers.iter().map(|answer| answer.ticket).collect::<Vec<_>>()[1..], [writer, next]);
    // What is not given back ends by time.
    let writer = group.submit(0, write("INSERT INTO t VALUES (2, 2)"));
    assert!(group.run(0).is_empty());
    group.clock_us.set(group.clock_us.get() + 1_000_000);
    group.replicas[0].expire(group.clock_us.get() / 1_000);
    assert_eq!(group.run(0)[0].ticket, writer);
}

#[test]
fn a_younger_transaction_with_locks_does_not_wait_for_an_older_one() {
    let mut group = TestGroup::new(1);
    let lock = |number, holds| attempt("SELECT n FROM t", Effects::default(), Some(claim(number, holds)));
    group.submit(0, lock(5, false));
    group.run(0);
    group.submit(0, lock(6, true));
    assert_eq!(error(&group.run(0)[0]).code, ErrorCode::SerializationFailure);
    let older = group.submit(0, lock(4, true));
    let without = group.submit(0, lock(7, false));
    assert!(group.run(0).is_empty(), "both wait");
    group.submit(0, prepare(5, PARTITION, "INSERT INTO t VALUES (1, 1)"));
    group.submit(0, decide(5, true, true));
    let answers = group.run(0);
    let told: Vec<_> = answers.iter().map(|answer| answer.ticket).collect();
    assert!(told.contains(&older) && !told.contains(&without), "the lock goes with the transaction");
}

#[test]
fn a_part_that_fails_prepares_nothing() {
    let mut group = TestGroup::new(2);
    group.submit(0, prepare(1, OTHER, "INSERT INTO t VALUES ('not a number', 1)"));
    let answers = group.run(0);
    let Ok(Reply::Joint(reply)) = &answers[0].result else { panic!("{answers:?}") };
    assert_eq!(reply.results[0].as_ref().unwrap_err().outcome, Outcome::NotApplied);
    assert!(group.replicas[0].prepared().is_none());
}
