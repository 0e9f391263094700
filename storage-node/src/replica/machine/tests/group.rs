//! A group without consensus: the test says who leads, what is committed, and to whom it is told.

use std::cell::Cell;
use std::collections::BTreeSet;

use bytes::Bytes;
use common::protocol::{Params, PartitionTarget, Statement, WorkItem, WriteReply, WriteRequest};
use common::{Error, Hlc, PartitionId, ReplicaId, RequestId, Value};
use consensus_runtime::{
    AppliedConfiguration, Committed, CommittedKind, CommittedLog, LogError, Proposed, Role, RoleChange,
};
use sqlite::{Budget, Location, Maintenance, Reader};

use super::super::{Answer, Fault, Job, Machine, Origin, Outbox, Pending, Reply, Ticket, Turn};

/// The partition of all tests.
pub(super) const PARTITION: PartitionId = PartitionId(7);

/// Some replicas and the log that they share.
pub(super) struct TestGroup {
    folder: tempfile::TempDir,
    pub(super) replicas: Vec<Machine>,
    pub(super) log: Vec<Committed>,
    pub(super) term: u64,
    next: u64,
    /// The clock that machines see, in microseconds.
    pub(super) clock_us: Cell<u64>,
    /// How much later each look at the clock is.
    pub(super) step_us: Cell<u64>,
    /// Jobs whose callers have gone.
    pub(super) gone: BTreeSet<Ticket>,
}

impl TestGroup {
    /// Replicas that have applied a schema of `t(id INTEGER PRIMARY KEY, n INTEGER UNIQUE)`, the first leading.
    pub(super) fn new(count: usize) -> TestGroup {
        let folder = tempfile::tempdir().unwrap();
        let origin = origin();
        let open = |number| Machine::open(&location(&folder, number), PARTITION, Some(&origin)).unwrap();
        let replicas = (0..count).map(open).collect();
        let mut group = TestGroup {
            folder,
            replicas,
            log: Vec::new(),
            term: 0,
            next: 0,
            clock_us: Cell::new(1_000_000),
            step_us: Cell::new(0),
            gone: BTreeSet::new(),
        };
        group.elect(0);
        group.submit(0, schema(1, &["CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER UNIQUE)"]));
        assert_eq!(group.run(0)[0].result, Ok(Reply::Done));
        group
    }

    /// Makes a replica the leader of the next term; its empty entry is applied everywhere.
    pub(super) fn elect(&mut self, leader: usize) {
        self.term += 1;
        for number in 0..self.replicas.len() {
            let role = if number == leader { Role::Leader } else { Role::Follower };
            let change = RoleChange { term: self.term, role, leader: Some(id(leader)) };
            self.replicas[number].role_changed(change).unwrap();
        }
        self.append(CommittedKind::Empty, Bytes::new());
        self.tell_all();
    }

    pub(super) fn append(&mut self, kind: CommittedKind, data: Bytes) -> Proposed {
        let index = self.log.len() as u64 + 1;
        self.log.push(Committed { index, term: self.term, kind, data });
        Proposed { term: self.term, index }
    }

    /// Tells a replica what it has not been told of the log.
    pub(super) fn tell(&mut self, number: usize) {
        let known = usize::try_from(self.replicas[number].received()).unwrap();
        self.replicas[number].committed(&self.log[known..], &TestLog(&self.log)).unwrap();
    }

    pub(super) fn tell_all(&mut self) {
        (0..self.replicas.len()).for_each(|number| self.tell(number));
    }

    pub(super) fn submit(&mut self, number: usize, job: Job) -> Ticket {
        self.next += 1;
        let ticket = Ticket(self.next);
        let deadline_ms = self.clock_us.get() / 1_000 + 10_000;
        self.replicas[number].submit(Pending { ticket, deadline_ms, job });
        ticket
    }

    /// Runs one batch; what it asks for is in the outbox.
    pub(super) fn execute(&mut self, number: usize) -> Outbox {
        self.execute_with(number, Machine::execute).1
    }

    /// Runs one batch in some way; says whether anything ran.
    pub(super) fn execute_with(
        &mut self,
        number: usize,
        run: impl FnOnce(&mut Machine, &Turn<'_>) -> Result<bool, Fault>,
    ) -> (bool, Outbox) {
        self.next += 1;
        let clock = || {
            self.clock_us.set(self.clock_us.get() + self.step_us.get());
            self.clock_us.get()
        };
        let turn = Turn {
            hlc: Hlc::from_millis(self.clock_us.get() / 1_000),
            request: RequestId(u128::from(self.next)),
            clock_us: &clock,
            is_awaited: &|ticket| !self.gone.contains(&ticket),
        };
        let ran = run(&mut self.replicas[number], &turn).unwrap();
        (ran, self.replicas[number].drain())
    }

    /// Appends what a leader proposes.
    pub(super) fn accept(&mut self, number: usize, outbox: &Outbox) {
        for (request, data) in &outbox.proposals {
            let at = self.append(CommittedKind::Normal, data.clone());
            self.replicas[number].proposed(*request, at).unwrap();
        }
    }

    /// Lets the leader do everything it can, commits all of it everywhere, and returns its answers.
    pub(super) fn run(&mut self, leader: usize) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            let outbox = self.execute(leader);
            self.accept(leader, &outbox);
            self.tell_all();
            let quiet =
                outbox.proposals.is_empty() && outbox.confirmations.is_empty() && outbox.answers.is_empty();
            answers.extend(outbox.answers);
            for batch in outbox.confirmations {
                self.replicas[leader].leadership_confirmed(batch);
            }
            let after = self.replicas[leader].drain();
            self.accept(leader, &after);
            answers.extend(after.answers);
            if quiet && after.proposals.is_empty() {
                return answers;
            }
        }
    }

    /// Closes a replica's file without telling it anything, and opens it again.
    pub(super) fn restart(&mut self, number: usize) {
        let spare = self.folder.path().join("spare.db");
        let origin = origin();
        let spare = Machine::open(&Location::file(spare), PARTITION, Some(&origin)).unwrap();
        drop(std::mem::replace(&mut self.replicas[number], spare));
        let machine = Machine::open(&location(&self.folder, number), PARTITION, None).unwrap();
        self.replicas[number] = machine;
    }

    /// What a reader of the replica's file sees.
    pub(super) fn read(&self, number: usize, sql: &str) -> Vec<Vec<Value>> {
        let mut reader = Reader::open(&location(&self.folder, number)).unwrap();
        let statement = Statement { sql: sql.into(), params: Params::None };
        let result = reader.query(&statement, &Budget::default()).unwrap();
        let mut rows = Vec::new();
        result
            .rows
            .for_each(|row| {
                rows.push(row.iter().map(|value| value.to_value()).collect());
                Ok::<(), common::row::MalformedRow>(())
            })
            .unwrap();
        rows
    }

    pub(super) fn count(&self, number: usize) -> i64 {
        match self.read(number, "SELECT count(*) FROM t")[0][0] {
            Value::Integer(count) => count,
            ref other => panic!("{other:?} is no count"),
        }
    }

    /// How many idempotency keys a replica's file holds.
    pub(super) fn keys(&self, number: usize) -> u64 {
        Maintenance::open(&location(&self.folder, number)).unwrap().count_keys().unwrap()
    }

    /// Rows of each of the client's tables in a replica's file.
    pub(super) fn tables(&self, number: usize) -> Vec<(String, u64)> {
        Maintenance::open(&location(&self.folder, number)).unwrap().count_rows().unwrap()
    }

    /// Every replica has applied the whole log and holds the same.
    pub(super) fn assert_equal(&self) {
        let digest = |number| Maintenance::open(&location(&self.folder, number)).unwrap().digest().unwrap();
        for number in 0..self.replicas.len() {
            assert_eq!(self.replicas[number].received(), self.log.len() as u64);
            assert_eq!(digest(number), digest(0), "replica {number}");
            assert_eq!(
                self.replicas[number].digest().unwrap(),
                digest(number),
                "replica {number} follows its rows"
            );
            let rows = self.tables(number).iter().map(|(_, rows)| rows).sum::<u64>();
            assert_eq!(self.replicas[number].rows(), rows);
        }
    }
}

/// The log that all replicas share, to be read again.
struct TestLog<'a>(&'a [Committed]);

impl CommittedLog for TestLog<'_> {
    fn data(&self, index: u64) -> Result<Bytes, LogError> {
        let position = usize::try_from(index).map_err(|_| LogError::Unavailable)? - 1;
        self.0.get(position).map(|entry| entry.data.clone()).ok_or(LogError::Unavailable)
    }
}

fn origin() -> Origin {
    Origin { database: "db".into(), configuration: AppliedConfiguration::default() }
}

pub(super) fn id(number: usize) -> ReplicaId {
    ReplicaId(number as u64 + 1)
}

fn location(folder: &tempfile::TempDir, number: usize) -> Location {
    Location::file(folder.path().join(format!("{number}.db")))
}

pub(super) fn schema(version: u64, statements: &[&str]) -> Job {
    Job::Schema { version, statements: statements.iter().map(|&sql| sql.to_owned()).collect() }
}

pub(super) fn request(statements: &[&str]) -> WriteRequest {
    let statement = |&sql: &&str| WorkItem::Statement(Statement { sql: sql.into(), params: Params::None });
    WriteRequest {
        target: PartitionTarget { partition: PARTITION, epoch: 0, schema_version: 1, timeout_ms: 10_000 },
        work: statements.iter().map(statement).collect(),
        max_rows: 100,
    }
}

pub(super) fn write(sql: &str) -> Job {
    Job::Write(request(&[sql]))
}

pub(super) fn written(answer: &Answer) -> &WriteReply {
    match &answer.result {
        Ok(Reply::Written(reply)) => reply,
        other => panic!("{other:?} is not the answer to a write"),
    }
}

/// Whether the log says that the transaction committed.
pub(super) fn committed(answer: &Answer) -> bool {
    match &answer.result {
        Ok(Reply::Decided(verdict)) => verdict.commit,
        other => panic!("{other:?} is no decision"),
    }
}

pub(super) fn error(answer: &Answer) -> &Error {
    answer.result.as_ref().unwrap_err()
}
