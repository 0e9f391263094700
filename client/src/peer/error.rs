//! What can go wrong between nodes, and what a client of the cluster is told then.

use bytes::Bytes;
use common::{Error, ErrorCode, Outcome};

/// Why a call, a stream or a message between nodes failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The peer never had the whole request, and will not have it later: nothing was done.
    #[error("the peer cannot be reached: {0}")]
    Unreachable(String),
    /// The request was sent and the connection broke before the answer: it may have been carried out.
    #[error("the connection to the peer broke before it answered")]
    Lost,
    /// The request was sent and no answer came in time: it may have been, or may yet be, carried out.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The request is larger than a message may be and was not sent. The number is its size in bytes.
    #[error("a message of {0} bytes is larger than a message between nodes may be")]
    TooLarge(usize),
    /// The request was carried out; its reply is larger than a message may be.
    #[error("the peer's reply is larger than a message between nodes may be")]
    ReplyTooLarge,
    /// The service ended the stream with an error, encoded as the two sides agreed.
    #[error("the peer ended the stream with an error")]
    Failed(Bytes),
}

impl PeerError {
    /// As a client is told it when the request only read: nothing was applied in any case.
    #[must_use]
    pub fn of_read(self) -> Error {
        match self {
            PeerError::Failed(error) => {
                common::protocol::decode(&error).unwrap_or_else(|malformed| malformed)
            }
            PeerError::Timeout => Error::new(ErrorCode::Timeout, self.to_string()),
            PeerError::Unreachable(_) | PeerError::Lost => {
                Error::new(ErrorCode::Unavailable, self.to_string())
            }
            PeerError::TooLarge(_) => Error::new(ErrorCode::BodyTooLarge, self.to_string()),
            PeerError::ReplyTooLarge => Error::new(ErrorCode::ResultTooBig, self.to_string()),
        }
    }

    /// As a client is told it when the request changed something: whatever may have been carried out is
    /// [`Outcome::Unknown`].
    #[must_use]
    pub fn of_write(self) -> Error {
        let outcome = match &self {
            PeerError::Unreachable(_) | PeerError::TooLarge(_) => Outcome::NotApplied,
            PeerError::Lost | PeerError::Timeout | PeerError::ReplyTooLarge => Outcome::Unknown,
            // The service that wrote the error knows its outcome.
            PeerError::Failed(_) => return self.of_read(),
        };
        self.of_read().with_outcome(outcome)
    }
}
