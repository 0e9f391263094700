//! Connections between nodes: framed, multiplexed, binary messages over an upgraded HTTP/1.1 connection.
//!
//! A process opens one connection to each peer that it talks to, with `GET /_peer` and
//! `Upgrade: polylite`, on the peer's ordinary listener: one port, one way through TLS and authentication.
//! The one that opened it asks ([`PeerPool`]), the other answers ([`PeerService`]). Three things travel:
//!
//! - **Calls**: one request, one reply. Any number are under way at once and none waits for another.
//! - **Streams**: one request, any number of items. The receiver grants credit, so a slow reader holds
//!   the sender back instead of filling memory; dropping the [`PeerStream`] cancels.
//! - **One-way messages**: sent without waiting, in order, and dropped when the queue is full. The urgent
//!   ones have a lane of their own: a heartbeat never waits behind a snapshot.
//!
//! The writing side drains the urgent lane before each frame of the bulk lane and cuts large messages into
//! chunks, among which small calls get their turn. Frames that are ready together leave in one system call.
//! Both sides send something every second; a peer that is silent for three is given up.
//!
//! Payloads are opaque: this module knows no message type. Every frame carries the sender's hybrid
//! logical clock, which the receiver has heard of before it looks at the payload ([`PeerClock`]).
//!
//! An error says what became of the request, because a write must not be repeated blindly:
//! [`PeerError::Unreachable`] means that the peer never saw it whole, [`PeerError::Lost`] and
//! [`PeerError::Timeout`] that it may have been carried out.
//!
//! Measured on two shared cores over loopback (`examples/peer_latency.rs`), 100 bytes each way: 15 µs there
//! and back with one call under way and 230,000 calls a second with 64, against 55 µs and 85,000 over HTTP.

mod connection;
mod dial;
mod error;
mod frame;
mod handshake;
mod lanes;
mod pool;
mod reader;
mod server;
mod stream;
mod writer;

pub use dial::{ByteStream, Network};
pub use error::PeerError;
pub use handshake::PeerIdentity;
pub use pool::{Losses, PeerOptions, PeerPool};
pub use server::{Caller, PATH, PeerService, accept, accept_until, serve};
pub use stream::{PeerStream, StreamCancelled, StreamSink};
pub use writer::KeepAlive;

use common::Hlc;

/// The hybrid logical clock of a process, as its connections see it.
///
/// Both are called on the path of every message: they must not block.
pub trait PeerClock: Send + Sync + 'static {
    /// A reading to send, no earlier than any event of this process so far.
    fn now(&self) -> Hlc;
    /// Takes note of a peer's reading; later readings are greater.
    fn observe(&self, remote: Hlc);
}

/// The clock of a process that takes no part in ordering: it sends zero and listens to nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoClock;

impl PeerClock for NoClock {
    fn now(&self) -> Hlc {
        Hlc::default()
    }

    fn observe(&self, _remote: Hlc) {}
}
