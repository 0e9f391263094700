//! What the node answers to its peers: coordinators' requests, other nodes' Raft messages, streams.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::limits::ROW_BLOCK;
use common::protocol::{
    JointRequest, MembershipChange, PartitionTarget, RaftBatch, Reply, StorageReply, StorageRequest,
    StorageStream, Verdict, WorkItem, WriteRequest, decode, encode,
};
use common::replacing::ReplacingRequest;
use common::tries::TryRequest;
use common::{Error, ErrorCode, NodeId, Outcome, PartitionId, Result};
use consensus_runtime::{MembershipError, MembershipStep, Role, Runtime};
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use polylite_client::peer::{Caller, PeerClock, PeerIdentity, PeerService, StreamSink};

use crate::brief_reads;
use crate::clock::Clock;
use crate::disk::DiskReserve;
use crate::registry::Registry;
use crate::replica::machine::{self, Job, not_leader};
use crate::replica::{Replica, snapshots};
use crate::transport;

/// Limit of requests that carry none.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
/// A schema change may read every row, to build an index.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(600);

/// The service. See the module.
pub struct Service {
    registry: Arc<Registry>,
    runtime: Runtime,
    clock: Clock,
    disk: DiskReserve,
    instance: String,
    process: u64,
    node: RwLock<Option<NodeId>>,
}

impl Service {
    /// A service over what the registry runs. `process` is random.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        runtime: Runtime,
        clock: Clock,
        disk: DiskReserve,
        instance: String,
        process: u64,
        node: Option<NodeId>,
    ) -> Service {
        Service { registry, runtime, clock, disk, instance, process, node: RwLock::new(node) }
    }

    /// What the node runs.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The node's id, once a coordinator has confirmed it.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.node.read().clone()
    }

    /// A coordinator has confirmed the node's id.
    pub fn set_node(&self, node: NodeId) {
        *self.node.write() = Some(node);
    }

    /// Answers a request. Work that waits in a partition's queue is given up when its caller goes away; what
    /// ends a transaction is done all the same.
    pub async fn answer(&self, request: StorageRequest, caller: &Caller) -> Result<StorageReply> {
        self.count(&request);
        match request {
            StorageRequest::Write(write) => {
                self.disk.check()?;
                let target = write.target.clone();
                self.run(&target, Job::Write(write), caller).await
            }
            StorageRequest::Decide { partition, transaction, verdict, decides, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms);
                let decide = Job::Decide { transaction, verdict, decides };
                self.submit(partition, decide, timeout, Caller::local()).await
            }
            StorageRequest::DecideKeyed {
                partition,
                transaction,
                participants,
                keyed,
                prepared_at,
                timeout_ms,
            } => {
                let timeout = Duration::from_millis(timeout_ms);
                let decide = Job::DecideKeyed { transaction, participants, keyed, prepared_at };
                self.submit(partition, decide, timeout, Caller::local()).await
            }
            StorageRequest::Resolve { partition, transaction } => {
                let job = Job::Decide { transaction, verdict: Verdict::ABORT, decides: true };
                self.submit(partition, job, CONTROL_TIMEOUT, Caller::local()).await
            }
            StorageRequest::ReadBriefly(reads) => {
                brief_reads::answer(&self.registry, reads).await.map(StorageReply::Brief)
            }
            StorageRequest::Read(read) => {
                let replica = self.registry.get(read.target.partition)?;
                // A read that is dropped ends its statement.
                tokio::select! {
                    read = replica.read(read) => {
                        read.map(|(result, index)| StorageReply::Rows { result, index })
                    }
                    () = caller.gone() => {
                        Err(Error::new(ErrorCode::Unavailable, "the caller has gone"))
                    }
                }
            }
            StorageRequest::Unchanged { target, since, dependencies, holder } => {
                let replica = self.registry.get(target.partition)?;
                let (unchanged, index, lease) =
                    replica.is_unchanged(target, since, &dependencies, &holder).await?;
                Ok(StorageReply::Unchanged { unchanged, index, lease })
            }
            StorageRequest::ChangeSchema { partition, version, statements } => {
                let change = Job::Schema { version, statements };
                self.submit(partition, change, SCHEMA_TIMEOUT, Caller::local()).await
            }
            StorageRequest::Assign(assignments) => {
                self.registry.obey(assignments).await?;
                Ok(StorageReply::Done)
            }
            StorageRequest::Replicas(partitions) => {
                Ok(StorageReply::Replicas(self.registry.reports(&partitions)))
            }
            StorageRequest::ChangeMembership { partition, change, configuration_index } => {
                self.change_membership(partition, change, configuration_index).await
            }
            StorageRequest::TransferLeader { partition, to } => {
                let replica = self.registry.get(partition)?;
                let status = replica.group().status();
                match status.leader {
                    // Nobody leads yet: the one that is meant to stands for election.
                    None if to == status.id => replica.group().campaign(),
                    _ if status.role == Role::Leader => replica.group().transfer_leader(to),
                    leader => return Err(not_leader(leader)),
                }
                Ok(StorageReply::Done)
            }
            StorageRequest::Try(request) => {
                let target = request.write.target.clone();
                self.run(&target, Job::Try(request), caller).await
            }
            StorageRequest::CarryOut { partition, transaction, at, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms);
                self.submit(partition, Job::CarryOut { transaction, at }, timeout, Caller::local()).await
            }
            StorageRequest::Joint(joint) => {
                self.disk.check()?;
                let target = joint.target.clone();
                self.run(&target, Job::Joint(joint), caller).await
            }
            StorageRequest::Unlock { partition, transaction } => {
                let unlock = Job::Unlock { transaction };
                self.submit(partition, unlock, CONTROL_TIMEOUT, Caller::local()).await
            }
            StorageRequest::Replacing(step) => {
                let (ReplacingRequest::Own { partition, .. }
                | ReplacingRequest::ChangedRows { partition, .. }
                | ReplacingRequest::RowsByKey { partition, .. }) = step;
                let replica = self.registry.get(partition)?;
                replica.replacing(step).await.map(StorageReply::Replacing)
            }
            StorageRequest::Identify => {
                let (instance, cluster) = (self.instance.clone(), self.registry.cluster());
                Ok(StorageReply::Identity { node: self.node(), instance, cluster })
            }
        }
    }

    /// Notes what clients ask of which partition, so that one that is asked often can be found. Brief reads are noted
    /// where they are told apart.
    fn count(&self, request: &StorageRequest) {
        let target = match request {
            StorageRequest::Write(WriteRequest { work, .. })
                if matches!(work.first(), Some(WorkItem::Adopted(_))) =>
            {
                return;
            }
            StorageRequest::Write(WriteRequest { target, .. })
            | StorageRequest::Joint(JointRequest { target, .. })
            | StorageRequest::Try(TryRequest { write: WriteRequest { target, .. }, .. }) => target,
            StorageRequest::Read(read) => &read.target,
            _ => return,
        };
        if let Ok(replica) = self.registry.get(target.partition) {
            replica.count_request();
        }
    }

    async fn run(&self, target: &PartitionTarget, job: Job, caller: &Caller) -> Result<StorageReply> {
        self.submit(target.partition, job, Duration::from_millis(target.timeout_ms), caller.clone()).await
    }

    async fn submit(
        &self,
        partition: PartitionId,
        job: Job,
        timeout: Duration,
        caller: Caller,
    ) -> Result<StorageReply> {
        match self.registry.get(partition)?.submit(job, timeout, caller).await? {
            machine::Reply::Written(reply) => Ok(StorageReply::Write(reply)),
            machine::Reply::Joint(reply) => Ok(StorageReply::Joint(reply)),
            machine::Reply::Decided(verdict) => Ok(StorageReply::Decided(verdict)),
            machine::Reply::Tried(tried) => Ok(StorageReply::Tried(*tried)),
            machine::Reply::Done => Ok(StorageReply::Done),
        }
    }

    async fn change_membership(
        &self,
        partition: PartitionId,
        change: MembershipChange,
        configuration_index: u64,
    ) -> Result<StorageReply> {
        let step = match change {
            MembershipChange::AddLearner(id) => MembershipStep::AddLearner(id),
            MembershipChange::Promote(id) => MembershipStep::Promote(id),
            MembershipChange::Remove(id) => MembershipStep::Remove(id),
        };
        let replica = self.registry.get(partition)?;
        let change = replica.group().change_membership(step.into(), configuration_index);
        let changed = tokio::time::timeout(CONTROL_TIMEOUT, change).await;
        match changed.map_err(|_| no_quorum_unknown())? {
            Ok(at) => {
                let applied = replica.published().wait_for(at.index);
                tokio::time::timeout(CONTROL_TIMEOUT, applied).await.map_err(|_| no_quorum_unknown())?;
                Ok(StorageReply::Done)
            }
            Err(MembershipError::NotLeader { leader }) => Err(not_leader(leader)),
            Err(error @ MembershipError::Busy) => Err(Error::new(ErrorCode::Unavailable, error.to_string())),
            Err(MembershipError::Changed { current }) => {
                let text = "the members have changed since the change was planned";
                let mut error = Error::new(ErrorCode::SerializationFailure, text);
                error.version = Some(current);
                Err(error)
            }
            Err(error @ MembershipError::Invalid(_)) => Err(Error::bad_request(error.to_string())),
        }
    }

    async fn feed(&self, payload: Bytes, sink: StreamSink) {
        match decode::<StorageStream>(&payload) {
            Ok(StorageStream::Read(read)) => match self.registry.get(read.target.partition) {
                Ok(replica) => {
                    replica.count_request();
                    replica.stream(read, sink).await;
                }
                Err(error) => sink.fail(encode(&error)).await,
            },
            Ok(StorageStream::Snapshot { partition, at_least }) => match self.registry.get(partition) {
                Ok(replica) => send_snapshot(&replica, at_least, sink).await,
                Err(error) => sink.fail(encode(&error)).await,
            },
            Ok(StorageStream::Pin(request)) => match self.registry.get(request.target.partition) {
                Ok(replica) => replica.pin(request, sink).await,
                Err(error) => sink.fail(encode(&error)).await,
            },
            Ok(StorageStream::Images { partition, pin }) => match self.registry.get(partition) {
                Ok(replica) => replica.images(pin, sink).await,
                Err(error) => sink.fail(encode(&error)).await,
            },
            Err(error) => sink.fail(encode(&error)).await,
        }
    }
}

fn no_quorum_unknown() -> Error {
    Error::new(ErrorCode::NoQuorum, "too few replicas of the partition answered in time")
        .with_outcome(Outcome::Unknown)
}

/// Sends a snapshot file in pieces, read on a thread that may block.
async fn send_snapshot(replica: &Replica, at_least: u64, sink: StreamSink) {
    if replica.published().readers().is_none() {
        let error = Error::new(ErrorCode::Unavailable, "the replica has no sound file itself");
        return sink.fail(encode(&error)).await;
    }
    let (dir, generation) = (replica.dir().clone(), replica.published().generation());
    let upkeep = replica.upkeep().clone();
    let (pieces, mut waiting) = tokio::sync::mpsc::channel(4);
    let reading = tokio::task::spawn_blocking(move || -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| Error::new(ErrorCode::Unavailable, error.to_string());
        let outgoing =
            snapshots::outgoing(&dir, generation, at_least, &upkeep).map_err(|error| failed(&error))?;
        let mut file = std::fs::File::open(outgoing.path).map_err(|error| failed(&error))?;
        loop {
            let mut piece = Vec::with_capacity(ROW_BLOCK);
            let limit = ROW_BLOCK as u64;
            let read = file.by_ref().take(limit).read_to_end(&mut piece).map_err(|error| failed(&error))?;
            if read == 0 || pieces.blocking_send(Bytes::from(piece)).is_err() {
                return Ok(());
            }
        }
    });
    while let Some(piece) = waiting.recv().await {
        if sink.send(piece).await.is_err() {
            return;
        }
    }
    match reading.await {
        Ok(Ok(())) => sink.finish(),
        Ok(Err(error)) => sink.fail(encode(&error)).await,
        Err(panic) => sink.fail(encode(&Error::internal(panic.to_string()))).await,
    }
}

impl PeerService for Service {
    fn call(self: Arc<Self>, from: Caller, payload: Bytes) -> BoxFuture<'static, Bytes> {
        Box::pin(async move {
            let reply: Reply<StorageReply> = match decode(&payload) {
                Ok(request) => self.answer(request, &from).await,
                Err(error) => Err(error),
            };
            encode(&reply)
        })
    }

    fn stream(self: Arc<Self>, payload: Bytes, sink: StreamSink) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.feed(payload, sink).await })
    }

    fn one_way(&self, payload: Bytes) {
        match decode::<RaftBatch>(&payload) {
            Ok(batch) => transport::deliver(&self.runtime, &self.clock, batch),
            Err(error) => tracing::warn!(%error, "a peer sent something that is no batch of messages"),
        }
    }

    fn identity(&self) -> PeerIdentity {
        let node = self.node();
        PeerIdentity::new(node.as_ref().map_or("", NodeId::as_str), self.process)
    }

    fn clock(&self) -> Arc<dyn PeerClock> {
        Arc::new(self.clock.clone())
    }
}
