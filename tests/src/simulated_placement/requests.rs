//! Requests to storage nodes: on their way, carried out, and answered.

use std::sync::Arc;

use common::catalog::Catalog;
use common::entry::Effects;
use common::protocol::{MembershipChange, PinId, PinRequest, Pinned, ReplicaReport, Verdict, WriteRequest};
use common::replacing::{ImagesHeader, ReplacingReply, ReplacingRequest};
use common::{Error, ErrorCode, Hlc, Outcome, PartitionId, ReplicaId, Result, TransactionId};
use consensus::MembershipStep;
use storage_node::replica::machine::{
    Job, Pending, Reply, Ticket, not_leader, stale_partition_map, stale_schema,
};
use tokio::sync::oneshot;

use super::world::{BEGIN_MS, Event, Name, State, World, node_id};
use crate::simulated_cluster::Violation;
use crate::simulated_cluster::node::{Input, PinnedState};

/// How long a change of the schema, or of the place in the map, may wait for a majority, in milliseconds.
const STEP_MS: u64 = 4_000;

/// What a storage node is asked.
pub(crate) enum Question {
    Replacing(ReplacingRequest),
    Pin(PinRequest),
    Images(PinId),
    Write(WriteRequest),
    Schema { version: u64, statements: Vec<String> },
    Resolve(TransactionId),
    ChangeMembers(MembershipChange, u64),
    Transfer(ReplicaId),
    Report,
}

/// What it answers.
pub(crate) enum Told {
    Replacing(ReplacingReply),
    Pinned(Pinned),
    Images(ImagesHeader, Vec<Effects>),
    Report(Box<ReplicaReport>),
    Decided(Verdict),
    Done,
}

/// Where the answer goes.
pub(crate) type Tell = oneshot::Sender<Result<Told>>;

/// Somebody waits for a replica.
pub(crate) struct Waiting {
    tell: Tell,
    what: What,
}

enum What {
    Done,
    Owned,
    Pin(PinRequest),
}

impl World {
    /// Asks a storage node by its address.
    pub(crate) async fn ask(
        &self,
        address: &str,
        partition: PartitionId,
        question: Question,
    ) -> Result<Told> {
        let reads = matches!(question, Question::Pin(_) | Question::Images(_) | Question::Report);
        let (tell, told) = oneshot::channel();
        {
            let mut state = self.state();
            let Some(node) = node_at(&state.catalog, address) else {
                return Err(Error::new(ErrorCode::Unavailable, "nobody is there"));
            };
            if !state.loses_request() {
                let delay = state.delay();
                state.schedule.after(delay, Event::Ask { node, partition, question, tell });
            }
        }
        told.await.unwrap_or_else(|_| {
            let outcome = if reads { Outcome::NotApplied } else { Outcome::Unknown };
            Err(Error::new(ErrorCode::Unavailable, "the connection has broken").with_outcome(outcome))
        })
    }
}

fn node_at(catalog: &Catalog, address: &str) -> Option<usize> {
    (0..super::world::NODES)
        .find(|node| catalog.nodes.get(&node_id(*node)).is_some_and(|found| found.address() == address))
}

impl State {
    /// A request arrives.
    pub(crate) fn asked(
        &mut self,
        on: usize,
        partition: PartitionId,
        question: Question,
        tell: Tell,
    ) -> Result<(), Violation> {
        let found = self.places.iter().find(|((id, _), place)| *id == partition && place.on == on);
        let Some((&name, place)) = found.filter(|(_, place)| place.node.is_some()) else {
            // A node that is down breaks the connection.
            if self.running[on] {
                let error = Error::new(ErrorCode::PartitionNotFound, "the partition has no replica here");
                self.tell(tell, Err(error));
            }
            return Ok(());
        };
        let node = place.node.as_ref().expect("it runs");
        match question {
            Question::Report => {
                let report = node.report();
                self.tell(tell, Ok(Told::Report(Box::new(report))));
                Ok(())
            }
            Question::Images(pin) => {
                let state = place.pins.get(&pin).cloned();
                let told = state.map(|state| Told::Images(state.header.clone(), state.images.clone()));
                self.tell(tell, told.ok_or_else(unpinned));
                Ok(())
            }
            Question::Replacing(ReplacingRequest::ChangedRows { since, .. }) => {
                let place = self.places.get_mut(&name).expect("it is there");
                let reply = place.node.as_mut().expect("it runs").changed_rows(since);
                self.tell(tell, Ok(Told::Replacing(reply)));
                Ok(())
            }
            Question::Replacing(ReplacingRequest::RowsByKey { pin, keys, .. }) => {
                let state = place.pins.get(&pin).cloned();
                let told = state.map(|state| Told::Replacing(ReplacingReply::Rows(state.by_key(&keys))));
                self.tell(tell, told.ok_or_else(unpinned));
                Ok(())
            }
            Question::Replacing(ReplacingRequest::Own { epoch, range, .. }) => {
                self.submit(name, Job::Assign { epoch, range }, STEP_MS, Waiting { tell, what: What::Owned })
            }
            Question::Write(write) => {
                let time = write.target.timeout_ms;
                self.submit(name, Job::Write(write), time, Waiting { tell, what: What::Done })
            }
            Question::Schema { version, statements } => {
                let job = Job::Schema { version, statements };
                self.submit(name, job, STEP_MS, Waiting { tell, what: What::Done })
            }
            Question::Resolve(transaction) => {
                let job = Job::Decide { transaction, verdict: Verdict::ABORT, decides: true };
                self.submit(name, job, STEP_MS, Waiting { tell, what: What::Done })
            }
            Question::Pin(request) => {
                self.last_ticket += 1;
                let operation = self.last_ticket;
                self.waiting.insert(operation, Waiting { tell, what: What::Pin(request) });
                self.input(name, Input::Pin { operation })
            }
            Question::ChangeMembers(change, index) => {
                let step = match change {
                    MembershipChange::AddLearner(id) => MembershipStep::AddLearner(id),
                    MembershipChange::Promote(id) => MembershipStep::Promote(id),
                    MembershipChange::Remove(id) => MembershipStep::Remove(id),
                };
                self.tell(tell, Ok(Told::Done));
                self.input(name, Input::ChangeMembers(step, index))
            }
            Question::Transfer(to) => {
                self.tell(tell, Ok(Told::Done));
                self.input(name, Input::Transfer(to))
            }
        }
    }

    fn submit(&mut self, name: Name, job: Job, time_ms: u64, waiting: Waiting) -> Result<(), Violation> {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.insert(ticket.0, waiting);
        self.submit_as(ticket, name, job, time_ms)
    }

    /// A job of the node's own, for which nobody waits.
    pub(crate) fn submit_own(&mut self, name: Name, job: Job) -> Result<(), Violation> {
        self.last_ticket += 1;
        self.submit_as(Ticket(self.last_ticket), name, job, STEP_MS)
    }

    fn submit_as(&mut self, ticket: Ticket, name: Name, job: Job, time_ms: u64) -> Result<(), Violation> {
        let deadline_ms = self.schedule.now() / 1_000 + time_ms;
        self.input(name, Input::Write(Pending { ticket, deadline_ms, job }))
    }

    /// A replica has carried a job out, or not.
    pub(crate) fn answered(&mut self, ticket: u64, name: Name, result: Result<Reply>) {
        let Some(Waiting { tell, what }) = self.waiting.remove(&ticket) else { return };
        let settled = self.places[&name].node.as_ref().is_some_and(|node| node.is_settled());
        let at = Hlc::default().next(BEGIN_MS + self.schedule.now() / 1_000);
        let told = result.map(|reply| match what {
            What::Done => match reply {
                Reply::Decided(verdict) => Told::Decided(verdict),
                _ => Told::Done,
            },
            What::Owned => Told::Replacing(ReplacingReply::Owned { at, settled }),
            What::Pin(_) => Told::Done,
        });
        self.tell(tell, told);
    }

    /// A replica has opened a snapshot, or does not lead.
    pub(crate) fn pinned(&mut self, operation: u64, name: Name, outcome: Option<Box<PinnedState>>) {
        let Some(Waiting { tell, what: What::Pin(request) }) = self.waiting.remove(&operation) else {
            return;
        };
        let place = self.places.get_mut(&name).expect("it has just answered");
        let opened = match outcome {
            None => Err(not_leader(None)),
            Some(state) if state.header.schema_version != request.target.schema_version => {
                Err(stale_schema(state.header.schema_version.max(request.target.schema_version)))
            }
            Some(state) if state.epoch > request.target.epoch => Err(stale_partition_map(state.epoch)),
            Some(state) => {
                let moment = Hlc::default();
                let pinned = Pinned { index: state.index, since: moment, until: moment };
                place.pins.insert(request.pin, Arc::from(state));
                Ok(Told::Pinned(pinned))
            }
        };
        self.tell(tell, opened);
    }

    fn tell(&mut self, tell: Tell, told: Result<Told>) {
        self.note(&("told", told.is_ok()));
        if !self.loses_request() {
            let delay = self.delay();
            // Whoever asked may have gone.
            let told = Box::new(move || drop(tell.send(told)));
            self.schedule.after(delay, Event::Told { told });
        }
    }
}

fn unpinned() -> Error {
    Error::new(ErrorCode::Unavailable, "the snapshot is not pinned any more")
}
