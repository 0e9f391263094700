//! Comparisons, by the order over all types. What is missing comes before everything.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::arithmetic::spread;
use super::operators::{Answer, Values};
use crate::documents::value::is_truthy;
use crate::documents::value::order::{self, compare_optional};

fn order_of(values: Values<'_>) -> Ordering {
    let value = |index: usize| values.get(index).and_then(Option::as_ref);
    compare_optional(value(0), value(1))
}

fn answer(holds: bool) -> Answer {
    Ok(Some(Json::Bool(holds)))
}

pub(super) fn compare(values: Values<'_>) -> Answer {
    Ok(Some((order_of(values) as i64).into()))
}

pub(super) fn equal(values: Values<'_>) -> Answer {
    answer(order_of(values) == Ordering::Equal)
}

pub(super) fn not_equal(values: Values<'_>) -> Answer {
    answer(order_of(values) != Ordering::Equal)
}

pub(super) fn greater(values: Values<'_>) -> Answer {
    answer(order_of(values) == Ordering::Greater)
}

pub(super) fn greater_or_equal(values: Values<'_>) -> Answer {
    answer(order_of(values) != Ordering::Less)
}

pub(super) fn less(values: Values<'_>) -> Answer {
    answer(order_of(values) == Ordering::Less)
}

pub(super) fn less_or_equal(values: Values<'_>) -> Answer {
    answer(order_of(values) != Ordering::Greater)
}

pub(super) fn not(values: Values<'_>) -> Answer {
    answer(!is_truthy(values.first().and_then(Option::as_ref)))
}

fn extreme(values: Values<'_>, wanted: Ordering) -> Answer {
    let candidates = spread(values).into_iter().filter(|value| !value.is_null());
    let best =
        candidates.reduce(|best, value| if order::compare(value, best) == wanted { value } else { best });
    Ok(Some(best.cloned().unwrap_or_default()))
}

pub(super) fn minimum(values: Values<'_>) -> Answer {
    extreme(values, Ordering::Less)
}

pub(super) fn maximum(values: Values<'_>) -> Answer {
    extreme(values, Ordering::Greater)
}
