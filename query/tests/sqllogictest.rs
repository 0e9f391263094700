//! Scripts in the format of SQLite's own logic tests, run on one file and on several partitions side by side.
//!
//! A script is a list of records separated by empty lines: `statement ok|error`, `query <types> <sort>` with
//! the expected values behind `----`, and conditions (`skipif`, `onlyif`) before them
//! (<https://www.sqlite.org/sqllogictest/doc/trunk/about.wiki>). Both databases run every statement; answers
//! are compared as typed values. Expected values that are written out are compared too; hashes are not.
//!
//! `tests/scripts` always runs. SQLite's own scripts run if they lie in `../shared/data/sqllogictest` beside the
//! checkout: the beginning of each and a sample of its queries, or all with `POLYLITE_SQLLOGICTEST=full`.

mod support;

use std::path::{Path, PathBuf};

use common::protocol::StatementResult;
use common::{ErrorCode, Value};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use support::Cluster;

/// Queries of one script that run unless all do.
const SAMPLE: usize = 150;

/// Statements after which a script that is sampled ends.
const SAMPLED_STATEMENTS: usize = 600;

enum Record {
    Statement { sql: String },
    Query { types: String, sort: String, sql: String, expected: Vec<String> },
}

/// The records that are meant for SQLite.
fn parse(script: &str) -> Vec<Record> {
    let mut records = Vec::new();
    let mut lines = script.lines().peekable();
    let mut wanted = true;
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["skipif", engine, ..] => wanted &= *engine != "sqlite",
            ["onlyif", engine, ..] => wanted &= *engine == "sqlite",
            ["halt", ..] if wanted => break,
            ["statement", ..] => {
                let sql = until_empty(&mut lines).join("\n");
                if std::mem::replace(&mut wanted, true) {
                    records.push(Record::Statement { sql });
                }
            }
            ["query", types, rest @ ..] => {
                let body = until_empty(&mut lines);
                let end = body.iter().position(|line| line == "----").unwrap_or(body.len());
                if std::mem::replace(&mut wanted, true) {
                    records.push(Record::Query {
                        types: (*types).to_owned(),
                        sort: rest.first().copied().unwrap_or("nosort").to_owned(),
                        sql: body[..end].join("\n"),
                        expected: body.get(end + 1..).unwrap_or_default().to_vec(),
                    });
                }
            }
            ["halt", ..] => wanted = true,
            _ => {}
        }
    }
    records
}

fn until_empty<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<String> {
    lines.take_while(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// What one script found.
#[derive(Default)]
struct Report {
    queries: usize,
    statements: usize,
    /// Statements that several partitions do not support.
    unsupported: Vec<String>,
    differences: Vec<String>,
}

async fn run(name: &str, script: &str, partitioned: &Cluster, sample: Option<usize>) -> Report {
    let single = Cluster::hashed(1, None);
    let records = parse(script);
    let queries = records.iter().filter(|record| matches!(record, Record::Query { .. })).count();
    let mut random = SmallRng::seed_from_u64(name.len() as u64);
    let mut report = Report::default();
    for record in records {
        match record {
            Record::Statement { .. } if sample.is_some() && report.statements == SAMPLED_STATEMENTS => break,
            Record::Statement { sql } => {
                report.statements += 1;
                let (expected, found) = (single.sql(&sql).await, partitioned.sql(&sql).await);
                match (expected, found) {
                    (_, Err(error)) if error.code == ErrorCode::NotSupported => report.unsupported.push(sql),
                    (Ok(expected), Ok(found)) if expected.affected_rows == found.affected_rows => {}
                    (Err(expected), Err(found)) if expected.message == found.message => {}
                    (expected, found) => {
                        report.differences.push(format!("{name}: {sql}\n  {found:?}\n  {expected:?}"));
                    }
                }
            }
            Record::Query { types, sort, sql, expected } => {
                if sample.is_some_and(|sample| random.random_range(0..queries) >= sample) {
                    continue;
                }
                report.queries += 1;
                let answers = (single.sql(&sql).await, partitioned.sql(&sql).await);
                if let Some(difference) = compare(&types, &sort, &expected, answers) {
                    report.differences.push(format!("{name}: {sql}\n  {difference}"));
                }
            }
        }
    }
    report
}

fn compare(
    types: &str,
    sort: &str,
    written: &[String],
    (expected, found): (common::Result<StatementResult>, common::Result<StatementResult>),
) -> Option<String> {
    let (expected, found) = match (expected, found) {
        (Ok(expected), Ok(found)) => (expected, found),
        (Err(expected), Err(found)) => {
            return (expected.message != found.message).then(|| format!("{found:?}\n  {expected:?}"));
        }
        (expected, found) => return Some(format!("{found:?}\n  {expected:?}")),
    };
    if expected.columns != found.columns {
        return Some(format!("columns {:?}\n  {:?}", found.columns, expected.columns));
    }
    let values = |result: &StatementResult| result.rows.to_values().unwrap();
    let (expected, found) = (values(&expected), values(&found));
    let typed = |rows: &[Vec<Value>]| {
        let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
        if sort != "nosort" {
            rows.sort_unstable();
        }
        rows
    };
    if typed(&expected) != typed(&found) {
        return Some(format!("{found:?}\n  {expected:?}"));
    }
    let is_hash = written.len() == 1 && written[0].contains(" values hashing to ");
    let rendered = rendered(types, sort, &found);
    (!written.is_empty() && !is_hash && rendered != written)
        .then(|| format!("{rendered:?}\n  written {written:?}"))
}

/// The values as a script writes them down.
fn rendered(types: &str, sort: &str, rows: &[Vec<Value>]) -> Vec<String> {
    let row = |row: &Vec<Value>| {
        row.iter().zip(types.chars()).map(|(value, kind)| text_of(kind, value)).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    if sort == "rowsort" {
        rows.sort();
    }
    let mut values: Vec<String> = rows.into_iter().flatten().collect();
    if sort == "valuesort" {
        values.sort();
    }
    values
}

fn text_of(kind: char, value: &Value) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the format prints a real as an integer so")]
    match (kind, value) {
        (_, Value::Null) => "NULL".into(),
        ('I', Value::Real(real)) => (*real as i64).to_string(),
        #[expect(clippy::cast_precision_loss, reason = "the format prints three decimals")]
        ('R', Value::Integer(integer)) => format!("{:.3}", *integer as f64),
        ('R', Value::Real(real)) => format!("{real:.3}"),
        (_, Value::Integer(integer)) => integer.to_string(),
        (_, Value::Real(real)) => real.to_string(),
        (_, Value::Text(text)) if text.is_empty() => "(empty)".into(),
        ('I', Value::Text(text)) => text.parse::<i64>().unwrap_or(0).to_string(),
        (_, Value::Text(text)) => text.clone(),
        (_, Value::Blob(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn scripts_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(scripts_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "test") {
            found.push(path);
        }
    }
    found.sort();
    found
}

async fn run_folder(folder: &Path, sample: Option<usize>) -> (usize, Vec<String>) {
    let (mut queries, mut differences) = (0, Vec::new());
    for (number, path) in scripts_below(folder).into_iter().enumerate() {
        let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        let script = std::fs::read_to_string(&path).unwrap();
        let buckets = 2 + u32::try_from(number % 5).unwrap();
        let report = run(&name, &script, &Cluster::hashed(buckets, None), sample).await;
        println!(
            "{name} over {buckets}: {} statements ({} not supported), {} queries, {} differences",
            report.statements,
            report.unsupported.len(),
            report.queries,
            report.differences.len()
        );
        queries += report.queries;
        differences.extend(report.differences);
    }
    (queries, differences)
}

fn nothing_differs(differences: &[String]) {
    let shown: Vec<&str> = differences.iter().take(40).map(String::as_str).collect();
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), shown.join("\n\n"));
}

#[tokio::test]
async fn our_own_scripts_answer_as_one_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let (queries, differences) = run_folder(&folder, None).await;
    assert!(queries > 30, "only {queries} queries were found");
    nothing_differs(&differences);
}

#[tokio::test]
async fn the_scripts_of_sqlite_answer_as_one_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/sqllogictest");
    if !folder.is_dir() {
        println!("skipped: SQLite's logic tests are not at {}", folder.display());
        return;
    }
    let all = std::env::var("POLYLITE_SQLLOGICTEST").is_ok_and(|value| value == "full");
    let (queries, differences) = run_folder(&folder, (!all).then_some(SAMPLE)).await;
    assert!(queries > 0, "no queries were found");
    nothing_differs(&differences);
}
