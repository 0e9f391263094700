//! One group on the worker: the state machine, its host, and what waits between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{PartitionId, ReplicaId};
use consensus::{
    Group, InstallOutcome, Message, Role, RoleChange, SnapshotDescription, SnapshotOffer, Token,
};
use raft_engine::env::FileSystem;

use super::reads::Reads;
use crate::group_handle::{ReadError, Shared};
use crate::host::{GroupHost, Installed, PeerAddress, SnapshotRefused, StagedOutcome};
use crate::inbox::GroupEvent;
use crate::metrics::{Metrics, add};
use crate::outbox::Outbox;
use crate::shared_log::{GroupView, LogBatch};

/// A group that runs.
pub(super) struct RunningGroup<F: FileSystem + 'static> {
    id: PartitionId,
    group: Group<GroupView<F>>,
    host: Box<dyn GroupHost>,
    peers: BTreeMap<ReplicaId, Arc<PeerAddress>>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    reads: Reads,
    staging: Staging,
    /// The index up to which the host allows the log to be truncated.
    truncatable: u64,
    /// The term that this replica leads in and in which its heartbeats go with those of the other groups.
    beats_in: Option<u64>,
}

/// Work that a group has handed out.
pub(super) struct Taken {
    /// To report when it is done.
    pub(super) token: Token,
    /// Whether it has to be synced.
    pub(super) must_sync: bool,
    /// Whether there is nothing to wait for.
    pub(super) nothing_to_write: bool,
}

/// How far an offered snapshot has come.
enum Staging {
    /// There is none.
    Idle,
    /// The host fetches it from that leader.
    Fetching(ReplicaId),
    /// It is staged and waits for a leader to answer to.
    Staged(Installed),
    /// The group has taken it in; the log's next batch switches to that generation.
    Adopting(u64),
}

impl<F: FileSystem + 'static> RunningGroup<F> {
    pub(super) fn new(
        id: PartitionId,
        group: Group<GroupView<F>>,
        host: Box<dyn GroupHost>,
        peers: BTreeMap<ReplicaId, PeerAddress>,
        shared: Arc<Shared>,
        metrics: Arc<Metrics>,
    ) -> RunningGroup<F> {
        let (peers, reads, staging) = (shareable(peers), Reads::default(), Staging::Idle);
        let (truncatable, beats_in) = (0, None);
        RunningGroup { id, group, host, peers, shared, metrics, reads, staging, truncatable, beats_in }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// As [`Group::ticks_until_due`], with what waits here in mind.
    pub(super) fn ticks_until_due(&self) -> u32 {
        let waits = self.reads.is_under_way()
            || matches!(self.staging, Staging::Staged(_))
            || self.group.waits_for_host();
        if waits || self.group.leading_term() != self.beats_in { 1 } else { self.group.ticks_until_due() }
    }

    /// A tick has passed; `begins_beat` if it is the first one after a heartbeat of the groups led here.
    pub(super) fn tick(&mut self, begins_beat: bool) {
        if !self.joins_in_beat(begins_beat) {
            return;
        }
        self.note_applied();
        self.group.tick();
        if let Some(context) = self.reads.repeat() {
            self.ask_read_index(context);
        }
        self.try_install();
    }

    /// All groups that this process leads beat together, so that one message to a node carries the heartbeats
    /// of all. A new leader, who has just been heard, leaves less than one interval uncounted for that.
    fn joins_in_beat(&mut self, begins_beat: bool) -> bool {
        let term = self.group.leading_term();
        if term.is_some() && term != self.beats_in && !begins_beat {
            return false;
        }
        self.beats_in = term;
        true
    }

    pub(super) fn step(&mut self, message: Message) {
        match self.group.step(message) {
            Ok(Some(offer)) => self.offered(offer),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(group = %self.id, %error, "a message was dropped");
                add(&self.metrics.messages_dropped, 1);
            }
        }
    }

    pub(super) fn handle(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::Propose(data, answer) => answer(self.group.propose(data)),
            GroupEvent::Read(reader) => self.reads.add(reader),
            GroupEvent::ChangeMembership(change, expected, answer) => {
                self.note_applied();
                let _ = answer.send(self.group.propose_membership(&change, expected));
            }
            GroupEvent::TransferLeader(to) => {
                if let Err(error) = self.group.transfer_leader(to) {
                    tracing::debug!(group = %self.id, %error, "leadership was not handed over");
                }
            }
            GroupEvent::Campaign => self.group.campaign(),
            GroupEvent::Peers(peers) => self.peers = shareable(peers),
            // What it has taken over is noted with every round.
            GroupEvent::HostHasRoom => {}
            GroupEvent::Truncate(index) => self.truncatable = self.truncatable.max(index),
            GroupEvent::SnapshotReady(Some(snapshot)) => self.group.snapshot_ready(snapshot),
            GroupEvent::SnapshotReady(None) => self.group.snapshot_not_made(),
            GroupEvent::SnapshotInstalled(result) => self.staged(result),
            GroupEvent::Stop { .. } => unreachable!("the worker stops groups"),
        }
    }

    pub(super) fn unreachable(&mut self, address: &str) {
        let there = self.peers.iter().filter(|(_, peer)| peer.address == address);
        let replicas: Vec<ReplicaId> = there.map(|(replica, _)| *replica).collect();
        for replica in replicas {
            self.group.unreachable(replica);
        }
    }

    pub(super) fn want_truncation(&mut self) {
        self.host.truncation_wanted();
    }

    /// Says that this replica leads, if it does, without taking work.
    pub(super) fn say_that_it_leads(&self, outbox: &mut Outbox) {
        self.send(self.group.signs_of_life(), outbox);
    }

    /// Answers a leader's heartbeat that waits to be stepped.
    pub(super) fn say_that_it_follows(&self, heartbeat: &Message, outbox: &mut Outbox) {
        self.send(self.group.sign_of_life_to(heartbeat).into_iter().collect(), outbox);
    }

    /// Collects what the group wants sent at once and written.
    pub(super) fn take_work(&mut self, outbox: &mut Outbox, batch: &mut LogBatch) -> Option<Taken> {
        self.note_applied();
        if let Some(context) = self.reads.begin() {
            self.ask_read_index(context);
        }
        self.truncate(batch);
        let work = self.group.take_work()?;
        self.send(work.messages, outbox);
        let (must_sync, nothing_to_write) = (work.persist.must_sync, work.persist.is_empty());
        let generation = match &self.staging {
            Staging::Adopting(generation) => *generation,
            _ => self.group.view().generation(),
        };
        batch.persist(self.id, work.persist, generation);
        Some(Taken { token: work.token, must_sync, nothing_to_write })
    }

    /// The work is durable: sends, hands out and answers what depended on it.
    pub(super) fn persisted(&mut self, token: Token, outbox: &mut Outbox) {
        let released = self.group.persisted(token);
        self.send(released.messages, outbox);
        if let Some(index) = released.snapshot_adopted {
            self.adopted(index);
        }
        if self.group.waits_for_host() {
            self.shared.waits_for_host.store(true, Ordering::Release);
        }
        if !released.committed.is_empty() {
            add(&self.metrics.committed, released.committed.len() as u64);
            self.host.committed(released.committed);
        }
        for read in released.reads {
            self.reads.answer(read.context, read.index);
        }
        if let Some(change) = released.role {
            self.role_changed(change);
        }
        if let Some(request) = released.snapshot_needed {
            self.host.make_snapshot(request);
        }
    }

    /// Lets handles see the present state.
    pub(super) fn publish(&self) {
        let status = self.group.status();
        let mut published = self.shared.status.write();
        if **published != status {
            *published = Arc::new(status);
        }
    }

    /// The group is no longer run.
    pub(super) fn fail(mut self, reason: String) {
        self.host.failed(reason);
    }

    fn role_changed(&mut self, change: RoleChange) {
        if change.role != Role::Leader {
            self.reads.refuse(ReadError::NotLeader { leader: change.leader });
        }
        // Whoever is told of the change may look at the status at once.
        self.publish();
        self.host.role_changed(change);
    }

    fn ask_read_index(&mut self, context: u64) {
        if let Err(error) = self.group.read(context) {
            self.reads.refuse(ReadError::NotLeader { leader: error.leader });
        }
    }

    fn note_applied(&mut self) {
        self.group.taken_over(self.shared.taken_over.load(Ordering::Acquire));
        self.group.applied(self.shared.applied.load(Ordering::Acquire));
    }

    fn truncate(&mut self, batch: &mut LogBatch) {
        if self.truncatable == 0 {
            return;
        }
        if let Some(start) = self.group.truncation(self.truncatable) {
            self.group.compacted(&start);
            if start.index >= self.truncatable {
                self.truncatable = 0;
            }
            batch.truncate(self.id, start);
        }
    }

    fn send(&self, messages: Vec<Message>, outbox: &mut Outbox) {
        for message in messages {
            match self.peers.get(&message.to()) {
                Some(address) => outbox.push(self.id, address, &message),
                None => add(&self.metrics.messages_unaddressed, 1),
            }
        }
    }

    fn offered(&mut self, offer: SnapshotOffer) {
        // Offers are repeated for as long as the snapshot is not installed.
        if let Staging::Idle = self.staging {
            self.staging = Staging::Fetching(offer.from);
            self.host.install_snapshot(offer);
        }
    }

    fn staged(&mut self, result: Result<Installed, SnapshotRefused>) {
        let Staging::Fetching(leader) = self.staging else {
            tracing::warn!(group = %self.id, "a snapshot was staged that was not asked for");
            return;
        };
        match result {
            Ok(installed) => {
                self.staging = Staging::Staged(installed);
                self.try_install();
            }
            Err(SnapshotRefused) => {
                self.staging = Staging::Idle;
                self.group.decline_snapshot(leader);
            }
        }
    }

    fn try_install(&mut self) {
        let Staging::Staged(installed) = &self.staging else { return };
        let generation = installed.generation;
        let snapshot = SnapshotDescription {
            index: installed.index,
            term: installed.term,
            configuration: installed.configuration.clone(),
            bytes: bytes::Bytes::new(),
        };
        match self.group.install_snapshot(&snapshot) {
            InstallOutcome::Adopted => self.staging = Staging::Adopting(generation),
            InstallOutcome::NotYet => {}
            InstallOutcome::Discarded => {
                self.staging = Staging::Idle;
                self.host.snapshot_staged(StagedOutcome::Discarded { generation });
            }
        }
    }

    fn adopted(&mut self, index: u64) {
        let Staging::Adopting(generation) = std::mem::replace(&mut self.staging, Staging::Idle) else {
            unreachable!("a snapshot is adopted only after it was staged");
        };
        self.shared.applied.fetch_max(index, Ordering::AcqRel);
        self.shared.taken_over.fetch_max(index, Ordering::AcqRel);
        self.host.snapshot_staged(StagedOutcome::Adopted { generation, index });
    }
}

/// Addresses as the outbox takes them, without a copy for each message.
fn shareable(peers: BTreeMap<ReplicaId, PeerAddress>) -> BTreeMap<ReplicaId, Arc<PeerAddress>> {
    peers.into_iter().map(|(replica, address)| (replica, Arc::new(address))).collect()
}
