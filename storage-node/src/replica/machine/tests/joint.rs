//! Transactions that several requests share, as one participant sees them.

use common::protocol::{JointPurpose, JointReply, JointRequest, RequestWork, Verdict};
use common::tries::{LockClaim, TimeAndChance, TryRequest};
use common::{ErrorCode, Hlc, PartitionId, TransactionId};

use super::super::{Answer, Job, Reply};
use super::group::{PARTITION, TestGroup, committed, error, request, write};

const OTHER: PartitionId = PartitionId(3);

fn transaction(unique: u128) -> TransactionId {
    TransactionId { deadline: Hlc::from_millis(60_000), unique }
}

fn joint(unique: u128, purpose: JointPurpose, requests: &[&[&str]]) -> Job {
    let work = |statements: &&[&str]| RequestWork { work: request(statements).work, max_rows: 100 };
    Job::Joint(JointRequest {
        target: request(&[]).target,
        transaction: transaction(unique),
        participants: vec![OTHER, PARTITION],
        requests: requests.iter().map(work).collect(),
        purpose,
    })
}

fn commit(unique: u128, requests: &[&[&str]]) -> Job {
    joint(unique, JointPurpose::Commit { prepared_at: Hlc::from_millis(5_000) }, requests)
}

fn prepare(unique: u128, waits: bool, requests: &[&[&str]]) -> Job {
    joint(unique, JointPurpose::Prepare { decider: OTHER, waits }, requests)
}

fn reply(answer: &Answer) -> &JointReply {
    match &answer.result {
        Ok(Reply::Joint(reply)) => reply,
        other => panic!("{other:?} is not the answer to a joint part"),
    }
}

#[test]
fn the_decider_lands_its_part_and_decides_with_one_entry() {
    let mut group = TestGroup::new(3);
    let before = group.log.len();
    group.submit(0, commit(1, &[&["INSERT INTO t VALUES (1, 1)"], &["UPDATE t SET n = n + 1 WHERE id = 1"]]));
    let answers = group.run(0);
    let told = reply(&answers[0]);
    assert_eq!(group.log.len(), before + 1);
    assert!(told.results.iter().all(Result::is_ok));
    assert!(told.hlc > Hlc::from_millis(5_000), "it commits later than every prepare");
    assert_eq!([0, 1, 2].map(|number| group.count(number)), [1; 3]);
    // Whoever was prepared finds the decision.
    group.submit(0, Job::Decide { transaction: transaction(1), verdict: Verdict::ABORT, decides: true });
    let answers = group.run(0);
    assert_eq!(answers[0].result, Ok(Reply::Decided(Verdict { commit: true, at: told.hlc })));
    assert_eq!(group.replicas[1].decisions().unwrap()[0].participants, [OTHER, PARTITION]);
    group.assert_equal();
}

#[test]
fn a_refused_request_keeps_the_whole_part_from_being_prepared_and_says_which_it_is() {
    let mut group = TestGroup::new(2);
    let requests: [&[&str]; 3] = [
        &["INSERT INTO t VALUES (1, 1)"],
        &["INSERT INTO t VALUES (2, 2)", "INSERT INTO t VALUES (3, 1)"],
        &["INSERT INTO t VALUES (2, 2)"],
    ];
    for job in [prepare(1, true, &requests), commit(2, &requests)] {
        group.submit(0, job);
        let answers = group.run(0);
        let results = &reply(&answers[0]).results;
        assert!(results[0].is_ok());
        let refusal = results[1].as_ref().unwrap_err();
        assert_eq!((refusal.code, refusal.statement), (ErrorCode::UniqueViolation, Some(1)));
        assert!(results[2].is_ok(), "what the refused one did before was taken back");
    }
    assert_eq!((group.count(0), group.replicas[0].prepared()), (0, None));
    assert!(group.replicas[0].decisions().unwrap().is_empty());
    group.assert_equal();
}

#[test]
fn a_commit_that_comes_after_an_abort_applies_nothing() {
    let mut group = TestGroup::new(2);
    group.submit(0, Job::Decide { transaction: transaction(1), verdict: Verdict::ABORT, decides: true });
    group.run(0);
    group.submit(0, commit(1, &[&["INSERT INTO t VALUES (1, 1)"]]));
    assert_eq!(error(&group.run(0)[0]).code, ErrorCode::SerializationFailure);
    assert_eq!(group.count(1), 0);
    group.assert_equal();
}

#[test]
fn past_its_deadline_nothing_is_committed() {
    let mut group = TestGroup::new(2);
    group.clock_us.set(61_000_000);
    group.submit(0, commit(1, &[&["INSERT INTO t VALUES (1, 1)"]]));
    assert_eq!(error(&group.run(0)[0]).code, ErrorCode::SerializationFailure);
    assert_eq!(group.count(1), 0);
}

#[test]
fn a_commit_that_was_proposed_by_a_leader_of_old_counts_and_is_found() {
    let mut group = TestGroup::new(3);
    group.submit(0, commit(1, &[&["INSERT INTO t VALUES (1, 1)"]]));
    let outbox = group.execute(0);
    group.accept(0, &outbox);
    group.restart(0);
    group.elect(1);
    assert_eq!(group.count(1), 1);
    group.submit(1, Job::Decide { transaction: transaction(1), verdict: Verdict::ABORT, decides: true });
    assert!(committed(&group.run(1)[0]), "an abort comes too late");
    group.assert_equal();
}

#[test]
fn a_large_part_is_committed_in_chunks() {
    let mut group = TestGroup::new(3);
    group.replicas.iter_mut().for_each(|replica| replica.limit_entries(1_000));
    let insert = "INSERT INTO t SELECT value, value FROM generate_series(1, 2000)";
    group.submit(0, commit(1, &[&[insert]]));
    let first = group.execute(0);
    assert!(first.proposals.len() > 10, "it travels as a set");
    group.accept(0, &first);
    group.tell(1);
    group.restart(1);
    assert!(reply(&group.run(0)[0]).results[0].is_ok());
    assert_eq!([0, 1, 2].map(|number| group.count(number)), [2_000; 3]);
    group.assert_equal();
}

#[test]
fn who_does_not_wait_is_refused_where_another_transaction_is_prepared() {
    let mut group = TestGroup::new(2);
    group.submit(0, prepare(1, false, &[&["INSERT INTO t VALUES (1, 1)"]]));
    assert!(reply(&group.run(0)[0]).results[0].is_ok());
    group.submit(0, prepare(2, true, &[&["INSERT INTO t VALUES (2, 2)"]]));
    group.submit(0, commit(3, &[&["INSERT INTO t VALUES (3, 3)"]]));
    assert!(group.run(0).is_empty(), "these wait");
    group.submit(0, prepare(4, false, &[&["INSERT INTO t VALUES (4, 4)"]]));
    assert_eq!(error(&group.run(0)[0]).code, ErrorCode::SerializationFailure);
    let carry_out = Verdict { commit: true, at: Hlc::from_millis(9_000) };
    group.submit(0, Job::Decide { transaction: transaction(1), verdict: carry_out, decides: false });
    assert!(committed(&group.run(0)[0]));
    assert_eq!(group.replicas[1].prepared().unwrap().transaction, transaction(2));
    group.assert_equal();
}

#[test]
fn who_does_not_wait_is_refused_where_a_transaction_holds_a_lock() {
    let mut group = TestGroup::new(1);
    let claim = LockClaim { transaction: 9, began_ms: 0, holds_others: false, left_ms: 1_000 };
    let (own, pinned) = (Default::default(), TimeAndChance::default());
    group.submit(0, Job::Try(TryRequest { write: request(&[]), own, lock: Some(claim), pinned }));
    group.run(0);
    group.submit(0, prepare(1, false, &[&["INSERT INTO t VALUES (1, 1)"]]));
    assert_eq!(error(&group.run(0)[0]).code, ErrorCode::SerializationFailure);
    group.submit(0, prepare(9, false, &[&["INSERT INTO t VALUES (1, 1)"]]));
    assert!(reply(&group.run(0)[0]).results[0].is_ok(), "the lock is its own");
}

#[test]
fn one_that_takes_long_is_refused_so_that_its_neighbours_need_not_wait() {
    let mut group = TestGroup::new(1);
    // Each look at the clock finds that a millisecond has passed.
    group.step_us.set(1_000);
    let long = "INSERT INTO t SELECT value, value FROM generate_series(1, 100000)";
    group.submit(0, commit(1, &[&["INSERT INTO t VALUES (0, 0)"], &[long]]));
    let answers = group.run(0);
    let results = &reply(&answers[0]).results;
    assert_eq!(results[1].as_ref().unwrap_err().code, ErrorCode::StatementTimeout);
    group.step_us.set(0);
    group.submit(0, commit(2, &[&[long]]));
    assert!(reply(&group.run(0)[0]).results[0].is_ok(), "alone it has its time");
    group.submit(0, write("INSERT INTO t VALUES (0, 0)"));
    assert!(group.run(0)[0].result.is_ok());
}
