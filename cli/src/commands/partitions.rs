//! `polylite partitions`.

use clap::Args;

use crate::arguments::ClientArguments;
use crate::connection::{Connection, segment};
use crate::failure::Failure;
use crate::output::print_objects;

/// Flags of `partitions`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// Only those of this database.
    #[arg(long, value_name = "N", env = "POLYLITE_DB_NAME")]
    db_name: Option<String>,
}

/// Lists the partitions in the order of their databases.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let path = match &arguments.db_name {
        Some(name) => format!("/partitions/{}", segment(name)),
        None => "/partitions".to_owned(),
    };
    let answer = connection.get(&path).await?;
    let mut partitions: Vec<_> =
        answer["partitions"].as_object().into_iter().flat_map(|partitions| partitions.values()).collect();
    partitions.sort_by_key(|partition| {
        let order = |field: &str| partition[field].to_string();
        (order("database_name"), first_slot(&partition["partition_value"]), order("partition_value"))
    });
    let mut columns = vec![
        "id",
        "database_name",
        "partition_type",
        "partition_key",
        "partition_value",
        "leader",
        "storage_nodes",
        "rows",
        "bytes",
    ];
    // Only a database that is divided by columns has any to tell.
    if partitions.iter().any(|partition| !partition["columns"].is_null()) {
        columns.push("columns");
    }
    Ok(print_objects(&columns, partitions, arguments.client.rows_form())?)
}

/// Slots are ordered as numbers; ranges come after them, as text.
fn first_slot(value: &serde_json::Value) -> u64 {
    value["slots"][0].as_u64().unwrap_or(u64::MAX)
}
