//! `polylite rebalance`.

use clap::Args;
use serde_json::json;

use super::operation::await_end;
use crate::arguments::ClientArguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::print_done;

/// Flags of `rebalance`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
}

/// Spreads replicas and leaders evenly, and waits until they are.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let begun = connection.post("/cluster/rebalance", &json!({})).await?;
    let operation = await_end(&connection, &begun).await?;
    let fields = [("operation", operation.as_str().into())];
    Ok(print_done(arguments.client.output, "Replicas and leaders are spread evenly.", &fields)?)
}
