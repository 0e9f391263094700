//! `polylite nodes`.

use clap::Args;

use crate::arguments::ClientArguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::print_objects;

/// Flags of `nodes`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
}

/// Lists the storage nodes.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let answer = connection.get("/nodes").await?;
    let nodes = answer["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
    let columns = ["id", "host", "port", "status", "databases"];
    Ok(print_objects(&columns, nodes, arguments.client.rows_form())?)
}
