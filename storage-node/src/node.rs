//! A storage node in this process, from start to shutdown.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::host_rule::HostRule;
use common::protocol::Registration;
use common::{NodeId, PartitionId};
use consensus_runtime::{LogOptions, OpenLogError, Runtime, RuntimeOptions, SharedLog};
use polylite_client::peer::{PeerIdentity, PeerOptions, PeerPool};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::config::{SQLITE_HEAP_BYTES, StorageNodeOptions};
use crate::disk::DiskReserve;
use crate::http::{self, AppState};
use crate::layout::{DataDir, LayoutError};
use crate::membership::Membership;
use crate::neighbours::Neighbours;
use crate::registry::Registry;
use crate::replica::{Known, Surroundings};
use crate::service::Service;
use crate::transport::PeerTransport;
use crate::upkeep::Upkeep;

/// How long open requests may take to end at a shutdown.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// How long other nodes are given to take over what this one leads. Where all nodes end at the same time, that is in
/// vain.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data directory.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Its Raft log.
    #[error("the Raft log in {folder}: {source}")]
    Log {
        /// Its folder.
        folder: PathBuf,
        /// Why it cannot be opened.
        source: OpenLogError,
    },
    /// Its port.
    #[error("cannot listen on {host}:{port}: {source}; choose another one with --port")]
    Listen {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// Something else that the operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A running storage node. It runs until [`StorageNode::shutdown`].
pub struct StorageNode {
    host: String,
    address: SocketAddr,
    service: Arc<Service>,
    neighbours: Neighbours,
    runtime: Runtime,
    stop_membership: CancellationToken,
    stop_listener: CancellationToken,
    stop_peers: CancellationToken,
    membership: JoinHandle<()>,
    _keeping_clock: AbortOnDropHandle<()>,
    _telling_of_losses: AbortOnDropHandle<()>,
    listeners: Vec<JoinHandle<()>>,
}

impl StorageNode {
    /// Starts a node: takes its port and its data directory, starts the replicas that it has, and from then
    /// on serves, whether or not a coordinator answers yet.
    pub async fn start(options: StorageNodeOptions) -> Result<StorageNode, StartError> {
        sqlite::assert_build();
        sqlite::heap::bound(SQLITE_HEAP_BYTES);
        let listeners = listen(&options.host, options.port).await?;
        let address = listeners[0].local_addr()?;
        let instance = format!("{:032x}", crate::random::unique());
        let data_dir = Arc::new(DataDir::open(&options.data_dir, &instance)?);
        let node = data_dir.node()?.or_else(|| options.node_id.clone());

        let process = crate::random::seed();
        let clock = Clock::kept(data_dir.clock())?;
        let keeping_clock = AbortOnDropHandle::new(tokio::spawn(clock.clone().keep_ahead()));
        let pool = PeerPool::new(PeerOptions {
            identity: PeerIdentity::new(node.as_ref().map_or("", NodeId::as_str), process),
            clock: Arc::new(clock.clone()),
            ..PeerOptions::default()
        });
        let log = open_log(&data_dir).await?;
        let known = known_replicas(&log);
        let transport = PeerTransport { pool: pool.clone(), clock: clock.clone() };
        let runtime = Runtime::start(log, Arc::new(transport), RuntimeOptions::new(crate::random::seed()))?;
        let telling_of_losses = AbortOnDropHandle::new(tokio::spawn({
            let (losses, runtime) = (pool.losses(), runtime.clone());
            losses.for_each(move |address| runtime.unreachable(address))
        }));
        let neighbours = Neighbours::new(pool, options.coordinator_addresses());
        let around = Surroundings {
            runtime: runtime.clone(),
            clock: clock.clone(),
            neighbours: neighbours.clone(),
            tokio: tokio::runtime::Handle::current(),
            upkeep: Arc::new(Upkeep::new(options.upkeep.clone())),
        };
        let registry = Arc::new(Registry::new(data_dir.clone(), around, known)?);
        registry.start_existing().await?;
        let instance = data_dir.instance().to_owned();
        let disk = DiskReserve::of(options.data_dir.clone());
        let service = Arc::new(Service::new(
            registry,
            runtime.clone(),
            clock,
            disk,
            instance.clone(),
            process,
            node.clone(),
        ));

        let (host, port) = options.advertised(address.port());
        let hosts = HostRule::new(&options.host, options.advertise.as_deref(), &options.allowed_hosts);
        let state = AppState::new(service.clone(), neighbours.clone(), (host.clone(), port), hosts);
        let stop_peers = state.stop_peers.clone();
        let stop_listener = CancellationToken::new();
        let serving = listeners
            .into_iter()
            .map(|listener| tokio::spawn(http::serve(listener, state.clone(), stop_listener.clone())))
            .collect();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let cluster = service.registry().cluster();
        let registration = Registration { cluster, node, instance, host, port, version };
        let membership =
            Membership { neighbours: neighbours.clone(), service: service.clone(), data_dir, registration };
        let stop_membership = CancellationToken::new();
        let membership = tokio::spawn(membership.run(stop_membership.clone()));
        Ok(StorageNode {
            host: options.host,
            address,
            service,
            neighbours,
            runtime,
            stop_membership,
            stop_listener,
            stop_peers,
            membership,
            _keeping_clock: keeping_clock,
            _telling_of_losses: telling_of_losses,
            listeners: serving,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `host:port`, the host as the operator wrote it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.address.port())
    }

    /// The node's id, once a coordinator has confirmed it, or as it was at its last run.
    #[must_use]
    pub fn node_id(&self) -> Option<NodeId> {
        self.service.node()
    }

    /// What it answers to its peers.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The rest of the cluster, as the node speaks to it.
    #[must_use]
    pub fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// Ends the node: others take over what it leads, the coordinators are told, requests under way are answered,
    /// files are closed.
    pub async fn shutdown(self) {
        self.service.registry().hand_over(HAND_OVER).await;
        self.stop_membership.cancel();
        if self.membership.await.is_err() {
            tracing::error!("the membership task ended by a panic");
        }
        self.stop_listener.cancel();
        for listener in self.listeners {
            let abort = listener.abort_handle();
            if tokio::time::timeout(SHUTDOWN, listener).await.is_err() {
                abort.abort();
            }
        }
        self.stop_peers.cancel();
        self.service.registry().stop().await;
        let runtime = self.runtime;
        let ended = tokio::task::spawn_blocking(move || runtime.shutdown()).await;
        if ended.is_err() {
            tracing::error!("the consensus runtime ended by a panic");
        }
        if let Err(error) = self.service.registry().release() {
            tracing::warn!(%error, "the data directory could not be unlocked");
        }
    }
}

/// Listens on every address of a host. With port 0 the first address chooses for all.
async fn listen(host: &str, port: u16) -> Result<Vec<TcpListener>, StartError> {
    let failed = |port: u16| {
        let host = host.to_owned();
        move |source| StartError::Listen { host, port, source }
    };
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(failed(port))?.collect();
    let mut listeners: Vec<TcpListener> = Vec::new();
    for mut address in addresses {
        if let Some(first) = listeners.first() {
            address.set_port(first.local_addr()?.port());
        }
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            // A host name may have an address that this machine does not have, as `::1` without IPv6.
            Err(error) if !listeners.is_empty() && error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(error) if !listeners.is_empty() && address.is_ipv6() => {
                tracing::debug!(%address, %error, "not listening on this address too");
            }
            Err(error) => return Err(failed(port)(error)),
        }
    }
    if listeners.is_empty() {
        return Err(failed(port)(io::Error::new(io::ErrorKind::NotFound, "the host has no address")));
    }
    Ok(listeners)
}

async fn open_log(data_dir: &DataDir) -> Result<SharedLog, StartError> {
    let folder = data_dir.log();
    let opening = move || {
        SharedLog::open(&folder, &LogOptions::default()).map_err(|source| StartError::Log { folder, source })
    };
    tokio::task::spawn_blocking(opening).await.map_err(io::Error::other)?
}

/// What the log holds, read before the consensus worker takes it over.
fn known_replicas(log: &SharedLog) -> BTreeMap<PartitionId, Known> {
    let known = |partition| {
        let record = log.record(partition)?;
        let known =
            Known { replica: record.replica, generation: record.generation, start: record.start.index };
        Some((partition, known))
    };
    log.groups().into_iter().filter_map(known).collect()
}
