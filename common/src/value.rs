//! SQLite's values, their order, and type affinity.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::hash::Collation;
use crate::row::ValueRef;

/// A value with its storage class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// NULL.
    #[default]
    Null,
    /// A 64-bit signed integer.
    Integer(i64),
    /// A 64-bit float, never NaN (SQLite stores NaN as NULL).
    Real(f64),
    /// Text, UTF-8.
    Text(String),
    /// Bytes.
    Blob(#[serde(with = "blob")] Vec<u8>),
}

mod blob {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        bytes::Bytes::deserialize(deserializer).map(Vec::from)
    }
}

impl Value {
    /// Whether it is NULL.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// SQLite's order under the BINARY collation: NULL, then numbers, text, blobs. Total.
    #[must_use]
    pub fn compare(&self, other: &Value) -> Ordering {
        ValueRef::from(self).compare(ValueRef::from(other), Collation::Binary)
    }
}

/// Compares without losing bits to a conversion, as SQLite's `sqlite3IntFloatCompare` does.
pub(crate) fn compare_integer_real(integer: i64, real: f64) -> Ordering {
    if real < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    if real >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    #[allow(clippy::cast_possible_truncation)]
    let truncated = real as i64;
    integer.cmp(&truncated).then_with(|| {
        #[allow(clippy::cast_precision_loss)]
        (truncated as f64).partial_cmp(&real).unwrap_or(Ordering::Equal)
    })
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        if value.is_nan() { Value::Null } else { Value::Real(value) }
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

/// A column's type affinity (<https://sqlite.org/datatype3.html>, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Affinity {
    /// Prefers text.
    Text,
    /// Prefers an integer, then a float.
    Numeric,
    /// As `Numeric`.
    Integer,
    /// Numbers become floats.
    Real,
    /// No preference.
    Blob,
}

impl Affinity {
    /// The affinity that a declared type gives, by SQLite's five rules in their order.
    #[must_use]
    pub fn of_declared_type(declared: &str) -> Affinity {
        let upper = declared.to_ascii_uppercase();
        if upper.contains("INT") {
            Affinity::Integer
        } else if ["CHAR", "CLOB", "TEXT"].iter().any(|word| upper.contains(word)) {
            Affinity::Text
        } else if upper.is_empty() || upper.contains("BLOB") {
            Affinity::Blob
        } else if ["REAL", "FLOA", "DOUB"].iter().any(|word| upper.contains(word)) {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }

    /// A declared type that gives this affinity.
    #[must_use]
    pub fn declared_type(self) -> &'static str {
        match self {
            Affinity::Text => "TEXT",
            Affinity::Numeric => "NUMERIC",
            Affinity::Integer => "INTEGER",
            Affinity::Real => "REAL",
            Affinity::Blob => "",
        }
    }

    /// The value as a column of this affinity stores it, or `None` where only SQLite itself should say
    /// (a float as text, text that may be a number in an unusual form).
    #[must_use]
    pub fn apply(self, value: &Value) -> Option<Value> {
        match (self, value) {
            (_, Value::Null | Value::Blob(_)) | (Affinity::Blob, _) | (Affinity::Text, Value::Text(_)) => {
                Some(value.clone())
            }
            (Affinity::Text, Value::Integer(number)) => Some(Value::Text(number.to_string())),
            (Affinity::Text, Value::Real(_)) => None,
            (Affinity::Numeric | Affinity::Integer, Value::Integer(_)) => Some(value.clone()),
            (Affinity::Numeric | Affinity::Integer, Value::Real(number)) => {
                Some(exact_integer(*number).map_or_else(|| value.clone(), Value::Integer))
            }
            #[allow(clippy::cast_precision_loss)]
            (Affinity::Real, Value::Integer(number)) => Some(Value::Real(*number as f64)),
            (Affinity::Real, Value::Real(_)) => Some(value.clone()),
            (Affinity::Numeric | Affinity::Integer | Affinity::Real, Value::Text(text)) => {
                self.apply_to_text(text)
            }
        }
    }

    fn apply_to_text(self, text: &str) -> Option<Value> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.apply(&Value::Integer(text.parse().ok()?));
        }
        // Text whose first character cannot begin a number stays text.
        let first = text.bytes().next();
        let may_be_number = first.is_some_and(|byte| {
            byte.is_ascii_digit() || byte.is_ascii_whitespace() || matches!(byte, b'+' | b'-' | b'.' | 0x0b)
        });
        if may_be_number { None } else { Some(Value::Text(text.to_owned())) }
    }
}

/// The integer that a float equals exactly, if it is one of the 64-bit integers.
#[must_use]
pub fn exact_integer(real: f64) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation)]
    let integer = real as i64;
    // The cast saturates, so 2^63 would come back as 2^63 - 1: compare exactly.
    (compare_integer_real(integer, real) == Ordering::Equal).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_null_numbers_text_blobs() {
        let sorted = [
            Value::Null,
            Value::Integer(-1),
            Value::Real(0.5),
            Value::Integer(1),
            Value::Real(1e300),
            Value::Text("A".into()),
            Value::Text("a".into()),
            Value::Blob(vec![0]),
        ];
        for pair in sorted.windows(2) {
            assert_eq!(pair[0].compare(&pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn integers_beyond_2_to_53_compare_exactly_with_reals() {
        let big = i64::MAX;
        assert_eq!(Value::Integer(big).compare(&Value::Real(9_223_372_036_854_775_808.0)), Ordering::Less);
        assert_eq!(
            Value::Integer((1 << 53) + 1).compare(&Value::Real(9_007_199_254_740_992.0)),
            Ordering::Greater
        );
        assert_eq!(exact_integer(9_223_372_036_854_775_808.0), None);
        assert_eq!(exact_integer(-9_223_372_036_854_775_808.0), Some(i64::MIN));
    }

    #[test]
    fn affinity_follows_the_declared_type() {
        assert_eq!(Affinity::of_declared_type("VARCHAR(20)"), Affinity::Text);
        assert_eq!(Affinity::of_declared_type("BIGINT"), Affinity::Integer);
        assert_eq!(Affinity::of_declared_type("FLOATING POINT"), Affinity::Integer);
        assert_eq!(Affinity::of_declared_type("BOOLEAN"), Affinity::Numeric);
        assert_eq!(Affinity::of_declared_type(""), Affinity::Blob);
        assert_eq!(Affinity::of_declared_type("DOUBLE"), Affinity::Real);
    }

    #[test]
    fn affinity_leaves_unusual_numbers_to_sqlite() {
        assert_eq!(Affinity::Integer.apply(&"42".into()), Some(Value::Integer(42)));
        assert_eq!(Affinity::Integer.apply(&" 42".into()), None);
        assert_eq!(Affinity::Integer.apply(&"abc".into()), Some("abc".into()));
        assert_eq!(Affinity::Integer.apply(&Value::Real(3.0)), Some(Value::Integer(3)));
        assert_eq!(Affinity::Text.apply(&Value::Integer(7)), Some("7".into()));
        assert_eq!(Affinity::Text.apply(&Value::Real(7.5)), None);
    }
}
