//! `polylite drain-node`.

use clap::Args;
use serde_json::json;

use super::operation::await_end;
use crate::arguments::ClientArguments;
use crate::connection::{Connection, segment};
use crate::failure::Failure;
use crate::output::print_done;

/// Flags of `drain-node`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The storage node.
    #[arg(long, value_name = "ID", env = "POLYLITE_NODE_ID")]
    node_id: String,
}

/// Has the node give its replicas away, and waits until it holds none.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let path = format!("/nodes/{}/drain", segment(&arguments.node_id));
    let begun = connection.post(&path, &json!({})).await?;
    let operation = await_end(&connection, &begun).await?;
    let message = format!("Storage node '{}' holds nothing any more.", arguments.node_id);
    let fields = [("node", arguments.node_id.as_str().into()), ("operation", operation.as_str().into())];
    Ok(print_done(arguments.client.output, &message, &fields)?)
}
