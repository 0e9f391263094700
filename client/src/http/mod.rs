//! Requests over HTTP: which coordinator, how often, how long.

mod percent;
mod request;
mod retry;
mod transport;

pub use percent::segment;
pub use request::{Effect, Request};
pub use retry::RetryPolicy;
pub(crate) use transport::{Settings, Transport};
