//! Reads over partitions see one moment, with real processes that are killed, paused and cut off: money that is only moved
//! is complete in every read, and no two reads see two partitions' writers in different orders, be it rows or documents.
//!
//! `POLYLITE_FAULTS_SECONDS` makes the run longer, `POLYLITE_FAULTS_SEED` repeats its choices.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use polylite_client::{Client, Database, RetryPolicy};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde_json::{Value as Json, json};
use tests::drawn_faults::{setting, strike};
use tests::histories::long_fork::check_counters;
use tests::process_cluster::ProcessCluster;
use tests::raw_http::try_send_with;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const DATABASE: &str = "bank";
const COORDINATORS: usize = 2;
const NODES: usize = 3;
/// Accounts, and counters: enough to lie on all partitions.
const ROWS: i64 = 16;
const BALANCE: i64 = 100;
const READERS: usize = 3;
/// Until the next try of a client that was refused: whoever it asks may be away.
const REST: Duration = Duration::from_millis(5);

/// What the readers of one run have seen.
#[derive(Default)]
struct Seen {
    /// The counters of each read.
    counters: Mutex<Vec<Vec<i64>>>,
    /// The same of documents.
    marks: Mutex<Vec<Vec<i64>>>,
    reads: AtomicU64,
    transfers: AtomicU64,
    violations: Mutex<Vec<String>>,
}

async fn make_tables(database: &Database) -> polylite_client::Result<()> {
    for table in ["accounts", "counters"] {
        database.sql(format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, n INTEGER)")).execute().await?;
        let start = if table == "accounts" { BALANCE } else { 0 };
        let rows: Vec<String> = (1..=ROWS).map(|id| format!("({id}, {start})")).collect();
        database.sql(format!("INSERT INTO {table} VALUES {}", rows.join(", "))).execute().await?;
    }
    let marks: Vec<Json> = (1..=ROWS).map(|id| json!({"_id": id, "n": 0})).collect();
    database.collection("marks").insert_many(&marks).await?;
    Ok(())
}

/// Moves money to and fro until it is told to stop. What fails may have been applied: money is never made.
async fn transfer(database: Database, stop: Arc<AtomicBool>, seen: Arc<Seen>, number: i64) {
    let mut next = number;
    while !stop.load(Ordering::Relaxed) {
        next = (next * 31 + 7) % 1_000;
        let (from, to) = (next % ROWS + 1, (next / ROWS + number) % ROWS + 1);
        let moved = database
            .batch()
            .sql("UPDATE accounts SET n = n - 5 WHERE id = ?")
            .bind(from)
            .sql("UPDATE accounts SET n = n + 5 WHERE id = ?")
            .bind(to)
            .run()
            .await;
        seen.transfers.fetch_add(u64::from(moved.is_ok()), Ordering::Relaxed);
        if moved.is_err() {
            tokio::time::sleep(REST).await;
        }
    }
}

/// Raises one counter after the other, each in a request of its own, on one partition.
async fn count(database: Database, stop: Arc<AtomicBool>, id: i64) {
    while !stop.load(Ordering::Relaxed) {
        // An increment whose fate is unknown does not matter here: order does.
        if database.sql("UPDATE counters SET n = n + 1 WHERE id = ?").bind(id).execute().await.is_err() {
            tokio::time::sleep(REST).await;
        }
    }
}

/// The same with a document, by requests that carry no key: each is a write of one partition.
fn mark(url: &str, stop: &AtomicBool, id: i64) {
    let path = format!("/databases/{DATABASE}/collections/marks/update");
    let body = json!({"filter": {"_id": id}, "update": {"$inc": {"n": 1}}});
    while !stop.load(Ordering::Relaxed) {
        if try_send_with(url, "POST", &path, &[], &body).is_err() {
            std::thread::sleep(REST);
        }
    }
}

async fn read(database: Database, stop: Arc<AtomicBool>, seen: Arc<Seen>) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(rows) = database.sql("SELECT sum(n), count(*) FROM accounts").query().await {
            let row = rows.first().expect("an aggregate answers a row");
            let found: (i64, i64) = (row.get_at(0).expect("a sum"), row.get_at(1).expect("a count"));
            if found != (ROWS * BALANCE, ROWS) {
                seen.violations.lock().expect("no reader panics").push(format!("sum and count: {found:?}"));
            }
            seen.reads.fetch_add(1, Ordering::Relaxed);
        }
        if let Ok(rows) = database.sql("SELECT n FROM counters ORDER BY id").query().await {
            let counters = rows.iter().map(|row| row.get_at(0).expect("a number")).collect();
            seen.counters.lock().expect("no reader panics").push(counters);
        }
        let marks = database.collection("marks").find(json!({})).sort(json!({"_id": 1}));
        match marks.run::<Json>().await {
            Ok(marks) => {
                let marks = marks.iter().map(|mark| mark["n"].as_i64().expect("a number")).collect();
                seen.marks.lock().expect("no reader panics").push(marks);
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

#[test]
fn no_read_sees_half_of_a_transfer_or_a_long_fork_under_faults() {
    let seconds = setting("POLYLITE_FAULTS_SECONDS").unwrap_or(8);
    let seed = setting("POLYLITE_FAULTS_SEED").unwrap_or_else(rand::random);
    eprintln!("POLYLITE_FAULTS_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut cluster = ProcessCluster::start_with_ways(COORDINATORS, NODES);
    cluster.run(&["create-database", "--name", DATABASE, "--partitions", "5"]).succeeded();
    let runtime = Runtime::new().expect("a runtime starts");
    let addresses = cluster.coordinator_urls();
    let client = |number: usize| {
        let mut addresses = addresses.clone();
        let first = number % addresses.len();
        addresses.rotate_left(first);
        let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
        Client::builder(addresses).retry(once).build().expect("addresses are URLs").database(DATABASE)
    };
    let patient = Client::new(addresses.clone()).expect("addresses are URLs").database(DATABASE);
    runtime.block_on(make_tables(&patient)).expect("the tables are made");
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    for number in 0..3 {
        let from = i64::try_from(number).expect("few writers") * 7 + 1;
        tasks.push(runtime.spawn(transfer(client(number), stop.clone(), seen.clone(), from)));
        tasks.push(runtime.spawn(count(client(number), stop.clone(), from)));
    }
    let markers: Vec<_> = [1, 8]
        .into_iter()
        .zip(addresses.iter().cycle().cloned())
        .map(|(id, url)| {
            let stop = stop.clone();
            std::thread::spawn(move || mark(&url, &stop, id))
        })
        .collect();
    for number in 0..READERS {
        tasks.push(runtime.spawn(read(client(number), stop.clone(), seen.clone())));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut strikes = 0;
    while Instant::now() < end {
        strike(&mut cluster, &mut random, (COORDINATORS, NODES));
        strikes += 1;
    }
    let moved = |reads: &Mutex<Vec<Vec<i64>>>| {
        let grown = |read: &Vec<i64>| read.iter().filter(|seen| **seen > 0).count() > 1;
        reads.lock().expect("no reader panics").iter().any(grown)
    };
    let enough = |seen: &Seen| {
        let counts = [&seen.reads, &seen.transfers].map(|count| count.load(Ordering::Relaxed));
        counts.iter().all(|count| *count > 20) && moved(&seen.counters) && moved(&seen.marks)
    };
    let patience = Instant::now() + Duration::from_secs(60);
    while !enough(&seen) && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(50));
    }
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("no client panics");
        }
    });
    markers.into_iter().for_each(|marker| marker.join().expect("no client panics"));
    let (reads, transfers) = (seen.reads.load(Ordering::Relaxed), seen.transfers.load(Ordering::Relaxed));
    eprintln!("{reads} reads, {transfers} transfers, {strikes} strikes");
    let violations = seen.violations.lock().expect("no reader panics").clone();
    assert!(violations.is_empty(), "{violations:?}");
    let counters = seen.counters.lock().expect("no reader panics").clone();
    check_counters(&counters).expect("no two reads of rows see two writers in different orders");
    let marks = seen.marks.lock().expect("no reader panics").clone();
    check_counters(&marks).expect("no two reads of documents see two writers in different orders");
    assert!(enough(&seen), "{reads} reads and {transfers} transfers are too few to tell anything");
}
