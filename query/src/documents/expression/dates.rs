//! Dates. Time zones are offsets from UTC; rules that change with the seasons are not known.

use common::{Error, Result};
use serde_json::Value as Json;

use super::arithmetic::{in_range, number};
use super::operators::{Answer, Values};
use crate::documents::value::Typed;
use crate::documents::value::timestamp::{self, Civil, DAY};

/// A moment; `None` for null and for nothing.
pub(super) fn moment(value: Option<&Json>) -> Result<Option<i64>> {
    match value.map(Typed::of) {
        None | Some(Typed::Null) => Ok(None),
        Some(Typed::Date(milliseconds)) => Ok(Some(milliseconds)),
        Some(other) => {
            Err(Error::bad_request(format!("a date is wanted, not a value of the type {}", other.name())))
        }
    }
}

/// Milliseconds east of UTC.
pub(super) fn offset(value: Option<&Json>) -> Result<i64> {
    let text = match value {
        None | Some(Json::Null) => return Ok(0),
        Some(Json::String(text)) => text,
        Some(_) => return Err(Error::bad_request("a time zone is a string")),
    };
    if matches!(text.as_str(), "UTC" | "GMT" | "Z") {
        return Ok(0);
    }
    let suffixed = format!("1970-01-02T00:00{text}");
    let is_offset = text.starts_with(['+', '-']);
    let shifted = timestamp::parse(&suffixed).filter(|_| is_offset).map(|moment| DAY - moment);
    shifted.ok_or_else(|| {
        Error::not_supported(
            format!("the time zone '{text}' is not known"),
            "give an offset such as \"+02:00\", or UTC",
        )
    })
}

/// Date and time in the zone of the second operand.
fn civil(values: Values<'_>) -> Result<Option<Civil>> {
    let zone = offset(values.get(1).and_then(Option::as_ref))?;
    Ok(moment(values.first().and_then(Option::as_ref))?.map(|moment| Civil::of(moment + zone)))
}

fn part(values: Values<'_>, part: fn(&Civil) -> i64) -> Answer {
    Ok(Some(civil(values)?.map_or(Json::Null, |civil| part(&civil).into())))
}

pub(super) fn days(civil: &Civil) -> i64 {
    civil.milliseconds().div_euclid(DAY)
}

/// 1 on Sundays.
fn weekday(civil: &Civil) -> i64 {
    (days(civil) + 4).rem_euclid(7) + 1
}

pub(super) fn yearday(civil: &Civil) -> i64 {
    days(civil) - days(&Civil { month: 1, day: 1, ..*civil }) + 1
}

pub(super) fn year(values: Values<'_>) -> Answer {
    part(values, |civil| civil.year)
}

pub(super) fn month(values: Values<'_>) -> Answer {
    part(values, |civil| civil.month)
}

pub(super) fn day_of_month(values: Values<'_>) -> Answer {
    part(values, |civil| civil.day)
}

pub(super) fn hour(values: Values<'_>) -> Answer {
    part(values, |civil| civil.hour)
}

pub(super) fn minute(values: Values<'_>) -> Answer {
    part(values, |civil| civil.minute)
}

pub(super) fn second(values: Values<'_>) -> Answer {
    part(values, |civil| civil.second)
}

pub(super) fn millisecond(values: Values<'_>) -> Answer {
    part(values, |civil| civil.millisecond)
}

pub(super) fn day_of_week(values: Values<'_>) -> Answer {
    part(values, weekday)
}

/// 1 on Mondays.
pub(super) fn iso_weekday(civil: &Civil) -> i64 {
    (weekday(civil) + 5) % 7 + 1
}

pub(super) fn iso_day_of_week(values: Values<'_>) -> Answer {
    part(values, iso_weekday)
}

pub(super) fn day_of_year(values: Values<'_>) -> Answer {
    part(values, yearday)
}

/// Weeks begin on Sundays; the days before the first Sunday are in week 0.
pub(super) fn week(values: Values<'_>) -> Answer {
    part(values, |civil| (yearday(civil) + 7 - weekday(civil)) / 7)
}

/// `date`, `format`, `timezone`, `onNull`.
pub(super) fn to_string(values: Values<'_>) -> Answer {
    let value = |index: usize| values.get(index).and_then(Option::as_ref);
    let zone = offset(value(2))?;
    let Some(moment) = moment(value(0))? else { return Ok(Some(value(3).cloned().unwrap_or_default())) };
    let format = match value(1) {
        None => "%Y-%m-%dT%H:%M:%S.%LZ",
        Some(Json::String(format)) => format,
        Some(_) => return Err(Error::bad_request("a format is a string")),
    };
    let civil = Civil::of(moment + zone);
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let written = match rest.next() {
            Some('Y') => format!("{:04}", civil.year),
            Some('m') => format!("{:02}", civil.month),
            Some('d') => format!("{:02}", civil.day),
            Some('H') => format!("{:02}", civil.hour),
            Some('M') => format!("{:02}", civil.minute),
            Some('S') => format!("{:02}", civil.second),
            Some('L') => format!("{:03}", civil.millisecond),
            Some('j') => format!("{:03}", yearday(&civil)),
            Some('w') => weekday(&civil).to_string(),
            Some('u') => iso_weekday(&civil).to_string(),
            Some('U') => format!("{:02}", (yearday(&civil) + 7 - weekday(&civil)) / 7),
            Some('z') => {
                let minutes = zone.abs() / 60_000;
                format!("{}{:02}{:02}", if zone < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
            }
            Some('Z') => (zone / 60_000).to_string(),
            Some('%') => "%".to_owned(),
            other => {
                let shown = other.map(String::from).unwrap_or_default();
                return Err(Error::bad_request(format!("'%{shown}' is not known in a format")));
            }
        };
        text.push_str(&written);
    }
    Ok(Some(text.into()))
}

/// `dateString`, `timezone`, `onError`, `onNull`.
pub(super) fn from_string(values: Values<'_>) -> Answer {
    let value = |index: usize| values.get(index).and_then(Option::as_ref);
    let zone = offset(value(1))?;
    match value(0) {
        None | Some(Json::Null) => Ok(Some(value(3).cloned().unwrap_or_default())),
        Some(given) => {
            let found = given.as_str().and_then(timestamp::parse).map(|moment| moment - zone);
            match (found, value(2)) {
                (None, Some(instead)) => Ok(Some(instead.clone())),
                (None, None) => Err(Error::bad_request(format!("{given} is not a date"))),
                (found, _) => in_range(found),
            }
        }
    }
}

/// A unit of time: so many months, or so many milliseconds.
#[derive(Clone, Copy)]
enum Unit {
    Months(i64),
    Milliseconds(i64),
}

fn unit(value: Option<&Json>) -> Result<Unit> {
    let name = value.and_then(Json::as_str).ok_or_else(|| Error::bad_request("a unit is a string"))?;
    Ok(match name {
        "year" => Unit::Months(12),
        "quarter" => Unit::Months(3),
        "month" => Unit::Months(1),
        "week" => Unit::Milliseconds(7 * DAY),
        "day" => Unit::Milliseconds(DAY),
        "hour" => Unit::Milliseconds(3_600_000),
        "minute" => Unit::Milliseconds(60_000),
        "second" => Unit::Milliseconds(1_000),
        "millisecond" => Unit::Milliseconds(1),
        other => return Err(Error::bad_request(format!("'{other}' is not a unit of time"))),
    })
}

/// `startDate`, `unit`, `amount`, `timezone`. A day that a month lacks becomes its last one.
fn moved(values: Values<'_>, sign: i64) -> Answer {
    let value = |index: usize| values.get(index).and_then(Option::as_ref);
    let zone = offset(value(3))?;
    let (Some(start), Some(amount)) = (moment(value(0))?, number(value(2))?) else {
        return Ok(Some(Json::Null));
    };
    let amount = amount.whole().and_then(|amount| amount.checked_mul(sign));
    let amount = amount.ok_or_else(|| Error::bad_request("'amount' is a whole number"))?;
    match unit(value(1))? {
        Unit::Milliseconds(unit) => in_range(unit.checked_mul(amount).and_then(|by| start.checked_add(by))),
        Unit::Months(unit) => {
            let civil = Civil::of(start + zone);
            let months = unit.checked_mul(amount).filter(|months| months.abs() <= 12 * 20_000);
            let months =
                months.ok_or_else(|| Error::bad_request("the date is beyond the years 0 to 9999"))?;
            let first = Civil { month: civil.month + months, day: 1, ..civil };
            let first = Civil::of(first.milliseconds());
            let day = civil.day.min(first.days_of_month());
            in_range(Some(Civil { day, ..first }.milliseconds() - zone))
        }
    }
}

pub(super) fn add(values: Values<'_>) -> Answer {
    moved(values, 1)
}

pub(super) fn subtract(values: Values<'_>) -> Answer {
    moved(values, -1)
}

/// The number of the unit that a moment lies in, counted from the year 2000 (weeks begin on Sundays).
fn number_of(unit: Unit, moment: i64) -> i64 {
    match unit {
        Unit::Months(months) => {
            let civil = Civil::of(moment);
            ((civil.year - 2_000) * 12 + civil.month - 1).div_euclid(months)
        }
        Unit::Milliseconds(length) => (moment - origin(length)).div_euclid(length),
    }
}

/// The beginning of 2000, or of the first week in it.
fn origin(length: i64) -> i64 {
    const YEAR_2000: i64 = 946_684_800_000;
    if length == 7 * DAY { YEAR_2000 + DAY } else { YEAR_2000 }
}

/// `startDate`, `endDate`, `unit`, `timezone`: how many boundaries of the unit lie between.
pub(super) fn difference(values: Values<'_>) -> Answer {
    let value = |index: usize| values.get(index).and_then(Option::as_ref);
    let zone = offset(value(3))?;
    let (Some(start), Some(end)) = (moment(value(0))?, moment(value(1))?) else {
        return Ok(Some(Json::Null));
    };
    let unit = unit(value(2))?;
    Ok(Some((number_of(unit, end + zone) - number_of(unit, start + zone)).into()))
}

/// `date`, `unit`, `binSize`, `timezone`.
pub(super) fn truncate(values: Values<'_>) -> Answer {
    let value = |index: usize| values.get(index).and_then(Option::as_ref);
    let zone = offset(value(3))?;
    let Some(moment) = moment(value(0))? else { return Ok(Some(Json::Null)) };
    let bins = match number(value(2))? {
        None => 1,
        Some(bins) => bins
            .whole()
            .filter(|bins| (1..=1_000_000).contains(bins))
            .ok_or_else(|| Error::bad_request("'binSize' is a whole number from 1 to 1000000"))?,
    };
    let unit = unit(value(1))?;
    let start = number_of(unit, moment + zone).div_euclid(bins) * bins;
    let begin = match unit {
        Unit::Months(months) => {
            let first = Civil {
                year: 2_000,
                month: 1 + start * months,
                day: 1,
                hour: 0,
                minute: 0,
                second: 0,
                millisecond: 0,
            };
            first.milliseconds()
        }
        Unit::Milliseconds(length) => origin(length) + start * length,
    };
    in_range(Some(begin - zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dates_are_moved_and_cut() {
        let date = |text: &str| Some(json!({"$date": text}));
        let january = date("2024-01-31T10:20:30.400Z");
        assert_eq!(
            add(&[january.clone(), Some(json!("month")), Some(json!(1)), None]).unwrap(),
            date("2024-02-29T10:20:30.400Z")
        );
        assert_eq!(
            truncate(&[january.clone(), Some(json!("week")), None, None]).unwrap(),
            date("2024-01-28T00:00:00.000Z")
        );
        assert_eq!(
            truncate(&[january.clone(), Some(json!("day")), None, Some(json!("+14:00"))]).unwrap(),
            date("2024-01-31T10:00:00.000Z")
        );
        assert_eq!(
            difference(&[january.clone(), date("2025-01-01T00:00:00.000Z"), Some(json!("year")), None])
                .unwrap(),
            Some(json!(1))
        );
        assert_eq!(day_of_week(std::slice::from_ref(&january)).unwrap(), Some(json!(4)));
        assert_eq!(
            to_string(&[january.clone(), Some(json!("%d.%m.%Y %H:%M %j %z")), Some(json!("-01:30")), None])
                .unwrap(),
            Some(json!("31.01.2024 08:50 031 -0130"))
        );
        assert!(to_string(&[january, Some(json!("%q")), None, None]).is_err());
    }
}
