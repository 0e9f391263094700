//! Everything that opens a connection: the client library for applications, and the connections between
//! the cluster's own nodes.

pub mod node;
pub mod peer;
