//! Clients whose transactions are recorded while processes die, for the checkers in [`crate::histories`]: lists that
//! are appended to, transfers between accounts, coins in documents, withdrawals that look at another account, and rows of several column
//! groups.

mod step_by_step;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use polylite_client::{Client, CreateDatabase, Database, Error, Outcome, PartitionType, Result};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::histories::list_append::{self, Fate, Step, Transaction};
use crate::histories::lost_update::{self, Update};
use crate::histories::{bank, vertical_rows, write_skew};

/// Lists, accounts and wide rows: enough of each to lie in all partitions, and few enough to be fought over.
const LISTS: u64 = 6;
const ACCOUNTS: i64 = 8;
const BALANCE: i64 = 100;
const WIDE_ROWS: i64 = 4;
const PURSES: i64 = 6;
const COINS: i64 = 10;
/// Rows, and documents, whose versions replace each other.
const VERSIONED: i64 = 3;
/// A request that takes longer has an unknown outcome.
const REQUEST_LIMIT: Duration = Duration::from_secs(8);
/// Pause after an error.
const PAUSE: Duration = Duration::from_millis(20);

/// What was seen.
#[derive(Default)]
struct Seen {
    lists: Vec<Transaction>,
    wide_rows: Vec<Vec<i64>>,
    /// Sums over all purses.
    coins: Vec<Vec<i64>>,
    /// Updates that were computed from what was read: of rows, and of documents.
    updates: [Vec<Update>; 2],
}

/// Clients at work.
pub struct IsolationClients {
    runtime: Runtime,
    rows: Database,
    columns: Database,
    seen: Arc<Mutex<Seen>>,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl IsolationClients {
    /// Makes a database divided by rows and one divided by columns, and starts the clients.
    ///
    /// # Panics
    /// If the databases cannot be made.
    #[must_use]
    pub fn start(coordinators: &[String], name: &str, clients: usize, seed: u64) -> IsolationClients {
        let runtime = Runtime::new().expect("a runtime starts");
        let patient = Client::new(coordinators.to_vec()).expect("addresses are URLs");
        let (rows, columns) =
            runtime.block_on(create(&patient, name)).expect("the databases and their tables are made");
        let (seen, acknowledged) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicU64>::default());
        let stop = Arc::new(AtomicBool::new(false));
        let begun = Instant::now();
        let tasks = (0..clients).map(|number| {
            let mut addresses = coordinators.to_vec();
            addresses.rotate_left(number % coordinators.len());
            let client =
                Client::builder(addresses).timeout(REQUEST_LIMIT).build().expect("addresses are URLs");
            let recording = Recording {
                rows: client.database(rows.name()),
                columns: client.database(columns.name()),
                seen: seen.clone(),
                acknowledged: acknowledged.clone(),
                random: SmallRng::seed_from_u64(seed ^ (number as u64 + 1)),
                next: number as u64 * 1_000_000 + 1,
                begun,
            };
            runtime.spawn(recording.run(stop.clone()))
        });
        let tasks = tasks.collect();
        IsolationClients { runtime, rows, columns, seen, acknowledged, stop, tasks }
    }

    /// Waits until `count` more transactions are acknowledged.
    ///
    /// # Panics
    /// If it takes longer than `limit`.
    pub fn await_progress(&self, count: u64, limit: Duration) {
        let begun = Instant::now();
        let goal = self.acknowledged.load(Ordering::Relaxed) + count;
        while self.acknowledged.load(Ordering::Relaxed) < goal {
            assert!(begun.elapsed() < limit, "no {count} transactions in {limit:?}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Ends the clients and checks everything that was seen.
    ///
    /// # Panics
    /// If a checker finds something.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            self.runtime.block_on(task).expect("a client ends well");
        }
        let seen = std::mem::take(&mut *self.seen.lock().expect("no client panics with it in hand"));
        list_append::check(&seen.lists, |list| list)
            .expect("transactions depend on each other without cycles");
        vertical_rows::check(&seen.wide_rows).expect("no row is seen torn");
        for updates in &seen.updates {
            lost_update::check(updates).expect("no update is lost");
        }
        let (audits, pairs, wide) = self
            .runtime
            .block_on(async {
                let audits = numbers(&self.rows, "SELECT total FROM audits").await;
                let pairs = numbers(&self.rows, "SELECT left_of, right_of FROM pairs").await;
                let wide = numbers(&self.columns, "SELECT a, b, c FROM wide").await;
                Ok::<_, Error>((audits?, pairs?, wide?))
            })
            .expect("the tables can be read");
        bank::check(ACCOUNTS * BALANCE, &audits).expect("every audit finds the same total");
        bank::check(PURSES * COINS, &seen.coins).expect("no coin is lost or found");
        let coins = self.runtime.block_on(numbers(&self.rows, "SELECT sum(doc ->> '$.coins') FROM purses"));
        bank::check(PURSES * COINS, &coins.expect("the purses can be read"))
            .expect("no coin is lost in the end");
        let pairs: Vec<(i64, i64)> = pairs.iter().map(|pair| (pair[0], pair[1])).collect();
        write_skew::check(&pairs).expect("no pair is overdrawn");
        vertical_rows::check(&wide).expect("no row is torn in the end");
        let committed = seen.lists.iter().filter(|transaction| transaction.fate == Fate::Committed).count();
        eprintln!(
            "{committed} of {} list transactions committed, {} audits, {} reads of wide rows, {} and {} replaced versions",
            seen.lists.len(),
            audits.len(),
            seen.wide_rows.len(),
            seen.updates[0].len(),
            seen.updates[1].len()
        );
        assert!(committed > 0 && !audits.is_empty() && !seen.wide_rows.is_empty(), "nothing was seen");
    }
}

async fn create(client: &Client, name: &str) -> Result<(Database, Database)> {
    let rows = client.create_database(&CreateDatabase::sql(name)).await?;
    let divided = CreateDatabase::sql(format!("{name}_columns")).partition_type(PartitionType::Vertical);
    let columns = client.create_database(&divided).await?;
    for sql in [
        "CREATE TABLE lists (id INTEGER PRIMARY KEY, items TEXT NOT NULL)",
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)",
        "CREATE TABLE audits (id INTEGER PRIMARY KEY, total INTEGER NOT NULL)",
        "CREATE TABLE versions (id INTEGER PRIMARY KEY, version INTEGER NOT NULL)",
        "CREATE TABLE sides (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)",
        "CREATE VIEW pairs AS SELECT a.balance AS left_of, b.balance AS right_of FROM sides a \
         JOIN sides b ON b.id = a.id + 1000 ORDER BY a.id",
    ] {
        rows.sql(sql).execute().await?;
    }
    columns
        .sql("CREATE TABLE wide (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, c INTEGER)")
        .execute()
        .await?;
    let mut batch = rows.batch();
    for list in 0..LISTS {
        batch = batch.sql(format!("INSERT INTO lists VALUES ({list}, '')"));
    }
    for account in 0..ACCOUNTS {
        batch = batch.sql(format!("INSERT INTO accounts VALUES ({account}, {BALANCE})"));
        batch = batch.sql(format!("INSERT INTO sides VALUES ({account}, 50), ({}, 50)", account + 1_000));
    }
    for row in 0..VERSIONED {
        batch = batch.sql(format!("INSERT INTO versions VALUES ({row}, 0)"));
    }
    batch.run().await?;
    let versioned: Vec<_> = (0..VERSIONED).map(|id| json!({"_id": id, "version": 0})).collect();
    rows.collection("versioned").insert_many(&versioned).await?;
    let purses: Vec<_> = (0..PURSES).map(|purse| json!({"_id": purse, "coins": COINS})).collect();
    rows.collection("purses").insert_many(&purses).await?;
    for row in 0..WIDE_ROWS {
        columns.sql(format!("INSERT INTO wide VALUES ({row}, 0, 0, 0)")).execute().await?;
    }
    Ok((rows, columns))
}

async fn numbers(database: &Database, sql: &str) -> Result<Vec<Vec<i64>>> {
    let rows = database.sql(sql).max_rows(1_000_000).query().await?;
    rows.iter().map(|row| (0..row.values().len()).map(|column| row.get_at(column)).collect()).collect()
}

struct Recording {
    rows: Database,
    columns: Database,
    seen: Arc<Mutex<Seen>>,
    acknowledged: Arc<AtomicU64>,
    random: SmallRng,
    /// The next number that nobody else uses.
    next: u64,
    begun: Instant,
}

impl Recording {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            self.next += 1;
            let done = match self.random.random_range(0..11) {
                0 | 1 => self.append().await,
                2 => self.transfer().await,
                3 => self.audit().await,
                4 => self.withdraw().await,
                5 => self.stamp().await,
                6 => self.append_to_both().await,
                7 => self.transfer_after_a_look().await,
                8 => self.pass_coins().await,
                9 => self.replace_version().await,
                _ => self.withdraw_after_a_look().await,
            };
            match done {
                Ok(()) => drop(self.acknowledged.fetch_add(1, Ordering::Relaxed)),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Appends to two lists, which answer what they hold then; or reads one.
    async fn append(&mut self) -> Result<()> {
        let first = self.random.random_range(0..LISTS);
        let second = (first + self.random.random_range(1..LISTS)) % LISTS;
        let begun = self.now();
        if self.random.random_bool(0.3) {
            let sql = format!("SELECT items FROM lists WHERE id = {first}");
            let rows = self.rows.sql(sql).query().await?;
            let steps = vec![Step::Read(first, items(&rows.scalar::<String>()?))];
            self.record(steps, Fate::Committed, begun);
            return Ok(());
        }
        let sql = "UPDATE lists SET items = items || ',' || ? WHERE id = ? RETURNING items";
        let value = self.next;
        let batch = [first, second].into_iter().fold(self.rows.batch(), |batch, list| {
            batch
                .sql(sql)
                .bind(i64::try_from(value).expect("small"))
                .bind(i64::try_from(list).expect("small"))
        });
        match batch.run().await {
            Ok(answers) => {
                let mut steps = Vec::new();
                for (list, answer) in [first, second].into_iter().zip(answers) {
                    steps.push(Step::Append(list, value));
                    steps.push(Step::Read(list, items(&answer?.rows.scalar::<String>()?)));
                }
                self.record(steps, Fate::Committed, begun);
                Ok(())
            }
            Err(error) => {
                let fate = if error.outcome == Outcome::NotApplied { Fate::Aborted } else { Fate::Unknown };
                self.record(vec![Step::Append(first, value), Step::Append(second, value)], fate, begun);
                Err(error)
            }
        }
    }

    fn record(&self, steps: Vec<Step>, fate: Fate, begun: u64) {
        let transaction = Transaction { steps, fate, time: (begun, self.now()) };
        self.seen.lock().expect("no client panics with it in hand").lists.push(transaction);
    }

    async fn transfer(&mut self) -> Result<()> {
        let from = self.random.random_range(0..ACCOUNTS);
        let to = (from + self.random.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let batch = self.rows.batch();
        let batch = batch.sql("UPDATE accounts SET balance = balance - 1 WHERE id = ?").bind(from);
        let batch = batch.sql("UPDATE accounts SET balance = balance + 1 WHERE id = ?").bind(to);
        batch.run().await.map(drop)
    }

    /// Adds all accounts up, as a part of a write.
    async fn audit(&mut self) -> Result<()> {
        let sql = "INSERT INTO audits SELECT ?, sum(balance) FROM accounts";
        self.rows.sql(sql).bind(i64::try_from(self.next).expect("small")).execute().await.map(drop)
    }

    /// Takes from one side what both sides cover together.
    async fn withdraw(&mut self) -> Result<()> {
        let account = self.random.random_range(0..ACCOUNTS);
        let side = account + if self.random.random_bool(0.5) { 1_000 } else { 0 };
        let sql = "UPDATE sides SET balance = balance - 60 WHERE id = ? AND \
                   (SELECT sum(balance) FROM sides WHERE id IN (?, ?)) >= 60";
        let statement = self.rows.sql(sql).bind(side).bind(account).bind(account + 1_000);
        statement.execute().await.map(drop)
    }

    /// Sets all columns of a row to one number, or reads them.
    async fn stamp(&mut self) -> Result<()> {
        let row = self.random.random_range(0..WIDE_ROWS);
        if self.random.random_bool(0.5) {
            let found = numbers(&self.columns, &format!("SELECT a, b, c FROM wide WHERE id = {row}")).await?;
            self.seen.lock().expect("no client panics with it in hand").wide_rows.extend(found);
            return Ok(());
        }
        let stamp = i64::try_from(self.next).expect("small");
        let statement = self.columns.sql("UPDATE wide SET a = ?, b = ?, c = ? WHERE id = ?");
        statement.bind(stamp).bind(stamp).bind(stamp).bind(row).execute().await.map(drop)
    }
}

/// The values of a list as it is stored: each behind a comma.
fn items(text: &str) -> Vec<u64> {
    text.split(',').skip(1).map(|item| item.parse().expect("a number")).collect()
}
