//! `polylite split-partition`.

use clap::Args;
use serde_json::{Value as Json, json};

use super::operation::await_end;
use crate::arguments::ClientArguments;
use crate::connection::{Connection, segment};
use crate::failure::Failure;
use crate::output::print_done;

/// Flags of `split-partition`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The partition, as `polylite partitions` shows it.
    #[arg(long, value_name = "ID", env = "POLYLITE_PARTITION_ID")]
    partition_id: String,
    /// What the right half begins with: a slot, or a key as JSON or plain text (default: the middle of the slots).
    #[arg(long, value_name = "POINT", env = "POLYLITE_AT")]
    at: Option<String>,
}

/// Splits a partition, and waits until both halves serve.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let path = format!("/cluster/partitions/{}/split", segment(&arguments.partition_id));
    let point = |text: String| serde_json::from_str::<Json>(&text).unwrap_or(Json::String(text));
    let body = arguments.at.map_or_else(|| json!({}), |at| json!({ "at": point(at) }));
    let begun = connection.post(&path, &body).await?;
    let operation = await_end(&connection, &begun).await?;
    let message = format!("Partition '{}' is split.", arguments.partition_id);
    let fields =
        [("partition", arguments.partition_id.as_str().into()), ("operation", operation.as_str().into())];
    Ok(print_done(arguments.client.output, &message, &fields)?)
}
