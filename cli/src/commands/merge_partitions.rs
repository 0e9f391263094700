//! `polylite merge-partitions`.

use clap::Args;
use serde_json::json;

use super::operation::await_end;
use crate::arguments::ClientArguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::print_done;

/// Flags of `merge-partitions`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The partition whose keys or slots come first.
    #[arg(long, value_name = "ID", env = "POLYLITE_LEFT")]
    left: String,
    /// The one that begins where the left one ends.
    #[arg(long, value_name = "ID", env = "POLYLITE_RIGHT")]
    right: String,
}

/// Merges two neighbouring partitions, and waits until the one that takes their place serves.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let body = json!({ "left": arguments.left, "right": arguments.right });
    let begun = connection.post("/cluster/partitions/merge", &body).await?;
    let operation = await_end(&connection, &begun).await?;
    let fields = [("operation", operation.as_str().into())];
    Ok(print_done(arguments.client.output, "The partitions are merged.", &fields)?)
}
