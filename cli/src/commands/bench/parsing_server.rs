//! The server of [`crate::http::baseline_server`], as a process of its own like the coordinator that is measured.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::failure::Failure;
use crate::http::baseline_server::READY;

const START_TIME: Duration = Duration::from_secs(30);

/// A running server; dropping it kills it.
pub struct ParsingServer {
    /// Its address.
    pub url: String,
    _process: Child,
}

/// Starts the server on a free port.
pub async fn start() -> Result<ParsingServer, Failure> {
    let mut process = Command::new(std::env::current_exe()?)
        .arg("baseline-server")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = process.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let read = tokio::time::timeout(START_TIME, stdout.read_line(&mut line)).await;
        read.map_err(|_| Failure::refused(format!("the baseline is not ready after {START_TIME:?}")))??;
    }
    let url = line.trim_end().strip_prefix(READY);
    let url = url.ok_or_else(|| Failure::refused("the baseline did not start"))?.to_owned();
    Ok(ParsingServer { url, _process: process })
}
