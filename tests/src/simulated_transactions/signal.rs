//! Something that happens once, and for which any number of tasks wait. They go on in the order in which they began to
//! wait; those of a `tokio::sync::watch` do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// See the module. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Signal {
    shared: Arc<(AtomicBool, Notify)>,
}

impl Signal {
    /// It happens.
    pub(super) fn give(&self) {
        self.shared.0.store(true, Ordering::Relaxed);
        self.shared.1.notify_waiters();
    }

    pub(super) fn is_given(&self) -> bool {
        self.shared.0.load(Ordering::Relaxed)
    }

    /// Waits until it has happened.
    pub(super) async fn given(&self) {
        // One thread runs everything: nothing happens between the look and the wait.
        while !self.is_given() {
            self.shared.1.notified().await;
        }
    }
}
