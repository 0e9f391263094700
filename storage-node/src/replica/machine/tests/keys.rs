//! Idempotency keys, as the partition that remembers them sees them.

use bytes::Bytes;
use common::idempotency::{
    IdempotencyKey, KEPT_ANSWER_MAX, KEY_LIFE_MS, Keeps, Kept, Keyed, KeyedRequest, SESSION_LIFE_MS,
};
use common::protocol::{
    JointPurpose, JointRequest, RequestWork, StatementResult, Verdict, WorkItem, WriteReply,
};
use common::{ErrorCode, Hlc, PartitionId, TransactionId, Value};

use super::super::{Job, Reply};
use super::group::{TestGroup, committed, error, request, written};

const OTHER: PartitionId = PartitionId(8);

fn keyed(key: &str, digest: u128, keeps: Keeps) -> Keyed {
    let key = IdempotencyKey::parse(key.as_bytes()).unwrap();
    Keyed { request: KeyedRequest { key, digest }, keeps }
}

fn write(key: &str, digest: u128, sql: &[&str]) -> Job {
    let mut write = request(sql);
    let results = Keeps::Results(Bytes::from_static(b"context"));
    write.work.insert(0, WorkItem::Key(keyed(key, digest, results)));
    Job::Write(write)
}

fn only_key(key: &str, digest: u128, keeps: Keeps) -> Job {
    let mut write = request(&[]);
    write.work.push(WorkItem::Key(keyed(key, digest, keeps)));
    Job::Write(write)
}

/// What a reply says was kept before.
fn kept(reply: &WriteReply) -> Option<Kept> {
    let rows = reply.results[0].rows.to_values().unwrap();
    let Some([Value::Blob(bytes)]) = rows.first().map(Vec::as_slice) else { return None };
    Some(common::protocol::decode(bytes).unwrap())
}

/// Runs one job on the first replica.
fn answer(group: &mut TestGroup, job: Job) -> super::super::Answer {
    group.submit(0, job);
    group.run(0).remove(0)
}

fn results(group: &mut TestGroup, job: Job) -> Option<(Vec<StatementResult>, u64)> {
    match kept(written(&answer(group, job)))? {
        Kept::Results(kept) => {
            assert_eq!(&kept.context[..], b"context");
            Some((kept.results, kept.index))
        }
        other => panic!("{other:?} are no results"),
    }
}

const ADD: &[&str] = &["INSERT INTO t VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = n + 1 RETURNING n"];

#[test]
fn a_repeated_write_changes_nothing_and_gets_the_first_results_from_any_leader() {
    let mut group = TestGroup::new(3);
    let first = answer(&mut group, write("k", 1, ADD));
    let first = written(&first).clone();
    assert_eq!(first.results.len(), 2);
    for leader in [0, 2, 1] {
        group.restart(leader);
        group.tell_all();
        group.elect(leader);
        group.submit(leader, write("k", 1, ADD));
        let answers = group.run(leader);
        let Some(Kept::Results(kept)) = kept(written(&answers[0])) else { panic!("it was run again") };
        assert_eq!(kept.results, first.results[1..]);
        assert_eq!(kept.index, first.index);
        assert_eq!(group.read(leader, "SELECT n FROM t"), [[Value::Integer(1)]]);
    }
    group.assert_equal();
}

#[test]
fn repetitions_in_one_batch_are_one_write() {
    let mut group = TestGroup::new(2);
    for _ in 0..3 {
        group.submit(0, write("k", 1, ADD));
    }
    let answers = group.run(0);
    let fresh = answers.iter().filter(|answer| kept(written(answer)).is_none()).count();
    assert_eq!((answers.len(), fresh), (3, 1));
    assert_eq!(group.read(0, "SELECT n FROM t"), [[Value::Integer(1)]]);
    group.assert_equal();
}

#[test]
fn a_key_belongs_to_one_request() {
    let mut group = TestGroup::new(1);
    answer(&mut group, write("k", 1, ADD));
    let other = answer(&mut group, write("k", 2, ADD));
    assert_eq!(error(&other).code, ErrorCode::IdempotencyMismatch);
    assert_eq!(group.read(0, "SELECT n FROM t"), [[Value::Integer(1)]]);
}

#[test]
fn errors_are_not_kept() {
    let mut group = TestGroup::new(2);
    answer(&mut group, super::group::write("INSERT INTO t VALUES (2, 7)"));
    let refused = answer(&mut group, write("k", 1, &["INSERT INTO t VALUES (3, 7)"]));
    assert_eq!(error(&refused).code, ErrorCode::UniqueViolation);
    answer(&mut group, super::group::write("DELETE FROM t"));
    let again = answer(&mut group, write("k", 1, &["INSERT INTO t VALUES (3, 7)"]));
    assert!(kept(written(&again)).is_none());
    assert_eq!(group.count(0), 1);
    group.assert_equal();
}

#[test]
fn an_answer_that_is_too_large_is_refused_with_its_effects() {
    let mut group = TestGroup::new(1);
    let sql = format!("INSERT INTO t VALUES (1, 1) RETURNING zeroblob({KEPT_ANSWER_MAX} + 8192)");
    let refused = answer(&mut group, write("k", 1, &[&sql]));
    assert_eq!(error(&refused).code, ErrorCode::ResultTooBig);
    assert_eq!(group.count(0), 0);
}

#[test]
fn keys_expire_by_the_clock_and_are_removed_on_every_replica() {
    let mut group = TestGroup::new(2);
    for number in 0..40 {
        answer(&mut group, write(&format!("k{number}"), 1, ADD));
    }
    group.clock_us.set(group.clock_us.get() + KEY_LIFE_MS * 1_000);
    assert!(results(&mut group, write("k7", 1, ADD)).is_none(), "it was forgotten");
    for number in 0..5 {
        answer(&mut group, write(&format!("later{number}"), 1, ADD));
    }
    let kept = group.read(1, "SELECT n FROM t");
    assert_eq!(kept, [[Value::Integer(46)]]);
    assert_eq!(group.keys(1), 6);
    group.assert_equal();
}

#[test]
fn the_newest_thousand_of_a_session_are_known_and_older_ones_refused() {
    let mut group = TestGroup::new(2);
    for sequence in 1..=1_003 {
        group.submit(0, write(&format!("s.{sequence}"), 1, ADD));
    }
    group.run(0);
    // Time passes; a session is not forgotten by the age of its keys.
    group.clock_us.set(group.clock_us.get() + 2 * KEY_LIFE_MS * 1_000);
    assert!(results(&mut group, write("s.4", 1, ADD)).is_some());
    let old = answer(&mut group, write("s.3", 1, ADD));
    assert_eq!(error(&old).code, ErrorCode::IdempotencyKeyGone);
    assert!(results(&mut group, write("s.1005", 1, ADD)).is_none(), "a gap is allowed");
    assert!(results(&mut group, write("s.1004", 1, ADD)).is_none(), "and filled later");
    assert_eq!(group.keys(1), 1_000);
    group.assert_equal();
}

#[test]
fn a_session_that_is_not_used_any_more_is_removed() {
    let mut group = TestGroup::new(2);
    for sequence in 0..20 {
        answer(&mut group, write(&format!("old.{sequence}"), 1, ADD));
    }
    group.clock_us.set(group.clock_us.get() + SESSION_LIFE_MS * 1_000);
    for sequence in 0..2 {
        answer(&mut group, write(&format!("new.{sequence}"), 1, ADD));
    }
    assert_eq!(group.keys(1), 2);
    group.assert_equal();
}

#[test]
fn a_claim_names_the_partition_that_answers_and_can_be_given_up() {
    let mut group = TestGroup::new(1);
    let claim = |digest| only_key("k", digest, Keeps::Claim(OTHER));
    assert_eq!(kept(written(&answer(&mut group, claim(1)))), None);
    assert_eq!(kept(written(&answer(&mut group, claim(1)))), Some(Kept::Elsewhere(OTHER)));
    assert_eq!(error(&answer(&mut group, claim(2))).code, ErrorCode::IdempotencyMismatch);
    answer(&mut group, only_key("k", 1, Keeps::Release));
    assert_eq!(kept(written(&answer(&mut group, claim(2)))), None);
}

fn transaction(unique: u128) -> TransactionId {
    TransactionId { deadline: Hlc::from_millis(60_000), unique }
}

fn decide(unique: u128, key: &str, answer: &'static [u8]) -> Job {
    decide_all(unique, &[(key, answer)])
}

fn decide_all(unique: u128, answers: &[(&str, &'static [u8])]) -> Job {
    let keeps =
        |(key, answer): &(&str, &'static [u8])| keyed(key, 1, Keeps::Answer(Bytes::from_static(answer)));
    Job::DecideKeyed {
        transaction: transaction(unique),
        participants: vec![OTHER],
        keyed: answers.iter().map(keeps).collect(),
        prepared_at: Hlc::default(),
    }
}

#[test]
fn the_answer_is_kept_with_the_decision_and_only_one_attempt_commits() {
    let mut group = TestGroup::new(2);
    assert!(committed(&answer(&mut group, decide(1, "k", b"first"))));
    assert!(committed(&answer(&mut group, decide(1, "k", b"first"))));
    assert!(!committed(&answer(&mut group, decide(2, "k", b"second"))));
    group.elect(1);
    group.submit(1, only_key("k", 1, Keeps::Nothing));
    let found = group.run(1);
    assert_eq!(kept(written(&found[0])), Some(Kept::Answer(Bytes::from_static(b"first"))));
    assert_eq!(group.replicas[1].decisions().unwrap()[0].participants, [OTHER]);
    group.assert_equal();
}

#[test]
fn the_answers_of_all_requests_are_kept_with_one_decision_or_none_is() {
    let mut group = TestGroup::new(2);
    assert!(committed(&answer(&mut group, decide_all(1, &[("a", b"1"), ("b", b"2")]))));
    let again = decide_all(2, &[("c", b"3"), ("b", b"4")]);
    assert!(!committed(&answer(&mut group, again)), "another attempt has come first");
    for (key, expected) in [("a", Some(b"1")), ("b", Some(b"2")), ("c", None)] {
        let found = kept(written(&answer(&mut group, only_key(key, 1, Keeps::Nothing))));
        assert_eq!(found, expected.map(|expected| Kept::Answer(Bytes::from_static(expected))), "{key}");
    }
    group.assert_equal();
}

#[test]
fn who_decides_is_kept_with_the_transaction_alone() {
    let mut group = TestGroup::new(2);
    let part = |unique, digest| {
        let mut write = request(&["INSERT INTO t (n) VALUES (1)"]);
        write.work.insert(0, WorkItem::Key(keyed("k", digest, Keeps::Decider(OTHER))));
        Job::Joint(JointRequest {
            target: write.target,
            transaction: transaction(unique),
            participants: vec![super::group::PARTITION, OTHER],
            requests: vec![RequestWork { work: write.work, max_rows: 1 }],
            purpose: JointPurpose::Prepare { decider: OTHER, waits: true },
        })
    };
    let end = |unique, commit| {
        let verdict = Verdict { commit, at: Hlc::from_millis(5_000) };
        Job::Decide { transaction: transaction(unique), verdict, decides: false }
    };
    // A claim of an attempt that came to nothing does not count, nor does what was aborted.
    answer(&mut group, only_key("k", 1, Keeps::Claim(PartitionId(9))));
    for (unique, commit) in [(1, false), (2, true)] {
        assert!(answer(&mut group, part(unique, 1)).result.is_ok());
        answer(&mut group, end(unique, commit));
    }
    let found = |group: &mut TestGroup, keeps| kept(written(&answer(group, only_key("k", 1, keeps))));
    assert_eq!(found(&mut group, Keeps::Release), None, "it is no claim that could be given up");
    for keeps in [Keeps::Nothing, Keeps::Claim(PartitionId(9)), Keeps::Decider(PartitionId(9))] {
        assert_eq!(found(&mut group, keeps), Some(Kept::Decided(OTHER)));
    }
    let again = answer(&mut group, part(3, 1));
    let Ok(Reply::Joint(reply)) = &again.result else { panic!("{again:?}") };
    let results = reply.results[0].as_ref().unwrap();
    assert_eq!((results.len(), results[0].rows.rows), (1, 1), "it tells what is kept, and runs nothing");
    answer(&mut group, end(3, false));
    assert_eq!(results_of_write(&mut group), Some(Kept::Decided(OTHER)), "nor does another way run it again");
    assert_eq!(group.count(1), 1);
    group.assert_equal();
}

fn results_of_write(group: &mut TestGroup) -> Option<Kept> {
    kept(written(&answer(group, write("k", 1, ADD))))
}

#[test]
fn a_late_commit_keeps_no_answer() {
    let mut group = TestGroup::new(2);
    let abort = Job::Decide { transaction: transaction(1), verdict: Verdict::ABORT, decides: true };
    answer(&mut group, abort);
    assert!(!committed(&answer(&mut group, decide(1, "k", b"late"))));
    group.clock_us.set(70_000_000);
    assert!(!committed(&answer(&mut group, decide(2, "k", b"late"))));
    assert_eq!(kept(written(&answer(&mut group, only_key("k", 1, Keeps::Nothing)))), None);
    group.assert_equal();
}

#[test]
fn a_decider_that_takes_part_applies_its_rows_with_the_answer() {
    let mut group = TestGroup::new(2);
    let write = request(&["INSERT INTO t VALUES (1, 1)"]);
    let prepare = Job::Joint(JointRequest {
        target: write.target,
        transaction: transaction(1),
        participants: vec![super::group::PARTITION, OTHER],
        requests: vec![RequestWork { work: write.work, max_rows: 1 }],
        purpose: JointPurpose::Prepare { decider: super::group::PARTITION, waits: true },
    });
    assert!(answer(&mut group, prepare).result.is_ok());
    assert!(committed(&answer(&mut group, decide(1, "k", b"a"))));
    assert_eq!((group.count(1), group.keys(1)), (1, 1));
    assert!(group.replicas.iter().all(|replica| replica.prepared().is_none()));
    group.assert_equal();
}
