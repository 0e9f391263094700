//! What storage nodes tell of themselves, and what they are told to run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::NodeStatus;
use crate::partition_map::BucketRange;
use crate::schema::{DatabaseKind, PartitionType};
use crate::{NodeId, PartitionId, ReplicaId};

/// Where a replica is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerAddress {
    /// The node's name.
    pub node: NodeId,
    /// `host:port`.
    pub address: String,
}

/// A storage node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The cluster that it belongs to, if it has belonged to one.
    pub cluster: Option<String>,
    /// The id it wants, or had.
    pub node: Option<NodeId>,
    /// What its data directory calls itself: random, written once.
    pub instance: String,
    /// Host that others reach it at.
    pub host: String,
    /// Port that others reach it at.
    pub port: u16,
    /// Version of the program.
    pub version: String,
}

/// A storage node's report, every second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Who reports.
    pub node: NodeId,
    /// What its data directory calls itself.
    pub instance: String,
    /// Version of the assignments it runs.
    pub assignments_version: u64,
    /// Its replicas.
    pub replicas: Vec<ReplicaReport>,
    /// It is stopping: others should take over at once.
    pub stopping: bool,
}

/// A replica as it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// Its partition.
    pub partition: PartitionId,
    /// Its id.
    pub replica: ReplicaId,
    /// The replica that it believes leads.
    pub leader: Option<ReplicaId>,
    /// Raft term.
    pub term: u64,
    /// Applied log index.
    pub applied: u64,
    /// Greatest log index known committed.
    pub committed: u64,
    /// Schema version.
    pub schema_version: u64,
    /// Rows of the client's tables.
    pub rows: u64,
    /// Rows of each of them.
    pub table_rows: Vec<(String, u64)>,
    /// Size of the file, its write-ahead log included.
    pub bytes: u64,
    /// Log index of the configuration in force.
    pub configuration_index: u64,
    /// Voters in force.
    pub voters: Vec<ReplicaId>,
    /// Learners in force, with the log index that each is known to hold (leaders know; others say 0).
    pub learners: Vec<(ReplicaId, u64)>,
    /// Transactions prepared here and not decided.
    pub in_doubt: u32,
    /// Whether it takes writes now: it leads, and has applied its own term's first entry.
    pub writable: bool,
    /// The last index at which replicas compared their digests, and what this one's was.
    pub digest: Option<(u64, u128)>,
    /// Why it serves nothing, or should not, and is rebuilt: its file is damaged, or differs from the others'.
    pub quarantined: Option<String>,
    /// Size of the pages in use.
    pub used_bytes: u64,
    /// Requests of clients that it was asked since it was started in its process.
    pub requests: u64,
}

/// What the catalog's leader has heard of a storage node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeHealth {
    /// The node.
    pub node: NodeId,
    /// What is thought of it.
    pub status: NodeStatus,
    /// Milliseconds since it reported.
    pub silent_ms: u64,
    /// Its last report.
    pub replicas: Vec<ReplicaReport>,
    /// How many requests a second each of its replicas was asked of late.
    pub requests_per_second: Vec<(PartitionId, u64)>,
}

/// Everything that a storage node should run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assignments {
    /// Name of the cluster. A node that holds replicas of another one must not obey: it would remove them.
    pub cluster: String,
    /// Catalog version that they were read from; older ones than already obeyed are ignored.
    pub version: u64,
    /// The replicas.
    pub replicas: Vec<Assignment>,
}

/// A replica that a storage node should run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Its partition.
    pub partition: PartitionId,
    /// The partition's id as clients see it.
    pub uuid: String,
    /// Its id.
    pub replica: ReplicaId,
    /// All replicas of the partition, this one included.
    pub peers: BTreeMap<ReplicaId, PeerAddress>,
    /// Voters to found the group with, or `None` to wait for a snapshot. Ignored once the replica exists.
    pub founders: Option<Vec<ReplicaId>>,
    /// Whether this one should stand for election at once when the group is founded.
    pub stands_first: bool,
    /// The database.
    pub database: String,
    /// Its face.
    pub kind: DatabaseKind,
    /// Which way it is divided.
    pub partition_type: PartitionType,
    /// Its partition key.
    pub partition_key: Option<String>,
    /// What the partition owns.
    pub range: BucketRange,
    /// Version of the bucket's place in the map.
    pub epoch: u64,
    /// Whether it is in its database's map: one that is being filled, or was replaced, is not.
    #[serde(default = "is_mapped")]
    pub mapped: bool,
}

fn is_mapped() -> bool {
    true
}
