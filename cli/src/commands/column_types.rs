//! Which table fits a file: the columns of its header, and the narrowest type that keeps every value.

use std::io::{BufRead, BufReader, Read};

use common::names::quote_identifier;
use serde_json::Value as Json;

use crate::failure::Failure;
use crate::transfer::Format;

/// A column's name, and what its values have been so far.
#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
}

/// From narrow to wide; a column takes the widest of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// No value but NULL.
    Nothing,
    Integer,
    Real,
    Text,
}

impl Kind {
    fn declared_type(self) -> &'static str {
        match self {
            Kind::Integer => "INTEGER",
            Kind::Real => "REAL",
            Kind::Nothing | Kind::Text => "TEXT",
        }
    }
}

/// The statement that creates a table for the whole of a file. `null` is the text that means NULL.
pub fn create_table(
    table: &str,
    input: impl Read,
    format: Format,
    null: Option<&str>,
) -> Result<String, Failure> {
    let columns = match format {
        Format::Csv => columns_of_csv(input, null)?,
        Format::Ndjson => columns_of_ndjson(input)?,
    };
    if columns.is_empty() {
        return Err(Failure::refused("the file names no columns"));
    }
    let definitions: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", quote_identifier(&column.name), column.kind.declared_type()))
        .collect();
    Ok(format!("CREATE TABLE {} ({})", quote_identifier(table), definitions.join(", ")))
}

fn columns_of_csv(input: impl Read, null: Option<&str>) -> Result<Vec<Column>, Failure> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let wrong = |error: csv::Error| Failure::refused(format!("reading CSV: {error}"));
    let header = reader.headers().map_err(wrong)?;
    let mut columns: Vec<Column> =
        header.iter().map(|name| Column { name: name.to_owned(), kind: Kind::Nothing }).collect();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(wrong)? {
        for (column, text) in columns.iter_mut().zip(&record) {
            if !text.is_empty() && Some(text) != null {
                column.kind = column.kind.max(kind_of_text(text));
            }
        }
    }
    Ok(columns)
}

fn columns_of_ndjson(input: impl Read) -> Result<Vec<Column>, Failure> {
    let mut columns: Vec<Column> = Vec::new();
    for (index, line) in BufReader::new(input).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong =
            |reason: &dyn std::fmt::Display| Failure::refused(format!("line {}: {reason}", index + 1));
        let Json::Object(object) = serde_json::from_str(&line).map_err(|error| wrong(&error))? else {
            return Err(wrong(&"not an object"));
        };
        for (name, value) in object {
            let kind = kind_of_json(&value);
            match columns.iter_mut().find(|column| column.name == name) {
                Some(column) => column.kind = column.kind.max(kind),
                None => columns.push(Column { name, kind }),
            }
        }
    }
    Ok(columns)
}

/// A text is a number only if the number is written back as the same text, or differs in zeros at its end
/// alone: `007` and `1e5` are texts, so that nothing is lost.
fn kind_of_text(text: &str) -> Kind {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || whole.len() > 1 && whole.starts_with('0') {
        return Kind::Text;
    }
    match fraction {
        None if text != "-0" && text.parse::<i64>().is_ok() => Kind::Integer,
        // More than 17 significant digits do not survive in a float.
        Some(fraction) if all_digits(fraction) && whole.len() + fraction.len() <= 18 => Kind::Real,
        _ => Kind::Text,
    }
}

fn kind_of_json(value: &Json) -> Kind {
    match value {
        Json::Null => Kind::Nothing,
        Json::Bool(_) => Kind::Integer,
        Json::Number(number) if number.is_i64() => Kind::Integer,
        Json::Number(_) => Kind::Real,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(text: &str, format: Format) -> String {
        create_table("my table", text.as_bytes(), format, Some("NA")).unwrap()
    }

    #[test]
    fn a_column_takes_the_widest_of_its_values() {
        let csv = "id,price,zip,name,gap,mixed\n1,2.5,01234,Ann,NA,1\n-20,3,12345,\"B, C\",,x\n";
        assert_eq!(
            created(csv, Format::Csv),
            "CREATE TABLE \"my table\" (\"id\" INTEGER, \"price\" REAL, \"zip\" TEXT, \"name\" TEXT, \"gap\" TEXT, \"mixed\" TEXT)"
        );
    }

    #[test]
    fn fields_of_later_lines_are_columns_too() {
        let lines = "{\"a\": 1, \"b\": null}\n\n{\"a\": 1.5, \"c\": [1], \"b\": true}\n";
        assert_eq!(
            created(lines, Format::Ndjson),
            "CREATE TABLE \"my table\" (\"a\" REAL, \"b\" INTEGER, \"c\" TEXT)"
        );
        assert!(create_table("t", "[1]".as_bytes(), Format::Ndjson, None).is_err());
    }

    #[test]
    fn texts_that_a_number_would_change_stay_texts() {
        for text in ["007", "1e5", "+1", "1.", ".5", "-0", " 1", "9223372036854775808", "0x1F", "-"] {
            assert_eq!(kind_of_text(text), Kind::Text, "{text}");
        }
        for text in ["0", "-1", "9223372036854775807"] {
            assert_eq!(kind_of_text(text), Kind::Integer, "{text}");
        }
        for text in ["0.5", "-1.50", "40.692592"] {
            assert_eq!(kind_of_text(text), Kind::Real, "{text}");
        }
    }

    #[test]
    fn a_file_without_a_header_is_refused() {
        assert!(create_table("t", "".as_bytes(), Format::Csv, None).is_err());
    }
}
