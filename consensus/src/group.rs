//! A group: events in, work out.
//!
//! Every event is a method; none of them sends, writes or waits. After any of them, [`Group::take_work`] says
//! whether there is something to do. The order is always: take the work, send its messages, persist, sync if it
//! says so, [`Group::persisted`], do what that releases, and again until there is no work.

mod backlog;
mod report;
mod round;
mod signs_of_life;
mod snapshots;
mod truncation;

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use common::ReplicaId;
use raft::{Config, RawNode, ReadOnlyOption};

use crate::configuration::{AppliedConfiguration, MembershipChange};
use crate::election_clock::ElectionClock;
use crate::errors::{MembershipError, NotLeader, OpenError, ProposeError, StepError};
use crate::log::{HardState, LogStart, LogView};
use crate::membership::ConfigurationHistory;
use crate::message::{Message, MessageKind};
use crate::options::GroupOptions;
use crate::snapshot::SnapshotOffer;
use crate::status::GroupCounters;
use crate::storage::{Node, SnapshotShelf, Store};
use crate::work::{Proposed, ReadState, Role, RoleChange};
pub use snapshots::InstallOutcome;

/// The log of a new group begins after this index, whose state is the empty one: replicas that join later find
/// no entry there and get a snapshot, which is how they learn the members that no entry names.
pub const BOOTSTRAP_INDEX: u64 = 1;
/// The term of the entry at [`BOOTSTRAP_INDEX`].
pub const BOOTSTRAP_TERM: u64 = 1;

/// A message from a term further ahead than this is refused: it would end the group's supply of terms.
const TERM_JUMP_MAX: u64 = 1 << 32;

/// After the end of a leader's process a voter lets so many ticks pass for each one that comes before it: enough for
/// that one's election.
const TICKS_PER_TURN: usize = 2;

/// One replica of a Raft group.
pub struct Group<L: LogView> {
    options: GroupOptions,
    node: Node<L>,
    clock: ElectionClock,
    configurations: ConfigurationHistory,
    /// The work handed out and not yet reported as persisted.
    outstanding: Option<round::Outstanding>,
    last_token: u64,
    /// Messages of our own making, beside the library's.
    outbox: Vec<Message>,
    /// Reads answered outside of the library.
    local_reads: Vec<ReadState>,
    /// Committed entries that wait until the commit index that covers them is durable, or the host has room.
    backlog: backlog::Backlog,
    /// The hard state last handed out for writing.
    written: HardState,
    /// A commit index that is durable.
    durable_commit: u64,
    reported: RoleChange,
    /// Whether the host is making a snapshot, and for how many ticks.
    snapshot_requested: Option<u32>,
    /// Ticks since the snapshot at hand was made.
    snapshot_age: u32,
    /// Followers that have been offered a snapshot, and for how many ticks.
    snapshots_offered: BTreeMap<u64, u32>,
    counters: GroupCounters,
}

impl<L: LogView> Group<L> {
    /// Starts a replica on its log. `applied` is the index that its state machine stands at; 0 for a state
    /// machine that has never applied anything.
    ///
    /// # Errors
    /// If the log and the state do not belong together: the replica must not vote or acknowledge any more.
    pub fn new(options: GroupOptions, view: L, applied: u64) -> Result<Group<L>, OpenError> {
        let (start, last) = (view.start(), view.last_index());
        let hard_state = view.hard_state();
        // The empty state of a new group is the state at its first log's start.
        let applied = if start.index == BOOTSTRAP_INDEX { applied.max(BOOTSTRAP_INDEX) } else { applied };
        check_positions(applied, hard_state, &start, last)?;
        let configurations = ConfigurationHistory::read(&view, applied)?;
        // What was applied was committed, even if that was not yet written when the process ended.
        let known = HardState { commit: hard_state.commit.max(applied), ..hard_state };
        let current = configurations.current();
        let store = Store {
            view,
            hard_state: known.into_raft(),
            members: current.configuration.to_raft(),
            snapshots: SnapshotShelf { configuration_index: current.index, ..SnapshotShelf::default() }
                .into(),
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&library_options(&options, applied), store, &logger)
            .map_err(|error| OpenError::Options(error.to_string()))?;
        let backlog_bytes_max = options.backlog_bytes_max;
        let mut group = Group {
            clock: ElectionClock::new(&options),
            options,
            node,
            configurations,
            outstanding: None,
            last_token: 0,
            outbox: Vec::new(),
            local_reads: Vec::new(),
            backlog: backlog::Backlog::new(backlog_bytes_max),
            written: hard_state,
            durable_commit: hard_state.commit,
            reported: RoleChange { term: known.term, role: Role::Follower, leader: None },
            snapshot_requested: None,
            snapshot_age: 0,
            snapshots_offered: BTreeMap::new(),
            counters: GroupCounters::default(),
        };
        group.settle();
        Ok(group)
    }

    /// One unit of time has passed.
    pub fn tick(&mut self) {
        self.assert_idle();
        self.node.tick();
        self.age_snapshots();
        self.settle();
    }

    /// A message has arrived. The offer of a snapshot that this replica needs is not taken in but returned: the
    /// caller fetches and stages the snapshot and then calls [`Group::install_snapshot`]; meanwhile the group
    /// goes on, and offers come again.
    ///
    /// # Errors
    /// If the message was dropped.
    pub fn step(&mut self, message: Message) -> Result<Option<SnapshotOffer>, StepError> {
        self.assert_idle();
        self.check(&message)?;
        match message.kind() {
            MessageKind::SnapshotFailure => self.snapshot_sent(message.from(), false),
            MessageKind::Snapshot => {
                if let Some(offer) = self.needed_snapshot(&message) {
                    return Ok(Some(offer));
                }
                self.feed(message);
            }
            _ => self.feed(message),
        }
        self.settle();
        Ok(None)
    }

    /// Puts bytes into the log. They are committed only when an entry of the returned term is committed at the
    /// returned index; another term there means that they are lost.
    ///
    /// # Errors
    /// If nothing was put into the log.
    ///
    /// # Panics
    /// If the bytes are empty: such entries are the leader's own.
    pub fn propose(&mut self, data: Bytes) -> Result<Proposed, ProposeError> {
        self.assert_idle();
        assert!(!data.is_empty(), "an empty proposal would be taken for a leader's own entry");
        self.check_leading()?;
        // `Vec::from` reuses the buffer if nobody else holds it.
        let proposed = self.node.propose(Vec::new(), Vec::from(data));
        self.settle();
        proposed.map_err(|_| ProposeError::Busy)?;
        Ok(self.last_proposed())
    }

    /// Changes the members, if the configuration in force is still the one that entry
    /// `expected_configuration_index` made.
    ///
    /// # Errors
    /// If nothing was put into the log.
    pub fn propose_membership(
        &mut self,
        change: &MembershipChange,
        expected_configuration_index: u64,
    ) -> Result<Proposed, MembershipError> {
        self.assert_idle();
        self.check_leading()?;
        let AppliedConfiguration { index, configuration } = self.configurations.current();
        if *index != expected_configuration_index {
            return Err(MembershipError::Changed { current: *index });
        }
        // The library would turn a change that comes too early into an empty entry, silently.
        if configuration.is_joint() || self.node.raft.has_pending_conf() {
            return Err(MembershipError::Busy);
        }
        if let Some(reason) = change.refusal(configuration) {
            return Err(MembershipError::Invalid(reason));
        }
        let proposed = self.node.propose_conf_change(Vec::new(), change.to_raft());
        self.settle();
        proposed.map_err(|_| MembershipError::Busy)?;
        Ok(self.last_proposed())
    }

    /// Asks for an index that a linearizable read beginning now has to wait for; the answer is a
    /// [`ReadState`] with the same context, which must not be used twice. It may never come: the library
    /// drops requests silently while the leader has not committed in its own term, and messages get lost. So the
    /// caller asks again, with another context, every now and then.
    ///
    /// # Errors
    /// If this replica does not lead.
    pub fn read(&mut self, context: u64) -> Result<(), NotLeader> {
        self.assert_idle();
        self.check_leading()?;
        #[cfg(feature = "planted-bugs")]
        if self.options.has_bug(crate::PlantedBug::LeaderLocalRead) {
            let index = self.node.raft.raft_log.committed;
            self.local_reads.push(ReadState { context, index });
            return Ok(());
        }
        self.node.read_index(context.to_le_bytes().to_vec());
        self.settle();
        Ok(())
    }

    /// Starts an election now, if this replica may lead.
    pub fn campaign(&mut self) {
        self.assert_idle();
        // The library would let a learner or a removed replica ask for votes. Its error says nothing but that.
        if self.node.raft.promotable() && self.node.campaign().is_ok() {
            self.settle();
        }
    }

    /// Hands leadership to another voter. While that is under way, at most one election time-out, proposals
    /// are refused as busy.
    ///
    /// # Errors
    /// If this replica does not lead.
    pub fn transfer_leader(&mut self, to: ReplicaId) -> Result<(), NotLeader> {
        self.assert_idle();
        self.check_leading()?;
        self.node.transfer_leader(to.0);
        self.settle();
        Ok(())
    }

    /// The state machine has applied everything up to the index.
    pub fn applied(&mut self, index: u64) {
        self.assert_idle();
        if index > self.node.raft.raft_log.applied() {
            self.node.advance_apply_to(index);
            self.settle();
        }
    }

    /// The host has taken over everything up to the index, so that it has room for more; whether it has an
    /// effect yet is told by [`Group::applied`]. Needed only under [`GroupOptions::backlog_bytes_max`].
    pub fn taken_over(&mut self, index: u64) {
        self.backlog.taken_over(index);
    }

    /// Whether committed entries wait until the host has room for them.
    #[must_use]
    pub fn waits_for_host(&self) -> bool {
        self.backlog.is_full()
    }

    /// The process of the replica is gone, as far as can be told from here. If it led, the voters stand for election in
    /// turn, and not by lot when they miss its heartbeats. A false alarm does no harm: whoever hears the leader gives no
    /// vote against it, and whose turn it is hears it soon.
    pub fn unreachable(&mut self, replica: ReplicaId) {
        self.assert_idle();
        self.node.report_unreachable(replica.0);
        let current = self.role();
        if current.role == Role::Follower
            && current.leader == Some(replica)
            && let Some(turn) = self.turn_after(replica)
        {
            self.clock.hasten(&mut self.node, 1 + TICKS_PER_TURN * turn);
        }
        self.settle();
    }

    /// How many voters come before this one where they follow each other in a circle, beginning behind `replica`.
    fn turn_after(&self, replica: ReplicaId) -> Option<usize> {
        let voters = &self.configurations.current().configuration.voters;
        let mut behind =
            voters.range((Bound::Excluded(replica), Bound::Unbounded)).chain(voters.range(..replica));
        behind.position(|voter| *voter == self.options.replica)
    }

    fn check_leading(&self) -> Result<(), NotLeader> {
        let RoleChange { role, leader, .. } = self.role();
        if role == Role::Leader { Ok(()) } else { Err(NotLeader { leader }) }
    }

    fn last_proposed(&self) -> Proposed {
        Proposed { term: self.node.raft.term, index: self.node.raft.raft_log.last_index() }
    }

    /// Whether the message may be given to the library.
    fn check(&mut self, message: &Message) -> Result<(), StepError> {
        if message.to() != self.options.replica {
            self.counters.misdelivered += 1;
            return Err(StepError::Misdelivered { to: message.to() });
        }
        if message.kind() == MessageKind::Other {
            self.counters.refused += 1;
            return Err(StepError::Refused);
        }
        let contradiction = message.contradiction().or_else(|| {
            let limit = self.node.raft.term.saturating_add(TERM_JUMP_MAX);
            (message.term() > limit || message.term() == 0).then_some("a term out of reach")
        });
        if let Some(reason) = contradiction {
            self.counters.malformed += 1;
            return Err(StepError::Malformed(reason));
        }
        Ok(())
    }

    /// Gives a message to the library. Its errors say only that an answer came from a replica that is no longer
    /// a member, or that the message was of no use: to drop it is all there is to do.
    fn feed(&mut self, message: Message) {
        if self.node.step(message.0).is_err() {
            self.counters.malformed += 1;
        }
    }

    /// Ends every event.
    fn settle(&mut self) {
        self.clock.settle(&mut self.node);
    }

    /// The library forbids events between handing out work and hearing that it is persisted.
    fn assert_idle(&self) {
        assert!(self.outstanding.is_none(), "an event while work is not yet reported as persisted");
    }
}

fn check_positions(
    applied: u64,
    hard_state: HardState,
    start: &LogStart,
    last: u64,
) -> Result<(), OpenError> {
    if applied < start.index {
        return Err(OpenError::StateBehindLog { applied, start: start.index });
    }
    if applied > last {
        return Err(OpenError::LogBehindState { applied, last });
    }
    if hard_state.commit > last {
        return Err(OpenError::LogBehindCommit { commit: hard_state.commit, last });
    }
    Ok(())
}

fn library_options(options: &GroupOptions, applied: u64) -> Config {
    Config {
        id: options.replica.0,
        election_tick: options.election_ticks_min as usize,
        min_election_tick: options.election_ticks_min as usize,
        max_election_tick: options.election_ticks_max as usize,
        heartbeat_tick: options.heartbeat_ticks as usize,
        applied,
        max_size_per_msg: options.message_bytes_max,
        max_inflight_msgs: options.inflight_messages_max,
        max_uncommitted_size: options.uncommitted_bytes_max,
        max_committed_size_per_ready: options.committed_bytes_max,
        // A leader that has lost its majority steps down, and a replica that comes back does not disturb it.
        check_quorum: true,
        pre_vote: true,
        // Leases would trust clocks.
        read_only_option: ReadOnlyOption::Safe,
        batch_append: true,
        ..Config::default()
    }
}

#[cfg(all(test, feature = "planted-bugs"))]
mod tests {
    use common::PartitionId;

    use super::*;
    use crate::tests::MemoryLog;
    use crate::{Group, PlantedBug, Work};

    /// What a replica writes when it asks for votes.
    fn candidacy(planted_bug: Option<PlantedBug>) -> Work {
        let voters = [1, 2, 3].map(ReplicaId);
        let options = GroupOptions { planted_bug, ..GroupOptions::new(PartitionId(1), ReplicaId(1), 1) };
        let mut group = Group::new(options, MemoryLog::bootstrap(voters), 0).expect("a new group");
        group.node.raft.become_pre_candidate();
        group.node.raft.become_candidate();
        group.take_work().expect("a vote for itself is to be written")
    }

    #[test]
    fn planted_bugs_change_what_is_persisted_and_nothing_else() {
        let sound = candidacy(None).persist;
        assert!(sound.must_sync);
        assert_eq!(sound.hard_state.map(|state| (state.term, state.vote)), Some((2, 1)));
        let voteless = candidacy(Some(PlantedBug::VoteNotPersisted)).persist;
        assert_eq!(voteless.hard_state.map(|state| (state.term, state.vote)), Some((2, 0)));
        let unsynced = candidacy(Some(PlantedBug::AcknowledgeBeforeSync)).persist;
        assert!(!unsynced.must_sync);
        assert_eq!(unsynced.hard_state, sound.hard_state);
    }
}
