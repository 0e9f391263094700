//! The clock of a storage node.

use std::sync::{Arc, Mutex};

use common::Hlc;

/// A hybrid logical clock, which all replicas of a storage node share. It outlives crashes: production keeps a bound on
/// disk that its clock has never passed.
#[derive(Clone, Debug, Default)]
pub struct NodeClock {
    last: Arc<Mutex<Hlc>>,
    ahead_ms: u64,
}

impl NodeClock {
    /// One whose wall clock is so many milliseconds ahead.
    #[must_use]
    pub fn ahead(ahead_ms: u64) -> NodeClock {
        NodeClock { last: Arc::default(), ahead_ms }
    }

    /// A reading, later than all before it.
    #[must_use]
    pub fn now(&self, wall_ms: u64) -> Hlc {
        let mut last = self.last.lock().expect("a panic ends the run");
        *last = last.next(wall_ms + self.ahead_ms);
        *last
    }

    /// Hears of another node's reading.
    pub fn observe(&self, reading: Hlc) {
        let mut last = self.last.lock().expect("a panic ends the run");
        *last = last.observe(reading);
    }
}
