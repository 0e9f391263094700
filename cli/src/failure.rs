//! How a command fails: what is told, and the exit code.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use polylite_client::{Outcome, local_error_codes as codes};

/// Why a command did not do what it was asked. It is told on stderr.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    message: String,
    hint: Option<String>,
    /// HTTP status of the answer, if there was one.
    status: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The server, or this machine, refused.
    Refused,
    /// What was typed makes no sense.
    Usage,
    /// No server answers.
    Unreachable,
    /// The reader of our output has gone; there is nobody to tell.
    BrokenPipe,
}

impl Failure {
    /// The request was refused, or something on this machine stood against it.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Refused, message: message.into(), hint: None, status: None }
    }

    /// What was typed makes no sense.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Usage, message: message.into(), hint: None, status: None }
    }

    /// Adds what the reader can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Puts what was being done before the message: `creating database: …`.
    #[must_use]
    pub fn while_doing(mut self, action: impl Display) -> Failure {
        self.message = format!("{action}: {}", self.message);
        self
    }

    /// The exit code: 1 refused, 2 usage, 3 unreachable.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Refused => 1,
            Kind::Usage => 2,
            Kind::Unreachable => 3,
            // What a process killed by SIGPIPE reports.
            Kind::BrokenPipe => 141,
        }
    }

    /// Whether the server says that there is no such database, table, node or other thing.
    pub fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// The text for stderr, without the line's end.
    pub fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}\nhint: {hint}", self.message),
            None => self.message.clone(),
        }
    }

    /// Tells it on stderr and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if self.kind != Kind::BrokenPipe {
            eprintln!("{}", self.text());
        }
        ExitCode::from(self.exit_code())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe { Kind::BrokenPipe } else { Kind::Refused };
        Failure { kind, message: error.to_string(), hint: None, status: None }
    }
}

impl From<polylite_client::Error> for Failure {
    fn from(error: polylite_client::Error) -> Failure {
        let kind = match error.code.as_str() {
            codes::UNREACHABLE | codes::CONNECTION_LOST | codes::CLIENT_TIMEOUT => Kind::Unreachable,
            codes::INVALID_USE => Kind::Usage,
            _ => Kind::Refused,
        };
        let mut message = error.message;
        match error.outcome {
            Outcome::NotApplied => {}
            Outcome::Applied => message.push_str(" (the write was applied)"),
            Outcome::Partial if error.applied.is_empty() => {
                message.push_str(" (a part of the write was applied)");
            }
            Outcome::Partial => {
                let applied: Vec<String> = error.applied.iter().map(ToString::to_string).collect();
                message.push_str(&format!(" (applied: {})", applied.join(", ")));
            }
            Outcome::Unknown => message.push_str(" (the write may have been applied)"),
        }
        let hint = match error.code.as_str() {
            codes::UNREACHABLE => error.hint.or_else(|| Some(UNREACHABLE_HINT.to_owned())),
            _ => error.hint,
        };
        Failure { kind, message, hint, status: error.status }
    }
}

const UNREACHABLE_HINT: &str = "is a server running? `polylite dev` starts one; --coordinator URL names it";

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> polylite_client::Error {
        polylite_client::Error::new(code, "no answer")
    }

    #[test]
    fn the_exit_code_tells_whose_fault_it_is() {
        assert_eq!(Failure::from(error("sql_error")).exit_code(), 1);
        assert_eq!(Failure::from(error(codes::INVALID_USE)).exit_code(), 2);
        assert_eq!(Failure::from(error(codes::UNREACHABLE)).exit_code(), 3);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 141);
    }

    #[test]
    fn the_outcome_of_a_write_is_told() {
        let mut error = error("timeout");
        error.outcome = Outcome::Unknown;
        error.hint = Some("look first".to_owned());
        let failure = Failure::from(error).while_doing("Query error");
        assert_eq!(
            failure.text(),
            "Query error: no answer (the write may have been applied)\nhint: look first"
        );
    }
}
