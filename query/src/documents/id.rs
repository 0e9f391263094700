//! Ids of documents: integers and texts, given or made.

use common::{Error, Result, Value};
use serde_json::{Map, Value as Json};

use crate::moment::Moment;

/// Crockford's base 32: sorts as it counts, and leaves out letters that look like digits.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// An id of 26 characters that sorts by time, then by `number` within the request, then by chance
/// (<https://github.com/ulid/spec>: 48 bits of milliseconds, 80 of randomness).
pub(crate) fn generate(moment: Moment, number: usize) -> String {
    // Counting up from the request's random bits keeps the order of its documents; the highest bit is
    // cleared so that the count cannot wrap.
    let chance = (moment.random & ((1 << 79) - 1)).wrapping_add(number as u128);
    let bits = (u128::from(moment.now_ms & 0xffff_ffff_ffff) << 80) | (chance & ((1 << 80) - 1));
    (0..26).map(|digit| char::from(DIGITS[(bits >> (125 - 5 * digit) & 31) as usize])).collect()
}

/// The id in a path: digits are an integer, quoted digits a text, anything else a text.
pub(crate) fn of_path(path: &str) -> Result<Value> {
    let unsigned = path.strip_prefix('-').unwrap_or(path);
    if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = path.parse().map_err(|_| {
            Error::bad_request(format!("{path} does not fit in a 64-bit integer"))
                .with_hint("put the id in double quotes if it is a text")
        })?;
        return Ok(Value::Integer(number));
    }
    let quoted = path.len() >= 2 && path.starts_with('"') && path.ends_with('"');
    Ok(Value::Text(if quoted { path[1..path.len() - 1].to_owned() } else { path.to_owned() }))
}

/// The `_id` that a document brings along.
pub(crate) fn of_document(document: &Map<String, Json>) -> Result<Option<Value>> {
    match document.get("_id") {
        None => Ok(None),
        Some(id) => of_json(id).map(Some),
    }
}

/// An id as JSON gives it.
pub(crate) fn of_json(id: &Json) -> Result<Value> {
    match id {
        Json::String(text) => Ok(Value::Text(text.clone())),
        Json::Number(number) if number.is_i64() => Ok(Value::Integer(number.as_i64().unwrap_or_default())),
        other => {
            let found = common::json::kind_of(other);
            Err(Error::bad_request(format!("_id must be an integer or a text, not {found} (at /_id)")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ids_sort_by_time_and_number() {
        let at = |now_ms, random, number| generate(Moment { now_ms, random }, number);
        assert_eq!(at(0, 0, 0), "0".repeat(26));
        let ids = [at(1, u128::MAX, 0), at(1, u128::MAX, 1), at(2, 0, 0), at(1_800_000_000_000, 5, 0)];
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        assert!(ids.iter().all(|id| id.len() == 26));
    }

    #[test]
    fn digits_are_an_integer_unless_quoted() {
        assert_eq!(of_path("42").unwrap(), Value::Integer(42));
        assert_eq!(of_path("\"42\"").unwrap(), Value::Text("42".into()));
        assert_eq!(of_path("a42").unwrap(), Value::Text("a42".into()));
        assert!(of_path("99999999999999999999").is_err());
    }
}
