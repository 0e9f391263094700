//! What went wrong, and what became of the request.

use std::fmt;

pub use common::{ErrorCode, Outcome};
use serde::Deserialize;

/// The result of everything that the library does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Codes of errors that arise in the library itself, beside the server's [`ErrorCode`]s.
pub mod local {
    /// No coordinator could be connected to.
    pub const UNREACHABLE: &str = "unreachable";
    /// The connection broke before the whole answer was there.
    pub const CONNECTION_LOST: &str = "connection_lost";
    /// The library's own time limit passed.
    pub const CLIENT_TIMEOUT: &str = "client_timeout";
    /// The answer is not what the route promises.
    pub const INVALID_ANSWER: &str = "invalid_answer";
    /// The arguments cannot be sent, or a value does not have the type asked for.
    pub const INVALID_USE: &str = "invalid_use";
}

/// An error, the server's or the library's own.
///
/// ```
/// use polylite_client::{Error, ErrorCode, Outcome};
///
/// fn advice(error: &Error) -> &'static str {
///     match error.outcome {
///         _ if error.is(ErrorCode::UniqueViolation) => "choose another name",
///         Outcome::Unknown => "look whether it was applied before you repeat it",
///         _ if error.retryable => "try again",
///         _ => "give up",
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The stable word: that of an [`ErrorCode`], or one of [`local`].
    pub code: String,
    /// A sentence for people; for an error in SQL, SQLite's own text.
    pub message: String,
    /// What can be done about it.
    pub hint: Option<String>,
    /// What became of the write.
    pub outcome: Outcome,
    /// Whether the same request may succeed when sent again. Look at `outcome` first.
    pub retryable: bool,
    /// The request's name in the server's log.
    pub request_id: Option<String>,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Index of the statement at fault in its batch.
    pub statement: Option<u32>,
    /// SQLite's extended result code.
    pub sqlite_code: Option<i32>,
    /// The partition at fault.
    pub partition: Option<String>,
    /// What was applied, if the outcome is [`Outcome::Partial`].
    pub applied: Vec<serde_json::Value>,
}

impl Error {
    /// Whether this is an error of that kind.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code.as_str()
    }

    /// An error of which no more is known: nothing was applied, and trying again does not help.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Error {
        Error {
            code: code.to_owned(),
            message: message.into(),
            hint: None,
            outcome: Outcome::NotApplied,
            retryable: false,
            request_id: None,
            status: None,
            statement: None,
            sqlite_code: None,
            partition: None,
            applied: Vec::new(),
        }
    }

    pub(crate) fn invalid_use(message: impl Into<String>) -> Error {
        Error::new(local::INVALID_USE, message)
    }

    pub(crate) fn retryable(mut self) -> Error {
        self.retryable = true;
        self
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Error {
        self.outcome = outcome;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)?;
        if self.outcome != Outcome::NotApplied {
            write!(f, "; the write is {}", outcome_words(self.outcome))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotApplied => "not applied",
        Outcome::Applied => "applied",
        Outcome::Partial => "applied in part",
        Outcome::Unknown => "applied or not: unknown",
    }
}

/// An error as it stands in an answer's body.
#[derive(Debug, Deserialize)]
pub(crate) struct ErrorBody {
    error: Option<String>,
    code: Option<String>,
    hint: Option<String>,
    outcome: Option<Outcome>,
    retryable: Option<bool>,
    request_id: Option<String>,
    statement: Option<u32>,
    sqlite_code: Option<i32>,
    partition: Option<String>,
    #[serde(default)]
    applied: Vec<serde_json::Value>,
}

impl ErrorBody {
    /// `silent` is the outcome if the body does not say: what is not said to be not applied may have been.
    pub(crate) fn into_error(self, status: Option<u16>, silent: Outcome) -> Error {
        Error {
            code: self.code.unwrap_or_else(|| local::INVALID_ANSWER.to_owned()),
            message: self.error.unwrap_or_else(|| "the server gave no reason".to_owned()),
            hint: self.hint,
            outcome: self.outcome.unwrap_or(silent),
            retryable: self.retryable.unwrap_or(false),
            request_id: self.request_id,
            status,
            statement: self.statement,
            sqlite_code: self.sqlite_code,
            partition: self.partition,
            applied: self.applied,
        }
    }
}
