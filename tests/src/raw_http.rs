//! HTTP without a library: what a client of any language would see, status and headers included.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value as Json;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// The status code.
    pub status: u16,
    head: String,
    /// The body; text that is no JSON stands as a string.
    pub body: Json,
}

impl RawAnswer {
    /// A header by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let named =
            |line: &str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().find(|line| named(line)).map(|line| line[name.len() + 1..].trim())
    }
}

/// Sends one request over a connection of its own; `Json::Null` is no body.
///
/// # Panics
/// If nobody answers.
#[must_use]
pub fn send(url: &str, method: &str, path: &str, body: &Json) -> RawAnswer {
    send_with(url, method, path, &[], body)
}

/// The same with further headers.
///
/// # Panics
/// If nobody answers.
#[must_use]
pub fn send_with(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &Json) -> RawAnswer {
    try_send_with(url, method, path, headers, body).expect("somebody answers")
}

/// The same to a server that may be gone.
///
/// # Panics
/// If the answer is no HTTP.
pub fn try_send_with(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Json,
) -> std::io::Result<RawAnswer> {
    let address = url.strip_prefix("http://").expect("an http address");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        // The server has gone in the middle.
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = serde_json::from_str(body).unwrap_or_else(|_| Json::from(body));
    Ok(RawAnswer { status, head: head.to_owned(), body })
}
