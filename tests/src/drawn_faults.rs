//! Faults of processes that are drawn from a seed: who is killed or paused, when, and for how long.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;

use crate::process_cluster::ProcessCluster;

/// Pause before a fault, in milliseconds.
const CALM_MAX: u64 = 300;
/// How long a process is away, in milliseconds: longer than an election takes, or much shorter.
const AWAY_MAX: u64 = 1_500;

/// A number from the environment.
///
/// # Panics
/// If something else stands there.
#[must_use]
pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Waits a while, kills (SIGKILL) or pauses a coordinator, a node, or both, and has them go on; or cuts the way to a node, if
/// the cluster has ways. The moment and the length are drawn: they are what is tried out.
pub fn strike(cluster: &mut ProcessCluster, random: &mut SmallRng, (coordinators, nodes): (usize, usize)) {
    std::thread::sleep(Duration::from_millis(random.random_range(0..CALM_MAX)));
    let (coordinator, node) = (random.random_range(0..coordinators), random.random_range(0..nodes));
    let away = Duration::from_millis(random.random_range(0..AWAY_MAX));
    let ways = cluster.way_to_node(node).is_some();
    match random.random_range(0..if ways { 6 } else { 4 }) {
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
        kind @ 4.. => {
            let way = cluster.way_to_node(node).expect("it was there a moment ago");
            way.cut();
            std::thread::sleep(away);
            // What was on its way arrives late, or never.
            if kind == 4 { way.mend() } else { way.mend_anew() }
        }
        _ => {
            cluster.kill_coordinator(coordinator);
            cluster.kill_node(node);
            std::thread::sleep(away);
            cluster.restart_node(node);
            cluster.restart_coordinator(coordinator);
        }
    }
}
