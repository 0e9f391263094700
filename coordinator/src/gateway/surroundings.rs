//! What a gateway takes from the process that it runs in: what the coordinators agree on, time, chance, and threads to
//! compute on. A simulation, in which many gateways share one thread, gives it others.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::catalog::Catalog;
use common::{ReplicaId, Result};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use query::schema::SchemaChange;
use tokio::sync::watch;

use crate::catalog::{Answer, CatalogStore, Command};
use crate::operations::Operations;

/// See the module.
pub trait Surroundings: Send + Sync + 'static {
    /// The catalog as it is known here.
    fn view(&self) -> Arc<Catalog>;

    /// The catalog, no older than this call.
    fn confirmed(&self) -> BoxFuture<'_, Result<Arc<Catalog>>>;

    /// The version that the view has reached, as it grows.
    fn changed(&self) -> watch::Receiver<u64>;

    /// Has the catalog changed.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Answer>>;

    /// Changes a schema that is at the version `before`.
    fn change_schema(
        &self,
        database: String,
        before: u64,
        change: SchemaChange,
        within: Duration,
    ) -> BoxFuture<'_, Result<()>>;

    /// This coordinator's replica of the catalog.
    fn replica(&self) -> ReplicaId;

    /// The wall clock.
    fn now(&self) -> SystemTime;

    /// A number by chance.
    fn drawn(&self) -> u64;

    /// A name that nobody else draws.
    fn drawn_name(&self) -> u128 {
        u128::from(self.drawn()) << 64 | u128::from(self.drawn())
    }

    /// Whether what computes for a while runs where it is asked for, and not on a thread of its own.
    fn computes_here(&self) -> bool;
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Those of a coordinator.
pub struct OfCoordinator {
    /// What the coordinators agree on.
    pub catalog: CatalogStore,
    /// Schema changes.
    pub operations: Operations,
}

impl Surroundings for OfCoordinator {
    fn view(&self) -> Arc<Catalog> {
        self.catalog.view()
    }

    fn confirmed(&self) -> BoxFuture<'_, Result<Arc<Catalog>>> {
        self.catalog.confirmed().boxed()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.catalog.changed()
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Answer>> {
        self.catalog.propose(command).boxed()
    }

    fn change_schema(
        &self,
        database: String,
        before: u64,
        change: SchemaChange,
        within: Duration,
    ) -> BoxFuture<'_, Result<()>> {
        async move { self.operations.change_schema(&database, before, change, within).await }.boxed()
    }

    fn replica(&self) -> ReplicaId {
        self.catalog.replica()
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn drawn(&self) -> u64 {
        rand::random()
    }

    fn computes_here(&self) -> bool {
        false
    }
}
