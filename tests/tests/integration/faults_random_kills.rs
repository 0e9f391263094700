//! Processes killed at random moments (SIGKILL) under writers: what was acknowledged is there afterwards,
//! what was said not to be applied is not, no read is stale, and the replicas of a partition are equal.
//!
//! `POLYLITE_FAULTS_SECONDS` makes the runs longer, `POLYLITE_FAULTS_SEED` repeats the choices of one.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tests::drawn_faults::setting;
use tests::process_cluster::ProcessCluster;
use tests::recorded_writers::RecordedWriters;
use tests::replica_files::assert_equal_after_stop;

const DATABASE: &str = "bank";
const NODES: usize = 3;
const WRITERS: usize = 6;

/// Longest time without an acknowledged write once everything runs again.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Coordinator(usize),
    Node(usize),
}

/// Who is killed next: one, two nodes, all nodes, all coordinators, or everybody.
fn victims(random: &mut SmallRng, coordinators: usize) -> Vec<Process> {
    let all_nodes = (0..NODES).map(Process::Node);
    let all_coordinators = (0..coordinators).map(Process::Coordinator);
    let mut victims: Vec<Process> = match random.random_range(0..10) {
        0..3 => vec![Process::Node(random.random_range(0..NODES))],
        3..5 => vec![Process::Coordinator(random.random_range(0..coordinators))],
        5 => {
            let spared = random.random_range(0..NODES);
            all_nodes.filter(|node| *node != Process::Node(spared)).collect()
        }
        6 => all_nodes.collect(),
        7 => all_coordinators.collect(),
        _ => all_nodes.chain(all_coordinators).collect(),
    };
    victims.shuffle(random);
    victims
}

fn run(coordinators: usize, standard_seconds: u64) {
    let seed = setting("POLYLITE_FAULTS_SEED").unwrap_or_else(rand::random);
    let seconds = setting("POLYLITE_FAULTS_SECONDS").unwrap_or(standard_seconds);
    eprintln!("POLYLITE_FAULTS_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut cluster = ProcessCluster::start(coordinators, NODES);
    cluster.run(&["create-database", "--name", DATABASE]).succeeded();
    let writers = RecordedWriters::start(&cluster.coordinator_urls(), DATABASE, WRITERS, seed);
    writers.await_progress(50, RECOVERY_MAX);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut rounds, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < end {
        let victims = victims(&mut random, coordinators);
        // The moment of a kill, and how long its victim is away, are drawn: they are what is tried out.
        std::thread::sleep(Duration::from_millis(random.random_range(0..300)));
        for victim in &victims {
            match *victim {
                Process::Coordinator(number) => cluster.kill_coordinator(number),
                Process::Node(number) => cluster.kill_node(number),
            }
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..1_500)));
        let mut returning = victims.clone();
        returning.shuffle(&mut random);
        for process in returning {
            match process {
                Process::Coordinator(number) => cluster.restart_coordinator(number),
                Process::Node(number) => cluster.restart_node(number),
            }
        }
        let recovery = writers.await_progress(20, RECOVERY_MAX);
        eprintln!("killed {victims:?}; 20 more writes {recovery:?} after their return");
        slowest = slowest.max(recovery);
        rounds += 1;
    }
    eprintln!("{rounds} rounds, slowest return to work {slowest:?}");
    writers.finish();
    assert_equal_after_stop(&mut cluster, DATABASE, NODES);
}

#[test]
fn nothing_acknowledged_is_lost_with_one_coordinator() {
    run(1, 25);
}

#[test]
fn nothing_acknowledged_is_lost_with_three_coordinators() {
    run(3, 15);
}
