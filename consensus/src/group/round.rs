//! Handing out work, and what follows when it is durable.

use raft::Ready;
use raft::eraftpb;

use super::Group;
use crate::configuration::{AppliedConfiguration, Configuration};
use crate::log::{EntryKind, HardState, LogEntry, LogView};
use crate::membership::{self, ConfigurationHistory};
use crate::message::Message;
use crate::snapshot::SnapshotDescription;
use crate::work::{Committed, CommittedKind, Persist, ReadState, Released, Token, Work};

/// Work that was handed out.
pub(super) struct Outstanding {
    token: Token,
    ready: Ready,
    reads: Vec<ReadState>,
    snapshot: Option<SnapshotDescription>,
    /// Whether its write changes the term or the vote.
    pub(super) votes: bool,
    /// The commit index that is durable once this work is.
    durable_commit: Option<u64>,
}

impl<L: LogView> Group<L> {
    /// The next thing to do, if there is any.
    ///
    /// # Panics
    /// If earlier work has not been reported as persisted.
    pub fn take_work(&mut self) -> Option<Work> {
        self.assert_idle();
        if !self.has_work() {
            return None;
        }
        let mut ready = self.node.ready();
        let mut messages = std::mem::take(&mut self.outbox);
        messages.extend(ready.take_messages().into_iter().map(Message));
        let mut reads = std::mem::take(&mut self.local_reads);
        reads.extend(ready.take_read_states().into_iter().filter_map(|state| answered(&state)));
        ready.take_committed_entries().into_iter().for_each(|entry| self.backlog.add(committed(entry)));
        let before = (self.written.term, self.written.vote);
        let mut persist = self.persist(&mut ready);
        let votes = before != (self.written.term, self.written.vote);
        let durable_commit = persist.must_sync.then_some(self.written.commit);
        // A planted fault deceives the group as well: it goes on as if the work were done as it should be.
        self.plant_bugs(&mut persist);
        self.last_token += 1;
        let token = Token(self.last_token);
        let snapshot = persist.snapshot.clone();
        self.outstanding = Some(Outstanding { token, ready, reads, snapshot, votes, durable_commit });
        Some(Work { token, messages, persist })
    }

    /// The work is durable, or written if it did not ask to be synced.
    ///
    /// # Panics
    /// If the token is not that of the work taken last, or an entry that the log holds cannot be decoded.
    pub fn persisted(&mut self, token: Token) -> Released {
        let outstanding = self.outstanding.take().expect("work is reported once");
        assert_eq!(outstanding.token, token, "work is reported in order");
        let Outstanding { mut ready, reads, snapshot, durable_commit, .. } = outstanding;
        self.durable_commit = self.durable_commit.max(durable_commit.unwrap_or(0));
        let mut messages: Vec<Message> = ready.take_persisted_messages().into_iter().map(Message).collect();
        let mut light = self.node.advance_append(ready);
        messages.extend(light.take_messages().into_iter().map(Message));
        let snapshot_adopted = snapshot.map(|snapshot| self.adopted(&snapshot));
        light.take_committed_entries().into_iter().for_each(|entry| self.backlog.add(committed(entry)));
        let committed = self.release();
        let role = Some(self.role()).filter(|role| *role != self.reported);
        self.reported = role.unwrap_or(self.reported);
        let snapshot_needed = self.take_snapshot_request();
        self.settle();
        Released { messages, committed, reads, role, snapshot_needed, snapshot_adopted }
    }

    fn has_work(&self) -> bool {
        self.node.has_ready()
            || !self.outbox.is_empty()
            || !self.local_reads.is_empty()
            || self.backlog.may_hand_out()
            || self.has_snapshot_request()
    }

    /// What to write for this round. A commit index that has merely moved on is not worth a write of its own: it
    /// is found again after a restart, and goes along with the next one.
    fn persist(&mut self, ready: &mut Ready) -> Persist {
        let entries: Vec<LogEntry> = ready.take_entries().into_iter().map(LogEntry::from_raft).collect();
        let snapshot =
            Some(ready.snapshot()).filter(|snapshot| snapshot.get_metadata().index != 0).map(|snapshot| {
                SnapshotDescription::from_raft(snapshot).expect("it was checked when it was installed")
            });
        let current = HardState::from_raft(&self.node.raft.hard_state());
        let voted = (current.term, current.vote) != (self.written.term, self.written.vote);
        // A change of members takes effect when it is handed out. Replicas that forgot that it was committed
        // could elect by the old majority, so the commit index becomes durable first.
        let holds_change = self.backlog.waiting().any(|entry| self.is_held_change(entry));
        let write = voted || holds_change || snapshot.is_some() || !entries.is_empty();
        let hard_state = (write && current != self.written).then_some(current);
        let persist = Persist { snapshot, entries, hard_state, must_sync: ready.must_sync() || holds_change };
        self.written = persist.hard_state.unwrap_or(self.written);
        persist
    }

    /// Hands out committed entries up to the first that must wait for a durable commit index, and no more than
    /// the host has room for.
    fn release(&mut self) -> Vec<Committed> {
        let mut released = Vec::new();
        while self.backlog.may_hand_out() {
            if self.backlog.waiting().next().is_some_and(|entry| self.is_held_change(entry)) {
                break;
            }
            let view = &self.node.store().view;
            let Some(mut entry) = self.backlog.hand_out(|index| data_of(view, index)) else { break };
            if matches!(entry.kind, CommittedKind::Configuration(_)) {
                entry.kind = self.change_members(&entry);
            }
            released.push(entry);
        }
        released
    }

    fn is_held_change(&self, entry: &Committed) -> bool {
        matches!(entry.kind, CommittedKind::Configuration(_)) && entry.index > self.durable_commit
    }

    /// Puts a membership change into force. One that does not fit, because it was proposed by an older leader
    /// who saw other members, is ignored by every replica alike.
    fn change_members(&mut self, entry: &Committed) -> CommittedKind {
        let change = membership::decode(&entry.data).expect("a committed membership change decodes");
        if let Ok(state) = self.node.apply_conf_change(&change) {
            let configuration = Configuration::from_raft(&state);
            self.configurations.push(AppliedConfiguration { index: entry.index, configuration });
            self.node.store().snapshots.borrow_mut().configuration_index = entry.index;
        }
        CommittedKind::Configuration(self.configurations.current().clone())
    }

    /// The state is now that of the snapshot.
    fn adopted(&mut self, snapshot: &SnapshotDescription) -> u64 {
        self.backlog.skip_to(snapshot.index);
        self.configurations = ConfigurationHistory::from(snapshot.configuration.clone());
        self.node.store().snapshots.borrow_mut().configuration_index = snapshot.configuration.index;
        self.node.advance_apply_to(snapshot.index);
        snapshot.index
    }

    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self)]
    fn plant_bugs(&self, _persist: &mut Persist) {}

    #[cfg(feature = "planted-bugs")]
    fn plant_bugs(&self, persist: &mut Persist) {
        if self.options.has_bug(crate::PlantedBug::VoteNotPersisted)
            && let Some(state) = &mut persist.hard_state
        {
            state.vote = 0;
        }
        if self.options.has_bug(crate::PlantedBug::AcknowledgeBeforeSync) {
            persist.must_sync = false;
        }
    }
}

fn answered(state: &raft::ReadState) -> Option<ReadState> {
    let context = state.request_ctx.as_slice().try_into().ok().map(u64::from_le_bytes)?;
    Some(ReadState { context, index: state.index })
}

/// The data of a committed entry, which the log must hold until it is applied.
fn data_of(view: &impl LogView, index: u64) -> bytes::Bytes {
    let read = view.entries(index, index + 1, u64::MAX);
    read.expect("a committed entry can be read again").swap_remove(0).data
}

/// A committed entry as the host sees it; a membership change gets its configuration when it is released.
fn committed(entry: eraftpb::Entry) -> Committed {
    let LogEntry { index, term, kind, data } = LogEntry::from_raft(entry);
    let kind = match kind {
        EntryKind::Configuration => CommittedKind::Configuration(AppliedConfiguration::default()),
        EntryKind::Normal if data.is_empty() => CommittedKind::Empty,
        EntryKind::Normal => CommittedKind::Normal,
    };
    Committed { index, term, kind, data }
}
