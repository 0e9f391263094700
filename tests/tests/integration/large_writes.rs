//! A write far larger than one log entry: replicas that did not run it land it without ever holding it whole.
//!
//! `LARGE_WRITE_MIB` (default 128) is its size.

use std::time::Duration;

use polylite_client::Client;
use tests::process_cluster::{ProcessCluster, ServerProcess};
use tests::replica_files::assert_equal_after_stop;
use tokio::runtime::Runtime;

const DATABASE: &str = "large";

/// What a replica may need to land a set of any size: SQLite's page caches and what is on its way.
const LANDING_MIB: u64 = 96;

#[test]
fn followers_land_a_large_write_in_little_memory_and_a_restarted_one_lands_it_again() {
    let size = std::env::var("LARGE_WRITE_MIB").map_or(128, |text| text.parse::<u64>().expect("a number"));
    assert!(size > LANDING_MIB, "smaller writes show nothing");
    let mut cluster = ProcessCluster::start(1, 3);
    cluster.run(&["create-database", "--name", DATABASE, "--partitions", "1"]).succeeded();
    for statement in ["CREATE TABLE b (id INTEGER PRIMARY KEY, x BLOB)", "INSERT INTO b VALUES (0, NULL)"] {
        cluster.run(&["sql", "--db-name", DATABASE, statement]).succeeded();
    }
    let leader = leader_of(&cluster);
    let before: Vec<u64> = (0..3).map(|node| peak_mib(cluster.node(node))).collect();

    insert(&cluster, size);
    tests::replica_files::await_equal_positions(&cluster, DATABASE, 3);
    let grown: Vec<u64> = (0..3).map(|node| peak_mib(cluster.node(node)) - before[node]).collect();
    eprintln!("{size} MiB: nodes' memory grew by {grown:?} MiB at most, node {leader} led");
    assert!(grown[leader] > size, "the leader holds what it executes, so the measure shows it");
    for node in (0..3).filter(|node| *node != leader) {
        assert!(grown[node] < LANDING_MIB, "node {node} grew by {} MiB", grown[node]);
    }

    // What was committed last is not in the file yet when a process is killed: it is landed again.
    let follower = (leader + 1) % 3;
    cluster.kill_node(follower);
    insert(&cluster, size);
    cluster.restart_node(follower);
    tests::replica_files::await_equal_positions(&cluster, DATABASE, 3);
    assert_equal_after_stop(&mut cluster, DATABASE, 3);
}

fn insert(cluster: &ProcessCluster, mebibytes: u64) {
    let client = Client::new(cluster.coordinator_urls()).expect("addresses");
    let text = "INSERT INTO b(x) SELECT randomblob(1048576) FROM generate_series(1, ?)";
    let count = i64::try_from(mebibytes).expect("a small number");
    let insert = client.database(DATABASE).sql(text).bind(count).timeout(Duration::from_secs(120)).execute();
    let done = Runtime::new().expect("a runtime starts").block_on(insert).expect("the write goes through");
    assert_eq!(done.affected_rows, mebibytes);
}

/// The number of the node whose replica leads the only partition.
fn leader_of(cluster: &ProcessCluster) -> usize {
    let client = Client::new(cluster.coordinator_urls()).expect("addresses");
    let listed = Runtime::new().expect("a runtime starts").block_on(client.partitions(Some(DATABASE)));
    let leader = listed.expect("the partition is listed")[0].leader.clone().expect("it was just written to");
    leader.strip_prefix("node-").expect("a node of ours").parse().expect("a number")
}

/// Most resident memory that a process has had.
fn peak_mib(process: &ServerProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    let kib = line.trim().trim_end_matches(" kB").trim();
    kib.parse::<u64>().expect("a number") / 1_024
}
