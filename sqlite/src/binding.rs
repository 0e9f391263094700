//! Values into statements, and rows out of them.

use common::protocol::Params;
use common::row::{RowBlockBuilder, ValueRef};
use common::{Error, Value};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef as SqliteRef};
use rusqlite::{Row, Statement};

use crate::error::Result;

/// A value on its way into a statement, borrowed.
pub(crate) struct Bound<'a>(pub(crate) ValueRef<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            ValueRef::Null => SqliteRef::Null,
            ValueRef::Integer(number) => SqliteRef::Integer(number),
            ValueRef::Real(number) => SqliteRef::Real(number),
            ValueRef::Text(text) => SqliteRef::Text(text.as_bytes()),
            ValueRef::RawText(bytes) => SqliteRef::Text(bytes),
            ValueRef::Blob(bytes) => SqliteRef::Blob(bytes),
        }))
    }
}

/// Binds values to the parameters from `first` (counted from 1) on.
pub(crate) fn bind_values(
    statement: &mut Statement<'_>,
    first: usize,
    values: impl IntoIterator<Item = impl std::borrow::Borrow<Value>>,
) -> rusqlite::Result<usize> {
    let mut index = first;
    for value in values {
        statement.raw_bind_parameter(index, Bound(ValueRef::from(value.borrow())))?;
        index += 1;
    }
    Ok(index)
}

/// Binds a client's parameters; their number or names must be those of the statement.
pub(crate) fn bind_params(statement: &mut Statement<'_>, params: &Params) -> Result<()> {
    let count = statement.parameter_count();
    match params {
        Params::None if count == 0 => {}
        Params::None => return Err(wrong_count(count, 0)),
        Params::Positional(values) => {
            if values.len() != count {
                return Err(wrong_count(count, values.len()));
            }
            bind_values(statement, 1, values)?;
        }
        Params::Named(values) => bind_named(statement, count, values)?,
    }
    Ok(())
}

fn bind_named(statement: &mut Statement<'_>, count: usize, values: &[(String, Value)]) -> Result<()> {
    let mut used = 0;
    for index in 1..=count {
        let name = statement.parameter_name(index).map(|name| name[1..].to_owned());
        let Some(name) = name else {
            return Err(Error::bad_request("the statement has a parameter without a name").into());
        };
        let Some((_, value)) = values.iter().find(|(given, _)| *given == name) else {
            return Err(Error::bad_request(format!("the parameter '{name}' is missing")).into());
        };
        used += 1;
        statement.raw_bind_parameter(index, Bound(ValueRef::from(value)))?;
    }
    if used < values.len() {
        return Err(Error::bad_request("a parameter is given that the statement does not have").into());
    }
    Ok(())
}

fn wrong_count(expected: usize, given: usize) -> crate::Failure {
    Error::bad_request(format!("the statement has {expected} parameters, {given} were given")).into()
}

/// A column of a row as an owned value; text that is not UTF-8 gets replacement characters.
pub(crate) fn value_of(value: SqliteRef<'_>) -> Value {
    match value {
        SqliteRef::Null => Value::Null,
        SqliteRef::Integer(number) => Value::Integer(number),
        SqliteRef::Real(number) => Value::from(number),
        SqliteRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        SqliteRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// All columns of a row, owned.
pub(crate) fn values_of(row: &Row<'_>, columns: std::ops::Range<usize>) -> rusqlite::Result<Vec<Value>> {
    columns.map(|index| row.get_ref(index).map(value_of)).collect()
}

/// Appends a row to a block.
pub(crate) fn push_row(builder: &mut RowBlockBuilder, row: &Row<'_>, columns: usize) -> rusqlite::Result<()> {
    let mut borrowed = Vec::with_capacity(columns);
    for index in 0..columns {
        borrowed.push(match row.get_ref(index)? {
            SqliteRef::Null => ValueRef::Null,
            SqliteRef::Integer(number) => ValueRef::Integer(number),
            SqliteRef::Real(number) => ValueRef::Real(number),
            SqliteRef::Blob(bytes) => ValueRef::Blob(bytes),
            SqliteRef::Text(bytes) => {
                std::str::from_utf8(bytes).map_or(ValueRef::RawText(bytes), ValueRef::Text)
            }
        });
    }
    builder.push(borrowed);
    Ok(())
}
