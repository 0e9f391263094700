//! The only coordinator is killed (kill -9) while clients write over several partitions: what it had prepared
//! and what waited to be prepared for it must not keep the next writes waiting once it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use polylite_client::{Client, CreateDatabase, Database, RetryPolicy, Rows};
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tests::replica_files::assert_equal_after_stop;
use tokio::runtime::Runtime;

const DATABASE: &str = "shop";
const ROUNDS: usize = 3;
/// Enough that prepares wait in every partition's queue at any moment.
const WRITERS: usize = 48;
/// Rows of one statement: with so many, hardly one stays within a partition.
const ROWS: i64 = 6;
/// From the new coordinator's ready line to the first write that is acknowledged.
const SOON: Duration = Duration::from_secs(2);

struct Shop {
    cluster: ProcessCluster,
    runtime: Runtime,
    database: Database,
    next: Arc<AtomicI64>,
    acknowledged: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
}

impl Shop {
    fn open() -> Shop {
        let cluster = ProcessCluster::start(1, 3);
        let runtime = Runtime::new().expect("a runtime starts");
        let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
        let client = Client::builder(cluster.coordinator_urls()).timeout(PATIENCE).retry(once).build();
        let client = client.expect("an address");
        let made = runtime.block_on(async {
            let database = client.create_database(&CreateDatabase::sql(DATABASE).partitions(4)).await?;
            database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, statement INTEGER)").execute().await?;
            Ok::<_, polylite_client::Error>(database)
        });
        Shop {
            cluster,
            runtime,
            database: made.expect("the database is made"),
            next: Arc::default(),
            acknowledged: Arc::default(),
            stop: Arc::default(),
        }
    }

    /// Clients that write until they are told to stop, whatever they are answered.
    fn start_writers(&self) -> Vec<tokio::task::JoinHandle<()>> {
        let writer = |_| {
            let (database, next) = (self.database.clone(), Arc::clone(&self.next));
            let (acknowledged, stop) = (Arc::clone(&self.acknowledged), Arc::clone(&self.stop));
            self.runtime.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if write(&database, number).await.is_ok() {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    // A refused connection is answered without waiting for anything.
                    tokio::task::yield_now().await;
                }
            })
        };
        (0..WRITERS).map(writer).collect()
    }

    fn await_writes(&self, count: i64) {
        let (deadline, goal) = (Instant::now() + PATIENCE, self.acknowledged.load(Ordering::Relaxed) + count);
        while self.acknowledged.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < deadline, "the writes do not go on");
            std::thread::yield_now();
        }
    }

    /// Writes until one write is acknowledged, and tells how long that took.
    fn first_write(&self) -> Duration {
        let begun = Instant::now();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            match self.runtime.block_on(write(&self.database, number)) {
                Ok(_) => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    return begun.elapsed();
                }
                Err(error) => assert!(begun.elapsed() < PATIENCE, "no write is acknowledged: {error:?}"),
            }
        }
    }
}

/// One statement whose rows lie in several partitions.
async fn write(database: &Database, number: i64) -> polylite_client::Result<Rows> {
    let rows: Vec<String> = (0..ROWS).map(|row| format!("({}, {number})", number * ROWS + row + 1)).collect();
    database.sql(format!("INSERT INTO t VALUES {}", rows.join(", "))).query().await
}

#[test]
fn writes_over_partitions_go_on_at_once_when_the_only_coordinator_is_back() {
    let mut shop = Shop::open();
    for round in 0..ROUNDS {
        shop.stop.store(false, Ordering::Relaxed);
        let writers = shop.start_writers();
        shop.await_writes(100);
        shop.cluster.kill_coordinator(0);
        shop.stop.store(true, Ordering::Relaxed);
        for writer in writers {
            shop.runtime.block_on(writer).expect("no writer panics");
        }
        shop.cluster.restart_coordinator(0);
        let waited = shop.first_write();
        eprintln!(
            "round {round}: the first write was acknowledged {waited:?} after the coordinator was ready"
        );
        assert!(waited < SOON, "the first write took {waited:?}");
    }
    // All or nothing: whatever became of a statement, its rows are all there or none of them.
    let torn = "SELECT count(*) FROM (SELECT 1 FROM t GROUP BY statement HAVING count(*) <> 6)";
    let rows = shop.runtime.block_on(shop.database.sql(torn).query()).expect("the rows are read");
    assert_eq!(rows.scalar::<i64>().expect("a count"), 0);
    let rows = shop.runtime.block_on(shop.database.sql("SELECT count(*) FROM t").query());
    let count: i64 = rows.and_then(|rows| rows.scalar()).expect("a count");
    assert!(count >= shop.acknowledged.load(Ordering::Relaxed) * ROWS, "{count} rows");
    assert_equal_after_stop(&mut shop.cluster, DATABASE, 3);
}
