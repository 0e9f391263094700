//! What a group wants done, as data.

use bytes::Bytes;
use common::ReplicaId;

use crate::configuration::AppliedConfiguration;
use crate::log::{HardState, LogEntry};
use crate::message::Message;
use crate::snapshot::{SnapshotDescription, SnapshotRequest};

/// Names one [`Work`]; handed back to [`crate::Group::persisted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub(crate) u64);

/// The next thing to do. Until it is reported by [`crate::Group::persisted`] the group takes no other event.
#[derive(Debug)]
pub struct Work {
    /// Names this work.
    pub token: Token,
    /// To send at once, before anything is persisted: they promise nothing about this replica's disk.
    pub messages: Vec<Message>,
    /// To write.
    pub persist: Persist,
}

/// What to write into the log, in one atomic batch.
#[derive(Debug, Default)]
pub struct Persist {
    /// A snapshot whose state is staged already. The batch drops the whole log and starts it anew after the
    /// snapshot, together with the hard state and the host's switch to the staged state.
    pub snapshot: Option<SnapshotDescription>,
    /// To append. Entries of the log at and above the first one's index are dropped.
    pub entries: Vec<LogEntry>,
    /// The hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// Whether the batch must be synced before [`crate::Group::persisted`] is called. If not, it may reach the
    /// disk at any later time.
    pub must_sync: bool,
}

impl Persist {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.snapshot.is_none() && self.entries.is_empty() && self.hard_state.is_none()
    }
}

/// What may be done now that a [`Work`] is durable.
#[derive(Debug, Default)]
pub struct Released {
    /// To send: votes and acknowledgements of what was persisted.
    pub messages: Vec<Message>,
    /// To apply, in order. They are committed and in this replica's own durable log, so a state machine that
    /// loses its latest writes in a crash finds them again.
    pub committed: Vec<Committed>,
    /// Reads that may be served once the state machine has applied their index.
    pub reads: Vec<ReadState>,
    /// The replica's part in the group is now another.
    pub role: Option<RoleChange>,
    /// A follower needs a snapshot: the host shall make one and hand it to [`crate::Group::snapshot_ready`].
    pub snapshot_needed: Option<SnapshotRequest>,
    /// The snapshot of [`Persist::snapshot`] is now the state, up to this index.
    pub snapshot_adopted: Option<u64>,
}

/// An entry to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its position.
    pub index: u64,
    /// Term of the leader that wrote it.
    pub term: u64,
    /// What it is.
    pub kind: CommittedKind,
    /// What was proposed; empty unless `kind` is normal.
    pub data: Bytes,
}

/// What a committed entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommittedKind {
    /// A proposal.
    Normal,
    /// Nothing to do but to move the applied index on: a leader opens its term with such an entry.
    Empty,
    /// The members have changed. The host stores this together with its applied index.
    Configuration(AppliedConfiguration),
}

/// Where a proposal stands. It is committed if, and only if, the entry committed at this index has this term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Term of this leader.
    pub term: u64,
    /// Position of the entry.
    pub index: u64,
}

/// An answered [`crate::Group::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// The caller's number.
    pub context: u64,
    /// A state that has applied this index is fresh enough.
    pub index: u64,
}

/// A replica's part in its group. Learners are followers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    #[default]
    Follower,
    /// It asks whether an election could succeed.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// The replica's part in its group as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The term.
    pub term: u64,
    /// The part that this replica plays in it.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<ReplicaId>,
}
