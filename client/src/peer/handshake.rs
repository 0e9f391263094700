//! The first frame in each direction: which version of the protocol, and who speaks.

use std::io;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::PeerClock;
use super::frame::{self, CHUNK, HEADER, Header, Kind, violation};

/// Version of the frames; two sides with different versions do not talk.
const PROTOCOL_VERSION: u32 = 3;
/// A read buffer's first size: a chunk with its header.
pub(super) const READ_BUFFER: usize = CHUNK + HEADER;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// The node's name, empty while it has none.
    pub node: Arc<str>,
    /// Drawn at random by each process at its start: tells a restarted process from the former one.
    pub process: u64,
}

impl PeerIdentity {
    /// An identity; `process` should be random.
    #[must_use]
    pub fn new(node: &str, process: u64) -> PeerIdentity {
        PeerIdentity { node: Arc::from(node), process }
    }
}

impl Default for PeerIdentity {
    fn default() -> Self {
        PeerIdentity::new("", 0)
    }
}

#[derive(Serialize, Deserialize)]
struct Hello {
    version: u32,
    node: String,
    process: u64,
}

/// Says hello and hears it. What was read beyond the peer's hello stays in `buffer`.
pub(super) async fn exchange<R, W>(
    reader: &mut R,
    writer: &mut W,
    buffer: &mut BytesMut,
    own: &PeerIdentity,
    clock: &dyn PeerClock,
) -> io::Result<PeerIdentity>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    writer.write_all(&greeting(own, clock)).await?;
    writer.flush().await?;
    buffer.reserve(READ_BUFFER);
    let (header, payload) = loop {
        if let Some(first) = frame::take(buffer)? {
            break first;
        }
        if reader.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    if header.kind != Kind::Hello || header.more {
        return Err(violation("something else before its hello"));
    }
    let hello: Hello = postcard::from_bytes(&payload).map_err(|_| violation("a malformed hello"))?;
    if hello.version != PROTOCOL_VERSION {
        let text = format!(
            "the peer speaks version {} of the node-to-node protocol, this process version {PROTOCOL_VERSION}",
            hello.version
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    clock.observe(header.clock);
    Ok(PeerIdentity::new(&hello.node, hello.process))
}

fn greeting(own: &PeerIdentity, clock: &dyn PeerClock) -> BytesMut {
    let hello = Hello { version: PROTOCOL_VERSION, node: own.node.to_string(), process: own.process };
    let payload = common::protocol::encode(&hello);
    let header =
        Header { kind: Kind::Hello, more: false, stream: 0, clock: clock.now(), length: payload.len() };
    let mut wire = BytesMut::with_capacity(HEADER + payload.len());
    header.put(&mut wire);
    wire.put_slice(&payload);
    wire
}
