//! A partition's group in one thread, from one seed: production consensus, log and state machine on simulated
//! disks that forget what was not synced, under a network that loses, delays, doubles and reorders, with
//! crashes, cuts and pauses. Every run is drawn from its seed and replays bit for bit.
//!
//! Safety is asserted all along: one leader a term, no committed entry is ever another. Then everything is
//! healed; the replicas must come to the same state, and what clients saw must be linearizable.

pub(crate) mod clients;
mod faults;
mod harm;
mod log_files;
pub(crate) mod node;
pub(crate) mod schedule;
mod settings;
mod witness;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use bytes::Bytes;
use common::ReplicaId;
use common::entry::{Entry, EntryBody};
use consensus::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlite::simulated::SimulatedDisk;
use storage_node::replica::machine::{Answer, Compared};

use clients::{History, UnderWay};
use harm::Harm;
pub use harm::QuarantineBug;
use node::{Broken, Input, Node, NodeSetup, PARTITION, Wish};
use schedule::Schedule;
pub use settings::Settings;
use witness::Witness;

/// A client gives up after this long, in microseconds.
const PATIENCE_US: u64 = 1_500_000;
/// A node is asked to answer within this time, which leaves some for the answer's way.
const ANSWER_US: u64 = 1_200_000;

/// A fault in the program under test, which the simulation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlantedBug {
    /// In the consensus.
    Consensus(consensus::PlantedBug),
    /// In the state machine.
    Machine(storage_node::replica::machine::PlantedBug),
    /// In what a replica does whose file is not what was written.
    Quarantine(QuarantineBug),
}

/// What must never be, and was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Broken> for Violation {
    fn from(broken: Broken) -> Self {
        Violation(format!("a replica cannot go on: {broken}"))
    }
}

/// What a run reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A hash over everything that happened, in order.
    pub fingerprint: u64,
    /// Simulated time, in microseconds.
    pub simulated_us: u64,
    /// Operations answered with success.
    pub acknowledged: u64,
    /// Operations whose outcome stayed unknown.
    pub unknown: u64,
    /// Terms that had a leader.
    pub leaders: u64,
    /// Nodes crashed.
    pub crashes: u64,
    /// Cuts of the network.
    pub cuts: u64,
    /// Nodes paused.
    pub pauses: u64,
    /// Disks that were full for a while, or failed to sync, read or write.
    pub disk_faults: u64,
    /// Nodes that ended because of that.
    pub ended_by_disks: u64,
    /// Files that were changed behind their replica's back.
    pub harms: u64,
    /// Replicas put into quarantine.
    pub quarantines: u64,
    /// Of the harmed files, those that another one took the place of.
    pub rebuilt: u64,
    /// Messages lost, and doubled.
    pub messages_harmed: u64,
    /// Snapshots offered.
    pub snapshots: u64,
    /// Chunks of sets committed.
    pub chunks: u64,
}

/// Runs a seed's history to its end. An error is a fault of the program under test; a panic is one too.
pub fn run(settings: &Settings) -> Result<Report, Violation> {
    let names = tempfile::Builder::new()
        .prefix("polylite-simulation-")
        .tempdir()
        .expect("a temporary folder can be made");
    panics_are_violations(|| {
        let mut simulation = Simulation::new(settings.clone(), names.path().to_path_buf());
        simulation.run()?;
        Ok(simulation.report)
    })
}

/// Runs a history. A panic of the program under test is a violation, so that its seed is told.
pub(crate) fn panics_are_violations<T>(
    history: impl FnOnce() -> Result<T, Violation>,
) -> Result<T, Violation> {
    catch_unwind(AssertUnwindSafe(history)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Violation(format!("a panic: {}", text.unwrap_or("without a text"))))
    })
}

/// Longest time that a node stays down which crashes after a vote.
const VOTER_DOWN_US: u64 = 1_000;

enum Event {
    Tick { place: usize, incarnation: u64 },
    Arrive { to: usize, message: Message },
    Synced { place: usize, incarnation: u64 },
    Maintain { place: usize, incarnation: u64 },
    ClientActs { client: usize },
    Ask { place: usize, operation: u64 },
    Told { operation: u64, told: Told },
    ClientGivesUp { operation: u64 },
    Crash,
    CrashOne { place: usize, incarnation: u64 },
    Restart { place: usize },
    Cut,
    Mend { links: Vec<(usize, usize)> },
    Pause,
    Resume { place: usize },
    DiskFault,
    MendDisk { place: usize },
    Gone { place: usize, other: ReplicaId },
    Harm,
    Judge { place: usize, compared: Compared },
    CopyWanted { of: usize, by: usize, at_least: u64 },
    CopyArrives { place: usize, index: u64, bytes: Bytes },
}

/// An answer on its way to a client.
enum Told {
    Write(Answer),
    Read(Result<Option<u64>, ()>),
}

/// A place where a node runs, or does not.
struct Place {
    setup: NodeSetup,
    disk: SimulatedDisk,
    incarnation: u64,
    node: Option<Node>,
    /// Faults that its disk had when the node was started.
    faults_before: u64,
    /// What is wrong with its file.
    harm: Option<Harm>,
    /// It knows, and must not serve.
    condemned: bool,
    /// What arrived while it was paused.
    paused: Option<Vec<Waiting>>,
}

/// What a paused process finds when it goes on.
#[expect(clippy::large_enum_variant, reason = "few wait at a time, and almost all of them have arrived")]
enum Waiting {
    /// Something has arrived.
    Arrived(Input),
    /// The sync that it waited for is over.
    Synced,
}

struct Simulation {
    settings: Settings,
    random: StdRng,
    schedule: Schedule<Event>,
    places: Vec<Place>,
    cut: Vec<Vec<u32>>,
    under_way: BTreeMap<u64, UnderWay>,
    believed_leader: Vec<usize>,
    history: History,
    witness: Witness,
    last_operation: u64,
    /// No faults happen: before the first client comes, and after the last one has left.
    healing: bool,
    report: Report,
}

impl Simulation {
    fn new(settings: Settings, names: PathBuf) -> Simulation {
        let mut random = StdRng::seed_from_u64(settings.seed);
        let voters: Vec<ReplicaId> = (1..=settings.replicas as u64).map(ReplicaId).collect();
        let places = voters
            .iter()
            .map(|&replica| Place {
                setup: NodeSetup {
                    partition: PARTITION,
                    replica,
                    voters: voters.clone(),
                    names: names.join(replica.to_string()),
                    seed: random.random(),
                    election_ticks_spread: settings.election_ticks_spread,
                    log_entries: settings.log_entries,
                    entry_bytes: settings.entry_bytes,
                    clock_ahead_ms: random.random_range(0..1_000),
                    clock: None,
                    scrubs: settings.harm_every_us > 0,
                    harmed: false,
                    bug: settings.bug,
                },
                disk: SimulatedDisk::new(random.random()),
                incarnation: 0,
                node: None,
                faults_before: 0,
                harm: None,
                condemned: false,
                paused: None,
            })
            .collect();
        Simulation {
            cut: vec![vec![0; settings.replicas]; settings.replicas],
            believed_leader: vec![0; settings.clients],
            random,
            schedule: Schedule::default(),
            places,
            under_way: BTreeMap::new(),
            history: History::default(),
            witness: Witness::default(),
            last_operation: 0,
            healing: true,
            report: Report::default(),
            settings,
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        for place in 0..self.places.len() {
            self.start(place)?;
        }
        self.found_table()?;
        self.plan_faults();
        for client in 0..self.settings.clients {
            self.schedule.after(0, Event::ClientActs { client });
        }
        let busy_until = self.schedule.now() + self.settings.busy_us;
        self.go_on(|simulation| simulation.schedule.now() >= busy_until, u64::MAX)?;
        self.heal()?;
        self.check()?;
        self.report.simulated_us = self.schedule.now();
        self.report.acknowledged = self.history.acknowledged;
        self.report.unknown = self.history.unknown;
        self.report.leaders = self.witness.terms();
        self.report.fingerprint = self.witness.fingerprint();
        Ok(())
    }

    /// Lets events happen until `done`, at most until `limit`.
    fn go_on(&mut self, done: impl Fn(&Simulation) -> bool, limit: u64) -> Result<(), Violation> {
        while !done(self) {
            if self.schedule.now() > limit {
                return Err(Violation("the group does not come to rest after everything was healed".into()));
            }
            let event = self.schedule.next().expect("nodes tick for ever");
            self.happen(event)?;
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.schedule.now();
        match event {
            Event::Tick { place, incarnation } if self.is(place, incarnation) => {
                self.schedule.after(self.settings.tick_us, Event::Tick { place, incarnation });
                self.input(place, Input::Tick)
            }
            Event::Maintain { place, incarnation } if self.is(place, incarnation) => {
                let pause = self.random.random_range(50_000..400_000);
                self.schedule.after(pause, Event::Maintain { place, incarnation });
                self.input(place, Input::Maintain)
            }
            Event::Synced { place, incarnation } if self.is(place, incarnation) => {
                if let Some(waiting) = &mut self.places[place].paused {
                    waiting.push(Waiting::Synced);
                    return Ok(());
                }
                self.work(place, |node| node.synced(now))
            }
            // Of a node that has crashed since.
            Event::Tick { .. } | Event::Maintain { .. } | Event::Synced { .. } => Ok(()),
            Event::Arrive { to, message } => self.input(to, Input::Message(message)),
            Event::ClientActs { client } => {
                self.act(client);
                Ok(())
            }
            Event::Ask { place, operation } => self.ask(place, operation),
            Event::Told { operation, told } => {
                self.told(operation, told);
                Ok(())
            }
            Event::ClientGivesUp { operation } => {
                if let Some(of) = self.under_way.remove(&operation) {
                    self.history.timed_out(&of);
                    self.believed_leader[of.client] = self.random.random_range(0..self.places.len());
                    self.next_action(of.client);
                }
                Ok(())
            }
            Event::Crash => self.crash(),
            Event::CrashOne { place, incarnation } => {
                if self.is(place, incarnation) && !self.healing {
                    self.crash_one(place, VOTER_DOWN_US);
                }
                Ok(())
            }
            Event::Restart { place } => self.start(place),
            Event::Cut => {
                self.cut();
                Ok(())
            }
            Event::Mend { links } => {
                links.iter().for_each(|&(from, to)| self.mend(from, to));
                Ok(())
            }
            Event::Pause => {
                self.pause();
                Ok(())
            }
            Event::Resume { place } => self.resume(place),
            Event::DiskFault => {
                self.harm_disk();
                Ok(())
            }
            Event::MendDisk { place } => {
                self.mend_disk(place);
                Ok(())
            }
            Event::Gone { place, other } => self.input(place, Input::Gone(other)),
            Event::Harm => self.harm(),
            Event::Judge { place, compared } => self.judge(place, compared),
            Event::CopyWanted { of, by, at_least } => {
                let by = self.places[by].setup.replica;
                self.input(of, Input::CopyWanted { by, at_least })
            }
            Event::CopyArrives { place, index, bytes } => self.input(place, Input::Copy { index, bytes }),
        }
    }

    fn is(&self, place: usize, incarnation: u64) -> bool {
        self.places[place].incarnation == incarnation && self.places[place].node.is_some()
    }
}

fn is_chunk(data: &[u8]) -> bool {
    Entry::decode(data).is_ok_and(|entry| matches!(entry.body, EntryBody::Chunk { .. }))
}

/// Nodes.
impl Simulation {
    fn start(&mut self, index: usize) -> Result<(), Violation> {
        let place = &mut self.places[index];
        if place.node.is_some() {
            return Ok(());
        }
        place.incarnation += 1;
        let incarnation = place.incarnation;
        place.faults_before = place.disk.faults_met();
        let (setup, disk) = (place.setup.clone(), place.disk.clone());
        let Some(node) = self.attempt(index, |_| Node::start(&setup, &disk, incarnation))? else {
            return Ok(());
        };
        self.places[index].node = Some(node);
        self.witness.note(&("start", index, incarnation));
        let first_tick = self.random.random_range(0..self.settings.tick_us);
        self.schedule.after(first_tick, Event::Tick { place: index, incarnation });
        let maintenance = self.random.random_range(50_000..400_000);
        self.schedule.after(maintenance, Event::Maintain { place: index, incarnation });
        Ok(())
    }

    fn input(&mut self, index: usize, input: Input) -> Result<(), Violation> {
        let now = self.schedule.now();
        let place = &mut self.places[index];
        if place.node.is_none() {
            return Ok(());
        }
        if let Some(waiting) = &mut place.paused {
            // A paused process misses its ticks; what the network brings waits in its sockets.
            match input {
                Input::Tick | Input::Maintain => {}
                input => waiting.push(Waiting::Arrived(input)),
            }
            return Ok(());
        }
        self.work(index, |node| node.input(now, input))
    }

    /// Lets a node do something, and does what it wishes then.
    fn work(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Node) -> Result<Vec<Wish>, Broken>,
    ) -> Result<(), Violation> {
        if self.places[index].node.is_none() {
            return Ok(());
        }
        let acted = self.attempt(index, |node| act(node.as_mut().expect("it runs")))?;
        acted.map_or(Ok(()), |wishes| self.fulfil(index, wishes))
    }

    /// Has a node's program do something. Where its disk has failed, it may end; anywhere else it must not.
    fn attempt<T>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Option<Node>) -> Result<T, Broken>,
    ) -> Result<Option<T>, Violation> {
        let place = &mut self.places[index];
        let acted = catch_unwind(AssertUnwindSafe(|| act(&mut place.node)));
        let harmed = place.disk.faults_met() > place.faults_before;
        match acted {
            Ok(Ok(done)) => Ok(Some(done)),
            _ if harmed => {
                self.report.ended_by_disks += 1;
                self.crash_one(index, self.settings.down_us);
                Ok(None)
            }
            Ok(Err(broken)) => Err(broken.into()),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn fulfil(&mut self, place: usize, wishes: Vec<Wish>) -> Result<(), Violation> {
        for wish in wishes {
            match wish {
                Wish::Send(message) => {
                    self.crash_voter(place, &message);
                    self.send(place, message);
                }
                Wish::Sync => {
                    let incarnation = self.places[place].incarnation;
                    let time = self.random.random_range(50..=self.settings.sync_us);
                    self.schedule.after(time, Event::Synced { place, incarnation });
                }
                Wish::Answer(answer) => {
                    self.check_may_serve(place, answer.result.is_ok())?;
                    self.answer_client(answer.ticket.0, Told::Write(answer));
                }
                Wish::Read { operation, outcome } => {
                    self.check_may_serve(place, outcome.is_ok())?;
                    self.answer_client(operation, Told::Read(outcome));
                }
                Wish::Leads(term) => self.witness.leads(term, place)?,
                Wish::Compared(compared) => self.compared(place, compared)?,
                Wish::Condemned => self.condemned(place)?,
                Wish::Rebuilt => self.rebuilt(place),
                Wish::FoundSound => self.found_sound(place),
                Wish::WantCopy { of, at_least } => self.ask_for_copy(place, of, at_least),
                Wish::Copy { to, index, bytes } => self.send_copy(place, to, index, bytes),
                // Nobody asks for one here.
                Wish::Pinned { .. } | Wish::Served { .. } => {}
                Wish::Committed(index, term, data) => {
                    self.report.chunks += u64::from(is_chunk(&data));
                    self.witness.committed(index, term, &data)?;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, from: usize, message: Message) {
        let to = harm::place_of(message.to());
        self.witness.note(&("send", from, to, message.term(), message.size()));
        self.report.snapshots += u64::from(message.snapshot().is_some());
        if self.cut[from][to] > 0 || message.snapshot().is_some() && !self.may_hand_on(from) {
            return;
        }
        if self.strikes(self.settings.loss) {
            self.report.messages_harmed += 1;
            return;
        }
        if self.strikes(self.settings.duplication) {
            self.report.messages_harmed += 1;
            let delay = self.delay();
            self.schedule.after(delay, Event::Arrive { to, message: message.clone() });
        }
        let delay = self.delay();
        self.schedule.after(delay, Event::Arrive { to, message });
    }

    fn strikes(&mut self, per_million: u32) -> bool {
        !self.healing && self.random.random_range(0..1_000_000) < per_million
    }

    fn delay(&mut self) -> u64 {
        let longest = if self.healing { 500 } else { self.settings.delay_us };
        // Most messages are fast; some take long enough to arrive after many later ones.
        let limit = if self.random.random_bool(0.9) { longest / 10 } else { longest };
        self.random.random_range(10..=limit.max(11))
    }
}
