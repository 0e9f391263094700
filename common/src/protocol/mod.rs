//! What nodes say to each other: requests, replies and streams, encoded with postcard and carried as opaque
//! payloads by the connections between nodes.

mod coordinator;
mod reports;
mod storage;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::coordinator::{CoordinatorReply, CoordinatorRequest};
pub use self::reports::{
    Assignment, Assignments, Heartbeat, NodeHealth, PeerAddress, Registration, ReplicaReport,
};
pub use self::storage::{
    MembershipChange, PartitionTarget, Proof, ReadLevel, ReadRequest, RowsHeader, SchemaStep, StorageReply,
    StorageRequest, StorageStream, Verdict, WorkItem, WriteReply, WriteRequest,
};
pub use crate::brief::{BriefAnswer, BriefRead, BriefTarget};
pub use crate::joint::{JointPurpose, JointReply, JointRequest, RequestWork};
pub use crate::lease::{Lease, LeaseHolder};
pub use crate::pin::{PinId, PinRequest, Pinned};
pub use crate::relay::{Relayed, Relaying};
pub use crate::statement::{Params, Statement, StatementResult};
use crate::{Error, Hlc, PartitionId, ReplicaId, RequestId};

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
