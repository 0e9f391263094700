//! Arrays and objects.

use std::cmp::Ordering;

use common::{Error, Result};
use serde_json::{Map, Value as Json, json};

use super::VALUE_MAX;
use super::arithmetic::number;
use super::operators::{Answer, Values};
use crate::documents::find::sort::Order;
use crate::documents::place::Place;
use crate::documents::value::order::equal;
use crate::documents::value::{Typed, as_object};

/// Most elements of a range.
const RANGE_MAX: usize = 1_000_000;

fn value<'a>(values: Values<'a>, index: usize) -> Option<&'a Json> {
    values.get(index).and_then(Option::as_ref).filter(|value| !value.is_null())
}

/// An array; `None` for null and for nothing.
pub(super) fn array<'a>(values: Values<'a>, index: usize) -> Result<Option<&'a [Json]>> {
    match value(values, index) {
        None => Ok(None),
        Some(Json::Array(items)) => Ok(Some(items)),
        Some(other) => Err(Error::bad_request(format!(
            "an array is wanted, not a value of the type {}",
            Typed::of(other).name()
        ))),
    }
}

fn whole(value: Option<&Json>) -> Result<i64> {
    let found = number(value)?.and_then(|number| number.whole());
    found.ok_or_else(|| Error::bad_request("a whole number is wanted"))
}

/// A number of elements.
pub(super) fn count(value: Option<&Json>, what: &str) -> Result<usize> {
    let found = number(value)?.and_then(|number| number.whole());
    let found = found.and_then(|number| usize::try_from(number).ok()).filter(|number| *number > 0);
    found.ok_or_else(|| Error::bad_request(format!("{what} is a whole number of at least 1")))
}

pub(super) fn size(values: Values<'_>) -> Answer {
    let items = array(values, 0)?.ok_or_else(|| Error::bad_request("an array is wanted, not null"))?;
    Ok(Some(items.len().into()))
}

pub(super) fn is_array(values: Values<'_>) -> Answer {
    Ok(Some(matches!(values, [Some(Json::Array(_))]).into()))
}

/// An index from the front, or a negative one from the end.
fn element(items: &[Json], index: i64) -> Option<Json> {
    let from_front = if index < 0 { index.checked_add(i64::try_from(items.len()).ok()?)? } else { index };
    items.get(usize::try_from(from_front).ok()?).cloned()
}

pub(super) fn element_at(values: Values<'_>) -> Answer {
    match (array(values, 0)?, value(values, 1)) {
        (Some(items), Some(index)) => Ok(element(items, whole(Some(index))?)),
        _ => Ok(Some(Json::Null)),
    }
}

pub(super) fn first(values: Values<'_>) -> Answer {
    Ok(array(values, 0)?.map_or(Some(Json::Null), |items| items.first().cloned()))
}

pub(super) fn last(values: Values<'_>) -> Answer {
    Ok(array(values, 0)?.map_or(Some(Json::Null), |items| items.last().cloned()))
}

pub(super) fn contains(values: Values<'_>) -> Answer {
    let items = array(values, 1)?.ok_or_else(|| Error::bad_request("an array is wanted, not null"))?;
    let found = values[0].as_ref().is_some_and(|wanted| items.iter().any(|item| equal(item, wanted)));
    Ok(Some(found.into()))
}

pub(super) fn index_of(values: Values<'_>) -> Answer {
    let Some(items) = array(values, 0)? else { return Ok(Some(Json::Null)) };
    let bound = |index: usize, absent: usize| match value(values, index) {
        None => Ok(absent),
        given => usize::try_from(whole(given)?).map_err(|_| Error::bad_request("positions are not negative")),
    };
    let (from, end) = (bound(2, 0)?.min(items.len()), bound(3, items.len())?.min(items.len()));
    let wanted = values[1].as_ref();
    let found = (from..end).find(|&index| wanted.is_some_and(|wanted| equal(&items[index], wanted)));
    Ok(Some(found.map_or(json!(-1), Json::from)))
}

pub(super) fn concatenate(values: Values<'_>) -> Answer {
    let mut whole = Vec::new();
    for index in 0..values.len() {
        match array(values, index)? {
            None => return Ok(Some(Json::Null)),
            Some(items) => whole.extend_from_slice(items),
        }
    }
    Ok(Some(Json::Array(whole)))
}

pub(super) fn reverse(values: Values<'_>) -> Answer {
    Ok(Some(array(values, 0)?.map_or(Json::Null, |items| Json::Array(items.iter().rev().cloned().collect()))))
}

/// The part of an array that `$slice` means: the first or, negative, the last so many, or so many from a position.
pub(crate) fn sliced(items: &[Json], from: Option<i64>, count: i64) -> Vec<Json> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let (start, end) = match from {
        None if count >= 0 => (0, count.min(length)),
        None => (length.saturating_add(count).max(0), length),
        Some(from) => {
            let start = if from < 0 { length.saturating_add(from).max(0) } else { from.min(length) };
            (start, start.saturating_add(count).min(length))
        }
    };
    let index = |position: i64| usize::try_from(position).unwrap_or(0);
    items.get(index(start)..index(end)).unwrap_or_default().to_vec()
}

pub(super) fn slice(values: Values<'_>) -> Answer {
    let (Some(items), Some(second)) = (array(values, 0)?, value(values, 1)) else {
        return Ok(Some(Json::Null));
    };
    if values.len() == 2 {
        return Ok(Some(Json::Array(sliced(items, None, whole(Some(second))?))));
    }
    let Some(third) = value(values, 2) else { return Ok(Some(Json::Null)) };
    let count = count(Some(third), "the number of elements")?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    Ok(Some(Json::Array(sliced(items, Some(whole(Some(second))?), count))))
}

pub(super) fn range(values: Values<'_>) -> Answer {
    let (from, end) = (whole(value(values, 0))?, whole(value(values, 1))?);
    let step = if values.len() > 2 { whole(value(values, 2))? } else { 1 };
    if step == 0 {
        return Err(Error::bad_request("the step cannot be 0"));
    }
    let mut numbers = Vec::new();
    let mut next = Some(from);
    while let Some(number) = next.filter(|number| if step > 0 { *number < end } else { *number > end }) {
        if numbers.len() >= RANGE_MAX {
            return Err(Error::bad_request(format!("the range has more than {RANGE_MAX} numbers")));
        }
        numbers.push(Json::from(number));
        next = number.checked_add(step);
    }
    Ok(Some(Json::Array(numbers)))
}

/// By 1 or -1, or by fields.
pub(super) fn sort(values: Values<'_>) -> Answer {
    let Some(items) = array(values, 0)? else { return Ok(Some(Json::Null)) };
    let by = values[1].as_ref().ok_or_else(|| Error::bad_request("'sortBy' is missing"))?;
    let order = ElementOrder::parse(by, &Place::root("sortBy"))?;
    let mut sorted = items.to_vec();
    sorted.sort_by(|left, right| order.compare(left, right));
    Ok(Some(Json::Array(sorted)))
}

/// An order of elements: of whole values, or by fields of objects.
#[derive(Clone, Debug)]
pub(crate) enum ElementOrder {
    Whole { descending: bool },
    Fields(Order),
}

impl ElementOrder {
    /// Reads 1, -1, or an object of fields with these.
    pub(crate) fn parse(json: &Json, place: &Place<'_>) -> Result<ElementOrder> {
        match json {
            Json::Object(_) => Order::parse(Some(json), place).map(ElementOrder::Fields),
            other => match other.as_f64() {
                Some(1.0) => Ok(ElementOrder::Whole { descending: false }),
                Some(-1.0) => Ok(ElementOrder::Whole { descending: true }),
                _ => Err(place.wrong("an order is 1, -1, or an object of fields with these")),
            },
        }
    }

    /// Compares two elements.
    pub(crate) fn compare(&self, left: &Json, right: &Json) -> Ordering {
        match self {
            ElementOrder::Whole { descending } => {
                let order = crate::documents::value::order::compare(left, right);
                if *descending { order.reverse() } else { order }
            }
            ElementOrder::Fields(order) => {
                let none = Map::new();
                let key = |value| order.key(as_object(value).unwrap_or(&none));
                order.compare_keys(&key(left), &key(right))
            }
        }
    }
}

pub(super) fn of_object(values: Values<'_>) -> Answer {
    match value(values, 0).map(|value| (value, as_object(value))) {
        None => Ok(Some(Json::Null)),
        Some((_, Some(fields))) => {
            Ok(Some(Json::Array(fields.iter().map(|(name, value)| json!({"k": name, "v": value})).collect())))
        }
        Some(_) => Err(Error::bad_request("an object is wanted")),
    }
}

/// Of pairs `[name, value]` or objects `{"k": name, "v": value}`.
pub(super) fn to_object(values: Values<'_>) -> Answer {
    let Some(items) = array(values, 0)? else { return Ok(Some(Json::Null)) };
    let wrong = || Error::bad_request("pairs of a name and a value are wanted");
    let mut fields = Map::new();
    for item in items {
        let (name, value) = match item {
            Json::Array(pair) => match pair.as_slice() {
                [Json::String(name), value] => (name, value),
                _ => return Err(wrong()),
            },
            Json::Object(pair) => match (pair.get("k"), pair.get("v")) {
                (Some(Json::String(name)), Some(value)) => (name, value),
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        fields.insert(name.clone(), value.clone());
    }
    Ok(Some(Json::Object(fields)))
}

pub(super) fn merge_objects(values: Values<'_>) -> Answer {
    let mut merged = Map::new();
    for value in super::arithmetic::spread(values).into_iter().filter(|value| !value.is_null()) {
        let fields = as_object(value).ok_or_else(|| Error::bad_request("objects are wanted"))?;
        merged.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    Ok(Some(Json::Object(merged)))
}

pub(super) fn field(values: Values<'_>) -> Answer {
    let [Some(Json::String(name)), input] = values else {
        return Err(Error::bad_request("'field' is a string"));
    };
    match input {
        None | Some(Json::Null) => Ok(input.clone()),
        Some(input) => Ok(as_object(input).and_then(|fields| fields.get(name)).cloned()),
    }
}

pub(super) fn set_field(values: Values<'_>) -> Answer {
    let [Some(Json::String(name)), input, value] = values else {
        return Err(Error::bad_request("'field' is a string"));
    };
    let Some(fields) = input.as_ref().filter(|input| !input.is_null()) else { return Ok(Some(Json::Null)) };
    let mut fields = as_object(fields).cloned().ok_or_else(|| Error::bad_request("'input' is an object"))?;
    match value {
        Some(value) => fields.insert(name.clone(), value.clone()),
        None => fields.shift_remove(name),
    };
    Ok(Some(Json::Object(fields)))
}

pub(super) fn unset_field(values: Values<'_>) -> Answer {
    let [name, input] = values else { return Ok(None) };
    set_field(&[name.clone(), input.clone(), None])
}

const _: () = assert!(RANGE_MAX * 64 <= VALUE_MAX, "a range stays within what an expression may make");
