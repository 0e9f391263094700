//! Snapshots that are kept for several reads, as coordinators and partitions speak of them.

use serde::{Deserialize, Serialize};

use crate::Hlc;
use crate::protocol::PartitionTarget;

/// Names a pinned snapshot: random, chosen by whoever pins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PinId(pub u128);

/// Keeps a snapshot of a partition readable, as no acknowledged write is missed in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PinRequest {
    /// Where.
    pub target: PartitionTarget,
    /// Its name in the reads that follow.
    pub pin: PinId,
    /// The moment to show: everything committed until then, and nothing later. Without one it is the newest.
    pub at: Option<Hlc>,
    /// The state must be at least this log index (a bookmark); 0 for none.
    pub at_least: u64,
    /// How many reads of it there may be at once.
    pub readers: u32,
}

/// Of what moments a snapshot shows the partition's state. First and only message of a stream that keeps one pinned
/// until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Log index of the snapshot.
    pub index: u64,
    /// When its last transaction committed.
    pub since: Hlc,
    /// Nothing else commits on the partition at or before this moment, whoever leads it.
    pub until: Hlc,
}
