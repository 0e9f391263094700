//! Scripts in the format of SQLite's own logic tests.
//!
//! A script is a list of records separated by empty lines: `statement ok|error`, `query <types> <sort>` with
//! the expected values behind `----`, and conditions (`skipif`, `onlyif`) before them
//! (<https://www.sqlite.org/sqllogictest/doc/trunk/about.wiki>).

use std::path::{Path, PathBuf};

use common::Value;

use crate::compare::Order;

/// A record that is meant for SQLite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Answers nothing, or is refused.
    Statement {
        /// Its text.
        sql: String,
    },
    /// Answers rows.
    Query {
        /// A letter for each column: how its values are written.
        types: String,
        /// How values are sorted before they are written.
        sort: String,
        /// Its text.
        sql: String,
        /// The values as they are written, or a line with their hash; empty if there are none.
        written: Vec<String>,
    },
}

impl Record {
    /// The statement's text.
    #[must_use]
    pub fn sql(&self) -> &str {
        match self {
            Record::Statement { sql } | Record::Query { sql, .. } => sql,
        }
    }

    /// Whether the order of rows is part of the answer.
    #[must_use]
    pub fn order(&self) -> Order {
        match self {
            Record::Query { sort, .. } if sort != "nosort" => Order::Any,
            Record::Statement { .. } | Record::Query { .. } => Order::Kept,
        }
    }

    /// What is wrong with rows by the script's own expectation, where it writes values down.
    #[must_use]
    pub fn unmet(&self, rows: &[Vec<Value>]) -> Option<String> {
        let Record::Query { types, sort, written, .. } = self else { return None };
        let is_hash = written.len() == 1 && written[0].contains(" values hashing to ");
        if written.is_empty() || is_hash {
            return None;
        }
        let rendered = rendered(types, sort, rows);
        (rendered != *written).then(|| format!("{rendered:?}\n  written {written:?}"))
    }
}

/// The records that are meant for SQLite.
#[must_use]
pub fn parse(script: &str) -> Vec<Record> {
    let mut records = Vec::new();
    let mut lines = script.lines();
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
                        written: body.get(end + 1..).unwrap_or_default().to_vec(),
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

/// The scripts in a folder and below, in the order of their paths; none if there is no such folder.
///
/// # Panics
/// If the folder cannot be read.
#[must_use]
pub fn scripts_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            found.extend(scripts_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "test") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_for_other_engines_are_left_out() {
        let script = "hash-threshold 8\n\nonlyif mysql # comment\nstatement ok\nUSE x\n\nskipif sqlite\nhalt\n\n\
                      statement ok\nCREATE TABLE t (a)\n\nskipif mysql\nquery IT rowsort x1\nSELECT a,\n 'x' FROM t\n----\n1\nx\n\n\
                      onlyif sqlite\nhalt\n\nstatement ok\nDROP TABLE t\n";
        let records = parse(script);
        assert_eq!(
            records.iter().map(Record::sql).collect::<Vec<_>>(),
            ["CREATE TABLE t (a)", "SELECT a,\n 'x' FROM t"]
        );
        assert_eq!(records[1].order(), Order::Any);
        assert_eq!(records[1].unmet(&[vec![Value::Real(1.0), Value::from("x")]]), None);
        assert!(records[1].unmet(&[vec![Value::Integer(2), Value::from("x")]]).is_some());
    }
}
