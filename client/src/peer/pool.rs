//! Connections to any number of peers, opened when they are needed and again when they broke.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use common::limits::FRAME_MAX;
use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::Owner;
use super::dial::Network;
use super::stream::PeerStream;
use super::{KeepAlive, NoClock, PeerClock, PeerError, PeerIdentity, dial};

/// First pause after a failed attempt to connect; it doubles with every further one.
const BACK_OFF_MIN: Duration = Duration::from_millis(20);
/// Longest pause between attempts to connect.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// One-way messages that are kept while a connection is being opened.
const PARCELS_MAX: usize = 256;
/// Losses that a receiver may be behind.
const LOST_MAX: usize = 64;
/// Bytes of such messages.
const PARCEL_BYTES_MAX: usize = 4 << 20;

/// How a process talks to its peers.
#[derive(Clone)]
pub struct PeerOptions {
    /// Who this process is.
    pub identity: PeerIdentity,
    /// The clock whose readings go with every frame.
    pub clock: Arc<dyn PeerClock>,
    /// Longest time that opening a connection may take.
    pub connect_timeout: Duration,
    /// How a dead peer is noticed.
    pub keep_alive: KeepAlive,
    /// Sent as the `Authorization` header of the upgrade.
    pub authorization: Option<HeaderValue>,
    /// The way to peers, if it is not TCP.
    pub network: Option<Arc<dyn Network>>,
}

impl Default for PeerOptions {
    fn default() -> Self {
        PeerOptions {
            identity: PeerIdentity::default(),
            clock: Arc::new(NoClock),
            connect_timeout: Duration::from_secs(1),
            keep_alive: KeepAlive::default(),
            authorization: None,
            network: None,
        }
    }
}

/// Connections to peers by address (`host:port`). Clones share them; they close with the last clone.
#[derive(Clone)]
pub struct PeerPool {
    shared: Arc<Shared>,
}

struct Shared {
    options: PeerOptions,
    runtime: Handle,
    peers: RwLock<HashMap<String, Arc<Peer>>>,
    lost: broadcast::Sender<String>,
}

/// Peers whose connections have ended, and that could not be connected to again at once. The operating system closes a
/// process's connections when it ends, so this is heard long before silence is noticed.
pub struct Losses(broadcast::Receiver<String>);

impl Losses {
    /// Acts on the address of each, for as long as there is a pool. Whoever is far behind is not told of all.
    pub async fn for_each(mut self, act: impl Fn(String)) {
        loop {
            match self.0.recv().await {
                Ok(address) => act(address),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}

struct Peer {
    address: String,
    route: Mutex<Route>,
}

enum Route {
    /// There is no connection.
    Down { failures: u32, not_before: Option<Instant>, reason: String },
    /// One is being opened; `parcels` leave with it. The watch ends with the attempt.
    Opening { failures: u32, attempt: watch::Receiver<()>, parcels: Vec<(Bytes, bool)> },
    /// There is one, or was until a moment ago.
    Up { connection: Arc<Owner>, since: Instant, failures: u32 },
}

impl PeerPool {
    /// A pool without connections yet.
    ///
    /// # Panics
    /// Outside a tokio runtime: the connections live in the runtime that it is made in.
    #[must_use]
    pub fn new(options: PeerOptions) -> PeerPool {
        let runtime = Handle::current();
        let (lost, _) = broadcast::channel(LOST_MAX);
        PeerPool { shared: Arc::new(Shared { options, runtime, peers: RwLock::default(), lost }) }
    }

    /// Tells of peers that are lost from now on.
    #[must_use]
    pub fn losses(&self) -> Losses {
        Losses(self.shared.lost.subscribe())
    }

    /// Sends a request to a peer and waits for its reply, in all no longer than `timeout`.
    pub async fn call(&self, address: &str, payload: Bytes, timeout: Duration) -> Result<Bytes, PeerError> {
        let deadline = Instant::now() + timeout;
        let connection = self.connection(address, deadline).await?;
        connection.0.call(payload, deadline).await
    }

    /// Opens a stream. The items come when the stream is polled.
    pub async fn stream(&self, address: &str, payload: Bytes) -> Result<PeerStream, PeerError> {
        let deadline = Instant::now() + self.shared.options.connect_timeout;
        let connection = self.connection(address, deadline).await?;
        let (stream, items) = connection.0.open_stream(payload).await?;
        Ok(PeerStream::new(connection, stream, items))
    }

    /// Sends a message without waiting and without an answer. It may be called from any thread. The message
    /// is lost if the peer cannot be reached or the queue is full. An urgent one overtakes those that are
    /// not; larger than 64 KiB it travels with the others all the same.
    pub fn send(&self, address: &str, payload: Bytes, urgent: bool) {
        if payload.len() > FRAME_MAX {
            tracing::error!(size = payload.len(), "a one-way message is too large and was dropped");
            return;
        }
        let peer = self.peer(address);
        let mut route = peer.route.lock();
        self.refresh(&peer, &mut route);
        match &mut *route {
            Route::Up { connection, .. } => {
                let connection = connection.clone();
                drop(route);
                connection.0.send_one_way(payload, urgent);
            }
            Route::Opening { parcels, .. } => {
                let held: usize = parcels.iter().map(|(parcel, _)| parcel.len()).sum();
                if parcels.len() < PARCELS_MAX && held + payload.len() <= PARCEL_BYTES_MAX {
                    parcels.push((payload, urgent));
                }
            }
            Route::Down { .. } => {}
        }
    }

    /// Who answered at an address, if there is a connection now.
    #[must_use]
    pub fn identity_of(&self, address: &str) -> Option<PeerIdentity> {
        let peer = self.shared.peers.read().get(address)?.clone();
        match &*peer.route.lock() {
            Route::Up { connection, .. } if !connection.0.is_closed() => Some(connection.0.remote.clone()),
            _ => None,
        }
    }

    fn peer(&self, address: &str) -> Arc<Peer> {
        if let Some(peer) = self.shared.peers.read().get(address) {
            return peer.clone();
        }
        let mut peers = self.shared.peers.write();
        peers
            .entry(address.to_owned())
            .or_insert_with(|| {
                let down = Route::Down { failures: 0, not_before: None, reason: String::new() };
                Arc::new(Peer { address: address.to_owned(), route: Mutex::new(down) })
            })
            .clone()
    }

    /// The connection to a peer, opened if need be. While attempts are held back it fails at once, so that
    /// the caller can turn to another replica.
    async fn connection(&self, address: &str, deadline: Instant) -> Result<Arc<Owner>, PeerError> {
        let peer = self.peer(address);
        loop {
            let mut attempt = {
                let mut route = peer.route.lock();
                self.refresh(&peer, &mut route);
                match &*route {
                    Route::Up { connection, .. } => return Ok(connection.clone()),
                    Route::Down { reason, .. } => return Err(PeerError::Unreachable(reason.clone())),
                    Route::Opening { attempt, .. } => attempt.clone(),
                }
            };
            // The watch carries nothing: it ends, and that is the news.
            let ended = tokio::time::timeout_at(deadline, attempt.changed()).await;
            if ended.is_err() {
                return Err(PeerError::Unreachable("no connection could be opened in time".to_owned()));
            }
            if let Route::Down { reason, .. } = &*peer.route.lock() {
                return Err(PeerError::Unreachable(reason.clone()));
            }
        }
    }

    /// Notices a connection that broke, and begins an attempt if one is due.
    fn refresh(&self, peer: &Arc<Peer>, route: &mut Route) {
        if let Route::Up { connection, since, failures } = route
            && connection.0.is_closed()
        {
            // One that broke right after it was opened counts as a failed attempt.
            let failures = if since.elapsed() < BACK_OFF_MAX { *failures + 1 } else { 0 };
            *route = down(failures, "the connection is closed".to_owned());
        }
        if let Route::Opening { attempt, .. } = route
            && attempt.has_changed().is_err()
        {
            // It ended without a result: the runtime is going down, or it panicked.
            *route = down(1, "the attempt to connect was broken off".to_owned());
        }
        if let Route::Down { failures, not_before, .. } = route
            && not_before.is_none_or(|time| time <= Instant::now())
        {
            let (done, attempt) = watch::channel(());
            *route = Route::Opening { failures: *failures, attempt, parcels: Vec::new() };
            let (peer, options) = (peer.clone(), self.shared.options.clone());
            self.shared.runtime.spawn(open(peer, options, Arc::downgrade(&self.shared), done));
        }
    }
}

fn down(failures: u32, reason: String) -> Route {
    // A connection that lasted is opened again at once.
    let not_before = failures.checked_sub(1).map(|doublings| {
        let pause = BACK_OFF_MIN.saturating_mul(1 << doublings.min(10)).min(BACK_OFF_MAX);
        Instant::now() + pause
    });
    Route::Down { failures, not_before, reason }
}

/// One attempt to connect. `done` is dropped at its end, whatever the end.
async fn open(peer: Arc<Peer>, options: PeerOptions, pool: Weak<Shared>, done: watch::Sender<()>) {
    let attempt = tokio::time::timeout(options.connect_timeout, dial::connect(&peer.address, &options)).await;
    let mut route = peer.route.lock();
    let Route::Opening { failures, parcels, .. } = &mut *route else {
        unreachable!("only the attempt itself ends an opening")
    };
    let failures = *failures;
    match attempt {
        Ok(Ok(connection)) => {
            for (parcel, urgent) in parcels.drain(..) {
                connection.0.send_one_way(parcel, urgent);
            }
            tokio::spawn(watch_over(pool, peer.address.clone(), connection.0.closed.clone()));
            *route = Route::Up { connection, since: Instant::now(), failures };
        }
        Ok(Err(error)) => {
            tracing::debug!(address = %peer.address, %error, "no connection to a peer");
            *route = down(failures + 1, error.to_string());
        }
        Err(_) => *route = down(failures + 1, "connecting took too long".to_owned()),
    }
    drop(route);
    drop(done);
}

/// Waits for the end of a connection, and looks whether the peer is still there.
async fn watch_over(pool: Weak<Shared>, address: String, closed: CancellationToken) {
    closed.cancelled().await;
    // With its last clone the pool has closed the connection itself.
    let Some(shared) = pool.upgrade() else { return };
    let pool = PeerPool { shared };
    let deadline = Instant::now() + pool.shared.options.connect_timeout;
    if pool.connection(&address, deadline).await.is_err() {
        // Perhaps nobody wants to know.
        let _ = pool.shared.lost.send(address);
    }
}
