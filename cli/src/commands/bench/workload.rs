//! What is asked of the cluster.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use polylite_client::Target;
use serde_json::json;
use sqlite::baseline::row_text;

use super::figures::Measured;
use super::http_load::{self, Exchange, Load};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::transfer::{self, Format};

/// The database that is made for the run, and dropped after it.
pub const DATABASE: &str = "polylite_bench";
/// Where its statements are sent.
pub const SQL_PATH: &str = "/databases/polylite_bench/sql";
/// The same without the cache.
pub const PAST_CACHE_PATH: &str = "/databases/polylite_bench/sql?cache=bypass";

/// Rows whose answers fit into the cache.
const FEW_ROWS: u64 = 100;

/// Bytes of a row that is only to be carried.
const LONG_ROW: u64 = 4 << 10;

/// A cluster under measurement.
pub struct Subject {
    /// The address of one of its coordinators.
    pub url: String,
    /// The same for single requests.
    pub connection: Connection,
    /// The greatest key inserted so far.
    last_key: Arc<AtomicU64>,
}

impl Subject {
    /// A cluster by a coordinator's address, with an empty database in place of one that an interrupted run
    /// has left.
    pub async fn prepare(url: String, partitions: u32) -> Result<Subject, Failure> {
        let connection = Connection::to(std::slice::from_ref(&url))?;
        drop_database(&connection).await?;
        connection
            .post("/databases", &json!({"name": DATABASE, "db_type": "SQL", "partitions": partitions}))
            .await?;
        for table in ["rows_inserted", "rows_generated"] {
            create_table(&connection, table).await?;
        }
        Ok(Subject { url, connection, last_key: Arc::default() })
    }

    /// Inserts of one row each under keys that the client chooses; each is answered when a majority has it
    /// on disk.
    pub async fn insert(&self, load: Load) -> Result<Measured, Failure> {
        let last_key = self.last_key.clone();
        http_load::run(&self.url, load, move || [insertion(1 + last_key.fetch_add(1, Ordering::Relaxed))])
            .await
    }

    /// Inserts of one row each under keys that the cluster generates.
    pub async fn insert_generated(&self, load: Load) -> Result<Measured, Failure> {
        let number = Arc::new(AtomicU64::new(1));
        http_load::run(&self.url, load, move || {
            let text = row_text(number.fetch_add(1, Ordering::Relaxed));
            [Exchange {
                path: SQL_PATH,
                body: format!(
                    "{{\"sql\":\"INSERT INTO rows_generated (name, amount) VALUES (?, ?)\",\"params\":[\"{text}\",0.5]}}"
                ),
                expected: "\"affected_rows\":1,\"last_insert_rowid\":".to_owned(),
            }]
        })
        .await
    }

    /// Linearizable reads of one row each, by keys inserted before.
    pub async fn read(&self, load: Load) -> Result<Measured, Failure> {
        self.fill().await?;
        let rows = self.last_key.load(Ordering::Relaxed);
        self.read_first(rows, load).await
    }

    /// The same of so few rows that the answers are kept.
    pub async fn read_few(&self, load: Load) -> Result<Measured, Failure> {
        self.fill().await?;
        self.read_first(FEW_ROWS, load).await
    }

    async fn read_first(&self, rows: u64, load: Load) -> Result<Measured, Failure> {
        let next = Arc::new(AtomicU64::new(0));
        http_load::run(&self.url, load, move || {
            [reading(1 + scattered(next.fetch_add(1, Ordering::Relaxed)) % rows)]
        })
        .await
    }

    /// A sum over all rows, asked at [`SQL_PATH`] or [`PAST_CACHE_PATH`].
    pub async fn sum(&self, load: Load, path: &'static str) -> Result<Measured, Failure> {
        self.fill().await?;
        http_load::run(&self.url, load, move || {
            [Exchange {
                path,
                body: "{\"sql\":\"SELECT count(*), sum(amount), max(name) FROM rows_inserted\"}".to_owned(),
                expected: "\"rows\":[[".to_owned(),
            }]
        })
        .await
    }

    /// Writes rows for reads to find, if there are none.
    async fn fill(&self) -> Result<(), Failure> {
        const ROWS: u64 = 10_000;
        if self.last_key.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        import(&self.connection, "rows_inserted", csv(ROWS)).await?;
        self.last_key.store(ROWS, Ordering::Relaxed);
        Ok(())
    }

    /// One CSV file of `rows` rows into a table of its own.
    pub async fn import(&self, rows: u64, run: u32) -> Result<Measured, Failure> {
        let table = format!("rows_imported_{run}");
        create_table(&self.connection, &table).await?;
        let file = csv(rows);
        let started = Instant::now();
        let stored = import(&self.connection, &table, file).await?;
        if stored != rows {
            return Err(Failure::refused(format!("{stored} of {rows} rows were stored")));
        }
        Ok(Measured { operations: rows, elapsed: started.elapsed(), median: None, percentile_99: None })
    }

    /// Writes rows of so many bytes in all, for others to carry.
    pub async fn fill_up(&self, bytes: u64) -> Result<(), Failure> {
        const PIECE: u64 = 16 << 20;
        create_table(&self.connection, "ballast").await?;
        for piece in 0..bytes.div_ceil(PIECE) {
            let rows = PIECE / LONG_ROW;
            let stored = import(&self.connection, "ballast", long_rows(piece * rows, rows)).await?;
            if stored != rows {
                return Err(Failure::refused(format!("{stored} of {rows} rows were stored")));
            }
        }
        Ok(())
    }

    /// Inserts one row, once.
    pub async fn insert_one(&self, http: &mut http_load::HttpConnection) -> Result<(), Failure> {
        http.post(&insertion(1 + self.last_key.fetch_add(1, Ordering::Relaxed))).await
    }

    /// Drops the database.
    pub async fn clean_up(&self) -> Result<(), Failure> {
        drop_database(&self.connection).await
    }
}

/// The same reads against a server that answers without looking.
pub async fn read_constant(url: &str, load: Load) -> Result<Measured, Failure> {
    let next = Arc::new(AtomicU64::new(0));
    http_load::run(url, load, move || {
        let exchange = reading(1 + scattered(next.fetch_add(1, Ordering::Relaxed)) % 10_000);
        [Exchange { expected: String::new(), ..exchange }]
    })
    .await
}

async fn create_table(connection: &Connection, table: &str) -> Result<(), Failure> {
    let statement = format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount REAL)");
    connection.sql(DATABASE, &statement).await.map(|_| ())
}

async fn drop_database(connection: &Connection) -> Result<(), Failure> {
    match connection.delete(&format!("/databases/{DATABASE}")).await {
        Err(failure) if !failure.is_not_found() => Err(failure),
        _ => Ok(()),
    }
}

fn insertion(key: u64) -> Exchange {
    let text = row_text(key);
    Exchange {
        path: SQL_PATH,
        body: format!(
            "{{\"sql\":\"INSERT INTO rows_inserted VALUES (?, ?, ?)\",\"params\":[{key},\"{text}\",0.5]}}"
        ),
        expected: "\"affected_rows\":1".to_owned(),
    }
}

fn reading(key: u64) -> Exchange {
    Exchange {
        path: SQL_PATH,
        body: format!("{{\"sql\":\"SELECT * FROM rows_inserted WHERE id = ?\",\"params\":[{key}]}}"),
        expected: format!("\"rows\":[[{key},"),
    }
}

async fn import(connection: &Connection, table: &str, file: String) -> Result<u64, Failure> {
    let (target, size) = (Target::table(table), file.len() as u64);
    let file = std::io::Cursor::new(file);
    transfer::import(&connection.database(DATABASE), &target, Format::Csv, None, file, Some(size)).await
}

fn csv(rows: u64) -> String {
    let mut text = String::from("id,name,amount\n");
    for key in 1..=rows {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{key},{},{}.25", row_text(key), key % 1_000);
    }
    text
}

/// Rows of [`LONG_ROW`] bytes each, the keys of which follow `before`.
fn long_rows(before: u64, rows: u64) -> String {
    let text = "x".repeat(usize::try_from(LONG_ROW).unwrap_or(0));
    let mut csv = String::from("id,name,amount\n");
    for key in before + 1..=before + rows {
        // Writing into a string cannot fail.
        let _ = writeln!(csv, "{key},{text},0.5");
    }
    csv
}

/// Numbers in an order that looks like chance (the finalizer of SplitMix64).
pub fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
