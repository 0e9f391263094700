//! The server of [`crate::http::baseline_server`], as a process of its own like the coordinator that is measured.

use std::process::Stdio;

use tokio::process::{Child, Command};

use super::own_cluster::first_line;
use crate::failure::Failure;
use crate::http::baseline_server::READY;

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
    let line = first_line(&mut process, "the baseline").await?;
    let url = line.trim_end().strip_prefix(READY);
    let url = url.ok_or_else(|| Failure::refused("the baseline did not start"))?.to_owned();
    Ok(ParsingServer { url, _process: process })
}
