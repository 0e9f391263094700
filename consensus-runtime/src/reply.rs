//! An answer that the worker will give.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// An answer to be awaited, or waited for on an ordinary thread.
#[must_use = "the answer tells whether the request was taken"]
pub struct Reply<T> {
    receiver: oneshot::Receiver<T>,
    /// The answer if the worker ends, or the group is stopped, before it gives one.
    if_gone: Option<T>,
}

impl<T> Reply<T> {
    pub(crate) fn new(if_gone: T) -> (oneshot::Sender<T>, Reply<T>) {
        let (sender, receiver) = oneshot::channel();
        (sender, Reply { receiver, if_gone: Some(if_gone) })
    }

    /// Blocks this thread until the answer is there. Not for threads of an async runtime.
    pub fn wait(self) -> T {
        let Reply { receiver, if_gone } = self;
        receiver.blocking_recv().unwrap_or_else(|_| if_gone.expect("it is taken only by poll"))
    }
}

impl<T: Unpin> Future for Reply<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.receiver)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_| self.if_gone.take().expect("polled after completion")))
    }
}
