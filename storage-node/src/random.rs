//! Random numbers, from the operating system.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// A number that nobody else draws.
#[must_use]
pub fn unique() -> u128 {
    SmallRng::from_os_rng().random()
}

/// A seed.
#[must_use]
pub fn seed() -> u64 {
    SmallRng::from_os_rng().random()
}
