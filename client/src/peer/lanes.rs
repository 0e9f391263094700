//! What waits to be written: an urgent lane and a bulk lane, and the batch that leaves in one system call.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use common::Hlc;
use tokio::sync::OwnedSemaphorePermit;

use super::frame::{CHUNK, HEADER, Header, Kind};

/// A batch is closed at about this size, so that an urgent message waits for no more than that.
const BATCH: usize = 128 << 10;
/// Payloads up to this size are copied beside their header; larger ones are written from where they are.
const COPY: usize = 4 << 10;

/// A message that waits for the writer.
pub(super) struct Outgoing {
    pub kind: Kind,
    pub stream: u64,
    /// What is left to write of it.
    pub payload: Bytes,
    /// Whether a chunk of it was written already.
    pub begun: bool,
    /// Its place in the bounded queue; given back when the message is written or dropped.
    pub room: Option<OwnedSemaphorePermit>,
}

impl Outgoing {
    pub(super) fn new(kind: Kind, stream: u64, payload: Bytes) -> Outgoing {
        Outgoing { kind, stream, payload, begun: false, room: None }
    }

    pub(super) fn with_room(mut self, room: OwnedSemaphorePermit) -> Outgoing {
        self.room = Some(room);
        self
    }
}

/// What became of a message that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawn {
    /// Nothing of it was written.
    Unsent,
    /// A part was written; the peer holds that part and must be told.
    Begun,
    /// It is not waiting: all of it was written.
    Gone,
}

/// The two lanes of a connection.
#[derive(Default)]
pub(super) struct Lanes {
    pub urgent: VecDeque<Outgoing>,
    pub bulk: VecDeque<Outgoing>,
}

impl Lanes {
    /// Moves frames into the batch: all that is urgent, then bulk until the batch is full. `sent` hears of
    /// every message whose last byte is in the batch.
    pub(super) fn fill(&mut self, batch: &mut Batch, clock: Hlc, mut sent: impl FnMut(Kind, u64)) {
        while let Some(message) = self.urgent.pop_front() {
            batch.push(message.kind, message.stream, false, clock, message.payload);
        }
        while batch.length < BATCH {
            let Some(mut message) = self.bulk.pop_front() else { break };
            let more = message.payload.len() > CHUNK;
            let chunk =
                if more { message.payload.split_to(CHUNK) } else { std::mem::take(&mut message.payload) };
            batch.push(message.kind, message.stream, more, clock, chunk);
            if !more {
                sent(message.kind, message.stream);
                continue;
            }
            message.begun = true;
            match message.kind {
                // Calls and replies take turns, so that a small one does not wait for a large one.
                Kind::Call | Kind::Reply | Kind::StreamOpen => self.bulk.push_back(message),
                // Items of a stream and one-way messages keep their order.
                _ => self.bulk.push_front(message),
            }
        }
        batch.seal();
    }

    /// Takes a request back, if it is still waiting.
    pub(super) fn withdraw(&mut self, stream: u64) -> Withdrawn {
        let waiting = self.bulk.iter().position(|message| message.stream == stream);
        match waiting.and_then(|index| self.bulk.remove(index)) {
            None => Withdrawn::Gone,
            Some(message) if message.begun => Withdrawn::Begun,
            Some(_) => Withdrawn::Unsent,
        }
    }

    /// Drops whatever waits of a stream, the rest of a message that was begun included.
    pub(super) fn discard(&mut self, stream: u64) {
        self.bulk.retain(|message| message.stream != stream);
    }
}

/// Frames on their way out: headers and small payloads side by side, large payloads where they are.
#[derive(Default)]
pub(super) struct Batch {
    segments: VecDeque<Bytes>,
    gathering: BytesMut,
    length: usize,
}

impl Batch {
    fn push(&mut self, kind: Kind, stream: u64, more: bool, clock: Hlc, payload: Bytes) {
        self.length += HEADER + payload.len();
        Header { kind, more, stream, clock, length: payload.len() }.put(&mut self.gathering);
        if payload.len() <= COPY {
            self.gathering.put_slice(&payload);
        } else {
            self.seal();
            self.segments.push_back(payload);
        }
    }

    fn seal(&mut self) {
        if !self.gathering.is_empty() {
            self.segments.push_back(self.gathering.split().freeze());
        }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| segment.as_ref())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(segment);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.length = self.length.checked_sub(count).expect("no more is written than there is");
        while count > 0 {
            let front = self.segments.front_mut().expect("segments hold the whole length");
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::frame;

    fn message(kind: Kind, stream: u64, size: usize) -> Outgoing {
        Outgoing::new(kind, stream, Bytes::from(vec![0; size]))
    }

    /// (stream, more) of every frame, in the order of the wire, with nothing arriving meanwhile.
    fn written(lanes: &mut Lanes) -> Vec<(u64, bool)> {
        let mut wire = BytesMut::new();
        loop {
            let mut batch = Batch::default();
            lanes.fill(&mut batch, Hlc::default(), |_, _| ());
            if !batch.has_remaining() {
                break;
            }
            wire.put(batch);
        }
        let mut frames = Vec::new();
        while let Some((header, _)) = frame::take(&mut wire).expect("valid") {
            frames.push((header.stream, header.more));
        }
        frames
    }

    #[test]
    fn small_calls_get_their_turn_between_the_chunks_of_a_large_one() {
        let mut lanes = Lanes::default();
        lanes.bulk.push_back(message(Kind::Call, 1, 3 * CHUNK));
        lanes.bulk.push_back(message(Kind::Call, 2, 10));
        assert_eq!(written(&mut lanes), [(1, true), (2, false), (1, true), (1, false)]);
    }

    #[test]
    fn items_of_a_stream_keep_their_order() {
        let mut lanes = Lanes::default();
        lanes.bulk.push_back(message(Kind::StreamItem, 1, 2 * CHUNK));
        lanes.bulk.push_back(message(Kind::StreamItem, 1, 10));
        assert_eq!(written(&mut lanes), [(1, true), (1, false), (1, false)]);
    }

    #[test]
    fn urgent_messages_leave_with_the_next_batch() {
        let mut lanes = Lanes::default();
        lanes.bulk.push_back(message(Kind::StreamItem, 1, 10 * BATCH));
        let mut batch = Batch::default();
        lanes.fill(&mut batch, Hlc::default(), |_, _| ());
        assert!(batch.remaining() <= BATCH + CHUNK + HEADER);
        lanes.urgent.push_back(message(Kind::OneWay, 9, 10));
        assert_eq!(written(&mut lanes)[0], (9, false));
    }

    #[test]
    fn a_message_taken_back_says_how_much_of_it_left() {
        let mut lanes = Lanes::default();
        lanes.bulk.push_back(message(Kind::Call, 1, 100 * CHUNK));
        lanes.bulk.push_back(message(Kind::Call, 2, 10 * CHUNK));
        lanes.bulk.push_back(message(Kind::Call, 3, 10));
        lanes.fill(&mut Batch::default(), Hlc::default(), |_, _| ());
        assert_eq!(lanes.withdraw(1), Withdrawn::Begun);
        assert_eq!(lanes.withdraw(1), Withdrawn::Gone);
        assert_eq!(lanes.withdraw(3), Withdrawn::Unsent);
    }
}
