//! A group's state for people and for placement.

use common::ReplicaId;

use crate::configuration::Configuration;
use crate::work::Role;

/// The state of a group as one replica sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// This replica.
    pub id: ReplicaId,
    /// Latest term seen.
    pub term: u64,
    /// Whom it voted for in that term.
    pub vote: Option<ReplicaId>,
    /// Its part.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<ReplicaId>,
    /// Highest index known to be committed.
    pub commit: u64,
    /// Highest index that the host has reported as applied.
    pub applied: u64,
    /// Index of the last entry.
    pub last_index: u64,
    /// Index of the first entry that the log still holds.
    pub first_index: u64,
    /// The members.
    pub configuration: Configuration,
    /// Index of the entry that made them the members.
    pub configuration_index: u64,
    /// A leader's view of every member, itself included, ascending; empty elsewhere.
    pub peers: Vec<PeerProgress>,
}

/// How far a member has come, as its leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The member.
    pub replica: ReplicaId,
    /// Its log equals the leader's up to here.
    pub matched: u64,
    /// Whether it was heard from within the last election time-out.
    pub recently_active: bool,
    /// How it is being fed.
    pub state: PeerState,
}

/// How a leader feeds a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Its log's end is being looked for.
    Probe,
    /// Entries stream to it.
    Replicate,
    /// It is installing a snapshot.
    Snapshot,
}

/// What a group has dropped, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounters {
    /// Messages of a kind that is not taken from other replicas.
    pub refused: u64,
    /// Messages for another replica.
    pub misdelivered: u64,
    /// Messages whose fields contradict each other.
    pub malformed: u64,
}
