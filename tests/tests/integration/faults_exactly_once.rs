//! Additions with idempotency keys, sent again and again while coordinators and leaders are killed (SIGKILL) and
//! paused: each counter is the number of additions.
//!
//! `POLYLITE_FAULTS_SECONDS` makes the runs longer, `POLYLITE_FAULTS_SEED` repeats the choices of one.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tests::counting_clients::CountingClients;
use tests::process_cluster::ProcessCluster;
use tests::replica_files::assert_equal_after_stop;

const DATABASE: &str = "tally";
const COORDINATORS: usize = 3;
const NODES: usize = 3;
const CLIENTS: usize = 6;
const STANDARD_SECONDS: u64 = 8;
/// Longest time without an acknowledged addition once everything runs again.
const RECOVERY_MAX: Duration = Duration::from_secs(30);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn counters_equal_acknowledged_increments_whoever_is_killed() {
    let seed = setting("POLYLITE_FAULTS_SEED").unwrap_or_else(rand::random);
    let seconds = setting("POLYLITE_FAULTS_SECONDS").unwrap_or(STANDARD_SECONDS);
    eprintln!("POLYLITE_FAULTS_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut cluster = ProcessCluster::start(COORDINATORS, NODES);
    cluster.run(&["create-database", "--name", DATABASE]).succeeded();
    let clients = CountingClients::start(&cluster.coordinator_urls(), DATABASE, CLIENTS);
    clients.await_progress(50, RECOVERY_MAX);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        // The moment of a fault and its length are drawn: they are what is tried out.
        std::thread::sleep(Duration::from_millis(random.random_range(0..300)));
        let (coordinator, node) = (random.random_range(0..COORDINATORS), random.random_range(0..NODES));
        let away = Duration::from_millis(random.random_range(0..1_500));
        match random.random_range(0..4) {
            0 => {
                cluster.kill_coordinator(coordinator);
                std::thread::sleep(away);
                cluster.restart_coordinator(coordinator);
            }
            1 => {
                cluster.kill_node(node);
                std::thread::sleep(away);
                cluster.restart_node(node);
            }
            2 => {
                cluster.node(node).signal("STOP");
                std::thread::sleep(away);
                cluster.node(node).signal("CONT");
            }
            _ => {
                cluster.kill_coordinator(coordinator);
                cluster.kill_node(node);
                std::thread::sleep(away);
                cluster.restart_node(node);
                cluster.restart_coordinator(coordinator);
            }
        }
        clients.await_progress(20, RECOVERY_MAX);
    }
    clients.finish();
    assert_equal_after_stop(&mut cluster, DATABASE, NODES);
}
