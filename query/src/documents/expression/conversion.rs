//! Types, and values of one type made from values of another.

use common::{Error, Result};
use serde_json::Value as Json;

use super::operators::{Answer, Values};
use crate::documents::value::number::{self, Numeric};
use crate::documents::value::{self, Typed, timestamp};

fn first<'a>(values: Values<'a>) -> Option<&'a Json> {
    values.first().and_then(Option::as_ref)
}

pub(super) fn type_of(values: Values<'_>) -> Answer {
    Ok(Some(first(values).map_or("missing", |value| Typed::of(value).name()).into()))
}

pub(super) fn is_number(values: Values<'_>) -> Answer {
    Ok(Some(matches!(first(values).map(Typed::of), Some(Typed::Number(_))).into()))
}

/// What a scalar reads like.
pub(super) fn text_of(value: &Json) -> Result<String> {
    match Typed::of(value) {
        Typed::Text(text) | Typed::ObjectId(text) => Ok(text.to_owned()),
        Typed::Bool(flag) => Ok(flag.to_string()),
        Typed::Number(Numeric::Real(number)) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Ok(format!("{number}"))
        }
        Typed::Number(Numeric::Decimal(_)) => {
            Ok(value[value::DECIMAL].as_str().unwrap_or_default().to_owned())
        }
        Typed::Number(_) => Ok(value.to_string()),
        Typed::Date(milliseconds) => Ok(timestamp::rfc3339(milliseconds)),
        other => Err(impossible(&other, "string")),
    }
}

fn impossible(value: &Typed<'_>, wanted: &str) -> Error {
    Error::bad_request(format!("a value of the type {} cannot become a {wanted}", value.name()))
}

/// A value of another type; null stays null.
fn converted(values: Values<'_>, convert: fn(&Json) -> Answer) -> Answer {
    match first(values) {
        None | Some(Json::Null) => Ok(Some(Json::Null)),
        Some(value) => convert(value),
    }
}

fn string(value: &Json) -> Answer {
    text_of(value).map(|text| Some(text.into()))
}

fn boolean(value: &Json) -> Answer {
    Ok(Some(value::is_truthy(Some(value)).into()))
}

fn long(value: &Json) -> Answer {
    integer(value, "long").map(|number| Some(number.into()))
}

fn int(value: &Json) -> Answer {
    let number = integer(value, "int")?;
    match i32::try_from(number) {
        Ok(number) => Ok(Some(number.into())),
        Err(_) => Err(Error::bad_request(format!("{number} has more than 32 bits"))),
    }
}

fn integer(value: &Json, wanted: &str) -> Result<i64> {
    let typed = Typed::of(value);
    let found = match &typed {
        Typed::Bool(flag) => Some(i64::from(*flag)),
        Typed::Number(number) => number.truncated(),
        Typed::Text(text) => text.parse().ok(),
        Typed::Date(milliseconds) => Some(*milliseconds),
        _ => None,
    };
    found.ok_or_else(|| impossible(&typed, wanted))
}

fn double(value: &Json) -> Answer {
    let typed = Typed::of(value);
    let found = match &typed {
        Typed::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Typed::Number(Numeric::Decimal(_)) => text_of(value)?.parse().ok(),
        Typed::Number(number) => number.as_real(),
        Typed::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
            text.parse().ok()
        }
        Typed::Date(milliseconds) => Numeric::Integer(*milliseconds).as_real(),
        _ => None,
    };
    found.and_then(number::real).map(Some).ok_or_else(|| impossible(&typed, "double"))
}

fn date(value: &Json) -> Answer {
    let typed = Typed::of(value);
    let found = match &typed {
        Typed::Date(milliseconds) => Some(*milliseconds),
        Typed::Number(number) => number.truncated(),
        Typed::Text(text) => timestamp::parse(text),
        // The first four bytes of an id are the second in which it was made.
        Typed::ObjectId(id) => {
            id.get(..8).and_then(|digits| i64::from_str_radix(digits, 16).ok()).map(|seconds| seconds * 1_000)
        }
        _ => None,
    };
    let found = found.filter(|milliseconds| timestamp::is_in_range(*milliseconds));
    found.map(|milliseconds| Some(value::date(milliseconds))).ok_or_else(|| impossible(&typed, "date"))
}

pub(super) fn to_string(values: Values<'_>) -> Answer {
    converted(values, string)
}

pub(super) fn to_bool(values: Values<'_>) -> Answer {
    converted(values, boolean)
}

pub(super) fn to_int(values: Values<'_>) -> Answer {
    converted(values, int)
}

pub(super) fn to_long(values: Values<'_>) -> Answer {
    converted(values, long)
}

pub(super) fn to_double(values: Values<'_>) -> Answer {
    converted(values, double)
}

pub(super) fn to_date(values: Values<'_>) -> Answer {
    converted(values, date)
}

/// `input`, `to`, `onError`, `onNull`.
pub(super) fn convert(values: Values<'_>) -> Answer {
    let convert = match values.get(1).and_then(Option::as_ref) {
        Some(Json::String(name)) => match name.as_str() {
            "string" => string,
            "bool" => boolean,
            "int" => int,
            "long" => long,
            "double" => double,
            "date" => date,
            other => return Err(Error::bad_request(format!("'{other}' is no type to convert to"))),
        },
        _ => return Err(Error::bad_request("'to' is the name of a type")),
    };
    let other = |index: usize| values.get(index).and_then(Option::as_ref).cloned();
    match first(values) {
        None | Some(Json::Null) => Ok(Some(other(3).unwrap_or_default())),
        Some(value) => match (convert(value), other(2)) {
            (Err(_), Some(instead)) => Ok(Some(instead)),
            (converted, _) => converted,
        },
    }
}
