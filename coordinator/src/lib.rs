//! The coordinator: the HTTP interface that clients speak to, the catalog that all coordinators agree on, and
//! the gateway that carries requests to the storage nodes.
//!
//! - [`catalog`] replicates what the cluster agrees on; [`operations`] and [`placement`] act on it.
//! - [`gateway`] routes requests to partitions and keeps promises across failures; [`result_cache`] holds what it has
//!   answered before.
//! - [`http`] is the interface itself, the only place that knows axum.

pub mod catalog;
pub mod config;
pub mod gateway;
pub mod health;
pub mod http;
mod joining;
pub mod metrics;
pub mod operations;
pub mod peer_service;
pub mod placement;
pub mod result_cache;
mod running;
mod serving;

pub use config::CoordinatorOptions;
pub use query::Rules;
pub use running::{Coordinator, StartError};
pub use sqlite::WorkspaceLimits;
