//! The HTTP server that the command line has of its own.

pub mod baseline_server;
