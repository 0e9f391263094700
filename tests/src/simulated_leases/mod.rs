//! Leases in one thread, from one seed: the production state machines of those who grant and those who hold, under
//! changes of leaders, pauses of every process, clocks that run at different rates, and messages that are late or
//! lost.
//!
//! One partition counts its writes. What must hold: a read sees at least what was acknowledged, or seen by another
//! read, before it began. The log is replicated by decree ([`log`]), and reads that find no lease are confirmed by
//! it as production does.

mod clock;
mod coordinator;
mod log;
mod node;

use std::collections::BTreeMap;
use std::time::Duration;

use common::protocol::{Lease, LeaseHolder};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use clock::Clock;
use coordinator::Coordinator;
use log::Log;
use node::Node;

/// Nodes, each with a replica of the partition.
const NODES: usize = 3;
/// Coordinators.
const COORDINATORS: usize = 2;

/// A fault to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// A write begins at once, while the leases are being called back.
    WriteBeforeGivenBack,
    /// A new leader takes no notice of what its predecessor may have granted.
    NewLeaderDoesNotWait,
    /// A holder counts from when it was answered.
    CountedFromTheAnswer,
    /// A lease is told before leadership is confirmed.
    GrantedWithoutConfirmation,
    /// A clock runs faster than the leases' margin allows for.
    ClockTooFast,
}

/// Settings of a run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Everything random in the run comes from it.
    pub seed: u64,
    /// How much time passes in it.
    pub time: Duration,
    /// A fault to be found.
    pub bug: Option<PlantedBug>,
}

/// What a run reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Reads that were answered.
    pub reads: u64,
    /// Those for which nobody was asked.
    pub leased: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Leases that were called back.
    pub recalls: u64,
    /// Changes of the leader.
    pub elections: u64,
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Process {
    Node(usize),
    Coordinator(usize),
}

/// What happens to a process, or to all.
#[derive(Clone, Debug)]
enum Event {
    /// Another leader is elected.
    Elect,
    /// A process stands still for a while.
    Pause,
    /// A proposal gets its majority, if its proposer still leads.
    Commit { proposal: u64 },
    /// A majority confirms that a node leads, if it does.
    Confirm { node: usize, term: u64, round: u64 },
    /// A client writes.
    Write,
    /// A process is told something, once it goes on.
    Told { process: Process, what: Told },
}

/// What a process is told.
#[derive(Clone, Debug)]
enum Told {
    /// Time has passed.
    Tick,
    /// To a node: its part in a term.
    Role { term: u64, leads: bool },
    /// To a node: entries are committed up to an index.
    Committed { index: u64 },
    /// To a node: what became of a round of messages, and the index that was committed when it was over.
    Confirmed { round: u64, index: Option<u64> },
    /// To a node: write.
    Write,
    /// To a node: has the state stayed as it was, and may there be a lease?
    Ask { coordinator: usize, holder: LeaseHolder, since: u64, question: u64 },
    /// To a coordinator.
    Asked { question: u64, unchanged: bool, lease: Option<Lease> },
    /// To a node: read.
    Read { coordinator: usize, question: u64 },
    /// To a coordinator: what was read, and at what log index.
    Value { question: u64, value: u64, index: u64 },
    /// To a coordinator.
    GiveBack { node: usize, process: u64, number: u64 },
    /// To a node.
    GivenBack { process: u64, number: u64 },
}

/// Time, the messages on their way, and what everybody may know.
struct World {
    settings: Settings,
    now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    random: StdRng,
    clocks: BTreeMap<Process, Clock>,
    paused: BTreeMap<Process, Duration>,
    log: Log,
    /// The greatest value that was acknowledged, or seen by a read that is over.
    known: u64,
    report: Report,
}

/// Runs a seed to its end. An error says what must never be, and was.
pub fn run(settings: Settings) -> Result<Report, String> {
    let mut random = StdRng::seed_from_u64(settings.seed);
    let processes = (0..NODES).map(Process::Node).chain((0..COORDINATORS).map(Process::Coordinator));
    let clocks = processes.map(|process| (process, Clock::new(&mut random, settings.bug))).collect();
    let mut world = World {
        settings,
        now: Duration::ZERO,
        events: BTreeMap::new(),
        sequence: 0,
        random,
        clocks,
        paused: BTreeMap::new(),
        log: Log::default(),
        known: 0,
        report: Report::default(),
    };
    let mut nodes: Vec<Node> = (0..NODES).map(Node::new).collect();
    let mut coordinators: Vec<Coordinator> = (0..COORDINATORS).map(Coordinator::new).collect();
    world.begin();
    while let Some(((at, _), event)) = world.events.pop_first().filter(|((at, _), _)| *at < settings.time) {
        world.now = at;
        let Some((process, what)) = world.happens(event) else { continue };
        match process {
            Process::Node(number) => nodes[number].told(&mut world, what),
            Process::Coordinator(number) => coordinators[number].told(&mut world, what)?,
        }
    }
    Ok(world.report)
}

impl World {
    fn begin(&mut self) {
        self.after(Duration::ZERO, Event::Elect);
        self.after(Duration::ZERO, Event::Write);
        self.after(Duration::ZERO, Event::Pause);
        for process in self.clocks.keys().copied().collect::<Vec<_>>() {
            self.after(Duration::ZERO, Event::Told { process, what: Told::Tick });
        }
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), event);
    }

    /// Lets something happen to all; answers what a process is told, if it is that and the process does not pause.
    fn happens(&mut self, event: Event) -> Option<(Process, Told)> {
        match event {
            Event::Told { process, what } => {
                let until = self.paused.get(&process).copied().unwrap_or_default();
                if until <= self.now {
                    return Some((process, what));
                }
                self.after(until - self.now, Event::Told { process, what });
            }
            Event::Elect => {
                self.elect();
                let term = self.between(200, 3_000);
                self.after(term, Event::Elect);
            }
            Event::Pause => {
                let number = self.random.random_range(0..self.clocks.len());
                if let Some(process) = self.clocks.keys().nth(number).copied() {
                    let long = self.between(1, 1_500);
                    self.paused.insert(process, self.now + long);
                }
                let pause = self.between(50, 800);
                self.after(pause, Event::Pause);
            }
            Event::Commit { proposal } => {
                if let Some((node, index)) = self.log.commit(proposal) {
                    self.tell(Process::Node(node), Told::Committed { index });
                }
            }
            Event::Confirm { node, term, round } => {
                let index = self.log.is_led_in(term).then(|| self.log.committed());
                self.tell(Process::Node(node), Told::Confirmed { round, index });
            }
            Event::Write => {
                self.send(Process::Node(self.log.leader()), Told::Write);
                // Now and then the partition is left in peace, so that it can be leased.
                let most = if self.random.random_bool(0.5) { 30 } else { 900 };
                let pause = self.between(1, most);
                self.after(pause, Event::Write);
            }
        }
        None
    }

    fn elect(&mut self) {
        let (before, next) = (self.log.leader(), self.random.random_range(0..NODES));
        let term = self.log.elect(next, &mut self.random);
        self.report.elections += 1;
        // It knows at once that it was elected; the one before may hear of it much later.
        self.tell(Process::Node(next), Told::Role { term, leads: true });
        if before != next {
            self.send(Process::Node(before), Told::Role { term, leads: false });
        }
    }

    /// A process is told what it cannot miss.
    fn tell(&mut self, process: Process, what: Told) {
        self.after(Duration::ZERO, Event::Told { process, what });
    }

    /// A message between processes: it may be late, or lost.
    fn send(&mut self, process: Process, what: Told) {
        if self.random.random_bool(0.05) {
            return;
        }
        let delay = self.delay();
        self.after(delay, Event::Told { process, what });
    }

    fn delay(&mut self) -> Duration {
        let most = if self.random.random_bool(0.05) { 600_000 } else { 2_000 };
        Duration::from_micros(self.random.random_range(50..most))
    }

    /// The leader as a coordinator knows it: it may be another one, and that one may not know it either.
    fn believed_leader(&mut self) -> usize {
        if self.random.random_bool(0.3) { self.random.random_range(0..NODES) } else { self.log.leader() }
    }

    fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(self.random.random_range(least_ms..most_ms))
    }

    /// What a process' own clock shows.
    fn clock(&self, process: Process) -> Duration {
        self.clocks[&process].at(self.now)
    }

    fn has_bug(&self, bug: PlantedBug) -> bool {
        self.settings.bug == Some(bug)
    }

    /// Somebody has learned a value: from now on no read may miss it.
    fn learn(&mut self, value: u64) {
        self.known = self.known.max(value);
    }
}
