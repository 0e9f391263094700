//! The seed of a run: by default the same everywhere, so that a change is judged by what it does; else the one
//! that is asked for, or a fresh one to look for differences that nobody has seen.

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

/// The seed where none is asked for.
const USUAL: u64 = 1_000;

/// `POLYLITE_SEED`: a number, or `fresh`; it is printed as it would have to be set.
#[must_use]
pub fn chosen() -> u64 {
    let seed = match std::env::var("POLYLITE_SEED") {
        Ok(word) if word == "fresh" => SmallRng::from_os_rng().random(),
        _ => setting("POLYLITE_SEED").unwrap_or(USUAL),
    };
    println!("POLYLITE_SEED={seed}");
    seed
}
