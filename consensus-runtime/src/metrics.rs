//! Counters of a runtime.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a runtime has done since it started. Shared with readers; each counter is exact, their sum at
        /// one moment is not.
        #[derive(Debug, Default)]
        pub struct Metrics { $($(#[$doc])* pub $name: AtomicU64,)* sync_micros: [AtomicU64; SYNC_BOUNDS.len() + 1] }

        /// The counters at one moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct MetricsSnapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// Syncs by duration: upper bound in microseconds (`u64::MAX` for the last), count.
            pub sync_micros: Vec<(u64, u64)>,
        }

        impl Metrics {
            /// Reads the counters.
            #[must_use]
            pub fn snapshot(&self) -> MetricsSnapshot {
                let bounds = SYNC_BOUNDS.into_iter().chain([u64::MAX]);
                let counts = self.sync_micros.iter().map(|count| count.load(Ordering::Relaxed));
                MetricsSnapshot {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    sync_micros: bounds.zip(counts).collect(),
                }
            }
        }
    };
}

/// Upper bounds of the sync histogram, in microseconds.
const SYNC_BOUNDS: [u64; 8] = [100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000];

counters! {
    /// Rounds of the worker in which there was something to do.
    rounds,
    /// Batches written to the log.
    writes,
    /// Syncs of the log.
    syncs,
    /// Time spent in them, in microseconds.
    sync_micros_total,
    /// Entries written.
    entries,
    /// Bytes of those entries' data.
    entry_bytes,
    /// Entries handed to hosts.
    committed,
    /// Messages sent.
    messages_sent,
    /// Bytes sent.
    bytes_sent,
    /// Batches given to the transport.
    frames_sent,
    /// Messages received.
    messages_received,
    /// Incoming messages dropped: malformed, misdelivered, refused, of an unknown group, or too many at once.
    messages_dropped,
    /// Outgoing messages dropped because the addressee's address is not known.
    messages_unaddressed,
    /// Groups that have failed.
    groups_failed,
    /// Ticks left out after a stall.
    ticks_skipped,
}

impl Metrics {
    pub(crate) fn synced(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&self.syncs, 1);
        add(&self.sync_micros_total, micros);
        let slot = SYNC_BOUNDS.partition_point(|bound| *bound < micros);
        add(&self.sync_micros[slot], 1);
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
