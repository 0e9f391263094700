//! The parts of a coordinator that belong to one cluster. They are made anew when it joins another one.

use std::sync::Arc;
use std::time::Duration;

use common::PartitionId;
use common::protocol::LeaseHolder;
use polylite_client::node::StorageClient;
use polylite_client::peer::{PeerIdentity, PeerPool};
use query::{Planner, Statistics};
use sqlite::Workspace;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::catalog::CatalogStore;
use crate::gateway::surroundings::OfCoordinator;
use crate::gateway::{Gateway, Reach};
use crate::health::ClusterHealth;
use crate::http::{App, AppParts, Routes, router};
use crate::joining::JoinDesk;
use crate::metrics::{RequestMetrics, TransactionMetrics};
use crate::operations::Operations;
use crate::peer_service::CoordinatorService;
use crate::result_cache::leases::HeldLeases;

/// How often caches are rid of what is gone, planners learn how many rows there are, and times are folded into
/// histograms.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);

/// What stays the same whatever cluster the coordinator belongs to.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// `host:port` that others reach it at.
    pub(crate) address: String,
    /// Replicas of a database that does not say.
    pub(crate) replication_factor: u32,
    /// When an inactive node's replicas are made anew on others.
    pub(crate) repair_after: Duration,
    /// The shortcuts that SELECT statements may take.
    pub(crate) sql_rules: query::Rules,
    /// What statements that are merged here may take of memory and disk.
    pub(crate) workspace: Workspace,
    /// Who it is to other nodes.
    pub(crate) identity: PeerIdentity,
    /// Connections to other nodes.
    pub(crate) peers: PeerPool,
    /// Numbers about requests.
    pub(crate) metrics: RequestMetrics,
    /// Numbers about transactions.
    pub(crate) transactions: TransactionMetrics,
    /// Takes wishes to join another cluster.
    pub(crate) joins: JoinDesk,
}

/// A coordinator's work in one cluster.
pub(crate) struct Serving {
    /// What the coordinators agree on.
    pub(crate) catalog: CatalogStore,
    /// The routes.
    pub(crate) router: Routes,
    /// What runs beside the requests; ends when it is dropped.
    background: JoinSet<()>,
    /// What other nodes are answered.
    peer_service: Arc<CoordinatorService>,
    /// Closes the connections that other nodes have opened.
    stop: CancellationToken,
}

impl Serving {
    /// Begins to work with a catalog.
    pub(crate) fn begin(catalog: CatalogStore, surroundings: Surroundings) -> Serving {
        let Surroundings {
            address,
            replication_factor,
            repair_after,
            sql_rules,
            workspace,
            identity,
            peers,
            metrics,
            transactions,
            joins,
        } = surroundings;
        let storage = StorageClient::new(peers.clone());
        let health = ClusterHealth::new(catalog.clone(), storage.clone());
        let operations =
            Operations::new(catalog.clone(), health.clone(), storage.clone()).with_repair_after(repair_after);
        let leaders = health.leaders();
        let holder = LeaseHolder { process: rand::random(), address: address.clone() };
        let leases = Arc::new(HeldLeases::of(holder));
        let reach = Reach {
            surroundings: Arc::new(OfCoordinator {
                catalog: catalog.clone(),
                operations: operations.clone(),
            }),
            peers,
            leaders,
            leases: leases.clone(),
        };
        let gateway = Gateway::new(reach, sql_rules, workspace, transactions);
        let stop = CancellationToken::new();

        let mut background = JoinSet::new();
        background.spawn(health.clone().watch());
        background.spawn(operations.clone().drive());
        background.spawn(tidy(gateway.clone(), health.clone(), metrics.clone()));

        let service = CoordinatorService::new(catalog.clone(), health.clone(), leases, identity);
        let peer_service = Arc::new(service);
        let app = App::new(AppParts {
            catalog: catalog.clone(),
            operations,
            health,
            storage,
            gateway,
            metrics,
            address,
            replication_factor,
            joins,
            peer_service: peer_service.clone(),
            stopping: stop.clone(),
        });
        let router = router(app);
        peer_service.answer_by(Some(router.clone()));
        Serving { catalog, router, background, peer_service, stop }
    }

    /// Ends the work, but for the catalog.
    pub(crate) async fn end(&mut self) {
        self.stop.cancel();
        self.peer_service.answer_by(None);
        self.background.shutdown().await;
    }

    /// Closes the connections that other nodes have opened.
    pub(crate) fn close_peers(&self) {
        self.stop.cancel();
    }
}

async fn tidy(gateway: Gateway, health: ClusterHealth, metrics: RequestMetrics) {
    let mut interval = tokio::time::interval(TIDY_INTERVAL);
    loop {
        interval.tick().await;
        gateway.tidy();
        for planner in gateway.planners() {
            refresh_statistics(&planner, &health).await;
        }
        metrics.fold();
    }
}

/// Tells a planner how many rows each partition has said that it holds.
async fn refresh_statistics(planner: &Planner, health: &ClusterHealth) {
    let partitions: Vec<PartitionId> = planner.database().partitions().map(|(_, _, id)| id).collect();
    let facts = health.ask(&partitions).await;
    let mut statistics = Statistics::default();
    for (index, partition) in partitions.iter().enumerate() {
        if let Some(facts) = facts.get(partition).filter(|facts| !facts.replicas.is_empty()) {
            let tables = facts.table_rows.iter().map(|(table, rows)| (table.as_str(), *rows));
            statistics.set(index, tables);
        }
    }
    planner.set_statistics(Arc::new(statistics));
}
