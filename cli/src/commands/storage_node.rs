//! `polylite storage-node`.

use std::time::Duration;

use clap::Args;
use common::NodeId;
use storage_node::config::UpkeepOptions;
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
    upkeep: UpkeepArguments,
    #[command(flatten)]
    log: LogArguments,
}

/// How the node looks after its replicas.
#[derive(Debug, Args)]
struct UpkeepArguments {
    /// Seconds between two comparisons of a changed partition's replicas.
    #[arg(long, value_name = "SECONDS", env = "POLYLITE_COMPARE_EVERY", default_value_t = 10)]
    compare_every: u64,
    /// Seconds between two readings of a replica's whole file, which find what the disk has changed.
    #[arg(long, value_name = "SECONDS", env = "POLYLITE_SCRUB_PAUSE", default_value_t = 30)]
    scrub_pause: u64,
    /// MiB a second at which files are read again.
    #[arg(long, value_name = "MIB", env = "POLYLITE_SCRUB_RATE", default_value_t = 16)]
    scrub_rate: u64,
    /// MiB a second at which copies of other nodes' replicas are fetched.
    #[arg(long, value_name = "MIB", env = "POLYLITE_FETCH_RATE", default_value_t = 64)]
    fetch_rate: u64,
}

impl UpkeepArguments {
    fn options(&self) -> UpkeepOptions {
        UpkeepOptions {
            compare_every: Duration::from_secs(self.compare_every),
            scrub_pause: Duration::from_secs(self.scrub_pause),
            scrub_rate: self.scrub_rate.saturating_mul(1 << 20),
            fetch_rate: self.fetch_rate.saturating_mul(1 << 20),
            ..UpkeepOptions::default()
        }
    }
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
        upkeep: arguments.upkeep.options(),
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
