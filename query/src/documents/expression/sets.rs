//! Arrays as sets: the order of their elements does not count, nor how often they occur. Results are in the
//! order of values.

use std::collections::BTreeSet;

use common::{Error, Result};
use serde_json::Value as Json;

use super::operators::{Answer, Values};
use crate::documents::value::is_truthy;
use crate::documents::value::order::Key;

/// The set that an operand is; `None` for null and for nothing.
fn set(value: Option<&Json>) -> Result<Option<BTreeSet<Key>>> {
    match value {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Array(items)) => Ok(Some(items.iter().cloned().map(Key).collect())),
        Some(_) => Err(Error::bad_request("arrays are wanted")),
    }
}

fn answer(set: BTreeSet<Key>) -> Answer {
    Ok(Some(Json::Array(set.into_iter().map(|key| key.0).collect())))
}

/// All sets into one; null if one of them is.
fn folded(values: Values<'_>, fold: fn(BTreeSet<Key>, BTreeSet<Key>) -> BTreeSet<Key>) -> Answer {
    let mut result: Option<BTreeSet<Key>> = None;
    for value in values {
        let Some(next) = set(value.as_ref())? else { return Ok(Some(Json::Null)) };
        result = Some(match result {
            None => next,
            Some(before) => fold(before, next),
        });
    }
    answer(result.unwrap_or_default())
}

pub(super) fn union(values: Values<'_>) -> Answer {
    folded(values, |mut left, right| {
        left.extend(right);
        left
    })
}

pub(super) fn intersection(values: Values<'_>) -> Answer {
    folded(values, |mut left, right| {
        left.retain(|key| right.contains(key));
        left
    })
}

pub(super) fn difference(values: Values<'_>) -> Answer {
    folded(values, |mut left, right| {
        left.retain(|key| !right.contains(key));
        left
    })
}

/// The operands, none of which may be null.
fn all_sets(values: Values<'_>) -> Result<Vec<BTreeSet<Key>>> {
    let sets = values
        .iter()
        .map(|value| set(value.as_ref())?.ok_or_else(|| Error::bad_request("arrays are wanted")));
    sets.collect()
}

pub(super) fn equals(values: Values<'_>) -> Answer {
    let sets = all_sets(values)?;
    Ok(Some(Json::Bool(sets.windows(2).all(|pair| pair[0] == pair[1]))))
}

pub(super) fn is_subset(values: Values<'_>) -> Answer {
    let sets = all_sets(values)?;
    Ok(Some(Json::Bool(sets.windows(2).all(|pair| pair[0].is_subset(&pair[1])))))
}

fn elements(values: Values<'_>) -> Result<&[Json]> {
    match values.first() {
        Some(Some(Json::Array(items))) => Ok(items),
        _ => Err(Error::bad_request("an array is wanted")),
    }
}

pub(super) fn all_true(values: Values<'_>) -> Answer {
    Ok(Some(Json::Bool(elements(values)?.iter().all(|item| is_truthy(Some(item))))))
}

pub(super) fn any_true(values: Values<'_>) -> Answer {
    Ok(Some(Json::Bool(elements(values)?.iter().any(|item| is_truthy(Some(item))))))
}
