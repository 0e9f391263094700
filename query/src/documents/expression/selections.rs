//! Some elements of arrays: the first, the last, the least, the greatest; and elements of several arrays side by side.

use std::cmp::Ordering;

use common::{Error, Result};
use serde_json::Value as Json;

use super::arrays::{array, count};
use super::operators::{Answer, Values};
use crate::documents::value::order::compare;

/// `n` and `input`, which must be an array.
fn operands<'v>(values: Values<'v>) -> Result<(usize, &'v [Json])> {
    let count = count(values[0].as_ref(), "'n'")?;
    let items = array(values, 1)?.ok_or_else(|| Error::bad_request("'input' is an array"))?;
    Ok((count, items))
}

pub(super) fn first(values: Values<'_>) -> Answer {
    let (count, items) = operands(values)?;
    Ok(Some(Json::Array(items[..count.min(items.len())].to_vec())))
}

pub(super) fn last(values: Values<'_>) -> Answer {
    let (count, items) = operands(values)?;
    Ok(Some(Json::Array(items[items.len() - count.min(items.len())..].to_vec())))
}

/// Without nulls, the least in front.
pub(super) fn least(values: Values<'_>) -> Answer {
    foremost(values, compare)
}

/// Without nulls, the greatest in front.
pub(super) fn greatest(values: Values<'_>) -> Answer {
    foremost(values, |left, right| compare(right, left))
}

fn foremost(values: Values<'_>, order: impl Fn(&Json, &Json) -> Ordering) -> Answer {
    let (count, items) = operands(values)?;
    let mut sorted: Vec<Json> = items.iter().filter(|item| !item.is_null()).cloned().collect();
    sorted.sort_by(order);
    sorted.truncate(count);
    Ok(Some(Json::Array(sorted)))
}

/// `inputs`, `useLongestLength`, `defaults`: an array of the first elements, one of the second ones, and so on.
pub(super) fn zip(values: Values<'_>) -> Answer {
    let inputs = array(values, 0)?.ok_or_else(|| Error::bad_request("'inputs' is an array of arrays"))?;
    if inputs.is_empty() {
        return Err(Error::bad_request("'inputs' is an array of at least one array"));
    }
    let is_longest = match &values[1] {
        None => false,
        Some(Json::Bool(flag)) => *flag,
        Some(_) => return Err(Error::bad_request("'useLongestLength' is true or false")),
    };
    let defaults = array(values, 2)?;
    if defaults.is_some_and(|defaults| !is_longest || defaults.len() != inputs.len()) {
        return Err(Error::bad_request(
            "'defaults' has an element for each of 'inputs', and needs \"useLongestLength\": true",
        ));
    }
    if inputs.iter().any(Json::is_null) {
        return Ok(Some(Json::Null));
    }
    let arrays =
        inputs.iter().map(|input| input.as_array().ok_or_else(|| Error::bad_request("'inputs' are arrays")));
    let arrays = arrays.collect::<Result<Vec<&Vec<Json>>>>()?;
    let lengths = arrays.iter().map(|items| items.len());
    let length = if is_longest { lengths.max() } else { lengths.min() };
    let absent = |number: usize| defaults.map_or(Json::Null, |defaults| defaults[number].clone());
    let beside = |place: usize| {
        let items = arrays.iter().enumerate();
        items.map(|(number, items)| items.get(place).cloned().unwrap_or_else(|| absent(number))).collect()
    };
    Ok(Some(Json::Array((0..length.unwrap_or(0)).map(|place| Json::Array(beside(place))).collect())))
}
