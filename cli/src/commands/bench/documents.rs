//! Documents beside the same work on a table by SQL.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polylite_client::Target;
use serde_json::json;

use super::figures::Measured;
use super::http_load::{self, Exchange, Load};
use super::workload::{DATABASE, PAST_CACHE_PATH, SQL_PATH, Subject, scattered};
use super::ycsb::{Mix, Operation};
use crate::failure::Failure;
use crate::transfer::{self, Format};

/// Records that are there at first.
const RECORDS: u64 = 10_000;
/// Fields of a record, each of 100 bytes, as YCSB has them.
const FIELDS: u64 = 10;

const FIND: &str = "/databases/polylite_bench/collections/usertable_documents/find";
/// The same without the cache.
const FIND_PAST_CACHE: &str = "/databases/polylite_bench/collections/usertable_documents/find?cache=bypass";
const INSERT: &str = "/databases/polylite_bench/collections/usertable_documents/documents";
const UPDATE: &str = "/databases/polylite_bench/collections/usertable_documents/update";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Mix(Mix),
    /// One record by a value that is indexed.
    Indexed(Cache),
}

/// Whether answers may come out of the coordinator's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    Used,
    Bypassed,
}

/// Records found by an index alone.
pub const FINDS: [Kind; 2] = [Kind::Indexed(Cache::Used), Kind::Indexed(Cache::Bypassed)];

/// Everything that is measured.
pub const KINDS: [Kind; 8] = [
    Kind::Mix(Mix::A),
    Kind::Mix(Mix::B),
    Kind::Mix(Mix::C),
    Kind::Mix(Mix::D),
    Kind::Mix(Mix::E),
    Kind::Mix(Mix::F),
    Kind::Indexed(Cache::Used),
    Kind::Indexed(Cache::Bypassed),
];

impl Kind {
    /// Its name in the report.
    pub const fn title(self) -> &'static str {
        match self {
            Kind::Mix(Mix::A) => "YCSB A, documents",
            Kind::Mix(Mix::B) => "YCSB B, documents",
            Kind::Mix(Mix::C) => "YCSB C, documents",
            Kind::Mix(Mix::D) => "YCSB D, documents",
            Kind::Mix(Mix::E) => "YCSB E, documents",
            Kind::Mix(Mix::F) => "YCSB F, documents",
            Kind::Indexed(Cache::Used) => "indexed find",
            Kind::Indexed(Cache::Bypassed) => "indexed find, past the cache",
        }
    }
}

/// How the work is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Documents,
    Sql,
}

/// The same records as documents and as rows.
pub struct Records {
    url: String,
    /// Records of each way.
    documents: Arc<AtomicU64>,
    rows: Arc<AtomicU64>,
    /// Operations so far.
    number: Arc<AtomicU64>,
}

impl Records {
    /// Writes the records, and an index over one of their fields.
    pub async fn prepare(subject: &Subject) -> Result<Records, Failure> {
        let columns: String = (0..FIELDS).map(|field| format!(", field{field} TEXT")).collect();
        let table = format!("CREATE TABLE usertable (id INTEGER PRIMARY KEY, number INTEGER{columns})");
        subject.connection.sql(DATABASE, &table).await?;
        subject.connection.sql(DATABASE, "CREATE INDEX usertable_number ON usertable (number)").await?;
        let database = subject.connection.database(DATABASE);
        let mut lines = String::new();
        for key in 0..RECORDS {
            // Writing into a string cannot fail.
            let _ = writeln!(lines, "{{\"_id\":{key},{}}}", fields(key));
        }
        let rows = lines.replace("\"_id\":", "\"id\":");
        for (target, lines) in
            [(Target::collection("usertable_documents"), lines), (Target::table("usertable"), rows)]
        {
            let size = lines.len() as u64;
            let file = std::io::Cursor::new(lines);
            transfer::import(&database, &target, Format::Ndjson, None, file, Some(size)).await?;
        }
        let index = json!({"name": "number", "fields": ["number"]});
        let indexes = format!("/databases/{DATABASE}/collections/usertable_documents/indexes");
        subject.connection.post(&indexes, &index).await?;
        Ok(Records {
            url: subject.url.clone(),
            documents: Arc::new(AtomicU64::new(RECORDS)),
            rows: Arc::new(AtomicU64::new(RECORDS)),
            number: Arc::default(),
        })
    }

    /// Operations of a kind for a while.
    pub async fn measure(&self, load: Load, kind: Kind, way: Way) -> Result<Measured, Failure> {
        let number = self.number.clone();
        let records = match way {
            Way::Documents => self.documents.clone(),
            Way::Sql => self.rows.clone(),
        };
        http_load::run(&self.url, load, move || {
            let number = number.fetch_add(1, Ordering::Relaxed);
            match kind {
                Kind::Indexed(cache) => vec![by_index(way, cache, scattered(number) % RECORDS)],
                Kind::Mix(mix) => {
                    let operation = mix.operation(number, records.load(Ordering::Relaxed));
                    exchanges(way, operation, number, || records.fetch_add(1, Ordering::Relaxed))
                }
            }
        })
        .await
    }
}

/// The fields of a record as JSON, without brackets.
fn fields(key: u64) -> String {
    let fields = (0..FIELDS).map(|field| format!(",\"field{field}\":\"{}\"", value(key * FIELDS + field)));
    format!("\"number\":{key}{}", fields.collect::<String>())
}

/// A value of 100 bytes.
fn value(number: u64) -> String {
    format!("{:0>100}", scattered(number))
}

fn exchanges(way: Way, operation: Operation, number: u64, new_key: impl FnOnce() -> u64) -> Vec<Exchange> {
    match operation {
        // The latest records may be on their way still.
        Operation::Read(key) => vec![read(way, key)],
        Operation::Update(key) => vec![update(way, key, number)],
        Operation::Insert => vec![insert(way, new_key())],
        Operation::Scan(key, length) => vec![scan(way, key, length)],
        Operation::ReadAndUpdate(key) => vec![read(way, key), update(way, key, number)],
    }
}

fn read(way: Way, key: u64) -> Exchange {
    match way {
        Way::Documents => exchange(FIND, format!("{{\"filter\":{{\"_id\":{key}}}}}"), "\"documents\":["),
        Way::Sql => sql("SELECT * FROM usertable WHERE id = ?", &key.to_string(), "\"rows\":["),
    }
}

fn update(way: Way, key: u64, number: u64) -> Exchange {
    let (field, value) = (number % FIELDS, value(number));
    match way {
        Way::Documents => exchange(
            UPDATE,
            format!(
                "{{\"filter\":{{\"_id\":{key}}},\"update\":{{\"$set\":{{\"field{field}\":\"{value}\"}}}}}}"
            ),
            "\"matched\":",
        ),
        Way::Sql => sql(
            &format!("UPDATE usertable SET field{field} = ? WHERE id = ?"),
            &format!("\"{value}\",{key}"),
            "\"affected_rows\":",
        ),
    }
}

fn insert(way: Way, key: u64) -> Exchange {
    match way {
        Way::Documents => exchange(INSERT, format!("{{\"_id\":{key},{}}}", fields(key)), "\"id\":"),
        Way::Sql => {
            let values = (0..FIELDS).map(|field| format!(",\"{}\"", value(key * FIELDS + field)));
            sql(
                "INSERT INTO usertable VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                &format!("{key},{key}{}", values.collect::<String>()),
                "\"affected_rows\":1",
            )
        }
    }
}

/// A range that begins at the latest record may be empty: it may be on its way still.
fn scan(way: Way, key: u64, length: u64) -> Exchange {
    match way {
        Way::Documents => exchange(
            FIND,
            format!(
                "{{\"filter\":{{\"_id\":{{\"$gte\":{key}}}}},\"sort\":{{\"_id\":1}},\"limit\":{length}}}"
            ),
            "\"documents\":[",
        ),
        Way::Sql => sql(
            "SELECT * FROM usertable WHERE id >= ? ORDER BY id LIMIT ?",
            &format!("{key},{length}"),
            "\"rows\":[",
        ),
    }
}

fn by_index(way: Way, cache: Cache, key: u64) -> Exchange {
    match way {
        Way::Documents => {
            let path = if cache == Cache::Used { FIND } else { FIND_PAST_CACHE };
            exchange(path, format!("{{\"filter\":{{\"number\":{key}}}}}"), "\"documents\":[{")
        }
        Way::Sql => {
            let path = if cache == Cache::Used { SQL_PATH } else { PAST_CACHE_PATH };
            let sql = "SELECT * FROM usertable WHERE number = ?";
            exchange(path, sql_body(sql, &key.to_string()), "\"rows\":[[")
        }
    }
}

fn sql(text: &str, params: &str, expected: &str) -> Exchange {
    exchange(SQL_PATH, sql_body(text, params), expected)
}

fn sql_body(text: &str, params: &str) -> String {
    format!("{{\"sql\":\"{text}\",\"params\":[{params}]}}")
}

fn exchange(path: &'static str, body: String, expected: &str) -> Exchange {
    Exchange { path, body, expected: expected.to_owned() }
}
