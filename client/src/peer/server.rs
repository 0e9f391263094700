//! The answering side: the upgrade of an HTTP request, and the service behind it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::limits::FRAME_MAX;
use futures_util::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{Connection, Owner};
use super::frame::Kind;
use super::handshake;
use super::stream::StreamSink;
use super::{KeepAlive, NoClock, PeerClock, PeerIdentity, reader, writer};

/// Path of the route that a connection between nodes is opened by.
pub const PATH: &str = "/_peer";
/// Name of the protocol in the `Upgrade` header.
pub(super) const PROTOCOL: &str = "polylite";

/// Longest time until a peer that was let in has said who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Who calls, and whether anybody still waits for the answer.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The process at the other end.
    pub identity: PeerIdentity,
    given_up: CancellationToken,
}

impl Caller {
    /// A caller within the process, who never goes away.
    #[must_use]
    pub fn local() -> Caller {
        Caller { identity: PeerIdentity::default(), given_up: CancellationToken::new() }
    }

    /// Returns when nobody will hear the answer: the caller has given the call up, or the connection has
    /// ended that it came by.
    pub async fn gone(&self) {
        self.given_up.cancelled().await;
    }
}

/// What a process answers to its peers. The payloads mean what both sides agreed on.
pub trait PeerService: Send + Sync + 'static {
    /// Answers a call. Each call runs in a task of its own and is not cancelled when the caller gives up or
    /// goes away; where its work is in vain then, the service sees to that itself.
    fn call(self: Arc<Self>, from: Caller, payload: Bytes) -> BoxFuture<'static, Bytes>;

    /// Feeds a stream, in a task of its own. The sink must be finished or failed.
    fn stream(self: Arc<Self>, payload: Bytes, sink: StreamSink) -> BoxFuture<'static, ()>;

    /// Takes a message that has no answer, in the order of arrival. It runs in the connection's reader and
    /// must not block.
    fn one_way(&self, payload: Bytes);

    /// Who answers here.
    fn identity(&self) -> PeerIdentity {
        PeerIdentity::default()
    }

    /// The clock whose readings go with every frame.
    fn clock(&self) -> Arc<dyn PeerClock> {
        Arc::new(NoClock)
    }

    /// How a dead peer is noticed.
    fn keep_alive(&self) -> KeepAlive {
        KeepAlive::default()
    }
}

/// Serves one connection, already upgraded, until it is closed. Dropping the future closes it.
pub async fn serve<T>(io: T, service: Arc<dyn PeerService>) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (reader, writer) = tokio::io::split(io);
    serve_halves(reader, writer, BytesMut::new(), service).await
}

async fn serve_halves<R, W>(
    mut reader: R,
    mut writer: W,
    mut buffer: BytesMut,
    service: Arc<dyn PeerService>,
) -> io::Result<()>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let clock = service.clock();
    let own = service.identity();
    let hello = handshake::exchange(&mut reader, &mut writer, &mut buffer, &own, clock.as_ref());
    let from = tokio::time::timeout(HELLO_TIMEOUT, hello).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let keep_alive = service.keep_alive();
    let connection = Connection::new(clock, from.clone());
    let _owner = Owner(connection.clone());
    let writing = AbortOnDropHandle::new(tokio::spawn({
        let connection = connection.clone();
        async move {
            let result = writer::write_until_closed(&connection, writer, keep_alive).await;
            connection.close();
            result
        }
    }));
    let requests = Requests { service, from };
    let read = reader::read_until_closed(&connection, reader, buffer, Some(&requests)).await;
    connection.close();
    let written = writing.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    read.and(written)
}

/// Answers an upgrade request and serves the connection in a task of its own. The request may come from any
/// server built on hyper; what does not ask for the upgrade is refused with 426. Whether the peer may ask at
/// all is for the caller to check, before this.
pub fn accept<B>(request: &mut Request<B>, service: Arc<dyn PeerService>) -> Response<Full<Bytes>> {
    accept_until(request, service, CancellationToken::new())
}

/// As [`accept`]; the connection is closed when `stop` is cancelled.
pub fn accept_until<B>(
    request: &mut Request<B>,
    service: Arc<dyn PeerService>,
    stop: CancellationToken,
) -> Response<Full<Bytes>> {
    let asks = request
        .headers()
        .get(UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()));
    if !asks {
        return upgrade_required();
    }
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let served = async {
            let upgraded = upgrade.await.map_err(io::Error::other)?;
            serve_upgraded(upgraded, service).await
        };
        if let Some(Err(error)) = stop.run_until_cancelled(served).await {
            tracing::debug!(%error, "a connection from a peer ended");
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}

fn upgrade_required() -> Response<Full<Bytes>> {
    let text = r#"{"success":false,"error":"this route is for the cluster's own nodes","code":"bad_request","retryable":false,"outcome":"not_applied"}"#;
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A plain TCP connection is taken out of its wrappers, which saves a layer of dispatch on every read.
async fn serve_upgraded(upgraded: Upgraded, service: Arc<dyn PeerService>) -> io::Result<()> {
    // Servers that speak both versions of HTTP wrap the socket once more than those that speak one.
    let (socket, read) = match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => (parts.io, parts.read_buf),
        Err(upgraded) => match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => (parts.io, parts.read_buf),
            Err(upgraded) => return serve(TokioIo::new(upgraded), service).await,
        },
    };
    let socket = socket.into_inner();
    socket.set_nodelay(true)?;
    let (reader, writer) = socket.into_split();
    serve_halves(reader, writer, BytesMut::from(read), service).await
}

/// The service behind a connection, as its reader sees it.
pub(super) struct Requests {
    service: Arc<dyn PeerService>,
    from: PeerIdentity,
}

impl Requests {
    pub(super) fn call(&self, connection: &Arc<Connection>, stream: u64, payload: Bytes) {
        let given_up = connection.begin_answer(stream);
        let from = Caller { identity: self.from.clone(), given_up };
        let reply = self.service.clone().call(from, payload);
        tokio::spawn(answer(PendingReply { connection: connection.clone(), stream, replied: false }, reply));
    }

    pub(super) fn stream(&self, connection: &Arc<Connection>, stream: u64, payload: Bytes) {
        let sink = StreamSink::new(connection.clone(), stream);
        tokio::spawn(self.service.clone().stream(payload, sink));
    }

    pub(super) fn one_way(&self, payload: Bytes) {
        self.service.one_way(payload);
    }
}

async fn answer(mut pending: PendingReply, reply: impl Future<Output = Bytes>) {
    let reply = reply.await;
    let (kind, reply) =
        if reply.len() > FRAME_MAX { (Kind::ReplyTooLarge, Bytes::new()) } else { (Kind::Reply, reply) };
    // A connection that was closed meanwhile has told the caller already.
    let _ = pending.connection.send_bulk(kind, pending.stream, reply).await;
    pending.replied = true;
}

/// Tells the caller when the service panics instead of replying, so that it need not wait for its deadline.
struct PendingReply {
    connection: Arc<Connection>,
    stream: u64,
    replied: bool,
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.connection.end_answer(self.stream);
        if !self.replied {
            self.connection.send_closing(Kind::Abandoned, self.stream);
        }
    }
}
