//! `polylite remove-node`.

use clap::Args;

use crate::arguments::ClientArguments;
use crate::connection::{Connection, segment};
use crate::failure::Failure;
use crate::output::print_done;

/// Flags of `remove-node`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The storage node.
    #[arg(long, value_name = "ID", env = "POLYLITE_NODE_ID")]
    node_id: String,
}

/// Removes the node from the cluster. It is refused while a partition needs it.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    connection.delete(&format!("/nodes/{}", segment(&arguments.node_id))).await?;
    let message = format!("Storage node '{}' removed.", arguments.node_id);
    let fields = [("node", arguments.node_id.as_str().into())];
    Ok(print_done(arguments.client.output, &message, &fields)?)
}
