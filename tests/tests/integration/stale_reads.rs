//! Stale reads with a bound: any replica answers that can prove to be as fresh.

use std::time::{Duration, Instant};

use polylite_client::{Client, Database, ReadLevel, Result};
use tests::metrics::{metrics_of, number};
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tokio::runtime::Runtime;

const DATABASE: &str = "shop";
const HOUR_MS: u64 = 3_600_000;

struct Shop {
    cluster: ProcessCluster,
    runtime: Runtime,
    database: Database,
}

impl Shop {
    fn open(nodes: usize) -> Shop {
        let cluster = ProcessCluster::start(1, nodes);
        cluster.run(&["create-database", "--name", DATABASE, "--partitions", "1"]).succeeded();
        let database =
            Client::new(cluster.coordinator_urls()).expect("addresses are URLs").database(DATABASE);
        let shop = Shop { cluster, runtime: Runtime::new().expect("a runtime starts"), database };
        shop.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x INTEGER NOT NULL)");
        shop.run("INSERT INTO t VALUES (1, 0)");
        shop
    }

    fn run(&self, sql: &str) {
        self.runtime.block_on(self.database.sql(sql).execute()).expect(sql);
    }

    fn read(&self, level: ReadLevel) -> Result<i64> {
        let read = self.database.sql("SELECT x FROM t WHERE id = 1").level(level);
        self.runtime.block_on(read.timeout(Duration::from_secs(5)).query())?.scalar()
    }
}

#[test]
fn a_read_that_may_not_be_stale_at_all_sees_every_acknowledged_write_on_any_replica() {
    let shop = Shop::open(3);
    for round in 1..=30 {
        shop.run(&format!("UPDATE t SET x = {round} WHERE id = 1"));
        for _ in 0..3 {
            let deadline = Instant::now() + PATIENCE;
            // Leadership may change at any time; then nobody can tell for a moment.
            let found = loop {
                match shop.read(ReadLevel::StaleWithin(0)) {
                    Ok(found) => break found,
                    Err(error) => assert!(error.retryable && Instant::now() < deadline, "{error:?}"),
                }
            };
            assert_eq!(found, round);
        }
    }
}

#[test]
fn without_a_majority_only_what_was_confirmed_lately_enough_is_answered() {
    let mut shop = Shop::open(3);
    shop.run("UPDATE t SET x = 7 WHERE id = 1");
    // Each replica has asked its leader once then.
    for _ in 0..6 {
        assert_eq!(shop.read(ReadLevel::StaleWithin(0)).expect("all is well"), 7);
    }
    for node in 1..3 {
        shop.cluster.kill_node(node);
    }
    assert_eq!(shop.read(ReadLevel::StaleWithin(HOUR_MS)).expect("it was confirmed within the hour"), 7);
    assert_eq!(shop.read(ReadLevel::Stale).expect("any state will do"), 7);
    shop.read(ReadLevel::StaleWithin(0)).expect_err("nobody can tell what is true now");
}

/// Requests of clients that each node's replica of the partition was sent.
fn requests(shop: &Shop) -> Vec<f64> {
    let replica = |metrics: String| {
        let named = metrics.lines().find(|line| line.starts_with("polylite_replica_requests_total{"));
        let name = named.and_then(|line| line.split(' ').next()).expect("a replica is there").to_owned();
        number(&metrics, &name)
    };
    (0..3).map(|node| replica(metrics_of(&shop.cluster.node_url(node)))).collect()
}

#[test]
fn stale_reads_are_spread_over_the_replicas() {
    let shop = Shop::open(3);
    let before = requests(&shop);
    for _ in 0..12 {
        shop.read(ReadLevel::Stale).expect("any state will do");
    }
    let after = requests(&shop);
    assert!(before.iter().zip(&after).all(|(before, after)| after > before), "{before:?} {after:?}");
}
