//! `polylite list-databases`.

use clap::Args;
use serde_json::Value as Json;

use crate::arguments::ClientArguments;
use crate::connection::{Connection, segment};
use crate::failure::Failure;
use crate::output::print_objects;

/// Flags of `list-databases`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
}

/// Lists the names with their kinds.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let databases = read(&connection).await?;
    if let Some(output) = arguments.client.output {
        let columns = ["name", "db_type", "partition_type", "partition_key"];
        return Ok(print_objects(&columns, &databases, output)?);
    }
    if databases.is_empty() {
        println!("No databases found.");
        return Ok(());
    }
    println!("Available databases:");
    for database in &databases {
        let (name, kind) = (database["name"].as_str(), database["db_type"].as_str());
        println!("  - {} ({})", name.unwrap_or_default(), kind.unwrap_or_default());
    }
    Ok(())
}

/// The databases as described by `GET /databases/{db}`. One dropped in between is left out.
pub async fn read(connection: &Connection) -> Result<Vec<Json>, Failure> {
    let answer = connection.get("/databases").await?;
    let names = answer["databases"].as_array().cloned().unwrap_or_default();
    let mut databases = Vec::with_capacity(names.len());
    for name in names.iter().filter_map(Json::as_str) {
        match connection.get(&format!("/databases/{}", segment(name))).await {
            Ok(mut answer) => databases.push(answer["database"].take()),
            Err(failure) if failure.is_not_found() => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(databases)
}
