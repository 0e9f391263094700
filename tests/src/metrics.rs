//! A server's numbers, as it tells them to Prometheus.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// All numbers of the server at a URL, in Prometheus' text.
#[must_use]
pub fn metrics_of(url: &str) -> String {
    let address = url.strip_prefix("http://").expect("a URL");
    let mut socket = TcpStream::connect(address).expect("the server listens");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("a request is sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer comes");
    answer
}

/// The number behind a name, with its labels, in Prometheus' text.
#[must_use]
pub fn number(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{metrics}")).parse().expect("a number")
}
