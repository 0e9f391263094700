//! Measures what capturing and landing rows costs beside plain statements on the same file format:
//! `cargo run --release -p sqlite --example effect_cost`.

use std::time::{Duration, Instant};

use common::Value;
use common::protocol::{Params, Statement, WorkItem};
use sqlite::{Applier, Budget, Executor, Location, Position, Reader, Shadow, System, SystemState, TableSums};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b REAL, c INTEGER)";
const INSERT: &str = "INSERT INTO t(a, b, c) VALUES (?, ?, ?)";
const ROWS: u32 = 60_000;

fn params(number: u32) -> Vec<Value> {
    vec![
        format!("customer number {number}").into(),
        (f64::from(number) * 0.5).into(),
        i64::from(number).into(),
    ]
}

fn plain(folder: &std::path::Path, rows_each: u32) -> Duration {
    let connection = rusqlite::Connection::open(folder.join(format!("plain{rows_each}.db"))).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0")
        .unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    let started = Instant::now();
    let mut number = 0;
    while number < ROWS {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in 0..rows_each {
            let text = format!("customer number {number}");
            let mut statement = connection.prepare_cached(INSERT).unwrap();
            statement.execute((text, f64::from(number) * 0.5, number)).unwrap();
            number += 1;
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    started.elapsed()
}

/// Executes on one file, a request a row, and applies to another; returns both times.
fn replicated(folder: &std::path::Path, rows_each: u32) -> (Duration, Duration) {
    let [leader, follower] =
        ["leader", "follower"].map(|name| Location::file(folder.join(format!("{name}{rows_each}.db"))));
    for location in [&leader, &follower] {
        let mut applier = Applier::create(location, &SystemState::default()).unwrap();
        applier.begin().unwrap();
        applier.change_schema(1, &[SCHEMA.to_owned()], &TableSums::default()).unwrap();
        applier.commit().unwrap();
    }
    let (mut executor, mut applier) = (Executor::open(&leader).unwrap(), Applier::open(&follower).unwrap());
    let (mut executing, mut applying) = (Duration::ZERO, Duration::ZERO);
    let (mut leading, mut following) = (TableSums::default(), TableSums::default());
    let mut number = 0;
    while number < ROWS {
        let started = Instant::now();
        executor.begin().unwrap();
        for _ in 0..rows_each {
            let statement = Statement { sql: INSERT.to_owned(), params: Params::Positional(params(number)) };
            executor.run(&[WorkItem::Statement(statement)], &Budget::default()).unwrap();
            number += 1;
        }
        let (effects, changes) = executor.take_changes();
        leading.add(&changes);
        let position = Position { index: u64::from(number), ..Position::default() };
        let record = |system: &System<'_>, sums: &TableSums| {
            system.put_table_sum("t", sums.get("t"))?;
            system.set_position(position)
        };
        executor.commit(|system| record(system, &leading)).unwrap();
        executing += started.elapsed();
        let started = Instant::now();
        applier.begin().unwrap();
        following.add(&applier.apply(&effects).unwrap());
        record(&applier.system(), &following).unwrap();
        applier.commit().unwrap();
        applying += started.elapsed();
    }
    (executing, applying)
}

fn each(name: &str, count: u32, mut work: impl FnMut(u32)) {
    let started = Instant::now();
    (0..count).for_each(&mut work);
    println!("{name}: {:.2} us", started.elapsed().as_secs_f64() * 1e6 / f64::from(count));
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(ROWS);
    for rows_each in [1, 10, 100, 1_000] {
        let plain = micros(plain(folder.path(), rows_each));
        let (executing, applying) = replicated(folder.path(), rows_each);
        println!(
            "{rows_each:5} rows a transaction: plain {plain:.2} us a row, request executed {:.2} us, row applied {:.2} us",
            micros(executing),
            micros(applying)
        );
    }
    let mut reader = Reader::open(&Location::file(folder.path().join("leader1000.db"))).unwrap();
    let budget = Budget::default();
    each("read of one row by key, a snapshot each", 20_000, |number| {
        let params = Params::Positional(vec![i64::from(number).into()]);
        let statement = Statement { sql: "SELECT * FROM t WHERE id = ?".to_owned(), params };
        reader.query(&statement, &budget).unwrap();
    });
    let shadow = Shadow::new([SCHEMA]).unwrap();
    each("statement described by the shadow", 20_000, |_| {
        shadow.prepare("SELECT id, a FROM t WHERE b > ? ORDER BY c LIMIT 10").unwrap();
    });
    each("shadow built from one table", 200, |_| drop(Shadow::new([SCHEMA]).unwrap()));
}
