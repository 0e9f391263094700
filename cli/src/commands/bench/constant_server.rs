//! The least that an HTTP server can do: read a request, answer always the same. It is what client, kernel
//! and HTTP cost by themselves.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::failure::Failure;
use crate::http::baseline_server::ANSWER as BODY;

/// A running server; dropping it stops it.
pub struct ConstantServer {
    /// Its address.
    pub url: String,
    task: JoinHandle<()>,
}

impl Drop for ConstantServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts the server on a free port.
pub async fn start() -> Result<ConstantServer, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The client going away is how a connection ends.
                let _ = serve(stream).await;
            });
        }
    });
    Ok(ConstantServer { url, task })
}

async fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut body = Vec::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}
