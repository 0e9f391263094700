//! A partition's replicas and the log that they agree on.

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;
use common::protocol::{Params, PartitionTarget, Statement, WorkItem, WriteRequest};
use common::{PartitionId, ReplicaId, RequestId};
use consensus_runtime::{
    AppliedConfiguration, Committed, CommittedKind, CommittedLog, LogError, Proposed, Role, RoleChange,
};
use rand::Rng as _;
use rand::rngs::StdRng;
use sqlite::{Location, ReaderPool};
use storage_node::replica::machine::{Job, Machine, Origin, Outbox, Pending, PlantedBug, Ticket, Turn};
use storage_node::replica::promises::Promises;

use super::clock::Clocks;
use super::{Answers, BALANCE, NODES};

/// How long a job may wait, in milliseconds.
const PATIENCE_MS: u64 = 400;

/// One partition.
pub struct Partition {
    pub id: PartitionId,
    pub leader: usize,
    replicas: Vec<Replica>,
    log: Vec<Committed>,
    term: u64,
    proposals: u128,
    /// What the leader has proposed and no majority has yet.
    in_transit: VecDeque<(RequestId, Bytes)>,
    /// Batches that wait for leadership to be confirmed.
    confirmations: Vec<u64>,
}

/// The log from its first entry on, to be read again.
struct WholeLog<'l>(&'l [Committed]);

impl CommittedLog for WholeLog<'_> {
    fn data(&self, index: u64) -> Result<Bytes, LogError> {
        let position = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
        let entry = position.and_then(|position| self.0.get(position));
        entry.map(|entry| entry.data.clone()).ok_or(LogError::Unavailable)
    }
}

struct Replica {
    machine: Machine,
    promises: Promises,
    readers: ReaderPool,
}

impl Partition {
    /// A partition with one account and one counter.
    pub fn new(folder: &Path, number: usize, bug: Option<PlantedBug>, clocks: &mut Clocks) -> Partition {
        let id = PartitionId(number as u64 + 1);
        let origin = Origin { database: "db".into(), configuration: AppliedConfiguration::default() };
        let replicas = (0..NODES)
            .map(|node| {
                let location = Location::file(folder.join(format!("{number}-{node}.db")));
                let mut machine = Machine::open(&location, id, Some(&origin)).expect("a new file opens");
                bug.into_iter().for_each(|bug| machine.plant(bug));
                let readers = ReaderPool::new(location, 64, 8);
                Replica { machine, promises: Promises::default(), readers }
            })
            .collect();
        let mut partition = Partition {
            id,
            leader: number % NODES,
            replicas,
            log: Vec::new(),
            term: 0,
            proposals: u128::from(id.0) << 64,
            in_transit: VecDeque::new(),
            confirmations: Vec::new(),
        };
        partition.lead(number % NODES);
        let create = "CREATE TABLE t (name TEXT PRIMARY KEY, n INTEGER NOT NULL)";
        let schema = Job::Schema { version: 1, statements: vec![create.into()] };
        let insert = format!("INSERT INTO t VALUES ('account', {BALANCE}), ('counter', 0)");
        for (ticket, job) in [(1, schema), (2, Job::Write(partition.request(vec![statement(&insert)])))] {
            partition.submit(Ticket(ticket), clocks.now_ms(), job);
            let mut answers = Answers::new();
            while !answers.contains_key(&Ticket(ticket)) {
                partition.execute(clocks);
                partition.append_all();
                (0..NODES).for_each(|node| partition.land(node));
                partition.drain(clocks, &mut answers);
            }
            assert!(answers.values().all(Result::is_ok), "{answers:?}");
        }
        partition
    }

    /// A request for this partition.
    pub fn request(&self, work: Vec<WorkItem>) -> WriteRequest {
        let target =
            PartitionTarget { partition: self.id, epoch: 0, schema_version: 1, timeout_ms: PATIENCE_MS };
        WriteRequest { target, work, max_rows: 10 }
    }

    pub fn submit(&mut self, ticket: Ticket, now_ms: u64, job: Job) {
        let pending = Pending { ticket, deadline_ms: now_ms + PATIENCE_MS, job };
        self.replicas[self.leader].machine.submit(pending);
    }

    /// The leader runs what waits.
    pub fn execute(&mut self, clocks: &mut Clocks) {
        self.proposals += 1;
        let now_us = clocks.now_us();
        let replica = &mut self.replicas[self.leader];
        replica.machine.expire(clocks.now_ms());
        if replica.machine.may_execute() {
            let turn = Turn {
                hlc: replica.promises.begin_batch(|| clocks.now(self.leader)),
                request: RequestId(self.proposals),
                clock_us: &|| now_us,
                is_awaited: &|_| true,
            };
            replica.machine.execute(&turn).expect("the file is sound");
        }
        replica.promises.update(&replica.machine);
    }

    /// A majority gets what was proposed, and hears of the leader's clock; so does the leader of theirs.
    pub fn commit(&mut self, clocks: &mut Clocks, random: &mut StdRng) {
        self.meet_majority(clocks, random);
        self.append_all();
    }

    /// Messages between the leader and a majority go there and back.
    pub fn meet_majority(&mut self, clocks: &mut Clocks, random: &mut StdRng) {
        let other = (self.leader + random.random_range(1..NODES)) % NODES;
        clocks.tell(self.leader, other);
        clocks.tell(other, self.leader);
        for batch in std::mem::take(&mut self.confirmations) {
            self.replicas[self.leader].machine.leadership_confirmed(batch);
        }
    }

    fn append_all(&mut self) {
        for (request, data) in std::mem::take(&mut self.in_transit) {
            let at = self.append(CommittedKind::Normal, data);
            self.replicas[self.leader].machine.proposed(request, at).expect("the file is sound");
        }
    }

    fn append(&mut self, kind: CommittedKind, data: Bytes) -> Proposed {
        let index = self.log.len() as u64 + 1;
        self.log.push(Committed { index, term: self.term, kind, data });
        Proposed { term: self.term, index }
    }

    pub fn land_at_leader(&mut self) {
        self.land(self.leader);
    }

    pub fn land_anywhere(&mut self, random: &mut StdRng) {
        self.land(random.random_range(0..NODES));
    }

    /// A replica is told of all that is committed.
    fn land(&mut self, node: usize) {
        let replica = &mut self.replicas[node];
        let known = usize::try_from(replica.machine.received()).expect("a short log");
        replica.machine.committed(&self.log[known..], &WholeLog(&self.log)).expect("the file is sound");
        replica.promises.update(&replica.machine);
    }

    /// Another replica leads, elected by itself and one more. What was proposed may be in the log or lost.
    pub fn elect(&mut self, clocks: &mut Clocks, random: &mut StdRng) {
        if random.random_bool(0.5) {
            self.append_all();
        }
        // The rest is in the old leader's log alone, and will not be in the others'.
        let lost = Proposed { term: self.term, index: self.log.len() as u64 + 1 };
        for (request, _) in std::mem::take(&mut self.in_transit) {
            self.replicas[self.leader].machine.proposed(request, lost).expect("the file is sound");
        }
        self.confirmations.clear();
        let next = (self.leader + random.random_range(1..NODES)) % NODES;
        let voter = (next + random.random_range(1..NODES)) % NODES;
        clocks.tell(voter, next);
        self.lead(next);
        self.land(next);
        // Its empty entry is committed by the same majority.
        clocks.tell(next, voter);
    }

    fn lead(&mut self, leader: usize) {
        (self.term, self.leader) = (self.term + 1, leader);
        for (node, replica) in self.replicas.iter_mut().enumerate() {
            let role = if node == leader { Role::Leader } else { Role::Follower };
            let change = RoleChange { term: self.term, role, leader: Some(ReplicaId(leader as u64 + 1)) };
            replica.machine.role_changed(change).expect("the file is sound");
            replica.promises.update(&replica.machine);
        }
        self.append(CommittedKind::Empty, Bytes::new());
        self.land(leader);
    }

    /// Carries out what the machines ask for.
    pub fn drain(&mut self, clocks: &mut Clocks, answers: &mut Answers) {
        for node in 0..NODES {
            let replica = &mut self.replicas[node];
            if node != self.leader {
                replica.machine.expire(clocks.now_ms());
            }
            let Outbox { proposals, confirmations, answers: told, compared: _ } = replica.machine.drain();
            answers.extend(told.into_iter().map(|answer| (answer.ticket, answer.result)));
            if node == self.leader {
                self.in_transit.extend(proposals);
                self.confirmations.extend(confirmations);
            }
            replica.promises.update(&replica.machine);
        }
    }

    /// Index up to which everything is committed.
    pub fn committed(&self) -> u64 {
        self.log.len() as u64
    }

    /// Index up to which a replica has landed.
    pub fn landed(&self, node: usize) -> u64 {
        self.replicas[node].machine.received()
    }

    /// Whether reads of a leader wait for a commit that may have been told.
    pub fn owes_commit(&self, node: usize) -> bool {
        self.replicas[node].machine.owes_commit()
    }

    pub fn promises(&self, node: usize) -> &Promises {
        &self.replicas[node].promises
    }

    pub fn readers(&self, node: usize) -> &ReaderPool {
        &self.replicas[node].readers
    }
}

pub fn statement(sql: &str) -> WorkItem {
    WorkItem::Statement(Statement { sql: sql.into(), params: Params::None })
}
