//! Time and chance, handed in by whoever serves the request.

/// When a request runs, and what it may draw from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Random bits, fresh for each request.
    pub random: u128,
}
