//! What storage nodes are asked, and what they answer.

use serde::{Deserialize, Serialize};

use super::{
    Assignments, BriefAnswer, BriefRead, JointReply, JointRequest, Lease, LeaseHolder, PinId, PinRequest,
    ReplicaReport, Reply, Statement, StatementResult,
};
use crate::dependency::Dependency;
use crate::entry::Effects;
use crate::idempotency::Keyed;
use crate::replacing::{ReplacingReply, ReplacingRequest};
use crate::tries::{Repeated, TimeAndChance, Tried, TryRequest};
use crate::{Hlc, NodeId, PartitionId, ReplicaId, TransactionId};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadLevel {
    /// No acknowledged write is missed.
    #[default]
    Linearizable,
    /// From the replica that believes it leads.
    Leader,
    /// From any replica.
    Stale,
    /// From any replica that shows at least what was acknowledged so many milliseconds ago.
    StaleWithin(u64),
}

/// What every request to a partition carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionTarget {
    /// The partition.
    pub partition: PartitionId,
    /// Epoch of the bucket that the request was planned on.
    pub epoch: u64,
    /// Schema version that it was planned on.
    pub schema_version: u64,
    /// How long the sender waits, in milliseconds from the request's arrival.
    pub timeout_ms: u64,
}

/// A piece of a write, run in order with the others of its request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WorkItem {
    /// The client's statement, or one made for it.
    Statement(Statement),
    /// Row images. Where a change carries its old row, the row must still be that, else `serialization_failure`.
    Effects(Effects),
    /// Rows that the request was computed from: they must still be what they were, else `serialization_failure`.
    Proof(Proof),
    /// The request's idempotency key, always the first item. Where something is kept under it already, that is
    /// the only result (one row, one blob: [`crate::idempotency::Kept`]), and the other items are not run.
    Key(Keyed),
    /// Work that was tried before, within a transaction that commits now: it must answer and change the same as it
    /// did then, else `serialization_failure`.
    Repeated(Repeated),
    /// Work of such a transaction that was taken back: it is done, so that what was seen is found to be true, and
    /// undone.
    Undone(Vec<WorkItem>),
    /// Rows of another partition, to be here as they are there: what is inserted takes the place of what has its
    /// key, and what is deleted need not be here.
    Adopted(Effects),
    /// The schema changes. The items behind it find the tables as they are then.
    Schema(SchemaStep),
}

/// A change of a partition's schema, between changes of its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaStep {
    /// Version that the schema has once the request is done: the same in each of its steps.
    pub version: u64,
    /// DDL, run in order.
    pub statements: Vec<String>,
}

/// What a read found, so that the partition can tell later whether it would find the same again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// The read.
    pub statement: Statement,
    /// What [`crate::digest::RowsDigest`] makes of its rows.
    pub digest: u128,
    /// Log index of the snapshot that was read. While nothing was committed since, the read need not be repeated.
    pub index: u64,
    /// What time and chance were, if the read may have asked for them.
    pub pinned: Option<TimeAndChance>,
}

/// All of a request's work on one partition: all or nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteRequest {
    /// Where.
    pub target: PartitionTarget,
    /// The work.
    pub work: Vec<WorkItem>,
    /// Most rows that a statement answers.
    pub max_rows: u32,
}

/// Answer to a write or a prepare: one result per [`WorkItem`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteReply {
    /// Results in order.
    pub results: Vec<StatementResult>,
    /// Log index at which the work is in the partition's state (a bookmark).
    pub index: u64,
    /// Clock of the entry that holds the work; zero where there is none. A transaction commits later than each
    /// of its prepares.
    pub hlc: Hlc,
}

/// A read of one partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// Where.
    pub target: PartitionTarget,
    /// How fresh.
    pub level: ReadLevel,
    /// The state must be at least this log index (a bookmark); 0 for none.
    pub at_least: u64,
    /// What to read.
    pub statement: Statement,
    /// Most rows answered; `None` for a stream without limit.
    pub max_rows: Option<u32>,
    /// The pinned snapshot to read; freshness was its matter then.
    pub pin: Option<PinId>,
}

/// First message of a stream of rows; [`crate::row::RowBlock`]s follow, each a message of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowsHeader {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Declared types of the columns.
    pub types: Vec<String>,
    /// Log index of the snapshot that is read.
    pub index: u64,
}

/// What becomes of a transaction over several partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it commits.
    pub commit: bool,
    /// When: the same moment on all partitions, later than each prepare. Of no meaning for an abort, and zero where
    /// the partition has forgotten.
    pub at: Hlc,
}

impl Verdict {
    /// It does not commit.
    pub const ABORT: Verdict = Verdict { commit: false, at: Hlc(0) };
}

/// A change of a group's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MembershipChange {
    /// A replica that catches up and does not vote.
    AddLearner(ReplicaId),
    /// A learner becomes a voter.
    Promote(ReplicaId),
    /// A replica leaves.
    Remove(ReplicaId),
}

/// Requests to a storage node that have one reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StorageRequest {
    /// Change one partition. → [`StorageReply::Write`]
    Write(WriteRequest),
    /// Commit or abort. → [`StorageReply::Decided`], with what the log says.
    Decide {
        /// The participant.
        partition: PartitionId,
        /// The transaction.
        transaction: TransactionId,
        /// To commit or not; to the decider with the greatest clock of the prepares, to the others with when it
        /// committed.
        verdict: Verdict,
        /// Sent to the decider: this is the decision, the first wins. Else the decision is carried out.
        decides: bool,
        /// How long the sender waits.
        timeout_ms: u64,
    },
    /// Asks the decider what became of a transaction; without a decision it decides to abort.
    /// → [`StorageReply::Decided`]
    Resolve {
        /// The decider.
        partition: PartitionId,
        /// The transaction.
        transaction: TransactionId,
    },
    /// Read rows, at most as many as fit in one reply. → [`StorageReply::Rows`]
    Read(ReadRequest),
    /// Bring the partition's schema to a version. → [`StorageReply::Done`]
    ChangeSchema {
        /// The partition.
        partition: PartitionId,
        /// Version afterwards.
        version: u64,
        /// DDL.
        statements: Vec<String>,
    },
    /// What the node should run. → [`StorageReply::Done`] once it does.
    Assign(Assignments),
    /// What the node knows of some of its replicas; empty: of all. → [`StorageReply::Replicas`]
    Replicas(Vec<PartitionId>),
    /// Change a group's membership, through its leader. → [`StorageReply::Done`]
    ChangeMembership {
        /// The group.
        partition: PartitionId,
        /// The change.
        change: MembershipChange,
        /// Log index of the configuration that the change was planned on.
        configuration_index: u64,
    },
    /// Hand leadership to another replica; while nobody leads, the node's own replica stands for election if it
    /// is the one named. → [`StorageReply::Done`]
    TransferLeader {
        /// The group.
        partition: PartitionId,
        /// The replica.
        to: ReplicaId,
    },
    /// Who are you. → [`StorageReply::Identity`]
    Identify,
    /// Commit, at the decider, a transaction of requests with idempotency keys: their answers are kept together
    /// with the decision. Aborts if one is kept already. → [`StorageReply::Decided`], with what the log says.
    DecideKeyed {
        /// The decider.
        partition: PartitionId,
        /// The transaction.
        transaction: TransactionId,
        /// Who carries the decision out.
        participants: Vec<PartitionId>,
        /// The keys and the answers.
        keyed: Vec<Keyed>,
        /// The greatest clock of the prepares.
        prepared_at: Hlc,
        /// How long the sender waits.
        timeout_ms: u64,
    },
    /// Has what an answer depends on stayed in a partition as it was at a log index? Confirmed as a linearizable read is, by its
    /// leader. → [`StorageReply::Unchanged`]
    Unchanged {
        /// The partition.
        target: PartitionTarget,
        /// The log index.
        since: u64,
        /// What the answer depends on; nothing stands for the whole state.
        dependencies: Vec<Dependency>,
        /// Who would like a lease on the partition.
        holder: LeaseHolder,
    },
    /// Try a part of a transaction that has not ended. → [`StorageReply::Tried`]
    Try(TryRequest),
    /// Give a transaction's lock back. → [`StorageReply::Done`]
    Unlock {
        /// The partition.
        partition: PartitionId,
        /// The transaction.
        transaction: u128,
    },
    /// Reads of one request or of several. → [`StorageReply::Brief`]
    ReadBriefly(Vec<BriefRead>),
    /// A step of replacing buckets by others. → [`StorageReply::Replacing`]
    Replacing(ReplacingRequest),
    /// Prepare a part of a transaction that several requests share, or commit it. → [`StorageReply::Joint`]
    Joint(JointRequest),
    /// A transaction has committed. → [`StorageReply::Decided`] as soon as the partition's leader knows, and no read
    /// misses it any more; its log may have to hear of it once more.
    CarryOut {
        /// The participant.
        partition: PartitionId,
        /// The transaction.
        transaction: TransactionId,
        /// When it committed.
        at: Hlc,
        /// How long the sender waits.
        timeout_ms: u64,
    },
}

/// Replies of a storage node; an error in place of one is [`Error`](crate::Error).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StorageReply {
    /// The work is done, or prepared.
    Write(WriteReply),
    /// What the log says of a transaction.
    Decided(Verdict),
    /// Rows of a read.
    Rows {
        /// The rows.
        result: StatementResult,
        /// Log index of the snapshot that was read.
        index: u64,
    },
    /// Replicas.
    Replicas(Vec<ReplicaReport>),
    /// The node's name and instance.
    Identity {
        /// Its id, if it has registered.
        node: Option<NodeId>,
        /// What its data directory calls itself.
        instance: String,
        /// The cluster that it belongs to, if it has belonged to one.
        cluster: Option<String>,
    },
    /// Done.
    Done,
    /// Whether a state has stayed as it was.
    Unchanged {
        /// Nothing has changed it, and nothing is prepared that may.
        unchanged: bool,
        /// Log index up to which that holds.
        index: u64,
        /// A lease on the partition, if one is granted: see [`crate::lease`].
        lease: Option<Lease>,
    },
    /// What the work would do.
    Tried(Tried),
    /// What each partition answers to each read, in the order of the reads and of their partitions.
    Brief(Vec<Reply<BriefAnswer>>),
    /// What became of the step.
    Replacing(ReplacingReply),
    /// The part is prepared, or committed, or a request in it is refused.
    Joint(JointReply),
}

/// Requests to a storage node that are answered by a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StorageStream {
    /// [`RowsHeader`], then [`crate::row::RowBlock`]s.
    Read(ReadRequest),
    /// The replica's newest snapshot file as raw pieces, for installation at another node.
    Snapshot {
        /// The partition.
        partition: PartitionId,
        /// The snapshot must hold at least this index.
        at_least: u64,
    },
    /// [`Pinned`](crate::pin::Pinned); the snapshot is kept until the stream is cancelled.
    Pin(PinRequest),
    /// Every replicated row of a pinned snapshot: [`crate::replacing::ImagesHeader`], then [`Effects`].
    Images {
        /// The partition.
        partition: PartitionId,
        /// The snapshot.
        pin: PinId,
    },
}
