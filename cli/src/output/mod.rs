//! Answers as people and programs read them. One file per form.

mod csv;
mod json;
mod line;
mod table;
mod text;

use std::io::{self, Write};

use clap::ValueEnum;
use common::Value;
use serde_json::Value as Json;

/// The forms that a command offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// An array of objects.
    Json,
    /// Comma-separated values (RFC 4180).
    Csv,
    /// One `column = value` a line. Offered by the shell alone.
    #[value(skip)]
    Line,
}

/// Named columns and rows of values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowSet {
    /// Names of the columns; they need not differ.
    pub columns: Vec<String>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Value>>,
}

impl RowSet {
    /// No rows yet, with these columns.
    pub fn with_columns(columns: &[&str]) -> RowSet {
        RowSet { columns: columns.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    /// Rows out of objects: the columns are `columns`, then keep to that order; a field that an object lacks
    /// is NULL.
    pub fn of_objects<'a>(columns: &[&str], objects: impl IntoIterator<Item = &'a Json>) -> RowSet {
        let mut set = RowSet::with_columns(columns);
        for object in objects {
            set.rows.push(columns.iter().map(|&name| shown_value(&object[name])).collect());
        }
        set
    }

    /// Writes the rows in a form. `headers` says whether names of columns are shown where the form can do
    /// without.
    pub fn write(&self, format: OutputFormat, headers: bool, out: &mut dyn Write) -> io::Result<()> {
        match format {
            OutputFormat::Table => table::write(self, headers, out),
            OutputFormat::Json => json::write(self, out),
            OutputFormat::Csv => csv::write(self, headers, out),
            OutputFormat::Line => line::write(self, out),
        }
    }

    /// Writes the rows to stdout.
    pub fn print(&self, format: OutputFormat) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.write(format, true, &mut out)?;
        out.flush()
    }
}

/// Prints objects, each with these of its fields: in JSON as they are, else as [`RowSet::of_objects`].
pub fn print_objects<'a>(
    columns: &[&str],
    objects: impl IntoIterator<Item = &'a Json>,
    format: OutputFormat,
) -> io::Result<()> {
    if format != OutputFormat::Json {
        return RowSet::of_objects(columns, objects).print(format);
    }
    println!("{}", objects_text(columns, objects));
    Ok(())
}

/// A list of objects, one a line.
fn objects_text<'a>(columns: &[&str], objects: impl IntoIterator<Item = &'a Json>) -> String {
    let picked = |object: &Json| {
        let fields = columns.iter().map(|&name| (name.to_owned(), object[name].clone()));
        Json::Object(fields.collect()).to_string()
    };
    format!("[{}]", objects.into_iter().map(picked).collect::<Vec<_>>().join(",\n "))
}

/// Tells that a command has done its work: a sentence, or the same with fields where a program reads it.
pub fn print_done(format: Option<OutputFormat>, message: &str, fields: &[(&str, Json)]) -> io::Result<()> {
    let told = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let object = Json::Object(std::iter::once(("message".to_owned(), message.into())).chain(told).collect());
    match format {
        None | Some(OutputFormat::Table | OutputFormat::Line) => println!("{message}"),
        Some(OutputFormat::Json) => println!("{object}"),
        Some(OutputFormat::Csv) => {
            let columns: Vec<&str> =
                std::iter::once("message").chain(fields.iter().map(|(name, _)| *name)).collect();
            RowSet::of_objects(&columns, [&object]).print(OutputFormat::Csv)?;
        }
    }
    Ok(())
}

/// Prints an object: in JSON as it is, else a property a line, as pairs that `shown` makes of it.
pub fn print_properties(
    object: &Json,
    format: OutputFormat,
    shown: impl FnOnce(&Json) -> Vec<(String, Value)>,
) -> io::Result<()> {
    if format == OutputFormat::Json {
        println!("{}", sorted_pretty(object));
        return Ok(());
    }
    let mut set = RowSet::with_columns(&["property", "value"]);
    set.rows.extend(shown(object).into_iter().map(|(property, value)| vec![property.into(), value]));
    set.print(format)
}

/// The members of an object, each with its value as a value of a cell.
pub fn properties(object: &Json, shown: fn(&Json) -> Value) -> Vec<(String, Value)> {
    object.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), shown(value))).collect()
}

/// A JSON value of an answer as a value of a cell: lists of plain values are separated by commas, what is
/// more deeply nested stays JSON.
pub fn shown_value(json: &Json) -> Value {
    match json {
        Json::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            let texts =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
            Value::Text(texts.collect::<Vec<_>>().join(", "))
        }
        Json::Bool(flag) => Value::Text(flag.to_string()),
        other => common::json::from_json(other).unwrap_or_else(|_| Value::Text(other.to_string())),
    }
}

/// JSON with the keys of every object in alphabetical order, indented by two blanks.
pub fn sorted_pretty(json: &Json) -> String {
    let sorted = text::sorted(json);
    // A tree of strings, numbers, lists and objects with string keys can always be written.
    serde_json::to_string_pretty(&sorted).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(format: OutputFormat, headers: bool) -> String {
        let set = RowSet {
            columns: vec!["id".into(), "name".into(), "price".into()],
            rows: vec![
                vec![Value::Integer(1), "a \"b\", c".into(), Value::Real(2.0)],
                vec![Value::Integer(20), Value::Null, Value::Blob(vec![1, 0xff])],
            ],
        };
        let mut out = Vec::new();
        set.write(format, headers, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables_align_numbers_to_the_right() {
        let expected = "\
+----+----------+---------+
| id | name     | price   |
+====+==========+=========+
|  1 | a \"b\", c |     2.0 |
| 20 | NULL     | x'01ff' |
+----+----------+---------+
";
        assert_eq!(written(OutputFormat::Table, true), expected);
        assert!(!written(OutputFormat::Table, false).contains("name"));
    }

    #[test]
    fn json_is_an_array_of_objects_in_the_columns_order() {
        let expected = "[{\"id\":1,\"name\":\"a \\\"b\\\", c\",\"price\":2.0},\n {\"id\":20,\"name\":null,\"price\":{\"$blob\":\"Af8=\"}}]\n";
        assert_eq!(written(OutputFormat::Json, true), expected);
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let expected = "id,name,price\n1,\"a \"\"b\"\", c\",2.0\n20,,x'01ff'\n";
        assert_eq!(written(OutputFormat::Csv, true), expected);
        assert_eq!(written(OutputFormat::Csv, false), expected.split_once('\n').unwrap().1);
    }

    #[test]
    fn lines_align_names_to_the_right() {
        let expected =
            "   id = 1\n name = a \"b\", c\nprice = 2.0\n\n   id = 20\n name = NULL\nprice = x'01ff'\n";
        assert_eq!(written(OutputFormat::Line, true), expected);
    }

    #[test]
    fn no_rows_are_still_an_answer() {
        let set = RowSet::with_columns(&["a"]);
        let mut out = Vec::new();
        set.write(OutputFormat::Json, true, &mut out).unwrap();
        assert_eq!(out, b"[]\n");
    }

    #[test]
    fn terminals_are_not_at_the_mercy_of_data() {
        let set = RowSet { columns: vec!["a".into()], rows: vec![vec!["\u{1b}[2J\u{202e}x".into()]] };
        let mut out = Vec::new();
        set.write(OutputFormat::Table, true, &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.contains("\\u{1b}[2J\\u{202e}x"), "{shown}");
    }

    #[test]
    fn objects_stay_objects_in_json() {
        let objects = [json!({"id": "n1", "databases": ["a", "b"], "more": 1}), json!({"id": "n2"})];
        let text = objects_text(&["id", "databases"], &objects);
        assert_eq!(
            text,
            "[{\"id\":\"n1\",\"databases\":[\"a\",\"b\"]},\n {\"id\":\"n2\",\"databases\":null}]"
        );
    }

    #[test]
    fn objects_become_rows() {
        let objects = [json!({"id": "n1", "databases": ["a", "b"], "leader": null, "ok": true})];
        let set = RowSet::of_objects(&["id", "databases", "leader", "ok", "absent"], &objects);
        assert_eq!(set.rows[0], ["n1".into(), "a, b".into(), Value::Null, "true".into(), Value::Null]);
    }

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let pretty = sorted_pretty(&json!({"b": [{"d": 1, "c": 2}], "a": null}));
        assert_eq!(
            pretty,
            "{\n  \"a\": null,\n  \"b\": [\n    {\n      \"c\": 2,\n      \"d\": 1\n    }\n  ]\n}"
        );
    }
}
