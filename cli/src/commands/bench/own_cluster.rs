//! A coordinator and storage nodes as processes of their own, on free ports, in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::server;

const START_TIME: Duration = Duration::from_secs(30);

/// The processes. They are killed when this is dropped; [`OwnCluster::stop`] also waits for their ends.
pub struct OwnCluster {
    /// The coordinator's address.
    pub url: String,
    folder: PathBuf,
    plan: Plan,
    coordinator: Child,
    storage_nodes: Vec<Child>,
}

/// What a cluster is made of.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Storage nodes.
    pub nodes: usize,
    /// Flags of the coordinator.
    pub coordinator: &'static [&'static str],
}

impl OwnCluster {
    /// Starts the processes of the usual cluster and waits until the nodes are registered.
    pub async fn start(folder: &Path) -> Result<OwnCluster, Failure> {
        OwnCluster::start_as(folder, Plan { nodes: 3, coordinator: &[] }).await
    }

    /// The same of another one.
    pub async fn start_as(folder: &Path, plan: Plan) -> Result<OwnCluster, Failure> {
        let (coordinator, url) = spawn(folder, "coordinator", "coordinator", plan.coordinator).await?;
        let folder = folder.to_owned();
        let mut cluster = OwnCluster { url, folder, plan, coordinator, storage_nodes: Vec::new() };
        for number in 0..plan.nodes {
            let node = cluster.spawn_node(number).await?;
            cluster.storage_nodes.push(node);
        }
        server::nodes_registered(&Connection::to(&[cluster.url.clone()])?, plan.nodes).await?;
        Ok(cluster)
    }

    /// Ends all processes and waits until they have.
    pub async fn stop(mut self) -> Result<(), Failure> {
        for process in std::iter::once(&mut self.coordinator).chain(&mut self.storage_nodes) {
            process.kill().await?;
        }
        Ok(())
    }

    /// All processes of the cluster.
    pub fn pids(&self) -> Vec<u32> {
        std::iter::once(&self.coordinator).chain(&self.storage_nodes).filter_map(Child::id).collect()
    }

    /// Ends a storage node as a crash would. It is named by its id in the cluster.
    pub async fn kill_node(&mut self, id: &str) -> Result<usize, Failure> {
        let number = (0..self.plan.nodes).find(|&number| node_name(number) == id);
        let number = number.ok_or_else(|| Failure::refused(format!("there is no storage node {id}")))?;
        self.storage_nodes[number].kill().await?;
        Ok(number)
    }

    /// Starts a storage node that was killed, over its own data, and waits until it is ready.
    pub async fn spawn_again(&mut self, number: usize) -> Result<(), Failure> {
        self.storage_nodes[number] = self.spawn_node(number).await?;
        Ok(())
    }

    /// The same, and waits until it is registered.
    pub async fn restart_node(&mut self, number: usize) -> Result<(), Failure> {
        self.spawn_again(number).await?;
        server::nodes_registered(&Connection::to(std::slice::from_ref(&self.url))?, self.plan.nodes).await
    }

    async fn spawn_node(&self, number: usize) -> Result<Child, Failure> {
        let name = node_name(number);
        let flags = ["--coordinator", &self.url, "--node-id", &name];
        Ok(spawn(&self.folder, "storage-node", &name, &flags).await?.0)
    }
}

/// The id of a node in the cluster.
pub fn node_name(number: usize) -> String {
    format!("storage-node-{}", number + 1)
}

/// Starts one server and gives its address once it is ready.
async fn spawn(folder: &Path, role: &str, name: &str, flags: &[&str]) -> Result<(Child, String), Failure> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join(format!("{name}.log")))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([role, "--host", "127.0.0.1", "--port", "0", "--log-level", "warn", "--data-dir"])
        .arg(folder.join(name))
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    let line = first_line(&mut child, name).await?;
    match line.trim_end().strip_prefix(&format!("polylite {role} ready at ")) {
        Some(url) => Ok((child, url.to_owned())),
        None => {
            let log = std::fs::read_to_string(folder.join(format!("{name}.log")))?;
            Err(Failure::refused(format!("{name} did not start: {}", log.trim_end())))
        }
    }
}

/// The first line that a process writes, by which servers tell that they are ready; empty if it has ended before.
pub async fn first_line(process: &mut Child, name: &str) -> Result<String, Failure> {
    let mut line = String::new();
    if let Some(stdout) = process.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let read = tokio::time::timeout(START_TIME, stdout.read_line(&mut line)).await;
        read.map_err(|_| Failure::refused(format!("{name} is not ready after {START_TIME:?}")))??;
    }
    Ok(line)
}
