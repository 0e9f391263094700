//! What a coordinator answers to other nodes.

use std::sync::Arc;

use bytes::Bytes;
use common::protocol::{CoordinatorReply, CoordinatorRequest, Registration, Relaying, encode};
use common::{Error, ErrorCode, PartitionId, Result};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use polylite_client::peer::{Caller, PeerIdentity, PeerService, StreamSink};

use crate::catalog::{Answer, CatalogStore, Command};
use crate::health::{ClusterHealth, check_cluster};
use crate::http::{Routes, answer_relayed};
use crate::placement::{assignments, peers};
use crate::result_cache::leases::HeldLeases;

/// The service behind the connections that nodes open to a coordinator.
pub struct CoordinatorService {
    catalog: CatalogStore,
    health: ClusterHealth,
    leases: Arc<HeldLeases>,
    identity: PeerIdentity,
    /// The routes that clients are answered by, while this coordinator answers any.
    routes: RwLock<Option<Routes>>,
}

impl CoordinatorService {
    /// A service over the parts that answer.
    #[must_use]
    pub fn new(
        catalog: CatalogStore,
        health: ClusterHealth,
        leases: Arc<HeldLeases>,
        identity: PeerIdentity,
    ) -> CoordinatorService {
        CoordinatorService { catalog, health, leases, identity, routes: RwLock::new(None) }
    }

    /// Requests that other coordinators pass on are answered by these routes from now on; by none with `None`.
    pub(crate) fn answer_by(&self, routes: Option<Routes>) {
        *self.routes.write() = routes;
    }

    async fn relayed(&self, relaying: Relaying) -> Result<CoordinatorReply> {
        let routes = self.routes.read().clone();
        let routes =
            routes.ok_or_else(|| Error::new(ErrorCode::Unavailable, "the coordinator is stopping"))?;
        Ok(CoordinatorReply::Relayed(answer_relayed(routes, relaying).await?))
    }

    async fn answer(&self, request: CoordinatorRequest) -> Result<CoordinatorReply> {
        let needs_member = matches!(
            request,
            CoordinatorRequest::Register(_)
                | CoordinatorRequest::Heartbeat(_)
                | CoordinatorRequest::Join { .. }
        );
        if needs_member && self.catalog.has_left() {
            return Err(Error::new(ErrorCode::Unavailable, "this coordinator has left the cluster"));
        }
        match request {
            CoordinatorRequest::Register(registration) => self.register(registration).await,
            CoordinatorRequest::Heartbeat(heartbeat) => self.health.report(heartbeat).await,
            CoordinatorRequest::RelayedHeartbeat(heartbeat) => self.health.relayed(heartbeat).await,
            CoordinatorRequest::Locate { partition } => self.locate(partition).await,
            CoordinatorRequest::Replicate { database, node } => {
                match self.catalog.propose(Command::ReplicateDatabase { database, node }).await? {
                    Answer::Operations(operations) => Ok(CoordinatorReply::Begun(operations)),
                    other => Err(Error::internal(format!("the catalog answered {other:?}"))),
                }
            }
            CoordinatorRequest::Propose { command } => self.catalog.propose_here(command).await,
            CoordinatorRequest::ReadIndex => self.catalog.read_index_here().await,
            CoordinatorRequest::Health => self.health.nodes_here(),
            CoordinatorRequest::Join { host, port, instance } => {
                self.catalog.admit(host, port, instance).await
            }
            CoordinatorRequest::GiveBack { partition, process } => {
                self.leases.give_back(partition, process).map(|()| CoordinatorReply::GivenBack)
            }
            CoordinatorRequest::Relay(relaying) => self.relayed(relaying).await,
            CoordinatorRequest::Leave { replica } => {
                self.catalog.dismiss(replica).await.map(|()| CoordinatorReply::Left)
            }
            // The receiver itself checks what it got against what it was offered.
            CoordinatorRequest::Snapshot { offset, .. } => self.catalog.snapshot_piece(offset).await,
        }
    }

    async fn register(&self, registration: Registration) -> Result<CoordinatorReply> {
        let Registration { cluster, node, instance, host, port, version } = registration;
        if let Some(theirs) = cluster {
            check_cluster(&self.catalog.view().cluster, &theirs)?;
        }
        let command = Command::RegisterNode { node, instance: Some(instance), host, port };
        let Answer::Node(node) = self.catalog.propose(command).await? else {
            return Err(Error::internal("a registration was answered with something else"));
        };
        tracing::info!(%node, version, "a storage node has registered");
        Ok(CoordinatorReply::Registered {
            assignments: assignments(&self.catalog.view(), &node),
            node,
            coordinators: self.catalog.coordinator_addresses().into_values().collect(),
        })
    }

    async fn locate(&self, id: PartitionId) -> Result<CoordinatorReply> {
        let mut catalog = self.catalog.view();
        if !catalog.partitions.contains_key(&id) {
            // Who hears that it is gone relies on that.
            catalog = self.catalog.confirmed().await?;
        }
        let partition = catalog
            .partitions
            .get(&id)
            .ok_or_else(|| Error::new(ErrorCode::PartitionNotFound, format!("Partition {id} not found")))?;
        Ok(CoordinatorReply::Located { replicas: peers(&catalog, partition) })
    }
}

impl PeerService for CoordinatorService {
    fn call(self: Arc<Self>, _from: Caller, payload: Bytes) -> BoxFuture<'static, Bytes> {
        async move {
            let reply = match CoordinatorRequest::decode(&payload) {
                Ok(request) => self.answer(request).await,
                Err(error) => Err(error),
            };
            encode(&reply)
        }
        .boxed()
    }

    fn stream(self: Arc<Self>, _payload: Bytes, sink: StreamSink) -> BoxFuture<'static, ()> {
        let refusal = Error::internal("coordinators have no streams");
        async move { sink.fail(encode(&refusal)).await }.boxed()
    }

    fn one_way(&self, payload: Bytes) {
        self.catalog.deliver(&payload);
    }

    fn identity(&self) -> PeerIdentity {
        self.identity.clone()
    }
}
