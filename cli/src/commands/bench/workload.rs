//! What is asked of the cluster.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::Value;
use serde_json::json;
use tokio::task::JoinSet;

use super::latency::Measured;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::transfer::{self, Format};
use polylite_client::Target;

/// The database that is made for the run, and dropped after it.
pub const DATABASE: &str = "polylite_bench";
/// Rows written before reads are measured alone.
const FILL_ROWS: u64 = 10_000;

/// How much at once, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests in flight.
    pub connections: usize,
    /// How long.
    pub time: Duration,
}

/// Makes the database, in place of one that an interrupted run has left.
pub async fn create_database(connection: &Connection, partitions: u32) -> Result<(), Failure> {
    match connection.delete(&format!("/databases/{DATABASE}")).await {
        Err(failure) if !failure.is_not_found() => return Err(failure),
        _ => {}
    }
    connection
        .post("/databases", &json!({"name": DATABASE, "db_type": "SQL", "partitions": partitions}))
        .await?;
    let tables = ["rows_inserted", "rows_imported"];
    for table in tables {
        let statement =
            format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount REAL)");
        connection.sql(DATABASE, &statement).await?;
    }
    Ok(())
}

/// Inserts of one row each, every one answered when a majority has it on disk.
pub async fn insert(connection: &Connection, load: Load) -> Result<Measured, Failure> {
    let next = Arc::new(AtomicU64::new(1));
    let connection = connection.clone();
    repeat(load, move || {
        let connection = connection.clone();
        let id = next.fetch_add(1, Ordering::Relaxed).cast_signed();
        async move {
            let values = [Value::Integer(id), Value::Text(format!("name of row {id}")), Value::Real(0.5)];
            connection
                .sql_with(DATABASE, "INSERT INTO rows_inserted VALUES (?, ?, ?)", &values)
                .await
                .map(|_| ())
        }
    })
    .await
}

/// Linearizable reads of one row each, by a key among 1 to `rows`.
pub async fn read(connection: &Connection, load: Load, rows: u64) -> Result<Measured, Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let connection = connection.clone();
    repeat(load, move || {
        let connection = connection.clone();
        let id = 1 + scattered(next.fetch_add(1, Ordering::Relaxed)) % rows.max(1);
        async move {
            let key = [Value::Integer(id.cast_signed())];
            let answer =
                connection.sql_with(DATABASE, "SELECT * FROM rows_inserted WHERE id = ?", &key).await?;
            match answer.rows.map(|rows| rows.rows.len()) {
                Some(1) => Ok(()),
                found => Err(Failure::refused(format!("row {id}: {found:?} rows instead of 1"))),
            }
        }
    })
    .await
}

/// Writes rows for reads to find, and gives their number.
pub async fn fill(connection: &Connection) -> Result<u64, Failure> {
    let target = Target::table("rows_inserted");
    let file = std::io::Cursor::new(csv(FILL_ROWS));
    transfer::import(&connection.database(DATABASE), &target, Format::Csv, None, file, None).await
}

/// One CSV file of `rows` rows.
pub async fn import(connection: &Connection, rows: u64) -> Result<Measured, Failure> {
    let target = Target::table("rows_imported");
    let file = csv(rows);
    let size = file.len() as u64;
    let started = Instant::now();
    let stored = transfer::import(
        &connection.database(DATABASE),
        &target,
        Format::Csv,
        None,
        std::io::Cursor::new(file),
        Some(size),
    )
    .await?;
    if stored != rows {
        return Err(Failure::refused(format!("{stored} of {rows} rows were stored")));
    }
    Ok(Measured { operations: rows, elapsed: started.elapsed(), median: None, percentile_99: None })
}

fn csv(rows: u64) -> String {
    let mut text = String::from("id,name,amount\n");
    for id in 1..=rows {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{id},name of row {id},{}.25", id % 1_000);
    }
    text
}

/// Keeps `connections` operations in flight for `time`; the first failure ends it.
async fn repeat<F>(
    load: Load,
    operation: impl Fn() -> F + Send + Sync + Clone + 'static,
) -> Result<Measured, Failure>
where
    F: Future<Output = Result<(), Failure>> + Send,
{
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..load.connections {
        let operation = operation.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            while started.elapsed() < load.time {
                let begun = Instant::now();
                operation().await?;
                times.push(begun.elapsed());
            }
            Ok::<_, Failure>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done.map_err(|error| Failure::refused(format!("a client ended: {error}")))??);
    }
    Ok(Measured::of_times(times, started.elapsed()))
}

/// Numbers in an order that looks like chance (the finalizer of SplitMix64).
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
