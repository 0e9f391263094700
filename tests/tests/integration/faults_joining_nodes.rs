//! Storage nodes that come later or come back: partitions gain the replicas that they lack, and a node is
//! the same after a restart, also at another address.

use std::time::Instant;

use polylite_client::{Client, CreateDatabase, Database, Partition};
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tests::replica_files::{assert_equal_after_stop, await_equal_positions};
use tokio::runtime::Runtime;

const DATABASE: &str = "shop";
const ROWS: i64 = 500;
const FACTOR: usize = 3;

struct Shop {
    cluster: ProcessCluster,
    runtime: Runtime,
    client: Client,
    database: Database,
}

impl Shop {
    fn open(nodes: usize) -> Shop {
        let cluster = ProcessCluster::start(1, nodes);
        let client = Client::new(cluster.coordinator_urls()).expect("an address");
        let runtime = Runtime::new().expect("a runtime starts");
        let declared = CreateDatabase::sql(DATABASE).replication_factor(3);
        let database = runtime.block_on(client.create_database(&declared)).expect("the database is made");
        let shop = Shop { cluster, runtime, client, database };
        shop.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)");
        shop.insert(0);
        shop
    }

    fn run(&self, sql: &str) -> u64 {
        self.runtime.block_on(self.database.sql(sql).execute()).expect("the statement runs").affected_rows
    }

    /// Inserts a block of rows; blocks are numbered from 0.
    fn insert(&self, block: i64) {
        let first = block * ROWS;
        let sql = format!(
            "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {}) \
             INSERT INTO t SELECT i, 'row ' || i FROM n",
            first + ROWS
        );
        assert_eq!(self.run(&sql), u64::try_from(ROWS).expect("positive"));
    }

    fn assert_blocks(&self, blocks: i64) {
        let text = "SELECT count(*), sum(id), count(DISTINCT x) FROM t";
        let rows = self.runtime.block_on(self.database.sql(text).query()).expect("the rows are read");
        let found: Vec<i64> = (0..3).map(|column| rows[0].get_at(column).expect("an integer")).collect();
        let count = blocks * ROWS;
        assert_eq!(found, [count, count * (count - 1) / 2, count]);
    }

    fn partitions(&self) -> Vec<Partition> {
        self.runtime.block_on(self.client.partitions(Some(DATABASE))).expect("the partitions are listed")
    }

    fn await_replicas(&self, count: usize) {
        let begun = Instant::now();
        loop {
            let partitions = self.partitions();
            let all_there = partitions.iter().all(|partition| partition.storage_nodes.len() == count);
            // A new replica is listed before it votes, and until then losing another one costs the quorum.
            if all_there && (count < FACTOR || self.under_replicated() == Some(0)) {
                eprintln!("{count} replicas of each partition after {:?}", begun.elapsed());
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "partitions lack replicas: {partitions:#?}");
        }
        await_equal_positions(&self.cluster, DATABASE, count);
    }

    /// Partitions with fewer voters than they should have.
    fn under_replicated(&self) -> Option<u64> {
        let status = self.runtime.block_on(self.client.status()).expect("the status is told");
        status.more.get("under_replicated")?.as_u64()
    }

    /// Ids and addresses of the nodes.
    fn nodes(&self) -> Vec<(String, u16)> {
        let nodes = self.runtime.block_on(self.client.nodes()).expect("the nodes are listed");
        nodes.into_iter().map(|node| (node.id, node.port)).collect()
    }
}

#[test]
fn partitions_gain_replicas_when_nodes_join_and_then_survive_the_first_node() {
    let mut shop = Shop::open(1);
    assert!(shop.partitions().iter().all(|partition| partition.storage_nodes == ["node-0"]));
    shop.cluster.add_node();
    shop.insert(1);
    shop.await_replicas(2);
    shop.cluster.add_node();
    shop.insert(2);
    shop.await_replicas(3);
    shop.cluster.kill_node(0);
    shop.assert_blocks(3);
    shop.insert(3);
    shop.assert_blocks(4);
    shop.cluster.restart_node(0);
    shop.cluster.await_active_nodes(3);
    assert_equal_after_stop(&mut shop.cluster, DATABASE, 3);
}

#[test]
fn a_node_that_restarts_is_the_same_node_also_at_another_address() {
    let mut shop = Shop::open(3);
    let before = (shop.nodes(), ids_and_replicas(&shop.partitions()));
    shop.cluster.kill_node(1);
    shop.insert(1);
    shop.cluster.restart_node(1);
    shop.cluster.await_active_nodes(3);
    assert_eq!((shop.nodes(), ids_and_replicas(&shop.partitions())), before);

    shop.cluster.kill_node(2);
    shop.insert(2);
    shop.cluster.forget_node_port(2);
    shop.cluster.restart_node(2);
    shop.cluster.await_active_nodes(3);
    let moved = shop.cluster.node(2).port();
    let after = shop.nodes();
    assert_eq!(after.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["node-0", "node-1", "node-2"]);
    assert_eq!(after[2].1, moved, "the catalog knows its new address");
    assert_eq!(ids_and_replicas(&shop.partitions()), before.1);
    // The moved node is needed for a quorum now.
    shop.cluster.kill_node(0);
    shop.insert(3);
    shop.assert_blocks(4);
    shop.cluster.restart_node(0);
    shop.cluster.await_active_nodes(3);
    assert_equal_after_stop(&mut shop.cluster, DATABASE, 3);
}

fn ids_and_replicas(partitions: &[Partition]) -> Vec<(String, Vec<String>)> {
    let mut known: Vec<(String, Vec<String>)> = partitions
        .iter()
        .map(|partition| {
            let mut nodes = partition.storage_nodes.clone();
            nodes.sort();
            (partition.id.clone(), nodes)
        })
        .collect();
    known.sort();
    known
}
