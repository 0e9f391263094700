//! Extended JSON as requests bring it, in the one spelling in which it is kept
//! (<https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::json::kind_of;
use common::{Error, Result};
use serde_json::{Map, Value as Json, json};

use super::decimal::Decimal;
use super::{BINARY, DATE, DECIMAL, Fields, OBJECT_ID, number, timestamp};
use crate::documents::place::Place;

/// Tags whose objects are values.
const TAGS: [&str; 8] =
    [DATE, OBJECT_ID, DECIMAL, BINARY, "$numberLong", "$numberInt", "$numberDouble", "$uuid"];

/// Tags of types that documents here do not have.
const FOREIGN: [&str; 10] = [
    "$timestamp",
    "$minKey",
    "$maxKey",
    "$regularExpression",
    "$undefined",
    "$symbol",
    "$code",
    "$dbPointer",
    "$ref",
    "$scope",
];

/// Whether an object is a tagged value rather than one of operators or fields.
pub(crate) fn is_value(fields: &Fields) -> bool {
    fields.keys().next().is_some_and(|first| TAGS.contains(&first.as_str()))
}

/// A value as it is kept. Names of fields that begin with `$` are refused, and so are tags that are malformed.
pub(crate) fn normal(json: Json, place: &Place<'_>) -> Result<Json> {
    match json {
        Json::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| normal(item, &place.item(index)))
            .collect::<Result<Vec<Json>>>()
            .map(Json::Array),
        Json::Object(fields) if is_value(&fields) => tagged(&fields, place),
        Json::Object(fields) => normal_fields(fields, place).map(Json::Object),
        other => Ok(other),
    }
}

/// The fields of an object as they are kept.
pub(crate) fn normal_fields(fields: Fields, place: &Place<'_>) -> Result<Fields> {
    place.check_depth()?;
    let mut kept = Map::with_capacity(fields.len());
    for (name, value) in fields {
        check_name(&name, place)?;
        let value = normal(value, &place.field(&name))?;
        kept.insert(name, value);
    }
    Ok(kept)
}

fn check_name(name: &str, place: &Place<'_>) -> Result<()> {
    if FOREIGN.contains(&name) {
        return Err(place.field(name).unsupported(
            format!("a value of the type '{name}'"),
            "documents hold JSON and $oid, $date, $numberLong, $numberDecimal, $binary",
        ));
    }
    if name.starts_with('$') {
        return Err(place.field(name).wrong("the name of a field cannot begin with '$'"));
    }
    if name.contains('\0') {
        return Err(place.field(name).wrong("the name of a field cannot hold the character NUL"));
    }
    Ok(())
}

fn tagged(fields: &Fields, place: &Place<'_>) -> Result<Json> {
    let (tag, value) =
        fields.iter().next().ok_or_else(|| place.wrong("an empty object is no tagged value"))?;
    let place = place.field(tag);
    // The older form of bytes has two fields.
    if tag == BINARY && fields.len() == 2 {
        return match (value, fields.get("$type")) {
            (Json::String(base64), Some(Json::String(subtype))) => binary(base64, subtype, &place),
            _ => Err(place.wrong("$binary is {\"base64\":…,\"subType\":…}")),
        };
    }
    if fields.len() != 1 {
        return Err(place.wrong(format!("{tag} stands alone in its object")));
    }
    match (tag.as_str(), value) {
        (DATE, value) => date(value, &place),
        (OBJECT_ID, Json::String(text))
            if text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            Ok(json!({ OBJECT_ID: text.to_ascii_lowercase() }))
        }
        (OBJECT_ID, _) => Err(place.wrong("$oid is a string of 24 hexadecimal digits")),
        (DECIMAL, Json::String(text)) if Decimal::parse(text).is_some() => Ok(json!({ DECIMAL: text })),
        (DECIMAL, _) => Err(place.wrong("$numberDecimal is a string with a number of at most 34 digits")),
        ("$numberLong" | "$numberInt", value) => {
            let bits = if tag == "$numberInt" { 32 } else { 64 };
            integer(value, bits)
                .map(Json::from)
                .ok_or_else(|| place.wrong(format!("{tag} is a string with an integer of {bits} bits")))
        }
        ("$numberDouble", Json::String(text)) => {
            let parsed = text.parse::<f64>().ok().and_then(number::real);
            parsed.ok_or_else(|| place.wrong("$numberDouble is a string with a finite number"))
        }
        ("$numberDouble", _) => Err(place.wrong("$numberDouble is a string with a finite number")),
        ("$uuid", Json::String(text)) => uuid(text, &place),
        ("$uuid", _) => Err(place.wrong("$uuid is a string")),
        (_, Json::Object(parts)) => match (parts.get("base64"), parts.get("subType"), parts.len()) {
            (Some(Json::String(base64)), Some(Json::String(subtype)), 2) => binary(base64, subtype, &place),
            _ => Err(place.wrong("$binary is {\"base64\":…,\"subType\":…}")),
        },
        (_, other) => Err(place.wrong(format!("{tag} cannot be {}", kind_of(other)))),
    }
}

fn integer(value: &Json, bits: u32) -> Option<i64> {
    let number = match value {
        Json::String(text) => text.parse().ok()?,
        Json::Number(number) => number.as_i64()?,
        _ => return None,
    };
    (bits == 64 || i32::try_from(number).is_ok()).then_some(number)
}

fn date(value: &Json, place: &Place<'_>) -> Result<Json> {
    let milliseconds = match value {
        Json::String(text) => timestamp::parse(text),
        Json::Object(inner) => inner.get("$numberLong").and_then(|number| integer(number, 64)),
        other => integer(other, 64),
    };
    let milliseconds = milliseconds.filter(|milliseconds| timestamp::is_in_range(*milliseconds));
    milliseconds.map(super::date).ok_or_else(|| {
        place.wrong("$date is a time as \"2024-01-31T12:00:00Z\" in the years 0 to 9999, or milliseconds")
    })
}

fn binary(base64: &str, subtype: &str, place: &Place<'_>) -> Result<Json> {
    let bytes =
        BASE64.decode(base64).map_err(|error| place.wrong(format!("$binary is not base64: {error}")))?;
    let number = u8::from_str_radix(subtype, 16)
        .map_err(|_| place.wrong("subType is one or two hexadecimal digits"))?;
    Ok(bytes_as_json(&bytes, number))
}

fn uuid(text: &str, place: &Place<'_>) -> Result<Json> {
    let wrong = || -> Error { place.wrong("$uuid is 32 hexadecimal digits with hyphens") };
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return Err(wrong());
    }
    let bytes =
        (0..16).map(|index| u8::from_str_radix(&digits[index * 2..index * 2 + 2], 16).map_err(|_| wrong()));
    Ok(bytes_as_json(&bytes.collect::<Result<Vec<u8>>>()?, 4))
}

fn bytes_as_json(bytes: &[u8], subtype: u8) -> Json {
    json!({ BINARY: { "base64": BASE64.encode(bytes), "subType": format!("{subtype:02x}") } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(json: Json) -> Result<Json> {
        normal(json, &Place::root("document"))
    }

    #[test]
    fn a_value_has_one_spelling() {
        let given = json!({
            "a": {"$numberLong": "9007199254740993"},
            "b": [{"$date": {"$numberLong": "0"}}, {"$date": "1970-01-01T02:00:00+02:00"}],
            "c": {"$oid": "5F00000000000000000000aa"},
            "d": {"$numberDecimal": "1.50"},
            "e": {"$binary": "AQI=", "$type": "0"},
            "f": {"$uuid": "00112233-4455-6677-8899-aabbccddeeff"},
            "g": {"$numberDouble": "1"},
        });
        let kept = kept(given).unwrap();
        assert_eq!(
            kept.to_string(),
            r#"{"a":9007199254740993,"b":[{"$date":"1970-01-01T00:00:00.000Z"},{"$date":"1970-01-01T00:00:00.000Z"}],"#.to_owned()
                + r#""c":{"$oid":"5f00000000000000000000aa"},"d":{"$numberDecimal":"1.50"},"#
                + r#""e":{"$binary":{"base64":"AQI=","subType":"00"}},"#
                + r#""f":{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}},"g":1.0}"#
        );
    }

    #[test]
    fn what_is_malformed_is_pointed_at() {
        for (given, place) in [
            (json!({"a": {"$gt": 1}}), "/document/a/$gt"),
            (json!({"a": [1, {"$date": "soon"}]}), "/document/a/1/$date"),
            (json!({"a": {"$oid": "xyz"}}), "/document/a/$oid"),
            (json!({"a": {"$numberDecimal": "NaN"}}), "/document/a/$numberDecimal"),
            (json!({"a": {"$numberLong": "9223372036854775808"}}), "/document/a/$numberLong"),
            (json!({"a": {"$binary": {"base64": "?", "subType": "00"}}}), "/document/a/$binary"),
            (json!({"a": {"$uuid": "é0112233-4455-6677-8899-aabbccddee"}}), "/document/a/$uuid"),
        ] {
            let error = kept(given).unwrap_err();
            assert_eq!(error.code, common::ErrorCode::BadRequest);
            assert!(error.message.ends_with(&format!("(at {place})")), "{}", error.message);
        }
        assert_eq!(kept(json!({"a": {"$minKey": 1}})).unwrap_err().code, common::ErrorCode::NotSupported);
    }
}
