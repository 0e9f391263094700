//! What can be done to the catalog.

use common::catalog::{NodeStatus, ReplacingStage, ReplicaRole, SchemaTransaction};
use common::partition_map::{BucketRange, PartitionMethod};
use common::schema::{DatabaseKind, PartitionType, Schema};
use common::{Error, NodeId, PartitionId, ReplicaId, RequestId};
use serde::{Deserialize, Serialize};

/// Version of the commands' encoding. An entry of a newer one stops the process: it cannot be skipped.
pub const FORMAT: u32 = 1;

/// An entry of the catalog's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Version of the encoding.
    pub format: u32,
    /// Names the proposal: sent twice, it is applied once.
    pub request: RequestId,
    /// The proposer's clock, in milliseconds since the Unix epoch.
    pub at: u64,
    /// What to do.
    pub command: Command,
}

/// A change of the catalog. Whatever is random in it (ids that clients see) was drawn by the proposer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Names the cluster and its first coordinator; the first command of every cluster.
    FoundCluster {
        /// The cluster's name, random.
        cluster: String,
        /// The founder's replica of the catalog's group.
        replica: ReplicaId,
        /// Host that others reach it at.
        host: String,
        /// Port that others reach it at.
        port: u16,
        /// What its data directory calls itself.
        instance: String,
    },
    /// A storage node introduces itself, or an operator introduces it. → [`Answer::Node`]
    RegisterNode {
        /// The id that it wants, or had.
        node: Option<NodeId>,
        /// What its data directory calls itself; `None` never changes who a node is.
        instance: Option<String>,
        /// Host that others reach it at.
        host: String,
        /// Port that others reach it at.
        port: u16,
    },
    /// The opinion of a node changes. → [`Answer::Done`]
    SetNodeStatus {
        /// The node.
        node: NodeId,
        /// The instance that the opinion is about: nothing happens if another has taken its place.
        instance: Option<String>,
        /// The new opinion.
        status: NodeStatus,
    },
    /// A node leaves for ever. → [`Answer::Done`]
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// A database, with replicas chosen for its partitions. → [`Answer::Operation`]
    CreateDatabase(Box<NewDatabase>),
    /// The database disappears from listings and its partitions are removed. → [`Answer::Operation`]
    DropDatabase {
        /// Its name.
        database: String,
    },
    /// A schema change begins. → [`Answer::Operation`]
    ChangeSchema {
        /// The database.
        database: String,
        /// The version that the change was planned on.
        expected_version: u64,
        /// The schema afterwards.
        schema: Schema,
        /// DDL for every partition of the first column group.
        statements: Vec<String>,
        /// DDL for those of the other column groups.
        #[serde(default)]
        group_statements: Vec<Vec<String>>,
        /// DDL that takes it back.
        undo: Vec<String>,
        /// The transaction that makes it, together with changes of rows.
        #[serde(default)]
        transaction: Option<SchemaTransaction>,
    },
    /// A partition refused a schema change for its data: from here on it is undone. → [`Answer::Done`]
    RefuseSchemaChange {
        /// The operation.
        operation: String,
        /// What the partition said.
        error: Error,
    },
    /// One more replica for a partition. → [`Answer::Operation`]
    AddReplica {
        /// The partition.
        partition: PartitionId,
        /// Where it is made.
        node: NodeId,
        /// The replica that leaves once the new one votes.
        #[serde(default)]
        replaces: Option<ReplicaId>,
    },
    /// One more replica on a node for every partition of a database that has none there.
    /// → [`Answer::Operations`]
    ReplicateDatabase {
        /// The database.
        database: String,
        /// Where the replicas are made.
        node: NodeId,
    },
    /// A lost replica is to leave its group. → [`Answer::Operation`]
    RemoveReplica {
        /// The partition.
        partition: PartitionId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Another replica, a voter, is to lead a partition. → [`Answer::Operation`]
    TransferLeader {
        /// The partition.
        partition: PartitionId,
        /// The replica.
        replica: ReplicaId,
    },
    /// A node is to give all its replicas away. → [`Answer::Operation`]
    DrainNode {
        /// The node.
        node: NodeId,
    },
    /// Other buckets are to take the place of some that follow each other. → [`Answer::Operation`]
    ReplaceBuckets {
        /// The database.
        database: String,
        /// One partition of each bucket that is replaced, in the order of the map.
        sources: Vec<PartitionId>,
        /// The partitions of the new buckets, as in [`NewDatabase::partitions`].
        targets: Vec<NewPartition>,
        /// Nobody has asked for it: the cluster does it by itself.
        #[serde(default)]
        automatic: bool,
    },
    /// An attempt at replacing buckets has come further. → [`Answer::Done`]; refused if another has begun.
    AdvanceReplacing {
        /// The operation.
        operation: String,
        /// The attempt.
        attempt: u32,
        /// How far it is.
        stage: ReplacingStage,
    },
    /// Replacing buckets begins anew, with new partitions. → [`Answer::Done`]; refused if another attempt has begun.
    RestartReplacing {
        /// The operation.
        operation: String,
        /// The attempt that is given up.
        attempt: u32,
        /// The partitions of the new buckets.
        targets: Vec<NewPartition>,
    },
    /// The new buckets have all rows, and the old ones are closed. → [`Answer::Done`]; refused if another attempt has
    /// begun.
    FinishReplacing {
        /// The operation.
        operation: String,
        /// The attempt.
        attempt: u32,
    },
    /// Nobody needs the partitions of a bucket any more that was replaced. → [`Answer::Done`]
    ForgetRetired {
        /// The database.
        database: String,
        /// One of its partitions.
        partition: PartitionId,
    },
    /// Replicas and leaders are to be spread evenly. → [`Answer::Operation`]
    Rebalance,
    /// An operation is given up at a client's wish, if it is one that can be. → [`Answer::Done`]
    CancelOperation {
        /// The operation.
        operation: String,
    },
    /// An operation has begun. → [`Answer::Done`]
    StartOperation {
        /// The operation.
        operation: String,
    },
    /// An operation has done its work: what it was for is published. → [`Answer::Done`]
    FinishOperation {
        /// The operation.
        operation: String,
    },
    /// An operation is given up and what it did is undone. → [`Answer::Done`]
    FailOperation {
        /// The operation.
        operation: String,
        /// Why.
        error: Error,
    },
    /// Rowids for new rows of a table. → [`Answer::Rowids`] or [`Answer::NeedsGreatest`]
    AllocateRowids {
        /// The database.
        database: String,
        /// The table, in any letter case.
        table: String,
        /// How many.
        count: u64,
        /// The greatest rowid in the partitions, as read after [`Answer::NeedsGreatest`].
        greatest: Option<i64>,
    },
    /// Rowids that were not used. → [`Answer::Done`]
    ReleaseRowids {
        /// The database.
        database: String,
        /// The table, in any letter case.
        table: String,
        /// The first.
        first: i64,
        /// How many.
        count: u64,
    },
    /// A client is about to set rowids of a table itself. → [`Answer::Done`]
    RowidsSetByClient {
        /// The database.
        database: String,
        /// The table, in any letter case.
        table: String,
    },
    /// A coordinator joins as a learner. → [`Answer::Coordinator`]
    AddCoordinator {
        /// Host that others reach it at.
        host: String,
        /// Port that others reach it at.
        port: u16,
        /// What its data directory calls itself.
        instance: String,
    },
    /// What a coordinator counts for has changed. → [`Answer::Done`]
    SetCoordinatorRole {
        /// Its replica.
        replica: ReplicaId,
        /// What it counts for now.
        role: ReplicaRole,
    },
    /// A coordinator came back at another address. → [`Answer::Done`]
    MoveCoordinator {
        /// Its replica.
        replica: ReplicaId,
        /// Host that others reach it at.
        host: String,
        /// Port that others reach it at.
        port: u16,
    },
    /// A coordinator has left the group. → [`Answer::Done`]
    RemoveCoordinator {
        /// Its replica.
        replica: ReplicaId,
    },
    /// Limits of the coordinators' caches; those that are not given stay as they are. → [`Answer::Done`]
    ConfigureCache {
        /// Whether answers are kept at all.
        #[serde(default)]
        enabled: Option<bool>,
        /// Most entries.
        entries: Option<u64>,
        /// Most bytes.
        bytes: Option<u64>,
        /// Seconds after which an entry is not used any more.
        expiration_seconds: Option<u64>,
    },
    /// When partitions are split and merged by themselves; what is not given stays as it is. → [`Answer::Done`]
    ConfigurePartitioning {
        /// Whether it is done at all.
        #[serde(default)]
        automatic: Option<bool>,
        /// A larger bucket is split.
        #[serde(default)]
        split_bytes: Option<u64>,
        /// A bucket that is asked more often is split.
        #[serde(default)]
        split_requests: Option<u64>,
        /// Neighbours that together are not larger are merged.
        #[serde(default)]
        merge_bytes: Option<u64>,
        /// As far as they are not asked more often.
        #[serde(default)]
        merge_requests: Option<u64>,
        /// How many seconds it must have been so.
        #[serde(default)]
        after_seconds: Option<u64>,
    },
    /// The only coordinator of a cluster that holds nothing is about to join another one: from here on nothing
    /// is entered. → [`Answer::Done`]
    LeaveCluster,
    /// It has not joined: the cluster is used again. → [`Answer::Done`]
    StayInCluster,
    /// A change that has an idempotency key was answered. → [`Answer::Done`]
    KeepAnswer {
        /// The key.
        key: String,
        /// Digest of the request, in hexadecimal digits.
        digest: String,
        /// The answer's body.
        answer: String,
    },
}

/// A database to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewDatabase {
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
    /// Its first schema.
    pub schema: Schema,
    /// DDL that makes it, for every partition of the first column group.
    pub statements: Vec<String>,
    /// The same for the other column groups.
    #[serde(default)]
    pub group_statements: Vec<Vec<String>>,
    /// Names of its column groups, the anchor's first.
    #[serde(default = "common::catalog::one_column_group")]
    pub column_groups: Vec<String>,
    /// Attributes of documents by column group, as far as it was said.
    #[serde(default)]
    pub attribute_groups: Vec<Vec<String>>,
    /// Its partitions: those of the anchor in order of their ranges, which cover every key; then as many of
    /// each other column group.
    pub partitions: Vec<NewPartition>,
}

/// A partition to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewPartition {
    /// Its id as clients see it, random.
    pub uuid: String,
    /// What it owns.
    pub range: BucketRange,
    /// The nodes of its replicas; the first one is to lead.
    pub nodes: Vec<NodeId>,
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done, or nothing was to do.
    Done,
    /// A node is registered under this id.
    Node(NodeId),
    /// An operation was begun.
    Operation(String),
    /// These operations were begun.
    Operations(Vec<String>),
    /// The first of the rowids asked for; the others follow it.
    Rowids {
        /// The first.
        first: i64,
    },
    /// A client has set rowids itself: read the greatest from the partitions and ask again with it.
    NeedsGreatest,
    /// The coordinator's replica of the catalog's group.
    Coordinator(ReplicaId),
}
