//! The catalog as a process keeps it: a replica of the coordinators' own Raft group.
//!
//! The state lies in memory and is published as an immutable [`Catalog`]. What survives a restart is the
//! shared Raft log and the newest snapshot, see [`directory`]. [`machine`] applies the log; [`requests`] brings
//! proposals and read indexes to whichever coordinator leads; [`caretaker`] keeps the group's members and
//! addresses as the catalog has them.

mod caretaker;
mod directory;
mod fetch;
mod host;
mod joining;
mod leaving;
mod machine;
mod open;
mod requests;
#[cfg(test)]
mod running;
mod shared;
mod snapshot;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::catalog::Catalog;
use common::protocol::{CoordinatorReply, PeerAddress};
use common::{Error, ErrorCode, NodeId, ReplicaId, Result};
use consensus_runtime::{GroupHandle, MetricsSnapshot, Role, Runtime, SharedLog};
use parking_lot::Mutex;
use polylite_client::node::CoordinatorClient;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::directory::Directory;
use self::requests::CATALOG_TIMEOUT;
pub(crate) use self::requests::now_ms;
use self::shared::Shared;
use super::command::{Answer, Command};

pub use directory::DirectoryError;
pub(crate) use joining::coordinator_address;
pub use open::{CatalogOptions, OpenCatalogError};
pub use snapshot::SnapshotError;

/// The replicated catalog. Clones share it; it runs until [`CatalogStore::shutdown`].
#[derive(Clone)]
pub struct CatalogStore {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: String,
    replica: ReplicaId,
    instance: String,
    host: String,
    port: u16,
    address: String,
    /// The own cluster is being left for another one.
    leaving: AtomicBool,
    /// The others go on without this coordinator, for good.
    left: AtomicBool,
    shared: Arc<Shared>,
    group: GroupHandle,
    runtime: Runtime,
    client: CoordinatorClient,
    /// Given up when the store is closed, whoever still holds the store then.
    home: Mutex<Option<Home>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What a store stands on, and leaves when it is closed: the data directory, locked, and the log in it.
#[derive(Clone)]
pub(crate) struct Home {
    directory: Arc<Directory>,
    log: SharedLog,
}

impl CatalogStore {
    /// The catalog as this coordinator knows it; it may be behind.
    #[must_use]
    pub fn view(&self) -> Arc<Catalog> {
        self.inner.shared.view()
    }

    /// The catalog, no older than this call: everything that any coordinator has acknowledged is in it.
    /// Fails with `no_quorum` when the coordinators cannot agree within four seconds.
    pub async fn confirmed(&self) -> Result<Arc<Catalog>> {
        self.confirmed_within(CATALOG_TIMEOUT).await
    }

    /// As [`CatalogStore::confirmed`], with a limit.
    pub async fn confirmed_within(&self, timeout: Duration) -> Result<Arc<Catalog>> {
        self.confirm(timeout).await
    }

    /// Carries out a command and answers once the view shows it. A lost answer is asked for again; the command
    /// is carried out once. Fails with `no_quorum` when the coordinators cannot agree within four seconds; its
    /// outcome then says whether the command may still be carried out.
    pub async fn propose(&self, command: Command) -> Result<Answer> {
        self.propose_within(command, CATALOG_TIMEOUT).await
    }

    /// As [`CatalogStore::propose`], with a limit.
    pub async fn propose_within(&self, command: Command, timeout: Duration) -> Result<Answer> {
        self.carry_out(command, timeout).await
    }

    /// The log index that the view has reached, as it grows.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.shared.applied.subscribe()
    }

    /// Waits until the view shows what `shows` looks for, and answers it; `None` when time is up.
    pub async fn wait_until<T>(&self, timeout: Duration, shows: impl Fn(&Catalog) -> Option<T>) -> Option<T> {
        let mut changed = self.changed();
        let waiting = async {
            loop {
                if let Some(found) = shows(&self.view()) {
                    return Some(found);
                }
                changed.changed().await.ok()?;
            }
        };
        tokio::time::timeout(timeout, waiting).await.ok().flatten()
    }

    /// The term and the leader of the catalog's group, as they change.
    pub(crate) fn leadership(&self) -> watch::Receiver<consensus_runtime::RoleChange> {
        self.inner.shared.role.subscribe()
    }

    /// Whether this coordinator has left its cluster for good, or is on its way out: it is not kept up to date any more.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.inner.left.load(Ordering::Relaxed)
    }

    /// Whether this coordinator leads, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.inner.shared.is_leader()
    }

    /// Where the leading coordinator is reached, as far as this one knows (`host:port`).
    #[must_use]
    pub fn leader_address(&self) -> Option<String> {
        self.inner.shared.leader_address()
    }

    /// The term of the catalog's group.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.inner.shared.role.borrow().term
    }

    /// This coordinator's replica of the catalog's group.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.inner.replica
    }

    /// Where others are told to reach this coordinator (`host:port`).
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// What the data directory calls itself.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.inner.instance
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.inner.cluster
    }

    /// Where the coordinators are reached (`host:port`).
    #[must_use]
    pub fn coordinator_addresses(&self) -> BTreeMap<ReplicaId, String> {
        self.inner.shared.addresses()
    }

    /// Requests to other coordinators.
    pub(crate) fn client(&self) -> &CoordinatorClient {
        &self.inner.client
    }

    /// What the consensus worker has done so far.
    #[must_use]
    pub fn consensus_metrics(&self) -> MetricsSnapshot {
        self.inner.runtime.metrics().snapshot()
    }

    /// Takes in a new coordinator, or one whose first answer was lost. It learns, then votes.
    pub(crate) async fn admit(&self, host: String, port: u16, instance: String) -> Result<CoordinatorReply> {
        let command = Command::AddCoordinator { host, port, instance };
        let Answer::Coordinator(replica) = self.propose(command).await? else {
            return Err(Error::internal("a new coordinator was answered with something else"));
        };
        let coordinators = self.coordinator_addresses().into_iter();
        let peer = |address| PeerAddress { node: NodeId::default(), address };
        Ok(CoordinatorReply::Joined {
            cluster: self.inner.cluster.clone(),
            replica,
            coordinators: coordinators.map(|(replica, address)| (replica, peer(address))).collect(),
        })
    }

    /// A piece of the newest snapshot, for a coordinator that the leader has offered it.
    pub(crate) async fn snapshot_piece(&self, offset: u64) -> Result<CoordinatorReply> {
        let path = self.home()?.directory.snapshot(self.inner.shared.generation());
        let read = tokio::task::spawn_blocking(move || snapshot::read_piece(&path, offset));
        let piece = read
            .await
            .map_err(|error| Error::internal(error.to_string()))?
            .map_err(|error| Error::internal(error.to_string()))?;
        Ok(CoordinatorReply::Snapshot { index: piece.index, size: piece.size, bytes: piece.bytes.into() })
    }

    /// Raft messages have arrived from another coordinator.
    pub(crate) fn deliver(&self, payload: &[u8]) {
        transport::deliver(&self.inner.runtime, &self.inner.cluster, payload);
    }

    /// Has another coordinator lead, if this one does and another can, so that nobody waits for an election.
    pub async fn hand_over(&self, within: Duration) {
        let mut role = self.leadership();
        let Some(heir) = self.inner.group.status().heir() else { return };
        self.inner.group.transfer_leader(heir);
        let deposed = role.wait_for(|role| role.role != Role::Leader);
        if !matches!(tokio::time::timeout(within, deposed).await, Ok(Ok(_))) {
            tracing::info!("no other coordinator has taken over in time");
        }
    }

    /// Stops taking part. What was acknowledged is on disk, and the data directory can be opened anew.
    pub async fn shutdown(&self) {
        drop(self.close().await);
    }

    /// Stops taking part, and gives what another store can be opened on; only the first call gets it.
    pub(crate) async fn close(&self) -> Option<Home> {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        let runtime = self.inner.runtime.clone();
        if tokio::task::spawn_blocking(move || runtime.shutdown()).await.is_err() {
            tracing::error!("the consensus worker could not be awaited");
        }
        self.inner.home.lock().take()
    }

    fn home(&self) -> Result<Home> {
        let closed = || Error::new(ErrorCode::Unavailable, "the coordinator is stopping");
        self.inner.home.lock().clone().ok_or_else(closed)
    }
}
