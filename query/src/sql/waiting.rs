//! Between tasks, which must not block, and threads that compute for them: a thread waits for a future, and
//! learns that nobody waits for its answer any more.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use common::{Error, ErrorCode};
use futures_util::future::AbortHandle;
use sqlite::Workspace;

/// Somebody waits for an answer that a thread computes. Dropped before [`Waiting::answered`], the thread is
/// told to stop.
pub(super) struct Waiting {
    watch: Watch,
    /// What the thread may be waiting for itself.
    sources: Vec<AbortHandle>,
    workspace: Workspace,
    answered: bool,
}

/// The thread's side of a [`Waiting`].
#[derive(Clone)]
pub(super) struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    gone: AtomicBool,
    deadline: Mutex<Option<Instant>>,
}

impl Waiting {
    pub(super) fn new(workspace: Workspace, deadline: Option<Instant>) -> Waiting {
        let shared = Shared { gone: AtomicBool::new(false), deadline: Mutex::new(deadline) };
        let watch = Watch { shared: Arc::new(shared) };
        Waiting { watch, sources: Vec::new(), workspace, answered: false }
    }

    /// Ends a stream of rows too when nobody waits any more.
    pub(super) fn also_ends(&mut self, source: AbortHandle) {
        self.sources.push(source);
    }

    /// What the thread asks.
    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// The answer is complete, or an error.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.watch.shared.gone.store(true, Ordering::Relaxed);
        for source in &self.sources {
            source.abort();
        }
        if !self.answered {
            self.workspace.note_cancelled();
        }
    }
}

impl Watch {
    /// Whether to stop: nobody waits, or the time is up.
    pub(super) fn is_over(&self) -> bool {
        self.shared.gone.load(Ordering::Relaxed)
            || self.deadline().is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn deadline(&self) -> Option<Instant> {
        *self.shared.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the thread time until another moment.
    pub(super) fn extend(&self, deadline: Option<Instant>) {
        *self.shared.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    /// Blocks this thread until the future is ready.
    ///
    /// # Errors
    /// `statement_timeout` when the deadline passes before.
    pub(super) fn wait_for<T>(&self, future: impl Future<Output = T>) -> common::Result<T> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return Ok(value);
            }
            let Some(deadline) = self.deadline() else {
                thread::park();
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(time_is_up());
            }
            thread::park_timeout(left);
        }
    }
}

/// The statement's own deadline has passed.
pub(super) fn time_is_up() -> Error {
    Error::new(ErrorCode::StatementTimeout, "interrupted")
        .with_hint("the statement's time was up; raise timeout_ms, or make it touch fewer rows")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future;

    use super::*;

    #[test]
    fn a_thread_waits_until_the_future_is_ready_or_the_time_is_up() {
        let watch = Waiting::new(Workspace::default(), None).watch();
        let (sender, receiver) = futures_channel::oneshot::channel();
        let other = thread::spawn(move || sender.send(7).unwrap());
        assert_eq!(watch.wait_for(receiver).unwrap(), Ok(7));
        other.join().unwrap();
        watch.extend(Some(Instant::now() + Duration::from_millis(5)));
        assert_eq!(watch.wait_for(future::pending::<()>()).unwrap_err().code, ErrorCode::StatementTimeout);
    }

    #[test]
    fn whoever_goes_away_is_noticed_and_counted() {
        let workspace = Workspace::default();
        let waiting = Waiting::new(workspace.clone(), None);
        let watch = waiting.watch();
        assert!(!watch.is_over());
        drop(waiting);
        assert!(watch.is_over());
        Waiting::new(workspace.clone(), None).answered();
        assert_eq!(workspace.used().cancelled, 1);
    }
}
