//! Changes of the schema that lie between changes of rows, in one transaction.

use common::protocol::{
    JointPurpose, JointReply, JointRequest, PartitionTarget, RequestWork, SchemaStep, Verdict, WorkItem,
    WriteRequest,
};
use common::{ErrorCode, Hlc, PartitionId, TransactionId, Value};

use super::super::{Answer, Job, Reply};
use super::group::{PARTITION, TestGroup, committed, error, request, schema};

const OTHER: PartitionId = PartitionId(8);

fn transaction(unique: u128) -> TransactionId {
    TransactionId { deadline: Hlc::from_millis(60_000), unique }
}

/// DDL begins with another word than what changes rows.
fn item(sql: &str, version: u64) -> WorkItem {
    if ["CREATE", "DROP", "ALTER"].iter().any(|word| sql.starts_with(word)) {
        return WorkItem::Schema(SchemaStep { version, statements: vec![sql.to_owned()] });
    }
    request(&[sql]).work.remove(0)
}

/// From one version of the schema to the next.
fn part(unique: u128, before: u64, purpose: JointPurpose, statements: &[&str]) -> Job {
    let work = statements.iter().map(|sql| item(sql, before + 1)).collect();
    Job::Joint(JointRequest {
        target: PartitionTarget { schema_version: before, ..request(&[]).target },
        transaction: transaction(unique),
        participants: vec![PARTITION, OTHER],
        requests: vec![RequestWork { work, max_rows: 100 }],
        purpose,
    })
}

fn prepare(unique: u128, statements: &[&str]) -> Job {
    part(unique, 1, JointPurpose::Prepare { decider: OTHER, waits: true }, statements)
}

fn commit(unique: u128, before: u64, statements: &[&str]) -> Job {
    part(unique, before, JointPurpose::Commit { prepared_at: Hlc::default() }, statements)
}

fn decide(unique: u128, commit: bool) -> Job {
    let verdict = Verdict { commit, at: Hlc::from_millis(1_000) };
    Job::Decide { transaction: transaction(unique), verdict, decides: false }
}

fn write_on(version: u64, sql: &str) -> Job {
    let write = request(&[sql]);
    let target = PartitionTarget { schema_version: version, ..write.target };
    Job::Write(WriteRequest { target, ..write })
}

fn refusal(answers: &[Answer]) -> &common::Error {
    match &answers[0].result {
        Ok(Reply::Joint(JointReply { results, .. })) => results[0].as_ref().unwrap_err(),
        other => panic!("{other:?} is not the answer to a part"),
    }
}

fn is_done(answers: &[Answer]) -> bool {
    matches!(&answers[0].result, Ok(Reply::Joint(reply)) if reply.results.iter().all(Result::is_ok))
}

fn rows(group: &TestGroup, number: usize, sql: &str) -> Vec<Vec<Value>> {
    group.read(number, sql)
}

/// SQLite's own way of changing a table as ALTER TABLE cannot.
const MIGRATION: &[&str] = &[
    "INSERT INTO t VALUES (3, 30)",
    "CREATE TABLE newer (id INTEGER PRIMARY KEY AUTOINCREMENT, m TEXT NOT NULL, extra DEFAULT 'x')",
    "INSERT INTO newer(id, m) SELECT id, 'm' || n FROM t",
    "DROP TABLE t",
    "ALTER TABLE newer RENAME TO t",
    "CREATE UNIQUE INDEX by_m ON t(m)",
    "INSERT INTO t(m) VALUES ('last')",
    "ALTER TABLE t ADD COLUMN more INTEGER DEFAULT 5",
    "UPDATE t SET more = more + id WHERE id < 3",
];

/// What it leaves of rows 1 and 2.
fn migrated() -> Vec<Vec<Value>> {
    let row = |id: i64, m: &str, more: i64| vec![id.into(), m.into(), "x".into(), more.into()];
    vec![row(1, "m10", 6), row(2, "m20", 7), row(3, "m30", 5), row(4, "last", 5)]
}

const ALL: &str = "SELECT id, m, extra, more FROM t ORDER BY id";

fn with_rows(replicas: usize) -> TestGroup {
    let mut group = TestGroup::new(replicas);
    group.submit(0, write_on(1, "INSERT INTO t VALUES (1, 10), (2, 20)"));
    assert!(group.run(0)[0].result.is_ok());
    group
}

#[test]
fn a_migration_lands_on_every_replica_as_it_ran_on_the_leader() {
    let mut group = with_rows(3);
    group.submit(0, commit(1, 1, MIGRATION));
    assert!(is_done(&group.run(0)));
    for number in 0..3 {
        assert_eq!(rows(&group, number, ALL), migrated());
        assert_eq!(group.replicas[number].state().schema_version, 2);
        assert_eq!(group.tables(number), [("t".to_owned(), 4)]);
    }
    group.assert_equal();
    // AUTOINCREMENT's counter has gone along with the table's name.
    group.submit(0, write_on(2, "DELETE FROM t WHERE id = 4"));
    group.submit(0, write_on(2, "INSERT INTO t(m) VALUES ('next')"));
    group.run(0);
    assert_eq!(rows(&group, 1, "SELECT max(id) FROM t"), [[5.into()]]);
    group.restart(2);
    assert_eq!(group.replicas[2].state().schema_version, 2);
    group.assert_equal();
}

#[test]
fn who_planned_on_the_schema_before_is_refused_and_who_planned_on_the_next_one_waits() {
    let mut group = with_rows(2);
    let early = group.submit(0, write_on(2, "INSERT INTO t(m) VALUES ('early')"));
    group.submit(0, prepare(1, MIGRATION));
    assert!(is_done(&group.run(0)));
    let late = group.submit(0, write_on(1, "INSERT INTO t VALUES (9, 9)"));
    assert!(group.run(0).is_empty(), "both wait for the decision");
    group.submit(0, decide(1, true));
    let answers = group.run(0);
    let of = |ticket| answers.iter().find(|answer| answer.ticket == ticket).unwrap();
    assert_eq!((error(of(late)).code, error(of(late)).version), (ErrorCode::StaleSchema, Some(2)));
    assert!(of(early).result.is_ok());
    group.assert_equal();
}

#[test]
fn what_is_prepared_outlives_restarts_and_a_change_of_the_leader() {
    for is_large in [false, true] {
        let mut group = with_rows(3);
        if is_large {
            group.replicas.iter_mut().for_each(|replica| replica.limit_entries(400));
        }
        group.submit(0, prepare(1, MIGRATION));
        let first = group.execute(0);
        assert_eq!(first.proposals.len() > 3, is_large, "it travels as a set");
        group.accept(0, &first);
        group.tell(1);
        group.restart(1);
        group.run(0);
        assert!(group.replicas.iter().all(|replica| replica.prepared().is_some()));
        for number in 0..3 {
            assert_eq!(group.count(number), 2, "nothing is there yet");
            assert_eq!(group.replicas[number].state().schema_version, 1);
        }
        group.assert_equal();
        group.restart(2);
        group.elect(1);
        group.submit(1, decide(1, true));
        assert!(committed(&group.run(1)[0]));
        (0..3).for_each(|number| assert_eq!(rows(&group, number, ALL), migrated()));
        group.assert_equal();
    }
}

#[test]
fn a_commit_is_met_again_in_the_log_after_a_crash() {
    let mut group = with_rows(2);
    group.submit(0, commit(1, 1, MIGRATION));
    let outbox = group.execute(0);
    group.accept(0, &outbox);
    group.restart(0);
    group.elect(1);
    (0..2).for_each(|number| assert_eq!(rows(&group, number, ALL), migrated()));
    group.submit(1, Job::Decide { transaction: transaction(1), verdict: Verdict::ABORT, decides: true });
    assert!(committed(&group.run(1)[0]), "an abort comes too late");
    group.assert_equal();
}

#[test]
fn what_is_aborted_leaves_nothing_and_its_version_is_used_by_another() {
    let mut group = with_rows(2);
    group.submit(0, prepare(1, &["CREATE TABLE other (a, b)", "INSERT INTO other VALUES (1, 2)"]));
    group.run(0);
    group.submit(0, decide(1, false));
    assert!(!committed(&group.run(0)[0]));
    assert_eq!(group.replicas[1].state().schema_version, 1);
    // SQLite gives the next change the number that the one which was taken back had.
    group.submit(
        0,
        commit(2, 1, &["CREATE TABLE other (c INTEGER PRIMARY KEY)", "INSERT INTO other VALUES (7)"]),
    );
    assert!(is_done(&group.run(0)));
    assert_eq!(rows(&group, 1, "SELECT c FROM other"), [[7.into()]]);
    group.submit(0, write_on(2, "INSERT INTO other VALUES (8)"));
    assert!(group.run(0)[0].result.is_ok());
    group.assert_equal();
}

#[test]
fn a_refused_step_names_itself_and_leaves_no_trace() {
    let mut group = with_rows(2);
    let twice = [
        "UPDATE t SET n = 0 WHERE id = 1",
        "CREATE TABLE u (x)",
        "INSERT INTO u VALUES (1), (1)",
        "CREATE UNIQUE INDEX one ON u(x)",
    ];
    let gone = ["CREATE TABLE u (x)", "INSERT INTO u VALUES (1)", "INSERT OR ROLLBACK INTO t VALUES (1, 1)"];
    for (unique, statements) in [(1, &twice[..]), (2, &gone[..])] {
        group.submit(0, commit(unique, 1, statements));
        let answers = group.run(0);
        let refused = refusal(&answers);
        assert_eq!(refused.code, ErrorCode::UniqueViolation);
        assert_eq!(refused.statement, Some(u32::try_from(statements.len()).unwrap() - 1));
    }
    assert_eq!(group.tables(0), [("t".to_owned(), 2)]);
    assert_eq!(rows(&group, 0, "SELECT n FROM t WHERE id = 1"), [[10.into()]]);
    group.submit(0, commit(3, 1, &["CREATE TABLE u (x, y)", "INSERT INTO u VALUES (1, 2)"]));
    assert!(is_done(&group.run(0)));
    group.submit(0, write_on(2, "INSERT INTO u VALUES (3, 4)"));
    assert!(group.run(0)[0].result.is_ok());
    group.assert_equal();
}

#[test]
fn a_leader_that_is_deposed_while_it_changes_the_schema_forgets_it() {
    let mut group = with_rows(2);
    group.submit(0, commit(1, 1, MIGRATION));
    let lost = group.execute(0);
    group.elect(1);
    group.replicas[0].proposal_refused(lost.proposals[0].0).unwrap();
    assert_eq!(group.replicas[0].state().schema_version, 1);
    group.submit(1, schema(2, &["CREATE TABLE u (x)"]));
    group.run(1);
    group.elect(0);
    let next = group.submit(0, write_on(2, "INSERT INTO u VALUES (1)"));
    let answers = group.run(0);
    assert!(answers.iter().find(|answer| answer.ticket == next).unwrap().result.is_ok());
    assert_eq!(group.tables(1), [("t".to_owned(), 2), ("u".to_owned(), 1)]);
    group.assert_equal();
}

#[test]
fn caches_hear_that_anything_may_have_changed() {
    let mut group = with_rows(1);
    let before = group.replicas[0].table_changes().last_of("t");
    group.submit(0, commit(1, 1, &["CREATE TABLE u (x)", "INSERT INTO u VALUES (1)"]));
    group.run(0);
    assert!(group.replicas[0].table_changes().last_of("t") > before);
}

#[test]
fn the_schema_is_changed_by_transactions_that_nobody_shares() {
    let mut group = with_rows(1);
    let Job::Joint(mut joint) = commit(1, 1, &["CREATE TABLE u (x)"]) else { unreachable!() };
    let other = RequestWork { work: request(&["INSERT INTO t VALUES (5, 5)"]).work, max_rows: 1 };
    joint.requests.push(other);
    group.submit(0, Job::Joint(joint));
    let answers = group.run(0);
    let Ok(Reply::Joint(reply)) = &answers[0].result else { panic!("{answers:?}") };
    assert_eq!(reply.results[1].as_ref().unwrap_err().code, ErrorCode::Internal);
    let work = vec![item("CREATE TABLE u (x)", 2)];
    group.submit(0, Job::Write(WriteRequest { work, ..request(&[]) }));
    assert_eq!(error(&group.run(0)[0]).code, ErrorCode::Internal);
    assert_eq!((group.count(0), group.replicas[0].state().schema_version), (2, 1));
    group.assert_equal();
}
