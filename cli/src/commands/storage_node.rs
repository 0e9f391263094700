//! `polylite storage-node`.

use clap::Args;
use common::NodeId;
use storage_node::{StorageNode, StorageNodeOptions};

use crate::failure::Failure;
use crate::logging::{self, LogArguments};
use crate::server::{self, ListenArguments, StopSignals};

/// Flags of `storage-node`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub listen: ListenArguments,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, value_name = "PORT", env = "POLYLITE_PORT", default_value_t = 5100)]
    pub port: u16,
    /// Address of a coordinator; repeat it to name several. The node learns the others.
    #[arg(
        long = "coordinator",
        value_name = "URL",
        env = "POLYLITE_COORDINATOR",
        default_value = "http://localhost:5000",
        value_delimiter = ','
    )]
    pub coordinators: Vec<String>,
    /// The node's id; left out, the one it had, or one that the coordinators choose.
    #[arg(long, value_name = "ID", env = "POLYLITE_NODE_ID")]
    pub node_id: Option<String>,
    /// A host name that requests may use beside this machine's own; may be repeated.
    #[arg(long, value_name = "HOST", env = "POLYLITE_ALLOWED_HOST", value_delimiter = ',')]
    pub allowed_host: Vec<String>,
    #[command(flatten)]
    log: LogArguments,
}

/// Runs the server until it is told to end.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    logging::start(&arguments.log)?;
    let listen = arguments.listen;
    let node_id = arguments.node_id;
    if let Some(id) = &node_id {
        common::names::check_node_id(id).map_err(|error| Failure::usage(error.message))?;
    }
    let data_dir = listen.data_directory("storage-node", arguments.port, node_id.as_deref())?;
    let options = StorageNodeOptions {
        host: listen.host.clone(),
        port: arguments.port,
        advertise: listen.advertise,
        allowed_hosts: arguments.allowed_host,
        data_dir,
        coordinators: arguments.coordinators,
        node_id: node_id.map(NodeId),
    };
    let node = StorageNode::start(options)
        .await
        .map_err(|error| server::start_failure("storage node", arguments.port, &error))?;
    let stop = StopSignals::listen()?;
    server::announce_ready("storage-node", &server::url(&listen.host, node.address().port()))?;
    stop.requested().await?;
    node.shutdown().await;
    Ok(())
}
