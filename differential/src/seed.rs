//! The seed of a run: a fresh one that is printed, or the one that is asked for, to see the same run again.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// The number that an environment variable holds, if it is set.
///
/// # Panics
/// If it is set to anything else.
#[must_use]
pub fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// `POLYLITE_SEED`, or a fresh seed; it is printed as it would have to be set.
#[must_use]
pub fn chosen() -> u64 {
    let seed = setting("POLYLITE_SEED").unwrap_or_else(|| SmallRng::from_os_rng().random());
    println!("POLYLITE_SEED={seed}");
    seed
}
