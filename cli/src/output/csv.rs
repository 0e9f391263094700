//! Comma-separated values (RFC 4180, with plain line feeds). NULL is an empty cell, an empty text `""`.

use std::io::{self, Write};

use common::Value;

use super::{RowSet, text};

/// Writes the rows.
pub fn write(set: &RowSet, headers: bool, out: &mut dyn Write) -> io::Result<()> {
    if headers {
        let names: Vec<String> = set.columns.iter().map(|name| quoted(name)).collect();
        writeln!(out, "{}", names.join(","))?;
    }
    for row in &set.rows {
        let cells: Vec<String> = row.iter().map(cell).collect();
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        value => quoted(&text::of_value(value, "")),
    }
}

fn quoted(text: &str) -> String {
    let needs_quotes = text.is_empty()
        || text.contains(['"', ',', '\n', '\r'])
        || text.starts_with(' ')
        || text.ends_with(' ');
    if needs_quotes { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
