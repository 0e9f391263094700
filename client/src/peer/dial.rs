//! Opening a connection to a peer.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connection::{Connection, Owner};
use super::pool::PeerOptions;
use super::server::{PATH, PROTOCOL};
use super::{handshake, reader, writer};

/// Bytes both ways.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Another way to peers than TCP and the upgrade of an HTTP connection: a network within the process, whose other ends
/// are served by [`serve`](super::serve).
pub trait Network: Send + Sync + 'static {
    /// Opens a way to a peer.
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>>;
}

/// Connects, upgrades, greets, and starts the tasks that read and write.
pub(super) async fn connect(address: &str, options: &PeerOptions) -> io::Result<Arc<Owner>> {
    if let Some(network) = &options.network {
        let (reader, writer) = tokio::io::split(network.connect(address).await?);
        return greet(reader, writer, BytesMut::new(), options).await;
    }
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (socket, buffer) = upgrade(socket, address, options).await?;
    let (reader, writer) = socket.into_split();
    greet(reader, writer, buffer, options).await
}

/// Greets, and starts the tasks that read and write.
async fn greet<R, W>(
    mut reader: R,
    mut writer: W,
    mut buffer: BytesMut,
    options: &PeerOptions,
) -> io::Result<Arc<Owner>>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let clock = options.clock.clone();
    let remote =
        handshake::exchange(&mut reader, &mut writer, &mut buffer, &options.identity, clock.as_ref()).await?;
    let connection = Connection::new(clock, remote);
    let keep_alive = options.keep_alive;
    tokio::spawn({
        let connection = connection.clone();
        async move {
            let written = writer::write_until_closed(&connection, writer, keep_alive).await;
            close(&connection, written);
        }
    });
    tokio::spawn({
        let connection = connection.clone();
        async move {
            let read = reader::read_until_closed(&connection, reader, buffer, None).await;
            close(&connection, read);
        }
    });
    Ok(Arc::new(Owner(connection)))
}

fn close(connection: &Connection, ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, peer = %connection.remote.node, "a connection to a peer ended");
    }
    connection.close();
}

/// Asks the peer's HTTP listener for the upgrade; hands back the socket and what was read beyond the answer.
async fn upgrade(
    socket: TcpStream,
    address: &str,
    options: &PeerOptions,
) -> io::Result<(TcpStream, BytesMut)> {
    let (mut sender, http) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    let http = tokio::spawn(http.with_upgrades());
    let mut request = Request::get(PATH)
        .header(HOST, address)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, PROTOCOL)
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    if let Some(authorization) = &options.authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization.clone());
    }
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        http.abort();
        return Err(io::Error::other(format!(
            "the peer answered {} instead of upgrading",
            response.status()
        )));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().expect("it is the socket that was handed in");
    Ok((parts.io.into_inner(), BytesMut::from(parts.read_buf)))
}
