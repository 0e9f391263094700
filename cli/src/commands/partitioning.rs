//! `polylite partitioning`.

use clap::Args;
use serde_json::{Map, Value as Json, json};

use crate::arguments::ClientArguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::{print_properties, properties, shown_value};

/// Flags of `partitioning`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// Whether partitions are split and merged without anybody's asking.
    #[arg(long, value_name = "BOOL", env = "POLYLITE_AUTOMATIC")]
    automatic: Option<bool>,
    /// A partition whose pages take more bytes is split.
    #[arg(long, value_name = "BYTES", env = "POLYLITE_SPLIT_BYTES")]
    split_bytes: Option<u64>,
    /// A partition that is asked more often in a second is split.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_SPLIT_REQUESTS")]
    split_requests: Option<u64>,
    /// Neighbours whose pages together take at most so many bytes are merged …
    #[arg(long, value_name = "BYTES", env = "POLYLITE_MERGE_BYTES")]
    merge_bytes: Option<u64>,
    /// … if together they are asked at most so often in a second.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_MERGE_REQUESTS")]
    merge_requests: Option<u64>,
    /// How many seconds it must have been so.
    #[arg(long, value_name = "SECONDS", env = "POLYLITE_AFTER_SECONDS")]
    after_seconds: Option<u64>,
}

impl Arguments {
    /// The limits that are given.
    fn limits(&self) -> Json {
        let numbers = [
            ("split_bytes", self.split_bytes),
            ("split_requests", self.split_requests),
            ("merge_bytes", self.merge_bytes),
            ("merge_requests", self.merge_requests),
            ("after_seconds", self.after_seconds),
        ];
        let given = numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
        let automatic = self.automatic.map(|automatic| ("automatic".to_owned(), json!(automatic)));
        Json::Object(given.chain(automatic).collect::<Map<String, Json>>())
    }
}

/// Sets when partitions are split and merged by themselves, as far as it is said, and shows it.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let limits = arguments.limits();
    let mut answer = if limits.as_object().is_some_and(Map::is_empty) {
        connection.get("/cluster/partitioning").await?
    } else {
        connection.post("/cluster/partitioning", &limits).await?
    };
    let shown = answer["partitioning"].take();
    let form = arguments.client.rows_form();
    Ok(print_properties(&shown, form, |shown| properties(shown, shown_value))?)
}
