//! Starting a coordinator's replica of the catalog: founding a cluster, joining one, or coming back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::{Error, ReplicaId};
use consensus_runtime::{
    Configuration, GroupHandle, GroupSpec, LogOptions, LogWriteError, OpenLogError, Runtime, RuntimeOptions,
    SharedLog, StartError,
};
use parking_lot::{Mutex, RwLock};
use polylite_client::node::CoordinatorClient;
use polylite_client::peer::PeerPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::directory::{Directory, DirectoryError, Identity, Membership};
use super::host::CatalogHost;
use super::joining::{Candidate, ask_until_taken_in, forget_former_cluster};
use super::machine::{GROUP, Machine, SNAPSHOT_INTERVAL, new_cluster_name};
use super::shared::Shared;
use super::snapshot::{self, Position, SnapshotError};
use super::transport::CatalogTransport;
use super::{CatalogStore, Home, Inner, caretaker};
use crate::catalog::random;

/// The replica of whoever founds a cluster.
const FOUNDER: ReplicaId = ReplicaId(1);
/// How long a lone coordinator may take to lead itself; its disk is all that it waits for.
const FOUND_TIMEOUT: Duration = Duration::from_secs(30);

/// How a coordinator keeps the catalog.
#[derive(Clone, Debug)]
pub struct CatalogOptions {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Host that others are told.
    pub host: String,
    /// Port that others are told.
    pub port: u16,
    /// Coordinators of the cluster to join (`host:port` or `http://host:port`), if the data directory is new; they
    /// are asked in turn. Without one a new data directory founds a cluster.
    pub join: Vec<String>,
    /// Sizes of the log.
    pub log: LogOptions,
    /// How consensus keeps time.
    pub runtime: RuntimeOptions,
    /// Entries between two snapshots.
    pub snapshot_interval: u64,
}

impl CatalogOptions {
    /// The usual settings.
    #[must_use]
    pub fn new(data_dir: PathBuf, host: &str, port: u16) -> CatalogOptions {
        CatalogOptions {
            data_dir,
            host: host.to_owned(),
            port,
            join: Vec::new(),
            log: LogOptions::default(),
            runtime: RuntimeOptions::new(random::seed()),
            snapshot_interval: SNAPSHOT_INTERVAL,
        }
    }
}

/// Why a coordinator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenCatalogError {
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The Raft log.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// The Raft log could not be rid of a cluster that was left.
    #[error("the log cannot be written: {0}")]
    WriteLog(#[from] LogWriteError),
    /// The newest snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The catalog's group.
    #[error("the catalog's group cannot start: {0}")]
    Group(#[from] StartError),
    /// The operating system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The cluster to join.
    #[error("cannot join the cluster: {0}")]
    Join(Error),
    /// The first commands of a new cluster.
    #[error("cannot found the cluster: {0}")]
    Found(Error),
}

impl CatalogStore {
    /// Opens the catalog in a data directory. A new directory founds a cluster of one, or joins one; a known
    /// one takes its place again, possibly under a new address. A coordinator that joins is in the catalog when
    /// this returns, and catches up once its listener serves peers.
    pub async fn open(options: CatalogOptions, pool: PeerPool) -> Result<CatalogStore, OpenCatalogError> {
        let directory = Arc::new(Directory::open(&options.data_dir)?);
        let client = CoordinatorClient::new(pool);
        let identity = settle_identity(&directory, &options, &client).await?;
        let log = SharedLog::open(&directory.log(), &options.log)?;
        CatalogStore::start(Home { directory, log }, identity, options, client).await
    }

    /// As [`CatalogStore::open`], on what a store that was closed has left.
    pub(crate) async fn reopen(
        home: Home,
        options: CatalogOptions,
        pool: PeerPool,
    ) -> Result<CatalogStore, OpenCatalogError> {
        let client = CoordinatorClient::new(pool);
        let identity = settle_identity(&home.directory, &options, &client).await?;
        CatalogStore::start(home, identity, options, client).await
    }

    async fn start(
        home: Home,
        identity: Identity,
        options: CatalogOptions,
        client: CoordinatorClient,
    ) -> Result<CatalogStore, OpenCatalogError> {
        let Home { directory, log } = home.clone();
        let membership = identity.membership.clone().expect("it was settled just now");
        forget_former_cluster(&log, membership.replica)?;
        let generation = log.record(GROUP).map_or(0, |record| record.generation);
        directory.keep_generation(generation)?;
        let snapshot = snapshot::read(&directory.snapshot(generation))?.filter(|found| {
            [membership.cluster.as_str(), ""].contains(&found.state.catalog.cluster.as_str())
        });
        let (position, state) = snapshot.map(|found| (found.position, found.state)).unzip();
        let state = state.unwrap_or_default();

        let known = membership.coordinators.clone();
        let applied = position.as_ref().map_or(0, |position: &Position| position.index);
        let shared = Arc::new(Shared::new(state.catalog.clone(), applied, generation, known));
        let cluster = Arc::new(RwLock::new(membership.cluster.clone()));
        let transport = Arc::new(CatalogTransport { pool: client.pool().clone(), cluster });
        let runtime = Runtime::start(log.clone(), transport, options.runtime.clone())?;
        let (events, queue) = mpsc::unbounded_channel();
        let host = CatalogHost { events: events.clone(), role: shared.role.clone() };
        let group = start_group(&runtime, &membership, &shared, applied, host).await?;
        // A group without a snapshot stands where its log begins.
        let start = log.record(GROUP).expect("the group is in the log").start;
        let log_start = Position { index: start.index, term: start.term, configuration: start.configuration };

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let machine = Machine {
            directory: directory.clone(),
            shared: shared.clone(),
            group: group.clone(),
            client: client.clone(),
            state,
            position: position.unwrap_or(log_start),
            snapshot_index: applied,
            snapshot_interval: options.snapshot_interval.max(1),
            staged: None,
            writing: false,
            requested: None,
            events,
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(machine.run(queue)));
        let (losses, elector) = (client.pool().losses(), runtime.clone());
        let telling_of_losses = losses.for_each(move |address| elector.unreachable(address));
        tasks.spawn(stop.clone().run_until_cancelled_owned(telling_of_losses));
        let store = CatalogStore {
            inner: Arc::new(Inner {
                cluster: membership.cluster.clone(),
                replica: membership.replica,
                instance: identity.instance.clone(),
                host: options.host.clone(),
                port: options.port,
                address: common::catalog::address(&options.host, options.port),
                leaving: AtomicBool::new(false),
                left: AtomicBool::new(false),
                shared,
                group,
                runtime,
                client,
                home: Mutex::new(Some(home)),
                stop: stop.clone(),
                tasks: tasks.clone(),
            }),
        };
        if membership.founder {
            caretaker::found(&store, &options, FOUND_TIMEOUT).await.map_err(OpenCatalogError::Found)?;
        }
        tasks.spawn(stop.run_until_cancelled_owned(caretaker::run(
            store.clone(),
            options.host,
            options.port,
        )));
        Ok(store)
    }
}

async fn start_group(
    runtime: &Runtime,
    membership: &Membership,
    shared: &Shared,
    applied: u64,
    host: CatalogHost,
) -> Result<GroupHandle, StartError> {
    let alone = shared.view().coordinators.len() <= 1;
    let spec = GroupSpec {
        group: GROUP,
        replica: membership.replica,
        peers: shared.peers(),
        initial: membership.founder.then(|| Configuration::of_voters([membership.replica])),
        applied,
        campaign_now: membership.founder && alone,
    };
    runtime.start_group(spec, Box::new(host)).await
}

/// Who this coordinator is: as before, or by founding or joining a cluster.
async fn settle_identity(
    directory: &Directory,
    options: &CatalogOptions,
    client: &CoordinatorClient,
) -> Result<Identity, OpenCatalogError> {
    let mut identity = match directory.identity()? {
        Some(identity) => identity,
        None => {
            // Written before anybody hears of it, so that a join that is repeated after a crash is the same one.
            let identity = Identity { instance: random::uuid(), membership: None };
            directory.set_identity(&identity)?;
            identity
        }
    };
    if identity.membership.is_some() {
        return Ok(identity);
    }
    identity.membership = Some(if options.join.is_empty() {
        Membership {
            cluster: new_cluster_name(),
            replica: FOUNDER,
            founder: true,
            coordinators: [(FOUNDER, common::catalog::address(&options.host, options.port))].into(),
        }
    } else {
        let candidate = Candidate { host: &options.host, port: options.port, instance: &identity.instance };
        ask_until_taken_in(client, &options.join, &candidate).await.map_err(OpenCatalogError::Join)?
    });
    directory.set_identity(&identity)?;
    Ok(identity)
}
