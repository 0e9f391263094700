//! What happens when, in simulated microseconds. Events of the same moment happen in the order in which they
//! were scheduled, so a run depends on nothing but its seed.

use std::collections::BTreeMap;

/// A queue of events to come.
#[derive(Debug)]
pub struct Schedule<E> {
    now: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), E>,
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Schedule { now: 0, sequence: 0, events: BTreeMap::new() }
    }
}

impl<E> Schedule<E> {
    /// The present.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// When the next event is to happen.
    #[must_use]
    pub fn next_time(&self) -> Option<u64> {
        self.events.first_key_value().map(|((time, _), _)| *time)
    }

    /// Lets an event happen after `delay`.
    pub fn after(&mut self, delay: u64, event: E) {
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), event);
    }

    /// Moves on to the next event.
    pub fn next(&mut self) -> Option<E> {
        let ((time, _), event) = self.events.pop_first()?;
        self.now = time;
        Some(event)
    }
}
