//! `polylite nodes`.

use clap::Args;

use crate::arguments::{ClientArguments, OutputArguments};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::RowSet;

/// Flags of `nodes`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Lists the storage nodes.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let answer = connection.get("/nodes").await?;
    let nodes = answer["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
    let columns = ["id", "host", "port", "status", "databases"];
    Ok(RowSet::of_objects(&columns, nodes).print(arguments.output.output)?)
}
