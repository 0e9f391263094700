//! A disk takes long for a sync: leadership must not hang on it.

use bytes::Bytes;
use consensus_runtime::RuntimeOptions;

use crate::support::Cluster;

/// More than are sent in the time of an election with the usual settings.
const HEARTBEATS: u64 = 12;

/// Time-outs so long that nothing depends on how fast the test runs.
fn patient() -> RuntimeOptions {
    RuntimeOptions {
        election_ticks_min: 100_000,
        election_ticks_max: 200_000,
        stall_ticks_max: u32::MAX,
        ..RuntimeOptions::new(0)
    }
}

#[test]
fn a_leader_is_heard_while_its_log_is_synced() {
    let cluster = Cluster::with_options(3, patient());
    cluster.write(1, "first");
    cluster.gates[&1].close();
    cluster.processes[&1].handle.propose(Bytes::from_static(b"slow")).wait().expect("it leads");
    cluster.gates[&1].wait_until_it_holds_up();
    for follower in [2, 3] {
        cluster.network.wait_for_urgent(1, follower, HEARTBEATS);
    }
    cluster.gates[&1].open();
    cluster.wait_for_values(&[1, 2, 3], &["first", "slow"]);
}

#[test]
fn a_follower_answers_its_leader_while_its_log_is_synced() {
    let cluster = Cluster::with_options(3, patient());
    cluster.write(1, "first");
    cluster.wait_for_values(&[2], &["first"]);
    cluster.gates[&2].close();
    cluster.write(1, "slow");
    cluster.gates[&2].wait_until_it_holds_up();
    cluster.network.wait_for_urgent(2, 1, HEARTBEATS);
    cluster.gates[&2].open();
    cluster.wait_for_values(&[1, 2, 3], &["first", "slow"]);
}

#[test]
fn a_host_that_only_says_what_it_has_applied_is_handed_all() {
    let options = RuntimeOptions { backlog_bytes_max: 8, ..patient() };
    let cluster = Cluster::with_options(3, options);
    let values = ["as long as the backlog", "and longer", "and once more", "and the last"];
    for value in values {
        cluster.write(1, value);
    }
    cluster.wait_for_values(&[1, 2, 3], &values);
}

#[test]
fn a_leader_whose_disk_hangs_is_replaced() {
    let options = RuntimeOptions { stall_ticks_max: 20, ..RuntimeOptions::new(0) };
    let cluster = Cluster::with_options(3, options);
    // Whoever is told to lead may have been deposed by the time it is asked.
    let leader = loop {
        let leader = cluster.wait_for_leader(&[1, 2, 3]);
        cluster.gates[&leader].close();
        if cluster.processes[&leader].handle.propose(Bytes::from_static(b"lost")).wait().is_ok() {
            break leader;
        }
        cluster.gates[&leader].open();
    };
    cluster.gates[&leader].wait_until_it_holds_up();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    cluster.wait_for_leader(&others);
    cluster.gates[&leader].open();
}
