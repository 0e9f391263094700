//! Requests to coordinators.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use common::protocol::{
    Assignments, CoordinatorReply, CoordinatorRequest, Heartbeat, LeaseHolder, NodeHealth, PeerAddress,
    Registration,
};
use common::{NodeId, PartitionId, ReplicaId, Result};

use super::{Effect, call, mismatched};
use crate::peer::PeerPool;

/// Requests to coordinators by address. Each takes at most the time it is given.
#[derive(Clone)]
pub struct CoordinatorClient {
    pool: PeerPool,
}

impl CoordinatorClient {
    /// Requests over a pool's connections.
    #[must_use]
    pub fn new(pool: PeerPool) -> CoordinatorClient {
        CoordinatorClient { pool }
    }

    /// The connections below.
    #[must_use]
    pub fn pool(&self) -> &PeerPool {
        &self.pool
    }

    /// Any request; whether a lost answer is `unknown` follows from it.
    pub async fn request(
        &self,
        address: &str,
        request: CoordinatorRequest,
        timeout: Duration,
    ) -> Result<CoordinatorReply> {
        let effect = effect_of(&request);
        call(&self.pool, address, &request.marked(), timeout, effect).await
    }

    /// Registers a storage node. Answers its id, what it should run, and the coordinators' addresses.
    pub async fn register(
        &self,
        address: &str,
        registration: Registration,
        timeout: Duration,
    ) -> Result<(NodeId, Assignments, Vec<String>)> {
        match self.request(address, CoordinatorRequest::Register(registration), timeout).await? {
            CoordinatorReply::Registered { node, assignments, coordinators } => {
                Ok((node, assignments, coordinators))
            }
            _ => Err(mismatched(Effect::Writes)),
        }
    }

    /// Asks for a replica of every partition of a database on a storage node. Answers the operations that make
    /// them, none if the node has them all.
    pub async fn replicate(
        &self,
        address: &str,
        database: String,
        node: NodeId,
        timeout: Duration,
    ) -> Result<Vec<String>> {
        match self.request(address, CoordinatorRequest::Replicate { database, node }, timeout).await? {
            CoordinatorReply::Begun(operations) => Ok(operations),
            _ => Err(mismatched(Effect::Writes)),
        }
    }

    /// Reports. Answers new assignments, if there are, and the coordinators' addresses.
    pub async fn heartbeat(
        &self,
        address: &str,
        heartbeat: Heartbeat,
        timeout: Duration,
    ) -> Result<(Option<Assignments>, Vec<String>)> {
        match self.request(address, CoordinatorRequest::Heartbeat(heartbeat), timeout).await? {
            CoordinatorReply::Heartbeat { assignments, coordinators } => Ok((assignments, coordinators)),
            _ => Err(mismatched(Effect::Reads)),
        }
    }

    /// Where the replicas of a partition are.
    pub async fn locate(
        &self,
        address: &str,
        partition: PartitionId,
        timeout: Duration,
    ) -> Result<BTreeMap<ReplicaId, PeerAddress>> {
        match self.request(address, CoordinatorRequest::Locate { partition }, timeout).await? {
            CoordinatorReply::Located { replicas } => Ok(replicas),
            _ => Err(mismatched(Effect::Reads)),
        }
    }

    /// Has the leader propose a catalog command (JSON). Answers the log index and the answer (JSON).
    pub async fn propose(&self, address: &str, command: Bytes, timeout: Duration) -> Result<(u64, Bytes)> {
        match self.request(address, CoordinatorRequest::Propose { command }, timeout).await? {
            CoordinatorReply::Applied { index, answer } => Ok((index, answer)),
            _ => Err(mismatched(Effect::Writes)),
        }
    }

    /// A read index of the catalog, from its leader.
    pub async fn read_index(&self, address: &str, timeout: Duration) -> Result<u64> {
        match self.request(address, CoordinatorRequest::ReadIndex, timeout).await? {
            CoordinatorReply::Index(index) => Ok(index),
            _ => Err(mismatched(Effect::Reads)),
        }
    }

    /// What the catalog's leader has heard of the storage nodes.
    pub async fn health(&self, address: &str, timeout: Duration) -> Result<Vec<NodeHealth>> {
        match self.request(address, CoordinatorRequest::Health, timeout).await? {
            CoordinatorReply::Health(nodes) => Ok(nodes),
            _ => Err(mismatched(Effect::Reads)),
        }
    }

    /// Has a holder give back its leases on a partition.
    pub async fn give_back(
        &self,
        holder: &LeaseHolder,
        partition: PartitionId,
        timeout: Duration,
    ) -> Result<()> {
        let request = CoordinatorRequest::GiveBack { partition, process: holder.process };
        match self.request(&holder.address, request, timeout).await? {
            CoordinatorReply::GivenBack => Ok(()),
            _ => Err(mismatched(Effect::Reads)),
        }
    }

    /// Joins a coordinator. Answers its replica of the catalog's group, and all coordinators.
    pub async fn join(
        &self,
        address: &str,
        host: String,
        port: u16,
        instance: String,
        timeout: Duration,
    ) -> Result<(ReplicaId, BTreeMap<ReplicaId, PeerAddress>)> {
        match self.request(address, CoordinatorRequest::Join { host, port, instance }, timeout).await? {
            CoordinatorReply::Joined { replica, coordinators, .. } => Ok((replica, coordinators)),
            _ => Err(mismatched(Effect::Writes)),
        }
    }
}

/// What is not known to read only counts as a write, whose lost answer is `unknown`. A report may be
/// repeated at will.
fn effect_of(request: &CoordinatorRequest) -> Effect {
    use CoordinatorRequest::{GiveBack, Health, Heartbeat, Locate, ReadIndex, RelayedHeartbeat, Snapshot};
    let reads = matches!(
        request,
        Heartbeat(_)
            | RelayedHeartbeat(_)
            | Locate { .. }
            | ReadIndex
            | Health
            | Snapshot { .. }
            | GiveBack { .. }
    );
    if reads { Effect::Reads } else { Effect::Writes }
}
