//! Angles, in radians.

use super::arithmetic::{combined, mapped};
use super::operators::{Answer, Values};

pub(super) fn sine(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::sin)
}

pub(super) fn cosine(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::cos)
}

pub(super) fn tangent(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::tan)
}

pub(super) fn arc_sine(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::asin)
}

pub(super) fn arc_cosine(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::acos)
}

pub(super) fn arc_tangent(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::atan)
}

pub(super) fn arc_tangent_of_two(values: Values<'_>) -> Answer {
    let [y, x] = values else { return Ok(None) };
    combined(y.as_ref(), x.as_ref(), |_, _| None, f64::atan2)
}

pub(super) fn to_radians(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::to_radians)
}

pub(super) fn to_degrees(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::to_degrees)
}
