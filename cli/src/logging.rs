//! The servers' logs go to stderr; stdout belongs to answers and the ready line.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Flags of the servers that concern their logs.
#[derive(Clone, Debug, Args)]
pub struct LogArguments {
    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,coordinator=debug`.
    #[arg(long, value_name = "LEVEL", env = "POLYLITE_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How a log line is written.
    #[arg(long, value_enum, env = "POLYLITE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the log's library warns at every start that a file ends in zeros: files are filled ahead of use.
const LOG_OPENING: &str = "raft_engine::file_pipe_log::pipe_builder";

/// A level alone concerns our own code; libraries tell what is wrong with them, and no more.
fn directives(log_level: &str) -> String {
    match log_level.parse::<tracing::Level>() {
        Ok(level @ (tracing::Level::INFO | tracing::Level::WARN)) => {
            format!("{level},raft=warn,raft_engine=warn,{LOG_OPENING}=error")
        }
        _ => log_level.to_owned(),
    }
}

/// Starts logging; once per process.
pub fn start(arguments: &LogArguments) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(directives(&arguments.log_level)).map_err(|error| {
        Failure::usage(format!("--log-level {}: {error}", arguments.log_level))
            .with_hint("use error, warn, info, debug or trace")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match arguments.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| Failure::refused(format!("starting the log: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_unless_more_is_asked_for() {
        assert_eq!(directives("info"), format!("INFO,raft=warn,raft_engine=warn,{LOG_OPENING}=error"));
        assert_eq!(directives("warn"), format!("WARN,raft=warn,raft_engine=warn,{LOG_OPENING}=error"));
        assert_eq!(directives("debug"), "debug");
        assert_eq!(directives("info,coordinator=debug"), "info,coordinator=debug");
    }
}
