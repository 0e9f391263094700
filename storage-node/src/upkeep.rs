//! How a node looks after its replicas beside serving them: what it takes, for all of them together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Settings of it.
#[derive(Clone, Debug)]
pub struct UpkeepOptions {
    /// The replicas of a partition that has changed compare their digests so often.
    pub compare_every: Duration,
    /// Between two readings of a replica's whole file.
    pub scrub_pause: Duration,
    /// Files are read again at this rate, in bytes a second.
    pub scrub_rate: u64,
    /// Copies of other replicas' files are fetched at this rate, in bytes a second.
    pub fetch_rate: u64,
    /// A replica's write-ahead log is brought into its file above this size, in bytes: when a node starts, it reads all
    /// of them.
    pub wal_bytes: u64,
}

impl Default for UpkeepOptions {
    fn default() -> Self {
        UpkeepOptions {
            compare_every: Duration::from_secs(10),
            scrub_pause: Duration::from_secs(30),
            scrub_rate: 16 << 20,
            fetch_rate: 64 << 20,
            wal_bytes: 64 << 20,
        }
    }
}

/// What the node's replicas share of it.
pub struct Upkeep {
    /// The settings.
    pub options: UpkeepOptions,
    /// One file is read again at a time.
    pub scrubbing: Arc<Semaphore>,
    /// How fast.
    pub scrub_rate: Rate,
    /// How fast copies are fetched.
    pub fetch_rate: Rate,
    /// One copy is made at a time, so that whoever waits finds what another one has made.
    pub copying: Mutex<()>,
    /// How fast they are made for others, and read again before they are used.
    copy_rate: Rate,
}

impl Upkeep {
    /// Nothing under way.
    #[must_use]
    pub fn new(options: UpkeepOptions) -> Upkeep {
        Upkeep {
            scrubbing: Arc::new(Semaphore::new(1)),
            scrub_rate: Rate::new(options.scrub_rate),
            fetch_rate: Rate::new(options.fetch_rate),
            copying: Mutex::default(),
            copy_rate: Rate::new(options.fetch_rate.saturating_mul(2)),
            options,
        }
    }

    /// Waits, on the thread that calls, as long as reading or writing so many bytes of a copy asks for: clients come first.
    pub fn pace_copy(&self, bytes: usize) {
        std::thread::sleep(self.copy_rate.take(bytes));
    }
}

/// Bytes a second, shared by whoever asks.
pub struct Rate {
    bytes_per_second: u64,
    /// When what was taken so far is paid for.
    paid: Mutex<Instant>,
}

impl Rate {
    fn new(bytes_per_second: u64) -> Rate {
        Rate { bytes_per_second: bytes_per_second.max(1), paid: Mutex::new(Instant::now()) }
    }

    /// Takes some bytes, and tells how long to wait before the next.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Duration {
        self.take_at(Instant::now(), bytes)
    }

    fn take_at(&self, now: Instant, bytes: usize) -> Duration {
        let nanoseconds = (bytes as u128 * 1_000_000_000) / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut paid = self.paid.lock();
        *paid = (*paid).max(now) + cost;
        *paid - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_waits_for_what_all_have_taken() {
        let rate = Rate::new(1_000);
        let start = Instant::now() + Duration::from_secs(1);
        assert_eq!(rate.take_at(start, 500), Duration::from_millis(500));
        assert_eq!(rate.take_at(start, 1_000), Duration::from_millis(1_500));
        // What was not used in the meantime is not saved up.
        let later = start + Duration::from_secs(60);
        assert_eq!(rate.take_at(later, 100), Duration::from_millis(100));
    }
}
