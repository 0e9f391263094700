//! Requests to storage nodes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use common::entry::Effects;
use common::protocol::{
    Assignments, BriefAnswer, BriefRead, JointReply, JointRequest, MembershipChange, PinId, PinRequest,
    Pinned, ReadRequest, ReplicaReport, Reply, RowsHeader, StatementResult, StorageReply, StorageRequest,
    StorageStream, Verdict, WriteReply, WriteRequest, decode, encode,
};
use common::replacing::{ImagesHeader, ReplacingReply, ReplacingRequest};
use common::row::RowBlock;
use common::{Error, NodeId, PartitionId, ReplicaId, Result, TransactionId};
use futures_util::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;

use super::{Effect, call, mismatched};
use crate::peer::{PeerPool, PeerStream};

/// Time on top of a request's own limit for the answer to come back: the node's own error says more than
/// ours, so the node is given the chance to send it.
const GRACE: Duration = Duration::from_millis(500);
/// Limit of requests that carry none.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests to storage nodes by address.
#[derive(Clone)]
pub struct StorageClient {
    pool: PeerPool,
}

impl StorageClient {
    /// Requests over a pool's connections.
    #[must_use]
    pub fn new(pool: PeerPool) -> StorageClient {
        StorageClient { pool }
    }

    /// The connections below.
    #[must_use]
    pub fn pool(&self) -> &PeerPool {
        &self.pool
    }

    /// Any request. `timeout` is all the time it may take; whether a lost answer is `unknown` follows from
    /// the request.
    pub async fn request(
        &self,
        address: &str,
        request: StorageRequest,
        timeout: Duration,
    ) -> Result<StorageReply> {
        let effect = effect_of(&request);
        call(&self.pool, address, &request, timeout, effect).await
    }

    /// Changes a partition.
    pub async fn write(&self, address: &str, write: WriteRequest) -> Result<WriteReply> {
        let timeout = Duration::from_millis(write.target.timeout_ms) + GRACE;
        match self.request(address, StorageRequest::Write(write), timeout).await? {
            StorageReply::Write(reply) => Ok(reply),
            _ => Err(mismatched(Effect::Writes)),
        }
    }

    /// Runs requests' parts of a transaction on a partition.
    pub async fn joint(&self, address: &str, joint: JointRequest) -> Result<JointReply> {
        let timeout = Duration::from_millis(joint.target.timeout_ms) + GRACE;
        match self.request(address, StorageRequest::Joint(joint), timeout).await? {
            StorageReply::Joint(reply) => Ok(reply),
            _ => Err(mismatched(Effect::Writes)),
        }
    }

    /// Decides a transaction (at the decider), or carries the decision out. Answers what the log says.
    pub async fn decide(
        &self,
        address: &str,
        partition: PartitionId,
        transaction: TransactionId,
        verdict: Verdict,
        decides: bool,
        timeout: Duration,
    ) -> Result<Verdict> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let decide = StorageRequest::Decide { partition, transaction, verdict, decides, timeout_ms };
        decided(self.request(address, decide, timeout + GRACE).await?)
    }

    /// Asks the decider what became of a transaction.
    pub async fn resolve(
        &self,
        address: &str,
        partition: PartitionId,
        transaction: TransactionId,
        timeout: Duration,
    ) -> Result<Verdict> {
        decided(self.request(address, StorageRequest::Resolve { partition, transaction }, timeout).await?)
    }

    /// Reads rows that fit in one reply. Answers them and the log index of the snapshot.
    pub async fn read(&self, address: &str, read: ReadRequest) -> Result<(StatementResult, u64)> {
        let timeout = Duration::from_millis(read.target.timeout_ms) + GRACE;
        match self.request(address, StorageRequest::Read(read), timeout).await? {
            StorageReply::Rows { result, index } => Ok((result, index)),
            _ => Err(mismatched(Effect::Reads)),
        }
    }

    /// Reads the newest states of partitions, where that takes a moment only. Answers what each partition does, in the
    /// order of the reads and of their partitions.
    pub async fn read_briefly(
        &self,
        address: &str,
        reads: Vec<BriefRead>,
        timeout: Duration,
    ) -> Result<Vec<Reply<BriefAnswer>>> {
        match self.request(address, StorageRequest::ReadBriefly(reads), timeout + GRACE).await? {
            StorageReply::Brief(answers) => Ok(answers),
            _ => Err(mismatched(Effect::Reads)),
        }
    }

    /// Reads any number of rows. Returns when the columns are known.
    pub async fn stream(&self, address: &str, read: ReadRequest) -> Result<RowStream> {
        let timeout = Duration::from_millis(read.target.timeout_ms) + GRACE;
        let mut blocks = self.open(address, StorageStream::Read(read)).await?;
        Ok(RowStream { header: first(&mut blocks, timeout).await?, blocks })
    }

    /// Fetches a replica's snapshot file in pieces.
    pub async fn snapshot(
        &self,
        address: &str,
        partition: PartitionId,
        at_least: u64,
    ) -> Result<SnapshotStream> {
        let pieces = self.open(address, StorageStream::Snapshot { partition, at_least }).await?;
        Ok(SnapshotStream { pieces })
    }

    /// Takes a step of replacing buckets.
    pub async fn replacing(
        &self,
        address: &str,
        step: ReplacingRequest,
        timeout: Duration,
    ) -> Result<ReplacingReply> {
        match self.request(address, StorageRequest::Replacing(step), timeout).await? {
            StorageReply::Replacing(reply) => Ok(reply),
            _ => Err(mismatched(Effect::Writes)),
        }
    }

    /// Pins a snapshot, until what comes with the answer is dropped.
    pub async fn pin(&self, address: &str, request: PinRequest) -> Result<(Pinned, PinnedSnapshot)> {
        let timeout = Duration::from_millis(request.target.timeout_ms) + GRACE;
        let mut stream = self.open(address, StorageStream::Pin(request)).await?;
        let pinned = first(&mut stream, timeout).await?;
        Ok((pinned, PinnedSnapshot { _kept: stream }))
    }

    /// Every replicated row of a pinned snapshot.
    pub async fn images(&self, address: &str, partition: PartitionId, pin: PinId) -> Result<ImageStream> {
        let mut stream = self.open(address, StorageStream::Images { partition, pin }).await?;
        Ok(ImageStream { header: first(&mut stream, CONTROL_TIMEOUT).await?, stream })
    }

    async fn open(&self, address: &str, stream: StorageStream) -> Result<PeerStream> {
        self.pool.stream(address, encode(&stream)).await.map_err(|error| Effect::Reads.error(error))
    }

    /// Brings a partition's schema to a version.
    pub async fn change_schema(
        &self,
        address: &str,
        partition: PartitionId,
        version: u64,
        statements: Vec<String>,
        timeout: Duration,
    ) -> Result<()> {
        let change = StorageRequest::ChangeSchema { partition, version, statements };
        done(self.request(address, change, timeout).await?)
    }

    /// Tells a node what to run; answers once it does.
    pub async fn assign(&self, address: &str, assignments: Assignments) -> Result<()> {
        done(self.request(address, StorageRequest::Assign(assignments), CONTROL_TIMEOUT).await?)
    }

    /// What a node knows of some of its replicas; of all if `partitions` is empty.
    pub async fn replicas(
        &self,
        address: &str,
        partitions: Vec<PartitionId>,
        timeout: Duration,
    ) -> Result<Vec<ReplicaReport>> {
        match self.request(address, StorageRequest::Replicas(partitions), timeout).await? {
            StorageReply::Replicas(reports) => Ok(reports),
            _ => Err(mismatched(Effect::Reads)),
        }
    }

    /// Changes a group's membership through its leader.
    pub async fn change_membership(
        &self,
        address: &str,
        partition: PartitionId,
        change: MembershipChange,
        configuration_index: u64,
    ) -> Result<()> {
        let change = StorageRequest::ChangeMembership { partition, change, configuration_index };
        done(self.request(address, change, CONTROL_TIMEOUT).await?)
    }

    /// Hands a group's leadership to another replica.
    pub async fn transfer_leader(&self, address: &str, partition: PartitionId, to: ReplicaId) -> Result<()> {
        done(self.request(address, StorageRequest::TransferLeader { partition, to }, CONTROL_TIMEOUT).await?)
    }

    /// Who answers at an address: the node's id, if it has one, its instance, and its cluster, if it belongs to
    /// one.
    pub async fn identify(
        &self,
        address: &str,
        timeout: Duration,
    ) -> Result<(Option<NodeId>, String, Option<String>)> {
        match self.request(address, StorageRequest::Identify, timeout).await? {
            StorageReply::Identity { node, instance, cluster } => Ok((node, instance, cluster)),
            _ => Err(mismatched(Effect::Reads)),
        }
    }
}

/// What is not known to read only counts as a write, whose lost answer is `unknown`.
fn effect_of(request: &StorageRequest) -> Effect {
    use StorageRequest::{Identify, Read, Replicas};
    if matches!(request, Read(_) | Replicas(_) | Identify) { Effect::Reads } else { Effect::Writes }
}

fn decided(reply: StorageReply) -> Result<Verdict> {
    match reply {
        StorageReply::Decided(verdict) => Ok(verdict),
        _ => Err(mismatched(Effect::Writes)),
    }
}

fn done(reply: StorageReply) -> Result<()> {
    match reply {
        StorageReply::Done => Ok(()),
        _ => Err(mismatched(Effect::Writes)),
    }
}

/// Rows on their way: the header, then blocks as the stream is polled. Dropping it ends the read.
pub struct RowStream {
    /// The columns and the snapshot's log index.
    pub header: RowsHeader,
    blocks: PeerStream,
}

impl Stream for RowStream {
    type Item = Result<RowBlock>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.blocks.poll_next_unpin(context).map(|next| {
            next.map(|block| {
                block.map_err(|error| Effect::Reads.error(error)).and_then(|block| decode(&block))
            })
        })
    }
}

/// The first message of a stream.
async fn first<T: DeserializeOwned>(stream: &mut PeerStream, timeout: Duration) -> Result<T> {
    let first = tokio::time::timeout(timeout, stream.next())
        .await
        .map_err(|_| crate::peer::PeerError::Timeout.of_read())?
        .ok_or_else(|| mismatched(Effect::Reads))?
        .map_err(|error| Effect::Reads.error(error))?;
    decode(&first)
}

/// Keeps a snapshot pinned at its node.
pub struct PinnedSnapshot {
    _kept: PeerStream,
}

/// Row images on their way.
pub struct ImageStream {
    /// The schema that they are of.
    pub header: ImagesHeader,
    stream: PeerStream,
}

impl Stream for ImageStream {
    type Item = Result<Effects>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(context).map(|next| {
            next.map(|block| {
                block.map_err(|error| Effect::Reads.error(error)).and_then(|block| decode(&block))
            })
        })
    }
}

/// The pieces of a snapshot file, in order. Without an error before its end, the file is complete.
pub struct SnapshotStream {
    pieces: PeerStream,
}

impl Stream for SnapshotStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces
            .poll_next_unpin(context)
            .map(|next| next.map(|piece| piece.map_err(|error| Effect::Reads.error(error))))
    }
}
