//! Recorded transactions while coordinators and leaders are killed (SIGKILL) and paused, and the network
//! to storage nodes is cut: what was seen is serializable.
//!
//! `POLYLITE_FAULTS_SECONDS` makes the run longer, `POLYLITE_FAULTS_SEED` repeats the choices of one.

use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tests::drawn_faults::{setting, strike};
use tests::isolation_clients::IsolationClients;
use tests::process_cluster::ProcessCluster;

const COORDINATORS: usize = 3;
const NODES: usize = 3;
const CLIENTS: usize = 8;
const STANDARD_SECONDS: u64 = 8;
/// Longest time without an acknowledged transaction once everything runs again.
const RECOVERY_MAX: Duration = Duration::from_secs(120);

#[test]
fn what_clients_see_is_serializable_whoever_is_killed() {
    let seed = setting("POLYLITE_FAULTS_SEED").unwrap_or_else(rand::random);
    let seconds = setting("POLYLITE_FAULTS_SECONDS").unwrap_or(STANDARD_SECONDS);
    eprintln!("POLYLITE_FAULTS_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut cluster = ProcessCluster::start_with_ways(COORDINATORS, NODES);
    let clients = IsolationClients::start(&cluster.coordinator_urls(), "histories", CLIENTS, seed);
    clients.await_progress(30, RECOVERY_MAX);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        strike(&mut cluster, &mut random, (COORDINATORS, NODES));
        clients.await_progress(20, RECOVERY_MAX);
    }
    clients.finish();
}
