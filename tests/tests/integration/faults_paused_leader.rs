//! A node that stands still (SIGSTOP) for longer than its followers wait, and goes on (SIGCONT) believing that
//! it leads: nobody may be answered from what it knew, and nothing acknowledged meanwhile may be lost.

use std::time::Instant;

use polylite_client::{Client, CreateDatabase, Database, Outcome, RetryPolicy};
use serde_json::json;
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tests::recorded_writers::RecordedWriters;
use tests::replica_files::assert_equal_after_stop;
use tokio::runtime::Runtime;

const DATABASE: &str = "bank";
const ROUNDS: i64 = 3;
/// Requests that wait at the paused node's door.
const WAITING: usize = 8;

struct Bank {
    cluster: ProcessCluster,
    runtime: Runtime,
    client: Client,
    database: Database,
}

impl Bank {
    /// A database of one partition, so that one node leads everything.
    fn open() -> Bank {
        let cluster = ProcessCluster::start(1, 3);
        let client = Client::new(cluster.coordinator_urls()).expect("an address");
        let runtime = Runtime::new().expect("a runtime starts");
        let database = runtime.block_on(async {
            let database = client.create_database(&CreateDatabase::sql(DATABASE).partitions(1)).await?;
            database.sql("CREATE TABLE clocks (id INTEGER PRIMARY KEY, n INTEGER)").execute().await?;
            database.sql("INSERT INTO clocks VALUES (1, 0)").execute().await?;
            Ok::<_, polylite_client::Error>(database)
        });
        Bank { cluster, runtime, client, database: database.expect("the database is made") }
    }

    /// The number of the node that leads the partition.
    fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = self.runtime.block_on(self.client.partitions(Some(DATABASE)));
            if let Some(leader) = listed.expect("the partition is listed")[0].leader.clone() {
                let number = leader.strip_prefix("node-").expect("a node of ours");
                return number.parse().expect("a number");
            }
            assert!(Instant::now() < deadline, "nobody leads the partition");
        }
    }

    /// Raises the clock. What was sent to the paused leader may be applied or not, which is said; asking again
    /// does no harm.
    fn raise_to(&self, value: i64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let update = self.database.sql("UPDATE clocks SET n = max(n, ?) WHERE id = 1").bind(value);
            match self.runtime.block_on(update.execute()) {
                Ok(done) => return assert_eq!(done.affected_rows, 1),
                Err(error) => {
                    assert_eq!(error.outcome, Outcome::Unknown, "{error:?}");
                    assert!(Instant::now() < deadline, "the others take no writes: {error:?}");
                }
            }
        }
    }
}

#[test]
fn a_leader_that_was_paused_answers_nothing_stale_and_loses_nothing() {
    let mut bank = Bank::open();
    let writers = RecordedWriters::start(&bank.cluster.coordinator_urls(), DATABASE, 4, 11);
    writers.await_progress(20, PATIENCE);
    let mut answered = 0;
    for round in 1..=ROUNDS {
        let paused = bank.leader();
        let url = bank.cluster.node_url(paused);
        bank.cluster.node(paused).signal("STOP");
        // An acknowledgement now comes from a new leader.
        bank.raise_to(round);
        let waiting: Vec<_> = (0..WAITING).map(|_| bank.runtime.spawn(read_at_node(url.clone()))).collect();
        let coordinator = bank.database.clone();
        let through_coordinator = bank.runtime.spawn(async move {
            let rows = coordinator.sql("SELECT n FROM clocks WHERE id = 1").query().await?;
            rows.scalar::<i64>()
        });
        writers.await_progress(20, PATIENCE);
        bank.cluster.node(paused).signal("CONT");
        for read in waiting {
            match bank.runtime.block_on(read).expect("the task ends") {
                Ok(value) => {
                    assert_eq!(value, round, "node-{paused} answered what it knew before its pause");
                    answered += 1;
                }
                Err(error) => eprintln!("node-{paused} refused a read: {error}"),
            }
        }
        let value =
            bank.runtime.block_on(through_coordinator).expect("the task ends").expect("it is answered");
        assert_eq!(value, round, "the coordinator answered what was true before");
        let recovery = writers.await_progress(20, PATIENCE);
        eprintln!("round {round}: node-{paused} was paused; 20 writes {recovery:?} after it went on");
    }
    eprintln!("{answered} of {} reads that waited at a paused node were answered", WAITING * 3);
    assert!(answered > 0, "a node that goes on serves again");
    writers.finish();
    assert_equal_after_stop(&mut bank.cluster, DATABASE, 3);
}

/// Asks a node itself, whose read index must come from whoever leads.
async fn read_at_node(url: String) -> polylite_client::Result<i64> {
    let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
    let client = Client::builder([url]).timeout(PATIENCE).retry(once).build()?;
    let query = json!({"operation": "query", "table": "clocks", "where": {"id": 1}});
    let answer = client.database(DATABASE).query_object(&query).await?;
    Ok(answer.data[0]["n"].as_i64().expect("the row has its value"))
}
