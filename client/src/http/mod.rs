//! Requests over HTTP: which coordinator, how often, how long.

mod percent;
mod request;
mod retry;
mod session;
mod transport;

pub use percent::segment;
pub(crate) use request::IDEMPOTENCY_KEY;
pub use request::{Effect, Request};
pub use retry::RetryPolicy;
pub(crate) use transport::{Settings, Transport};
