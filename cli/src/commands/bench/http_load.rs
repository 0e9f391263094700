//! A load of HTTP requests with as little client as possible: the client shares the machine with what it
//! measures, and a full HTTP client would cost as much as the server.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::figures::Measured;
use crate::failure::Failure;

/// How much at once, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections, each with one request under way.
    pub connections: usize,
    /// How long.
    pub time: Duration,
}

/// A request and what its answer has to hold.
pub struct Exchange {
    /// Where it is sent.
    pub path: &'static str,
    /// The JSON body to post.
    pub body: String,
    /// Text without which the answer is wrong; empty if any answer with status 200 will do.
    pub expected: String,
}

/// Keeps `load.connections` requests under way for `load.time`; the first wrong answer ends it. What `next` gives is one
/// operation: requests one after another.
pub async fn run<O>(
    url: &str,
    load: Load,
    next: impl Fn() -> O + Send + Sync + Clone + 'static,
) -> Result<Measured, Failure>
where
    O: IntoIterator<Item = Exchange, IntoIter: Send> + Send,
{
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        connections.push(HttpConnection::open(url).await?);
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let next = next.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            while started.elapsed() < load.time {
                let operation = next();
                let begun = Instant::now();
                for exchange in operation {
                    connection.post(&exchange).await?;
                }
                times.push(begun.elapsed());
            }
            Ok::<_, Failure>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done.map_err(|error| Failure::refused(format!("a client ended: {error}")))??);
    }
    Ok(Measured::of_times(times, started.elapsed()))
}

/// One connection that posts request after request.
pub struct HttpConnection {
    stream: TcpStream,
    address: String,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl HttpConnection {
    /// Connects to `http://host:port`.
    pub async fn open(url: &str) -> Result<HttpConnection, Failure> {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(HttpConnection { stream, address: address.to_owned(), sent: Vec::new(), received: Vec::new() })
    }

    /// Sends one request and checks its answer.
    pub async fn post(&mut self, exchange: &Exchange) -> Result<(), Failure> {
        self.sent.clear();
        for part in [
            "POST ",
            exchange.path,
            " HTTP/1.1\r\nhost: ",
            &self.address,
            "\r\ncontent-type: application/json\r\ncontent-length: ",
            &exchange.body.len().to_string(),
            "\r\n\r\n",
            &exchange.body,
        ] {
            self.sent.extend_from_slice(part.as_bytes());
        }
        self.stream.write_all(&self.sent).await?;
        let Answer { status, body } = self.receive().await?;
        let body = &self.received[body];
        if status == 200 && holds(body, exchange.expected.as_bytes()) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(body);
        Err(Failure::refused(format!("{} was answered with {status}: {text}", exchange.body)))
    }

    /// Receives one answer.
    async fn receive(&mut self) -> Result<Answer, Failure> {
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(Failure::refused("the server closed the connection"));
            }
            let Some(answer) = parse_head(&self.received)? else { continue };
            let whole = answer.body.end;
            if self.received.len() < whole {
                let missing = self.received.len();
                self.received.resize(whole, 0);
                self.stream.read_exact(&mut self.received[missing..]).await?;
            }
            return Ok(answer);
        }
    }
}

/// Where an answer's body lies among the bytes received.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    body: std::ops::Range<usize>,
}

/// Reads the head of an answer, if all of it is there.
fn parse_head(received: &[u8]) -> Result<Option<Answer>, Failure> {
    let unreadable = || Failure::refused("the server sent something that is no answer of HTTP/1.1");
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&received[..end]).map_err(|_| unreadable())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let (Some(status), Some(length)) = (status, length) else { return Err(unreadable()) };
    let start = end + 4;
    Ok(Some(Answer { status, body: start..start + length }))
}

fn holds(body: &[u8], expected: &[u8]) -> bool {
    expected.is_empty() || body.windows(expected.len()).any(|window| window == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_once_its_head_is_whole() {
        let text = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nx: y\r\n\r\n{}";
        let found = parse_head(text).unwrap();
        assert_eq!(found, Some(Answer { status: 404, body: text.len() - 2..text.len() }));
        assert_eq!(parse_head(&text[..30]).unwrap(), None);
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn a_wrong_answer_is_told_with_its_text() {
        let server = super::super::constant_server::start().await.unwrap();
        let mut connection = HttpConnection::open(&server.url).await.unwrap();
        let exchange = |expected: &str| Exchange { path: "/x", body: "{}".into(), expected: expected.into() };
        connection.post(&exchange("")).await.unwrap();
        connection.post(&exchange("\"success\":true")).await.unwrap();
        let failure = connection.post(&exchange("absent")).await.unwrap_err();
        assert!(failure.text().contains("\"success\":true"), "{}", failure.text());
    }
}
