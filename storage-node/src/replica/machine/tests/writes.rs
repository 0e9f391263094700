//! Writes, batches, and what becomes of them when leaders change.

use bytes::Bytes;
use common::protocol::{Params, Statement, WorkItem};
use common::{ErrorCode, Outcome, Value};
use consensus_runtime::{AppliedConfiguration, CommittedKind, Configuration, Proposed, Role, RoleChange};

use super::super::{Job, Reply};
use super::group::{TestGroup, error, id, request, schema, write, written};

#[test]
fn a_batch_is_one_entry_and_lands_everywhere() {
    let mut group = TestGroup::new(3);
    for number in 1..=5 {
        group.submit(0, write(&format!("INSERT INTO t VALUES ({number}, {number})")));
    }
    let entries = group.log.len();
    let answers = group.run(0);
    assert_eq!(group.log.len(), entries + 1);
    assert_eq!(answers.len(), 5);
    for answer in &answers {
        assert_eq!(written(answer).index, group.log.len() as u64);
        assert_eq!(written(answer).results[0].affected_rows, 1);
    }
    assert_eq!(group.count(2), 5);
    group.assert_equal();
}

#[test]
fn nothing_is_answered_or_visible_before_the_entry_is_committed() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    let outbox = group.execute(0);
    assert!(outbox.answers.is_empty() && outbox.proposals.len() == 1);
    assert_eq!(group.count(0), 0, "the transaction is open");
    // The next batch gathers, and does not begin.
    group.submit(0, write("INSERT INTO t VALUES (2, 2)"));
    assert!(group.execute(0).proposals.is_empty());
    group.accept(0, &outbox);
    group.tell(0);
    assert_eq!(group.replicas[0].drain().answers.len(), 1);
    assert_eq!(group.count(0), 1);
    assert_eq!(group.run(0).len(), 1);
    group.assert_equal();
}

#[test]
fn an_error_of_a_neighbours_making_waits_for_the_neighbour() {
    let mut group = TestGroup::new(2);
    let inserted = group.submit(0, write("INSERT INTO t VALUES (1, 10)"));
    let refused = group.submit(0, write("INSERT INTO t VALUES (2, 10)"));
    let outbox = group.execute(0);
    assert!(outbox.answers.is_empty(), "the conflicting row may yet be lost");
    group.accept(0, &outbox);
    group.tell_all();
    let answers = group.replicas[0].drain().answers;
    assert_eq!(answers[0].ticket, inserted);
    assert!(answers[0].result.is_ok());
    assert_eq!(answers[1].ticket, refused);
    assert_eq!(error(&answers[1]).code, ErrorCode::UniqueViolation);
    group.assert_equal();
}

#[test]
fn if_the_neighbour_is_lost_the_error_is_not_told() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 10)"));
    group.submit(0, write("INSERT INTO t VALUES (2, 10)"));
    let lost = group.execute(0);
    assert_eq!(lost.proposals.len(), 1);
    let at = Proposed { term: 1, index: 99 };
    group.replicas[0].proposed(lost.proposals[0].0, at).unwrap();
    group.elect(1);
    let answers = group.replicas[0].drain().answers;
    assert_eq!(answers.len(), 2);
    for answer in &answers {
        assert_eq!(error(answer).code, ErrorCode::LeadershipLost);
        assert_eq!(error(answer).outcome, Outcome::NotApplied);
    }
    group.submit(1, write("INSERT INTO t VALUES (2, 10)"));
    assert!(group.run(1)[0].result.is_ok());
    group.assert_equal();
}

#[test]
fn a_deposed_leaders_entry_that_is_in_the_log_is_applied_and_answered() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    let outbox = group.execute(0);
    group.accept(0, &outbox);
    // It steps down before it learns that its entry was committed.
    let change = RoleChange { term: 2, role: Role::Follower, leader: Some(id(1)) };
    group.replicas[0].role_changed(change).unwrap();
    assert!(group.replicas[0].drain().answers.is_empty(), "the log says what became of it");
    group.elect(1);
    let answers = group.replicas[0].drain().answers;
    assert_eq!(written(&answers[0]).results[0].affected_rows, 1);
    group.assert_equal();
    assert_eq!(group.count(0), 1);
}

#[test]
fn a_leader_that_was_elected_again_meanwhile_waits_for_what_the_log_says() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    let outbox = group.execute(0);
    // While it executed it was deposed and elected again; only then does its proposal reach the log.
    let follower = RoleChange { term: 2, role: Role::Follower, leader: None };
    group.replicas[0].role_changed(follower).unwrap();
    group.elect(0);
    assert!(group.replicas[0].drain().answers.is_empty(), "nothing is certain yet");
    group.accept(0, &outbox);
    group.tell_all();
    assert!(group.replicas[0].drain().answers[0].result.is_ok());
    assert_eq!(group.count(1), 1);
    group.assert_equal();
}

#[test]
fn an_open_batch_gives_way_to_another_leaders_entry() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    let mine = group.execute(0);
    // The other leader's entry is landed before this one hears that it was deposed, or where its own stands.
    group.term += 1;
    let change = RoleChange { term: group.term, role: Role::Leader, leader: Some(id(1)) };
    group.replicas[1].role_changed(change).unwrap();
    group.append(CommittedKind::Empty, Bytes::new());
    group.tell(1);
    group.submit(1, write("INSERT INTO t VALUES (2, 2)"));
    let theirs = group.execute(1);
    group.accept(1, &theirs);
    group.tell_all();
    assert!(group.replicas[0].drain().answers.is_empty());
    group.replicas[0].proposal_refused(mine.proposals[0].0).unwrap();
    assert_eq!(error(&group.replicas[0].drain().answers[0]).outcome, Outcome::NotApplied);
    assert_eq!(group.count(0), 1);
    group.assert_equal();
}

#[test]
fn an_entry_computed_on_another_state_is_ignored_everywhere() {
    let mut group = TestGroup::new(3);
    group.submit(0, write("INSERT INTO t VALUES (1, 0)"));
    group.run(0);
    // Two leaders compute an increment on the same state; the log takes both.
    group.submit(0, write("UPDATE t SET n = n + 1"));
    let first = group.execute(0);
    let rival = RoleChange { term: group.term, role: Role::Leader, leader: Some(id(1)) };
    group.replicas[1].role_changed(rival).unwrap();
    group.submit(1, write("UPDATE t SET n = n + 10"));
    let second = group.execute(1);
    group.replicas[1].role_changed(RoleChange { role: Role::Follower, ..rival }).unwrap();
    group.accept(0, &first);
    group.append(CommittedKind::Normal, second.proposals[0].1.clone());
    group.tell_all();
    assert!(group.replicas[0].drain().answers[0].result.is_ok());
    let answer = &group.replicas[1].drain().answers[0];
    assert_eq!(error(answer).code, ErrorCode::LeadershipLost);
    assert_eq!(error(answer).outcome, Outcome::NotApplied);
    group.assert_equal();
    assert_eq!(group.read(2, "SELECT n FROM t"), [[Value::Integer(1)]]);
}

#[test]
fn what_changes_nothing_waits_for_leadership_to_be_confirmed() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("DELETE FROM t WHERE id = 77"));
    let outbox = group.execute(0);
    assert!(outbox.proposals.is_empty() && outbox.answers.is_empty());
    group.replicas[0].leadership_confirmed(outbox.confirmations[0]);
    let answers = group.replicas[0].drain().answers;
    assert_eq!(written(&answers[0]).results[0].affected_rows, 0);

    group.submit(0, write("INSERT INTO missing VALUES (1)"));
    let outbox = group.execute(0);
    assert!(outbox.answers.is_empty(), "a deposed leader must not tell errors of a stale state");
    group.elect(1);
    assert_eq!(error(&group.replicas[0].drain().answers[0]).code, ErrorCode::LeadershipLost);
}

#[test]
fn a_leader_runs_nothing_before_its_own_terms_first_entry() {
    let mut group = TestGroup::new(2);
    group.term += 1;
    let change = RoleChange { term: group.term, role: Role::Leader, leader: Some(id(1)) };
    group.replicas[1].role_changed(change).unwrap();
    group.submit(1, write("INSERT INTO t VALUES (1, 1)"));
    assert!(!group.replicas[1].is_writable());
    assert!(group.execute(1).proposals.is_empty());
    group.append(CommittedKind::Empty, Bytes::new());
    group.tell(1);
    assert_eq!(group.execute(1).proposals.len(), 1);
}

#[test]
fn a_follower_names_the_leader() {
    let mut group = TestGroup::new(2);
    group.submit(1, write("INSERT INTO t VALUES (1, 1)"));
    let answers = group.replicas[1].drain().answers;
    assert_eq!(error(&answers[0]).code, ErrorCode::NotLeader);
    assert_eq!(error(&answers[0]).leader, Some(id(0)));
}

#[test]
fn a_restarted_replica_replays_what_its_file_lacks() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    // Committed in the log while the transaction is open on the leader: the crash loses only the latter.
    group.submit(0, write("INSERT INTO t VALUES (2, 2)"));
    let outbox = group.execute(0);
    group.accept(0, &outbox);
    group.restart(0);
    assert_eq!(group.count(0), 1);
    group.tell_all();
    assert_eq!(group.count(0), 2);
    group.assert_equal();
    group.restart(1);
    assert_eq!(group.replicas[1].received(), group.log.len() as u64);
    group.assert_equal();
}

#[test]
fn large_effects_travel_in_chunks_and_land_at_once() {
    let mut group = TestGroup::new(2);
    group.submit(0, schema(2, &["CREATE TABLE b (x BLOB)"]));
    group.run(0);
    let Job::Write(mut insert) =
        write("INSERT INTO b SELECT randomblob(100000) FROM generate_series(1, 120)")
    else {
        unreachable!("it is a write")
    };
    insert.target.schema_version = 2;
    let applied = group.replicas[1].state().position.index;
    group.submit(0, Job::Write(insert));
    let first = group.execute(0);
    let under_way: usize = first.proposals.iter().map(|(_, piece)| piece.len()).sum();
    assert!(first.proposals.len() > 1 && under_way <= 4 << 20, "only a window is under way");
    group.accept(0, &first);
    group.tell_all();
    assert_eq!(group.replicas[1].state().position.index, applied, "the applied index stays before the set");
    assert!(group.replicas[1].received() > applied);
    // A restart in the middle gathers the set again from the log.
    group.restart(1);
    assert_eq!(group.replicas[1].received(), applied);
    let more = group.replicas[0].drain();
    assert!(more.answers.is_empty() && !more.proposals.is_empty());
    group.accept(0, &more);
    let answers = group.run(0);
    assert_eq!(written(&answers[0]).results[0].affected_rows, 120);
    assert_eq!(group.read(1, "SELECT count(*) FROM b"), [[Value::Integer(120)]]);
    assert_eq!(group.replicas[1].state().position.index, group.log.len() as u64);
    assert_eq!(group.replicas[0].rows(), 120);
}

#[test]
fn a_new_leaders_entry_voids_an_unfinished_set() {
    let mut group = TestGroup::new(2);
    group.submit(0, schema(2, &["CREATE TABLE b (x BLOB)"]));
    group.run(0);
    let Job::Write(mut insert) =
        write("INSERT INTO b SELECT randomblob(100000) FROM generate_series(1, 120)")
    else {
        unreachable!("it is a write")
    };
    insert.target.schema_version = 2;
    group.submit(0, Job::Write(insert));
    let first = group.execute(0);
    group.accept(0, &first);
    group.tell_all();
    group.elect(1);
    assert_eq!(error(&group.replicas[0].drain().answers[0]).outcome, Outcome::NotApplied);
    for replica in &group.replicas {
        assert_eq!(replica.state().position.index, group.log.len() as u64);
    }
    assert_eq!(group.read(0, "SELECT count(*) FROM b"), [[Value::Integer(0)]]);
}

#[test]
fn a_slow_request_leaves_the_shared_batch_and_runs_alone() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t SELECT value, value FROM generate_series(1, 20000)"));
    group.submit(0, write("INSERT INTO t VALUES (-1, -1)"));
    // Every look at the clock is a millisecond later: the long one is interrupted, the short one is not.
    group.step_us.set(1_000);
    let outbox = group.execute(0);
    group.accept(0, &outbox);
    group.tell_all();
    let answers = group.replicas[0].drain().answers;
    assert_eq!(answers.len(), 1, "the neighbour does not wait for the slow one");
    assert_eq!(group.count(0), 1);
    group.step_us.set(0);
    let answers = group.run(0);
    assert_eq!(written(&answers[0]).results[0].affected_rows, 20_000);
    group.assert_equal();
}

#[test]
fn requests_wait_for_their_schema_or_are_told_the_newer_one() {
    let mut group = TestGroup::new(2);
    let Job::Write(mut early) = write("INSERT INTO u VALUES (1)") else { unreachable!("it is a write") };
    early.target.schema_version = 2;
    group.submit(0, Job::Write(early));
    assert!(group.execute(0).proposals.is_empty(), "it waits");
    group.submit(0, schema(2, &["CREATE TABLE u (x)"]));
    let answers = group.run(0);
    assert_eq!(answers[0].result, Ok(Reply::Done));
    assert_eq!(written(&answers[1]).results[0].affected_rows, 1);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    let answers = group.run(0);
    assert_eq!(error(&answers[0]).code, ErrorCode::StaleSchema);
    assert_eq!(error(&answers[0]).version, Some(2));
    // A schema change that is asked for again does nothing.
    group.submit(0, schema(2, &["CREATE TABLE u (x)"]));
    assert_eq!(group.run(0)[0].result, Ok(Reply::Done));
    group.assert_equal();
}

#[test]
fn a_schema_change_that_fails_changes_nothing_anywhere() {
    let mut group = TestGroup::new(2);
    let both = request(&["INSERT INTO t VALUES (1, NULL)", "INSERT INTO t VALUES (2, NULL)"]);
    group.submit(0, Job::Write(both));
    group.run(0);
    group.submit(0, schema(2, &["CREATE TABLE u (x)", "CREATE UNIQUE INDEX once ON t (coalesce(n, 0))"]));
    let answers = group.run(0);
    assert_eq!(error(&answers[0]).code, ErrorCode::UniqueViolation);
    assert!(group.replicas.iter().all(|replica| replica.state().schema_version == 1));
    assert_eq!(group.tables(1), [("t".to_owned(), 2)]);
    group.assert_equal();
}

#[test]
fn an_old_epoch_is_refused_once_the_partition_is_assigned_anew() {
    let mut group = TestGroup::new(2);
    let range = common::partition_map::BucketRange::Slots { first: 0, last: 99 };
    group.submit(0, Job::Assign { epoch: 3, range });
    assert_eq!(group.run(0)[0].result, Ok(Reply::Done));
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    let answers = group.run(0);
    assert_eq!(error(&answers[0]).code, ErrorCode::StalePartitionMap);
    assert_eq!(error(&answers[0]).version, Some(3));
    group.restart(1);
    assert_eq!(group.replicas[1].state().ownership.as_ref().unwrap().epoch, 3);
}

#[test]
fn members_are_stored_with_the_applied_index_even_while_a_batch_is_open() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    let outbox = group.execute(0);
    let index = group.log.len() as u64 + 1;
    let members = AppliedConfiguration { index, configuration: Configuration::of_voters([id(0), id(1)]) };
    group.append(CommittedKind::Configuration(members.clone()), Bytes::new());
    group.tell_all();
    group.accept(0, &outbox);
    group.tell_all();
    assert!(group.replicas[0].drain().answers[0].result.is_ok());
    for number in 0..2 {
        group.restart(number);
        assert_eq!(*group.replicas[number].configuration(), members);
    }
}

#[test]
fn time_running_out_says_what_may_have_been_applied() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    let outbox = group.execute(0);
    group.submit(0, write("INSERT INTO t VALUES (2, 2)"));
    group.replicas[0].expire(u64::MAX);
    let answers = group.replicas[0].drain().answers;
    let outcomes: Vec<_> = answers.iter().map(|answer| error(answer).outcome).collect();
    assert_eq!(outcomes, [Outcome::NotApplied, Outcome::Unknown]);
    assert!(answers.iter().all(|answer| error(answer).code == ErrorCode::NoQuorum));
    // The quorum comes back: the entry still counts.
    group.accept(0, &outbox);
    group.tell_all();
    assert_eq!(group.count(1), 1);
    group.assert_equal();
}

#[test]
fn row_images_land_only_on_the_rows_they_were_computed_on() {
    use common::entry::{Change, Effect, Effects};
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 5)"));
    group.run(0);
    let image = |old: i64, new: i64| {
        let change = Change::Update {
            old_key: vec![1.into()],
            key: vec![1.into()],
            old_row: Some(vec![1.into(), old.into()]),
            row: vec![1.into(), new.into()],
        };
        let effects = Effects { tables: vec!["t".into()], rows: vec![Effect { table: 0, change }] };
        let mut write = request(&[]);
        write.work = vec![
            WorkItem::Effects(effects),
            WorkItem::Statement(Statement { sql: "SELECT n FROM t".into(), params: Params::None }),
        ];
        Job::Write(write)
    };
    group.submit(0, image(5, 6));
    assert!(group.run(0)[0].result.is_ok());
    group.submit(0, image(5, 7));
    assert_eq!(error(&group.run(0)[0]).code, ErrorCode::SerializationFailure);
    assert_eq!(group.read(1, "SELECT n FROM t"), [[Value::Integer(6)]]);
    group.assert_equal();
}
