//! A coordinator and three storage nodes as processes of their own, on free ports, in a temporary folder.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::server;

const STORAGE_NODES: usize = 3;
const START_TIME: Duration = Duration::from_secs(30);

/// The processes; they end when this is dropped.
pub struct OwnCluster {
    /// The coordinator's address.
    pub url: String,
    _children: Vec<Child>,
}

impl OwnCluster {
    /// Starts them and waits until the nodes are registered.
    pub async fn start(folder: &Path) -> Result<OwnCluster, Failure> {
        let (coordinator, url) = spawn(folder, "coordinator", "coordinator", &[]).await?;
        let mut children = vec![coordinator];
        for number in 1..=STORAGE_NODES {
            let name = format!("storage-node-{number}");
            let flags = ["--coordinator", &url];
            let (node, _) = spawn(folder, "storage-node", &name, &flags).await?;
            children.push(node);
        }
        server::nodes_registered(&Connection::to(&[url.clone()])?, STORAGE_NODES).await?;
        Ok(OwnCluster { url, _children: children })
    }
}

/// Starts one server and gives its address once it is ready.
async fn spawn(folder: &Path, role: &str, name: &str, flags: &[&str]) -> Result<(Child, String), Failure> {
    let log = std::fs::File::create(folder.join(format!("{name}.log")))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([role, "--host", "127.0.0.1", "--port", "0", "--log-level", "warn", "--data-dir"])
        .arg(folder.join(name))
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let read = tokio::time::timeout(START_TIME, stdout.read_line(&mut line)).await;
        read.map_err(|_| Failure::refused(format!("{name} is not ready after {START_TIME:?}")))??;
    }
    match line.trim_end().strip_prefix(&format!("polylite {role} ready at ")) {
        Some(url) => Ok((child, url.to_owned())),
        None => {
            let log = std::fs::read_to_string(folder.join(format!("{name}.log")))?;
            Err(Failure::refused(format!("{name} did not start: {}", log.trim_end())))
        }
    }
}
