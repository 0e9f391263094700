//! A write far larger than one log entry: replicas that did not run it land it without ever holding it whole.
//!
//! `LARGE_WRITE_MIB` (default 72) is its size.

use std::time::{Duration, Instant};

use polylite_client::Client;
use serde_json::Value as Json;
use tests::process_cluster::{ProcessCluster, ServerProcess};
use tests::replica_files::{assert_equal_after_stop, await_equal_positions};
use tokio::runtime::Runtime;

const DATABASE: &str = "large";

/// What a replica may need to land a set of any size, beside its page caches.
const LANDING_MIB: u64 = 32;

/// The allocator gives back at once what is let go of, so that a process's size shows what it holds.
const ENVIRONMENT: &[(&str, &str)] = &[("MIMALLOC_PURGE_DELAY", "0")];

/// Written first, so that page caches are full when memory is measured.
const WARMING_MIB: u64 = 18;

/// Leadership may move while a write runs, and then several nodes have executed it.
const ATTEMPTS: usize = 5;

/// Longest wait for a leader.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn followers_land_a_large_write_in_little_memory_and_a_restarted_one_lands_it_again() {
    let size = std::env::var("LARGE_WRITE_MIB").map_or(72, |text| text.parse::<u64>().expect("a number"));
    assert!(size > 2 * LANDING_MIB, "smaller writes show nothing");
    let mut cluster = ProcessCluster::start_in(ENVIRONMENT, 1, 3);
    cluster.run(&["create-database", "--name", DATABASE, "--partitions", "1"]).succeeded();
    for statement in ["CREATE TABLE b (id INTEGER PRIMARY KEY, x BLOB)", "INSERT INTO b VALUES (0, NULL)"] {
        cluster.run(&["sql", "--db-name", DATABASE, statement]).succeeded();
    }
    insert(&cluster, WARMING_MIB);
    await_equal_positions(&cluster, DATABASE, 3);

    let (leader, grown) = growth_by_one_execution(&mut cluster, size);
    eprintln!("{size} MiB: nodes' memory grew by {grown:?} MiB at most, node {leader} led");
    assert!(grown[leader] > size, "the leader holds what it executes, so the measure shows it");
    for node in (0..3).filter(|node| *node != leader) {
        assert!(grown[node] < LANDING_MIB, "node {node} grew by {} MiB", grown[node]);
    }

    // What was committed last is not in the file yet when a process is killed: it is landed again. What it missed
    // comes to it as fast as it takes it.
    let follower = (leader + 1) % 3;
    cluster.kill_node(follower);
    insert(&cluster, size);
    cluster.restart_node(follower);
    await_equal_positions(&cluster, DATABASE, 3);
    assert_equal_after_stop(&mut cluster, DATABASE, 3);
}

/// Writes until one node alone has executed it. Answers that node, and by how much the memory of each has grown.
fn growth_by_one_execution(cluster: &mut ProcessCluster, size: u64) -> (usize, Vec<u64>) {
    for _ in 0..ATTEMPTS {
        let before = term_and_leader(cluster);
        let resident: Vec<u64> = (0..3).map(|node| forget_peak(cluster.node(node))).collect();
        insert(cluster, size);
        await_equal_positions(cluster, DATABASE, 3);
        let grown = (0..3).map(|node| mib(cluster.node(node), "VmHWM:") - resident[node]).collect();
        // A term has one leader, so nobody else has executed anything if the term is the same.
        if term_and_leader(cluster) == before {
            return (before.1, grown);
        }
        eprintln!("leadership has moved, so it is measured again");
    }
    panic!("leadership moves in every large write");
}

fn insert(cluster: &ProcessCluster, mebibytes: u64) {
    let client = Client::new(cluster.coordinator_urls()).expect("addresses");
    let text = "INSERT INTO b(x) SELECT randomblob(1048576) FROM generate_series(1, ?)";
    let count = i64::try_from(mebibytes).expect("a small number");
    let insert = client.database(DATABASE).sql(text).bind(count).timeout(Duration::from_secs(120)).execute();
    let done = Runtime::new().expect("a runtime starts").block_on(insert).expect("the write goes through");
    assert_eq!(done.affected_rows, mebibytes);
}

/// The term of the only partition, once all replicas are in it, and the number of the node that leads it.
fn term_and_leader(cluster: &mut ProcessCluster) -> (u64, usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let figures: Vec<Option<(u64, bool)>> = (0..3).map(|node| term_of(cluster.node(node))).collect();
        if let [Some((term, _)), ..] = figures[..]
            && figures.iter().all(|figure| figure.is_some_and(|(other, _)| other == term))
            && let Some(leader) = figures.iter().position(|figure| *figure == Some((term, true)))
        {
            return (term, leader);
        }
        assert!(Instant::now() < deadline, "nobody leads: {figures:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A node's term, and whether it takes writes.
fn term_of(node: &ServerProcess) -> Option<(u64, bool)> {
    let metrics = tests::raw_http::send(node.url(), "GET", "/metrics", &Json::Null).body;
    let metrics = metrics.as_str().expect("metrics are text");
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name) && line.contains("partition="))?;
        line.rsplit_once(' ')?.1.parse::<u64>().ok()
    };
    Some((value("polylite_replica_term")?, value("polylite_replica_writable")? == 1))
}

/// Lets a process's peak begin anew. Answers what is resident now.
fn forget_peak(process: &ServerProcess) -> u64 {
    // See proc_pid_clear_refs(5).
    std::fs::write(format!("/proc/{}/clear_refs", process.id()), "5").expect("the process is ours");
    mib(process, "VmHWM:")
}

/// A figure of a process, in MiB.
fn mib(process: &ServerProcess, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells it");
    let kib = line.trim().trim_end_matches(" kB").trim();
    kib.parse::<u64>().expect("a number") / 1_024
}
