//! Snapshots: offered by a leader, staged by the host, adopted by the log.

use common::ReplicaId;
use raft::eraftpb::{self, MessageType};
use raft::{ProgressState, SnapshotStatus, StateRole};

use super::Group;
use crate::log::LogView;
use crate::message::Message;
use crate::snapshot::{SnapshotDescription, SnapshotOffer, SnapshotRequest};

/// What became of a staged snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallOutcome {
    /// The next [`crate::Work`] carries it: its batch switches log and state together.
    Adopted,
    /// It is no longer needed. The staged files can go.
    Discarded,
    /// There is no known leader to answer to. Try again after the next tick.
    NotYet,
}

impl<L: LogView> Group<L> {
    /// The host has made the snapshot that [`crate::Released::snapshot_needed`] asked for. It is offered when
    /// the follower is next heard from.
    pub fn snapshot_ready(&mut self, snapshot: SnapshotDescription) {
        self.assert_idle();
        self.snapshot_requested = None;
        self.snapshot_age = 0;
        self.node.store().snapshots.borrow_mut().ready = Some(snapshot);
    }

    /// The host could not make the snapshot, and will be asked again.
    pub fn snapshot_not_made(&mut self) {
        self.snapshot_requested = None;
    }

    /// An offered snapshot was, or could not be, installed by the follower.
    pub fn snapshot_sent(&mut self, to: ReplicaId, installed: bool) {
        self.assert_idle();
        let status = if installed { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(to.0, status);
        self.settle();
    }

    /// Tells the leader that its snapshot could not be installed, so that it need not wait for that.
    pub fn decline_snapshot(&mut self, leader: ReplicaId) {
        let term = self.node.raft.term;
        self.outbox.push(Message::snapshot_failure(self.options.replica, leader, term));
    }

    /// The host has staged a snapshot: the offered one, or a later state of the same group.
    ///
    /// # Panics
    /// If this replica is not among the snapshot's members.
    pub fn install_snapshot(&mut self, snapshot: &SnapshotDescription) -> InstallOutcome {
        self.assert_idle();
        assert!(
            snapshot.configuration.configuration.contains(self.options.replica),
            "a snapshot that does not know replica {}",
            self.options.replica
        );
        if !self.needs(snapshot) {
            return InstallOutcome::Discarded;
        }
        let raft = &self.node.raft;
        if raft.state != StateRole::Follower || raft.leader_id == 0 {
            return InstallOutcome::NotYet;
        }
        // The offer may be from an earlier leader; a snapshot holds what is committed, whoever sent it. So it
        // is taken in as if it came from the present one, who then hears of it.
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        message.from = raft.leader_id;
        message.to = raft.id;
        message.term = raft.term;
        message.set_snapshot(snapshot.to_raft());
        self.feed(Message(message));
        self.settle();
        let adopted = self.node.raft.raft_log.unstable_snapshot().is_some();
        if adopted { InstallOutcome::Adopted } else { InstallOutcome::Discarded }
    }

    /// The snapshot that the message offers, if this replica cannot go on without it.
    pub(super) fn needed_snapshot(&self, message: &Message) -> Option<SnapshotOffer> {
        let description = message.snapshot()?;
        let is_member = description.configuration.configuration.contains(self.options.replica);
        (is_member && message.term() >= self.node.raft.term && self.needs(&description))
            .then(|| SnapshotOffer { from: message.from(), description })
    }

    /// Whether the snapshot holds entries that the log does not.
    fn needs(&self, snapshot: &SnapshotDescription) -> bool {
        let raft_log = &self.node.raft.raft_log;
        snapshot.index > raft_log.committed && !raft_log.match_term(snapshot.index, snapshot.term)
    }

    pub(super) fn has_snapshot_request(&self) -> bool {
        self.snapshot_requested.is_none() && self.node.store().snapshots.borrow().wanted.is_some()
    }

    /// The request to pass on to the host: one at a time.
    pub(super) fn take_snapshot_request(&mut self) -> Option<SnapshotRequest> {
        let wanted = self.node.store().snapshots.borrow_mut().wanted.take();
        let request = wanted.filter(|_| self.snapshot_requested.is_none())?;
        self.snapshot_requested = Some(0);
        Some(request)
    }

    /// The log is not truncated past this index: a follower is installing the snapshot that ends there, and will
    /// need the entries after it.
    pub(super) fn snapshot_hold(&self) -> u64 {
        let offered = self.installing().map(|(_, index)| index).min();
        let shelf = self.node.store().snapshots.borrow();
        let fresh = self.snapshot_age < self.options.snapshot_ticks_max;
        let at_hand = shelf.ready.as_ref().filter(|_| offered.is_some() || fresh).map(|ready| ready.index);
        offered.unwrap_or(u64::MAX).min(at_hand.unwrap_or(u64::MAX))
    }

    /// Counts the ticks of snapshots: offers get lost, and hosts fail.
    pub(super) fn age_snapshots(&mut self) {
        let patience = self.options.snapshot_ticks_max;
        self.snapshot_age = self.snapshot_age.saturating_add(1);
        self.snapshot_requested =
            self.snapshot_requested.map(|ticks| ticks + 1).filter(|ticks| *ticks < patience);
        let installing: Vec<u64> = self.installing().map(|(id, _)| id).collect();
        self.snapshots_offered.retain(|id, _| installing.contains(id));
        let mut overdue = Vec::new();
        for id in installing {
            let ticks = self.snapshots_offered.entry(id).or_default();
            *ticks += 1;
            if *ticks >= patience {
                overdue.push(id);
            }
        }
        overdue.sort_unstable();
        for id in overdue {
            self.snapshots_offered.remove(&id);
            self.node.report_snapshot(id, SnapshotStatus::Failure);
        }
    }

    /// Followers that have been offered a snapshot, and its index.
    fn installing(&self) -> impl Iterator<Item = (u64, u64)> {
        let leads = self.node.raft.state == StateRole::Leader;
        self.node
            .raft
            .prs()
            .iter()
            .filter(move |(_, progress)| leads && progress.state == ProgressState::Snapshot)
            .map(|(id, progress)| (*id, progress.pending_snapshot))
    }
}
