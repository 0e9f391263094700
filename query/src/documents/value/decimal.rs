//! Decimal numbers, kept as written and compared exactly. Nothing is computed with them.

use std::cmp::Ordering;

/// Most significant digits (those of IEEE 754 decimal128).
const DIGITS_MAX: usize = 34;
/// Farthest that the point may lie from the digits.
const EXPONENT_MAX: i64 = 6_176;

/// A number `0.d₁d₂d₃… × 10^point`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    /// Without zeros in front and behind; empty for zero.
    digits: Vec<u8>,
    point: i64,
}

impl Decimal {
    /// Reads `-12.5e3`; `None` if it is no number, or has more digits or a greater exponent than there may be.
    pub(crate) fn parse(text: &str) -> Option<Decimal> {
        let decimal = Decimal::of_any_length(text)?;
        let fits = decimal.digits.len() <= DIGITS_MAX && decimal.point.abs() <= EXPONENT_MAX;
        fits.then_some(decimal)
    }

    fn of_any_length(text: &str) -> Option<Decimal> {
        let (negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], unsigned[at + 1..].parse::<i32>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let digits = [whole.as_bytes(), fraction.as_bytes()].concat();
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        if end == 0 {
            return Some(Decimal { negative: false, digits: Vec::new(), point: 0 });
        }
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()? + i64::from(exponent);
        Some(Decimal { negative, digits: digits[zeros..end].to_vec(), point })
    }

    /// The exact value of an integer.
    pub(crate) fn of_integer(number: i64) -> Decimal {
        Decimal::of_any_length(&number.to_string()).unwrap_or_else(Decimal::zero)
    }

    /// The exact value of a finite real: no real needs more than 1,074 places.
    pub(crate) fn of_real(number: f64) -> Decimal {
        Decimal::of_any_length(&format!("{number:.1074}")).unwrap_or_else(Decimal::zero)
    }

    const fn zero() -> Decimal {
        Decimal { negative: false, digits: Vec::new(), point: 0 }
    }

    /// Whether it is zero.
    pub(crate) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.sign().cmp(&other.sign());
        if signs != Ordering::Equal || self.sign() == 0 {
            return signs;
        }
        let sizes = self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits));
        if self.negative { sizes.reverse() } else { sizes }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_compare_by_value() {
        let sorted =
            ["-1e3", "-999.9", "-0.001", "0", "1e-6000", "0.1", "0.10000000000000000000000000001", "2", "10"];
        let parsed: Vec<Decimal> = sorted.iter().map(|text| Decimal::parse(text).unwrap()).collect();
        assert!(parsed.is_sorted_by(|left, right| left < right));
        assert_eq!(Decimal::parse("1.50"), Decimal::parse("+15e-1"));
        assert_eq!(Decimal::parse("-0.00").unwrap().cmp(&Decimal::of_integer(0)), Ordering::Equal);
        assert!(Decimal::parse("0.1").unwrap() < Decimal::of_real(0.1));
        assert_eq!(Decimal::of_real(0.5), Decimal::parse("0.5").unwrap());
        for bad in ["", "-", ".", "1.2.3", "x", "NaN", "1e", "1e9999", "12345678901234567890123456789012345"]
        {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }
}
