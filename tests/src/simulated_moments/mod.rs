//! Several partitions in one thread, from one seed: production state machines, promises and agreement about moments,
//! under transactions over two partitions, transactions that several requests share, with idempotency keys and without,
//! writers of one, and readers of one and of all. Whoever executes, commits, lands or leads next is drawn, and so is when coordinators give up.
//!
//! What must hold: every read of all partitions sees the same total (money is only moved), no two reads see two
//! partitions' writers in different orders (a long fork), none misses a write that was acknowledged before it
//! began, and nothing is written twice. The log is replicated by decree; how it comes to be is the matter of
//! [`crate::simulated_cluster`].

mod clock;
mod glance;
mod joint;
mod keyed;
mod partition;
mod reader;
mod writers;

use std::collections::BTreeMap;

use common::Hlc;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use storage_node::replica::machine::{PlantedBug, Reply, Ticket};

use crate::histories::long_fork;
use clock::Clocks;
use glance::Glance;
use joint::Joint;
use partition::Partition;
use reader::{Reader, Seen};
use writers::{Counter, Transfer};

/// Nodes, each with a replica of every partition.
const NODES: usize = 3;
/// Money in each partition at the beginning.
const BALANCE: i64 = 100;

/// Settings of a run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Everything random in the run comes from it.
    pub seed: u64,
    /// Partitions.
    pub partitions: usize,
    /// Steps until the clients stop.
    pub steps: usize,
    /// Per mille of the steps in which a partition gets another leader.
    pub elections: u32,
    /// A fault to be found.
    pub bug: Option<PlantedBug>,
    /// A fault of the coordinators, to be found.
    pub coordinator_bug: Option<CoordinatorBug>,
}

/// Faults of coordinators, which are played here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorBug {
    /// A key is looked up, and kept, in the partition that the attempt at its write is routed to.
    KeyLookedUpWhereRouted,
}

/// What a run reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Reads of all partitions.
    pub reads: usize,
    /// Reads of one.
    pub glances: usize,
    /// Rounds of agreement beyond each read's first.
    pub rounds: usize,
    /// Transfers that committed.
    pub transfers: usize,
    /// Transfers that did not.
    pub aborts: usize,
    /// Requests that committed together with others.
    pub joint: usize,
    /// Requests that kept others from committing with them.
    pub refused: usize,
    /// Writes with a key that were answered.
    pub keyed: usize,
    /// Those of them whose first answer was lost.
    pub found_again: usize,
    /// Increments acknowledged.
    pub increments: i64,
    /// Changes of a leader.
    pub elections: usize,
}

/// Answers that were told, by whom they are for.
type Answers = BTreeMap<Ticket, Result<Reply, common::Error>>;

/// The world that clients act in.
struct World {
    partitions: Vec<Partition>,
    clocks: Clocks,
    answers: Answers,
    random: StdRng,
    tickets: u64,
    /// Increments that were acknowledged, by partition.
    acknowledged: Vec<i64>,
    /// Increments of which it is not known whether they were applied, by partition.
    uncertain: Vec<i64>,
    coordinator_bug: Option<CoordinatorBug>,
    report: Report,
}

impl World {
    fn submit(&mut self, partition: usize, job: storage_node::replica::machine::Job) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let now_ms = self.clocks.now_ms();
        self.partitions[partition].submit(ticket, now_ms, job);
        ticket
    }
}

/// Runs a seed to its end. An error says what must never be, and was.
pub fn run(settings: Settings) -> Result<Report, String> {
    let folder = tempfile::Builder::new().prefix("polylite-moments-").tempdir().map_err(|e| e.to_string())?;
    let mut random = StdRng::seed_from_u64(settings.seed);
    let mut clocks = Clocks::new(NODES, &mut random);
    let partitions = (0..settings.partitions)
        .map(|number| Partition::new(folder.path(), number, settings.bug, &mut clocks))
        .collect();
    let mut world = World {
        partitions,
        clocks,
        answers: Answers::new(),
        random,
        tickets: 1_000,
        acknowledged: vec![0; settings.partitions],
        uncertain: vec![0; settings.partitions],
        coordinator_bug: settings.coordinator_bug,
        report: Report::default(),
    };
    let mut clients = Clients::new(settings.partitions);
    for _ in 0..settings.steps {
        world.step(&settings);
        clients.act(&mut world, true)?;
    }
    // What is under way comes to its end, without further changes of leaders.
    let mut left = 20 * settings.steps + 10_000;
    while !clients.are_idle() {
        world.step(&Settings { elections: 0, ..settings });
        clients.act(&mut world, false)?;
        left = left.checked_sub(1).ok_or("the clients do not come to an end")?;
    }
    let mut last = Reader::default();
    let seen = loop {
        world.step(&Settings { elections: 0, ..settings });
        if let Some(seen) = last.act(&mut world, true)? {
            break seen;
        }
    };
    seen.check()?;
    check_once(&seen, &world.uncertain)?;
    clients.seen.push(seen);
    check_order(&clients.seen)?;
    world.report.increments = world.acknowledged.iter().sum();
    Ok(world.report)
}

impl World {
    /// Lets one thing happen somewhere.
    fn step(&mut self, settings: &Settings) {
        self.clocks.pass(&mut self.random);
        let number = self.random.random_range(0..self.partitions.len());
        let partition = &mut self.partitions[number];
        if self.random.random_range(0..1_000) < settings.elections {
            partition.elect(&mut self.clocks, &mut self.random);
            self.report.elections += 1;
        } else {
            match self.random.random_range(0..4) {
                0 => partition.execute(&mut self.clocks),
                1 => partition.commit(&mut self.clocks, &mut self.random),
                2 => partition.land_at_leader(),
                _ => partition.land_anywhere(&mut self.random),
            }
        }
        partition.drain(&mut self.clocks, &mut self.answers);
    }
}

/// In the end nothing is there that nobody can have written.
fn check_once(last: &Seen, uncertain: &[i64]) -> Result<(), String> {
    let (counters, acknowledged) = (&last.counters, &last.acknowledged);
    let most = acknowledged.iter().zip(uncertain).map(|(acknowledged, uncertain)| acknowledged + uncertain);
    if counters.iter().zip(most).any(|(counter, most)| *counter > most) {
        return Err(format!(
            "increments doubled: {counters:?}, acknowledged {acknowledged:?}, open {uncertain:?}"
        ));
    }
    Ok(())
}

/// Everybody who asks something.
struct Clients {
    transfers: Vec<Transfer>,
    joint: Vec<Joint>,
    keyed: Vec<keyed::Clients>,
    glances: Vec<Glance>,
    counters: Vec<Counter>,
    readers: Vec<Reader>,
    seen: Vec<Seen>,
}

impl Clients {
    fn new(partitions: usize) -> Clients {
        Clients {
            transfers: (0..3).map(|_| Transfer::default()).collect(),
            joint: (0..2).map(|_| Joint::default()).collect(),
            keyed: (0..2).map(|_| keyed::Clients::default()).collect(),
            glances: (0..2).map(|_| Glance::default()).collect(),
            counters: (0..partitions).map(Counter::new).collect(),
            readers: (0..3).map(|_| Reader::default()).collect(),
            seen: Vec::new(),
        }
    }

    /// Lets each of them go on, in an order that is drawn; with `more`, those that are done begin again.
    fn act(&mut self, world: &mut World, more: bool) -> Result<(), String> {
        for glance in &mut self.glances {
            glance.act(world, more)?;
        }
        for keyed in &mut self.keyed {
            keyed.act(world, more);
        }
        let clients = self.transfers.len() + self.joint.len() + self.counters.len() + self.readers.len();
        let mut order: Vec<usize> = (0..clients).collect();
        order.shuffle(&mut world.random);
        for mut client in order {
            if client < self.transfers.len() {
                self.transfers[client].act(world, more);
                continue;
            }
            client -= self.transfers.len();
            if client < self.joint.len() {
                self.joint[client].act(world, more);
                continue;
            }
            client -= self.joint.len();
            if client < self.counters.len() {
                self.counters[client].act(world, more);
                continue;
            }
            client -= self.counters.len();
            if let Some(seen) = self.readers[client].act(world, more)? {
                seen.check()?;
                world.report.reads += 1;
                self.seen.push(seen);
            }
        }
        Ok(())
    }

    fn are_idle(&self) -> bool {
        self.transfers.iter().all(Transfer::is_idle)
            && self.joint.iter().all(Joint::is_idle)
            && self.keyed.iter().all(keyed::Clients::is_idle)
            && self.glances.iter().all(Glance::is_idle)
            && self.counters.iter().all(Counter::is_idle)
            && self.readers.iter().all(Reader::is_idle)
    }
}

/// No two reads may see the writers of two partitions in different orders.
fn check_order(seen: &[Seen]) -> Result<(), String> {
    let counters: Vec<Vec<i64>> = seen.iter().map(|seen| seen.counters.clone()).collect();
    long_fork::check_counters(&counters).map_err(|fork| {
        let (one, other) = (&counters[fork.reads.0], &counters[fork.reads.1]);
        format!("a long fork: one read saw {one:?}, another one {other:?}")
    })
}

/// Says whether a moment lies in all intervals, for messages.
fn shown(snapshots: &[common::protocol::Pinned]) -> Vec<(Hlc, Hlc)> {
    snapshots.iter().map(|shows| (shows.since, shows.until)).collect()
}
