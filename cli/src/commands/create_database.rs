//! `polylite create-database`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value as Json};

use crate::arguments::ClientArguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::print_done;

/// Flags of `create-database`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// Its name: a letter, then letters, digits and underscores.
    #[arg(long, value_name = "N", env = "POLYLITE_NAME")]
    name: String,
    /// Tables, or collections of documents.
    #[arg(long = "type", value_enum, env = "POLYLITE_TYPE", default_value = "sql", ignore_case = true)]
    kind: Kind,
    /// A JSON file with the tables: {"tables":[{"name":…,"columns":[…]}]}.
    #[arg(long, value_name = "F", env = "POLYLITE_SCHEMA_FILE")]
    schema_file: Option<PathBuf>,
    /// Which way it is divided: by rows, by columns, or both.
    #[arg(
        long,
        value_enum,
        env = "POLYLITE_PARTITION_TYPE",
        default_value = "horizontal",
        ignore_case = true
    )]
    partition_type: PartitionType,
    /// The column that spreads the rows.
    #[arg(long, value_name = "K", env = "POLYLITE_PARTITION_KEY")]
    partition_key: Option<String>,
    /// Number of horizontal partitions, 1 to 256.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_PARTITIONS")]
    partitions: Option<u32>,
    /// How a key chooses its partition.
    #[arg(long, value_enum, env = "POLYLITE_PARTITION_METHOD")]
    partition_method: Option<PartitionMethod>,
    /// Where ranges begin, separated by commas: k points make k + 1 partitions.
    #[arg(
        long,
        value_name = "POINTS",
        env = "POLYLITE_SPLIT_POINTS",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    split_points: Option<Vec<String>>,
    /// Replicas of each partition.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_REPLICATION_FACTOR")]
    replication_factor: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Sql,
    Nosql,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PartitionType {
    Horizontal,
    Vertical,
    Mixed,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PartitionMethod {
    Hash,
    Range,
}

/// Creates it; the answer comes when every partition takes writes.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let tables = match &arguments.schema_file {
        Some(path) => {
            Some(read_tables(path).map_err(|failure| failure.while_doing("Error parsing schema file"))?)
        }
        None => None,
    };
    let request = request(&arguments, tables);
    let connection = Connection::open(&arguments.client)?;
    connection
        .post("/databases", &request)
        .await
        .map_err(|failure| failure.while_doing("Error creating database"))?;
    let message = format!("Database '{}' created successfully.", arguments.name);
    Ok(print_done(arguments.client.output, &message, &[("name", arguments.name.as_str().into())])?)
}

/// The `tables` of a schema file, or the whole file if it is a list of tables.
fn read_tables(path: &Path) -> Result<Json, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::refused(format!("{}: {error}", path.display())))?;
    let schema: Json = serde_json::from_str(&text)
        .map_err(|error| Failure::refused(format!("{}: {error}", path.display())))?;
    match schema {
        Json::Array(_) => Ok(schema),
        Json::Object(mut object) => object.remove("tables").ok_or_else(|| {
            Failure::refused(format!("{}: no \"tables\"", path.display()))
                .with_hint("the file looks like {\"tables\":[{\"name\":\"users\",\"columns\":[…]}]}")
        }),
        _ => Err(Failure::refused(format!("{}: not an object", path.display()))),
    }
}

fn request(arguments: &Arguments, tables: Option<Json>) -> Json {
    let mut request = Map::new();
    let mut set = |field: &str, value: Option<Json>| {
        if let Some(value) = value {
            request.insert(field.to_owned(), value);
        }
    };
    let kind = match arguments.kind {
        Kind::Sql => "SQL",
        Kind::Nosql => "NOSQL",
    };
    let partition_type = match arguments.partition_type {
        PartitionType::Horizontal => "HORIZONTAL",
        PartitionType::Vertical => "VERTICAL",
        PartitionType::Mixed => "MIXED",
    };
    let method = arguments.partition_method.map(|method| match method {
        PartitionMethod::Hash => "hash",
        PartitionMethod::Range => "range",
    });
    set("name", Some(arguments.name.as_str().into()));
    set("db_type", Some(kind.into()));
    set("partition_type", Some(partition_type.into()));
    set("partition_key", arguments.partition_key.as_deref().map(Json::from));
    set("tables", tables);
    set("partitions", arguments.partitions.map(Json::from));
    set("partition_method", method.map(Json::from));
    let points = arguments.split_points.as_ref();
    set("split_points", points.map(|points| points.iter().map(|point| split_point(point)).collect()));
    set("replication_factor", arguments.replication_factor.map(Json::from));
    Json::Object(request)
}

/// A number where it is one in JSON, `"…"` for a text that looks like a number, else the text as typed.
fn split_point(text: &str) -> Json {
    match serde_json::from_str(text.trim()) {
        Ok(value @ (Json::Number(_) | Json::String(_))) => value,
        _ => Json::from(text),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn request_of(line: &[&str]) -> Json {
        let line = Line::parse_from(std::iter::once(&"create-database").chain(line));
        request(&line.arguments, None)
    }

    #[test]
    fn what_is_left_out_is_left_to_the_server() {
        let expected = json!({"name": "shop", "db_type": "SQL", "partition_type": "HORIZONTAL"});
        assert_eq!(request_of(&["--name", "shop"]), expected);
    }

    #[test]
    fn split_points_keep_their_types() {
        let request =
            request_of(&["--name", "a", "--partition-method", "range", "--split-points", "-5,1.5,m,\"7\""]);
        assert_eq!(request["split_points"], json!([-5, 1.5, "m", "7"]));
        assert_eq!(request["partition_method"], "range");
    }

    #[test]
    fn a_schema_file_is_checked() {
        let folder = std::env::temp_dir().join(format!("polylite-schema-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("schema.json");
        std::fs::write(&file, "{\"tables\": [{\"name\": \"t\"}]}").unwrap();
        assert_eq!(read_tables(&file).unwrap(), json!([{"name": "t"}]));
        for bad in ["{\"table\": []}", "{", "7"] {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(read_tables(&file).unwrap_err().exit_code(), 1, "{bad}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
