//! Settings of a runtime.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::shared_log::LogWriteError;

/// How a runtime keeps time and bounds its queues.
#[derive(Clone)]
pub struct RuntimeOptions {
    /// Length of a tick.
    pub tick: Duration,
    /// Election time-outs are drawn from this many ticks, included, …
    pub election_ticks_min: u32,
    /// … to this many, not included.
    pub election_ticks_max: u32,
    /// A leader is heard from every so many ticks.
    pub heartbeat_ticks: u32,
    /// A snapshot that was offered and not installed after so many ticks is offered again.
    pub snapshot_ticks_max: u32,
    /// Ticks made up for after the worker or the machine has stood still. More would let a replica call an
    /// election before it has read the messages that arrived meanwhile.
    pub ticks_after_stall_max: u32,
    /// While the log takes longer than a tick for a write, leaders are heard and followers answer all the same, for so
    /// many ticks: after that the disk is taken for one that hangs, and others may lead.
    pub stall_ticks_max: u32,
    /// Incoming messages and proposals that may wait for the worker; more are dropped or refused.
    pub inbox_events_max: usize,
    /// The same in bytes.
    pub inbox_bytes_max: usize,
    /// Bytes of messages in one call of the transport, unless a single message is larger.
    pub batch_bytes_max: usize,
    /// Seed of the election time-outs. Must differ between processes.
    pub seed: u64,
    /// A leader keeps the entries that a follower lacks, if these are not more than so many.
    pub truncation_lag_max: u64,
    /// A host is handed no further entries while it has so many bytes that it has not taken over.
    pub backlog_bytes_max: u64,
    /// Called when the log cannot be written or synced, to end the process; if it returns, the process is aborted.
    /// After a failed sync the kernel may
    /// hold pages that it calls clean and that are not on the disk: to try again would acknowledge what is lost.
    pub on_fatal: Arc<dyn Fn(&FatalError) + Send + Sync>,
}

impl RuntimeOptions {
    /// The usual settings, with a seed that differs between processes.
    #[must_use]
    pub fn new(seed: u64) -> RuntimeOptions {
        RuntimeOptions {
            tick: Duration::from_millis(100),
            election_ticks_min: 8,
            election_ticks_max: 16,
            heartbeat_ticks: 3,
            snapshot_ticks_max: 100,
            ticks_after_stall_max: 2,
            stall_ticks_max: 100,
            inbox_events_max: 16_384,
            inbox_bytes_max: 64 << 20,
            batch_bytes_max: 4 << 20,
            seed,
            truncation_lag_max: 256,
            backlog_bytes_max: 4 << 20,
            on_fatal: Arc::new(|error| {
                tracing::error!(%error, "the shared log has failed, the process ends");
                eprintln!("polylite: {error}; the process ends so that nothing lost is acknowledged");
                std::process::abort();
            }),
        }
    }
}

impl fmt::Debug for RuntimeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeOptions")
            .field("tick", &self.tick)
            .field("election_ticks", &(self.election_ticks_min..self.election_ticks_max))
            .field("heartbeat_ticks", &self.heartbeat_ticks)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// Why the process cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FatalError {
    /// The log could not be written or synced.
    #[error("the shared Raft log cannot be written: {0}")]
    Log(#[from] LogWriteError),
    /// The worker itself has failed.
    #[error("the consensus worker has failed: {0}")]
    Worker(String),
}
