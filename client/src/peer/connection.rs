//! The state of one connection, shared by its reader, its writer and everyone who waits on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::{BufMut as _, Bytes, BytesMut};
use common::limits::FRAME_MAX;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::frame::{CHUNK, Kind};
use super::lanes::{Batch, Lanes, Outgoing, Withdrawn};
use super::{PeerClock, PeerError, PeerIdentity};

/// Items that a stream's sender may have under way before it hears from the receiver.
pub(super) const WINDOW: usize = 8;
/// Bytes of calls, replies and items that may wait for the writer, in KiB.
const ROOM_KIB: usize = 64 << 10;
/// Bytes of one-way messages that may wait for the writer, in KiB; what finds no room is dropped.
const ONE_WAY_ROOM_KIB: usize = 32 << 10;
/// Urgent messages that may wait for the writer.
const URGENT_MAX: usize = 4096;

/// A connection. It is closed once, and then everything that waits on it learns so.
pub(super) struct Connection {
    state: Mutex<State>,
    room: Arc<Semaphore>,
    one_way_room: Arc<Semaphore>,
    /// Tells the writer that something waits in a lane, or that the connection is closed.
    pub wake: Notify,
    /// Ends the reader and interrupts a write that the peer does not take.
    pub closed: CancellationToken,
    /// Set by the reader whenever bytes arrive, cleared by the writer's keep-alive.
    pub heard: AtomicBool,
    pub clock: Arc<dyn PeerClock>,
    pub remote: PeerIdentity,
}

/// Maps are in the order of their keys, so that whoever waits is told in the same order in every run of a simulation.
struct State {
    open: bool,
    next_stream: u64,
    lanes: Lanes,
    /// Calls made from here that wait for a reply.
    calls: BTreeMap<u64, WaitingCall>,
    /// Streams opened from here, by which their items go to the [`super::PeerStream`].
    streams: BTreeMap<u64, mpsc::Sender<Result<Bytes, PeerError>>>,
    /// Streams opened by the peer: the credit of the [`super::StreamSink`], closed when cancelled.
    sinks: BTreeMap<u64, SinkState>,
    /// Calls by the peer that are worked on: cancelled when the peer gives them up.
    answering: BTreeMap<u64, CancellationToken>,
}

/// What the connection shares with the sending end of a stream.
#[derive(Clone)]
pub(super) struct SinkState {
    /// Items that may be sent; closed when nobody wants more.
    pub credit: Arc<Semaphore>,
    /// Cancelled when nobody wants more, or the stream has ended.
    pub ended: CancellationToken,
}

impl SinkState {
    fn end(&self) {
        self.credit.close();
        self.ended.cancel();
    }
}

struct WaitingCall {
    reply: oneshot::Sender<Result<Bytes, PeerError>>,
    /// Whether its last byte is on its way: from then on it may be carried out.
    sent: bool,
}

fn kibibytes(size: usize) -> u32 {
    u32::try_from(size.div_ceil(1024).max(1)).expect("a message is no larger than FRAME_MAX")
}

fn closed_error() -> PeerError {
    PeerError::Unreachable("the connection is closed".to_owned())
}

impl Connection {
    pub(super) fn new(clock: Arc<dyn PeerClock>, remote: PeerIdentity) -> Arc<Connection> {
        Arc::new(Connection {
            state: Mutex::new(State {
                open: true,
                next_stream: 1,
                lanes: Lanes::default(),
                calls: BTreeMap::new(),
                streams: BTreeMap::new(),
                sinks: BTreeMap::new(),
                answering: BTreeMap::new(),
            }),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
            one_way_room: Arc::new(Semaphore::new(ONE_WAY_ROOM_KIB)),
            wake: Notify::new(),
            closed: CancellationToken::new(),
            heard: AtomicBool::new(false),
            clock,
            remote,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Closes the connection; whoever waits on it is told what became of the request.
    pub(super) fn close(&self) {
        let (calls, streams, sinks, lanes) = {
            let mut state = self.state.lock();
            state.open = false;
            (
                std::mem::take(&mut state.calls),
                std::mem::take(&mut state.streams),
                std::mem::take(&mut state.sinks),
                std::mem::take(&mut state.lanes),
            )
        };
        self.closed.cancel();
        self.room.close();
        self.wake.notify_one();
        for call in calls.into_values() {
            let error = if call.sent { PeerError::Lost } else { closed_error() };
            // A caller that has gone needs no answer.
            let _ = call.reply.send(Err(error));
        }
        for stream in streams.into_values() {
            // The channel has one place more than the window, for this.
            let _ = stream.try_send(Err(PeerError::Lost));
        }
        for sink in sinks.into_values() {
            sink.end();
        }
        // Frees the memory of what waited, outside the lock.
        drop(lanes);
    }

    /// Moves what waits into the batch. False if the connection is closed.
    pub(super) fn fill(&self, batch: &mut Batch) -> bool {
        let mut state = self.state.lock();
        let State { open, lanes, calls, .. } = &mut *state;
        // The reading is taken under the lock: everything in the lanes happened before it.
        lanes.fill(batch, self.clock.now(), |kind, stream| {
            if kind == Kind::Call
                && let Some(call) = calls.get_mut(&stream)
            {
                call.sent = true;
            }
        });
        *open
    }

    /// Sends a request and waits for its reply.
    pub(super) async fn call(&self, payload: Bytes, deadline: Instant) -> Result<Bytes, PeerError> {
        let room = tokio::time::timeout_at(deadline, self.room_for(payload.len()))
            .await
            .map_err(|_| PeerError::Unreachable("too much waits to be sent".to_owned()))??;
        let (reply, answer) = oneshot::channel();
        let stream = {
            let mut state = self.state.lock();
            if !state.open {
                return Err(closed_error());
            }
            let stream = state.take_stream();
            state.calls.insert(stream, WaitingCall { reply, sent: false });
            state.lanes.bulk.push_back(Outgoing::new(Kind::Call, stream, payload).with_room(room));
            stream
        };
        self.wake.notify_one();
        let mut withdrawal = Withdrawal { connection: self, stream: Some(stream) };
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(reply) => {
                withdrawal.stream = None;
                reply.unwrap_or(Err(PeerError::Lost))
            }
            Err(_) => Err(withdrawal.withdraw()),
        }
    }

    /// Opens a stream; its items arrive in the channel, which ends when the stream is complete.
    pub(super) async fn open_stream(
        &self,
        payload: Bytes,
    ) -> Result<(u64, mpsc::Receiver<Result<Bytes, PeerError>>), PeerError> {
        let room = self.room_for(payload.len()).await?;
        let (items, receiver) = mpsc::channel(WINDOW + 1);
        let mut state = self.state.lock();
        if !state.open {
            return Err(closed_error());
        }
        let stream = state.take_stream();
        state.streams.insert(stream, items);
        state.lanes.bulk.push_back(Outgoing::new(Kind::StreamOpen, stream, payload).with_room(room));
        drop(state);
        self.wake.notify_one();
        Ok((stream, receiver))
    }

    /// Sends a message without waiting. False if it was dropped: the connection is closed or the queue full.
    pub(super) fn send_one_way(&self, payload: Bytes, urgent: bool) -> bool {
        let urgent = urgent && payload.len() <= CHUNK;
        let room = if urgent {
            None
        } else {
            let Ok(room) = self.one_way_room.clone().try_acquire_many_owned(kibibytes(payload.len())) else {
                return false;
            };
            Some(room)
        };
        let mut state = self.state.lock();
        if !state.open || (urgent && state.lanes.urgent.len() >= URGENT_MAX) {
            return false;
        }
        // One that travels in chunks needs a name by which the chunks are put together again.
        let stream = if payload.len() > CHUNK { state.take_stream() } else { 0 };
        let message = Outgoing { room, ..Outgoing::new(Kind::OneWay, stream, payload) };
        if urgent { &mut state.lanes.urgent } else { &mut state.lanes.bulk }.push_back(message);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Queues a frame that is part of the protocol's own working; these are few and small.
    pub(super) fn send_urgent(&self, kind: Kind, stream: u64, payload: Bytes) {
        let mut state = self.state.lock();
        if state.open {
            state.lanes.urgent.push_back(Outgoing::new(kind, stream, payload));
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Tells the sender of a stream that more items are welcome.
    pub(super) fn grant(&self, stream: u64, items: u32) {
        let mut payload = BytesMut::with_capacity(4);
        payload.put_u32_le(items);
        self.send_urgent(Kind::Credit, stream, payload.freeze());
    }

    /// Waits for room in the bulk lane and queues a reply, or a frame of a stream.
    pub(super) async fn send_bulk(&self, kind: Kind, stream: u64, payload: Bytes) -> Result<(), PeerError> {
        let room = self.room_for(payload.len()).await?;
        self.send_ordered(Outgoing::new(kind, stream, payload).with_room(room));
        Ok(())
    }

    /// Queues a frame without payload behind what the bulk lane holds already.
    pub(super) fn send_closing(&self, kind: Kind, stream: u64) {
        self.send_ordered(Outgoing::new(kind, stream, Bytes::new()));
    }

    fn send_ordered(&self, message: Outgoing) {
        let mut state = self.state.lock();
        if state.open {
            state.lanes.bulk.push_back(message);
            drop(state);
            self.wake.notify_one();
        }
    }

    async fn room_for(&self, size: usize) -> Result<OwnedSemaphorePermit, PeerError> {
        if size > FRAME_MAX {
            return Err(PeerError::TooLarge(size));
        }
        self.room.clone().acquire_many_owned(kibibytes(size)).await.map_err(|_| closed_error())
    }

    /// Hands a reply to its caller; one that nobody waits for any more is dropped.
    pub(super) fn complete(&self, stream: u64, reply: Result<Bytes, PeerError>) {
        if let Some(call) = self.state.lock().calls.remove(&stream) {
            let _ = call.reply.send(reply);
        }
    }

    /// Hands an item to its stream. False if the peer sent more than it was allowed.
    pub(super) fn deliver(&self, stream: u64, item: Bytes) -> bool {
        let state = self.state.lock();
        match state.streams.get(&stream).map(|items| items.try_send(Ok(item))) {
            Some(Err(mpsc::error::TrySendError::Full(_))) => false,
            // Without a stream or a receiver it is an item that crossed our cancellation.
            Some(Ok(()) | Err(mpsc::error::TrySendError::Closed(_))) | None => true,
        }
    }

    /// Ends a stream from the peer's side.
    pub(super) fn end_stream(&self, stream: u64, error: Option<PeerError>) {
        let Some(items) = self.state.lock().streams.remove(&stream) else { return };
        if let Some(error) = error {
            let _ = items.try_send(Err(error));
        }
    }

    /// The receiver of a stream has gone.
    pub(super) fn cancel_stream(&self, stream: u64) {
        let mut state = self.state.lock();
        if state.streams.remove(&stream).is_none() {
            return;
        }
        if state.lanes.withdraw(stream) != Withdrawn::Unsent {
            state.lanes.urgent.push_back(Outgoing::new(Kind::Cancel, stream, Bytes::new()));
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Registers a stream that the peer opened and gives its first credit.
    pub(super) fn open_sink(&self, stream: u64) -> SinkState {
        let sink = SinkState { credit: Arc::new(Semaphore::new(WINDOW)), ended: CancellationToken::new() };
        let mut state = self.state.lock();
        if state.open {
            state.sinks.insert(stream, sink.clone());
        } else {
            sink.end();
        }
        sink
    }

    /// Registers a call of the peer's. The token is cancelled when the peer gives the call up, or the
    /// connection ends.
    pub(super) fn begin_answer(&self, call: u64) -> CancellationToken {
        let given_up = self.closed.child_token();
        self.state.lock().answering.insert(call, given_up.clone());
        given_up
    }

    /// The call has been answered.
    pub(super) fn end_answer(&self, call: u64) {
        self.state.lock().answering.remove(&call);
    }

    /// The peer no longer wants what it asked for: the answer of a call, or the rest of a stream.
    pub(super) fn give_up(&self, stream: u64) {
        let call = self.state.lock().answering.remove(&stream);
        match call {
            Some(given_up) => given_up.cancel(),
            None => self.cancel_sink(stream),
        }
    }

    /// The peer takes more items.
    pub(super) fn add_credit(&self, stream: u64, items: usize) {
        if let Some(sink) = self.state.lock().sinks.get(&stream) {
            // A peer that grants without end gains nothing by it.
            sink.credit.add_permits(items.min(WINDOW));
        }
    }

    /// The peer no longer wants a stream: what waits of it is dropped, and a last frame lets the peer
    /// forget the part of an item that it may hold.
    fn cancel_sink(&self, stream: u64) {
        let mut state = self.state.lock();
        let Some(sink) = state.sinks.remove(&stream) else { return };
        sink.end();
        state.lanes.discard(stream);
        state.lanes.bulk.push_back(Outgoing::new(Kind::Abandoned, stream, Bytes::new()));
        drop(state);
        self.wake.notify_one();
    }

    /// The sink has ended by itself. False if the peer had cancelled it before.
    pub(super) fn close_sink(&self, stream: u64) -> bool {
        self.state.lock().sinks.remove(&stream).is_some()
    }
}

impl State {
    fn take_stream(&mut self) -> u64 {
        let stream = self.next_stream;
        self.next_stream += 1;
        stream
    }
}

/// Takes a call back when its time is up or its caller goes away.
struct Withdrawal<'a> {
    connection: &'a Connection,
    stream: Option<u64>,
}

impl Withdrawal<'_> {
    /// Takes the call back and says what may have become of it.
    fn withdraw(&mut self) -> PeerError {
        let Some(stream) = self.stream.take() else { return PeerError::Timeout };
        let mut state = self.connection.state.lock();
        state.calls.remove(&stream);
        match state.lanes.withdraw(stream) {
            Withdrawn::Unsent => {}
            Withdrawn::Begun => {
                state.lanes.urgent.push_back(Outgoing::new(Kind::Cancel, stream, Bytes::new()));
                drop(state);
                self.connection.wake.notify_one();
            }
            Withdrawn::Gone => {
                state.lanes.urgent.push_back(Outgoing::new(Kind::Cancel, stream, Bytes::new()));
                drop(state);
                self.connection.wake.notify_one();
                return PeerError::Timeout;
            }
        }
        PeerError::Unreachable("it could not be sent in time".to_owned())
    }
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if self.stream.is_some() {
            self.withdraw();
        }
    }
}

/// Closes the connection when its last user has gone.
pub(super) struct Owner(pub Arc<Connection>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
    }
}
