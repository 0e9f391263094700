//! The thread around a replica's state machine: it owns the machine, feeds it what the group and the node's
//! service put into its queue, and carries its outbox out.

mod agreement;
mod care;
mod leases;
mod log_sizes;
mod repair;
mod transactions;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::protocol::Assignment;
use common::replacing::ReplacingReply;
use common::{Error, ErrorCode, Outcome, RequestId, TransactionId};
use consensus_runtime::{Committed, GroupHandle, Role, RoleChange, StagedOutcome};
use polylite_client::peer::Caller;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sqlite::Location;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use self::agreement::Agreement;
use self::care::Care;
use self::leases::Batch;
use self::repair::Repair;
use self::transactions::InDoubt;
use super::event_queue::{EventReceiver, EventSender, WaitFor};
use super::inbox::{Event, propose};
use super::machine::{Answer, Fault, Job, Machine, Outbox, Pending, Reply, Ticket, Turn, not_leader};
use super::open_streams::OpenStreams;
use super::published::Published;
use crate::clock::{Clock, monotonic_us};
use crate::layout::ReplicaDir;
use crate::neighbours::Neighbours;
use crate::upkeep::Upkeep;

/// How often deadlines are looked at while somebody waits.
const BUSY_WAIT: Duration = Duration::from_millis(20);
/// How often an idle replica looks after itself while there is something to look after …
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// … and while there is nothing.
const REST_WAIT: Duration = Duration::from_secs(60);

/// What a worker is made of.
pub(super) struct Parts {
    pub(super) group: GroupHandle,
    pub(super) assignment: Assignment,
    pub(super) dir: ReplicaDir,
    pub(super) generation: u64,
    pub(super) machine: Option<Machine>,
    /// The index that the group begins to hand out entries after.
    pub(super) applied: u64,
    pub(super) damaged: bool,
    pub(super) published: Arc<Published>,
    pub(super) open_streams: Arc<OpenStreams>,
    pub(super) clock: Clock,
    pub(super) neighbours: Neighbours,
    pub(super) tokio: Handle,
    pub(super) inbox: EventReceiver,
    pub(super) sender: EventSender,
    pub(super) upkeep: Arc<Upkeep>,
}

/// See the module.
pub(super) struct Worker {
    assignment: Assignment,
    dir: ReplicaDir,
    generation: u64,
    /// `None` while the replica waits for a snapshot, for its first or because its file is damaged.
    machine: Option<Machine>,
    published: Arc<Published>,
    open_streams: Arc<OpenStreams>,
    clock: Clock,
    neighbours: Neighbours,
    tokio: Handle,
    inbox: EventReceiver,
    sender: EventSender,
    /// `None` once the group has failed.
    group: Option<GroupHandle>,
    waiting: HashMap<Ticket, Waiting>,
    next_ticket: u64,
    random: SmallRng,
    /// Committed entries that the machine was not told yet.
    entries: Vec<Committed>,
    /// Index of the last entry that the log has handed out as committed.
    delivered: u64,
    role: RoleChange,
    /// Term and epoch in which the partition's place in the map was last proposed.
    assigned: (u64, u64),
    care: Care,
    repair: Repair,
    in_doubt: InDoubt,
    agreement: Agreement,
    upkeep: Arc<Upkeep>,
}

/// Somebody waits for a job's answer.
struct Waiting {
    answer: oneshot::Sender<Result<Reply, Error>>,
    /// The transaction that the job prepares, and whose it is.
    prepares: Option<(TransactionId, Caller)>,
}

impl Worker {
    pub(super) fn new(mut parts: Parts) -> Worker {
        if let Some(machine) = &mut parts.machine {
            machine.note_keys_in(parts.published.key_changes());
        }
        Worker {
            assignment: parts.assignment,
            dir: parts.dir,
            generation: parts.generation,
            machine: parts.machine,
            published: parts.published,
            open_streams: parts.open_streams,
            clock: parts.clock,
            neighbours: parts.neighbours,
            tokio: parts.tokio,
            inbox: parts.inbox,
            sender: parts.sender,
            group: Some(parts.group),
            waiting: HashMap::new(),
            next_ticket: 0,
            random: SmallRng::from_os_rng(),
            entries: Vec::new(),
            delivered: parts.applied,
            role: RoleChange { term: 0, role: Role::Follower, leader: None },
            assigned: (0, 0),
            care: Care::new(),
            repair: Repair::new(parts.damaged),
            in_doubt: InDoubt::default(),
            agreement: Agreement::new(),
            upkeep: parts.upkeep,
        }
    }

    /// Runs until it is stopped. Whoever still waits then has an unknown outcome.
    pub(super) fn run(mut self) {
        let mut events = VecDeque::new();
        loop {
            let (wait_for, time) = self.patience();
            self.inbox.take_all(&mut events, wait_for, time);
            while let Some(event) = events.pop_front() {
                if matches!(event, Event::Stop) {
                    return self.close();
                }
                self.handle(event);
            }
            self.land();
            self.checkpoint_if_due();
            self.turn();
            self.look_after();
        }
    }

    /// What to wait for, and how long.
    fn patience(&self) -> (WaitFor, Duration) {
        match &self.machine {
            Some(machine) if machine.has_batch_under_way() => (WaitFor::News, BUSY_WAIT),
            Some(machine) if !machine.is_idle() => (WaitFor::Anything, BUSY_WAIT),
            _ if self.needs_care() => (WaitFor::Anything, IDLE_WAIT),
            _ => (WaitFor::Anything, REST_WAIT.min(self.upkeep.options.scrub_pause)),
        }
    }

    /// What was applied is written, so that the next start has less to replay.
    fn close(mut self) {
        self.agreement.end_scrub();
        self.land();
        if let Some(Err(fault)) = self.machine.as_mut().map(Machine::flush) {
            tracing::warn!(partition = %self.assignment.partition, %fault, "a replica could not be closed cleanly");
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Committed(entries) => self.entries.extend(entries),
            Event::Job { job, deadline_ms, caller, answer } => {
                self.take_job(job, deadline_ms, caller, answer);
            }
            // The order between entries and everything else that the group tells is kept.
            other => {
                self.land();
                self.handle_in_order(other);
            }
        }
    }

    fn handle_in_order(&mut self, event: Event) {
        match event {
            Event::Role(change) => self.change_role(change),
            Event::Proposed(request, Ok(at)) => self.with_machine(|machine| machine.proposed(request, at)),
            Event::Proposed(request, Err(_)) => {
                self.with_machine(|machine| machine.proposal_refused(request));
            }
            Event::Confirmed(batch, confirmed) => self.with_machine(|machine| {
                if confirmed {
                    machine.leadership_confirmed(batch);
                } else {
                    machine.leadership_unconfirmed(batch);
                }
                Ok(())
            }),
            Event::MakeSnapshot(request) => self.care.want_snapshot(request.index_min),
            Event::SnapshotMade(made) => self.snapshot_made(made),
            Event::InstallSnapshot(offer) => self.fetch_snapshot(&offer),
            Event::SnapshotFetched(result) => self.snapshot_fetched(result),
            Event::CopyFetched(index) => self.copy_fetched(index),
            Event::Staged(outcome) => self.switch_file(outcome),
            Event::Truncate => self.care.checkpoint_soon(),
            Event::Failed(reason) => {
                self.quarantine(&reason);
                self.group = None;
            }
            Event::Assigned(assignment) => self.reassign(*assignment),
            Event::Resolved { transaction, verdict } => self.resolved(transaction, verdict),
            Event::CoordinatorGone { transaction } => self.coordinator_gone(transaction),
            Event::Voted { compared, others } => self.voted(compared, &others),
            Event::Scrubbed { generation, finding } => self.scrubbed(generation, finding),
            Event::Confirmations(transactions) => self.forget(transactions),
            // The turn that follows looks whether the next batch may begin.
            Event::LeaseEnded => {}
            Event::ChangedRows { since, answer } => {
                let (applied, keys) = match &mut self.machine {
                    Some(machine) => (machine.state().position.index, machine.changed_rows(since)),
                    None => (0, None),
                };
                // Whoever asked may have gone.
                let _ = answer.send(ReplacingReply::ChangedRows { applied, keys });
            }
            Event::Committed(_) | Event::Job { .. } | Event::Stop => {
                unreachable!("these are handled before")
            }
        }
    }

    fn take_job(
        &mut self,
        job: Job,
        deadline_ms: u64,
        caller: Caller,
        answer: oneshot::Sender<Result<Reply, Error>>,
    ) {
        let Some(machine) = &mut self.machine else {
            let _ = answer.send(Err(not_leader(self.role.leader)));
            return;
        };
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let prepares = job.prepares().map(|transaction| (transaction, caller));
        self.waiting.insert(ticket, Waiting { answer, prepares });
        machine.submit(Pending { ticket, deadline_ms, job });
    }

    /// A job of the node's own, whose answer nobody waits for.
    fn submit_own(&mut self, job: Job) {
        self.next_ticket += 1;
        let deadline_ms = monotonic_us() / 1_000 + common::limits::STATEMENT_TIMEOUT_MS;
        if let Some(machine) = &mut self.machine {
            machine.submit(Pending { ticket: Ticket(self.next_ticket), deadline_ms, job });
        }
    }

    /// Tells the machine what was committed.
    fn land(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let entries = std::mem::take(&mut self.entries);
        let (Some(last), Some(group)) = (entries.last().map(|entry| entry.index), self.group.clone()) else {
            return;
        };
        self.delivered = last;
        if self.machine.is_none() {
            self.repair.miss(entries);
            group.taken_over(last);
            return self.take_copy_if_covered();
        }
        self.published.promises().wait_for_openings();
        self.with_machine(|machine| machine.committed(&entries, group.log().as_ref()));
        group.taken_over(last);
        if let Some(machine) = &self.machine {
            self.clock.observe(machine.state().position.hlc);
            group.applied(machine.state().position.index);
            self.care.changed(&entries);
            self.in_doubt.look_again();
        }
        self.look_at_inherited();
    }

    /// Lets the machine execute what waits, and carries out what it asks for.
    fn turn(&mut self) {
        self.assign_if_needed();
        self.with_machine(|machine| {
            machine.expire(monotonic_us() / 1_000);
            Ok(())
        });
        while let Some(batch) = self.next_batch() {
            let Some(machine) = &mut self.machine else { return };
            let request = RequestId(self.random.random());
            let hlc = self.published.promises().begin_batch(|| self.clock.now());
            let waiting = &self.waiting;
            // The node's own jobs have nobody who waits.
            let is_awaited =
                |ticket: Ticket| waiting.get(&ticket).is_none_or(|waiting| !waiting.answer.is_closed());
            let turn = Turn { hlc, request, clock_us: &monotonic_us, is_awaited: &is_awaited };
            let executed = match batch {
                Batch::Any => machine.execute(&turn),
                Batch::Tried => machine.execute_tried(&turn),
            };
            let (ran, acted) = match executed {
                // Where nothing was to be tried after all, what comes next is looked at anew.
                Ok(ran) => (ran || batch == Batch::Tried, Ok(())),
                Err(fault) => (false, Err(fault)),
            };
            self.with_machine(|_| acted);
            if !ran {
                break;
            }
        }
    }

    /// Does something with the machine and carries out what it asks for. A fault ends its service.
    fn with_machine(&mut self, act: impl FnOnce(&mut Machine) -> Result<(), Fault>) {
        let Some(machine) = &mut self.machine else { return };
        match act(machine) {
            Ok(()) => {
                // First, so that whoever gets an answer finds the node's own figures in line with it.
                self.published.update(machine);
                let outbox = machine.drain();
                self.carry_out(outbox);
            }
            Err(fault) => self.quarantine(&fault.to_string()),
        }
    }

    fn carry_out(&mut self, outbox: Outbox) {
        for Answer { ticket, result } in outbox.answers {
            let Some(Waiting { answer, prepares }) = self.waiting.remove(&ticket) else { continue };
            if let Some((transaction, coordinator)) = prepares.filter(|_| result.is_ok()) {
                self.watch_coordinator(transaction, coordinator);
            }
            // Whoever asked may have gone.
            let _ = answer.send(result);
        }
        for compared in outbox.compared {
            self.compare(compared);
        }
        let Some(group) = &self.group else { return };
        for (request, data) in outbox.proposals {
            propose(group, &self.sender, request, data);
        }
        for batch in outbox.confirmations {
            let (reply, sender) = (group.read_index(), self.sender.clone());
            self.tokio.spawn(async move {
                let _ = sender.send(Event::Confirmed(batch, reply.await.is_ok()));
            });
        }
    }

    fn change_role(&mut self, change: RoleChange) {
        self.lead_or_follow(change);
        let (partition, term) = (self.assignment.partition, change.term);
        match (self.role.role, change.role) {
            (_, Role::Leader) => tracing::info!(%partition, term, "this replica leads"),
            (Role::Leader, _) => tracing::info!(%partition, term, "this replica leads no more"),
            _ => {}
        }
        self.role = change;
        self.in_doubt.look_again();
        self.with_machine(|machine| machine.role_changed(change));
        if self.machine.is_none() && change.role == Role::Leader {
            self.give_leadership_away();
        }
    }

    /// A replica without a sound file votes and acknowledges, but must not lead.
    fn give_leadership_away(&mut self) {
        let Some(group) = self.group.clone().filter(|_| self.repair.may_give_away()) else { return };
        if let Some(heir) = group.status().heir() {
            group.transfer_leader(heir);
        }
    }

    fn reassign(&mut self, assignment: Assignment) {
        self.assignment = assignment;
    }

    /// A leader puts the partition's place in the map into the log, so that all replicas refuse older
    /// requests from the same index on.
    fn assign_if_needed(&mut self) {
        let Some(machine) = self.machine.as_ref().filter(|machine| machine.is_writable()) else { return };
        let epoch = machine.state().ownership.as_ref().map_or(0, |owned| owned.epoch);
        let wanted = (self.role.term, self.assignment.epoch);
        if self.assignment.epoch > epoch && self.assigned != wanted {
            self.assigned = wanted;
            let range = self.assignment.range.clone();
            self.submit_own(Job::Assign { epoch: wanted.1, range });
        }
    }

    /// The log has switched to the file that was fetched.
    fn switch_file(&mut self, outcome: StagedOutcome) {
        let (generation, superseded) = match outcome {
            StagedOutcome::Adopted { generation, .. } => (generation, Some(self.generation)),
            StagedOutcome::Discarded { generation } => (self.generation, Some(generation)),
        };
        if generation != self.generation {
            self.published.withdraw();
            if let Some(mut machine) = self.machine.take() {
                let outbox = machine.abandon();
                self.carry_out(outbox);
            }
            self.generation = generation;
            match Machine::open(&self.location(), self.assignment.partition, None) {
                Ok(machine) => self.adopt(machine),
                Err(fault) => self.quarantine(&fault.to_string()),
            }
        }
        if let Some(superseded) = superseded.filter(|superseded| *superseded != self.generation) {
            self.remove_generation(superseded);
        }
    }

    fn adopt(&mut self, mut machine: Machine) {
        if let Err(fault) = machine.role_changed(self.role) {
            return self.quarantine(&fault.to_string());
        }
        machine.note_keys_in(self.published.key_changes());
        self.repair.end();
        self.published.set_quarantined(None);
        self.published.serve(self.generation, &self.location());
        self.published.update(&machine);
        self.machine = Some(machine);
    }

    fn location(&self) -> Location {
        Location::file(self.dir.database(self.generation))
    }

    /// The file, or what the log says about it, cannot be trusted: the replica goes on voting and
    /// acknowledging and serves nothing until a snapshot is installed.
    fn quarantine(&mut self, reason: &str) {
        tracing::error!(
            partition = %self.assignment.partition,
            replica = %self.assignment.replica,
            reason,
            "a replica is quarantined"
        );
        self.agreement.end_scrub();
        self.published.withdraw();
        self.published.set_quarantined(Some(reason.to_owned()));
        self.repair.begin();
        if let Some(mut machine) = self.machine.take() {
            let outbox = machine.abandon();
            self.carry_out(outbox);
        }
        for waiting in self.waiting.drain().map(|(_, waiting)| waiting) {
            let error = Error::new(ErrorCode::Unavailable, "the replica's file is damaged");
            let _ = waiting.answer.send(Err(error.with_outcome(Outcome::Unknown)));
        }
        if self.role.role == Role::Leader {
            self.give_leadership_away();
        }
    }
}

/// When something was last done.
fn long_ago(period: Duration) -> Instant {
    Instant::now().checked_sub(period).unwrap_or_else(Instant::now)
}
