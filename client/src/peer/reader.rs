//! The reading side of a connection: frames are put together into messages and handed to whom they concern.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf as _, Bytes, BytesMut};
use common::limits::FRAME_MAX;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::PeerError;
use super::connection::Connection;
use super::frame::{self, Kind, violation};
use super::handshake::READ_BUFFER;
use super::server::Requests;

/// Most messages that may be in pieces at a time.
const PARTIAL_MAX: usize = 4096;

/// Chunks of messages that are not whole yet, by stream.
#[derive(Default)]
struct Partial {
    messages: HashMap<u64, (Vec<Bytes>, usize)>,
}

impl Partial {
    /// Adds a chunk; the whole message if it was the last one.
    fn add(&mut self, stream: u64, chunk: Bytes, more: bool) -> io::Result<Option<Bytes>> {
        if !more && !self.messages.contains_key(&stream) {
            return Ok(Some(chunk));
        }
        let (chunks, size) = self.messages.entry(stream).or_default();
        *size += chunk.len();
        if *size > FRAME_MAX {
            return Err(violation("a message that is too large"));
        }
        chunks.push(chunk);
        if more {
            let excessive = self.messages.len() > PARTIAL_MAX;
            return if excessive { Err(violation("too many messages in pieces")) } else { Ok(None) };
        }
        let (chunks, size) = self.messages.remove(&stream).expect("a chunk was just added");
        let mut whole = BytesMut::with_capacity(size);
        for chunk in &chunks {
            whole.extend_from_slice(chunk);
        }
        Ok(Some(whole.freeze()))
    }

    fn forget(&mut self, stream: u64) {
        self.messages.remove(&stream);
    }
}

/// Reads until the connection is closed from either side. `requests` takes what a peer may ask; without it
/// the peer may only answer.
pub(super) async fn read_until_closed(
    connection: &Arc<Connection>,
    mut io: impl AsyncRead + Unpin,
    mut buffer: BytesMut,
    requests: Option<&Requests>,
) -> io::Result<()> {
    let mut partial = Partial::default();
    loop {
        while let Some((header, payload)) = frame::take(&mut buffer)? {
            connection.clock.observe(header.clock);
            // Only these travel in chunks; the others are small, and never mark more.
            let chunked = matches!(
                header.kind,
                Kind::Call
                    | Kind::Reply
                    | Kind::OneWay
                    | Kind::StreamOpen
                    | Kind::StreamItem
                    | Kind::StreamError
            );
            let message = if chunked {
                let Some(message) = partial.add(header.stream, payload, header.more)? else { continue };
                message
            } else {
                // The others end their stream or withdraw its request, so a part of a message is void;
                // credit concerns the other direction.
                if matches!(header.kind, Kind::Cancel | Kind::StreamEnd | Kind::Abandoned) {
                    partial.forget(header.stream);
                }
                payload
            };
            dispatch(connection, requests, header.kind, header.stream, message)?;
        }
        if buffer.capacity() - buffer.len() < READ_BUFFER / 4 {
            buffer.reserve(READ_BUFFER);
        }
        let count = tokio::select! {
            biased;
            count = io.read_buf(&mut buffer) => count?,
            () = connection.closed.cancelled() => return Ok(()),
        };
        if count == 0 {
            return Ok(());
        }
        connection.heard.store(true, Ordering::Relaxed);
    }
}

fn dispatch(
    connection: &Arc<Connection>,
    requests: Option<&Requests>,
    kind: Kind,
    stream: u64,
    mut payload: Bytes,
) -> io::Result<()> {
    match (kind, requests) {
        (Kind::Reply, _) => connection.complete(stream, Ok(payload)),
        (Kind::ReplyTooLarge, _) => {
            connection.complete(stream, Err(PeerError::ReplyTooLarge));
            connection.end_stream(stream, Some(PeerError::ReplyTooLarge));
        }
        (Kind::Abandoned, _) => {
            connection.complete(stream, Err(PeerError::Lost));
            connection.end_stream(stream, Some(PeerError::Lost));
        }
        (Kind::StreamItem, _) => {
            if !connection.deliver(stream, payload) {
                return Err(violation("more items than it had credit for"));
            }
        }
        (Kind::StreamEnd, _) => connection.end_stream(stream, None),
        (Kind::StreamError, _) => connection.end_stream(stream, Some(PeerError::Failed(payload))),
        (Kind::Ping, _) => {}
        (Kind::Call, Some(requests)) => requests.call(connection, stream, payload),
        (Kind::StreamOpen, Some(requests)) => requests.stream(connection, stream, payload),
        (Kind::OneWay, Some(requests)) => requests.one_way(payload),
        (Kind::Cancel, Some(_)) => connection.give_up(stream),
        (Kind::Credit, Some(_)) if payload.len() == 4 => {
            connection.add_credit(stream, payload.get_u32_le() as usize);
        }
        _ => return Err(violation("a frame out of place")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_several_messages_are_put_together_apart() {
        let mut partial = Partial::default();
        let add = |partial: &mut Partial, stream, text: &'static str, more| {
            partial.add(stream, Bytes::from_static(text.as_bytes()), more).expect("valid")
        };
        assert_eq!(add(&mut partial, 1, "ab", true), None);
        assert_eq!(add(&mut partial, 2, "xy", true), None);
        assert_eq!(add(&mut partial, 3, "whole", false).as_deref(), Some(b"whole".as_ref()));
        assert_eq!(add(&mut partial, 1, "cd", false).as_deref(), Some(b"abcd".as_ref()));
        partial.forget(2);
        assert_eq!(add(&mut partial, 2, "z", false).as_deref(), Some(b"z".as_ref()));
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_before_it_is_whole() {
        let mut partial = Partial::default();
        let chunk = Bytes::from(vec![0; FRAME_MAX]);
        assert!(partial.add(1, chunk, true).is_ok());
        assert!(partial.add(1, Bytes::from_static(b"x"), true).is_err());
    }
}
