//! Values between Rust, SQLite and JSON.

use std::fmt;

pub use common::Value;
use common::json;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::error::{Error, Result};

/// What can be a parameter of a statement.
pub trait ToValue {
    /// The value as SQLite has it.
    fn to_value(self) -> Value;
}

macro_rules! to_integer {
    ($($type:ty)*) => { $(impl ToValue for $type {
        fn to_value(self) -> Value { Value::Integer(i64::from(self)) }
    })* };
}
to_integer!(i8 i16 i32 i64 u8 u16 u32 bool);

impl ToValue for Value {
    fn to_value(self) -> Value {
        self
    }
}

impl ToValue for f64 {
    fn to_value(self) -> Value {
        Value::from(self)
    }
}

impl ToValue for f32 {
    fn to_value(self) -> Value {
        Value::from(f64::from(self))
    }
}

impl ToValue for &str {
    fn to_value(self) -> Value {
        Value::from(self)
    }
}

impl ToValue for String {
    fn to_value(self) -> Value {
        Value::Text(self)
    }
}

impl ToValue for Vec<u8> {
    fn to_value(self) -> Value {
        Value::Blob(self)
    }
}

impl ToValue for &[u8] {
    fn to_value(self) -> Value {
        Value::Blob(self.to_vec())
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(self) -> Value {
        self.map_or(Value::Null, ToValue::to_value)
    }
}

/// What a column's value can be read as.
pub trait FromValue: Sized {
    /// The value, or `None` if it is of another kind or does not fit.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_integer {
    ($($type:ty)*) => { $(impl FromValue for $type {
        fn from_value(value: &Value) -> Option<Self> {
            match value {
                Value::Integer(number) => <$type>::try_from(*number).ok(),
                _ => None,
            }
        }
    })* };
}
from_integer!(i8 i16 i32 i64 u8 u16 u32 u64);

impl FromValue for Value {
    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Real(number) => Some(*number),
            #[allow(clippy::cast_precision_loss)]
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Blob(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::from_value(value).map(Some) }
    }
}

/// Reads a value as a Rust type; the error names the column.
pub(crate) fn read<T: FromValue>(value: &Value, column: &str) -> Result<T> {
    T::from_value(value).ok_or_else(|| {
        let kind = match value {
            Value::Null => "NULL",
            Value::Integer(_) => "an integer that does not fit",
            Value::Real(_) => "a real",
            Value::Text(_) => "text",
            Value::Blob(_) => "a blob",
        };
        Error::invalid_use(format!("column {column} holds {kind}, not {}", std::any::type_name::<T>()))
    })
}

/// A value as it stands in an answer: JSON, with `{"$blob":…}` and `{"$real":…}` for what JSON lacks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell(pub Value);

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(CellVisitor).map(Cell)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of SQLite")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.to_value())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Integer).map_err(|_| E::custom("an integer beyond 64 bits"))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Value, M::Error> {
        let object = serde_json::Map::deserialize(de::value::MapAccessDeserializer::new(map))?;
        json::from_json(&serde_json::Value::Object(object)).map_err(de::Error::custom)
    }
}
