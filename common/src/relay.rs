//! Clients' requests that one coordinator passes on to another.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A client's request on its way to another coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relaying {
    /// Its method.
    pub method: String,
    /// Its path and query string.
    pub uri: String,
    /// Its headers, but for those of its connection.
    pub headers: Vec<(String, Bytes)>,
    /// Its body.
    pub body: Bytes,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relayed {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, Bytes)>,
    /// Its body.
    pub body: Bytes,
}
