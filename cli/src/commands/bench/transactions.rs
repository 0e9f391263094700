//! Transactions over several partitions beside the same work on one, and tables divided by columns beside one that is
//! not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};

use super::figures::Measured;
use super::http_load::{self, Exchange, Load};
use super::workload::scattered;
use crate::connection::Connection;
use crate::failure::Failure;

/// Divided by ranges, so that it is known which keys lie together.
const RANGES: &str = "polylite_bench_ranges";
const RANGES_SQL: &str = "/databases/polylite_bench_ranges/sql";
/// Divided by columns.
const COLUMNS: &str = "polylite_bench_columns";
const COLUMNS_SQL: &str = "/databases/polylite_bench_columns/sql";

/// Rows of each partition, and the distance of their keys.
const ROWS: u64 = 1_000;
const RANGE: u64 = 1_000_000;

/// What is measured, and what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two rows of two partitions, by one client after the other: its speed tells the latency.
    Latency,
    /// The same by many clients, of rows that no two of them change.
    Throughput,
    /// Single rows of all partitions.
    Partitions,
    /// Rows of a table whose columns lie in three groups.
    Columns,
}

/// Everything that is measured.
pub const KINDS: [Kind; 4] = [Kind::Latency, Kind::Throughput, Kind::Partitions, Kind::Columns];

impl Kind {
    /// Its name in the report.
    pub const fn title(self) -> &'static str {
        match self {
            Kind::Latency => "2 rows in 2 partitions, 1 client",
            Kind::Throughput => "2 rows in 2 partitions",
            Kind::Partitions => "1 row, all partitions",
            Kind::Columns => "insert, 3 column groups",
        }
    }

    /// What it is compared with.
    pub const fn baseline(self) -> &'static str {
        match self {
            Kind::Latency | Kind::Throughput => "2 rows in 1 partition",
            Kind::Partitions => "1 row, 1 partition",
            Kind::Columns => "the same, not divided by columns",
        }
    }
}

/// The databases.
pub struct Accounts {
    url: String,
    partitions: u64,
    /// Operations so far.
    number: Arc<AtomicU64>,
}

impl Accounts {
    /// Makes the databases; what an interrupted run has left is dropped.
    pub async fn prepare(url: &str, connection: &Connection, partitions: u32) -> Result<Accounts, Failure> {
        clean_up(connection).await?;
        let partitions = u64::from(partitions).max(2);
        let points: Vec<Json> = (1..partitions).map(|point| json!(point * RANGE)).collect();
        let by_range = json!({
            "name": RANGES, "db_type": "SQL", "partition_key": "id", "partition_method": "range", "split_points": points,
        });
        connection.post("/databases", &by_range).await?;
        let groups = json!({"first": ["a"], "second": ["b"], "third": ["c"]});
        let by_column = json!({
            "name": COLUMNS, "db_type": "SQL", "partition_type": "VERTICAL", "column_groups": groups,
        });
        connection.post("/databases", &by_column).await?;
        for (database, table) in [(RANGES, "wide"), (COLUMNS, "wide")] {
            let create = format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT)");
            connection.sql(database, &create).await?;
        }
        connection
            .sql(RANGES, "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)")
            .await?;
        for partition in 0..partitions {
            let rows: Vec<String> =
                (0..ROWS).map(|row| format!("({}, 0)", partition * RANGE + row)).collect();
            connection.sql(RANGES, &format!("INSERT INTO accounts VALUES {}", rows.join(", "))).await?;
        }
        Ok(Accounts { url: url.to_owned(), partitions, number: Arc::default() })
    }

    /// Measures one kind: what it is compared with, then itself.
    pub async fn measure(&self, load: Load, kind: Kind) -> Result<(Measured, Measured), Failure> {
        let load = match kind {
            Kind::Latency => Load { connections: 1, ..load },
            _ => load,
        };
        match kind {
            Kind::Latency | Kind::Throughput => {
                Ok((self.transfers(load, 0).await?, self.transfers(load, RANGE).await?))
            }
            Kind::Partitions => {
                Ok((self.updates(load, 1).await?, self.updates(load, self.partitions).await?))
            }
            Kind::Columns => {
                Ok((self.inserts(load, RANGES_SQL).await?, self.inserts(load, COLUMNS_SQL).await?))
            }
        }
    }

    /// Changes two rows, the second one so far behind the first.
    async fn transfers(&self, load: Load, distance: u64) -> Result<Measured, Failure> {
        let (number, partitions) = (self.number.clone(), self.partitions);
        http_load::run(&self.url, load, move || {
            let number = number.fetch_add(1, Ordering::Relaxed);
            // The two rows in turn, so that no two clients are at the same ones.
            let row = number % (ROWS / 2);
            let first = scattered(number) % (partitions - 1) * RANGE + row;
            [exchange(RANGES_SQL, &[add(first, -1), add(first + distance.max(ROWS / 2), 1)])]
        })
        .await
    }

    /// Changes one row in the first partitions.
    async fn updates(&self, load: Load, partitions: u64) -> Result<Measured, Failure> {
        let number = self.number.clone();
        http_load::run(&self.url, load, move || {
            let number = number.fetch_add(1, Ordering::Relaxed);
            [exchange(RANGES_SQL, &[add(scattered(number) % partitions * RANGE + number % ROWS, 1)])]
        })
        .await
    }

    async fn inserts(&self, load: Load, path: &'static str) -> Result<Measured, Failure> {
        let (number, partitions) = (self.number.clone(), self.partitions);
        http_load::run(&self.url, load, move || {
            let number = number.fetch_add(1, Ordering::Relaxed);
            let id = number % partitions * RANGE + number / partitions;
            let params = json!([id, "one value", "another value", "a third one"]);
            [exchange(path, &[json!({"sql": "INSERT INTO wide VALUES (?, ?, ?, ?)", "params": params})])]
        })
        .await
    }
}

fn add(id: u64, amount: i64) -> Json {
    json!({"sql": "UPDATE accounts SET balance = balance + ? WHERE id = ?", "params": [amount, id]})
}

/// Statements, each of which changes one row.
fn exchange(path: &'static str, statements: &[Json]) -> Exchange {
    let body = json!({ "statements": statements }).to_string();
    Exchange { path, body, expected: "\"affected_rows\":1".to_owned() }
}

/// Drops the databases.
pub async fn clean_up(connection: &Connection) -> Result<(), Failure> {
    for database in [RANGES, COLUMNS] {
        match connection.delete(&format!("/databases/{database}")).await {
            Err(failure) if !failure.is_not_found() => return Err(failure),
            _ => {}
        }
    }
    Ok(())
}
