//! Additions with idempotency keys, sent again and again while coordinators and leaders are killed (SIGKILL) and
//! paused, and the network to storage nodes is cut: each counter is the number of additions.
//!
//! `POLYLITE_FAULTS_SECONDS` makes the runs longer, `POLYLITE_FAULTS_SEED` repeats the choices of one.

use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tests::counting_clients::CountingClients;
use tests::drawn_faults::{setting, strike};
use tests::process_cluster::ProcessCluster;
use tests::replica_files::assert_equal_after_stop;

const DATABASE: &str = "tally";
const COORDINATORS: usize = 3;
const NODES: usize = 3;
const CLIENTS: usize = 6;
const STANDARD_SECONDS: u64 = 8;
/// Longest time without an acknowledged addition once everything runs again.
const RECOVERY_MAX: Duration = Duration::from_secs(120);

#[test]
fn counters_equal_acknowledged_increments_whoever_is_killed() {
    let seed = setting("POLYLITE_FAULTS_SEED").unwrap_or_else(rand::random);
    let seconds = setting("POLYLITE_FAULTS_SECONDS").unwrap_or(STANDARD_SECONDS);
    eprintln!("POLYLITE_FAULTS_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut cluster = ProcessCluster::start_with_ways(COORDINATORS, NODES);
    cluster.run(&["create-database", "--name", DATABASE]).succeeded();
    let clients = CountingClients::start(&cluster.coordinator_urls(), DATABASE, CLIENTS);
    clients.await_progress(50, RECOVERY_MAX);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        strike(&mut cluster, &mut random, (COORDINATORS, NODES));
        clients.await_progress(20, RECOVERY_MAX);
    }
    clients.finish();
    assert_equal_after_stop(&mut cluster, DATABASE, NODES);
}
