//! What operations on partitions ask of the cluster, so that the same code runs against simulated ones.

use std::sync::Arc;
use std::time::Duration;

use common::catalog::{Catalog, Database};
use common::entry::Effects;
use common::protocol::{MembershipChange, PinId, PinRequest, Pinned, Verdict, WriteRequest};
use common::replacing::{ImagesHeader, ReplacingReply, ReplacingRequest};
use common::{Error, PartitionId, ReplicaId, Result, TransactionId};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use query::relocation::Relocation;

use super::Operations;
use crate::catalog::{Answer, Command};
use crate::health::PartitionFacts;
use crate::placement::Measured;

/// How long a decider takes to answer, at most.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Row images on their way.
pub type Images = BoxStream<'static, Result<Effects>>;

/// The catalog and the storage nodes. Time is the one of `tokio`, which a simulation drives.
pub trait Cluster: Clone + Send + Sync + 'static {
    /// Keeps a snapshot pinned until it is dropped.
    type Kept: Send;

    /// The catalog as it is known here.
    fn view(&self) -> Arc<Catalog>;

    /// The catalog, no older than this call.
    fn confirmed(&self) -> impl Future<Output = Result<Arc<Catalog>>> + Send;

    /// Has the catalog changed.
    fn propose(&self, command: Command) -> impl Future<Output = Result<Answer>> + Send;

    /// Who leads a partition, as far as was heard.
    fn presumed_leader(&self, partition: PartitionId) -> Option<ReplicaId>;

    /// How a partition's replicas run now.
    fn facts(&self, partition: PartitionId) -> impl Future<Output = PartitionFacts> + Send;

    /// Where rows of a column group belong in a database; finding out takes a while.
    fn relocation(
        &self,
        database: Arc<Database>,
        group: usize,
    ) -> impl Future<Output = Result<Relocation>> + Send;

    /// What partitions hold and do.
    fn measured(&self) -> impl Future<Output = Measured> + Send;

    /// Has a node take a step of replacing buckets.
    fn replacing(
        &self,
        address: &str,
        step: ReplacingRequest,
        timeout: Duration,
    ) -> impl Future<Output = Result<ReplacingReply>> + Send;

    /// Pins a snapshot.
    fn pin(
        &self,
        address: &str,
        request: PinRequest,
    ) -> impl Future<Output = Result<(Pinned, Self::Kept)>> + Send;

    /// All rows of a pinned snapshot, and the schema that they are of.
    fn images(
        &self,
        address: &str,
        partition: PartitionId,
        pin: PinId,
    ) -> impl Future<Output = Result<(ImagesHeader, Images)>> + Send;

    /// Writes to a partition.
    fn write(&self, address: &str, write: WriteRequest) -> impl Future<Output = Result<()>> + Send;

    /// Asks the decider what became of a transaction; without a decision it decides to abort.
    fn resolve(
        &self,
        address: &str,
        decider: PartitionId,
        transaction: TransactionId,
    ) -> impl Future<Output = Result<Verdict>> + Send;

    /// Brings a partition's schema to a version.
    fn change_schema(
        &self,
        address: &str,
        partition: PartitionId,
        version: u64,
        statements: Vec<String>,
        timeout: Duration,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Changes a group's members through its leader.
    fn change_membership(
        &self,
        address: &str,
        partition: PartitionId,
        change: MembershipChange,
        configuration_index: u64,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Hands a group's leadership to another replica.
    fn transfer_leader(
        &self,
        address: &str,
        partition: PartitionId,
        to: ReplicaId,
    ) -> impl Future<Output = Result<()>> + Send;
}

impl Cluster for Operations {
    type Kept = polylite_client::node::PinnedSnapshot;

    fn view(&self) -> Arc<Catalog> {
        self.catalog.view()
    }

    async fn confirmed(&self) -> Result<Arc<Catalog>> {
        self.catalog.confirmed().await
    }

    async fn propose(&self, command: Command) -> Result<Answer> {
        self.catalog.propose(command).await
    }

    fn presumed_leader(&self, partition: PartitionId) -> Option<ReplicaId> {
        self.health.leaders().get(partition)
    }

    async fn facts(&self, partition: PartitionId) -> PartitionFacts {
        self.health.ask(&[partition]).await.remove(&partition).unwrap_or_default()
    }

    async fn relocation(&self, database: Arc<Database>, group: usize) -> Result<Relocation> {
        let made = tokio::task::spawn_blocking(move || Relocation::new(database, group)).await;
        made.map_err(|panic| Error::internal(panic.to_string()))?
    }

    async fn measured(&self) -> Measured {
        self.health.measured().await
    }

    async fn replacing(
        &self,
        address: &str,
        step: ReplacingRequest,
        timeout: Duration,
    ) -> Result<ReplacingReply> {
        self.storage.replacing(address, step, timeout).await
    }

    async fn pin(&self, address: &str, request: PinRequest) -> Result<(Pinned, Self::Kept)> {
        self.storage.pin(address, request).await
    }

    async fn images(
        &self,
        address: &str,
        partition: PartitionId,
        pin: PinId,
    ) -> Result<(ImagesHeader, Images)> {
        let images = self.storage.images(address, partition, pin).await?;
        Ok((images.header.clone(), images.boxed()))
    }

    async fn write(&self, address: &str, write: WriteRequest) -> Result<()> {
        self.storage.write(address, write).await.map(drop)
    }

    async fn resolve(
        &self,
        address: &str,
        decider: PartitionId,
        transaction: TransactionId,
    ) -> Result<Verdict> {
        self.storage.resolve(address, decider, transaction, RESOLVE_TIMEOUT).await
    }

    async fn change_schema(
        &self,
        address: &str,
        partition: PartitionId,
        version: u64,
        statements: Vec<String>,
        timeout: Duration,
    ) -> Result<()> {
        self.storage.change_schema(address, partition, version, statements, timeout).await
    }

    async fn change_membership(
        &self,
        address: &str,
        partition: PartitionId,
        change: MembershipChange,
        configuration_index: u64,
    ) -> Result<()> {
        self.storage.change_membership(address, partition, change, configuration_index).await
    }

    async fn transfer_leader(&self, address: &str, partition: PartitionId, to: ReplicaId) -> Result<()> {
        self.storage.transfer_leader(address, partition, to).await
    }
}
