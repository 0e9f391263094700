//! `polylite query`: one query object, from a file or put together from answers to prompts.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value as Json, json};

use crate::arguments::DatabaseArguments;
use crate::connection::{Connection, segment};
use crate::failure::Failure;
use crate::output::{OutputFormat, RowSet, sorted_pretty};

/// Flags of `query`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// Whether tables or documents are asked.
    #[arg(long, value_enum, env = "POLYLITE_OPERATION", ignore_case = true)]
    operation: Face,
    /// A JSON file with the query object; without it the parts are prompted for.
    #[arg(long, value_name = "F", env = "POLYLITE_QUERY_FILE")]
    query_file: Option<PathBuf>,
}

/// The two faces of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Face {
    Sql,
    Nosql,
}

/// Runs the query and prints what it answers.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let query = match &arguments.query_file {
        Some(path) => read_query(path)?,
        None => prompt(arguments.operation, &mut io::stdin().lock(), &mut io::stdout())?,
    };
    check_operation(arguments.operation, &query)?;
    let connection = Connection::open(&arguments.database.client)?;
    let path = format!("/query/{}", segment(&arguments.database.db_name));
    let answer =
        connection.post(&path, &query).await.map_err(|failure| failure.while_doing("Query error"))?;
    match arguments.database.client.output {
        None => {
            print!("{}", as_text(&answer));
            io::stdout().flush()?;
        }
        Some(OutputFormat::Json) => println!("{}", sorted_pretty(&answer["data"])),
        Some(form) => as_rows(&answer["data"]).print(form)?,
    }
    Ok(())
}

fn read_query(path: &Path) -> Result<Json, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::refused(format!("Error parsing query file: {}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let query: Json = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    if query.is_object() { Ok(query) } else { Err(wrong(&"not an object")) }
}

/// Refuses what the face does not know, before anything is sent.
fn check_operation(face: Face, query: &Json) -> Result<(), Failure> {
    let operation = query["operation"].as_str().unwrap_or_default();
    let (known, name): (&[&str], _) = match face {
        Face::Sql => (&["insert", "query", "get", "update", "delete", "sql"], "SQL"),
        Face::Nosql => (&["insert", "query", "get", "update", "delete"], "NoSQL"),
    };
    if known.contains(&operation) {
        return Ok(());
    }
    Err(Failure::refused(format!("Unsupported {name} operation: {operation}"))
        .with_hint(format!("\"operation\" is one of: {}", known.join(", "))))
}

/// Asks for the parts of a query object.
fn prompt(face: Face, input: &mut impl BufRead, out: &mut impl Write) -> Result<Json, Failure> {
    let mut ask = |question: &str| -> Result<String, Failure> {
        write!(out, "{question}: ")?;
        out.flush()?;
        let mut line = String::new();
        input.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    };
    let mut query = Map::new();
    query.insert("operation".into(), "query".into());
    match face {
        Face::Sql => {
            query.insert("table".into(), ask("Table name")?.into());
            let columns = ask("Columns (comma-separated, * for all)")?;
            let names: Vec<&str> =
                columns.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            let names = if names.is_empty() { vec!["*"] } else { names };
            query.insert("columns".into(), names.into());
        }
        Face::Nosql => {
            let collection = ask("Collection name (default)")?;
            let collection = if collection.is_empty() { "default" } else { &collection };
            query.insert("collection".into(), collection.into());
            let id = ask("Document id (optional)")?;
            if !id.is_empty() {
                query.insert("id".into(), document_id(&id));
            }
        }
    }
    let conditions = ask("WHERE as JSON (optional)")?;
    if !conditions.is_empty() {
        let parsed = serde_json::from_str(&conditions).map_err(|error| {
            Failure::usage(format!("WHERE is not JSON: {error}")).with_hint("for example {\"id\": 1}")
        })?;
        query.insert("where".into(), parsed);
    }
    Ok(Json::Object(query))
}

/// Digits are an integer, `"…"` is a text, anything else is a text as typed.
fn document_id(text: &str) -> Json {
    match serde_json::from_str(text) {
        Ok(Json::Number(number)) if number.is_i64() => Json::Number(number),
        Ok(Json::String(text)) => Json::String(text),
        _ => Json::from(text),
    }
}

fn as_text(answer: &Json) -> String {
    let mut text = String::from("Query results:\n");
    let rows = rows_of(&answer["data"]);
    for row in &rows {
        text.push_str(&sorted_pretty(row));
        text.push('\n');
    }
    if rows.is_empty() {
        text.push_str("No data returned\n");
    }
    text.push_str(&format!("Affected rows: {}\n", answer["affected_rows"].as_i64().unwrap_or(0)));
    text
}

/// `data` is a list of rows, one document, or null.
fn rows_of(data: &Json) -> Vec<&Json> {
    match data {
        Json::Null => Vec::new(),
        Json::Array(rows) => rows.iter().collect(),
        other => vec![other],
    }
}

/// The columns are the fields of all rows in the order of their first appearance.
pub(super) fn as_rows(data: &Json) -> RowSet {
    let rows = rows_of(data);
    let mut columns: Vec<&str> = Vec::new();
    for field in rows.iter().filter_map(|row| row.as_object()).flat_map(|row| row.keys()) {
        if !columns.contains(&field.as_str()) {
            columns.push(field);
        }
    }
    if columns.is_empty() && !rows.is_empty() {
        let values: Vec<Json> = rows.iter().map(|&row| json!({"value": row})).collect();
        return RowSet::of_objects(&["value"], &values);
    }
    RowSet::of_objects(&columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompted(face: Face, typed: &str) -> Result<Json, Failure> {
        prompt(face, &mut typed.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn prompts_make_a_query_object() {
        assert_eq!(
            prompted(Face::Sql, "users\nid, name\n{\"id\": {\"$gt\": 5}}\n").unwrap(),
            json!({"operation": "query", "table": "users", "columns": ["id", "name"], "where": {"id": {"$gt": 5}}})
        );
        assert_eq!(
            prompted(Face::Sql, "users\n\n\n").unwrap(),
            json!({"operation": "query", "table": "users", "columns": ["*"]})
        );
        assert_eq!(
            prompted(Face::Nosql, "\n42\n\n").unwrap(),
            json!({"operation": "query", "collection": "default", "id": 42})
        );
        assert_eq!(prompted(Face::Sql, "users\n\nid = 1\n").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn rows_are_printed_as_of_old() {
        let answer = json!({"success": true, "data": [{"name": "Ann", "id": 1}], "affected_rows": 1});
        assert_eq!(
            as_text(&answer),
            "Query results:\n{\n  \"id\": 1,\n  \"name\": \"Ann\"\n}\nAffected rows: 1\n"
        );
        let empty = "Query results:\nNo data returned\nAffected rows: 0\n";
        assert_eq!(as_text(&json!({"success": true, "data": []})), empty);
        assert_eq!(as_text(&json!({"success": true, "data": null})), empty);
    }

    #[test]
    fn unknown_operations_are_refused_before_they_are_sent() {
        assert!(check_operation(Face::Sql, &json!({"operation": "insert"})).is_ok());
        let refused = check_operation(Face::Nosql, &json!({"operation": "join"})).unwrap_err();
        assert!(refused.text().starts_with("Unsupported NoSQL operation: join\n"), "{}", refused.text());
        assert!(
            check_operation(Face::Sql, &json!({}))
                .unwrap_err()
                .text()
                .starts_with("Unsupported SQL operation: \n")
        );
    }

    #[test]
    fn documents_of_different_shapes_share_a_table() {
        let set = as_rows(&json!([{"a": 1}, {"b": 2, "a": 3}]));
        assert_eq!(set.columns, ["a", "b"]);
        assert_eq!(set.rows[0][1], common::Value::Null);
    }
}
