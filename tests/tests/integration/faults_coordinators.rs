//! Three coordinators: each serves, the catalog outlives its leader, and a restart of all loses nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use polylite_client::{Client, ClusterStatus, CreateDatabase, RetryPolicy};
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tests::recorded_writers::RecordedWriters;
use tests::replica_files::assert_equal_after_stop;
use tokio::runtime::Runtime;

const COORDINATORS: usize = 3;

struct Coordinators {
    cluster: ProcessCluster,
    runtime: Runtime,
}

impl Coordinators {
    fn start() -> Coordinators {
        let cluster = ProcessCluster::start(COORDINATORS, 3);
        Coordinators { cluster, runtime: Runtime::new().expect("a runtime starts") }
    }

    /// A client that knows one coordinator alone.
    fn client_of(&self, number: usize) -> Client {
        Client::new([self.cluster.coordinator_url(number)]).expect("an address")
    }

    fn status_of(&self, number: usize) -> Option<ClusterStatus> {
        if !self.cluster.coordinator_runs(number) {
            return None;
        }
        let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
        let client = Client::builder([self.cluster.coordinator_url(number)]).retry(once).build();
        self.runtime.block_on(client.expect("an address").status()).ok()
    }

    /// Waits until one of those that run leads, and tells which.
    fn await_leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leads = |number: &usize| self.status_of(*number).is_some_and(|status| status.is_leader);
            if let Some(leader) = (0..COORDINATORS).find(leads) {
                return leader;
            }
            assert!(Instant::now() < deadline, "no coordinator leads");
        }
    }

    fn create(&self, through: usize, name: &str) {
        let client = self.client_of(through);
        self.runtime
            .block_on(client.create_database(&CreateDatabase::sql(name)))
            .unwrap_or_else(|error| panic!("coordinator {through} creates {name}: {error:?}"));
    }

    /// Databases and storage nodes, as one coordinator tells them.
    fn catalog_of(&self, number: usize) -> (Vec<String>, Vec<String>, BTreeMap<String, Vec<String>>) {
        let client = self.client_of(number);
        self.runtime.block_on(async {
            let mut databases = client.list_databases().await.expect("the databases are listed");
            databases.sort();
            let nodes = client.nodes().await.expect("the nodes are listed");
            let partitions = client.partitions(None).await.expect("the partitions are listed");
            let replicas = partitions.into_iter().map(|mut partition| {
                partition.storage_nodes.sort();
                (partition.id, partition.storage_nodes)
            });
            (databases, nodes.into_iter().map(|node| node.id).collect(), replicas.collect())
        })
    }
}

#[test]
fn every_coordinator_serves_what_another_acknowledged() {
    let coordinators = Coordinators::start();
    for writer in 0..COORDINATORS {
        let name = format!("from_{writer}");
        coordinators.create(writer, &name);
        for reader in 0..COORDINATORS {
            let sql = |text: String| {
                let database = coordinators.client_of(reader).database(&name);
                coordinators.runtime.block_on(async move { database.sql(text).query().await })
            };
            if reader == 0 {
                sql("CREATE TABLE t (id INTEGER PRIMARY KEY)".to_owned()).expect("the table is made");
            }
            sql(format!("INSERT INTO t VALUES ({reader})")).expect("the row is written");
            let count: i64 =
                sql("SELECT count(*) FROM t".to_owned()).and_then(|rows| rows.scalar()).expect("a count");
            assert_eq!(count, i64::try_from(reader).expect("a small number") + 1);
        }
    }
    let first = coordinators.catalog_of(0);
    assert_eq!(first.0, ["from_0", "from_1", "from_2"]);
    assert_eq!(first, coordinators.catalog_of(1));
    assert_eq!(first, coordinators.catalog_of(2));
    let leaders =
        (0..COORDINATORS).filter(|number| coordinators.status_of(*number).expect("it answers").is_leader);
    assert_eq!(leaders.count(), 1);
}

#[test]
fn the_catalog_outlives_its_leader_and_a_restart_of_all() {
    let mut coordinators = Coordinators::start();
    coordinators.create(0, "bank");
    let writers = RecordedWriters::start(&coordinators.cluster.coordinator_urls(), "bank", 4, 7);
    writers.await_progress(20, PATIENCE);
    for round in 0..2 {
        let leader = coordinators.await_leader();
        coordinators.cluster.kill_coordinator(leader);
        let data_went_on = writers.await_progress(20, Duration::from_secs(10));
        let begun = Instant::now();
        let next = coordinators.await_leader();
        let elected = begun.elapsed();
        coordinators.create(next, &format!("after_{round}"));
        eprintln!(
            "coordinator {leader} killed: 20 writes in {data_went_on:?}, {next} leads {elected:?} later, \
             a database was made after {:?}",
            begun.elapsed()
        );
        coordinators.cluster.restart_coordinator(leader);
        assert_eq!(coordinators.catalog_of(leader), coordinators.catalog_of(next));
    }
    let before = coordinators.catalog_of(0);
    assert_eq!(before.0, ["after_0", "after_1", "bank"]);
    (0..COORDINATORS).for_each(|number| coordinators.cluster.kill_coordinator(number));
    // In another order than they were founded in.
    [2, 0, 1].into_iter().for_each(|number| coordinators.cluster.restart_coordinator(number));
    for number in 0..COORDINATORS {
        assert_eq!(coordinators.catalog_of(number), before, "coordinator {number}");
    }
    writers.await_progress(20, PATIENCE);
    coordinators.create(1, "after_all");
    writers.finish();
    assert_equal_after_stop(&mut coordinators.cluster, "bank", 3);
}
