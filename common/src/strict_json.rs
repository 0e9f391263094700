//! JSON as requests bring it, read more strictly than JSON demands: what two readers could understand
//! differently is refused, because another reader (SQLite's JSON functions) will read the same text later.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

use crate::limits::JSON_DEPTH_MAX;
use crate::{Error, ErrorCode, Result};

/// Reads one JSON value. A key named twice, nesting beyond [`JSON_DEPTH_MAX`] and an integer that does not
/// fit in 64 signed bits are errors of their own.
pub fn parse(text: &[u8]) -> Result<Json> {
    let refusal = RefCell::new(None::<Refusal>);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let parsed = Strict { depth: 0, refusal: &refusal }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match (parsed, refusal.into_inner()) {
        (_, Some(refused)) => Err(refused.told()),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(Error::bad_request(format!("the body is not valid JSON: {error}"))),
    }
}

/// Longest pointer that is shown, in characters.
const POINTER_SHOWN: usize = 200;

/// Why a text is refused, and where: names and positions from within outwards.
struct Refusal {
    error: Error,
    within: Vec<String>,
}

impl Refusal {
    /// The error with a JSON pointer (RFC 6901).
    fn told(self) -> Error {
        let step = |name: &String| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        let pointer: String = self.within.iter().rev().map(step).collect();
        if pointer.is_empty() {
            return self.error;
        }
        let shown: String = pointer.chars().take(POINTER_SHOWN).collect();
        Error { message: format!("{} (at {shown})", self.error.message), ..self.error }
    }
}

/// Reads a value at a depth; the reason of a refusal is left in `refusal`, since serde's errors are texts.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    refusal: &'a RefCell<Option<Refusal>>,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(self, error: Error) -> E {
        *self.refusal.borrow_mut() = Some(Refusal { error, within: Vec::new() });
        E::custom("refused")
    }

    /// Notes that what was refused lies within a field or an item.
    fn note(self, name: impl fmt::Display) {
        if let Some(refusal) = self.refusal.borrow_mut().as_mut() {
            refusal.within.push(name.to_string());
        }
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            let message = format!("JSON is nested deeper than {JSON_DEPTH_MAX} levels");
            return Err(self.refuse(Error::new(ErrorCode::JsonTooDeep, message)));
        }
        Ok(Strict { depth: self.depth + 1, ..self })
    }

    fn integer_too_large<E: serde::de::Error>(self, number: impl fmt::Display) -> E {
        self.refuse(
            Error::bad_request(format!("{number} does not fit in a 64-bit signed integer"))
                .with_hint("send it as text, or as a real with a decimal point"),
        )
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Integers from here on reach a visitor as floats; see [`Strict::visit_f64`].
const INTEGERS_END: f64 = 9_223_372_036_854_775_808.0;

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::from(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Json, E> {
        match i64::try_from(number) {
            Ok(number) => Ok(Json::from(number)),
            Err(_) => Err(self.integer_too_large(number)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Json, E> {
        // serde_json rounds integers of more than 64 bits to floats before anyone sees them. A float of
        // that size written with a point or an exponent is told apart by `has_oversized_integer`.
        Number::from_f64(number)
            .map(Json::Number)
            .ok_or_else(|| E::custom("a number beyond the range of a 64-bit float"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner).inspect_err(|_| self.note(array.len()))? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let message = format!("the key {key:?} occurs twice in one object");
                let refused = self.refuse(Error::new(ErrorCode::DuplicateKey, message));
                self.note(&key);
                return Err(refused);
            }
            let value = entries.next_value_seed(inner).inspect_err(|_| self.note(&key))?;
            object.insert(key, value);
        }
        Ok(Json::Object(object))
    }
}

/// Reads a request's body: [`parse`], and the look at the text that finds integers rounded on the way.
pub fn parse_body(text: &[u8]) -> Result<Json> {
    let value = parse(text)?;
    if has_large_real(&value)
        && let Some(literal) = oversized_integer(text)
    {
        return Err(Error::bad_request(format!("{literal} does not fit in a 64-bit signed integer"))
            .with_hint("send it as text, or as a real with a decimal point"));
    }
    Ok(value)
}

/// Whether a `Content-Type` declares JSON in UTF-8. A page of another site can send forms and plain text without
/// asking, but not this type; so nothing else is taken for JSON.
#[must_use]
pub fn is_declared(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    is_json && is_utf8
}

fn has_large_real(value: &Json) -> bool {
    match value {
        Json::Number(number) => {
            number.is_f64() && number.as_f64().is_some_and(|real| real.abs() >= INTEGERS_END)
        }
        Json::Array(items) => items.iter().any(has_large_real),
        Json::Object(entries) => entries.values().any(has_large_real),
        _ => false,
    }
}

/// The first number of valid JSON text that is written as an integer and has no place in 64 signed bits.
fn oversized_integer(text: &[u8]) -> Option<&str> {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => at = end_of_string(text, at + 1),
            b'-' | b'0'..=b'9' => {
                let length = text[at..]
                    .iter()
                    .take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                    .count();
                let literal = std::str::from_utf8(&text[at..at + length]).unwrap_or("0");
                if !literal.contains(['.', 'e', 'E']) && literal.parse::<i64>().is_err() {
                    return Some(literal);
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

/// Position behind the closing quote of the string whose text begins at `at`.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<ErrorCode> {
        parse_body(text.as_bytes()).err().map(|error| error.code)
    }

    #[test]
    fn ordinary_json_is_read_as_it_is() {
        let text = r#"{"a":[1,-2,1.5,"x\"y",true,null],"b":{"a":{}}}"#;
        let expected: Json = serde_json::from_str(text).unwrap();
        assert_eq!(parse_body(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn a_key_named_twice_is_refused_at_every_level() {
        assert_eq!(code(r#"{"role":"user","role":"admin"}"#), Some(ErrorCode::DuplicateKey));
        assert_eq!(code(r#"[{"a":{"b":1,"\u0062":2}}]"#), Some(ErrorCode::DuplicateKey));
        assert_eq!(code(r#"[{"a":1},{"a":2}]"#), None);
    }

    #[test]
    fn a_refusal_points_at_its_place() {
        let told = |text: &str| parse(text.as_bytes()).unwrap_err().message;
        assert!(told(r#"{"a/b":[1,{"c":1,"c":2}]}"#).ends_with(" (at /a~1b/1/c)"));
        assert!(told(r#"{"n":9223372036854775808}"#).ends_with(" (at /n)"));
        let deep = format!("{{\"d\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        assert!(told(&deep).contains(" (at /d/0/0/"), "{}", told(&deep));
        assert!(!told("9223372036854775808").contains("(at"));
    }

    #[test]
    fn nesting_has_one_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(code(&nested(JSON_DEPTH_MAX)), None);
        assert_eq!(code(&nested(JSON_DEPTH_MAX + 1)), Some(ErrorCode::JsonTooDeep));
        assert_eq!(code(&nested(5_000)), Some(ErrorCode::JsonTooDeep));
    }

    #[test]
    fn integers_are_exact_or_refused() {
        assert_eq!(code("[9223372036854775807,-9223372036854775808]"), None);
        for text in ["9223372036854775808", "-9223372036854775809", "[1,18446744073709551616]"] {
            assert_eq!(code(text), Some(ErrorCode::BadRequest), "{text}");
        }
        assert_eq!(code(r#"[1e30, 18446744073709551616.0, "18446744073709551616"]"#), None);
    }

    #[test]
    fn json_is_taken_and_what_a_form_can_send_is_not() {
        for good in
            ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert!(is_declared(good), "{good}");
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", ""]
        {
            assert!(!is_declared(bad), "{bad}");
        }
    }

    #[test]
    fn broken_json_is_a_bad_request() {
        for text in ["", "{", "[1,]", "{} x", "nul", r#""\ud800""#, "\u{feff}{}"] {
            assert_eq!(code(text), Some(ErrorCode::BadRequest), "{text:?}");
        }
    }
}
