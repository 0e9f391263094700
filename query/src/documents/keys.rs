//! What unique indexes of collections are over: a column for each, beside the document.
//!
//! A document's value at several paths becomes one text, which is written with the document. SQL's own UNIQUE index over the
//! column holds over all partitions, as that of any table does. The column's name tells the paths.

use common::{Error, Result, Value};
use serde_json::{Value as Json, json};

use super::filter::path::{FieldPath, Leaf};
use super::place::Place;
use super::value::number::Numeric;
use super::value::{Fields, Typed};
use crate::table::Table;

/// How the names of such columns begin; a list of paths in JSON follows.
const PREFIX: &str = "_unique:";

/// A column of a unique index.
#[derive(Clone, Debug)]
pub(super) struct KeyColumn {
    /// Its name.
    pub(super) name: String,
    paths: Vec<FieldPath>,
}

/// The name of the column for some paths.
pub(super) fn column_name(paths: &[FieldPath]) -> String {
    let texts: Vec<&str> = paths.iter().map(|path| path.text.as_str()).collect();
    format!("{PREFIX}{}", json!(texts))
}

/// An error that tells of a unique index by its column tells of its paths instead, as `people.mail, people.name`.
pub(super) fn told(mut error: Error) -> Error {
    if let Some((before, paths)) = error.message.split_once(PREFIX)
        && let Ok(paths) = serde_json::from_str::<Vec<String>>(paths)
        && let Some((words, table)) = before.rsplit_once(' ')
    {
        let named: Vec<String> = paths.iter().map(|path| format!("{table}{path}")).collect();
        error.message = format!("{words} {}", named.join(", "));
    }
    error
}

/// Whether a collection's table has columns that follow from the documents.
pub(crate) fn has_derived_columns(table: &Table) -> bool {
    table.divided.is_some() || table.columns.iter().any(|column| column.name.starts_with(PREFIX))
}

/// The columns of a collection's unique indexes.
pub(super) fn of_table(table: &Table) -> Result<Vec<KeyColumn>> {
    let damaged = || Error::internal("a column of a collection is not known");
    let columns = table.columns.iter().filter_map(|column| Some((column, column.name.strip_prefix(PREFIX)?)));
    columns
        .map(|(column, paths)| {
            let texts: Vec<String> = serde_json::from_str(paths).map_err(|_| damaged())?;
            let paths = texts.iter().map(|text| FieldPath::parse(text, &Place::root("fields")));
            let paths = paths.collect::<Result<Vec<FieldPath>>>()?;
            Ok(KeyColumn { name: column.name.clone(), paths })
        })
        .collect()
}

impl KeyColumn {
    /// A document's value in the column.
    pub(super) fn value(&self, document: &Fields) -> Value {
        let values = self.paths.iter().map(|path| {
            let mut found = path.values(document, Leaf::Whole).into_iter();
            match (found.next(), found.next()) {
                (None | Some(None), None) => Json::Null,
                (Some(Some(value)), None) => canonical(value),
                (first, second) => {
                    let all = first.into_iter().chain(second).chain(found).flatten();
                    Json::Array(all.map(canonical).collect())
                }
            }
        });
        Value::Text(Json::Array(values.collect()).to_string())
    }
}

/// A value in a spelling that equal values have in common.
fn canonical(value: &Json) -> Json {
    match Typed::of(value) {
        Typed::Number(number @ Numeric::Real(_)) => number.whole().map_or_else(|| value.clone(), Json::from),
        Typed::Object(fields) => {
            Json::Object(fields.iter().map(|(name, value)| (name.clone(), canonical(value))).collect())
        }
        Typed::Array(items) => Json::Array(items.iter().map(canonical).collect()),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_told_by_paths() {
        let told = |message: &str| told(Error::bad_request(message)).message;
        let column = format!("UNIQUE constraint failed: c.{PREFIX}[\"a.b\",\"c d\"]");
        assert_eq!(told(&column), "UNIQUE constraint failed: c.a.b, c.c d");
        for other in ["UNIQUE constraint failed: c._id", "anything"] {
            assert_eq!(told(other), other);
        }
    }
}
