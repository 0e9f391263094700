//! The sockets: bound, accepted from, and closed in good order.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use common::catalog::address;
use futures_util::future::select_all;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::edge::Face;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 10_000;
/// How long a client may take to send a request's head.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long requests under way may take to end when the server stops.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Streams of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 250;

/// Sockets that listen on the same port.
pub struct Listeners {
    sockets: Vec<TcpListener>,
    port: u16,
}

impl Listeners {
    /// Binds a host's port; port 0 takes a free one. `localhost` is bound on all its addresses, so that it
    /// does not matter which one a client tries first.
    pub async fn bind(host: &str, port: u16) -> io::Result<Listeners> {
        let addresses = addresses(host, port).await?;
        // A port that is free on one address may be taken on the other: another one is drawn then.
        for _ in 0..8 {
            match bind_all(&addresses, host, port).await {
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return bound,
            }
        }
        bind_all(&addresses, host, port).await
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        select_all(self.sockets.iter().map(|socket| Box::pin(socket.accept()))).await.0
    }
}

async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    let unknown =
        |error: io::Error| io::Error::new(error.kind(), format!("--host {host} is not known: {error}"));
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    Ok(lookup_host((bare, port)).await.map_err(unknown)?.collect())
}

async fn bind_all(addresses: &[SocketAddr], host: &str, port: u16) -> io::Result<Listeners> {
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut bound_port = port;
    for address in addresses {
        match TcpListener::bind((address.ip(), bound_port)).await {
            Ok(socket) => {
                bound_port = socket.local_addr()?.port();
                sockets.push(socket);
            }
            // A machine without IPv6 has no ::1.
            Err(error) if !sockets.is_empty() && error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(error) => return Err(explain(error, host, bound_port)),
        }
    }
    if sockets.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("--host {host} has no address")));
    }
    Ok(Listeners { sockets, port: bound_port })
}

/// A failure to bind, with what to change.
fn explain(error: io::Error, host: &str, port: u16) -> io::Error {
    let at = address(host, port);
    let text = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{at} is taken by another process; choose another port with --port, or --port 0 for a free one"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("{at} needs privileges; choose a port above 1023 with --port")
        }
        _ => format!("cannot listen at {at} (--host, --port): {error}"),
    };
    io::Error::new(error.kind(), text)
}

/// Accepts connections until `stop` is cancelled, then lets requests under way end.
pub async fn serve(listeners: Listeners, face: Arc<Face>, stop: CancellationToken) {
    let server = Arc::new(server());
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { break };
        let Some(accepted) = stop.run_until_cancelled(listeners.accept()).await else { break };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Out of file descriptors, most likely: give connections time to end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Without this an answer of several packets waits for the client's acknowledgement.
        let _ = socket.set_nodelay(true);
        let face = face.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let face = face.clone();
            async move { Ok::<_, std::convert::Infallible>(face.answer(request.map(Body::new)).await) }
        });
        let connection = server.serve_connection_with_upgrades(TokioIo::new(socket), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client's connection ended");
            }
            drop(permit);
        });
    }
    drop(listeners);
    if tokio::time::timeout(DRAIN_TIME, graceful.shutdown()).await.is_err() {
        tracing::info!("requests that did not end in time are cut off");
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(256 << 10);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    server
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_listens_on_every_loopback_address_at_one_port() {
        let listeners = Listeners::bind("localhost", 0).await.unwrap();
        assert_ne!(listeners.port(), 0);
        for socket in &listeners.sockets {
            let address = socket.local_addr().unwrap();
            assert!(address.ip().is_loopback());
            assert_eq!(address.port(), listeners.port());
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_explained() {
        let first = Listeners::bind("127.0.0.1", 0).await.unwrap();
        let error = Listeners::bind("127.0.0.1", first.port()).await.err().unwrap();
        assert!(error.to_string().contains("--port"), "{error}");
    }
}
