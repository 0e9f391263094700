//! What nodes say to each other: requests, replies and streams, encoded with postcard and carried as opaque
//! payloads by the connections between nodes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use crate::brief::{BriefAnswer, BriefRead, BriefTarget};
use crate::catalog::NodeStatus;
use crate::dependency::Dependency;
use crate::entry::Effects;
use crate::idempotency::Keyed;
pub use crate::joint::{JointPurpose, JointReply, JointRequest, RequestWork};
pub use crate::lease::{Lease, LeaseHolder};
use crate::partition_map::BucketRange;
pub use crate::pin::{PinId, PinRequest, Pinned};
pub use crate::relay::{Relayed, Relaying};
use crate::replacing::{ReplacingReply, ReplacingRequest};
use crate::schema::{DatabaseKind, PartitionType};
pub use crate::statement::{Params, Statement, StatementResult};
use crate::tries::{Repeated, TimeAndChance, Tried, TryRequest};
use crate::{Error, Hlc, NodeId, PartitionId, ReplicaId, RequestId, TransactionId};

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

/// Replies of a storage node; an error in place of one is [`Error`].
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
    /// [`Pinned`]; the snapshot is kept until the stream is cancelled.
    Pin(PinRequest),
    /// Every replicated row of a pinned snapshot: [`crate::replacing::ImagesHeader`], then [`Effects`].
    Images {
        /// The partition.
        partition: PartitionId,
        /// The snapshot.
        pin: PinId,
    },
}

/// Requests to a coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CoordinatorRequest {
    /// A storage node starts. → [`CoordinatorReply::Registered`]
    Register(Registration),
    /// A storage node reports. → [`CoordinatorReply::Heartbeat`]
    Heartbeat(Heartbeat),
    /// A storage node's report, passed on to the leader by another coordinator; it is not passed on again.
    /// → [`CoordinatorReply::Heartbeat`]
    RelayedHeartbeat(Heartbeat),
    /// Where the replicas of a partition are. → [`CoordinatorReply::Located`]
    Locate {
        /// The partition.
        partition: PartitionId,
    },
    /// A catalog command, JSON, for the leader to propose. → [`CoordinatorReply::Applied`]
    Propose {
        /// The command.
        command: Bytes,
    },
    /// A storage node is to have a replica of every partition of a database. → [`CoordinatorReply::Begun`]
    Replicate {
        /// The database.
        database: String,
        /// The node.
        node: NodeId,
    },
    /// A read index of the catalog, from its leader. → [`CoordinatorReply::Index`]
    ReadIndex,
    /// What the leader has heard of the storage nodes. → [`CoordinatorReply::Health`]
    Health,
    /// A coordinator wants to join: it becomes a learner, then a voter. → [`CoordinatorReply::Joined`]
    Join {
        /// Host that others reach it at.
        host: String,
        /// Port that others reach it at.
        port: u16,
        /// What its data directory calls itself.
        instance: String,
    },
    /// A piece of the newest snapshot of the catalog. → [`CoordinatorReply::Snapshot`]
    Snapshot {
        /// Log index that it must hold at least.
        at_least: u64,
        /// Index of the snapshot that earlier pieces came from; 0 for the first piece.
        index: u64,
        /// Where the piece begins, in bytes.
        offset: u64,
    },
    /// Give every lease on a partition back. → [`CoordinatorReply::GivenBack`]
    GiveBack {
        /// The partition.
        partition: PartitionId,
        /// Who is asked: [`LeaseHolder::process`].
        process: u64,
    },
    /// A client's request that belongs to a transaction of the receiver. → [`CoordinatorReply::Relayed`]
    Relay(Relaying),
    /// A coordinator, not the receiver, leaves for good. → [`CoordinatorReply::Left`]
    Leave {
        /// Its replica of the catalog's group.
        replica: ReplicaId,
    },
}

impl CoordinatorRequest {
    /// No request to a storage node begins like this.
    const MARK: u8 = 0xff;

    /// The request as it travels: a storage node that it reaches by mistake does not take it for one of its own.
    pub fn marked(&self) -> impl Serialize {
        (CoordinatorRequest::MARK, self)
    }

    /// Decodes what travels as [`CoordinatorRequest::marked`]; an error names the peer's fault.
    pub fn decode(bytes: &[u8]) -> Result<CoordinatorRequest, Error> {
        match decode(bytes)? {
            (CoordinatorRequest::MARK, request) => Ok(request),
            _ => Err(Error::internal("malformed message: it is not for a coordinator")),
        }
    }
}

/// Replies of a coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CoordinatorReply {
    /// The node's id, its assignments and the coordinators to report to.
    Registered {
        /// The id it has.
        node: NodeId,
        /// What it should run.
        assignments: Assignments,
        /// Addresses of all coordinators.
        coordinators: Vec<String>,
    },
    /// The report arrived.
    Heartbeat {
        /// What it should run, if that is another version than reported.
        assignments: Option<Assignments>,
        /// Addresses of all coordinators.
        coordinators: Vec<String>,
    },
    /// A partition's replicas.
    Located {
        /// By replica.
        replicas: BTreeMap<ReplicaId, PeerAddress>,
    },
    /// The command was applied; its answer is JSON.
    Applied {
        /// Log index.
        index: u64,
        /// The answer.
        answer: Bytes,
    },
    /// The ids of the operations that were begun.
    Begun(Vec<String>),
    /// A log index.
    Index(u64),
    /// Storage nodes as heard of.
    Health(Vec<NodeHealth>),
    /// The new coordinator's replica and everybody's address.
    Joined {
        /// The cluster's name.
        cluster: String,
        /// Its replica of the catalog's group.
        replica: ReplicaId,
        /// All coordinators.
        coordinators: BTreeMap<ReplicaId, PeerAddress>,
    },
    /// A piece of a snapshot.
    Snapshot {
        /// Log index of the snapshot; another than asked for means that it was replaced: begin again.
        index: u64,
        /// Size of the whole, in bytes.
        size: u64,
        /// The piece.
        bytes: Bytes,
    },
    /// The leases are given back, those included that are on their way.
    GivenBack,
    /// The answer to a client's request that was passed on.
    Relayed(Relayed),
    /// The others agree without the coordinator that leaves.
    Left,
}

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

/// Raft messages of many groups between two nodes, one frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RaftBatch {
    /// The sender's clock.
    pub hlc: Hlc,
    /// The messages.
    pub envelopes: Vec<Envelope>,
}

/// A Raft message and whom it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The group.
    pub group: PartitionId,
    /// Sender.
    pub from: ReplicaId,
    /// Receiver.
    pub to: ReplicaId,
    /// The encoded message.
    pub message: Bytes,
}

/// The outcome of a request between nodes.
pub type Reply<T> = Result<T, Error>;

/// Encodes a message.
///
/// # Panics
/// Never: every message has an encoding.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Bytes {
    Bytes::from(postcard::to_stdvec(message).expect("every message has an encoding"))
}

/// Decodes a message; an error names the peer's fault.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    postcard::from_bytes(bytes).map_err(|error| Error::internal(format!("malformed message: {error}")))
}

/// A name for a proposal out of two random halves.
#[must_use]
pub fn request_id(high: u64, low: u64) -> RequestId {
    RequestId(u128::from(high) << 64 | u128::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_one_kind_of_node_is_none_to_the_other() {
        let join = CoordinatorRequest::Join { host: "h".into(), port: 1, instance: "i".into() };
        let requests =
            [join, CoordinatorRequest::ReadIndex, CoordinatorRequest::Locate { partition: PartitionId(3) }];
        for request in requests {
            let wire = encode(&request.marked());
            assert!(decode::<StorageRequest>(&wire).is_err(), "{request:?}");
            assert!(CoordinatorRequest::decode(&wire).is_ok(), "{request:?}");
        }
        for request in [StorageRequest::Identify, StorageRequest::Replicas(vec![PartitionId(3)])] {
            assert!(CoordinatorRequest::decode(&encode(&request)).is_err(), "{request:?}");
        }
    }
}
