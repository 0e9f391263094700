//! Frames on the wire: a fixed header, then the payload.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of the payload |
//! | 1 | kind |
//! | 1 | 1 if more chunks of the same message follow |
//! | 2 | zero |
//! | 8 | stream id, 0 for what belongs to no stream |
//! | 8 | the sender's hybrid logical clock |
//!
//! Numbers are little-endian.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use common::Hlc;

/// Size of a header in bytes.
pub(super) const HEADER: usize = 24;
/// Largest payload of one frame; a larger message is cut into several.
pub(super) const CHUNK: usize = 64 << 10;
/// Payloads up to this size are copied out of the read buffer: a small one that lives long should not
/// keep a whole buffer alive.
const SMALL: usize = 1 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The first frame of each side: version and identity.
    Hello = 1,
    /// A request that has one reply.
    Call = 2,
    /// The reply.
    Reply = 3,
    /// The reply exists and cannot be sent: too large.
    ReplyTooLarge = 4,
    /// The service broke off without replying or ending its stream.
    Abandoned = 5,
    /// A message without an answer.
    OneWay = 6,
    /// A request that is answered by a stream.
    StreamOpen = 7,
    /// An item of a stream.
    StreamItem = 8,
    /// The stream is complete.
    StreamEnd = 9,
    /// The stream ended with an error, which is the payload.
    StreamError = 10,
    /// The receiver of a stream takes more items; the payload is their number.
    Credit = 11,
    /// The request is withdrawn, or the stream no longer wanted.
    Cancel = 12,
    /// Nothing but a sign of life.
    Ping = 13,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        const KINDS: [Kind; 13] = [
            Kind::Hello,
            Kind::Call,
            Kind::Reply,
            Kind::ReplyTooLarge,
            Kind::Abandoned,
            Kind::OneWay,
            Kind::StreamOpen,
            Kind::StreamItem,
            Kind::StreamEnd,
            Kind::StreamError,
            Kind::Credit,
            Kind::Cancel,
            Kind::Ping,
        ];
        KINDS.get(usize::from(byte).checked_sub(1)?).copied()
    }
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    pub more: bool,
    pub stream: u64,
    pub clock: Hlc,
    pub length: usize,
}

impl Header {
    /// Appends the header's bytes.
    pub(super) fn put(&self, out: &mut BytesMut) {
        let length = u32::try_from(self.length).expect("a frame is no larger than a chunk");
        out.put_u32_le(length);
        out.put_u8(self.kind as u8);
        out.put_u8(u8::from(self.more));
        out.put_u16_le(0);
        out.put_u64_le(self.stream);
        out.put_u64_le(self.clock.0);
    }

    fn parse(mut bytes: &[u8]) -> io::Result<Header> {
        let length = bytes.get_u32_le() as usize;
        let kind = Kind::from_byte(bytes.get_u8()).ok_or_else(|| violation("a frame of an unknown kind"))?;
        let more = bytes.get_u8() == 1;
        bytes.advance(2);
        let stream = bytes.get_u64_le();
        let clock = Hlc(bytes.get_u64_le());
        if length > CHUNK {
            return Err(violation("a frame larger than a chunk"));
        }
        Ok(Header { kind, more, stream, clock, length })
    }
}

/// Takes the next whole frame out of the read buffer. Without one, the buffer is given room for the rest.
pub(super) fn take(buffer: &mut BytesMut) -> io::Result<Option<(Header, Bytes)>> {
    if buffer.len() < HEADER {
        return Ok(None);
    }
    let header = Header::parse(&buffer[..HEADER])?;
    let whole = HEADER + header.length;
    if buffer.len() < whole {
        buffer.reserve(whole - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEADER);
    let payload = match header.length {
        0 => Bytes::new(),
        length if length <= SMALL => {
            let small = Bytes::copy_from_slice(&buffer[..length]);
            buffer.advance(length);
            small
        }
        length => buffer.split_to(length).freeze(),
    };
    Ok(Some((header, payload)))
}

/// The peer does not keep to the protocol.
pub(super) fn violation(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the peer sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: usize) -> Header {
        Header { kind: Kind::StreamItem, more: true, stream: 7, clock: Hlc(9), length }
    }

    #[test]
    fn a_frame_is_read_back_once_all_its_bytes_are_there() {
        let mut wire = BytesMut::new();
        header(5).put(&mut wire);
        assert_eq!(wire.len(), HEADER);
        wire.put_slice(b"hello");
        for cut in 0..wire.len() {
            let mut part = BytesMut::from(&wire[..cut]);
            assert_eq!(take(&mut part).expect("valid so far"), None);
        }
        let (read, payload) = take(&mut wire).expect("valid").expect("whole");
        assert_eq!((read, payload.as_ref()), (header(5), b"hello".as_ref()));
        assert!(wire.is_empty());
    }

    #[test]
    fn unknown_kinds_and_oversized_frames_are_refused() {
        let mut wire = BytesMut::new();
        header(0).put(&mut wire);
        wire[4] = 200;
        assert!(take(&mut wire.clone()).is_err());
        wire[4] = 0;
        assert!(take(&mut wire.clone()).is_err());
        let mut wire = BytesMut::new();
        header(CHUNK + 1).put(&mut wire);
        assert!(take(&mut wire).is_err());
    }
}
