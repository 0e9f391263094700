//! Moments as text, RFC 3339 with milliseconds in UTC, in the years 0 to 9999. The texts sort as the moments.

/// Milliseconds of a day.
pub(crate) const DAY: i64 = 86_400_000;

/// The first and the last moment that have a text.
const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// A moment's date and time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) millisecond: i64,
}

impl Civil {
    /// The date and time of milliseconds since the Unix epoch. Days become dates by the algorithm of
    /// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
    pub(crate) fn of(milliseconds: i64) -> Civil {
        let (days, rest) = (milliseconds.div_euclid(DAY), milliseconds.rem_euclid(DAY));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            hour: rest / 3_600_000,
            minute: rest / 60_000 % 60,
            second: rest / 1_000 % 60,
            millisecond: rest % 1_000,
        }
    }

    /// Milliseconds since the Unix epoch; months and days beyond their ranges run over.
    pub(crate) fn milliseconds(&self) -> i64 {
        let months = self.month - 1;
        let (year, month) = (self.year + months.div_euclid(12), months.rem_euclid(12) + 1);
        let shifted_year = year - i64::from(month <= 2);
        let era = shifted_year.div_euclid(400);
        let year_of_era = shifted_year.rem_euclid(400);
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted_month + 2) / 5;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468 + self.day - 1;
        days * DAY + self.hour * 3_600_000 + self.minute * 60_000 + self.second * 1_000 + self.millisecond
    }

    /// Days in its month.
    pub(crate) fn days_of_month(&self) -> i64 {
        let first = Civil { day: 1, ..Civil { hour: 0, minute: 0, second: 0, millisecond: 0, ..*self } };
        let next = Civil { month: first.month + 1, ..first };
        (next.milliseconds() - first.milliseconds()) / DAY
    }
}

/// Milliseconds since the Unix epoch as text; beyond the years 0 to 9999 the nearest moment that has one.
pub(crate) fn rfc3339(milliseconds: i64) -> String {
    let civil = Civil::of(milliseconds.clamp(*RANGE.start(), *RANGE.end()));
    let Civil { year, month, day, hour, minute, second, millisecond } = civil;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// Whether a moment has a text.
pub(crate) fn is_in_range(milliseconds: i64) -> bool {
    RANGE.contains(&milliseconds)
}

/// Milliseconds since the Unix epoch of a text: a date, or a date and a time with or without seconds, their
/// fraction (cut off after milliseconds) and offset (`Z`, `+02:00`, `+0200`; without one it is UTC).
pub(crate) fn parse(text: &str) -> Option<i64> {
    let mut reader = Reader { rest: text.as_bytes() };
    let mut civil = Civil {
        year: reader.digits(4)?,
        month: reader.after(b'-')?.digits(2)?,
        day: reader.after(b'-')?.digits(2)?,
        hour: 0,
        minute: 0,
        second: 0,
        millisecond: 0,
    };
    let mut offset = 0;
    if !reader.rest.is_empty() {
        if !matches!(reader.next()?, b'T' | b't' | b' ') {
            return None;
        }
        civil.hour = reader.digits(2)?;
        civil.minute = reader.after(b':')?.digits(2)?;
        if reader.takes(b':') {
            civil.second = reader.digits(2)?;
            if reader.takes(b'.') {
                civil.millisecond = reader.fraction()?;
            }
        }
        offset = reader.offset()?;
    }
    let is_date = (1..=12).contains(&civil.month) && (1..=civil.days_of_month()).contains(&civil.day);
    let is_time = civil.hour < 24 && civil.minute < 60 && civil.second < 60;
    let moment = civil.milliseconds() - offset;
    (is_date && is_time && reader.rest.is_empty() && is_in_range(moment)).then_some(moment)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn takes(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn after(&mut self, byte: u8) -> Option<&mut Self> {
        self.takes(byte).then_some(self)
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let digits = self.rest.get(..count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.rest = &self.rest[count..];
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    fn fraction(&mut self) -> Option<i64> {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 || length > 9 {
            return None;
        }
        let digits = &self.rest[..length];
        self.rest = &self.rest[length..];
        let places = digits.iter().copied().chain(std::iter::repeat(b'0')).take(3);
        Some(places.fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    /// Milliseconds east of UTC.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.next() {
            None | Some(b'Z' | b'z') => return Some(0),
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        let hours = self.digits(2)?;
        self.takes(b':');
        let minutes = if self.rest.is_empty() { 0 } else { self.digits(2)? };
        (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600_000 + minutes * 60_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_258_800_000, "2026-11-21T11:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (*RANGE.start(), "0000-01-01T00:00:00.000Z"),
            (*RANGE.end(), "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(milliseconds), text);
            assert_eq!(parse(text), Some(milliseconds));
            assert_eq!(Civil::of(milliseconds).milliseconds(), milliseconds);
        }
    }

    #[test]
    fn times_are_read_in_several_forms() {
        for (text, same) in [
            ("2024-02-29", "2024-02-29T00:00:00.000Z"),
            ("2024-02-29T12:30", "2024-02-29T12:30:00.000Z"),
            ("2024-02-29 12:30:15.1239", "2024-02-29T12:30:15.123Z"),
            ("2024-02-29T12:30:15+02:00", "2024-02-29T10:30:15.000Z"),
            ("2024-02-29T23:30:15-0130", "2024-03-01T01:00:15.000Z"),
        ] {
            assert_eq!(parse(text).map(rfc3339).as_deref(), Some(same), "{text}");
        }
        for bad in [
            "",
            "2023-02-29",
            "2024-13-01",
            "2024-1-1",
            "2024-01-01T",
            "2024-01-01T25:00",
            "2024-01-01T00:00Zx",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
