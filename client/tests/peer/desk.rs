//! A service that does what a test's message says, behind a real listener on a free port.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::Hlc;
use futures_util::future::BoxFuture;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use polylite_client::peer::{
    self, Caller, KeepAlive, PeerClock, PeerIdentity, PeerOptions, PeerPool, PeerService, StreamSink,
};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What happened at the desk.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    CallArrived(PeerIdentity),
    OneWay(Bytes),
    StreamCancelled,
}

pub struct Desk {
    events: mpsc::UnboundedSender<Event>,
    /// Calls of `hold` wait for a permit.
    pub gate: Semaphore,
    /// What a one-way message `block` waits for, in the connection's reader.
    standstill: std::sync::Mutex<Option<std::sync::mpsc::Receiver<()>>>,
    /// Items sent by streams so far.
    pub items_sent: watch::Sender<u64>,
    pub clock: Arc<StepClock>,
    pub keep_alive: KeepAlive,
}

impl Desk {
    pub fn new() -> (Arc<Desk>, Events) {
        Desk::with_keep_alive(KeepAlive::default())
    }

    pub fn with_keep_alive(keep_alive: KeepAlive) -> (Arc<Desk>, Events) {
        let (events, receiver) = mpsc::unbounded_channel();
        let desk = Desk {
            events,
            gate: Semaphore::new(0),
            standstill: std::sync::Mutex::default(),
            items_sent: watch::channel(0).0,
            clock: Arc::default(),
            keep_alive,
        };
        (Arc::new(desk), Events(receiver))
    }

    /// Makes the next one-way message `block` hold up its connection's reader until the answer is dropped.
    pub fn prepare_standstill(&self) -> std::sync::mpsc::Sender<()> {
        let (release, released) = std::sync::mpsc::channel();
        *self.standstill.lock().expect("no panic") = Some(released);
        release
    }

    fn tell(&self, event: Event) {
        // A test that has seen enough drops its end.
        let _ = self.events.send(event);
    }

    async fn feed(self: Arc<Self>, items: u64, sink: &StreamSink) -> bool {
        for number in 0..items {
            if sink.send(Bytes::from(number.to_string())).await.is_err() {
                self.tell(Event::StreamCancelled);
                return false;
            }
            self.items_sent.send_modify(|sent| *sent += 1);
        }
        true
    }
}

impl PeerService for Desk {
    fn call(self: Arc<Self>, from: Caller, payload: Bytes) -> BoxFuture<'static, Bytes> {
        Box::pin(async move {
            match payload.as_ref() {
                b"hold" => {
                    self.tell(Event::CallArrived(from.identity));
                    self.gate.acquire().await.expect("never closed").forget();
                    payload
                }
                b"panic" => panic!("as the test wants it"),
                b"too large" => Bytes::from(vec![0; common::limits::FRAME_MAX + 1]),
                _ => payload,
            }
        })
    }

    fn stream(self: Arc<Self>, payload: Bytes, sink: StreamSink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            match payload.as_ref() {
                b"fail" => {
                    self.feed(1, &sink).await;
                    sink.fail(Bytes::from_static(b"why")).await;
                }
                b"break off" => {
                    self.feed(1, &sink).await;
                }
                count => {
                    let items = std::str::from_utf8(count).expect("text").parse().expect("a number");
                    if self.feed(items, &sink).await {
                        sink.finish();
                    }
                }
            }
        })
    }

    fn one_way(&self, payload: Bytes) {
        let blocks = payload.as_ref() == b"block";
        self.tell(Event::OneWay(payload));
        if blocks && let Some(released) = self.standstill.lock().expect("no panic").take() {
            // The end of the standstill is the end of the channel.
            let _ = released.recv();
        }
    }

    fn identity(&self) -> PeerIdentity {
        PeerIdentity::new("desk", 7)
    }

    fn clock(&self) -> Arc<dyn PeerClock> {
        self.clock.clone()
    }

    fn keep_alive(&self) -> KeepAlive {
        self.keep_alive
    }
}

/// What happened, in order.
pub struct Events(mpsc::UnboundedReceiver<Event>);

impl Events {
    pub async fn next(&mut self) -> Event {
        patiently(self.0.recv()).await.expect("the desk is there")
    }

    /// The payloads of the next one-way messages.
    pub async fn one_ways(&mut self, count: usize) -> VecDeque<Bytes> {
        let mut payloads = VecDeque::new();
        while payloads.len() < count {
            if let Event::OneWay(payload) = self.next().await {
                payloads.push_back(payload);
            }
        }
        payloads
    }

    /// Whether nothing has happened that was not asked for yet.
    pub fn is_empty(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// A logical clock that tests can read.
#[derive(Debug, Default)]
pub struct StepClock(pub AtomicU64);

impl PeerClock for StepClock {
    fn now(&self) -> Hlc {
        Hlc(self.0.load(Ordering::SeqCst))
    }

    fn observe(&self, remote: Hlc) {
        self.0.fetch_max(remote.0, Ordering::SeqCst);
    }
}

/// A desk's listener. Dropping it closes every connection, as the death of the process would.
pub struct Listener {
    pub address: String,
    stop: CancellationToken,
}

impl Listener {
    pub async fn start(service: Arc<impl PeerService>) -> Listener {
        Listener::start_at(service, "127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn start_at(service: Arc<impl PeerService>, address: SocketAddr) -> Listener {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept_forever(listener, service, stop.clone())));
        Listener { address, stop }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept_forever(listener: TcpListener, service: Arc<impl PeerService>, stop: CancellationToken) {
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        let (service, stop) = (service.clone(), stop.clone());
        let answer = service_fn(move |mut request| {
            let response = peer::accept_until(&mut request, service.clone(), stop.clone());
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        });
        tokio::spawn(async move {
            // As axum serves: either version of HTTP.
            let http = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is no matter of the server's.
            let _ = http.serve_connection_with_upgrades(TokioIo::new(socket), answer).await;
        });
    }
}

/// A pool that calls itself `tester`.
pub fn pool() -> PeerPool {
    PeerPool::new(PeerOptions { identity: PeerIdentity::new("tester", 1), ..PeerOptions::default() })
}

/// Waits for an event; a test whose event does not come fails instead of hanging.
pub async fn patiently<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.expect("it happens in time")
}
