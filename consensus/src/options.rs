//! What a group is told when it starts.

use common::{PartitionId, ReplicaId};

/// Settings of one group. Times are in ticks.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// The group; only for messages to people.
    pub group: PartitionId,
    /// This replica.
    pub replica: ReplicaId,
    /// Source of every random choice. Replicas of one group must have different seeds, or their elections
    /// collide for ever.
    pub seed: u64,
    /// A follower that has heard nothing for a number of ticks between this, included, …
    pub election_ticks_min: u32,
    /// … and this, not included, asks for votes.
    pub election_ticks_max: u32,
    /// A leader is heard from at least this often.
    pub heartbeat_ticks: u32,
    /// Entries in one message, in bytes of their data; a larger entry travels alone.
    pub message_bytes_max: u64,
    /// Messages on their way to one follower. With the former this bounds what a follower that is slow has to hold.
    pub inflight_messages_max: usize,
    /// Proposals are refused while more bytes than this wait for commit.
    pub uncommitted_bytes_max: u64,
    /// Bytes of committed entries that are handed out at a time.
    pub committed_bytes_max: u64,
    /// No committed entry is handed out while the host has so many bytes that it has not taken over, see
    /// [`crate::Group::taken_over`]. `u64::MAX` for a host that takes over at once.
    pub backlog_bytes_max: u64,
    /// A snapshot that was offered and not installed after so many ticks is offered again.
    pub snapshot_ticks_max: u32,
    /// A leader keeps the entries that a follower lacks, be it there or away, as long as these are not more
    /// than so many; one that lacks more gets a snapshot.
    pub truncation_lag_max: u64,
    /// A fault for a simulation to find.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<PlantedBug>,
}

impl GroupOptions {
    /// The usual settings.
    #[must_use]
    pub fn new(group: PartitionId, replica: ReplicaId, seed: u64) -> GroupOptions {
        GroupOptions {
            group,
            replica,
            seed,
            election_ticks_min: 16,
            election_ticks_max: 32,
            heartbeat_ticks: 4,
            message_bytes_max: 256 << 10,
            inflight_messages_max: 16,
            uncommitted_bytes_max: 16 << 20,
            committed_bytes_max: 4 << 20,
            backlog_bytes_max: u64::MAX,
            snapshot_ticks_max: 200,
            truncation_lag_max: 5_000,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn has_bug(&self, bug: PlantedBug) -> bool {
        self.planted_bug == Some(bug)
    }
}

/// Faults that a simulation plants to prove that it would find them.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlantedBug {
    /// The vote is left out of the hard state that is written.
    VoteNotPersisted,
    /// Work never asks for a sync, so messages acknowledge what a power cut forgets.
    AcknowledgeBeforeSync,
    /// A leader answers reads from its own commit index, without asking whether it still leads.
    LeaderLocalRead,
}
