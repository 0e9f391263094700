//! Reading statements that run now: how many there are, and whether anybody still waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts of a replica's reading statements.
#[derive(Debug, Default)]
pub struct StatementCounts {
    running: AtomicU64,
    cancelled: AtomicU64,
}

impl StatementCounts {
    /// Statements that run on threads of their own now.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    /// Statements that were ended because nobody waited any more.
    #[must_use]
    pub fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Somebody waits for a statement. Dropped before [`Running::ended`], the statement is told to stop.
pub(super) struct Running {
    counts: Arc<StatementCounts>,
    gone: Arc<AtomicBool>,
    ended: bool,
}

/// The statement's own side. It counts as running until this is dropped.
pub(super) struct Watch {
    counts: Arc<StatementCounts>,
    gone: Arc<AtomicBool>,
}

impl Running {
    pub(super) fn begin(counts: &Arc<StatementCounts>) -> Running {
        Running { counts: Arc::clone(counts), gone: Arc::default(), ended: false }
    }

    /// What the statement's thread takes along.
    pub(super) fn watch(&self) -> Watch {
        self.counts.running.fetch_add(1, Ordering::Relaxed);
        Watch { counts: Arc::clone(&self.counts), gone: Arc::clone(&self.gone) }
    }

    /// The statement has come to its end.
    pub(super) fn ended(&mut self) {
        self.ended = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.gone.store(true, Ordering::Relaxed);
            self.counts.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Watch {
    /// Whether the statement works in vain.
    pub(super) fn nobody_waits(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.counts.running.fetch_sub(1, Ordering::Relaxed);
    }
}
