//! What SQLite's result codes mean to clients, and which of them mean that the file or the disk is broken.

use common::{Error, ErrorCode};
use rusqlite::ffi;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The statement or the request is at fault; the connection is as good as before.
    #[error("{0}")]
    Refused(Box<Error>),
    /// The file, the disk or the replica's contents are at fault. The replica must stop serving.
    #[error("storage failed ({code}): {message}")]
    Storage {
        /// SQLite's extended result code.
        code: i32,
        /// SQLite's text, or ours.
        message: String,
    },
}

/// The result of a call into this crate.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A refusal.
    #[must_use]
    pub fn refused(error: Error) -> Failure {
        Failure::Refused(Box::new(error))
    }

    /// The replica's rows are not those that the log was computed on.
    pub(crate) fn diverged(message: impl Into<String>) -> Failure {
        Failure::Storage { code: ffi::SQLITE_CORRUPT, message: message.into() }
    }

    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Failure::Refused(error) => Some(error.code),
            Failure::Storage { .. } => None,
        }
    }

    /// Names the statement of a batch that failed.
    #[must_use]
    pub fn at_statement(self, index: usize) -> Failure {
        match self {
            Failure::Refused(error) => Failure::refused(error.at_statement(index)),
            storage @ Failure::Storage { .. } => storage,
        }
    }

    /// What an extended result code and SQLite's text mean. `preparing` tells "the SQL text is too long"
    /// from "a value is too big", which share a code.
    pub(crate) fn from_sqlite(code: i32, message: String, preparing: bool) -> Failure {
        let refused = |word: ErrorCode, message: String, hint: Option<&str>| {
            let mut error = Error::new(word, message);
            error.hint = hint.map(str::to_owned);
            error.sqlite_code = Some(code);
            Failure::refused(error)
        };
        match code & 0xff {
            ffi::SQLITE_CONSTRAINT => refused(constraint_code(code), message, None),
            ffi::SQLITE_INTERRUPT => refused(
                ErrorCode::StatementTimeout,
                message,
                Some("the statement's time was up; raise timeout_ms, or make it touch fewer rows"),
            ),
            ffi::SQLITE_AUTH => refused(ErrorCode::SqlForbidden, message, None),
            ffi::SQLITE_TOOBIG if !preparing => {
                refused(ErrorCode::ValueTooBig, message, Some("a value or row may hold 16 MiB"))
            }
            ffi::SQLITE_FULL => {
                refused(ErrorCode::Unavailable, message, Some("the disk or the quota is full"))
            }
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_NOMEM => {
                refused(ErrorCode::Unavailable, message, None)
            }
            ffi::SQLITE_IOERR
            | ffi::SQLITE_CORRUPT
            | ffi::SQLITE_NOTADB
            | ffi::SQLITE_CANTOPEN
            | ffi::SQLITE_PROTOCOL
            | ffi::SQLITE_NOLFS
            | ffi::SQLITE_READONLY
            | ffi::SQLITE_PERM => Failure::Storage { code, message },
            // The schema and statistics tables; SQLite has no code of its own for it.
            _ if preparing
                && message.starts_with("table sqlite_")
                && message.ends_with(" may not be modified") =>
            {
                refused(
                    ErrorCode::SqlForbidden,
                    message,
                    Some("change the schema with CREATE, ALTER and DROP"),
                )
            }
            _ => refused(ErrorCode::SqlError, message, None),
        }
    }

    /// An error of rusqlite's.
    pub(crate) fn from_rusqlite(error: rusqlite::Error, preparing: bool) -> Failure {
        match error {
            rusqlite::Error::SqliteFailure(error, message) => {
                let message = message.unwrap_or_else(|| ffi::code_to_str(error.extended_code).to_owned());
                Failure::from_sqlite(error.extended_code, message, preparing)
            }
            rusqlite::Error::SqlInputError { error, msg, .. } => {
                Failure::from_sqlite(error.extended_code, msg, preparing)
            }
            rusqlite::Error::MultipleStatement => Failure::refused(
                Error::new(ErrorCode::SqlError, "more than one statement in one text")
                    .with_hint("send each statement as an element of \"statements\""),
            ),
            other => Failure::refused(Error::new(ErrorCode::SqlError, other.to_string())),
        }
    }
}

fn constraint_code(extended: i32) -> ErrorCode {
    match extended {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            ErrorCode::UniqueViolation
        }
        ffi::SQLITE_CONSTRAINT_NOTNULL => ErrorCode::NotNullViolation,
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorCode::ForeignKeyViolation,
        // CHECK, a STRICT column's type, RAISE in a trigger and what functions and virtual tables refuse.
        _ => ErrorCode::CheckViolation,
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::from_rusqlite(error, false)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::refused(error)
    }
}

impl From<common::row::MalformedRow> for Failure {
    fn from(error: common::row::MalformedRow) -> Failure {
        Failure::refused(Error::internal(error.to_string()))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Refused(error) => *error,
            Failure::Storage { code, message } => {
                let mut error = Error::new(ErrorCode::Unavailable, format!("storage failed: {message}"));
                error.sqlite_code = Some(code);
                error
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_the_schema_itself_is_forbidden_and_not_misspelt() {
        let code = |message: &str| {
            let failure = Failure::from_sqlite(ffi::SQLITE_ERROR, message.to_owned(), true);
            let Failure::Refused(error) = failure else { panic!("{message}: the storage is not at fault") };
            error.code
        };
        assert_eq!(code("table sqlite_master may not be modified"), ErrorCode::SqlForbidden);
        assert_eq!(code("no such table: sqlite_master_2"), ErrorCode::SqlError);
    }
}
