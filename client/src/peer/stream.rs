//! The two ends of a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use common::limits::FRAME_MAX;
use futures_util::Stream;
use tokio::sync::mpsc;

use super::PeerError;
use super::connection::{Connection, Owner, SinkState, WINDOW};
use super::frame::Kind;

/// Credit is given back in portions of this many items.
const PORTION: u32 = WINDOW as u32 / 4;

/// The receiving end: a stream of items that ends after the last one, or with an error. Dropping it cancels.
pub struct PeerStream {
    connection: Arc<Owner>,
    stream: u64,
    items: mpsc::Receiver<Result<Bytes, PeerError>>,
    taken: u32,
}

impl PeerStream {
    pub(super) fn new(
        connection: Arc<Owner>,
        stream: u64,
        items: mpsc::Receiver<Result<Bytes, PeerError>>,
    ) -> PeerStream {
        PeerStream { connection, stream, items, taken: 0 }
    }
}

impl Stream for PeerStream {
    type Item = Result<Bytes, PeerError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.items.poll_recv(context));
        if let Some(Ok(_)) = &next {
            self.taken += 1;
            if self.taken == PORTION {
                self.taken = 0;
                self.connection.0.grant(self.stream, PORTION);
            }
        }
        Poll::Ready(next)
    }
}

impl Drop for PeerStream {
    fn drop(&mut self) {
        self.connection.0.cancel_stream(self.stream);
    }
}

/// The receiver no longer wants the stream, or the connection is gone: whoever feeds it should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of the stream has gone")]
pub struct StreamCancelled;

/// The sending end. It must be ended by [`finish`](StreamSink::finish) or [`fail`](StreamSink::fail):
/// a sink that is merely dropped, as by a panic, ends the stream with [`PeerError::Lost`], so that a
/// broken-off stream is never taken for a complete one.
pub struct StreamSink {
    connection: Arc<Connection>,
    stream: u64,
    state: SinkState,
}

impl StreamSink {
    pub(super) fn new(connection: Arc<Connection>, stream: u64) -> StreamSink {
        let state = connection.open_sink(stream);
        StreamSink { connection, stream, state }
    }

    /// Sends an item once the receiver takes one. Items of about 64 KiB are best: the receiver may have to
    /// hold 8 of them.
    pub async fn send(&self, item: Bytes) -> Result<(), StreamCancelled> {
        self.state.credit.acquire().await.map_err(|_| StreamCancelled)?.forget();
        if item.len() > FRAME_MAX {
            if self.connection.close_sink(self.stream) {
                self.connection.send_closing(Kind::ReplyTooLarge, self.stream);
            }
            self.state.credit.close();
            return Err(StreamCancelled);
        }
        self.connection.send_bulk(Kind::StreamItem, self.stream, item).await.map_err(|_| StreamCancelled)
    }

    /// Whether the receiver has gone.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.state.credit.is_closed()
    }

    /// Returns when the receiver has gone. It may be waited for while the sink is used.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + use<> {
        self.state.ended.clone().cancelled_owned()
    }

    /// The stream is complete.
    pub fn finish(self) {
        if self.connection.close_sink(self.stream) {
            self.connection.send_closing(Kind::StreamEnd, self.stream);
        }
    }

    /// The stream ends with an error, which the receiver gets as [`PeerError::Failed`].
    pub async fn fail(self, error: Bytes) {
        if self.connection.close_sink(self.stream)
            && self.connection.send_bulk(Kind::StreamError, self.stream, error).await.is_err()
        {
            self.connection.send_closing(Kind::Abandoned, self.stream);
        }
    }
}

impl Drop for StreamSink {
    fn drop(&mut self) {
        if self.connection.close_sink(self.stream) {
            self.connection.send_closing(Kind::Abandoned, self.stream);
        }
    }
}
