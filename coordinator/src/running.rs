//! A coordinator from start to end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use polylite_client::node::StorageClient;
use polylite_client::peer::{PeerIdentity, PeerOptions, PeerPool};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::catalog::{CatalogOptions, CatalogStore, OpenCatalogError};
use crate::config::CoordinatorOptions;
use crate::gateway::Gateway;
use crate::health::ClusterHealth;
use crate::http::{App, AppParts, CacheLimits, Face, HostRule, Listeners, router, serve};
use crate::metrics::RequestMetrics;
use crate::operations::Operations;
use crate::peer_service::CoordinatorService;

/// How often caches are rid of what is gone, and times are folded into histograms.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);

/// Why a coordinator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener.
    #[error(transparent)]
    Listen(#[from] io::Error),
    /// The catalog, or its data directory.
    #[error(transparent)]
    Catalog(#[from] OpenCatalogError),
}

/// A coordinator that runs.
pub struct Coordinator {
    address: String,
    port: u16,
    catalog: CatalogStore,
    face: Arc<Face>,
    stop: CancellationToken,
    /// What runs beside the listener; ends when it is dropped.
    background: JoinSet<()>,
    listener: tokio::task::JoinHandle<()>,
}

impl Coordinator {
    /// Starts a coordinator; it takes requests when this returns.
    pub async fn start(options: CoordinatorOptions) -> Result<Coordinator, StartError> {
        let listeners = Listeners::bind(&options.host, options.port).await?;
        let (host, port) = options.advertised(listeners.port());
        let listening_port = listeners.port();
        let address = options.address(listening_port);
        let identity = PeerIdentity::new(&address, rand::random());
        let peers = PeerPool::new(PeerOptions { identity: identity.clone(), ..PeerOptions::default() });

        let mut catalog_options = CatalogOptions::new(options.data_dir.clone(), &host, port);
        catalog_options.join = options.join.first().cloned();
        let catalog = CatalogStore::open(catalog_options, peers.clone()).await?;
        let storage = StorageClient::new(peers.clone());
        let health = ClusterHealth::new(catalog.clone(), storage.clone());
        let operations = Operations::new(catalog.clone(), health.clone(), storage.clone());
        let gateway = Gateway::new(catalog.clone(), operations.clone(), peers, options.sql_rules);
        let metrics = RequestMetrics::new();
        let stop = CancellationToken::new();

        let mut background = JoinSet::new();
        background.spawn(health.clone().watch());
        background.spawn(operations.clone().drive());
        background.spawn(tidy(gateway.clone(), metrics.clone()));

        let peer_service = Arc::new(CoordinatorService::new(catalog.clone(), health.clone(), identity));
        let app = App::new(AppParts {
            catalog: catalog.clone(),
            operations,
            health,
            storage,
            gateway,
            metrics: metrics.clone(),
            address: address.clone(),
            replication_factor: options.replication_factor,
            cache: CacheLimits::default(),
            peer_service,
            stopping: stop.clone(),
        });
        let hosts = HostRule::new(&options.host, options.advertise.as_deref(), &options.allowed_hosts);
        let face = Arc::new(Face::new(router(app), hosts, metrics));
        let listener = tokio::spawn(serve(listeners, face.clone(), stop.clone()));
        Ok(Coordinator { address, port: listening_port, catalog, face, stop, background, listener })
    }

    /// `host:port` that it is reached at.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port that it listens on, whatever others are told.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The HTTP interface without its socket.
    #[must_use]
    pub fn face(&self) -> &Arc<Face> {
        &self.face
    }

    /// What the coordinators agree on, as this one knows it.
    #[must_use]
    pub fn catalog(&self) -> &CatalogStore {
        &self.catalog
    }

    /// Stops taking requests, lets those under way end, and closes the data directory.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Err(error) = self.listener.await {
            tracing::error!(%error, "the listener ended badly");
        }
        self.background.shutdown().await;
        self.catalog.shutdown().await;
    }
}

async fn tidy(gateway: Gateway, metrics: RequestMetrics) {
    let mut interval = tokio::time::interval(TIDY_INTERVAL);
    loop {
        interval.tick().await;
        gateway.tidy();
        metrics.fold();
    }
}
