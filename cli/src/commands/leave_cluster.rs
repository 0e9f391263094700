//! `polylite leave-cluster`.

use clap::Args;
use serde_json::json;

use crate::arguments::ClientArguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::print_done;

/// Flags of `leave-cluster`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The coordinator that leaves, as `polylite status` shows it (default: the one that is asked).
    #[arg(long, value_name = "HOST:PORT", env = "POLYLITE_ADDRESS")]
    address: Option<String>,
}

/// Takes a coordinator out of the cluster; when this ends well, it may be stopped.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let body = arguments.address.as_ref().map_or_else(|| json!({}), |address| json!({ "address": address }));
    let answer = connection.post("/cluster/leave", &body).await?;
    let message = answer["message"].as_str().unwrap_or("The coordinator has left the cluster.");
    Ok(print_done(arguments.client.output, message, &[])?)
}
