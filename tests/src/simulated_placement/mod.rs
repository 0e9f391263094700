//! A whole cluster in one thread, from one seed, while its partitions are split, merged and moved: the production catalog,
//! placement, operations, consensus, log, state machine and SQLite, on simulated disks, a simulated network and the time
//! that `tokio` keeps when it is paused.
//!
//! Meanwhile storage nodes lose power, the coordinator that drives the operations dies at any of their steps, messages are
//! late or lost, and clients plan on partition maps that are out of date. What must hold: a read sees what was acknowledged
//! before; one term of a partition has one leader; in the end each row lies in the one partition that owns it, as it was
//! last written, and no operation is left under way.

pub(crate) mod admin;
mod clients;
mod cluster;
pub(crate) mod requests;
mod storage;
pub(crate) mod world;

use std::time::Duration;

use storage_node::replica::machine::PlantedBug;
use tokio::time::Instant;

use crate::simulated_cluster::{Violation, panics_are_violations};
use clients::Clients;
use world::World;

/// Simulated time that may pass until everything is at rest after the faults.
const HEALING: Duration = Duration::from_secs(120);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// Settings of a run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Everything random in the run comes from it.
    pub seed: u64,
    /// Time under faults, in which clients begin something.
    pub time: Duration,
    /// A fault in the program under test.
    pub bug: Option<PlantedBug>,
}

/// What a run reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A hash over what happened, in order.
    pub fingerprint: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes refused.
    pub refused: u64,
    /// Writes of which nobody heard again.
    pub unknown: u64,
    /// Reads answered.
    pub reads: u64,
    /// Requests that were planned on a map that was out of date.
    pub outdated: u64,
    /// Partitions split, and merged.
    pub replaced: u64,
    /// Attempts at that which were given up.
    pub attempts_lost: u64,
    /// Replicas moved.
    pub moved: u64,
    /// Leaders handed over.
    pub handed_over: u64,
    /// Storage nodes that lost power.
    pub crashes: u64,
    /// Coordinators that died while operations were under way.
    pub drivers_lost: u64,
    /// Messages and requests lost.
    pub lost: u64,
}

impl Report {
    /// Adds what another run has reached.
    pub fn add(&mut self, other: &Report) {
        self.simulated_ms += other.simulated_ms;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.outdated += other.outdated;
        self.replaced += other.replaced;
        self.attempts_lost += other.attempts_lost;
        self.moved += other.moved;
        self.handed_over += other.handed_over;
        self.crashes += other.crashes;
        self.drivers_lost += other.drivers_lost;
        self.lost += other.lost;
    }
}

/// Runs a seed's history to its end. An error is a fault of the program under test, and so is a panic.
pub fn run(settings: &Settings) -> Result<Report, Violation> {
    let names = tempfile::Builder::new()
        .prefix("polylite-placement-")
        .tempdir()
        .expect("a temporary folder can be made");
    panics_are_violations(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let world = World::new(*settings, names.path());
            tokio::select! {
                biased;
                violation = world.happen() => Err(violation),
                ended = history(&world, settings) => ended,
            }
        })
    })
}

async fn history(world: &World, settings: &Settings) -> Result<Report, Violation> {
    let begun = Instant::now();
    let mut clients = Clients::new(world);
    tokio::select! {
        biased;
        () = admin::drive_for_ever(world) => unreachable!("it never ends"),
        () = admin::found(world) => {}
    }
    let everything = async {
        tokio::join!(
            biased;
            clients.act(begun + settings.time),
            admin::ask_for_changes(world, begun + settings.time),
            admin::harm(world, begun + settings.time),
        );
        world.heal();
        at_rest(world).await
    };
    tokio::select! {
        biased;
        () = admin::drive_with_deaths(world, begun + settings.time) => unreachable!("it never ends"),
        rested = everything => rested?,
    }
    clients.check(world).await?;
    let mut report = world.report();
    report.simulated_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Waits until all operations have ended and every partition of the map has a leader.
async fn at_rest(world: &World) -> Result<(), Violation> {
    let healed = Instant::now();
    while !world.is_at_rest() {
        if healed.elapsed() > HEALING {
            return Err(Violation(format!(
                "operations do not come to their end: {}",
                world.open_operations()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
