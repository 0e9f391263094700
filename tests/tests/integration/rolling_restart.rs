//! All servers are restarted one after the other while clients work: no request fails that the client library
//! repeats, and leaders spread again by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use polylite_client::{Client, Database, Error, RetryPolicy};
use tests::process_cluster::ProcessCluster;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const DATABASE: &str = "rolling";
const NODES: usize = 3;
const COORDINATORS: usize = 3;
const PARTITIONS: usize = 6;
const WRITERS: i64 = 4;

/// What anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What clients have seen.
#[derive(Default)]
struct Seen {
    /// Rows that were written and read back.
    rows: u64,
    /// What failed in spite of repeating.
    errors: Vec<Error>,
}

/// Clients that write rows and read them back.
struct Clients {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(runtime: &Runtime, coordinators: &[String]) -> Clients {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let task = |number: i64| {
            let mut addresses = coordinators.to_vec();
            addresses.rotate_left(usize::try_from(number).expect("few") % coordinators.len());
            // The usual behaviour; only the time is that of a slow machine.
            let retry = RetryPolicy { attempts_max: 30, ..RetryPolicy::default() };
            let client = Client::builder(addresses).timeout(PATIENCE).retry(retry).build();
            let database = client.expect("addresses are URLs").database(DATABASE);
            runtime.spawn(work(database, number, seen.clone(), stop.clone()))
        };
        let tasks = (0..WRITERS).map(task).collect();
        Clients { seen, stop, tasks }
    }

    /// Waits until so many more rows are written.
    fn await_progress(&self, rows: u64) {
        let goal = self.seen.lock().expect("nobody panics with it").rows + rows;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen.lock().expect("nobody panics with it");
            assert!(seen.errors.is_empty(), "{:?}", seen.errors);
            if seen.rows >= goal {
                return;
            }
            drop(seen);
            assert!(Instant::now() < deadline, "no progress");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Answers how many rows were written.
    fn finish(self, runtime: &Runtime) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            runtime.block_on(task).expect("no client panics");
        }
        let seen = self.seen.lock().expect("nobody panics with it");
        assert!(seen.errors.is_empty(), "{:?}", seen.errors);
        seen.rows
    }
}

async fn work(database: Database, number: i64, seen: Arc<Mutex<Seen>>, stop: Arc<AtomicBool>) {
    for step in 1.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let id = step * WRITERS + number;
        let done = write_and_read(&database, id).await;
        let mut seen = seen.lock().expect("nobody panics with it");
        match done {
            Ok(read) => {
                assert_eq!(read, 1, "row {id} is there once it is acknowledged");
                seen.rows += 1;
            }
            Err(error) => seen.errors.push(error),
        }
    }
}

async fn write_and_read(database: &Database, id: i64) -> Result<i64, Error> {
    database.sql("INSERT INTO t (id, n) VALUES (?, 1)").bind(id).execute().await?;
    database.sql("SELECT count(*) FROM t WHERE id = ?").bind(id).query().await?.scalar()
}

/// Waits until every node leads as many partitions as the others, by one more or less.
fn await_spread_leaders(runtime: &Runtime, client: &Client) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let partitions = runtime.block_on(client.partitions(Some(DATABASE))).expect("they are listed");
        let mut led: BTreeMap<String, usize> = BTreeMap::new();
        for leader in partitions.iter().filter_map(|partition| partition.leader.clone()) {
            *led.entry(leader).or_default() += 1;
        }
        let counts: BTreeSet<usize> = led.values().copied().collect();
        let (fewest, most) = (counts.first().copied(), counts.last().copied());
        if led.len() == NODES && most <= fewest.map(|fewest| fewest + 1) {
            return;
        }
        assert!(Instant::now() < deadline, "leaders stay uneven: {led:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn restarting_every_server_in_turn_fails_no_request() {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut cluster = ProcessCluster::start(COORDINATORS, NODES);
    let partitions = PARTITIONS.to_string();
    cluster.run(&["create-database", "--name", DATABASE, "--partitions", &partitions]).succeeded();
    cluster
        .run(&["sql", "--db-name", DATABASE, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)"])
        .succeeded();
    let clients = Clients::start(&runtime, &cluster.coordinator_urls());
    clients.await_progress(20);
    for number in 0..NODES {
        cluster.stop_node(number);
        clients.await_progress(20);
        cluster.restart_node(number);
        cluster.await_active_nodes(NODES);
        clients.await_progress(20);
    }
    for number in 0..COORDINATORS {
        cluster.stop_coordinator(number);
        clients.await_progress(20);
        cluster.restart_coordinator(number);
        clients.await_progress(20);
    }
    let client = Client::new(cluster.coordinator_urls()).expect("addresses");
    await_spread_leaders(&runtime, &client);
    let written = clients.finish(&runtime);
    let count = client.database(DATABASE).sql("SELECT count(*) FROM t").query();
    let count: i64 = runtime.block_on(count).expect("it is read").scalar().expect("a number");
    assert_eq!(u64::try_from(count), Ok(written));
}
