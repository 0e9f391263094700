//! Partitions are split and merged by themselves, for their size and for what they have to do, while clients count.

use std::time::Instant;

use polylite_client::{Client, Request};
use serde_json::{Value as Json, json};
use tests::counting_clients::CountingClients;
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tokio::runtime::Runtime;

/// How long splitting or merging may take on a slow machine.
const RESIZED: std::time::Duration = std::time::Duration::from_secs(180);

struct Cluster {
    processes: ProcessCluster,
    runtime: Runtime,
    client: Client,
}

impl Cluster {
    fn start() -> Cluster {
        let processes = ProcessCluster::start(1, 3);
        let client = Client::new(processes.coordinator_urls()).expect("addresses");
        Cluster { processes, runtime: Runtime::new().expect("a runtime starts"), client }
    }

    fn get(&self, path: &str) -> Json {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.runtime.block_on(self.client.send(&Request::get(path))) {
                Ok(answer) => return answer,
                Err(error) => assert!(error.retryable && Instant::now() < deadline, "{path}: {error:?}"),
            }
        }
    }

    fn partitions(&self, database: &str) -> usize {
        self.get(&format!("/partitions/{database}"))["partitions"].as_object().expect("an object").len()
    }

    fn limit(&self, flags: &[&str]) {
        let mut command = vec!["partitioning"];
        command.extend(flags);
        self.processes.run(&command).succeeded();
    }

    /// Waits until a database has a number of partitions that will do.
    fn await_partitions(&self, database: &str, will_do: impl Fn(usize) -> bool) {
        let deadline = Instant::now() + RESIZED;
        while !will_do(self.partitions(database)) {
            assert!(Instant::now() < deadline, "{}", self.get("/cluster/status"));
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    fn rows(&self, sql: &str) -> Json {
        serde_json::from_str(&self.processes.sql("growing", sql)).expect("JSON")
    }

    /// The database is made, and grows to several times the size at which its partitions are split.
    fn grow(&self, flags: &[&str]) {
        let mut create = vec!["create-database", "--name", "growing"];
        create.extend(flags);
        self.processes.run(&create).succeeded();
        let _ = self.rows("CREATE TABLE papers (id INTEGER PRIMARY KEY, body TEXT)");
        for batch in 0..4 {
            let _ = self.rows(&format!(
                "INSERT INTO papers WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 500) \
                 SELECT {batch} * 500 + n, hex(zeroblob(1000)) || n FROM c"
            ));
        }
    }

    fn check_papers(&self) {
        let sums = "SELECT count(*) AS c, sum(id) AS s, sum(length(body)) AS l, count(DISTINCT body) AS d FROM papers";
        let length: u64 = 2_000 * 2_000 + 4 * (1..=500_u64).map(|n| n.to_string().len() as u64).sum::<u64>();
        let whole = json!([{ "c": 2_000, "s": 2_000 * 2_001 / 2, "l": length, "d": 500 }]);
        assert_eq!(self.rows(sums), whole);
    }
}

#[test]
fn a_partition_that_grows_is_split_and_cold_neighbours_are_merged_while_clients_count() {
    let cluster = Cluster::start();
    cluster.limit(&["--automatic", "false", "--after-seconds", "1"]);
    cluster.grow(&["--partitions", "2"]);
    let clients = CountingClients::start(&cluster.processes.coordinator_urls(), "growing", 2);
    clients.await_progress(10, PATIENCE);
    cluster.limit(&["--automatic", "true", "--split-bytes", "1500000", "--merge-bytes", "10000"]);
    cluster.await_partitions("growing", |count| count >= 4);
    clients.await_progress(10, PATIENCE);
    cluster.check_papers();
    // Now all of it is little, and even what the clients ask.
    let much = ["--split-bytes", "1000000000", "--merge-bytes", "500000000"];
    let often = ["--split-requests", "2000000", "--merge-requests", "1000000"];
    cluster.limit(&[much, often].concat());
    cluster.await_partitions("growing", |count| count == 2);
    clients.await_progress(10, PATIENCE);
    cluster.check_papers();
    clients.finish();
    let status = cluster.get("/cluster/status")["partitioning"].clone();
    let (splits, merges) = (status["splits"].as_u64(), status["merges"].as_u64());
    assert!(splits >= Some(2) && splits == merges, "{status}");
    assert_eq!(status["by_itself"].as_u64(), splits.zip(merges).map(|(splits, merges)| splits + merges));
}

#[test]
fn a_partition_of_a_range_is_split_in_the_middle_of_its_keys() {
    let cluster = Cluster::start();
    cluster.limit(&["--split-bytes", "1500000", "--merge-bytes", "10000", "--after-seconds", "1"]);
    // All rows lie in the first of the two.
    cluster.grow(&["--partition-method", "range", "--split-points", "1000000"]);
    cluster.await_partitions("growing", |count| count >= 4);
    cluster.check_papers();
    let partitions = cluster.get("/partitions/growing")["partitions"].clone();
    let partitions = partitions.as_object().expect("an object").values();
    let ends: Vec<i64> =
        partitions.filter_map(|partition| partition["partition_value"]["to"].as_i64()).collect();
    // Half of 2,000 rows, as far as a sample tells.
    assert!(ends.iter().any(|end| (700..=1_300).contains(end)), "{ends:?}");
}

#[test]
fn a_partition_that_has_much_to_do_is_split_however_small_it_is() {
    let cluster = Cluster::start();
    cluster.limit(&["--split-requests", "4", "--merge-requests", "0", "--after-seconds", "1"]);
    let create = ["create-database", "--name", "busy", "--partitions", "2"];
    cluster.processes.run(&create).succeeded();
    let clients = CountingClients::start(&cluster.processes.coordinator_urls(), "busy", 2);
    cluster.await_partitions("busy", |count| count >= 3);
    cluster.limit(&["--automatic", "false"]);
    clients.await_progress(10, PATIENCE);
    clients.finish();
    let refused = cluster.processes.run(&["partitioning", "--split-bytes", "10", "--merge-bytes", "6"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("at most half"), "{refused:?}");
}
