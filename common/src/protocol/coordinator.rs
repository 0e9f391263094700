//! What coordinators are asked, and what they answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Assignments, Heartbeat, NodeHealth, PeerAddress, Registration, Relayed, Relaying, decode};
use crate::{Error, NodeId, PartitionId, ReplicaId};

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
        /// Who is asked: [`LeaseHolder::process`](crate::lease::LeaseHolder::process).
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

#[cfg(test)]
mod tests {
    use super::super::{StorageRequest, encode};
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
