//! When ticks pass, and which of them the worker has to be awake for.
//!
//! Most ticks only count: a follower that hears from its leader, and a leader between two heartbeats, have
//! nothing to do. The worker sleeps through those and makes up for them when something wakes it.

use std::time::{Duration, Instant};

/// The worker's clock. Times are handed in.
pub(super) struct Ticks {
    length: Duration,
    /// Ticks made up for after the worker or the machine has stood still.
    after_stall_max: u32,
    /// When the last tick that was counted began.
    last: Instant,
}

/// Ticks that have passed during a wait.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Counted before the events that ended the wait: nothing is due in them.
    pub(super) before_events: u32,
    /// Counted after them. After a stall, a leader's messages that are here already must be heard before time
    /// is found to have run out.
    pub(super) after_events: u32,
    /// Left out, because nobody was there to hear anything in them.
    pub(super) skipped: u64,
}

impl Ticks {
    pub(super) fn new(length: Duration, after_stall_max: u32, now: Instant) -> Ticks {
        Ticks { length, after_stall_max, last: now }
    }

    /// When the tick is over in which something is due.
    pub(super) fn deadline(&self, due: u32) -> Instant {
        self.last + self.length.saturating_mul(due)
    }

    /// What has passed by now, of a wait until the tick in which something was due.
    pub(super) fn pass(&mut self, now: Instant, due: u32) -> Passed {
        let elapsed = now.saturating_duration_since(self.last).as_nanos() / self.length.as_nanos().max(1);
        let elapsed = u32::try_from(elapsed).unwrap_or(u32::MAX);
        self.last += self.length.saturating_mul(elapsed);
        let idle = elapsed.min(due.saturating_sub(1));
        let after_events = elapsed - idle;
        if after_events <= self.after_stall_max {
            return Passed { before_events: idle, after_events, skipped: 0 };
        }
        // Nobody knows when the stall began, so the ticks before it do not count either.
        let skipped = u64::from(elapsed - self.after_stall_max);
        Passed { before_events: 0, after_events: self.after_stall_max, skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_millis(100);

    fn passed(before_events: u32, after_events: u32, skipped: u64) -> Passed {
        Passed { before_events, after_events, skipped }
    }

    #[test]
    fn ticks_that_were_slept_through_are_counted_at_the_next_event() {
        let start = Instant::now();
        let mut ticks = Ticks::new(LENGTH, 2, start);
        assert_eq!(ticks.deadline(8), start + 8 * LENGTH);
        assert_eq!(ticks.pass(start + LENGTH / 2, 8), passed(0, 0, 0));
        assert_eq!(ticks.pass(start + 3 * LENGTH + LENGTH / 2, 8), passed(3, 0, 0));
        assert_eq!(ticks.deadline(5), start + 8 * LENGTH, "the length of a tick does not drift");
        assert_eq!(ticks.pass(start + 8 * LENGTH, 5), passed(4, 1, 0));
    }

    #[test]
    fn a_little_lateness_is_made_up_for_after_the_events() {
        let start = Instant::now();
        let mut ticks = Ticks::new(LENGTH, 2, start);
        assert_eq!(ticks.pass(start + 2 * LENGTH, 1), passed(0, 2, 0));
        assert_eq!(ticks.pass(start + 6 * LENGTH, 3), passed(2, 2, 0));
    }

    #[test]
    fn a_stall_counts_as_hardly_any_time() {
        let start = Instant::now();
        let mut ticks = Ticks::new(LENGTH, 2, start);
        assert_eq!(ticks.pass(start + 50 * LENGTH, 8), passed(0, 2, 48));
        assert_eq!(ticks.pass(start + 51 * LENGTH, 8), passed(1, 0, 0));
    }
}
