//! Processes of a small cluster within one: real clocks, logs and threads; only the network is a function call.

// Each test file uses a part of this.
#![allow(dead_code)]

pub mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{NodeId, PartitionId, ReplicaId};
use consensus_runtime::{
    AppliedConfiguration, Committed, CommittedKind, Configuration, Envelope, GroupHandle, GroupHost,
    GroupSpec, Installed, LogOptions, PeerAddress, Proposed, Role, RoleChange, Runtime, RuntimeOptions,
    SharedLog, SnapshotDescription, SnapshotOffer, SnapshotRefused, SnapshotRequest, StagedOutcome,
    Transport,
};
use parking_lot::{Condvar, Mutex, RwLock};

use self::disk::{Gate, WatchedDisk};

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runtimes by node, and the replicas' snapshots. A node that is not in the map does not get its messages.
#[derive(Default)]
pub struct Network {
    runtimes: RwLock<BTreeMap<NodeId, Runtime>>,
    files: Mutex<BTreeMap<(ReplicaId, u64), State>>,
    /// Heartbeats, votes and their answers that were sent, by sender and addressee.
    urgent: Mutex<BTreeMap<(ReplicaId, ReplicaId), u64>>,
    sent: Condvar,
}

impl Network {
    /// Waits until so many more urgent messages have gone this way.
    pub fn wait_for_urgent(&self, from: u64, to: u64, count: u64) {
        let way = (ReplicaId(from), ReplicaId(to));
        let mut urgent = self.urgent.lock();
        let goal = urgent.get(&way).copied().unwrap_or(0) + count;
        let is_short = |urgent: &mut BTreeMap<_, u64>| urgent.get(&way).is_none_or(|sent| *sent < goal);
        let timed_out = self.sent.wait_while_for(&mut urgent, is_short, PATIENCE).timed_out();
        assert!(!timed_out, "{from} does not speak to {to}");
    }

    fn note_urgent(&self, batch: &[Envelope]) {
        let mut urgent = self.urgent.lock();
        for envelope in batch.iter().filter(|envelope| envelope.urgent) {
            *urgent.entry((envelope.from, envelope.to)).or_default() += 1;
        }
        self.sent.notify_all();
    }
}

struct Wire(Arc<Network>);

impl Transport for Wire {
    fn send(&self, to: &PeerAddress, batch: Vec<Envelope>) {
        self.0.note_urgent(&batch);
        let runtime = self.0.runtimes.read().get(&to.node).cloned();
        if let Some(runtime) = runtime {
            runtime.deliver(batch);
        }
    }
}

/// A state machine. Survives its process, as a file would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub applied: u64,
    term: u64,
    pub values: Vec<Bytes>,
    pub configuration: AppliedConfiguration,
    pub role: RoleSeen,
    pub generation: u64,
    pub failure: Option<String>,
    pub refused_snapshots: u32,
}

/// The latest role that the host was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleSeen {
    pub role: Role,
    pub term: u64,
}

/// A state that can be waited on.
#[derive(Clone, Default)]
pub struct Watched(Arc<(Mutex<State>, Condvar)>);

impl Watched {
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.0.0.lock());
        self.0.1.notify_all();
        result
    }

    pub fn get(&self) -> State {
        self.0.0.lock().clone()
    }

    /// Waits until the state is as wanted.
    pub fn wait(&self, what: &str, wanted: impl Fn(&State) -> bool) -> State {
        let mut state = self.0.0.lock();
        let timed_out = self.0.1.wait_while_for(&mut state, |state| !wanted(state), PATIENCE).timed_out();
        assert!(!timed_out, "waited too long until {what}; the state is {state:?}");
        state.clone()
    }
}

/// What a host hears, on its way to the partition's thread.
enum Heard {
    Handle(GroupHandle),
    Committed(Vec<Committed>),
    Role(RoleChange),
    MakeSnapshot(SnapshotRequest),
    Install(SnapshotOffer),
    Staged(StagedOutcome),
    Failed(String),
}

struct Host(mpsc::Sender<Heard>);

impl Host {
    fn tell(&self, heard: Heard) {
        // The partition's thread ends with its process.
        let _ = self.0.send(heard);
    }
}

impl GroupHost for Host {
    fn committed(&mut self, entries: Vec<Committed>) {
        self.tell(Heard::Committed(entries));
    }

    fn role_changed(&mut self, change: RoleChange) {
        self.tell(Heard::Role(change));
    }

    fn make_snapshot(&mut self, request: SnapshotRequest) {
        self.tell(Heard::MakeSnapshot(request));
    }

    fn install_snapshot(&mut self, offer: SnapshotOffer) {
        self.tell(Heard::Install(offer));
    }

    fn snapshot_staged(&mut self, outcome: StagedOutcome) {
        self.tell(Heard::Staged(outcome));
    }

    fn failed(&mut self, reason: String) {
        self.tell(Heard::Failed(reason));
    }
}

/// The thread of a partition: applies what is committed, makes and stages snapshots.
struct Partition {
    replica: ReplicaId,
    state: Watched,
    network: Arc<Network>,
    handle: Option<GroupHandle>,
    staged: Option<State>,
}

impl Partition {
    fn run(mut self, heard: mpsc::Receiver<Heard>) {
        for heard in heard {
            match heard {
                Heard::Handle(handle) => self.handle = Some(handle),
                Heard::Committed(entries) => self.apply(entries),
                Heard::Role(change) => {
                    let role = RoleSeen { role: change.role, term: change.term };
                    self.state.change(|state| state.role = role);
                }
                Heard::MakeSnapshot(request) => self.make_snapshot(request),
                Heard::Install(offer) => self.stage(&offer),
                Heard::Staged(StagedOutcome::Adopted { generation, index }) => {
                    let staged = self.staged.take().expect("it was staged");
                    assert_eq!((staged.generation, staged.applied), (generation, index));
                    self.state.change(|state| {
                        *state = State { role: state.role.clone(), ..staged };
                    });
                }
                Heard::Staged(StagedOutcome::Discarded { .. }) => self.staged = None,
                Heard::Failed(reason) => self.state.change(|state| state.failure = Some(reason)),
            }
        }
    }

    fn handle(&self) -> &GroupHandle {
        self.handle.as_ref().expect("the handle is told first")
    }

    fn apply(&self, entries: Vec<Committed>) {
        let last = self.state.change(|state| {
            for entry in entries {
                // What a snapshot held already may be handed out once more.
                if entry.index <= state.applied {
                    continue;
                }
                assert_eq!(entry.index, state.applied.max(1) + 1, "entries come in order, without gaps");
                (state.applied, state.term) = (entry.index, entry.term);
                match entry.kind {
                    CommittedKind::Normal => state.values.push(entry.data),
                    CommittedKind::Configuration(configuration) => state.configuration = configuration,
                    CommittedKind::Empty => {}
                }
            }
            state.applied
        });
        if self.handle.is_some() {
            self.handle().applied(last);
        }
    }

    fn make_snapshot(&self, request: SnapshotRequest) {
        let state = self.state.get();
        assert!(state.applied >= request.index_min, "what is asked for has been handed out");
        let description = SnapshotDescription {
            index: state.applied,
            term: state.term,
            configuration: state.configuration.clone(),
            bytes: Bytes::from_static(b"where to fetch it"),
        };
        self.network.files.lock().insert((self.replica, state.applied), state);
        self.handle().snapshot_ready(Some(description));
    }

    fn stage(&mut self, offer: &SnapshotOffer) {
        assert_eq!(offer.description.bytes, b"where to fetch it"[..]);
        // The first attempt fails, so that every test shows that the offer comes again.
        if self.state.get().refused_snapshots == 0 {
            self.state.change(|state| state.refused_snapshots += 1);
            return self.handle().snapshot_installed(Err(SnapshotRefused));
        }
        let file = self.network.files.lock().get(&(offer.from, offer.description.index)).cloned();
        let mut staged = file.expect("the leader keeps what it offers");
        let old = self.state.get();
        staged.generation = old.generation + 1;
        staged.refused_snapshots = old.refused_snapshots;
        let installed = Installed {
            index: staged.applied,
            term: staged.term,
            configuration: staged.configuration.clone(),
            generation: staged.generation,
        };
        self.staged = Some(staged);
        self.handle().snapshot_installed(Ok(installed));
    }
}

/// A process: a runtime with one group.
pub struct Process {
    pub runtime: Runtime,
    pub handle: GroupHandle,
}

/// A cluster with one group; replica `n` lives on node `n`.
pub struct Cluster {
    pub network: Arc<Network>,
    pub directory: tempfile::TempDir,
    pub states: BTreeMap<u64, Watched>,
    pub processes: BTreeMap<u64, Process>,
    pub options: RuntimeOptions,
    /// What the logs' syncs go through, by replica.
    pub gates: BTreeMap<u64, Arc<Gate>>,
}

pub const GROUP: PartitionId = PartitionId(7);

impl Cluster {
    /// A cluster of that many voters; replica 1 leads.
    pub fn new(voters: u64) -> Cluster {
        Cluster::with_options(voters, RuntimeOptions::new(0))
    }

    /// The same with other settings.
    pub fn with_options(voters: u64, mut options: RuntimeOptions) -> Cluster {
        options.tick = Duration::from_millis(10);
        // Whoever misses one truncated entry gets a snapshot.
        options.truncation_lag_max = 0;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (network, states, processes) = (Arc::default(), BTreeMap::new(), BTreeMap::new());
        let gates = BTreeMap::new();
        let mut cluster = Cluster { network, directory, states, processes, options, gates };
        let ids: BTreeSet<u64> = (1..=voters).collect();
        for id in &ids {
            cluster.start(*id, Some(Configuration::of_voters(ids.iter().copied().map(ReplicaId))));
        }
        cluster.processes[&1].handle.campaign();
        let all: Vec<u64> = ids.into_iter().collect();
        let deadline = Instant::now() + PATIENCE;
        while cluster.leader_within(&[1], Duration::from_secs(1)).is_none() {
            // On a busy machine another's time-out may have been over first.
            assert!(Instant::now() < deadline, "replica 1 does not become the leader");
            let leader = cluster.wait_for_leader(&all);
            cluster.processes[&leader].handle.transfer_leader(ReplicaId(1));
        }
        cluster
    }

    /// Starts the process of a replica: anew, or on what its log and state hold.
    pub fn start(&mut self, id: u64, initial: Option<Configuration>) {
        let state = self.states.entry(id).or_default().clone();
        if let Some(configuration) = initial.clone()
            && state.get().applied == 0
        {
            state.change(|state| state.configuration = AppliedConfiguration { index: 1, configuration });
        }
        let gate = self.gates.entry(id).or_default().clone();
        let before_sync = move || {
            gate.pass();
            Ok(())
        };
        let disk = Arc::new(WatchedDisk(Arc::new(before_sync)));
        let directory = self.log_directory(id);
        let log = SharedLog::open_with_file_system(&directory, &LogOptions::small(), disk).expect("log");
        let options = RuntimeOptions { seed: id, ..self.options.clone() };
        let wire = Arc::new(Wire(self.network.clone()));
        let runtime = Runtime::start(log, wire, options).expect("runtime");
        self.network.runtimes.write().insert(node(id), runtime.clone());
        let (sender, heard) = mpsc::channel();
        let spec = GroupSpec {
            group: GROUP,
            replica: ReplicaId(id),
            peers: (1..=9).map(|id| (ReplicaId(id), address(id))).collect(),
            initial,
            applied: state.get().applied,
            campaign_now: false,
        };
        state.change(|state| state.role = RoleSeen::default());
        let partition = Partition {
            replica: ReplicaId(id),
            state,
            network: self.network.clone(),
            handle: None,
            staged: None,
        };
        let handle =
            runtime.start_group(spec, Box::new(Host(sender.clone()))).wait().expect("the group starts");
        // Ahead of everything that the host hears of the leader: only its own start comes before.
        sender.send(Heard::Handle(handle.clone())).expect("the receiver is here");
        std::thread::spawn(move || partition.run(heard));
        self.processes.insert(id, Process { runtime, handle });
    }

    /// Ends a process. What its log has not synced may stay: the operating system has not died.
    pub fn kill(&mut self, id: u64) {
        self.network.runtimes.write().remove(&node(id));
        let process = self.processes.remove(&id).expect("a running process");
        process.runtime.shutdown();
    }

    /// Waits until one of the replicas has been told that it leads, and has applied an entry of its term.
    pub fn wait_for_leader(&self, among: &[u64]) -> u64 {
        let leader = self.leader_within(among, PATIENCE);
        leader.unwrap_or_else(|| panic!("no leader among {among:?}"))
    }

    /// The same, if it happens in time.
    fn leader_within(&self, among: &[u64], patience: Duration) -> Option<u64> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            // Any of their states may be the one that changes, so each is looked at in turn for a while.
            for id in among {
                let state = &self.states[id];
                let mut locked = state.0.0.lock();
                let leads =
                    |state: &mut State| state.role.role == Role::Leader && state.term == state.role.term;
                state.0.1.wait_while_for(&mut locked, |state| !leads(state), Duration::from_millis(20));
                if leads(&mut locked) {
                    return Some(*id);
                }
            }
        }
        None
    }

    /// Proposes on the leader and waits until it is committed there.
    pub fn write(&self, leader: u64, value: &'static str) -> Proposed {
        let proposed = self.processes[&leader].handle.propose(Bytes::from_static(value.as_bytes())).wait();
        let proposed = proposed.expect("the leader takes it");
        self.states[&leader].wait("the proposal is applied", |state| state.applied >= proposed.index);
        proposed
    }

    /// Waits until all the replicas' states hold these values.
    pub fn wait_for_values(&self, ids: &[u64], values: &[&str]) {
        for id in ids {
            self.states[id].wait(&format!("replica {id} has {values:?}"), |state| state.values == values);
        }
    }

    fn log_directory(&self, id: u64) -> PathBuf {
        self.directory.path().join(id.to_string())
    }
}

fn node(id: u64) -> NodeId {
    NodeId(format!("node-{id}"))
}

pub fn address(id: u64) -> PeerAddress {
    PeerAddress { node: node(id), address: format!("memory:{id}") }
}
