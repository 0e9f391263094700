//! What is said between nodes while some buckets of a database take the place of others: rows are copied from the
//! old partitions to the new ones, what changes meanwhile is copied again, and at the end the old ones are closed.

use serde::{Deserialize, Serialize};

use crate::entry::Effects;
use crate::partition_map::BucketRange;
use crate::protocol::PinId;
use crate::{Hlc, PartitionId, Value};

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ReplacingRequest {
    /// Another place in the map for a partition, through its leader. → [`ReplacingReply::Owned`]
    Own {
        /// The partition.
        partition: PartitionId,
        /// The epoch that starts, unless it is in it or in a later one.
        epoch: u64,
        /// What it owns from then on.
        range: BucketRange,
        /// It starts later than this moment.
        after: Hlc,
    },
    /// The keys of rows that have changed since a log index, as far as the replica has noted them.
    /// → [`ReplacingReply::ChangedRows`]
    ChangedRows {
        /// The partition.
        partition: PartitionId,
        /// The log index; without one, changes are to be noted from now on.
        since: Option<u64>,
    },
    /// Rows by their keys, out of a pinned snapshot, as changes that bring them about. → [`ReplacingReply::Rows`]
    RowsByKey {
        /// The partition.
        partition: PartitionId,
        /// The snapshot.
        pin: PinId,
        /// The keys.
        keys: Vec<RowKey>,
    },
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ReplacingReply {
    /// The partition has its place.
    Owned {
        /// A moment at which it had.
        at: Hlc,
        /// It owns nothing, and nobody will need a decision of its log any more.
        settled: bool,
    },
    /// The keys of rows that have changed.
    ChangedRows {
        /// Log index up to which they are given.
        applied: u64,
        /// The keys; `None` if not all changes since then were noted.
        keys: Option<Vec<RowKey>>,
    },
    /// Rows that are there as insertions, others as deletions, in the order of the keys.
    Rows(Effects),
}

/// Names a row of a partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowKey {
    /// Its table.
    pub table: String,
    /// Its key, as in [`crate::entry::Change`].
    pub key: Vec<Value>,
}

/// First message of a stream of all rows; [`Effects`] that insert them follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesHeader {
    /// Version of the schema.
    pub schema_version: u64,
    /// DDL that makes everything in it, in order.
    pub statements: Vec<String>,
}
