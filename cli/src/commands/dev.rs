//! `polylite dev`: a coordinator and storage nodes in one process, to try things and to develop against.

use std::path::{Path, PathBuf};

use clap::Args;
use common::NodeId;
use coordinator::{Coordinator, CoordinatorOptions};
use storage_node::config::UpkeepOptions;
use storage_node::{StorageNode, StorageNodeOptions};

use crate::arguments::SqlRulesArguments;
use crate::connection::Connection;
use crate::data_directory;
use crate::failure::Failure;
use crate::logging::{self, LogArguments};
use crate::merging::MergingArguments;
use crate::server::{self, StopSignals};
use crate::slow_transactions::SlowTransactionArguments;

/// Flags of `dev`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Host or address to listen on.
    #[arg(long, value_name = "HOST", env = "POLYLITE_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the coordinator; 0 takes a free one. The storage nodes take free ones.
    #[arg(long, value_name = "PORT", env = "POLYLITE_PORT", default_value_t = 5000)]
    pub port: u16,
    /// Where everything is kept; left out, a folder for this port in the user's data directory.
    #[arg(long, value_name = "D", env = "POLYLITE_DATA_DIR", conflicts_with = "ephemeral")]
    pub data_dir: Option<PathBuf>,
    /// Keep everything in a temporary folder that is removed at the end.
    #[arg(long, env = "POLYLITE_EPHEMERAL")]
    pub ephemeral: bool,
    /// Number of storage nodes. A data directory that holds more gets as many as it holds.
    #[arg(
        long,
        value_name = "COUNT",
        env = "POLYLITE_NODES",
        default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub nodes: u16,
    #[command(flatten)]
    sql: SqlRulesArguments,
    #[command(flatten)]
    merging: MergingArguments,
    #[command(flatten)]
    slow: SlowTransactionArguments,
    #[command(flatten)]
    log: LogArguments,
}

/// The data directory, and the temporary folder that it may be.
struct DataFolder {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

/// Runs the servers until they are told to end.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    logging::start(&arguments.log)?;
    let folder = data_folder(&arguments)?;
    let cluster = Cluster::start(&arguments, &folder.path).await?;
    let stop = StopSignals::listen()?;
    server::announce_ready("dev", &cluster.url)?;
    print!("{}", hints(&cluster.url, &folder, &program()));
    std::io::Write::flush(&mut std::io::stdout())?;
    stop.requested().await?;
    cluster.stop().await;
    match folder.temporary {
        Some(temporary) => Ok(temporary.close()?),
        None => Ok(()),
    }
}

fn data_folder(arguments: &Arguments) -> Result<DataFolder, Failure> {
    if arguments.ephemeral {
        let temporary = tempfile::Builder::new().prefix("polylite-dev-").tempdir()?;
        return Ok(DataFolder { path: temporary.path().to_owned(), temporary: Some(temporary) });
    }
    let path = match &arguments.data_dir {
        Some(path) => path.clone(),
        None => data_directory::default_for("dev", arguments.port, None)?,
    };
    Ok(DataFolder { path, temporary: None })
}

/// The servers of this process.
struct Cluster {
    url: String,
    coordinator: Coordinator,
    nodes: Vec<StorageNode>,
}

impl Cluster {
    async fn start(arguments: &Arguments, folder: &Path) -> Result<Cluster, Failure> {
        let coordinator = Coordinator::start(CoordinatorOptions {
            host: arguments.host.clone(),
            port: arguments.port,
            sql_rules: arguments.sql.sql_rules,
            workspace: arguments.merging.limits(),
            slow_transaction: arguments.slow.slow_transaction(),
            ..CoordinatorOptions::new(folder.join("coordinator"))
        })
        .await
        .map_err(|error| server::start_failure("coordinator", arguments.port, &error))?;
        let url = server::url(&arguments.host, coordinator.port());
        let mut nodes = Vec::new();
        for number in 1..=node_count(arguments.nodes, folder) {
            let node = StorageNode::start(StorageNodeOptions {
                host: arguments.host.clone(),
                port: 0,
                advertise: None,
                allowed_hosts: Vec::new(),
                data_dir: node_folder(folder, number),
                coordinators: vec![url.clone()],
                node_id: Some(NodeId(format!("node-{number}"))),
                upkeep: UpkeepOptions::default(),
            });
            nodes.push(node.await.map_err(|error| server::start_failure("storage node", 0, &error))?);
        }
        server::nodes_registered(&Connection::to(std::slice::from_ref(&url))?, nodes.len()).await?;
        Ok(Cluster { url, coordinator, nodes })
    }

    /// Nodes first: they tell the coordinator that they go.
    async fn stop(self) {
        futures_util::future::join_all(self.nodes.into_iter().map(StorageNode::shutdown)).await;
        self.coordinator.shutdown().await;
    }
}

fn node_folder(folder: &Path, number: u16) -> PathBuf {
    folder.join(format!("node-{number}"))
}

/// Fewer nodes than the directory holds could not reach a quorum.
fn node_count(asked: u16, folder: &Path) -> u16 {
    let held = (1..=64).take_while(|&number| node_folder(folder, number).exists()).count();
    asked.max(u16::try_from(held).unwrap_or(asked))
}

/// What to type to run this program again.
fn program() -> String {
    let typed = std::env::args().next().unwrap_or_else(|| "polylite".to_owned());
    if typed.contains(|character: char| character.is_whitespace() || character == '\'') {
        format!("'{}'", typed.replace('\'', "'\\''"))
    } else {
        typed
    }
}

fn hints(url: &str, folder: &DataFolder, program: &str) -> String {
    let kept = if folder.temporary.is_some() { " (removed at the end)" } else { "" };
    let create = "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, note TEXT); \
                  INSERT INTO notes (note) VALUES ('hello')";
    format!(
        "data directory: {}{kept}\n\
         \n\
         Try in another terminal:\n\
         \x20 {program} create-database --coordinator {url} --name demo\n\
         \x20 {program} sql --coordinator {url} --db-name demo \"{create}\"\n\
         \x20 curl '{url}/databases/demo/sql?q=SELECT%20*%20FROM%20notes'\n\
         \n\
         API: {url}/docs    Stop with Ctrl-C.\n",
        folder.path.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hints_are_three_lines_to_copy() {
        let folder = DataFolder { path: "/data".into(), temporary: None };
        let text = hints("http://127.0.0.1:5000", &folder, "polylite");
        assert!(text.starts_with("data directory: /data\n"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("  ")).count(), 3);
    }

    #[test]
    fn a_directory_keeps_its_nodes() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(node_count(3, folder.path()), 3);
        for number in 1..=5 {
            std::fs::create_dir(node_folder(folder.path(), number)).unwrap();
        }
        assert_eq!(node_count(3, folder.path()), 5);
        assert_eq!(node_count(7, folder.path()), 7);
    }
}
