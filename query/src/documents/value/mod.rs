//! Values of documents: JSON, with the types that Extended JSON adds to it.
//!
//! A document is kept as JSON. What JSON has no type for is an object with one tag, in one spelling for each
//! value ([`extended`] sees to that): `{"$date":"2024-01-31T12:00:00.000Z"}`, `{"$oid":"…"}`,
//! `{"$numberDecimal":"1.50"}`, `{"$binary":{"base64":"…","subType":"00"}}`.

pub(crate) mod decimal;
pub(crate) mod extended;
pub(crate) mod number;
pub(crate) mod order;
pub(crate) mod timestamp;

use serde_json::{Map, Value as Json};

use self::decimal::Decimal;
use self::number::Numeric;

/// A document, or an object in one.
pub(crate) type Fields = Map<String, Json>;

/// The tag of a moment.
pub(crate) const DATE: &str = "$date";
/// The tag of a 12-byte id.
pub(crate) const OBJECT_ID: &str = "$oid";
/// The tag of a decimal number.
pub(crate) const DECIMAL: &str = "$numberDecimal";
/// The tag of bytes.
pub(crate) const BINARY: &str = "$binary";

/// A value with its type.
#[derive(Clone, Debug)]
pub(crate) enum Typed<'a> {
    Null,
    Number(Numeric),
    Text(&'a str),
    Object(&'a Fields),
    Array(&'a [Json]),
    /// Subtype and base64 text.
    Binary(&'a str, &'a str),
    ObjectId(&'a str),
    Bool(bool),
    /// Milliseconds since the Unix epoch.
    Date(i64),
}

impl<'a> Typed<'a> {
    /// The type that a stored value has.
    pub(crate) fn of(json: &'a Json) -> Typed<'a> {
        match json {
            Json::Null => Typed::Null,
            Json::Bool(flag) => Typed::Bool(*flag),
            Json::Number(number) => Typed::Number(Numeric::of(number)),
            Json::String(text) => Typed::Text(text),
            Json::Array(items) => Typed::Array(items),
            Json::Object(fields) => tagged(fields).unwrap_or(Typed::Object(fields)),
        }
    }

    /// The place of its type in the order of types
    /// (<https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/>).
    pub(crate) const fn rank(&self) -> u8 {
        match self {
            Typed::Null => 1,
            Typed::Number(_) => 2,
            Typed::Text(_) => 3,
            Typed::Object(_) => 4,
            Typed::Array(_) => 5,
            Typed::Binary(..) => 6,
            Typed::ObjectId(_) => 7,
            Typed::Bool(_) => 8,
            Typed::Date(_) => 9,
        }
    }

    /// The name of its type, as `$type` knows it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Typed::Null => "null",
            Typed::Number(Numeric::Integer(number)) if fits_32_bits(*number) => "int",
            Typed::Number(Numeric::Integer(_)) => "long",
            Typed::Number(Numeric::Real(_)) => "double",
            Typed::Number(Numeric::Decimal(_)) => "decimal",
            Typed::Text(_) => "string",
            Typed::Object(_) => "object",
            Typed::Array(_) => "array",
            Typed::Binary(..) => "binData",
            Typed::ObjectId(_) => "objectId",
            Typed::Bool(_) => "bool",
            Typed::Date(_) => "date",
        }
    }
}

const fn fits_32_bits(number: i64) -> bool {
    number >= i32::MIN as i64 && number <= i32::MAX as i64
}

fn tagged(fields: &Fields) -> Option<Typed<'_>> {
    if fields.len() != 1 {
        return None;
    }
    let (tag, value) = fields.iter().next()?;
    match (tag.as_str(), value) {
        (DATE, Json::String(text)) => timestamp::parse(text).map(Typed::Date),
        (OBJECT_ID, Json::String(text)) => Some(Typed::ObjectId(text)),
        (DECIMAL, Json::String(text)) => {
            Decimal::parse(text).map(|number| Typed::Number(Numeric::Decimal(number)))
        }
        (BINARY, Json::Object(parts)) => {
            Some(Typed::Binary(parts.get("subType")?.as_str()?, parts.get("base64")?.as_str()?))
        }
        _ => None,
    }
}

/// A moment as a value.
pub(crate) fn date(milliseconds: i64) -> Json {
    Json::Object(Map::from_iter([(DATE.to_owned(), timestamp::rfc3339(milliseconds).into())]))
}

/// Whether a value is true where a condition is wanted: all but false, null and zero are.
pub(crate) fn is_truthy(value: Option<&Json>) -> bool {
    match value.map(Typed::of) {
        None | Some(Typed::Null) => false,
        Some(Typed::Bool(flag)) => flag,
        Some(Typed::Number(number)) => !number.is_zero(),
        Some(_) => true,
    }
}

/// The object that a value is, unless it is a tagged value.
pub(crate) fn as_object(value: &Json) -> Option<&Fields> {
    match Typed::of(value) {
        Typed::Object(fields) => Some(fields),
        _ => None,
    }
}

/// What a value takes of memory beside its text.
const NODE: usize = 48;

/// Roughly what a value takes of memory, in bytes.
pub(crate) fn size(value: &Json) -> usize {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => NODE,
        Json::String(text) => NODE + text.len(),
        Json::Array(items) => NODE + items.iter().map(size).sum::<usize>(),
        Json::Object(fields) => size_of_fields(fields),
    }
}

/// The same of an object.
pub(crate) fn size_of_fields(fields: &Fields) -> usize {
    NODE + fields.iter().map(|(name, value)| NODE + name.len() + size(value)).sum::<usize>()
}
