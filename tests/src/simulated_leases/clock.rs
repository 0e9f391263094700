//! Clocks that agree neither on the time nor on how fast it passes.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::PlantedBug;

/// A process' clock.
#[derive(Debug)]
pub struct Clock {
    ahead: Duration,
    /// How fast it runs, in thousandths of the true rate.
    rate: u32,
}

impl Clock {
    /// No clock runs a tenth faster than another.
    pub fn new(random: &mut StdRng, bug: Option<PlantedBug>) -> Clock {
        let rate = match bug {
            Some(PlantedBug::ClockTooFast) => random.random_range(700..=1_400),
            _ => random.random_range(955..=1_050),
        };
        Clock { ahead: Duration::from_millis(random.random_range(0..1_000_000)), rate }
    }

    /// What it shows.
    pub fn at(&self, time: Duration) -> Duration {
        self.ahead + time * self.rate / 1_000
    }
}
