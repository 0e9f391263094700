//! The node's hybrid logical clock, shared by its replicas and its connections.

use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::Hlc;
use parking_lot::Mutex;

/// A clock that never runs backwards within the process and runs ahead of every clock that it hears of.
#[derive(Clone, Default)]
pub struct Clock {
    last: Arc<Mutex<Hlc>>,
}

impl Clock {
    /// A reading later than every reading before it and every one observed.
    #[must_use]
    pub fn now(&self) -> Hlc {
        let mut last = self.last.lock();
        *last = last.next(wall_millis());
        *last
    }

    /// Takes notice of another node's clock.
    pub fn observe(&self, remote: Hlc) {
        let mut last = self.last.lock();
        *last = last.observe(remote);
    }
}

impl polylite_client::peer::PeerClock for Clock {
    fn now(&self) -> Hlc {
        Clock::now(self)
    }

    fn observe(&self, remote: Hlc) {
        Clock::observe(self, remote);
    }
}

/// Microseconds since some moment of this process; never runs backwards. Deadlines are counted by it.
#[must_use]
pub fn monotonic_us() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch, as the operating system has it.
#[must_use]
pub fn wall_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_later_than_what_was_observed() {
        let clock = Clock::default();
        let ahead = Hlc::from_millis(wall_millis() + 60_000);
        clock.observe(ahead);
        assert!(clock.now() > ahead);
    }
}
