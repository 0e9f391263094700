//! What becomes of a value.

use std::cmp::Ordering;

use common::{Error, Result};
use serde_json::Value as Json;

use super::Circumstances;
use super::array::{self, Push};
use super::place_in_document::{get, remove, set};
use super::target::Target;
use crate::documents::expression::combined;
use crate::documents::filter::{Filter, Test};
use crate::documents::value::number::Numeric;
use crate::documents::value::order::{compare, equal};
use crate::documents::value::{self, Fields, Typed, as_object};

/// An operator with its operand.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Set(Json),
    Unset,
    Increment(Json),
    Multiply(Json),
    Minimum(Json),
    Maximum(Json),
    Rename(Target),
    SetOnInsert(Json),
    CurrentDate,
    Push(Push),
    AddToSet(Vec<Json>),
    Pull(Pull),
    Pop { first: bool },
}

/// Which elements are pulled.
#[derive(Clone, Debug)]
pub(super) enum Pull {
    Values(Vec<Json>),
    Tests(Vec<Test>),
    /// Objects for which it holds.
    Filter(Filter),
}

impl Operation {
    /// Changes the value at a place.
    pub(super) fn apply(
        &self,
        document: &mut Fields,
        place: &[String],
        circumstances: &Circumstances<'_>,
    ) -> Result<()> {
        let names: Vec<&str> = place.iter().map(String::as_str).collect();
        let names = names.as_slice();
        let here =
            |error: Error| Error { message: format!("'{}': {}", place.join("."), error.message), ..error };
        match self {
            Operation::Set(value) => set(document, names, value.clone()).map_err(here),
            Operation::SetOnInsert(value) if circumstances.inserts => {
                set(document, names, value.clone()).map_err(here)
            }
            Operation::SetOnInsert(_) => Ok(()),
            Operation::CurrentDate => set(document, names, value::date(circumstances.now)).map_err(here),
            Operation::Unset => {
                remove(document, names);
                Ok(())
            }
            Operation::Increment(by) => {
                let sum = match get(document, names) {
                    None => by.clone(),
                    Some(value) => {
                        computed(value, by, i64::checked_add, |left, right| left + right).map_err(here)?
                    }
                };
                set(document, names, sum).map_err(here)
            }
            Operation::Multiply(by) => {
                let product = match get(document, names) {
                    // A missing number is a zero of the factor's kind.
                    None => {
                        computed(by, &0.into(), i64::checked_mul, |left, right| left * right).map_err(here)?
                    }
                    Some(value) => {
                        computed(value, by, i64::checked_mul, |left, right| left * right).map_err(here)?
                    }
                };
                set(document, names, product).map_err(here)
            }
            Operation::Minimum(value) => replace_if(document, names, value, Ordering::Less).map_err(here),
            Operation::Maximum(value) => replace_if(document, names, value, Ordering::Greater).map_err(here),
            Operation::Rename(to) => rename(document, names, to),
            Operation::Push(push) => {
                change_array(document, names, true, |items| push.apply(items)).map_err(here)
            }
            Operation::AddToSet(values) => {
                change_array(document, names, true, |items| array::add_to_set(items, values)).map_err(here)
            }
            Operation::Pull(pull) => {
                change_array(document, names, false, |items| items.retain(|item| !pull.concerns(item)))
                    .map_err(here)
            }
            Operation::Pop { first } => change_array(document, names, false, |items| {
                if !items.is_empty() {
                    items.remove(if *first { 0 } else { items.len() - 1 });
                }
            })
            .map_err(here),
        }
    }
}

/// Two numbers into one; an integer that does not fit in 64 bits is refused.
fn computed(
    value: &Json,
    by: &Json,
    exact: fn(i64, i64) -> Option<i64>,
    rounded: fn(f64, f64) -> f64,
) -> Result<Json> {
    let (Typed::Number(left), Typed::Number(right)) = (Typed::of(value), Typed::of(by)) else {
        return Err(Error::bad_request("the value is not a number"));
    };
    if let (Numeric::Integer(left), Numeric::Integer(right)) = (&left, &right)
        && exact(*left, *right).is_none()
    {
        return Err(Error::bad_request("the result does not fit in a 64-bit integer"));
    }
    Ok(combined(Some(value), Some(by), exact, rounded)?.unwrap_or_default())
}

fn replace_if(document: &mut Fields, names: &[&str], value: &Json, wanted: Ordering) -> Result<()> {
    match get(document, names) {
        Some(known) if compare(value, known) != wanted => Ok(()),
        _ => set(document, names, value.clone()),
    }
}

fn rename(document: &mut Fields, names: &[&str], to: &Target) -> Result<()> {
    let Some(value) = get(document, names).cloned() else { return Ok(()) };
    let passes_array = |path: &[&str]| {
        (1..path.len()).any(|length| matches!(get(document, &path[..length]), Some(Json::Array(_))))
    };
    let renamed: Vec<String> = to.names();
    let renamed: Vec<&str> = renamed.iter().map(String::as_str).collect();
    if passes_array(names) || passes_array(&renamed) {
        return Err(Error::bad_request("$rename cannot concern elements of arrays"));
    }
    remove(document, names);
    remove(document, &renamed);
    set(document, &renamed, value)
}

/// Changes the array at a place; where nothing is, one may be made.
fn change_array(
    document: &mut Fields,
    names: &[&str],
    makes: bool,
    change: impl FnOnce(&mut Vec<Json>),
) -> Result<()> {
    let mut items = match get(document, names) {
        None if makes => Vec::new(),
        None => return Ok(()),
        Some(Json::Array(items)) => items.clone(),
        Some(other) => {
            let name = Typed::of(other).name();
            return Err(Error::bad_request(format!("an array is wanted, not a value of the type {name}")));
        }
    };
    change(&mut items);
    set(document, names, Json::Array(items))
}

impl Pull {
    fn concerns(&self, item: &Json) -> bool {
        match self {
            Pull::Values(values) => values.iter().any(|value| equal(value, item)),
            Pull::Tests(tests) => tests.iter().all(|test| test.holds_of(item)),
            Pull::Filter(filter) => as_object(item).is_some_and(|fields| filter.matches(fields) == Ok(true)),
        }
    }
}
