//! Values as JSON. Integers are exact, reals keep their point, a BLOB is `{"$blob":"<base64>"}`, an
//! infinity is `{"$real":"Infinity"}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Number, Value as Json};

use crate::row::ValueRef;
use crate::{Error, Result, Value};

/// What kind of JSON a value is, for messages.
#[must_use]
pub const fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// Appends a value's JSON text to `out`.
pub fn write_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"null"),
        ValueRef::Integer(number) => write_display(out, number),
        ValueRef::Real(number) if number.is_finite() => match Number::from_f64(number) {
            Some(json) => write_display(out, json),
            None => out.extend_from_slice(b"null"),
        },
        ValueRef::Real(number) => {
            out.extend_from_slice(b"{\"$real\":\"");
            out.extend_from_slice(if number > 0.0 { b"Infinity" } else { b"-Infinity" });
            out.extend_from_slice(b"\"}");
        }
        ValueRef::Text(text) => write_string(out, text),
        ValueRef::RawText(bytes) => write_string(out, &String::from_utf8_lossy(bytes)),
        ValueRef::Blob(bytes) => {
            out.extend_from_slice(b"{\"$blob\":\"");
            out.extend_from_slice(BASE64.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
}

/// Appends a JSON string, quoted and escaped.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

fn write_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = write!(out, "{value}");
}

/// A value as a JSON tree.
#[must_use]
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => Json::from(*number),
        Value::Real(number) if number.is_finite() => {
            Number::from_f64(*number).map_or(Json::Null, Json::Number)
        }
        Value::Real(number) => tagged("$real", if *number > 0.0 { "Infinity" } else { "-Infinity" }),
        Value::Text(text) => Json::String(text.clone()),
        Value::Blob(bytes) => tagged("$blob", &BASE64.encode(bytes)),
    }
}

fn tagged(tag: &str, text: &str) -> Json {
    Json::Object(Map::from_iter([(tag.to_owned(), Json::String(text.to_owned()))]))
}

/// A parameter or a column's value out of JSON. Booleans are 1 and 0; an integer beyond 64 bits is
/// refused rather than rounded; an array or an object other than `$blob` and `$real` is refused.
pub fn from_json(json: &Json) -> Result<Value> {
    match json {
        Json::Null => Ok(Value::Null),
        Json::Bool(flag) => Ok(Value::Integer(i64::from(*flag))),
        Json::Number(number) => from_number(number),
        Json::String(text) => Ok(Value::Text(text.clone())),
        Json::Object(object) => from_tagged(object),
        Json::Array(_) => Err(Error::bad_request("an array is not a value of SQL")
            .with_hint("send it as text, and read it with SQLite's JSON functions")),
    }
}

fn from_number(number: &Number) -> Result<Value> {
    if let Some(integer) = number.as_i64() {
        return Ok(Value::Integer(integer));
    }
    if number.is_u64() {
        return Err(Error::bad_request(format!("{number} does not fit in a 64-bit signed integer"))
            .with_hint("send it as text, or as a real with a decimal point"));
    }
    number.as_f64().map(Value::from).ok_or_else(|| Error::bad_request(format!("{number} is not a number")))
}

fn from_tagged(object: &Map<String, Json>) -> Result<Value> {
    let mut entries = object.iter();
    match (entries.next(), entries.next()) {
        (Some((tag, Json::String(text))), None) if tag == "$blob" => BASE64
            .decode(text)
            .map(Value::Blob)
            .map_err(|error| Error::bad_request(format!("$blob is not base64: {error}"))),
        (Some((tag, Json::String(text))), None) if tag == "$real" => match text.as_str() {
            "Infinity" => Ok(Value::Real(f64::INFINITY)),
            "-Infinity" => Ok(Value::Real(f64::NEG_INFINITY)),
            _ => Err(Error::bad_request("$real is \"Infinity\" or \"-Infinity\"")),
        },
        _ => Err(Error::bad_request("an object is not a value of SQL")
            .with_hint("send it as text; bytes are {\"$blob\":\"<base64>\"}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Value) -> String {
        let mut out = Vec::new();
        write_value(&mut out, value.into());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_round_trip() {
        for value in [
            Value::Null,
            Value::Integer(i64::MAX),
            Value::Integer(i64::MIN),
            Value::Real(1.0),
            Value::Real(0.1 + 0.2),
            Value::Real(f64::NEG_INFINITY),
            Value::Text("a\"\\\u{1}\n€".into()),
            Value::Blob(vec![1, 2, 3]),
        ] {
            let written = text(&value);
            assert_eq!(written, serde_json::to_string(&to_json(&value)).unwrap());
            assert_eq!(from_json(&serde_json::from_str(&written).unwrap()).unwrap(), value, "{written}");
        }
    }

    #[test]
    fn a_real_keeps_its_point() {
        assert_eq!(text(&Value::Real(1.0)), "1.0");
    }

    #[test]
    fn integers_are_never_rounded() {
        assert!(from_json(&serde_json::from_str("9223372036854775808").unwrap()).is_err());
    }
}
