//! Clients that write while processes die, and a record of what each of them was told: afterwards every
//! acknowledged write must be there, and none of which it was said that it was not applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use polylite_client::{Client, Database, Error, Outcome, RetryPolicy, Rows};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Counters that all writers raise.
const COUNTERS: i64 = 16;

/// Rows between the two rows of a pair, so that they seldom are in the same partition.
const PAIR_DISTANCE: i64 = 1_000_000_000;

/// What a client must allow for a request, so that one which hangs is told from one that is slow.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// Pause of a writer after an error.
const PAUSE: Duration = Duration::from_millis(20);

/// What became of a write, as its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    NotApplied,
    Unknown,
}

/// What is known of one counter.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    /// Increments that were acknowledged.
    acknowledged: i64,
    /// Increments that may have been applied.
    unknown: i64,
    /// The greatest value that a read has answered.
    seen: i64,
}

/// Everything that the writers were told.
#[derive(Debug, Default)]
struct Record {
    rows: BTreeMap<i64, Fate>,
    /// First rows of pairs; the second one is [`PAIR_DISTANCE`] further.
    pairs: BTreeMap<i64, Fate>,
    counters: BTreeMap<i64, Counter>,
    acknowledged: u64,
    reads: u64,
    /// How often each kind of error was answered.
    errors: BTreeMap<String, u64>,
    /// What must never happen, and did.
    violations: Vec<String>,
}

/// Writers at work.
pub struct RecordedWriters {
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    runtime: Runtime,
    database: Database,
}

impl RecordedWriters {
    /// Makes the tables and starts the writers; each begins with another one of the coordinators.
    ///
    /// # Panics
    /// If the tables cannot be made.
    #[must_use]
    pub fn start(coordinators: &[String], database: &str, writers: usize, seed: u64) -> RecordedWriters {
        let runtime = Runtime::new().expect("a runtime starts");
        let patient = Client::new(coordinators.to_vec()).expect("addresses are URLs").database(database);
        runtime.block_on(create_tables(&patient)).expect("the tables are made");
        let record = Arc::new(Mutex::new(Record::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..writers).map(|number| {
            let mut addresses = coordinators.to_vec();
            addresses.rotate_left(number % coordinators.len());
            let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
            let client = Client::builder(addresses).timeout(REQUEST_LIMIT).retry(once).build();
            let number_i64 = i64::try_from(number).expect("few writers");
            let writer = Writer {
                database: client.expect("addresses are URLs").database(database),
                record: Arc::clone(&record),
                random: SmallRng::seed_from_u64(seed ^ (number as u64 + 1)),
                next: number_i64 * 10_000_000 + 1,
            };
            runtime.spawn(writer.run(Arc::clone(&stop)))
        });
        let tasks = tasks.collect();
        RecordedWriters { record, stop, tasks, runtime, database: patient }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no writer panics with the record in hand")
    }

    /// Waits until `count` more writes are acknowledged, and tells how long that took.
    ///
    /// # Panics
    /// If it takes longer than `limit`.
    pub fn await_progress(&self, count: u64, limit: Duration) -> Duration {
        let begun = Instant::now();
        let goal = self.record().acknowledged + count;
        while self.record().acknowledged < goal {
            let record = self.record();
            assert!(record.violations.is_empty(), "{:?}", record.violations);
            assert!(
                begun.elapsed() < limit,
                "{} of {count} writes were acknowledged in {limit:?}; errors so far: {:?}",
                count - (goal - record.acknowledged),
                record.errors
            );
            drop(record);
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    }

    /// Ends the writers and compares what the database holds with what they were told.
    ///
    /// # Panics
    /// If a promise was broken.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            self.runtime.block_on(task).expect("no writer panics");
        }
        let record = self.record.lock().expect("no writer panics with the record in hand");
        eprintln!(
            "{} writes acknowledged, {} reads, errors {:?}",
            record.acknowledged, record.reads, record.errors
        );
        assert!(record.violations.is_empty(), "{:#?}", record.violations);
        assert!(record.acknowledged > 0, "nothing was ever written");
        let broken =
            self.runtime.block_on(broken_promises(&self.database, &record)).expect("the rows are read");
        assert!(
            broken.is_empty(),
            "{} broken promises: {:#?}",
            broken.len(),
            &broken[..broken.len().min(20)]
        );
    }
}

async fn create_tables(database: &Database) -> polylite_client::Result<()> {
    database.sql("CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT NOT NULL)").execute().await?;
    database.sql("CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)").execute().await?;
    for id in 0..COUNTERS {
        database.sql("INSERT INTO counters VALUES (?, 0)").bind(id).execute().await?;
    }
    Ok(())
}

/// One client.
struct Writer {
    database: Database,
    record: Arc<Mutex<Record>>,
    random: SmallRng,
    next: i64,
}

impl Writer {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let went_well = match self.random.random_range(0..10) {
                0..4 => self.insert_row().await,
                4..6 => self.insert_pair().await,
                6..8 => self.raise_counter().await,
                _ => self.read_counter().await,
            };
            if !went_well {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no writer panics with the record in hand")
    }

    async fn insert_row(&mut self) -> bool {
        let id = self.next;
        self.next += 1;
        let insert =
            self.database.sql("INSERT INTO entries VALUES (?, ?)").bind(id).bind(format!("row {id}"));
        let fate = self.fate_of(insert.execute().await.map(|done| done.affected_rows), 1);
        self.record().rows.insert(id, fate);
        fate == Fate::Acknowledged
    }

    async fn insert_pair(&mut self) -> bool {
        let id = self.next;
        self.next += 1;
        let other = id + PAIR_DISTANCE;
        let insert = self.database.sql("INSERT INTO entries VALUES (?, 'first'), (?, 'second')");
        let answer = insert.bind(id).bind(other).execute().await.map(|done| done.affected_rows);
        let fate = self.fate_of(answer, 2);
        self.record().pairs.insert(id, fate);
        fate == Fate::Acknowledged
    }

    async fn raise_counter(&mut self) -> bool {
        let id = self.random.random_range(0..COUNTERS);
        let update = self.database.sql("UPDATE counters SET n = n + 1 WHERE id = ?").bind(id);
        let fate = self.fate_of(update.execute().await.map(|done| done.affected_rows), 1);
        let mut record = self.record();
        let counter = record.counters.entry(id).or_default();
        match fate {
            Fate::Acknowledged => counter.acknowledged += 1,
            Fate::Unknown => counter.unknown += 1,
            Fate::NotApplied => {}
        }
        fate == Fate::Acknowledged
    }

    /// A linearizable read must show all that was acknowledged, or read by anybody, before it was sent.
    async fn read_counter(&mut self) -> bool {
        let id = self.random.random_range(0..COUNTERS);
        let before = self.record().counters.get(&id).copied().unwrap_or_default();
        let least = before.acknowledged.max(before.seen);
        let read = self.database.sql("SELECT n FROM counters WHERE id = ?").bind(id).query().await;
        match read.and_then(|rows| rows.scalar::<i64>()) {
            Ok(value) => {
                let mut record = self.record();
                record.reads += 1;
                if value < least {
                    record
                        .violations
                        .push(format!("counter {id} was read as {value} and was {least} before"));
                }
                let counter = record.counters.entry(id).or_default();
                counter.seen = counter.seen.max(value);
                true
            }
            Err(error) => {
                self.note(&error);
                false
            }
        }
    }

    fn fate_of(&self, answer: polylite_client::Result<u64>, expected: u64) -> Fate {
        match answer {
            Ok(rows) => {
                let mut record = self.record();
                record.acknowledged += 1;
                if rows != expected {
                    record.violations.push(format!("{rows} rows were affected instead of {expected}"));
                }
                Fate::Acknowledged
            }
            Err(error) => {
                self.note(&error);
                if error.outcome == Outcome::NotApplied { Fate::NotApplied } else { Fate::Unknown }
            }
        }
    }

    /// Counts an error; one that a healthy request must never get is a violation.
    fn note(&self, error: &Error) {
        let mut record = self.record();
        *record.errors.entry(format!("{} {:?}", error.code, error.outcome)).or_default() += 1;
        let is_expected = error.retryable
            || error.outcome == Outcome::Unknown
            || matches!(error.status, Some(503 | 504))
            || error.status.is_none();
        if !is_expected {
            record.violations.push(format!("an error that says more than that something is down: {error:?}"));
        }
    }
}

/// Reads everything and says what is not as it was told.
async fn broken_promises(database: &Database, record: &Record) -> polylite_client::Result<Vec<String>> {
    let entries = database.sql("SELECT id FROM entries").max_rows(1_000_000).query().await?;
    let found: BTreeSet<i64> = integers(&entries, 0).into_iter().collect();
    let mut broken = Vec::new();
    for (id, fate) in &record.rows {
        check_row(*id, *fate, &found, &mut broken);
    }
    for (id, fate) in &record.pairs {
        let other = id + PAIR_DISTANCE;
        check_row(*id, *fate, &found, &mut broken);
        check_row(other, *fate, &found, &mut broken);
        if found.contains(id) != found.contains(&other) {
            broken.push(format!("only one row of the pair {id} ({fate:?}) is there"));
        }
    }
    let written = record.rows.len() + 2 * record.pairs.len();
    if found.len() != entries.len() || found.len() > written {
        broken.push(format!("{} rows, {} different ids, {written} written", entries.len(), found.len()));
    }
    let counters = database.sql("SELECT id, n FROM counters ORDER BY id").query().await?;
    for (id, value) in integers(&counters, 0).into_iter().zip(integers(&counters, 1)) {
        let counter = record.counters.get(&id).copied().unwrap_or_default();
        let greatest = counter.acknowledged + counter.unknown;
        if value < counter.acknowledged.max(counter.seen) || value > greatest {
            broken.push(format!("counter {id} is {value}: {counter:?}"));
        }
    }
    Ok(broken)
}

fn check_row(id: i64, fate: Fate, found: &BTreeSet<i64>, broken: &mut Vec<String>) {
    match (fate, found.contains(&id)) {
        (Fate::Acknowledged, false) => broken.push(format!("row {id} was acknowledged and is lost")),
        (Fate::NotApplied, true) => broken.push(format!("row {id} was said not to be applied and is there")),
        _ => {}
    }
}

fn integers(rows: &Rows, column: usize) -> Vec<i64> {
    rows.iter().map(|row| row.get_at::<i64>(column).expect("an integer")).collect()
}
