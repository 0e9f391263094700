//! Transactions of whole coordinators in one thread, from one seed: the production gateway, planner, joint writes, idempotency
//! keys, transactions over several requests, connections between nodes, consensus, log, state machine and SQLite, on
//! simulated disks, a simulated network and the time that `tokio` keeps when it is paused.
//!
//! Clients of several coordinators work through SQL and through documents, while storage nodes lose power, coordinators
//! die, connections break or stand still, and Raft messages are lost. What they saw is recorded for the checkers
//! in [`crate::histories`]. After the faults nothing stays in doubt, and replicas are equal. Which of several tasks goes on first
//! that become ready at the same time is up to `tokio`, so that a seed repeats what is drawn, not every step.

mod care;
mod clients;
mod coordinator;
mod database;
mod documents;
mod harm;
mod keyed;
mod migrations;
mod network;
mod recorded;
pub mod scenarios;
mod signal;
mod step_by_step;
mod storage;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

use crate::simulated_cluster::node::NodeClock;
use crate::simulated_cluster::{Violation, panics_are_violations};
pub use crate::simulated_placement::Settings;
use crate::simulated_placement::admin::drive_for_ever;
use crate::simulated_placement::world::World;
use clients::Client;
use coordinator::Coordinators;
pub use migrations::{MigrationReport, run_migrations};
use network::Network;
use recorded::Recorded;
pub use recorded::Report;

/// Coordinators.
const COORDINATORS: usize = 2;
/// Clients, each with one request under way.
const CLIENTS: u64 = 7;
/// The clocks of storage nodes differ by at most so much, in milliseconds.
const SKEW_MS: u64 = 40;
/// Simulated time that may pass until nothing is in doubt after the faults.
const HEALING: Duration = Duration::from_secs(60);
/// Between two looks whether it is so.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a seed's history to its end. An error is a fault of the program under test, and so is a panic.
pub fn run(settings: &Settings) -> Result<Report, Violation> {
    let settings = *settings;
    on_stage(settings, async |stage| Box::pin(history(&stage, settings)).await)
}

/// A cluster with its databases, of which nothing has failed yet.
struct Stage {
    world: World,
    network: Network,
    coordinators: Coordinators,
}

/// Does something on a stage of its own.
fn on_stage<T>(
    settings: Settings,
    act: impl AsyncFnOnce(Stage) -> Result<T, Violation>,
) -> Result<T, Violation> {
    let names = tempfile::Builder::new()
        .prefix("polylite-transactions-")
        .tempdir()
        .expect("a temporary folder can be made");
    panics_are_violations(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let world = World::new(settings, names.path());
            let acted = async {
                let stage = Stage::new(&world).await;
                let network = stage.network.clone();
                tokio::select! {
                    biased;
                    () = care::look_after_transactions(&world, &network) => unreachable!("it never ends"),
                    acted = Box::pin(act(stage)) => acted,
                }
            };
            tokio::select! {
                biased;
                violation = world.happen() => Err(violation),
                acted = acted => acted,
            }
        })
    })
}

impl Stage {
    async fn new(world: &World) -> Stage {
        {
            let mut state = world.state();
            let ahead = std::array::from_fn(|_| state.random.random_range(0..SKEW_MS));
            state.clocks = Some(ahead.map(NodeClock::ahead));
            // Everything is made before anything fails.
            state.healing = true;
        }
        let network = Network::new(world);
        let coordinators = Coordinators::new(world, &network);
        tokio::select! {
            biased;
            () = drive_for_ever(world) => unreachable!("it never ends"),
            () = care::look_after_transactions(world, &network) => unreachable!("it never ends"),
            () = database::make(world, &coordinators) => {}
        }
        world.state().healing = false;
        Stage { world: world.clone(), network, coordinators }
    }
}

async fn history(stage: &Stage, settings: Settings) -> Result<Report, Violation> {
    let Stage { world, network, coordinators } = stage;
    let recorded = Recorded::new(Instant::now());
    let until = Instant::now() + settings.time;
    let clients = (0..CLIENTS).map(|number| {
        let random = rand::rngs::StdRng::seed_from_u64(world.state().random.random());
        Box::pin(Client::new(number, coordinators.clone(), recorded.clone(), random).act(until))
    });
    let clients: Vec<_> = clients.collect();
    tokio::join!(
        biased;
        futures_util::future::join_all(clients),
        harm::do_harm(world, network, coordinators, until),
    );
    heal(world, network);
    settled(world).await?;
    recorded.check(coordinators).await?;
    settled(world).await?;
    Ok(recorded.report(world.report()))
}

fn heal(world: &World, network: &Network) {
    world.heal();
    network.heal();
}

/// Waits until nothing is in doubt, and all replicas have come to the same state.
async fn settled(world: &World) -> Result<(), Violation> {
    let healed = Instant::now();
    while let Err(why) = at_rest(world) {
        if healed.elapsed() > HEALING {
            return Err(Violation(why));
        }
        tokio::time::sleep(LOOK).await;
    }
    let mut digests = BTreeMap::new();
    for ((partition, replica), place) in &mut world.state().places {
        let node = place.node.as_mut().expect("it runs, or nothing would be at rest");
        let digest = node.digest()?;
        let first = *digests.entry(*partition).or_insert(digest);
        if first != digest {
            let name = format!("replica {replica} of partition {partition}");
            return Err(Violation(format!("{name} is at {digest:?}, another one at {first:?}")));
        }
    }
    Ok(())
}

/// Says what still moves.
fn at_rest(world: &World) -> Result<(), String> {
    let state = world.state();
    let mut ends = BTreeMap::new();
    for ((partition, replica), place) in &state.places {
        let name = format!("replica {replica} of partition {partition}");
        let node = place.node.as_ref().ok_or_else(|| format!("{name} does not run"))?;
        if node.has_prepared() {
            return Err(format!("{name} has a transaction in doubt"));
        }
        let end = node.at_rest().ok_or_else(|| format!("{name} has something to do"))?;
        if *ends.entry(*partition).or_insert(end) != end {
            return Err(format!("{name} is behind"));
        }
    }
    Ok(())
}
