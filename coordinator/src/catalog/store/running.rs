//! A coordinator's catalog behind a listener of its own, for tests.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::catalog::{Catalog, ReplicaRole};
use common::protocol::LeaseHolder;
use consensus_runtime::LogOptions;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use polylite_client::node::StorageClient;
use polylite_client::peer::{PeerIdentity, PeerOptions, PeerPool};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{CatalogOptions, CatalogStore};
use crate::health::ClusterHealth;
use crate::peer_service::CoordinatorService;
use crate::result_cache::leases::HeldLeases;

/// Longer than anything takes; a test that waits so long has failed.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// A running coordinator.
pub(super) struct Coordinator {
    pub(super) store: CatalogStore,
    stop: CancellationToken,
}

impl Coordinator {
    pub(super) async fn start(
        folder: &Path,
        join: Option<&Coordinator>,
        snapshot_interval: u64,
    ) -> Coordinator {
        Coordinator::start_at(folder, "127.0.0.1:0", join, snapshot_interval).await
    }

    pub(super) async fn start_at(
        folder: &Path,
        address: &str,
        join: Option<&Coordinator>,
        snapshot_interval: u64,
    ) -> Coordinator {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut options = CatalogOptions::new(folder.to_owned(), "127.0.0.1", port);
        options.join = join.map(|other| format!("http://{}/", other.store.address())).into_iter().collect();
        options.log = LogOptions::small();
        options.runtime.tick = Duration::from_millis(10);
        options.snapshot_interval = snapshot_interval;
        let pool = PeerPool::new(PeerOptions::default());
        let store = CatalogStore::open(options, pool.clone()).await.unwrap();
        let health = ClusterHealth::new(store.clone(), StorageClient::new(pool));
        let leases =
            Arc::new(HeldLeases::of(LeaseHolder { process: 0, address: store.address().to_owned() }));
        let service = CoordinatorService::new(store.clone(), health, leases, PeerIdentity::default());
        let stop = CancellationToken::new();
        let service = Arc::new(service);
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(listener, service, stop.clone())));
        Coordinator { store, stop }
    }

    /// Ends it as a process ends, connections included.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.store.shutdown().await;
    }

    pub(super) async fn sees<T>(&self, shows: impl Fn(&Catalog) -> Option<T>) -> T {
        self.store.wait_until(LONG, shows).await.expect("the view shows it in time")
    }

    /// Waits until this coordinator knows of so many voters.
    pub(super) async fn sees_voters(&self, count: usize) {
        let voters = |catalog: &Catalog| {
            let roles = catalog.coordinators.values().map(|coordinator| coordinator.role);
            (roles.filter(|role| *role == ReplicaRole::Voter).count() == count).then_some(())
        };
        self.sees(voters).await;
    }
}

async fn serve(listener: TcpListener, service: Arc<CoordinatorService>, stop: CancellationToken) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (service, stop) = (service.clone(), stop.clone());
        tokio::spawn(async move {
            let answer = service_fn(|mut request| {
                let response =
                    polylite_client::peer::accept_until(&mut request, service.clone(), stop.clone());
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), answer)
                .with_upgrades();
            // A connection may break at any time: coordinators end in these tests.
            drop(connection.await);
        });
    }
}
