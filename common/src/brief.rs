//! Reads that partitions answer at once, several in one message.

use serde::{Deserialize, Serialize};

use crate::Hlc;
use crate::protocol::{PartitionTarget, Pinned, Statement};
use crate::row::RowBlock;

/// A read of some partitions of one node, from the newest state of each, linearizably, if that takes a moment only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BriefRead {
    /// What to read.
    pub statement: Statement,
    /// Most rows that a partition answers.
    pub max_rows: u32,
    /// The partitions.
    pub partitions: Vec<BriefTarget>,
}

/// A partition of a [`BriefRead`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BriefTarget {
    /// Where.
    pub target: PartitionTarget,
    /// The state must be at least this log index (a bookmark); 0 for none.
    pub at_least: u64,
    /// The moment that is to be shown, as of [`crate::protocol::PinRequest::at`].
    pub at: Option<Hlc>,
}

/// What a partition answers to a [`BriefRead`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BriefAnswer {
    /// All rows; `None` if they are more than was asked for, or take long to find.
    pub rows: Option<RowBlock>,
    /// Of what moments the snapshot that was read shows the state.
    pub shows: Pinned,
}
