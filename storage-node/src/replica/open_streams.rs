//! Streams that hold a snapshot of the file open.
//!
//! A snapshot keeps SQLite from reusing its write-ahead log, and a stream goes at its receiver's pace: one that is
//! hardly read would let that log grow until the disk is full. So the oldest stream can be ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Error, ErrorCode};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The streams of a replica, in the order in which they were opened.
#[derive(Default)]
pub(super) struct OpenStreams {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, CancellationToken>,
}

impl OpenStreams {
    /// A stream begins. It is open until the answer is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> OpenStream {
        let mut state = self.state.lock();
        state.next += 1;
        let (number, ended) = (state.next, CancellationToken::new());
        state.open.insert(number, ended.clone());
        OpenStream { streams: self.clone(), number, ended }
    }

    /// Ends the stream that was opened first. Says whether there was one.
    pub(super) fn end_oldest(&self) -> bool {
        let oldest = self.state.lock().open.pop_first();
        oldest.inspect(|(_, ended)| ended.cancel()).is_some()
    }
}

/// A stream's place among the open ones.
pub(super) struct OpenStream {
    streams: Arc<OpenStreams>,
    number: u64,
    ended: CancellationToken,
}

impl OpenStream {
    /// Does something for as long as the stream may go on.
    pub(super) async fn while_open<T>(&self, act: impl Future<Output = T>) -> Result<T, Error> {
        self.ended.run_until_cancelled(act).await.ok_or_else(|| {
            Error::new(ErrorCode::Unavailable, "the read was ended because it kept too many changes waiting")
                .with_hint("read faster, or in smaller parts")
        })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.state.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_stream_opened_first_is_ended_first() {
        let streams = Arc::new(OpenStreams::default());
        let (gone, oldest, newest) = (streams.enter(), streams.enter(), streams.enter());
        drop(gone);
        assert!(streams.end_oldest());
        let ended = oldest.while_open(std::future::pending::<()>()).await.unwrap_err();
        assert!(ended.code.retryable());
        assert_eq!(newest.while_open(std::future::ready(7)).await.unwrap(), 7);
        assert!(streams.end_oldest());
        assert!(!streams.end_oldest(), "those that were ended are forgotten");
    }
}
