//! Texts. Positions count characters (code points) where a name ends in `CP`, else bytes of UTF-8.

use common::{Error, Result};
use serde_json::{Value as Json, json};

use super::arithmetic::number;
use super::operators::{Answer, Values};
use super::{VALUE_MAX, too_large};
use crate::documents::filter::pattern::{FittingPlace, Pattern};
use crate::documents::place::Place;
use crate::documents::value::{Typed, size};

fn value<'a>(values: Values<'a>, index: usize) -> Option<&'a Json> {
    values.get(index).and_then(Option::as_ref).filter(|value| !value.is_null())
}

/// A text; `None` for null and for nothing.
fn text<'a>(values: Values<'a>, index: usize) -> Result<Option<&'a str>> {
    match value(values, index) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(Error::bad_request(format!(
            "a string is wanted, not a value of the type {}",
            Typed::of(other).name()
        ))),
    }
}

/// A text that must be there.
fn required<'a>(values: Values<'a>, index: usize) -> Result<&'a str> {
    text(values, index)?.ok_or_else(|| Error::bad_request("a string is wanted, not null"))
}

/// A position or a length.
fn position(values: Values<'_>, index: usize, absent: i64) -> Result<i64> {
    match number(value(values, index))? {
        None => Ok(absent),
        Some(number) => number.whole().ok_or_else(|| Error::bad_request("a whole number is wanted")),
    }
}

/// What numbers, dates and texts read like; nothing reads like the empty text.
fn shown(values: Values<'_>) -> Result<String> {
    match value(values, 0) {
        None => Ok(String::new()),
        Some(other) => super::conversion::text_of(other),
    }
}

pub(super) fn concatenate(values: Values<'_>) -> Answer {
    let mut whole = String::new();
    for index in 0..values.len() {
        match text(values, index)? {
            None => return Ok(Some(Json::Null)),
            Some(part) => whole.push_str(part),
        }
    }
    Ok(Some(whole.into()))
}

pub(super) fn upper(values: Values<'_>) -> Answer {
    Ok(Some(shown(values)?.to_ascii_uppercase().into()))
}

pub(super) fn lower(values: Values<'_>) -> Answer {
    Ok(Some(shown(values)?.to_ascii_lowercase().into()))
}

pub(super) fn compare_letters(values: Values<'_>) -> Answer {
    let folded = |index: usize| shown(&values[index..]).map(|text| text.to_ascii_lowercase());
    Ok(Some((folded(0)?.cmp(&folded(1)?) as i64).into()))
}

pub(super) fn length(values: Values<'_>) -> Answer {
    Ok(Some(required(values, 0)?.chars().count().into()))
}

pub(super) fn length_in_bytes(values: Values<'_>) -> Answer {
    Ok(Some(required(values, 0)?.len().into()))
}

pub(super) fn substring(values: Values<'_>) -> Answer {
    let (text, from, count) = (shown(values)?, position(values, 1, 0)?, position(values, 2, 0)?);
    let (Ok(from), Ok(count)) = (usize::try_from(from), usize::try_from(count)) else {
        return Err(Error::bad_request("positions and lengths are not negative"));
    };
    Ok(Some(text.chars().skip(from).take(count).collect::<String>().into()))
}

/// A negative length reaches to the end.
pub(super) fn substring_of_bytes(values: Values<'_>) -> Answer {
    let (text, from, count) = (shown(values)?, position(values, 1, 0)?, position(values, 2, 0)?);
    let Ok(from) = usize::try_from(from) else { return Ok(Some("".into())) };
    let from = from.min(text.len());
    let end = usize::try_from(count).map_or(text.len(), |count| from.saturating_add(count).min(text.len()));
    let part = text.get(from..end);
    part.map(|part| Some(part.into())).ok_or_else(|| Error::bad_request("a position lies within a character"))
}

pub(super) fn index_of_bytes(values: Values<'_>) -> Answer {
    let Some(text) = text(values, 0)? else { return Ok(Some(Json::Null)) };
    let wanted = required(values, 1)?.as_bytes();
    let (from, end) = bounds(values, text.len())?;
    let found = (from..=end).find(|&start| text.as_bytes()[start..end].starts_with(wanted));
    Ok(Some(found.map_or(json!(-1), Json::from)))
}

/// Where a search in so much text begins and ends.
fn bounds(values: Values<'_>, length: usize) -> Result<(usize, usize)> {
    let bound = |index, absent: usize| -> Result<usize> {
        let given = position(values, index, i64::try_from(absent).unwrap_or(i64::MAX))?;
        usize::try_from(given).map_err(|_| Error::bad_request("positions are not negative"))
    };
    Ok((bound(2, 0)?, bound(3, length)?.min(length)))
}

pub(super) fn index_of(values: Values<'_>) -> Answer {
    let Some(text) = text(values, 0)? else { return Ok(Some(Json::Null)) };
    let wanted = required(values, 1)?;
    let characters: Vec<char> = text.chars().collect();
    let wanted: Vec<char> = wanted.chars().collect();
    let (from, end) = bounds(values, characters.len())?;
    let found = (from..=end)
        .find(|&start| start + wanted.len() <= end && characters[start..start + wanted.len()] == wanted[..]);
    Ok(Some(found.map_or(json!(-1), Json::from)))
}

pub(super) fn split(values: Values<'_>) -> Answer {
    let (Some(text), Some(separator)) = (text(values, 0)?, text(values, 1)?) else {
        return Ok(Some(Json::Null));
    };
    if separator.is_empty() {
        return Err(Error::bad_request("the separator is empty"));
    }
    Ok(Some(text.split(separator).collect::<Vec<_>>().into()))
}

fn trimmed(values: Values<'_>, trim: for<'t> fn(&'t str, &dyn Fn(char) -> bool) -> &'t str) -> Answer {
    let Some(input) = text(values, 0)? else { return Ok(Some(Json::Null)) };
    let characters = text(values, 1)?;
    let is_trimmed = |character: char| match characters {
        Some(characters) => characters.contains(character),
        None => character.is_whitespace() || character == '\0',
    };
    Ok(Some(trim(input, &is_trimmed).into()))
}

pub(super) fn trim(values: Values<'_>) -> Answer {
    trimmed(values, |text, is_trimmed| text.trim_matches(is_trimmed))
}

pub(super) fn trim_left(values: Values<'_>) -> Answer {
    trimmed(values, |text, is_trimmed| text.trim_start_matches(is_trimmed))
}

pub(super) fn trim_right(values: Values<'_>) -> Answer {
    trimmed(values, |text, is_trimmed| text.trim_end_matches(is_trimmed))
}

fn replaced(values: Values<'_>, replace: fn(&str, &str, &str) -> String) -> Answer {
    let (Some(input), Some(find), Some(replacement)) = (text(values, 0)?, text(values, 1)?, text(values, 2)?)
    else {
        return Ok(Some(Json::Null));
    };
    Ok(Some(replace(input, find, replacement).into()))
}

pub(super) fn replace_one(values: Values<'_>) -> Answer {
    replaced(values, |text, find, replacement| text.replacen(find, replacement, 1))
}

pub(super) fn replace_all(values: Values<'_>) -> Answer {
    // An empty text is found between all characters; that multiplies the length only by what is put there.
    replaced(values, |text, find, replacement| text.replace(find, replacement))
}

/// The text to be searched, if it is there, and what for: `input`, `regex`, `options`.
fn search<'v>(values: Values<'v>) -> Result<Option<(&'v str, Pattern)>> {
    let (input, Some(regex)) = (text(values, 0)?, text(values, 1)?) else { return Ok(None) };
    let pattern = Pattern::new(regex, text(values, 2)?.unwrap_or(""), &Place::root("regex"))?;
    Ok(input.map(|input| (input, pattern)))
}

pub(super) fn regex_match(values: Values<'_>) -> Answer {
    Ok(Some(search(values)?.is_some_and(|(input, pattern)| pattern.fits(input)).into()))
}

/// The first place that fits: `match`, `idx` in characters, and what the groups hold, or null.
pub(super) fn regex_find(values: Values<'_>) -> Answer {
    let found = search(values)?.and_then(|(input, pattern)| pattern.places(input).next());
    Ok(Some(found.map_or(Json::Null, shown_place)))
}

pub(super) fn regex_find_all(values: Values<'_>) -> Answer {
    let Some((input, pattern)) = search(values)? else { return Ok(Some(json!([]))) };
    let (mut found, mut held) = (Vec::new(), 0);
    for place in pattern.places(input) {
        let place = shown_place(place);
        held += size(&place);
        if held > VALUE_MAX {
            return Err(too_large());
        }
        found.push(place);
    }
    Ok(Some(Json::Array(found)))
}

fn shown_place(place: FittingPlace<'_>) -> Json {
    json!({ "match": place.text, "idx": place.start, "captures": place.groups })
}
