//! Nodes that are gone for good, drained and removed, and nodes that join: replicas go where they belong while
//! clients read and write.

use std::time::{Duration, Instant};

use polylite_client::{Client, Partition, Request};
use serde_json::Value as Json;
use tests::process_cluster::ProcessCluster;
use tests::recorded_writers::RecordedWriters;
use tests::replica_files::{assert_equal_after_stop, await_equal_positions};
use tokio::runtime::Runtime;

const DATABASE: &str = "healing";
const FACTOR: usize = 3;

/// What repairing some small partitions may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

struct Healing {
    cluster: ProcessCluster,
    runtime: Runtime,
    client: Client,
}

impl Healing {
    fn open(nodes: usize) -> Healing {
        let cluster = ProcessCluster::start_with(&["--repair-after", "1"], nodes, &[]);
        cluster.run(&["create-database", "--name", DATABASE]).succeeded();
        let client = Client::new(cluster.coordinator_urls()).expect("addresses");
        Healing { cluster, runtime: Runtime::new().expect("a runtime starts"), client }
    }

    fn partitions(&self) -> Vec<Partition> {
        self.runtime.block_on(self.client.partitions(Some(DATABASE))).expect("they are listed")
    }

    /// Has the cluster evened out until a node holds so many replicas.
    fn await_use_of(&self, node: usize, count: usize) {
        let name = format!("node-{node}");
        let begun = Instant::now();
        loop {
            self.cluster.run(&["rebalance"]).succeeded();
            let partitions = self.partitions();
            let held = partitions.iter().filter(|one| one.storage_nodes.contains(&name)).count();
            if held >= count {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} holds {held} replicas: {partitions:#?}");
        }
    }

    fn under_replicated(&self) -> Option<u64> {
        let status = self.runtime.block_on(self.client.send::<Json>(&Request::get("/cluster/status")));
        status.expect("the status is told")["under_replicated"].as_u64()
    }

    /// Waits until every partition has all its replicas, none of them on the node.
    fn await_whole_without(&self, node: usize) {
        let name = format!("node-{node}");
        let begun = Instant::now();
        loop {
            let partitions = self.partitions();
            let whole = |partition: &Partition| {
                partition.storage_nodes.len() == FACTOR && !partition.storage_nodes.contains(&name)
            };
            if partitions.iter().all(whole) && self.under_replicated() == Some(0) {
                eprintln!("whole without {name} after {:?}", begun.elapsed());
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} still holds replicas: {partitions:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_dead_nodes_replicas_are_made_anew_while_clients_write() {
    let mut healing = Healing::open(4);
    let writers = RecordedWriters::start(&healing.cluster.coordinator_urls(), DATABASE, 3, 5);
    writers.await_progress(10, PATIENCE);
    healing.cluster.kill_node(1);
    healing.await_whole_without(1);
    writers.await_progress(10, PATIENCE);
    writers.finish();
    // It comes back to an empty house, and is used again.
    healing.cluster.restart_node(1);
    healing.cluster.await_active_nodes(4);
    healing.await_use_of(1, 2);
    assert_equal_after_stop(&mut healing.cluster, DATABASE, FACTOR);
}

#[test]
fn a_node_is_drained_and_removed_while_clients_write() {
    let mut healing = Healing::open(4);
    let writers = RecordedWriters::start(&healing.cluster.coordinator_urls(), DATABASE, 3, 6);
    writers.await_progress(10, PATIENCE);
    healing.cluster.run(&["drain-node", "--node-id", "node-2"]).succeeded();
    healing.await_whole_without(2);
    // A node that runs would introduce itself again.
    healing.cluster.kill_node(2);
    healing.cluster.run(&["remove-node", "--node-id", "node-2"]).succeeded();
    writers.await_progress(10, PATIENCE);
    writers.finish();
    // Three nodes are left for three replicas: none of them can give its own away.
    let refused = healing.cluster.run(&["drain-node", "--node-id", "node-0"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("cannot give its own away"), "{refused:?}");
    healing.cluster.await_active_nodes(3);
    assert_equal_after_stop(&mut healing.cluster, DATABASE, FACTOR);
}

#[test]
fn copies_are_fetched_no_faster_than_the_set_rate() {
    const RATE: u64 = 1 << 20;
    let flags = ["--fetch-rate", "1"];
    let mut cluster = ProcessCluster::start_with(&[], 1, &flags);
    cluster.run(&["create-database", "--name", DATABASE, "--partitions", "1"]).succeeded();
    let _ = cluster.sql(DATABASE, "CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)");
    let _ = cluster.sql(
        DATABASE,
        "INSERT INTO t (x) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 40) \
         SELECT randomblob(100000) FROM c",
    );
    let begun = Instant::now();
    cluster.add_node_with(&flags);
    await_equal_positions(&cluster, DATABASE, 2);
    let bytes = 40 * 100_000;
    let took = begun.elapsed();
    let least = Duration::from_millis(bytes * 1_000 / RATE);
    assert!(took >= least, "{bytes} bytes were fetched in {took:?}, at {RATE} bytes a second at most");
}
