//! Dates put together of their parts and taken apart, by the calendar or by the weeks of ISO 8601.

use common::{Error, Result};
use serde_json::{Value as Json, json};

use super::arithmetic::{in_range, number};
use super::dates::{days, iso_weekday, moment, offset, yearday};
use super::operators::{Answer, Values};
use crate::documents::value::timestamp::{Civil, DAY};

/// The parts of a date, as `$dateFromParts` names them.
pub(super) const FIELDS: &[&str] = &[
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "second",
    "millisecond",
    "timezone",
    "isoWeekYear",
    "isoWeek",
    "isoDayOfWeek",
];

/// Parts beyond their usual range run over into the next ones, up to this.
const PART_MAX: i64 = 32_767;

/// The parts, each with what it is if it is left out; `None` if one is null.
fn parts<const COUNT: usize>(
    values: Values<'_>,
    wanted: [(usize, i64); COUNT],
) -> Result<Option<[i64; COUNT]>> {
    let mut parts = [0; COUNT];
    for (part, (index, absent)) in parts.iter_mut().zip(wanted) {
        let Some(given) = &values[index] else {
            *part = absent;
            continue;
        };
        let Some(given) = number(Some(given))? else { return Ok(None) };
        let whole = given.whole().filter(|whole| whole.abs() <= PART_MAX);
        *part = whole.ok_or_else(|| {
            Error::bad_request(format!("'{}' is a whole number within {PART_MAX}", FIELDS[index]))
        })?;
    }
    Ok(Some(parts))
}

/// A date by [`FIELDS`]: `year` or `isoWeekYear` must be there.
pub(super) fn from_parts(values: Values<'_>) -> Answer {
    let has = |indexes: &[usize]| indexes.iter().any(|&index| values[index].is_some());
    let (by_month, by_week) = (has(&[0, 1, 2]), has(&[8, 9, 10]));
    if by_month == by_week || values[if by_week { 8 } else { 0 }].is_none() {
        return Err(Error::bad_request(
            "either 'year' or 'isoWeekYear' is wanted, with the parts that go with it",
        ));
    }
    let first = parts(values, if by_week { [(8, 0), (9, 1), (10, 1)] } else { [(0, 0), (1, 1), (2, 1)] })?;
    let time = parts(values, [(3, 0), (4, 0), (5, 0), (6, 0)])?;
    let zone = offset(values[7].as_ref())?;
    let (Some([year, second, third]), Some([hour, minute, seconds, millisecond])) = (first, time) else {
        return Ok(Some(Json::Null));
    };
    if !(1..=9_999).contains(&year) {
        return Err(Error::bad_request("a year lies between 1 and 9999"));
    }
    let (month, day) =
        if by_week { (1, first_monday(year) + (second - 1) * 7 + third) } else { (second, third) };
    let civil = Civil { year, month, day, hour, minute, second: seconds, millisecond };
    in_range(Some(civil.milliseconds() - zone))
}

/// The day of January, less one, with which the first week of a year begins: that which holds January 4th.
fn first_monday(year: i64) -> i64 {
    let fourth = Civil { year, month: 1, day: 4, hour: 0, minute: 0, second: 0, millisecond: 0 };
    4 - iso_weekday(&fourth)
}

/// The year and the number of the week that a day lies in: those of its Thursday.
fn week_of(civil: &Civil) -> (i64, i64) {
    let thursday = Civil::of((days(civil) + 4 - iso_weekday(civil)) * DAY);
    (thursday.year, (yearday(&thursday) - 1) / 7 + 1)
}

fn of_week(values: Values<'_>, part: fn((i64, i64)) -> i64) -> Answer {
    let zone = offset(values.get(1).and_then(Option::as_ref))?;
    let moment = moment(values.first().and_then(Option::as_ref))?;
    Ok(Some(moment.map_or(Json::Null, |moment| part(week_of(&Civil::of(moment + zone))).into())))
}

pub(super) fn iso_week(values: Values<'_>) -> Answer {
    of_week(values, |(_, week)| week)
}

pub(super) fn iso_week_year(values: Values<'_>) -> Answer {
    of_week(values, |(year, _)| year)
}

/// `date`, `timezone`, `iso8601`.
pub(super) fn to_parts(values: Values<'_>) -> Answer {
    let zone = offset(values[1].as_ref())?;
    let by_week = match &values[2] {
        None | Some(Json::Null) => false,
        Some(Json::Bool(flag)) => *flag,
        Some(_) => return Err(Error::bad_request("'iso8601' is true or false")),
    };
    let Some(moment) = moment(values[0].as_ref())? else { return Ok(Some(Json::Null)) };
    let civil = Civil::of(moment + zone);
    let Civil { year, month, day, hour, minute, second, millisecond } = civil;
    Ok(Some(if by_week {
        let (week_year, week) = week_of(&civil);
        json!({
            "isoWeekYear": week_year, "isoWeek": week, "isoDayOfWeek": iso_weekday(&civil),
            "hour": hour, "minute": minute, "second": second, "millisecond": millisecond,
        })
    } else {
        json!({
            "year": year, "month": month, "day": day,
            "hour": hour, "minute": minute, "second": second, "millisecond": millisecond,
        })
    }))
}
