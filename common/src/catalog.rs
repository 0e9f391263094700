//! The catalog's contents: databases, partitions, nodes, coordinators and operations. How commands change
//! it is the coordinator's business; whoever plans or places reads it from here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hash::slot;
use crate::partition_map::{Bucket, PartitionMethod};
use crate::schema::{DatabaseKind, PartitionType, Schema};
use crate::{NodeId, PartitionId, ReplicaId, TransactionId, Value};

/// Everything the cluster agrees on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Names the cluster; drawn when it is founded.
    pub cluster: String,
    /// Log index of the last command applied.
    pub version: u64,
    /// Log index of the last command that changed what some storage node should run, or where it finds others.
    #[serde(default)]
    pub placement_version: u64,
    /// By name.
    pub databases: BTreeMap<String, Database>,
    /// By id.
    pub partitions: BTreeMap<PartitionId, Partition>,
    /// Storage nodes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The coordinators by their replica of the catalog's group.
    pub coordinators: BTreeMap<ReplicaId, Coordinator>,
    /// Its only coordinator is joining another cluster: nothing may be entered here that would be lost then.
    #[serde(default)]
    pub leaving: bool,
    /// Limits of every coordinator's cache.
    #[serde(default)]
    pub cache: CacheLimits,
    /// When partitions are split and merged by themselves.
    #[serde(default)]
    pub partitioning: PartitioningLimits,
    /// How often buckets were replaced.
    #[serde(default)]
    pub replacements: Replacements,
    /// Answers to changes of the catalog by their idempotency keys.
    #[serde(default)]
    pub kept_answers: BTreeMap<String, KeptAnswer>,
    /// Work that takes more than one command, by id; ended ones stay for a while.
    pub operations: BTreeMap<String, Operation>,
    /// The next partition id.
    pub next_partition: u64,
    /// The next replica id, of partitions and of the catalog's group alike.
    pub next_replica: u64,
    /// The next number for ids of operations and nodes.
    pub next_number: u64,
}

/// The answer to a change of the catalog that has an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// Digest of the request, in hexadecimal digits.
    pub digest: String,
    /// The answer's body.
    pub answer: String,
    /// The session of the key, if it is `session.sequence`.
    pub session: Option<String>,
    /// The place in it.
    pub sequence: i64,
    /// When it was given, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// Limits of a cache of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheLimits {
    /// Whether answers are kept at all.
    pub enabled: bool,
    /// Most entries.
    pub entries: u64,
    /// Most bytes.
    pub bytes: u64,
    /// Seconds after which an entry is not used any more.
    pub expiration_seconds: u64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        CacheLimits { enabled: true, entries: 1_000, bytes: 64 << 20, expiration_seconds: 60 }
    }
}

/// When partitions are split and merged by themselves. Sizes are those of pages in use, loads are requests a second,
/// both of the greatest partition of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitioningLimits {
    /// Whether it is done at all.
    pub automatic: bool,
    /// A bucket that is larger is split.
    pub split_bytes: u64,
    /// A bucket that is asked more often is split.
    pub split_requests: u64,
    /// Neighbours are merged that together are not larger …
    pub merge_bytes: u64,
    /// … and are not asked more often.
    pub merge_requests: u64,
    /// How many seconds it must have been so before anything is done.
    pub after_seconds: u64,
}

impl Default for PartitioningLimits {
    fn default() -> Self {
        PartitioningLimits {
            automatic: true,
            split_bytes: 8 << 30,
            split_requests: 20_000,
            merge_bytes: 1 << 30,
            merge_requests: 100,
            after_seconds: 300,
        }
    }
}

/// How often buckets were replaced since the cluster was founded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacements {
    /// Buckets that were split.
    pub splits: u64,
    /// Neighbours that were merged.
    pub merges: u64,
    /// How many of these the cluster began by itself.
    pub automatic: u64,
}

/// Where a database is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseState {
    /// Its partitions are being made; it is not listed yet.
    Creating,
    /// In use.
    Ready,
    /// Its partitions are being removed; it is not listed any more.
    Dropping,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its default face.
    pub kind: DatabaseKind,
    /// Which way it is divided.
    pub partition_type: PartitionType,
    /// The column that spreads the rows of each table that has it.
    pub partition_key: Option<String>,
    /// How keys choose a bucket.
    pub method: PartitionMethod,
    /// How many replicas each partition is meant to have.
    pub replication_factor: u32,
    /// Where it is in its life.
    pub state: DatabaseState,
    /// The published schema.
    pub schema: Schema,
    /// The schema change under way, an operation's id.
    pub schema_change: Option<String>,
    /// The buckets in order of their ranges.
    pub buckets: Vec<Bucket>,
    /// Names of the column groups; the first one is the anchor, which says which rows there are.
    #[serde(default = "one_column_group")]
    pub column_groups: Vec<String>,
    /// By column group, the attributes of documents that lie there because it was said so. Others join the first
    /// group; where nothing was said of any, each goes where the hash of its name says.
    #[serde(default)]
    pub attribute_groups: Vec<Vec<String>>,
    /// Milliseconds since the Unix epoch.
    pub created_at: u64,
    /// Buckets that others have replaced: they own nothing, and go when nobody can ask for a decision of theirs.
    #[serde(default)]
    pub retired: Vec<Retired>,
    /// For each partition that was replaced, one that has all that it knew of idempotency keys.
    #[serde(default)]
    pub successors: BTreeMap<PartitionId, PartitionId>,
    /// How many buckets people have asked for: merging by itself leaves at least as many.
    #[serde(default)]
    pub buckets_asked: usize,
}

/// A bucket that others have replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retired {
    /// What it was; at its epoch it owns nothing.
    pub bucket: Bucket,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: u64,
}

/// The column groups of a database that is not divided by columns.
#[must_use]
pub fn one_column_group() -> Vec<String> {
    vec!["all".to_owned()]
}

impl Database {
    /// How a partition is addressed: the anchor's partitions come first, by bucket, then those of the next
    /// column group.
    #[must_use]
    pub fn partition_index(&self, group: usize, bucket: usize) -> usize {
        group * self.buckets.len() + bucket
    }

    /// Column group, bucket and id of the partition at an index.
    #[must_use]
    pub fn partition(&self, index: usize) -> Option<(usize, &Bucket, PartitionId)> {
        let group = index.checked_div(self.buckets.len())?;
        let bucket = &self.buckets[index % self.buckets.len()];
        Some((group, bucket, *bucket.partitions.get(group)?))
    }

    /// The column group that holds an attribute of documents.
    #[must_use]
    pub fn group_of_attribute(&self, name: &str) -> usize {
        let is_said = |names: &Vec<String>| names.iter().any(|said| said == name);
        match self.attribute_groups.iter().position(is_said) {
            Some(group) => group,
            None if self.attribute_groups.iter().any(|names| !names.is_empty()) => 0,
            None => slot(&[Value::from(name)]) as usize % self.column_groups.len().max(1),
        }
    }

    /// The partition that keeps what an earlier one has kept under idempotency keys.
    #[must_use]
    pub fn successor(&self, mut partition: PartitionId) -> PartitionId {
        // Each is newer than the one it follows.
        while let Some(next) = self.successors.get(&partition).filter(|next| **next > partition) {
            partition = *next;
        }
        partition
    }

    /// All partitions in the order of their indexes, see [`Database::partition`].
    pub fn partitions(&self) -> impl Iterator<Item = (usize, &Bucket, PartitionId)> {
        (0..self.partition_count()).filter_map(|index| self.partition(index))
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.buckets.len() * self.column_groups.len()
    }
}

/// What a replica counts for in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaRole {
    /// Votes.
    Voter,
    /// Catches up, and does not vote.
    Learner,
    /// Its node came back empty or was removed: it has forgotten its votes, must never run again, and leaves
    /// its group as soon as the others can agree on that.
    Lost,
}

/// A replica as assigned: what should run, not what does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its id.
    pub id: ReplicaId,
    /// The storage node that holds it.
    pub node: NodeId,
    /// What it counts for.
    pub role: ReplicaRole,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    /// Its id, and its Raft group's.
    pub id: PartitionId,
    /// Its id as clients see it.
    pub uuid: String,
    /// The database it belongs to.
    pub database: String,
    /// Its assigned replicas.
    pub replicas: Vec<Replica>,
    /// Whether its group has been started by its first replicas; afterwards a new replica waits for a snapshot.
    pub bootstrapped: bool,
}

/// What the cluster thinks of a storage node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// Reports as it should.
    Active,
    /// Silent for a moment; avoided.
    Suspected,
    /// Silent for long, or stopped.
    Inactive,
    /// Gives its replicas away.
    Draining,
    /// Catches up.
    Syncing,
}

impl NodeStatus {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            NodeStatus::Active => "active",
            NodeStatus::Suspected => "suspected",
            NodeStatus::Inactive => "inactive",
            NodeStatus::Draining => "draining",
            NodeStatus::Syncing => "syncing",
        }
    }
}

/// A storage node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Host that others reach it at.
    pub host: String,
    /// Port that others reach it at.
    pub port: u16,
    /// What its data directory calls itself; `None` for a node that was registered by an operator and has
    /// not reported yet.
    pub instance: Option<String>,
    /// What is thought of it.
    pub status: NodeStatus,
    /// Since when it is inactive, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub inactive_since: Option<u64>,
}

impl Node {
    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

/// A coordinator: a replica of the catalog's group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinator {
    /// Its replica of the catalog's group.
    pub replica: ReplicaId,
    /// Host that others reach it at.
    pub host: String,
    /// Port that others reach it at.
    pub port: u16,
    /// What its data directory calls itself.
    #[serde(default)]
    pub instance: String,
    /// What it counts for.
    pub role: ReplicaRole,
}

impl Coordinator {
    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

/// `host:port`, with an IPv6 address in brackets.
#[must_use]
pub fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// Not begun.
    Pending,
    /// Under way.
    Running,
    /// Done.
    Completed,
    /// Given up; what it did is undone.
    Failed,
    /// Stopped by a client.
    Cancelled,
}

/// Work that takes more than one command and is resumed by whichever coordinator leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// What is to be done.
    pub work: OperationWork,
    /// Where it is.
    pub state: OperationState,
    /// Why it failed.
    pub error: Option<crate::Error>,
    /// Milliseconds since the Unix epoch.
    pub started_at: u64,
    /// Milliseconds since the Unix epoch, once it has ended.
    pub ended_at: Option<u64>,
}

/// How far the replacing of buckets is. A driver that finds an attempt begun cannot know what of it reached the
/// partitions, and begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplacingStage {
    /// Nothing has been copied.
    Fresh,
    /// Rows are being copied while the buckets serve.
    Copying,
    /// The buckets that are replaced are being closed to requests.
    Closing,
}

/// A transaction that changes a schema and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaTransaction {
    /// Its name.
    pub id: TransactionId,
    /// The partition whose log says what became of it.
    pub decider: PartitionId,
    /// Milliseconds after which its coordinator is taken for gone.
    pub patience_ms: u64,
}

/// Kinds of operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationWork {
    /// Start the partitions of a new database.
    CreateDatabase {
        /// Its name.
        database: String,
        /// DDL of its first schema, run on every partition of the first column group.
        #[serde(default)]
        statements: Vec<String>,
        /// The same for the other column groups.
        #[serde(default)]
        group_statements: Vec<Vec<String>>,
    },
    /// Remove the partitions of a database.
    DropDatabase {
        /// Its name.
        database: String,
    },
    /// Change a schema on every partition, then publish it.
    ChangeSchema {
        /// The database.
        database: String,
        /// The schema afterwards, published when every partition has it.
        schema: Schema,
        /// DDL for the partitions of the first column group, the system's tables included.
        statements: Vec<String>,
        /// DDL for those of the other column groups.
        #[serde(default)]
        group_statements: Vec<Vec<String>>,
        /// DDL that takes the statements back on a partition that has run them.
        #[serde(default)]
        undo: Vec<String>,
        /// Why a partition refused: from here on what was done is undone on all.
        #[serde(default)]
        refused: Option<Box<crate::Error>>,
        /// The transaction that makes the change on all partitions, together with changes of rows, or comes to
        /// nothing.
        #[serde(default)]
        transaction: Option<SchemaTransaction>,
    },
    /// Give a partition one more replica: learner first, then voter.
    AddReplica {
        /// The partition.
        partition: PartitionId,
        /// The new replica.
        replica: ReplicaId,
        /// Where it is made.
        node: NodeId,
        /// The replica that leaves once the new one votes.
        #[serde(default)]
        replaces: Option<ReplicaId>,
    },
    /// Take a lost replica out of its group.
    RemoveReplica {
        /// The partition.
        partition: PartitionId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Have a node give all its replicas away.
    DrainNode {
        /// The node.
        node: NodeId,
        /// How many it held when it began.
        #[serde(default)]
        replicas: usize,
    },
    /// Spread replicas and leaders evenly over the nodes.
    Rebalance,
    /// Put other buckets in the place of some that follow each other: to split one, or to merge several.
    ReplaceBuckets {
        /// The database.
        database: String,
        /// What is replaced, as it was when this began.
        sources: Vec<Bucket>,
        /// What takes its place; of no database's map until it is filled.
        targets: Vec<Bucket>,
        /// Grows each time that it begins anew with new partitions.
        attempt: u32,
        /// How far the attempt is.
        stage: ReplacingStage,
        /// Nobody has asked for it: the cluster began it by itself.
        #[serde(default)]
        automatic: bool,
    },
    /// Have another replica of a partition lead it.
    TransferLeader {
        /// The partition.
        partition: PartitionId,
        /// The replica.
        replica: ReplicaId,
    },
}
