//! When a request is repeated, and after how long a pause.

use std::time::Duration;

use common::Outcome;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::Effect;
use crate::error::{Error, local};

/// How often and how patiently requests are repeated.
///
/// A request is repeated when the server may answer better later or elsewhere. Writes are sent under a name, an
/// idempotency key, by which the server knows a repetition: it changes nothing and gets the first answer. What has
/// no name (the statements of a batch that is not atomic) is repeated only when it is certain that it was not applied:
/// the connection was never made, or the server's answer says `retryable` and `not_applied`.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts in all; 1 means that nothing is repeated.
    pub attempts_max: u32,
    /// The pause after the first attempt is drawn from half of this to the whole; it doubles each time.
    pub pause_min: Duration,
    /// Longest pause.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts_max: 8,
            pause_min: Duration::from_millis(50),
            pause_max: Duration::from_secs(2),
        }
    }
}

impl RetryPolicy {
    /// The pause after the `attempt`th attempt, counted from 1. What the server asks for is respected, up to
    /// ten times the longest pause. Jitter keeps clients that failed together from coming back together.
    pub(super) fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.pause_min.saturating_mul(1 << (attempt - 1).min(16)).min(self.pause_max);
        let drawn = doubled.mul_f64(SmallRng::from_os_rng().random_range(0.5..=1.0));
        asked.map_or(drawn, |asked| asked.min(self.pause_max * 10).max(drawn))
    }
}

/// Whether a request may be repeated after an error.
pub(super) fn may_repeat(effect: Effect, is_named: bool, error: &Error) -> bool {
    let never_sent = error.code == local::UNREACHABLE;
    let may_pass =
        || error.retryable || error.code == local::CONNECTION_LOST || matches!(error.status, Some(502..=504));
    match effect {
        _ if never_sent => true,
        Effect::Reads => may_pass(),
        Effect::Writes if is_named => {
            matches!(error.outcome, Outcome::NotApplied | Outcome::Unknown) && may_pass()
        }
        Effect::Writes => error.retryable && error.outcome == Outcome::NotApplied,
    }
}

/// Whether another coordinator may do better: this one is gone, or says that it cannot.
pub(super) fn should_move_on(error: &Error) -> bool {
    error.code == local::UNREACHABLE
        || error.code == local::CONNECTION_LOST
        || matches!(error.status, Some(502..=504))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_respect_what_the_server_asks() {
        let policy = RetryPolicy::default();
        for attempt in 1..20 {
            let longest = (policy.pause_min * (1 << (attempt - 1).min(10))).min(policy.pause_max);
            let pause = policy.pause(attempt, None);
            assert!(pause >= longest / 2 && pause <= longest, "{attempt}: {pause:?}");
        }
        assert_eq!(policy.pause(1, Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(policy.pause(1, Some(Duration::from_secs(3000))), Duration::from_secs(20));
    }
}
