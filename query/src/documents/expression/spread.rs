//! How far numbers lie from their mean.

use common::{Error, Result};
use serde_json::Value as Json;

use super::arithmetic::{decimals, spread};
use super::operators::{Answer, Values};
use crate::documents::value::Typed;
use crate::documents::value::number::{self, Numeric};

/// The numbers seen so far, without being kept (B. P. Welford, Note on a Method for Calculating Corrected Sums of
/// Squares and Products, 1962).
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    count: u64,
    mean: f64,
    /// The sum of the squared distances from the mean.
    squares: f64,
}

impl Spread {
    /// Adds a value; what is no number is left out.
    #[expect(clippy::cast_precision_loss, reason = "a mean is a real")]
    pub(crate) fn add(&mut self, value: &Json) -> Result<()> {
        let number = match Typed::of(value) {
            Typed::Number(Numeric::Decimal(_)) => return Err(decimals()),
            Typed::Number(number) => number.as_real().ok_or_else(decimals)?,
            _ => return Ok(()),
        };
        self.count += 1;
        let distance = number - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (number - self.mean);
        Ok(())
    }

    /// The standard deviation where the numbers are all there are; null without numbers.
    pub(crate) fn of_population(&self) -> Result<Json> {
        self.deviation(0)
    }

    /// The same where the numbers are a sample of more; null for fewer than two.
    pub(crate) fn of_sample(&self) -> Result<Json> {
        self.deviation(1)
    }

    #[expect(clippy::cast_precision_loss, reason = "a deviation is a real")]
    fn deviation(&self, fewer: u64) -> Result<Json> {
        if self.count <= fewer {
            return Ok(Json::Null);
        }
        let deviation = (self.squares / (self.count - fewer) as f64).sqrt();
        number::real(deviation).ok_or_else(|| Error::bad_request("the deviation is not a finite number"))
    }
}

fn of(values: Values<'_>) -> Result<Spread> {
    let mut seen = Spread::default();
    spread(values).into_iter().try_for_each(|value| seen.add(value))?;
    Ok(seen)
}

pub(super) fn population_of(values: Values<'_>) -> Answer {
    of(values)?.of_population().map(Some)
}

pub(super) fn sample_of(values: Values<'_>) -> Answer {
    of(values)?.of_sample().map(Some)
}
