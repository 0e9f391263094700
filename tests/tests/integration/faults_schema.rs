//! Schema changes while writers are at work and processes are killed (SIGKILL) and paused: each is all or nothing, over
//! all partitions and the catalog, and its fate is what its client was told.
//!
//! `POLYLITE_FAULTS_STRIKES` makes the run longer, `POLYLITE_FAULTS_SEED` repeats the choices of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use polylite_client::{Client, Database, ErrorCode, Outcome, Result};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tests::drawn_faults::{setting, strike};
use tests::process_cluster::ProcessCluster;
use tests::replica_files::assert_equal_after_stop;
use tokio::runtime::Runtime;

const DATABASE: &str = "shop";
const COORDINATORS: usize = 2;
const NODES: usize = 3;
const ROWS: i64 = 40;
/// Longest time until something is answered once everything runs again.
const ANSWER_MAX: Duration = Duration::from_secs(90);
/// Pause after an error.
const PAUSE: Duration = Duration::from_millis(20);

/// What a change makes; each has a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Column,
    Table,
    Index,
    /// One that cannot be made: rows have the same value.
    Impossible,
}

const KINDS: [Kind; 4] = [Kind::Column, Kind::Table, Kind::Index, Kind::Impossible];

#[derive(Clone, Debug)]
struct Change {
    kind: Kind,
    name: String,
    /// As its client was told; `None` if it is not known.
    applied: Option<bool>,
}

impl Change {
    fn sql(&self) -> String {
        let name = &self.name;
        match self.kind {
            Kind::Column => format!("ALTER TABLE t ADD COLUMN {name} INTEGER NOT NULL DEFAULT 7"),
            Kind::Table => format!("CREATE TABLE {name} (id INTEGER PRIMARY KEY, x INTEGER)"),
            Kind::Index => format!("CREATE INDEX {name} ON t (x)"),
            Kind::Impossible => format!("CREATE UNIQUE INDEX {name} ON t (same)"),
        }
    }
}

/// Makes changes, of each kind once at least and until one was made, until told to stop.
async fn change(database: Database, stop: Arc<AtomicBool>) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let is_made = |change: &Change| change.applied == Some(true);
    while !stop.load(Ordering::SeqCst) || changes.len() < KINDS.len() || !changes.iter().any(is_made) {
        let (kind, name) = (KINDS[changes.len() % KINDS.len()], format!("c{}", changes.len()));
        let mut change = Change { kind, name, applied: None };
        let done = database.sql(change.sql()).execute().await;
        change.applied = match &done {
            Ok(_) => Some(true),
            Err(error) if error.outcome == Outcome::NotApplied => Some(false),
            Err(_) => None,
        };
        if done.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        changes.push(change);
    }
    changes
}

/// Writes to all partitions until told to stop.
async fn write(database: Database, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        if database.sql("UPDATE t SET x = x + 1").execute().await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Asks until there is an answer: the data, or that there is no such thing.
async fn look(database: &Database, sql: &str) -> Option<i64> {
    let deadline = Instant::now() + ANSWER_MAX;
    loop {
        match database.sql(sql).query().await.and_then(|rows| rows.scalar()) {
            Ok(found) => return Some(found),
            Err(error) if error.is(ErrorCode::SqlError) => return None,
            Err(error) => assert!(error.retryable && Instant::now() < deadline, "{sql}: {error:?}"),
        }
    }
}

/// Whether a change is there, in all partitions or in none.
async fn is_there(database: &Database, change: &Change) -> bool {
    let name = &change.name;
    match change.kind {
        Kind::Column => match look(database, &format!("SELECT sum({name}) FROM t")).await {
            None => false,
            Some(sum) => {
                assert_eq!(sum, 7 * ROWS, "{change:?} is in some partitions only");
                true
            }
        },
        Kind::Table => look(database, &format!("SELECT count(*) FROM {name}")).await.is_some(),
        Kind::Index | Kind::Impossible => {
            let named = format!("SELECT count(*) FROM sqlite_schema WHERE name = '{name}'");
            look(database, &named).await.expect("a count") == 1
        }
    }
}

async fn prepare(database: &Database) -> Result<()> {
    database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, x INTEGER, same INTEGER)").execute().await?;
    let rows: Vec<String> = (1..=ROWS).map(|id| format!("({id}, 0, 0)")).collect();
    database.sql(format!("INSERT INTO t VALUES {}", rows.join(", "))).execute().await.map(drop)
}

#[test]
fn schema_changes_are_all_or_nothing_whoever_is_killed() {
    let seed = setting("POLYLITE_FAULTS_SEED").unwrap_or_else(rand::random);
    let strikes = setting("POLYLITE_FAULTS_STRIKES").unwrap_or(5);
    eprintln!("POLYLITE_FAULTS_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut cluster = ProcessCluster::start(COORDINATORS, NODES);
    cluster.run(&["create-database", "--name", DATABASE]).succeeded();
    let urls = cluster.coordinator_urls();
    let runtime = Runtime::new().expect("a runtime starts");
    let database = Client::new(urls.clone()).expect("addresses are URLs").database(DATABASE);
    runtime.block_on(prepare(&database)).expect("a table of rows");
    let stop = Arc::new(AtomicBool::new(false));
    let changing = runtime.spawn(change(database.clone(), stop.clone()));
    let writing = runtime.spawn(write(database, stop.clone()));
    for _ in 0..strikes {
        strike(&mut cluster, &mut random, (COORDINATORS, NODES));
    }
    stop.store(true, Ordering::SeqCst);
    let changes = runtime.block_on(changing).expect("it ends well");
    runtime.block_on(writing).expect("it ends well");
    // A coordinator may hear of a change a little later, and what nobody knows may still be under way.
    let each: Vec<Database> =
        urls.iter().map(|url| Client::new([url]).expect("an address is a URL").database(DATABASE)).collect();
    let deadline = Instant::now() + ANSWER_MAX;
    let mut made = 0;
    for change in &changes {
        loop {
            let seen: Vec<bool> =
                each.iter().map(|database| runtime.block_on(is_there(database, change))).collect();
            let told = change.applied.unwrap_or(seen[0]);
            if seen.iter().all(|seen| *seen == told) {
                made += usize::from(told);
                break;
            }
            assert!(Instant::now() < deadline, "{change:?} was told, and is there: {seen:?}");
        }
    }
    eprintln!("{made} of {} changes were made", changes.len());
    assert_equal_after_stop(&mut cluster, DATABASE, NODES);
}
