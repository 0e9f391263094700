//! A replica alone, whose power is cut again and again: the production log, group and state machine on a disk that keeps or
//! forgets what was not synced, sector by sector. Nobody else can make up for what it loses, so all that it has
//! acknowledged must be there after every cut, and nothing that it has refused.
//!
//! The power goes between two steps or within one, after any number of writes and syncs, also while the replica recovers
//! from the last cut. Every run is drawn from its seed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{Outcome, ReplicaId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlite::simulated::SimulatedDisk;
use storage_node::replica::machine::{Answer, Job, Pending, Ticket};

use crate::simulated_cluster::clients::{Intent, TABLES};
use crate::simulated_cluster::node::{Broken, Input, Node, NodeSetup, PARTITION, Wish};
use crate::simulated_cluster::{PlantedBug, Violation, panics_are_violations};

/// Registers, one of each kind of use.
const REGISTERS: u64 = 3;
/// Ticks in which a replica alone must have come to lead.
const TICKS_MAX: usize = 500;
/// Most writes and syncs before the power goes within a step.
const OPERATIONS_MAX: u64 = 60;
/// Ticket of the change that makes the tables; writes are numbered from 1.
const FOUNDING: u64 = 0;

/// Settings of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything random in the run comes from it.
    pub seed: u64,
    /// How often the power is cut.
    pub cuts: u64,
    /// A fault in the program under test.
    pub bug: Option<PlantedBug>,
    /// Whether the disk says that it has synced and has not: a control, for no program can keep its word then.
    pub lying: bool,
}

impl Settings {
    /// A run with a sound program on an honest disk.
    #[must_use]
    pub fn new(seed: u64, cuts: u64) -> Settings {
        Settings { seed, cuts, bug: None, lying: false }
    }
}

/// What runs have reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Power cuts.
    pub cuts: u64,
    /// Of these, those within a step, which then failed.
    pub within_a_step: u64,
    /// Of these, those while the replica recovered from the last one.
    pub while_recovering: u64,
    /// Cuts after which some of what was not synced was there and some was not.
    pub torn: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes refused.
    pub refused: u64,
    /// Writes whose fate was unknown and that were there after the cut.
    pub kept_unknown: u64,
    /// Writes whose fate was unknown and that were not.
    pub lost_unknown: u64,
    /// Checkpoints and truncations of the log.
    pub maintained: u64,
}

impl Report {
    /// Adds what another run has reached.
    pub fn add(&mut self, other: &Report) {
        self.cuts += other.cuts;
        self.within_a_step += other.within_a_step;
        self.while_recovering += other.while_recovering;
        self.torn += other.torn;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.kept_unknown += other.kept_unknown;
        self.lost_unknown += other.lost_unknown;
        self.maintained += other.maintained;
    }
}

/// Runs a seed's history to its end. An error is a fault of the program under test, and so is a panic.
pub fn run(settings: &Settings) -> Result<Report, Violation> {
    let names =
        tempfile::Builder::new().prefix("polylite-power-").tempdir().expect("a temporary folder can be made");
    panics_are_violations(|| {
        let mut place = Place::new(settings, names.path());
        place.found()?;
        while place.report.cuts < settings.cuts {
            place.live()?;
        }
        let counters = place.disk.counters();
        Ok(Report { torn: counters.torn_cuts, ..place.report })
    })
}

/// What became of a step.
enum Step<T> {
    Done(T),
    /// The power went meanwhile, and with it the process.
    Dead,
}

struct Place {
    setup: NodeSetup,
    disk: SimulatedDisk,
    random: StdRng,
    incarnation: u64,
    node: Option<Node>,
    now_us: u64,
    last_operation: u64,
    acknowledged: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// Writes whose fate is not known.
    open: BTreeSet<u64>,
    report: Report,
}

impl Place {
    fn new(settings: &Settings, names: &Path) -> Place {
        let mut random = StdRng::seed_from_u64(settings.seed);
        let disk = SimulatedDisk::new(random.random());
        disk.lie_about_syncs(settings.lying);
        let setup = NodeSetup {
            partition: PARTITION,
            replica: ReplicaId(1),
            voters: vec![ReplicaId(1)],
            names: PathBuf::from(names).join("log"),
            seed: random.random(),
            election_ticks_spread: 2,
            log_entries: random.random_range(2..40),
            // Small enough, a batch of any kind is a set of chunks.
            entry_bytes: if random.random_bool(0.3) { random.random_range(60..200) } else { 1 << 20 },
            clock_ahead_ms: 0,
            clock: None,
            scrubs: false,
            harmed: false,
            bug: settings.bug,
        };
        Place {
            setup,
            disk,
            random,
            incarnation: 0,
            node: None,
            now_us: 0,
            last_operation: 0,
            acknowledged: BTreeSet::new(),
            refused: BTreeSet::new(),
            open: BTreeSet::new(),
            report: Report::default(),
        }
    }

    /// The first life, in which the tables are made.
    fn found(&mut self) -> Result<(), Violation> {
        self.start()?;
        self.lead()?;
        let job = Job::Schema { version: 1, statements: TABLES.map(str::to_owned).to_vec() };
        let pending = Pending { ticket: Ticket(FOUNDING), deadline_ms: u64::MAX, job };
        self.input(Input::Write(pending), true)?;
        let made = self.node.as_ref().is_some_and(|node| node.schema_version() == 1);
        if made { Ok(()) } else { Err(Violation("the tables are not made".into())) }
    }

    /// From a cut to the next one.
    fn live(&mut self) -> Result<(), Violation> {
        self.cut();
        let hurried = self.random.random_bool(0.15);
        if hurried {
            self.disk.lose_power_after(self.random.random_range(0..OPERATIONS_MAX / 2));
        }
        if let Step::Dead = self.recover()? {
            self.report.while_recovering += 1;
            return Ok(());
        }
        if !hurried && self.random.random_bool(0.7) {
            self.disk.lose_power_after(self.random.random_range(0..OPERATIONS_MAX));
        }
        for _ in 0..self.random.random_range(1..6) {
            if let Step::Dead = self.work()? {
                self.report.within_a_step += 1;
                return Ok(());
            }
        }
        Ok(())
    }

    fn cut(&mut self) {
        self.report.cuts += 1;
        // First of all: what the dying process would still do in its destructors is lost with it.
        self.disk.lose_power();
        self.node = None;
        self.disk.crash();
    }

    /// Starts the replica, and checks what it has kept.
    fn recover(&mut self) -> Result<Step<()>, Violation> {
        if let Step::Dead = self.start()? {
            return Ok(Step::Dead);
        }
        if let Step::Dead = self.lead()? {
            return Ok(Step::Dead);
        }
        self.check()
    }

    fn start(&mut self) -> Result<Step<()>, Violation> {
        self.incarnation += 1;
        let (setup, disk, incarnation) = (self.setup.clone(), self.disk.clone(), self.incarnation);
        Ok(match self.attempt(|_| Node::start(&setup, &disk, incarnation))? {
            Step::Done(node) => {
                self.node = Some(node);
                Step::Done(())
            }
            Step::Dead => Step::Dead,
        })
    }

    /// Lets it come to lead: then it has applied all that its log holds.
    fn lead(&mut self) -> Result<Step<()>, Violation> {
        for _ in 0..TICKS_MAX {
            if self.node.as_ref().is_some_and(Node::is_writable) {
                return Ok(Step::Done(()));
            }
            if let Step::Dead = self.input(Input::Tick, true)? {
                return Ok(Step::Dead);
            }
        }
        Err(Violation("a replica alone does not come to lead".into()))
    }

    fn check(&mut self) -> Result<Step<()>, Violation> {
        let read = self.attempt(|place| place.node.as_mut().expect("it runs").done())?;
        let Step::Done(done) = read else { return Ok(Step::Dead) };
        if let Some(lost) = self.acknowledged.difference(&done).next() {
            return Err(Violation(format!("write {lost} was acknowledged and is lost")));
        }
        if let Some(lie) = self.refused.intersection(&done).next() {
            return Err(Violation(format!("write {lie} was refused and is there")));
        }
        // What was there once must stay, and what was not there must never come.
        for operation in std::mem::take(&mut self.open) {
            if done.contains(&operation) {
                self.report.kept_unknown += 1;
                self.acknowledged.insert(operation);
            } else {
                self.report.lost_unknown += 1;
                self.refused.insert(operation);
            }
        }
        match done.difference(&self.acknowledged).next() {
            Some(invented) => Err(Violation(format!("write {invented} was never made and is there"))),
            None => Ok(Step::Done(())),
        }
    }

    /// Some writes, or care of the files.
    fn work(&mut self) -> Result<Step<()>, Violation> {
        if self.random.random_bool(0.2) {
            self.report.maintained += 1;
            return self.input(Input::Maintain, true);
        }
        for _ in 0..self.random.random_range(1..5) {
            self.last_operation += 1;
            let operation = self.last_operation;
            let register = self.random.random_range(0..REGISTERS);
            let intent = Intent::drawn(&mut self.random, register, operation);
            let Some(write) = intent.request(register, operation) else { continue };
            self.open.insert(operation);
            let job = Job::Write(write);
            let pending = Pending { ticket: Ticket(operation), deadline_ms: u64::MAX, job };
            // Syncs that are not over when more comes are what batches wait for.
            let synced = self.random.random_bool(0.7);
            if let Step::Dead = self.input(Input::Write(pending), synced)? {
                return Ok(Step::Dead);
            }
        }
        let synced = self.random.random_bool(0.8);
        self.input(Input::Tick, synced)
    }

    /// Something happens to the replica; syncs are over at once, or not before the next time.
    fn input(&mut self, input: Input, synced: bool) -> Result<Step<()>, Violation> {
        self.now_us += 1_000;
        let now = self.now_us;
        let mut wishes =
            match self.attempt(|place| place.node.as_mut().expect("it runs").input(now, input))? {
                Step::Done(wishes) => wishes,
                Step::Dead => return Ok(Step::Dead),
            };
        loop {
            let mut syncs = false;
            for wish in wishes {
                match wish {
                    Wish::Sync => syncs = true,
                    Wish::Answer(answer) => self.answered(answer),
                    _ => {}
                }
            }
            if !synced || !syncs {
                return Ok(Step::Done(()));
            }
            let more = self.attempt(|place| place.node.as_mut().expect("it runs").synced(now))?;
            wishes = match more {
                Step::Done(wishes) if wishes.is_empty() => return Ok(Step::Done(())),
                Step::Done(wishes) => wishes,
                Step::Dead => return Ok(Step::Dead),
            };
        }
    }

    fn answered(&mut self, answer: Answer) {
        let operation = answer.ticket.0;
        match answer.result {
            Ok(_) if self.open.remove(&operation) => {
                self.report.acknowledged += 1;
                self.acknowledged.insert(operation);
            }
            Err(error) if error.outcome == Outcome::NotApplied && self.open.remove(&operation) => {
                self.report.refused += 1;
                self.refused.insert(operation);
            }
            // The founding, care of the files, and what may or may not have happened.
            _ => {}
        }
    }

    /// Has the program do something. Nobody hears what it says once the power is gone; else it must do it.
    fn attempt<T>(
        &mut self,
        act: impl FnOnce(&mut Place) -> Result<T, Broken>,
    ) -> Result<Step<T>, Violation> {
        let acted = act(self);
        if self.disk.has_lost_power() {
            return Ok(Step::Dead);
        }
        match acted {
            Ok(done) => Ok(Step::Done(done)),
            Err(error) => Err(Violation(format!("the replica cannot go on: {error}"))),
        }
    }
}
