//! What the servers share: flags, the ready line, how they end, and how a failed start is told.

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::connection::Connection;
use crate::data_directory;
use crate::failure::Failure;

/// Flags of `coordinator` and `storage-node`.
#[derive(Clone, Debug, Args)]
pub struct ListenArguments {
    /// Host or address to listen on; localhost listens on all its addresses.
    #[arg(long, value_name = "HOST", env = "POLYLITE_HOST", default_value = "localhost")]
    pub host: String,
    /// What others are told to reach this server at; left out, the host as given and the real port.
    #[arg(long, value_name = "HOST[:PORT]", env = "POLYLITE_ADVERTISE")]
    pub advertise: Option<String>,
    /// Where everything is kept; left out, a folder for this port in the user's data directory.
    #[arg(long, value_name = "D", env = "POLYLITE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

impl ListenArguments {
    /// The directory as given, or the default one of a role and port.
    pub fn data_directory(&self, role: &str, port: u16, name: Option<&str>) -> Result<PathBuf, Failure> {
        match &self.data_dir {
            Some(directory) => Ok(directory.clone()),
            None => data_directory::default_for(role, port, name),
        }
    }
}

/// Prints the line by which scripts and people know that a server takes requests. It is the first on stdout.
pub fn announce_ready(role: &str, url: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "polylite {role} ready at {url}")?;
    Ok(out.flush()?)
}

/// `http://host:port`.
pub fn url(host: &str, port: u16) -> String {
    format!("http://{}", common::catalog::address(host, port))
}

/// Tells why a server did not start, and what can be done.
pub fn start_failure(role: &str, port: u16, error: &(impl std::error::Error + 'static)) -> Failure {
    let failure = Failure::refused(format!("{role} did not start: {}", WithSources(error)));
    if is_address_in_use(error) {
        return failure.with_hint(format!(
            "port {port} is taken by another process; choose another with --port, or --port 0 for any free one"
        ));
    }
    failure
}

/// An error with the errors behind it, as one sentence.
struct WithSources<'a>(&'a dyn std::error::Error);

impl Display for WithSources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told = self.0.to_string();
        write!(f, "{told}")?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some errors tell their source themselves.
            if !told.contains(&text) {
                write!(f, ": {text}")?;
                told = text;
            }
            source = error.source();
        }
        Ok(())
    }
}

fn is_address_in_use(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if kind == Some(std::io::ErrorKind::AddrInUse) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Waits until `count` storage nodes are active.
pub async fn nodes_registered(connection: &Connection, count: usize) -> Result<(), Failure> {
    let deadline = Instant::now() + REGISTRATION_TIME;
    loop {
        let answer = connection.get("/nodes").await?;
        let nodes = answer["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
        let active = nodes.filter(|node| node["status"] == "active").count();
        if active >= count {
            return Ok(());
        }
        if Instant::now() > deadline {
            let message = format!("{active} of {count} storage nodes are active after {REGISTRATION_TIME:?}");
            return Err(Failure::refused(message).with_hint("the log tells why the others are not"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Longest wait for storage nodes that were just started.
const REGISTRATION_TIME: Duration = Duration::from_secs(30);

/// Ctrl-C and SIGTERM, heard from [`StopSignals::listen`] on.
///
/// A server listens before it says that it is ready: until then a signal ends the process at once, and whoever
/// waited for the ready line may count on a clean end.
pub struct StopSignals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Takes the signals over from the system's default, which ends the process.
    pub fn listen() -> Result<StopSignals, Failure> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let interrupt = signal(SignalKind::interrupt())?;
            let terminate = signal(SignalKind::terminate())?;
            Ok(StopSignals { interrupt, terminate })
        }
        #[cfg(not(unix))]
        Ok(StopSignals {})
    }

    /// Waits for the first of them.
    pub async fn requested(mut self) -> Result<(), Failure> {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await?;
        tracing::info!("stopping");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot listen on {host}")]
    struct Listen {
        host: &'static str,
        source: std::io::Error,
    }

    #[test]
    fn a_port_that_is_taken_is_told_with_the_flag_that_helps() {
        let source = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let failure = start_failure("coordinator", 5000, &Listen { host: "localhost", source });
        assert!(failure.text().starts_with("coordinator did not start: cannot listen on localhost: "));
        assert!(failure.text().contains("--port"), "{}", failure.text());
        assert_eq!(failure.exit_code(), 1);
    }

    #[test]
    fn addresses_of_either_family_make_a_url() {
        assert_eq!(url("localhost", 5000), "http://localhost:5000");
        assert_eq!(url("::1", 5000), "http://[::1]:5000");
    }
}
