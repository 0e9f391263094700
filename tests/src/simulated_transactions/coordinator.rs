//! Coordinators: production gateways over the simulated network.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::catalog::Catalog;
use common::protocol::LeaseHolder;
use common::{Error, ErrorCode, Outcome, ReplicaId, Result};
use coordinator::catalog::{Answer, Command};
use coordinator::gateway::surroundings::Surroundings;
use coordinator::gateway::{Gateway, Leaders, Reach};
use coordinator::metrics::{RequestMetrics, TransactionMetrics};
use coordinator::operations::cluster::Cluster as _;
use coordinator::result_cache::leases::HeldLeases;
use futures_util::future::{BoxFuture, FutureExt as _};
use polylite_client::peer::{PeerOptions, PeerPool};
use query::Moment;
use query::schema::SchemaChange;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlite::Workspace;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::COORDINATORS;
use super::network::Network;
use super::signal::Signal;
use crate::simulated_placement::world::{BEGIN_MS, World};

/// A transaction that takes longer is logged, which nobody reads here.
const SLOW: Duration = Duration::from_secs(3_600);

/// A coordinator.
pub(super) struct Coordinator {
    number: u64,
    pub(super) gateway: Gateway,
    dead: Signal,
}

/// Those that run. Clones are the same.
#[derive(Clone)]
pub(super) struct Coordinators {
    world: World,
    network: Network,
    begun: Instant,
    running: Arc<Mutex<Vec<Arc<Coordinator>>>>,
}

impl Coordinators {
    pub(super) fn new(world: &World, network: &Network) -> Coordinators {
        let (world, network) = (world.clone(), network.clone());
        let coordinators = Coordinators { world, network, begun: Instant::now(), running: Arc::default() };
        let first: Vec<_> = (0..COORDINATORS as u64).map(|number| coordinators.begin(number)).collect();
        *coordinators.running() = first;
        coordinators
    }

    fn running(&self) -> MutexGuard<'_, Vec<Arc<Coordinator>>> {
        self.running.lock().expect("a panic ends the run")
    }

    fn begin(&self, number: u64) -> Arc<Coordinator> {
        let dead = Signal::default();
        let way = self.network.way_of(number, dead.clone());
        let peers = PeerPool::new(PeerOptions { network: Some(Arc::new(way)), ..PeerOptions::default() });
        let random = StdRng::seed_from_u64(self.world.state().random.random());
        let around =
            Around { world: self.world.clone(), number, random: Mutex::new(random), begun: self.begun };
        let holder = LeaseHolder { process: number, address: format!("coordinator-{number}") };
        let reach = Reach {
            surroundings: Arc::new(around),
            peers,
            leaders: Arc::<Leaders>::default(),
            leases: Arc::new(HeldLeases::of(holder)),
        };
        let metrics = TransactionMetrics::new(&RequestMetrics::new(), SLOW);
        let gateway = Gateway::new(reach, query::Rules::default(), Workspace::default(), metrics);
        Arc::new(Coordinator { number, gateway, dead })
    }

    /// The coordinator in a place.
    pub(super) fn at(&self, place: usize) -> Arc<Coordinator> {
        self.running()[place].clone()
    }

    pub(super) fn number_at(&self, place: usize) -> u64 {
        self.running()[place].number
    }

    /// The coordinator in a place dies, and another one takes it.
    pub(super) fn replace(&self, place: usize) {
        let next = self.running().iter().map(|known| known.number).max().expect("there are some") + 1;
        let new = self.begin(next);
        let old = std::mem::replace(&mut self.running()[place], new);
        // Clients that wait for it wait in vain, and what it would still do reaches nobody.
        old.dead.give();
    }

    /// What they agree on.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        self.world.view()
    }

    /// Time and chance for a request about documents.
    pub(super) fn moment(&self) -> Moment {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Moment { now_ms: BEGIN_MS + since, random: self.world.state().random.random() }
    }
}

impl Coordinator {
    /// Does something for a client, who hears nothing if the coordinator dies.
    pub(super) async fn serve<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.dead.given() => {
                Err(Error::new(ErrorCode::Unavailable, "the coordinator is gone").with_outcome(Outcome::Unknown))
            }
            done = work => done,
        }
    }
}

/// What a gateway takes from its process.
struct Around {
    world: World,
    number: u64,
    random: Mutex<StdRng>,
    begun: Instant,
}

impl Around {
    /// The way to the other coordinators.
    async fn travel(&self) {
        let delay = self.world.state().delay();
        sleep(Duration::from_micros(delay)).await;
    }
}

impl Surroundings for Around {
    fn view(&self) -> Arc<Catalog> {
        self.world.view()
    }

    fn confirmed(&self) -> BoxFuture<'_, Result<Arc<Catalog>>> {
        async {
            self.travel().await;
            Ok(self.world.view())
        }
        .boxed()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.world.state().changed.subscribe()
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Answer>> {
        async move {
            self.travel().await;
            let answer = self.world.state().propose(&command);
            self.travel().await;
            answer
        }
        .boxed()
    }

    fn change_schema(
        &self,
        database: String,
        before: u64,
        change: SchemaChange,
        _within: Duration,
    ) -> BoxFuture<'_, Result<()>> {
        async move {
            let command = Command::ChangeSchema {
                database: database.clone(),
                expected_version: before,
                schema: change.schema.clone(),
                statements: change.statements.clone(),
                group_statements: change.group_statements.clone(),
                undo: Vec::new(),
                transaction: None,
            };
            let Answer::Operation(operation) = self.propose(command).await? else {
                return Err(Error::internal("a change of the schema is an operation"));
            };
            let groups: Vec<_> = std::iter::once(change.statements).chain(change.group_statements).collect();
            for (group, _, partition) in self.world.view().databases[&database].partitions() {
                let statements = groups.get(group).cloned().unwrap_or_default();
                self.change_partition(partition, change.schema.version, statements).await;
            }
            self.propose(Command::FinishOperation { operation }).await.map(drop)
        }
        .boxed()
    }

    fn replica(&self) -> ReplicaId {
        ReplicaId(self.number + 1)
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(BEGIN_MS) + self.begun.elapsed()
    }

    fn drawn(&self) -> u64 {
        self.random.lock().expect("a panic ends the run").random()
    }

    fn computes_here(&self) -> bool {
        true
    }
}

impl Around {
    /// Schemas are changed while nothing fails: whoever leads does it.
    async fn change_partition(&self, partition: common::PartitionId, version: u64, statements: Vec<String>) {
        loop {
            let catalog = self.world.view();
            for replica in &catalog.partitions[&partition].replicas {
                let address = catalog.nodes[&replica.node].address();
                let time = Duration::from_secs(5);
                if self
                    .world
                    .change_schema(&address, partition, version, statements.clone(), time)
                    .await
                    .is_ok()
                {
                    return;
                }
            }
        }
    }
}
