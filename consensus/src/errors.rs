//! What can go wrong, one enum for each kind of operation.

use common::ReplicaId;

/// The replica is not the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not lead its group")]
pub struct NotLeader {
    /// Who leads, as far as this replica knows.
    pub leader: Option<ReplicaId>,
}

/// Why a proposal was not taken. Nothing of it reached the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another replica leads.
    #[error("this replica does not lead its group")]
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<ReplicaId>,
    },
    /// Too much is waiting for commit, or leadership is being handed over. Try again soon.
    #[error("the group takes no proposals at the moment")]
    Busy,
}

impl From<NotLeader> for ProposeError {
    fn from(error: NotLeader) -> Self {
        ProposeError::NotLeader { leader: error.leader }
    }
}

/// Why a membership change was not taken. Nothing of it reached the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Another replica leads.
    #[error("this replica does not lead its group")]
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<ReplicaId>,
    },
    /// An earlier change is not yet applied, or leadership is being handed over.
    #[error("an earlier membership change is under way")]
    Busy,
    /// The members have changed since the caller looked.
    #[error("the membership is that of index {current}, not the expected one")]
    Changed {
        /// Index of the configuration in force.
        current: u64,
    },
    /// The change does not fit the members.
    #[error("{0}")]
    Invalid(String),
}

impl From<NotLeader> for MembershipError {
    fn from(error: NotLeader) -> Self {
        MembershipError::NotLeader { leader: error.leader }
    }
}

/// Why a message was dropped. Dropping is always safe: Raft expects losses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Proposals and reads are not taken from the network: a forwarded effect would land on a state that it
    /// was not computed on.
    #[error("messages of this kind are not taken from other replicas")]
    Refused,
    /// It is addressed to another replica.
    #[error("the message is for replica {to}")]
    Misdelivered {
        /// The addressee.
        to: ReplicaId,
    },
    /// Its fields contradict each other.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Larger than [`crate::MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes is larger than allowed")]
    TooLarge(usize),
    /// Not a message of this protocol.
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// Why the log could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The entry was truncated.
    #[error("the entry is no longer in the log")]
    Compacted,
    /// The entry was never written.
    #[error("the entry is not in the log")]
    Unavailable,
    /// The log cannot be read.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

/// Why a group cannot start on this log and state. The replica must be quarantined and rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The options contradict each other.
    #[error("invalid options: {0}")]
    Options(String),
    /// The state machine is older than the log's first entry: the entries between are gone.
    #[error("the state stands at index {applied}, the log begins after index {start}")]
    StateBehindLog {
        /// Index of the state machine.
        applied: u64,
        /// Index of the last truncated entry.
        start: u64,
    },
    /// The state machine has applied entries that the log does not hold: the log has lost its tail, and with
    /// it perhaps acknowledgements and votes.
    #[error("the state stands at index {applied}, the log ends at index {last}")]
    LogBehindState {
        /// Index of the state machine.
        applied: u64,
        /// Index of the last entry.
        last: u64,
    },
    /// The log promises a commit index that it does not reach.
    #[error("index {commit} was known to be committed, the log ends at index {last}")]
    LogBehindCommit {
        /// Commit index of the hard state.
        commit: u64,
        /// Index of the last entry.
        last: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}
