//! How often a replica's file was read again.

use std::sync::atomic::{AtomicU64, Ordering};

use sqlite::Finding;

/// Counts of a replica's readings.
#[derive(Debug, Default)]
pub struct ScrubCounts {
    begun: AtomicU64,
    whole: AtomicU64,
    ended: AtomicU64,
}

impl ScrubCounts {
    /// Readings that came to a finding.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.whole.load(Ordering::Relaxed)
    }

    /// Readings that were ended before, because too much was written meanwhile.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether a reading is under way.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > self.whole() + self.ended()
    }

    pub(super) fn count_begun(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, finding: &Finding) {
        let count = if *finding == Finding::Ended { &self.ended } else { &self.whole };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
