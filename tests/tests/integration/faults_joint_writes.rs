//! Many small writes over several partitions, which coordinators commit together, while coordinators and leaders are killed
//! (SIGKILL) and paused. Some carry no idempotency key: each is sent once, and what its answer says must be so. Others have
//! one, and are sent through any coordinator until they are answered: they are applied once, and answered the same.
//!
//! `POLYLITE_FAULTS_SECONDS` makes the run longer, `POLYLITE_FAULTS_SEED` repeats the choices of one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use tests::drawn_faults::{setting, strike};
use tests::process_cluster::ProcessCluster;
use tests::raw_http::{RawAnswer, send, try_send_with};

const COORDINATORS: usize = 2;
const NODES: usize = 3;
const WRITERS: u64 = 6;
const STANDARD_SECONDS: u64 = 4;
const RECOVERY_MAX: Duration = Duration::from_secs(120);
/// How long a write with a key is sent again.
const KEYED_MAX: Duration = Duration::from_secs(60);
/// Rows of the accounts and of the counters: enough to lie on all partitions.
const ROWS: i64 = 16;
const BALANCE: i64 = 100;

/// What became of a write, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Applied,
    NotApplied,
    Unknown,
}

#[derive(Default)]
struct Told {
    progress: AtomicU64,
    /// Rows in column groups that are there, and that are not.
    there: Mutex<BTreeSet<i64>>,
    absent: Mutex<BTreeSet<i64>>,
    increments: AtomicI64,
    open_increments: AtomicI64,
    refused: AtomicU64,
    /// Writes with a key that are there.
    keyed: AtomicU64,
    violations: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Told {
    fn violation(&self, text: String) {
        self.violations.lock().expect("nobody panics").push(text);
    }
}

fn post(url: &str, database: &str, body: &Json) -> std::io::Result<RawAnswer> {
    try_send_with(url, "POST", &format!("/databases/{database}/sql"), &[], body)
}

fn write(url: &str, database: &str, headers: &[(&str, &str)], body: &Json) -> (Fate, Json) {
    let path = format!("/databases/{database}/sql");
    let Ok(answer) = try_send_with(url, "POST", &path, headers, body) else {
        return (Fate::Unknown, Json::Null);
    };
    let fate = match (answer.status, answer.body["outcome"].as_str()) {
        (200, _) | (_, Some("applied")) => Fate::Applied,
        (_, Some("not_applied")) => Fate::NotApplied,
        _ => Fate::Unknown,
    };
    (fate, answer.body)
}

/// The rows of the only statement.
fn rows_of(answer: &RawAnswer) -> &Json {
    &answer.body["results"][0]["rows"]
}

fn add(table: &str, id: i64, amount: i64) -> Json {
    json!({"sql": format!("UPDATE {table} SET n = n + ? WHERE id = ?"), "params": [amount, id]})
}

/// One of the writers, each of which has row numbers of its own.
struct Writer {
    number: u64,
    urls: Vec<String>,
    told: Arc<Told>,
    random: SmallRng,
    next: i64,
    /// Keys that were used.
    keys: u64,
}

impl Writer {
    /// Writes, with a key or without one.
    fn write(&mut self, url: &str, database: &str, body: &Json) -> (Fate, Json) {
        self.keys += 1;
        let key = match self.random.random_range(0..4) {
            // All have their own home, or all the same.
            0 => format!("writer-{}-{}", self.number, self.keys),
            1 => format!("writer-{}.{}", self.number, self.keys),
            _ => return write(url, database, &[], body),
        };
        let headers = [("Idempotency-Key", key.as_str())];
        let (mut fate, mut answer) = write(url, database, &headers, body);
        let begun = Instant::now();
        while fate == Fate::Unknown && begun.elapsed() < KEYED_MAX {
            let url = &self.urls[self.random.random_range(0..self.urls.len())];
            let (again, told) = write(url, database, &headers, body);
            // What one attempt has not done, another one may have; a refusal of the data is true of all.
            if again == Fate::Applied || told["code"] == "unique_violation" {
                (fate, answer) = (again, told);
            }
        }
        if answer["success"] == true && self.random.random_bool(0.3) {
            self.send_again(database, &headers, body, &answer);
        }
        self.told.keyed.fetch_add(u64::from(fate == Fate::Applied), Ordering::Relaxed);
        (fate, answer)
    }

    /// A request that was answered is answered the same, by whomever.
    fn send_again(&mut self, database: &str, headers: &[(&str, &str)], body: &Json, answer: &Json) {
        let url = &self.urls[self.random.random_range(0..self.urls.len())];
        let (_, told) = write(url, database, headers, body);
        if told["success"] == true && told != *answer {
            self.told.violation(format!("{answer} the first time, {told} the second"));
        }
        if told["code"] == "unique_violation" {
            self.told.violation(format!("a repeated write was run again: {told}"));
        }
    }

    fn run(mut self) {
        while !self.told.stop.load(Ordering::Relaxed) {
            let url = self.urls[self.random.random_range(0..self.urls.len())].clone();
            let fate = match self.random.random_range(0..5) {
                0 => self.increment(&url),
                1 => self.transfer(&url),
                2 => self.refused_transfer(&url),
                _ => self.insert(&url),
            };
            self.told.progress.fetch_add(u64::from(fate == Fate::Applied), Ordering::Relaxed);
        }
    }

    fn two_rows(&mut self) -> (i64, i64) {
        let first = self.random.random_range(1..=ROWS);
        (first, (first + self.random.random_range(1..ROWS) - 1) % ROWS + 1)
    }

    fn transfer(&mut self, url: &str) -> Fate {
        let (from, to) = self.two_rows();
        self.write(url, "bank", &json!({"statements": [add("accounts", from, -5), add("accounts", to, 5)]})).0
    }

    /// One that takes money away, and breaks a constraint elsewhere.
    fn refused_transfer(&mut self, url: &str) -> Fate {
        let (from, to) = self.two_rows();
        let exists = json!({"sql": "INSERT INTO accounts VALUES (?, 0)", "params": [to]});
        let (fate, answer) =
            self.write(url, "bank", &json!({"statements": [add("accounts", from, -5), exists]}));
        if fate == Fate::Applied {
            self.told.violation(format!("a second row {to} was taken: {answer}"));
        }
        let is_refused = answer["code"] == "unique_violation";
        self.told.refused.fetch_add(u64::from(is_refused), Ordering::Relaxed);
        fate
    }

    /// Raises all counters at once.
    fn increment(&mut self, url: &str) -> Fate {
        // What may be applied counts from before it is sent.
        self.told.open_increments.fetch_add(1, Ordering::SeqCst);
        let statement = json!({"sql": "UPDATE counters SET n = n + 1"});
        let (fate, _) = self.write(url, "bank", &json!({ "statements": [statement] }));
        match fate {
            Fate::Applied => {
                self.told.increments.fetch_add(1, Ordering::SeqCst);
                self.told.open_increments.fetch_sub(1, Ordering::SeqCst);
            }
            Fate::NotApplied => drop(self.told.open_increments.fetch_sub(1, Ordering::SeqCst)),
            Fate::Unknown => {}
        }
        fate
    }

    fn insert(&mut self, url: &str) -> Fate {
        self.next += 1;
        let id = self.next * i64::try_from(WRITERS).expect("few") + i64::try_from(self.number).expect("few");
        let row = json!([id, format!("a{id}"), format!("b{id}"), format!("c{id}")]);
        let statement = json!({"sql": "INSERT INTO wide VALUES (?, ?, ?, ?)", "params": row});
        let (fate, _) = self.write(url, "parts", &json!({ "statements": [statement] }));
        let known = match fate {
            Fate::Applied => &self.told.there,
            Fate::NotApplied => &self.told.absent,
            Fate::Unknown => return fate,
        };
        known.lock().expect("nobody panics").insert(id);
        fate
    }
}

/// Reads all partitions while everybody writes.
fn read(urls: &[String], told: &Told) {
    let mut turn = 0;
    while !told.stop.load(Ordering::Relaxed) {
        turn += 1;
        let url = &urls[turn % urls.len()];
        let total = json!({"sql": "SELECT sum(n), count(*) FROM accounts"});
        if let Ok(answer) = post(url, "bank", &total)
            && answer.status == 200
            && rows_of(&answer)[0] != json!([ROWS * BALANCE, ROWS])
        {
            told.violation(format!("half of a transfer: {}", answer.body));
        }
        let least = told.increments.load(Ordering::SeqCst);
        let counters = json!({"sql": "SELECT min(n), max(n) FROM counters"});
        if let Ok(answer) = post(url, "bank", &counters)
            && answer.status == 200
        {
            let row = &rows_of(&answer)[0];
            if row[0] != row[1] || row[0].as_i64().is_none_or(|seen| seen < least) {
                told.violation(format!("counters {row} after {least} acknowledged"));
            }
        }
        let id = 1 + turn as i64 % ROWS;
        let least = told.increments.load(Ordering::SeqCst);
        let counter = json!({"sql": "SELECT n FROM counters WHERE id = ?", "params": [id]});
        if let Ok(answer) = post(url, "bank", &counter)
            && answer.status == 200
            && rows_of(&answer)[0][0].as_i64().is_none_or(|seen| seen < least)
        {
            told.violation(format!("counter {id} is {} after {least} acknowledged", answer.body));
        }
    }
}

#[test]
fn writes_that_commit_together_are_each_applied_as_it_was_told() {
    let seed = setting("POLYLITE_FAULTS_SEED").unwrap_or_else(rand::random);
    let seconds = setting("POLYLITE_FAULTS_SECONDS").unwrap_or(STANDARD_SECONDS);
    eprintln!("POLYLITE_FAULTS_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut cluster = ProcessCluster::start_with_ways(COORDINATORS, NODES);
    let urls = cluster.coordinator_urls();
    make_databases(&urls[0]);
    let told = Arc::new(Told::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let random = SmallRng::seed_from_u64(seed.wrapping_add(number));
            let writer = Writer { number, urls: urls.clone(), told: told.clone(), random, next: 0, keys: 0 };
            std::thread::spawn(move || writer.run())
        })
        .collect();
    let reader = std::thread::spawn({
        let (urls, told) = (urls.clone(), told.clone());
        move || read(&urls, &told)
    });
    await_progress(&told, 50);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        strike(&mut cluster, &mut random, (COORDINATORS, NODES));
        await_progress(&told, 20);
    }
    told.stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().expect("a writer does not panic"));
    reader.join().expect("the reader does not panic");
    let violations = told.violations.lock().expect("nobody panics").clone();
    assert_eq!(violations, Vec::<String>::new());
    assert!(told.refused.load(Ordering::Relaxed) > 0, "nothing was refused");
    assert!(told.keyed.load(Ordering::Relaxed) > 0, "nothing was written with a key");
    check_end(&urls[0], &told);
}

fn make_databases(url: &str) {
    let bank = json!({"name": "bank", "db_type": "SQL", "partitions": 4});
    let groups = json!({"first": ["a"], "second": ["b"], "third": ["c"]});
    let parts =
        json!({"name": "parts", "db_type": "SQL", "partition_type": "VERTICAL", "column_groups": groups});
    for database in [bank, parts] {
        let made = send(url, "POST", "/databases", &database);
        assert!(made.status < 300, "{made:?}");
    }
    let rows = |n: i64| (1..=ROWS).map(|id| format!("({id}, {n})")).collect::<Vec<_>>().join(", ");
    for (database, sql) in [
        ("bank", "CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, n INTEGER)".to_owned()),
        ("bank", "CREATE TABLE IF NOT EXISTS counters (id INTEGER PRIMARY KEY, n INTEGER)".to_owned()),
        ("bank", format!("INSERT OR IGNORE INTO accounts VALUES {}", rows(BALANCE))),
        ("bank", format!("INSERT OR IGNORE INTO counters VALUES {}", rows(0))),
        (
            "parts",
            "CREATE TABLE IF NOT EXISTS wide (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT)".to_owned(),
        ),
    ] {
        let begun = Instant::now();
        // Each can be sent again, should the machine be too busy for it to end in time.
        while let answer = post(url, database, &json!({ "sql": sql })).expect("everything runs")
            && answer.status != 200
        {
            assert!(begun.elapsed() < RECOVERY_MAX, "{answer:?}");
        }
    }
}

/// Waits for so many more acknowledged writes.
fn await_progress(told: &Told, count: u64) {
    let (begun, from) = (Instant::now(), told.progress.load(Ordering::Relaxed));
    while told.progress.load(Ordering::Relaxed) < from + count {
        assert!(begun.elapsed() < RECOVERY_MAX, "no {count} writes in {RECOVERY_MAX:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks until the cluster answers.
fn rows(url: &str, database: &str, sql: &str) -> Vec<Json> {
    let begun = Instant::now();
    loop {
        match post(url, database, &json!({ "sql": sql })) {
            Ok(answer) if answer.status == 200 => {
                return rows_of(&answer).as_array().expect("rows").clone();
            }
            other => assert!(begun.elapsed() < RECOVERY_MAX, "{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn check_end(url: &str, told: &Told) {
    let total = rows(url, "bank", "SELECT sum(n), count(*) FROM accounts");
    assert_eq!(total, [json!([ROWS * BALANCE, ROWS])]);
    let (least, open) = (told.increments.load(Ordering::SeqCst), told.open_increments.load(Ordering::SeqCst));
    for row in rows(url, "bank", "SELECT n FROM counters") {
        let seen = row[0].as_i64().expect("a number");
        assert!((least..=least + open).contains(&seen), "{seen} of {least} and at most {open} more");
    }
    let mut found = BTreeSet::new();
    for row in rows(url, "parts", "SELECT id, a, b, c FROM wide") {
        let id = row[0].as_i64().expect("a number");
        assert_eq!(row, json!([id, format!("a{id}"), format!("b{id}"), format!("c{id}")]), "it is whole");
        found.insert(id);
    }
    let (there, absent) =
        (told.there.lock().expect("all have ended"), told.absent.lock().expect("all have ended"));
    assert_eq!(there.difference(&found).count(), 0, "acknowledged rows are lost");
    assert_eq!(absent.intersection(&found).count(), 0, "rows are there that were told not to be");
    assert!(!there.is_empty());
    eprintln!(
        "{} rows, {} increments and {} open, {} refused, {} with keys",
        found.len(),
        least,
        open,
        told.refused.load(Ordering::Relaxed),
        told.keyed.load(Ordering::Relaxed)
    );
}
