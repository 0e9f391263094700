//! Rows of an answer.

use std::ops::Index;
use std::sync::Arc;

use common::Value;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::row_deserializer::from_row;
use crate::value::{FromValue, read};

/// Names and declared types of the columns, shared by the rows.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Columns {
    pub names: Vec<String>,
    pub types: Vec<String>,
}

/// What a query answered.
///
/// ```no_run
/// # async fn example(database: polylite_client::Database) -> polylite_client::Result<()> {
/// let rows = database.sql("SELECT id, name FROM users").query().await?;
/// for row in &rows {
///     println!("{}: {}", row.get::<i64>("id")?, row.get::<String>("name")?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    pub(crate) columns: Arc<Columns>,
    pub(crate) rows: Vec<Row>,
    pub(crate) truncated: bool,
}

impl Rows {
    pub(crate) fn new(columns: Arc<Columns>, values: Vec<Vec<Value>>, truncated: bool) -> Rows {
        let rows = values.into_iter().map(|values| Row { columns: columns.clone(), values }).collect();
        Rows { columns, rows, truncated }
    }

    /// Names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns.names
    }

    /// Declared types of the columns, `""` for expressions.
    #[must_use]
    pub fn types(&self) -> &[String] {
        &self.columns.types
    }

    /// Whether rows were left out because the answer would have been too long; a stream has no such limit.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows.
    pub fn iter(&self) -> std::slice::Iter<'_, Row> {
        self.rows.iter()
    }

    /// The first row.
    #[must_use]
    pub fn first(&self) -> Option<&Row> {
        self.rows.first()
    }

    /// The only value of the only row, as of `SELECT count(*) …`.
    pub fn scalar<T: FromValue>(&self) -> Result<T> {
        match &self.rows[..] {
            [row] if row.values.len() == 1 => row.get_at(0),
            rows => {
                let columns = self.columns.names.len();
                Err(Error::invalid_use(format!("{} rows of {columns} columns are not one value", rows.len())))
            }
        }
    }

    /// Every row as a structure whose fields are named like the columns.
    pub fn rows_as<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        self.rows.iter().map(Row::row_as).collect()
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = &'a Row;
    type IntoIter = std::slice::Iter<'a, Row>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

impl IntoIterator for Rows {
    type Item = Row;
    type IntoIter = std::vec::IntoIter<Row>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl Index<usize> for Rows {
    type Output = Row;

    fn index(&self, index: usize) -> &Row {
        &self.rows[index]
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub(crate) columns: Arc<Columns>,
    pub(crate) values: Vec<Value>,
}

impl Row {
    /// The value of a column; names are compared as SQLite does, without regard to the case of ASCII letters.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T> {
        let position = self.columns.names.iter().position(|name| name.eq_ignore_ascii_case(column));
        match position.and_then(|position| self.values.get(position)) {
            Some(value) => read(value, column),
            None => Err(Error::invalid_use(format!("the answer has no column {column}"))),
        }
    }

    /// The value of a column by its position, from 0.
    pub fn get_at<T: FromValue>(&self, position: usize) -> Result<T> {
        match (self.values.get(position), self.columns.names.get(position)) {
            (Some(value), Some(name)) => read(value, name),
            _ => Err(Error::invalid_use(format!("the answer has no column at position {position}"))),
        }
    }

    /// The values in the order of the columns.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns.names
    }

    /// The row as a structure whose fields are named like the columns.
    pub fn row_as<T: DeserializeOwned>(&self) -> Result<T> {
        from_row(&self.columns.names, &self.values)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Role {
        Developer,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct User {
        id: i64,
        name: Option<String>,
        score: f64,
        active: bool,
        photo: Vec<u8>,
        role: Role,
    }

    fn rows() -> Rows {
        let names = ["id", "name", "score", "active", "photo", "role"];
        let columns = Columns { names: names.map(str::to_owned).to_vec(), types: vec![String::new(); 6] };
        let values = vec![
            Value::Integer(7),
            Value::Null,
            Value::Integer(2),
            Value::Integer(1),
            Value::Blob(vec![1, 2]),
            Value::Text("developer".into()),
        ];
        Rows::new(Arc::new(columns), vec![values], false)
    }

    #[test]
    fn a_row_becomes_a_structure() {
        let user =
            User { id: 7, name: None, score: 2.0, active: true, photo: vec![1, 2], role: Role::Developer };
        assert_eq!(rows().rows_as::<User>(), Ok(vec![user]));
    }

    #[test]
    fn values_are_read_by_name_and_kind() {
        let rows = rows();
        let row = &rows[0];
        assert_eq!(row.get::<i64>("ID"), Ok(7));
        assert_eq!(row.get::<Option<String>>("name"), Ok(None));
        assert!(row.get::<String>("name").is_err());
        assert!(row.get::<String>("missing").is_err());
        assert_eq!(row.get::<bool>("active"), Ok(true));
        assert!(row.get::<bool>("id").is_err());
        assert!(rows.scalar::<i64>().is_err());
    }
}
