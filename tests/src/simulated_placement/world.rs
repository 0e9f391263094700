//! What there is: the catalog, the storage nodes, and what happens to them when.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::catalog::{Catalog, NodeStatus};
use common::partition_map::BucketRange;
use common::{Hlc, NodeId, PartitionId, ReplicaId};
use coordinator::catalog::{Answer, Command, apply, is_open};
use coordinator::placement::assignments;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlite::simulated::SimulatedDisk;
use storage_node::replica::machine::{Job, Reply};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::requests::{Question, Tell, Waiting};
use super::{Report, Settings};
use crate::simulated_cluster::Violation;
use crate::simulated_cluster::node::{Found, Input, Node, NodeClock, NodeSetup};
use crate::simulated_cluster::schedule::Schedule;

pub(crate) use super::storage::Place;

/// Storage nodes.
pub(crate) const NODES: usize = 4;
/// A replica's clock ticks so often, in microseconds.
const TICK_US: u64 = 20_000;
/// Nodes look so often for what they should run, in microseconds.
const OBEY_US: u64 = 50_000;
/// When the simulation begins, in milliseconds since the Unix epoch.
pub(crate) const BEGIN_MS: u64 = 1_700_000_000_000;

/// A simulated cluster. Clones are the same one.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

/// Names a replica.
pub(crate) type Name = (PartitionId, ReplicaId);

pub(crate) enum Event {
    Tick { name: Name, incarnation: u64 },
    Synced { name: Name, incarnation: u64 },
    Arrive { name: Name, message: consensus::Message, clock: Option<Hlc> },
    Ask { node: usize, partition: PartitionId, question: Question, tell: Tell },
    Told { told: Box<dyn FnOnce() + Send> },
    Obey { node: usize },
    Start { node: usize },
    Input { name: Name, input: Input },
}

pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) random: StdRng,
    pub(crate) schedule: Schedule<Event>,
    begun: Instant,
    pub(crate) catalog: Arc<Catalog>,
    /// Who founded each partition.
    pub(crate) founders: BTreeMap<PartitionId, Vec<ReplicaId>>,
    pub(crate) places: BTreeMap<Name, Place>,
    /// Whether each storage node runs.
    pub(crate) running: [bool; NODES],
    pub(crate) waiting: BTreeMap<u64, Waiting>,
    /// Coordinators wait for these jobs, …
    pub(crate) jobs: BTreeMap<u64, oneshot::Sender<common::Result<Reply>>>,
    /// … and for these rows.
    pub(crate) rows: BTreeMap<u64, oneshot::Sender<common::Result<Found>>>,
    /// The storage nodes' clocks, where it matters that messages carry them.
    pub(crate) clocks: Option<[NodeClock; NODES]>,
    /// Something is to happen earlier than was known.
    pub(crate) news: Arc<Notify>,
    /// The catalog's version.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) last_ticket: u64,
    /// Who led each term of each partition.
    pub(crate) leaders: BTreeMap<(PartitionId, u64), ReplicaId>,
    /// What was committed at each index.
    pub(crate) committed: BTreeMap<(PartitionId, u64), (u64, u64)>,
    pub(crate) healing: bool,
    /// How many of a million messages between replicas are lost, …
    pub(crate) message_loss: u32,
    /// … and how many of requests and their answers.
    request_loss: u32,
    pub(crate) report: Report,
    hasher: DefaultHasher,
    names: PathBuf,
}

pub(crate) fn node_id(node: usize) -> NodeId {
    NodeId::from(format!("n{node}").as_str())
}

impl World {
    pub(crate) fn new(settings: Settings, names: &Path) -> World {
        let mut random = StdRng::seed_from_u64(settings.seed);
        let mut state = State {
            settings,
            schedule: Schedule::default(),
            begun: Instant::now(),
            catalog: Arc::default(),
            founders: BTreeMap::new(),
            places: BTreeMap::new(),
            running: [true; NODES],
            waiting: BTreeMap::new(),
            jobs: BTreeMap::new(),
            rows: BTreeMap::new(),
            clocks: None,
            news: Arc::default(),
            changed: watch::Sender::new(0),
            last_ticket: 0,
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            healing: false,
            message_loss: random.random_range(0..20_000),
            // A request of an attempt that is lost ends the attempt, so that most of the time none is.
            request_loss: if random.random_bool(0.3) { random.random_range(0..3_000) } else { 0 },
            report: Report::default(),
            hasher: DefaultHasher::new(),
            names: names.to_owned(),
            random: StdRng::seed_from_u64(random.random()),
        };
        let found = Command::FoundCluster {
            cluster: "simulated".into(),
            replica: ReplicaId(1),
            host: "coordinator".into(),
            port: 1,
            instance: "instance".into(),
        };
        state.propose(&found).expect("a cluster is founded");
        for node in 0..NODES {
            let register = Command::RegisterNode {
                node: Some(node_id(node)),
                instance: Some(format!("instance {node}")),
                host: "storage".into(),
                port: u16::try_from(node + 1).expect("few nodes"),
            };
            state.propose(&register).expect("a node registers");
            state.schedule.after(OBEY_US, Event::Obey { node });
        }
        World(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("a panic ends the run")
    }

    /// Lets everything happen at its time. Ends only by a violation.
    pub(crate) async fn happen(&self) -> Violation {
        loop {
            let next = {
                let mut state = self.state();
                let now = state.elapsed_us();
                while state.schedule.next_time().is_some_and(|time| time <= now) {
                    let event = state.schedule.next().expect("there is one");
                    if let Err(violation) = state.happen(event) {
                        return violation;
                    }
                }
                state.schedule.next_time().expect("nodes look for ever for what they should run")
            };
            let (begun, news) = {
                let state = self.state();
                (state.begun, state.news.clone())
            };
            tokio::select! {
                biased;
                () = news.notified() => {}
                () = tokio::time::sleep_until(begun + Duration::from_micros(next)) => {}
            }
        }
    }

    /// No more faults: every node runs, and messages arrive.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.healing = true;
        for node in 0..NODES {
            state.start_node(node);
        }
    }

    /// Whether no operation is open and all partitions of the map have leaders that take writes.
    pub(crate) fn is_at_rest(&self) -> bool {
        let state = self.state();
        let catalog = &state.catalog;
        let leads = |id: PartitionId| {
            let reports = state.places.iter().filter(|((partition, _), _)| *partition == id);
            reports.filter_map(|(_, place)| place.report()).any(|report| report.writable)
        };
        !catalog.operations.values().any(is_open)
            && catalog.databases.values().all(|database| database.partitions().all(|(_, _, id)| leads(id)))
    }

    /// The operations under way, for messages.
    pub(crate) fn open_operations(&self) -> String {
        let state = self.state();
        let open = state.catalog.operations.values().filter(|operation| is_open(operation));
        open.map(|operation| format!("{:?} ", operation.work)).collect()
    }

    pub(crate) fn report(&self) -> Report {
        let state = self.state();
        Report { fingerprint: state.hasher.finish(), ..state.report }
    }
}

impl State {
    pub(crate) fn elapsed_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).expect("a short run")
    }

    /// Makes something a part of the run's fingerprint.
    pub(crate) fn note(&mut self, what: &impl std::hash::Hash) {
        (self.schedule.now(), what).hash(&mut self.hasher);
    }

    /// Carries a command out on the catalog.
    pub(crate) fn propose(&mut self, command: &Command) -> common::Result<Answer> {
        let mut catalog = (*self.catalog).clone();
        catalog.version += 1;
        let answer = apply(&mut catalog, BEGIN_MS + self.schedule.now() / 1_000, command)?;
        self.note(&("catalog", catalog.version));
        self.changed.send_replace(catalog.version);
        self.catalog = Arc::new(catalog);
        Ok(answer)
    }

    /// Lets something happen to a replica at once.
    pub(crate) fn soon(&mut self, name: Name, input: Input) {
        // The schedule knows the time of what has happened last.
        let delay = self.elapsed_us().saturating_sub(self.schedule.now());
        self.schedule.after(delay, Event::Input { name, input });
        self.news.notify_one();
    }

    /// A storage node's clock.
    pub(crate) fn clock_of(&self, node: usize) -> Option<&NodeClock> {
        self.clocks.as_ref().map(|clocks| &clocks[node])
    }

    /// How long something is on its way, in microseconds.
    pub(crate) fn delay(&mut self) -> u64 {
        let longest = if self.healing || self.random.random_bool(0.9) { 2_000 } else { 40_000 };
        self.random.random_range(100..longest)
    }

    /// Whether a message between replicas is lost on its way.
    pub(crate) fn loses_message(&mut self) -> bool {
        self.loses(self.message_loss)
    }

    /// Whether a request or its answer is lost on its way.
    pub(crate) fn loses_request(&mut self) -> bool {
        self.loses(self.request_loss)
    }

    fn loses(&mut self, rate: u32) -> bool {
        let lost = !self.healing && self.random.random_range(0..1_000_000) < rate;
        self.report.lost += u64::from(lost);
        lost
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Tick { name, incarnation } => {
                if self.is(name, incarnation) {
                    self.schedule.after(TICK_US, Event::Tick { name, incarnation });
                    self.input(name, Input::Tick)?;
                }
                Ok(())
            }
            Event::Synced { name, incarnation } if self.is(name, incarnation) => self.synced(name),
            Event::Synced { .. } => Ok(()),
            Event::Arrive { name, message, clock } => {
                if let (Some(place), Some(clock)) = (self.places.get(&name), clock) {
                    self.clock_of(place.on).into_iter().for_each(|own| own.observe(clock));
                }
                self.input(name, Input::Message(message))
            }
            Event::Input { name, input } => self.input(name, input),
            Event::Ask { node, partition, question, tell } => self.asked(node, partition, question, tell),
            Event::Told { told } => {
                told();
                Ok(())
            }
            Event::Obey { node } => {
                self.schedule.after(OBEY_US, Event::Obey { node });
                if self.running[node] { self.obey(node) } else { Ok(()) }
            }
            Event::Start { node } => {
                self.start_node(node);
                Ok(())
            }
        }
    }

    fn is(&self, name: Name, incarnation: u64) -> bool {
        self.places.get(&name).is_some_and(|place| place.node.is_some() && place.incarnation == incarnation)
    }

    /// Has a node run what the catalog assigns to it and nothing else.
    fn obey(&mut self, node: usize) -> Result<(), Violation> {
        let assigned = assignments(&self.catalog, &node_id(node)).replicas;
        let is_assigned = |(partition, replica): &Name| {
            assigned.iter().any(|one| one.partition == *partition && one.replica == *replica)
        };
        self.places.retain(|name, place| place.on != node || is_assigned(name));
        for assignment in assigned {
            let name = (assignment.partition, assignment.replica);
            if let Some(founders) = assignment.founders {
                self.founders.entry(assignment.partition).or_insert(founders);
            }
            let Some(voters) = self.founders.get(&assignment.partition).cloned() else { continue };
            if !self.places.contains_key(&name) {
                let setup = NodeSetup {
                    partition: assignment.partition,
                    replica: assignment.replica,
                    voters,
                    names: self.names.join(format!("{}-{}", name.0, name.1)),
                    seed: self.random.random(),
                    election_ticks_spread: 8,
                    // A new replica begins with the first entry of the log.
                    log_entries: u64::MAX,
                    entry_bytes: 1 << 20,
                    clock_ahead_ms: BEGIN_MS,
                    clock: self.clock_of(node).cloned(),
                    scrubs: false,
                    harmed: false,
                    bug: self.settings.bug.map(crate::simulated_cluster::PlantedBug::Machine),
                };
                let disk = SimulatedDisk::new(self.random.random());
                self.places.insert(name, Place::new(node, setup, disk));
            }
            if self.places[&name].node.is_none() {
                self.start(name)?;
            }
            self.assign(name, assignment.epoch, assignment.range)?;
        }
        Ok(())
    }

    /// A leader gives its partition the place in the map that the catalog says.
    fn assign(&mut self, name: Name, epoch: u64, range: BucketRange) -> Result<(), Violation> {
        let node = self.places[&name].node.as_ref();
        let is_due = |node: &Node| node.is_writable() && epoch > node.epoch();
        if node.is_some_and(is_due) { self.submit_own(name, Job::Assign { epoch, range }) } else { Ok(()) }
    }

    /// A storage node loses power.
    pub(crate) fn crash_node(&mut self, node: usize) {
        if !self.running[node] || self.healing {
            return;
        }
        self.note(&("crash", node));
        self.report.crashes += 1;
        self.running[node] = false;
        self.places.values_mut().filter(|place| place.on == node).for_each(Place::crash);
        let down = self.random.random_range(20_000..1_500_000);
        self.schedule.after(down, Event::Start { node });
    }

    /// A storage node starts; its replicas follow when it looks what it should run.
    pub(crate) fn start_node(&mut self, node: usize) {
        self.running[node] = true;
    }

    pub(crate) fn schedule_tick(&mut self, name: Name, incarnation: u64) {
        let first = self.random.random_range(0..TICK_US);
        self.schedule.after(first, Event::Tick { name, incarnation });
    }

    /// The nodes that the catalog holds for active.
    pub(crate) fn active(&self) -> Vec<NodeId> {
        let active = self.catalog.nodes.values().filter(|node| node.status == NodeStatus::Active);
        active.map(|node| node.id.clone()).collect()
    }
}
