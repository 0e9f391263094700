//! The simulated cluster as the production operations see it.

use std::sync::Arc;
use std::time::Duration;

use common::catalog::{Catalog, Database};
use common::protocol::{MembershipChange, PinId, PinRequest, Pinned, Verdict, WriteRequest};
use common::replacing::{ImagesHeader, ReplacingReply, ReplacingRequest};
use common::{Error, ErrorCode, Outcome, PartitionId, ReplicaId, Result, TransactionId};
use coordinator::catalog::{Answer, Command};
use coordinator::health::PartitionFacts;
use coordinator::operations::cluster::{Cluster, Images};
use coordinator::placement::Measured;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use query::relocation::Relocation;

use super::requests::{Question, Told};
use super::world::World;

/// How long anything may take that has no limit of its own.
const CONTROL: Duration = Duration::from_secs(5);

/// The catalog's commands are carried out once; whoever waits may hear nothing of it.
impl Cluster for World {
    type Kept = ();

    fn view(&self) -> Arc<Catalog> {
        Arc::clone(&self.state().catalog)
    }

    async fn confirmed(&self) -> Result<Arc<Catalog>> {
        self.travel().await?;
        Ok(self.view())
    }

    async fn propose(&self, command: Command) -> Result<Answer> {
        self.travel().await?;
        let answer = self.state().propose(&command);
        let unknown = |error: Error| error.with_outcome(Outcome::Unknown);
        self.travel().await.map_err(unknown)?;
        answer
    }

    fn presumed_leader(&self, partition: PartitionId) -> Option<ReplicaId> {
        let state = self.state();
        let terms = state.leaders.range((partition, 0)..=(partition, u64::MAX));
        terms.last().map(|(_, replica)| *replica)
    }

    async fn facts(&self, partition: PartitionId) -> PartitionFacts {
        let addresses: Vec<String> = {
            let state = self.state();
            let replicas = state.catalog.partitions.get(&partition).map(|found| found.replicas.clone());
            let nodes = replicas.unwrap_or_default();
            let addresses = nodes.iter().filter_map(|replica| state.catalog.nodes.get(&replica.node));
            addresses.map(common::catalog::Node::address).collect()
        };
        let asked = addresses.iter().map(|address| {
            let report = self.ask(address, partition, Question::Report);
            async move { tokio::time::timeout(Duration::from_secs(1), report).await.ok()?.ok() }
        });
        let reports = join_all(asked).await.into_iter().flatten();
        PartitionFacts::merge(reports.filter_map(|told| match told {
            Told::Report(report) => Some(*report),
            _ => None,
        }))
    }

    async fn relocation(&self, database: Arc<Database>, group: usize) -> Result<Relocation> {
        Relocation::new(database, group)
    }

    async fn measured(&self) -> Measured {
        Measured::new()
    }

    async fn replacing(
        &self,
        address: &str,
        step: ReplacingRequest,
        timeout: Duration,
    ) -> Result<ReplacingReply> {
        let (ReplacingRequest::Own { partition, .. }
        | ReplacingRequest::ChangedRows { partition, .. }
        | ReplacingRequest::RowsByKey { partition, .. }) = step;
        match self.within(timeout, address, partition, Question::Replacing(step)).await? {
            Told::Replacing(reply) => Ok(reply),
            _ => Err(Error::internal("another answer")),
        }
    }

    async fn pin(&self, address: &str, request: PinRequest) -> Result<(Pinned, ())> {
        let partition = request.target.partition;
        match self.within(CONTROL, address, partition, Question::Pin(request)).await? {
            Told::Pinned(pinned) => Ok((pinned, ())),
            _ => Err(Error::internal("another answer")),
        }
    }

    async fn images(
        &self,
        address: &str,
        partition: PartitionId,
        pin: PinId,
    ) -> Result<(ImagesHeader, Images)> {
        match self.within(CONTROL, address, partition, Question::Images(pin)).await? {
            Told::Images(header, images) => {
                Ok((header, futures_util::stream::iter(images.into_iter().map(Ok)).boxed()))
            }
            _ => Err(Error::internal("another answer")),
        }
    }

    async fn write(&self, address: &str, write: WriteRequest) -> Result<()> {
        let partition = write.target.partition;
        self.within(CONTROL, address, partition, Question::Write(write)).await.map(drop)
    }

    async fn resolve(
        &self,
        address: &str,
        decider: PartitionId,
        transaction: TransactionId,
    ) -> Result<Verdict> {
        match self.within(CONTROL, address, decider, Question::Resolve(transaction)).await? {
            Told::Decided(verdict) => Ok(verdict),
            _ => Err(Error::internal("another answer")),
        }
    }

    async fn change_schema(
        &self,
        address: &str,
        partition: PartitionId,
        version: u64,
        statements: Vec<String>,
        timeout: Duration,
    ) -> Result<()> {
        // Nothing takes long here, and what was lost has to be asked for again.
        let timeout = timeout.min(CONTROL);
        self.within(timeout, address, partition, Question::Schema { version, statements }).await.map(drop)
    }

    async fn change_membership(
        &self,
        address: &str,
        partition: PartitionId,
        change: MembershipChange,
        configuration_index: u64,
    ) -> Result<()> {
        let question = Question::ChangeMembers(change, configuration_index);
        self.within(CONTROL, address, partition, question).await.map(drop)
    }

    async fn transfer_leader(&self, address: &str, partition: PartitionId, to: ReplicaId) -> Result<()> {
        self.within(CONTROL, address, partition, Question::Transfer(to)).await.map(drop)
    }
}

impl World {
    /// Asks a storage node and waits no longer than that.
    pub(super) async fn within(
        &self,
        timeout: Duration,
        address: &str,
        partition: PartitionId,
        question: Question,
    ) -> Result<Told> {
        let late = |_| {
            Error::new(ErrorCode::Timeout, "a storage node has not answered").with_outcome(Outcome::Unknown)
        };
        tokio::time::timeout(timeout, self.ask(address, partition, question)).await.map_err(late)?
    }

    /// The way to the other coordinators, on which something may be lost.
    async fn travel(&self) -> Result<()> {
        let (delay, lost) = {
            let mut state = self.state();
            (state.delay(), state.loses_request())
        };
        tokio::time::sleep(Duration::from_micros(delay)).await;
        if lost {
            return Err(Error::new(ErrorCode::NoQuorum, "the coordinators do not agree in time"));
        }
        Ok(())
    }
}
