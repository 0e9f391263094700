//! Numbers. Integers are exact as long as 64 bits hold them, and become reals beyond that.

use common::{Error, Result};
use serde_json::Value as Json;

use super::operators::{Answer, Values};
use crate::documents::value::number::{self, Numeric};
use crate::documents::value::{self, Typed};

/// A number to compute with; `None` for null and for nothing.
pub(super) fn number(value: Option<&Json>) -> Result<Option<Numeric>> {
    match value.map(Typed::of) {
        None | Some(Typed::Null) => Ok(None),
        Some(Typed::Number(Numeric::Decimal(_))) => Err(decimals()),
        Some(Typed::Number(number)) => Ok(Some(number)),
        Some(other) => {
            Err(Error::bad_request(format!("numbers are wanted, not a value of the type {}", other.name())))
        }
    }
}

pub(super) fn decimals() -> Error {
    Error::not_supported(
        "nothing is computed with $numberDecimal",
        "decimals are kept, compared and sorted exactly; convert them with $toDouble to compute",
    )
}

fn real(result: f64) -> Answer {
    number::real(result).map(Some).ok_or_else(|| Error::bad_request("the result is not a finite number"))
}

fn as_real(number: &Numeric) -> Result<f64> {
    number.as_real().ok_or_else(decimals)
}

/// A sum in the making. Integers are summed exactly; what rounding takes from reals is carried along
/// (A. Neumaier, Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, 1974).
#[derive(Clone, Debug, Default)]
pub(crate) struct Total {
    integers: i128,
    real: f64,
    error: f64,
    has_reals: bool,
    /// Numbers that were added.
    pub(crate) count: u64,
}

impl Total {
    /// Adds a value; what is no number is left out.
    pub(crate) fn add(&mut self, value: &Json) -> Result<()> {
        match Typed::of(value) {
            Typed::Number(Numeric::Integer(number)) => self.integers += i128::from(number),
            Typed::Number(Numeric::Real(number)) => self.add_real(number),
            Typed::Number(Numeric::Decimal(_)) => return Err(decimals()),
            _ => return Ok(()),
        }
        self.count += 1;
        Ok(())
    }

    fn add_real(&mut self, number: f64) {
        self.has_reals = true;
        let sum = self.real + number;
        self.error += if self.real.abs() >= number.abs() {
            (self.real - sum) + number
        } else {
            (number - sum) + self.real
        };
        self.real = sum;
    }

    /// The sum; without numbers it is 0.
    pub(crate) fn sum(&self) -> Result<Json> {
        match i64::try_from(self.integers) {
            Ok(sum) if !self.has_reals => Ok(sum.into()),
            _ => number::real(self.as_real())
                .ok_or_else(|| Error::bad_request("the sum is not a finite number")),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum with reals is a real")]
    fn as_real(&self) -> f64 {
        let mut whole = self.clone();
        // Added in two parts, so that no digit is lost before the last rounding.
        let high = self.integers as f64;
        whole.add_real(high);
        whole.add_real((self.integers - high as i128) as f64);
        whole.real + whole.error
    }

    /// The mean; `None` without numbers.
    #[expect(clippy::cast_precision_loss, reason = "a mean is a real")]
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.as_real() / self.count as f64)
    }
}

/// The mean of a total as JSON: null without numbers.
pub(crate) fn average(total: &Total) -> Result<Json> {
    match total.mean() {
        None => Ok(Json::Null),
        Some(mean) => number::real(mean).ok_or_else(|| Error::bad_request("the mean is not a finite number")),
    }
}

/// Operands, or the elements of the only one.
pub(super) fn spread(values: Values<'_>) -> Vec<&Json> {
    match values {
        [Some(Json::Array(items))] => items.iter().collect(),
        several => several.iter().flatten().collect(),
    }
}

fn total(values: Values<'_>) -> Result<Total> {
    let mut total = Total::default();
    spread(values).into_iter().try_for_each(|value| total.add(value))?;
    Ok(total)
}

pub(super) fn sum_of(values: Values<'_>) -> Answer {
    total(values)?.sum().map(Some)
}

pub(super) fn average_of(values: Values<'_>) -> Answer {
    average(&total(values)?).map(Some)
}

pub(super) fn add(values: Values<'_>) -> Answer {
    let (mut sum, mut moment) = (Total::default(), None);
    for value in values {
        match value.as_ref().map(Typed::of) {
            Some(Typed::Date(milliseconds)) if moment.is_none() => moment = Some(milliseconds),
            Some(Typed::Date(_)) => return Err(Error::bad_request("two dates cannot be added")),
            _ => match (number(value.as_ref())?, value) {
                (Some(_), Some(value)) => sum.add(value)?,
                _ => return Ok(Some(Json::Null)),
            },
        }
    }
    let Some(moment) = moment else { return sum.sum().map(Some) };
    shifted(moment, &sum.sum()?)
}

/// A moment so many milliseconds later.
fn shifted(moment: i64, by: &Json) -> Answer {
    let by = match Typed::of(by) {
        Typed::Number(Numeric::Real(by)) => number::truncated(by.round()),
        Typed::Number(by) => by.whole(),
        _ => None,
    };
    in_range(by.and_then(|by| moment.checked_add(by)))
}

/// A moment as a value, if it has one.
pub(super) fn in_range(moment: Option<i64>) -> Answer {
    let moment = moment.filter(|moment| value::timestamp::is_in_range(*moment));
    moment
        .map(|moment| Some(value::date(moment)))
        .ok_or_else(|| Error::bad_request("the date is beyond the years 0 to 9999"))
}

pub(super) fn subtract(values: Values<'_>) -> Answer {
    let [left, right] = values else { return Ok(None) };
    match (left.as_ref().map(Typed::of), right.as_ref().map(Typed::of)) {
        (Some(Typed::Date(left)), Some(Typed::Date(right))) => Ok(Some((left - right).into())),
        (Some(Typed::Date(_)), None | Some(Typed::Null)) => Ok(Some(Json::Null)),
        (Some(Typed::Date(left)), Some(Typed::Number(by))) => {
            let negative = match by {
                Numeric::Integer(by) => by.checked_neg().map(Json::from),
                Numeric::Real(by) => number::real(-by),
                Numeric::Decimal(_) => return Err(decimals()),
            };
            negative.map_or_else(|| in_range(None), |by| shifted(left, &by))
        }
        _ => combined(left.as_ref(), right.as_ref(), i64::checked_sub, |left, right| left - right),
    }
}

/// Two numbers into one: exactly where both are integers and the result fits.
pub(crate) fn combined(
    left: Option<&Json>,
    right: Option<&Json>,
    exact: fn(i64, i64) -> Option<i64>,
    rounded: fn(f64, f64) -> f64,
) -> Answer {
    let (Some(left), Some(right)) = (number(left)?, number(right)?) else { return Ok(Some(Json::Null)) };
    if let (Numeric::Integer(left), Numeric::Integer(right)) = (&left, &right)
        && let Some(result) = exact(*left, *right)
    {
        return Ok(Some(result.into()));
    }
    real(rounded(as_real(&left)?, as_real(&right)?))
}

pub(super) fn multiply(values: Values<'_>) -> Answer {
    let mut product = Some(Json::from(1));
    for value in values {
        product = combined(product.as_ref(), value.as_ref(), i64::checked_mul, |left, right| left * right)?;
        if product == Some(Json::Null) {
            break;
        }
    }
    Ok(product)
}

pub(super) fn divide(values: Values<'_>) -> Answer {
    let [left, right] = values else { return Ok(None) };
    if number(right.as_ref())?.is_some_and(|divisor| divisor.is_zero()) {
        return Err(Error::bad_request("the divisor is 0"));
    }
    combined(left.as_ref(), right.as_ref(), |_, _| None, |left, right| left / right)
}

pub(super) fn modulo(values: Values<'_>) -> Answer {
    let [left, right] = values else { return Ok(None) };
    if number(right.as_ref())?.is_some_and(|divisor| divisor.is_zero()) {
        return Err(Error::bad_request("the divisor is 0"));
    }
    combined(
        left.as_ref(),
        right.as_ref(),
        |left, right| Some(left.wrapping_rem(right)),
        |left, right| left % right,
    )
}

pub(super) fn power(values: Values<'_>) -> Answer {
    let [left, right] = values else { return Ok(None) };
    let exact = |base: i64, exponent: i64| {
        u32::try_from(exponent).ok().and_then(|exponent| base.checked_pow(exponent))
    };
    combined(left.as_ref(), right.as_ref(), exact, f64::powf)
}

/// A number into another, integers exactly where that is possible.
pub(super) fn mapped(values: Values<'_>, exact: fn(i64) -> Option<i64>, rounded: fn(f64) -> f64) -> Answer {
    match number(values.first().and_then(Option::as_ref))? {
        None => Ok(Some(Json::Null)),
        Some(Numeric::Integer(number)) if exact(number).is_some() => Ok(exact(number).map(Json::from)),
        Some(number) => real(rounded(as_real(&number)?)),
    }
}

pub(super) fn absolute(values: Values<'_>) -> Answer {
    mapped(values, i64::checked_abs, f64::abs)
}

pub(super) fn ceiling(values: Values<'_>) -> Answer {
    mapped(values, Some, f64::ceil)
}

pub(super) fn floor(values: Values<'_>) -> Answer {
    mapped(values, Some, f64::floor)
}

pub(super) fn exponential(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::exp)
}

pub(super) fn natural_logarithm(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::ln)
}

pub(super) fn logarithm_of_10(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::log10)
}

pub(super) fn square_root(values: Values<'_>) -> Answer {
    mapped(values, |_| None, f64::sqrt)
}

pub(super) fn logarithm(values: Values<'_>) -> Answer {
    let [number, base] = values else { return Ok(None) };
    combined(number.as_ref(), base.as_ref(), |_, _| None, f64::log)
}

/// Half goes to the even neighbour.
pub(super) fn round(values: Values<'_>) -> Answer {
    to_places(values, f64::round_ties_even)
}

pub(super) fn truncate(values: Values<'_>) -> Answer {
    to_places(values, f64::trunc)
}

fn to_places(values: Values<'_>, whole: fn(f64) -> f64) -> Answer {
    let places = match values.get(1) {
        None => 0,
        Some(places) => match number(places.as_ref())? {
            None => return Ok(Some(Json::Null)),
            Some(places) => {
                places.whole().filter(|places| (-20..=100).contains(places)).ok_or_else(|| {
                    Error::bad_request("the number of places is a whole number from -20 to 100")
                })?
            }
        },
    };
    match number(values.first().and_then(Option::as_ref))? {
        None => Ok(Some(Json::Null)),
        Some(Numeric::Integer(number)) if places >= 0 => Ok(Some(number.into())),
        Some(Numeric::Integer(number)) => rounded_integer(number, places, whole),
        Some(number) => {
            let number = as_real(&number)?;
            let scale = 10f64.powi(i32::try_from(places).unwrap_or(0));
            let scaled = number * scale;
            real(if scaled.is_finite() { whole(scaled) / scale } else { number })
        }
    }
}

/// An integer to a place before the point.
fn rounded_integer(number: i64, places: i64, whole: fn(f64) -> f64) -> Answer {
    let unit = 10i128.pow(u32::try_from(-places).unwrap_or(0));
    let exact = i128::from(number);
    let (units, rest) = (exact / unit, exact % unit);
    // Only the share of the last unit is rounded, which a real holds well enough to be compared with a half.
    #[expect(clippy::cast_precision_loss, reason = "the share lies between -1 and 1")]
    let share = (units % 2) as f64 + rest as f64 / unit as f64;
    #[expect(clippy::cast_possible_truncation, reason = "it lies between -2 and 2")]
    let last = whole(share) as i128;
    let result = (units - units % 2 + last) * unit;
    i64::try_from(result)
        .map(|result| Some(result.into()))
        .map_err(|_| Error::bad_request("the result has more than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn integers_stay_exact_and_reals_keep_what_rounding_takes() {
        let sum = |values: Json| sum_of(&[Some(values)]).unwrap().unwrap();
        assert_eq!(sum(json!([9_007_199_254_740_993_i64, 1])), json!(9_007_199_254_740_994_i64));
        assert_eq!(sum(json!([1e16, 1, -1e16])), json!(1.0));
        assert_eq!(sum(json!([i64::MAX, 1])), json!(9_223_372_036_854_775_808.0));
        assert_eq!(sum(json!(["x", null])), json!(0));
        assert!(sum_of(&[Some(json!({"$numberDecimal": "1"}))]).is_err());
        let rounded =
            |number: Json, places: i64| round(&[Some(number), Some(places.into())]).unwrap().unwrap();
        assert_eq!(rounded(json!(2.5), 0), json!(2.0));
        assert_eq!(rounded(json!(1.125), 2), json!(1.12));
        assert_eq!(rounded(json!(15), -1), json!(20));
        assert_eq!(rounded(json!(25), -1), json!(20));
        assert_eq!(rounded(json!(-17), -1), json!(-20));
    }
}
