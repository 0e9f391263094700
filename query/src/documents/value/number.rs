//! Numbers: integers of 64 bits, reals, decimals. They compare by their exact values, whatever their kinds.

use std::cmp::Ordering;

use serde_json::{Number, Value as Json};

use super::decimal::Decimal;

/// 2^63, the first real above all integers.
const INTEGERS_END: f64 = 9_223_372_036_854_775_808.0;

/// A number.
#[derive(Clone, Debug)]
pub(crate) enum Numeric {
    Integer(i64),
    Real(f64),
    Decimal(Decimal),
}

impl Numeric {
    /// The number that JSON says. Requests are refused whose integers have more than 64 bits.
    pub(crate) fn of(number: &Number) -> Numeric {
        match number.as_i64() {
            Some(integer) => Numeric::Integer(integer),
            None => Numeric::Real(number.as_f64().unwrap_or_default()),
        }
    }

    /// Compares exact values.
    pub(crate) fn compare(&self, other: &Numeric) -> Ordering {
        match (self, other) {
            (Numeric::Integer(left), Numeric::Integer(right)) => left.cmp(right),
            (Numeric::Real(left), Numeric::Real(right)) => left.partial_cmp(right).unwrap_or(Ordering::Equal),
            (Numeric::Integer(left), Numeric::Real(right)) => integer_with_real(*left, *right),
            (Numeric::Real(left), Numeric::Integer(right)) => integer_with_real(*right, *left).reverse(),
            _ => self.exact().cmp(&other.exact()),
        }
    }

    fn exact(&self) -> Decimal {
        match self {
            Numeric::Integer(number) => Decimal::of_integer(*number),
            Numeric::Real(number) => Decimal::of_real(*number),
            Numeric::Decimal(number) => number.clone(),
        }
    }

    /// Whether it is zero.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Numeric::Integer(number) => *number == 0,
            Numeric::Real(number) => *number == 0.0,
            Numeric::Decimal(number) => number.is_zero(),
        }
    }

    /// Its value as a real, which may be rounded; `None` for a decimal.
    #[expect(clippy::cast_precision_loss, reason = "arithmetic with reals rounds")]
    pub(crate) const fn as_real(&self) -> Option<f64> {
        match self {
            Numeric::Integer(number) => Some(*number as f64),
            Numeric::Real(number) => Some(*number),
            Numeric::Decimal(_) => None,
        }
    }

    /// Its value as an integer, cut off after the point; `None` beyond 64 bits and for a decimal.
    pub(crate) fn truncated(&self) -> Option<i64> {
        match self {
            Numeric::Integer(number) => Some(*number),
            Numeric::Real(number) => truncated(*number),
            Numeric::Decimal(_) => None,
        }
    }

    /// Its value, if it is a whole number of 64 bits.
    pub(crate) fn whole(&self) -> Option<i64> {
        match self {
            Numeric::Real(number) if number.fract() != 0.0 => None,
            other => other.truncated(),
        }
    }
}

/// A real without what stands behind its point; `None` beyond 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub(crate) fn truncated(number: f64) -> Option<i64> {
    (-INTEGERS_END..INTEGERS_END).contains(&number).then(|| number.trunc() as i64)
}

fn integer_with_real(integer: i64, real: f64) -> Ordering {
    match truncated(real) {
        // What is cut off decides between equals.
        Some(whole) => {
            integer.cmp(&whole).then_with(|| 0.0.partial_cmp(&real.fract()).unwrap_or(Ordering::Equal))
        }
        None if real > 0.0 => Ordering::Less,
        None => Ordering::Greater,
    }
}

/// A real as JSON; `None` for what JSON cannot say: infinities and NaN.
pub(crate) fn real(number: f64) -> Option<Json> {
    Number::from_f64(number).map(Json::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_reals_compare_exactly() {
        use Numeric::{Integer, Real};
        for (left, right, order) in [
            (Integer(9_007_199_254_740_993), Real(9_007_199_254_740_992.0), Ordering::Greater),
            (Integer(i64::MAX), Real(9_223_372_036_854_775_808.0), Ordering::Less),
            (Integer(i64::MIN), Real(-9_223_372_036_854_775_808.0), Ordering::Equal),
            (Integer(-1), Real(-1.5), Ordering::Greater),
            (Integer(1), Real(1.5), Ordering::Less),
            (Integer(0), Real(-1e300), Ordering::Greater),
        ] {
            assert_eq!(left.compare(&right), order, "{left:?} {right:?}");
            assert_eq!(right.compare(&left), order.reverse(), "{left:?} {right:?}");
        }
    }
}
