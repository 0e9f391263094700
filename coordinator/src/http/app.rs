//! What handlers need of the coordinator.

use std::sync::Arc;

use common::catalog::{Catalog, Database};
use common::names::check_database_name;
use common::{Error, Result};
use polylite_client::node::StorageClient;
use polylite_client::peer::PeerService;
use tokio_util::sync::CancellationToken;

use crate::catalog::{CatalogStore, database_not_found};
use crate::gateway::{self, Gateway};
use crate::health::ClusterHealth;
use crate::joining::JoinDesk;
use crate::metrics::RequestMetrics;
use crate::operations::Operations;

/// The coordinator as its interface sees it. Clones share it.
#[derive(Clone)]
pub struct App {
    parts: Arc<AppParts>,
}

/// What an [`App`] is made of.
pub struct AppParts {
    /// What the coordinators agree on.
    pub catalog: CatalogStore,
    /// Work that takes more than one command.
    pub operations: Operations,
    /// What is known of the storage nodes.
    pub health: ClusterHealth,
    /// Single requests to storage nodes.
    pub storage: StorageClient,
    /// The way to the partitions.
    pub gateway: Gateway,
    /// Numbers for Prometheus.
    pub metrics: RequestMetrics,
    /// `host:port` that others reach this coordinator at.
    pub address: String,
    /// Replicas of a database that does not say.
    pub replication_factor: u32,
    /// Takes wishes to join another cluster.
    pub(crate) joins: JoinDesk,
    /// What other nodes are answered.
    pub peer_service: Arc<dyn PeerService>,
    /// Cancelled when the coordinator stops: connections from nodes are closed then.
    pub stopping: CancellationToken,
}

impl App {
    /// The coordinator's parts, shared.
    #[must_use]
    pub fn new(parts: AppParts) -> App {
        App { parts: Arc::new(parts) }
    }

    /// A database, or a 404 that every coordinator would give.
    pub async fn database(&self, name: &str) -> Result<(Arc<Catalog>, Database)> {
        check_database_name("database", name)?;
        let catalog = self.catalog.confirmed().await?;
        let found = gateway::ready(&catalog, name).cloned().ok_or_else(|| database_not_found(name))?;
        Ok((catalog, found))
    }
}

impl std::ops::Deref for App {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.parts
    }
}

/// Time and chance for a request.
pub fn moment() -> query::Moment {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    query::Moment { now_ms, random: rand::random() }
}

/// The refusal of a route whose part of the product is not there yet.
pub fn later(what: &str, hint: &str) -> Error {
    Error::not_supported(format!("{what} is not supported yet"), hint)
}
