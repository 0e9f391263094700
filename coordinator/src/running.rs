//! A coordinator from start to end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::host_rule::HostRule;
use polylite_client::peer::{PeerIdentity, PeerOptions, PeerPool};
use sqlite::{Workspace, WorkspaceLimits};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::catalog::{CatalogOptions, CatalogStore, OpenCatalogError};
use crate::config::CoordinatorOptions;
use crate::http::{Face, Listeners, serve};
use crate::joining::{JoinDesk, Keeper};
use crate::metrics::{RequestMetrics, TransactionMetrics};
use crate::serving::{Serving, Surroundings};

/// How long the others are given to take over what this coordinator leads.
const HAND_OVER: Duration = Duration::from_secs(2);

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
    catalog: watch::Receiver<CatalogStore>,
    face: Arc<Face>,
    stop: CancellationToken,
    keeper: JoinHandle<Serving>,
    listener: JoinHandle<()>,
}

impl Coordinator {
    /// Starts a coordinator; it takes requests when this returns.
    pub async fn start(options: CoordinatorOptions) -> Result<Coordinator, StartError> {
        let listeners = Listeners::bind(&options.host, options.port).await?;
        let port = listeners.port();
        let (advertised_host, advertised_port) = options.advertised(port);
        let address = options.address(port);
        let identity = PeerIdentity::new(&address, rand::random());
        let peers = PeerPool::new(PeerOptions { identity: identity.clone(), ..PeerOptions::default() });

        let mut catalog_options =
            CatalogOptions::new(options.data_dir.clone(), &advertised_host, advertised_port);
        catalog_options.join.clone_from(&options.join);
        let store = CatalogStore::open(catalog_options.clone(), peers.clone()).await?;
        let metrics = RequestMetrics::new();
        let (joins, wishes) = JoinDesk::new();
        let surroundings = Surroundings {
            address: address.clone(),
            replication_factor: options.replication_factor,
            repair_after: options.repair_after,
            sql_rules: options.sql_rules,
            workspace: Workspace::new(WorkspaceLimits {
                folder: options.workspace.folder.or(Some(options.data_dir)),
                ..options.workspace
            }),
            identity,
            peers,
            transactions: TransactionMetrics::new(&metrics, options.slow_transaction),
            metrics: metrics.clone(),
            joins,
        };
        let serving = Serving::begin(store.clone(), surroundings.clone());
        let hosts = HostRule::new(&options.host, options.advertise.as_deref(), &options.allowed_hosts);
        let face = Arc::new(Face::new(serving.router.clone(), hosts, metrics));
        let stop = CancellationToken::new();
        let (catalog_in_use, catalog) = watch::channel(store);
        let keeper = Keeper {
            serving,
            surroundings,
            options: catalog_options,
            face: face.clone(),
            catalog: catalog_in_use,
        };
        let keeper = tokio::spawn(keeper.keep(wishes, stop.clone()));
        let listener = tokio::spawn(serve(listeners, face.clone(), stop.clone()));
        Ok(Coordinator { address, port, catalog, face, stop, keeper, listener })
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
    pub fn catalog(&self) -> CatalogStore {
        self.catalog.borrow().clone()
    }

    /// Lets another coordinator lead, stops taking requests, lets those under way end, and closes the data directory.
    pub async fn shutdown(self) {
        self.catalog().hand_over(HAND_OVER).await;
        self.stop.cancel();
        let serving = self.keeper.await;
        if let Ok(serving) = &serving {
            serving.close_peers();
        }
        if let Err(error) = self.listener.await {
            tracing::error!(%error, "the listener ended badly");
        }
        match serving {
            Ok(mut serving) => {
                serving.end().await;
                serving.catalog.shutdown().await;
            }
            Err(error) => tracing::error!(%error, "the coordinator's work ended badly"),
        }
    }
}
