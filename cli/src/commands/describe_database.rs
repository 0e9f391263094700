//! `polylite describe-database`.

use clap::Args;
use serde_json::{Value as Json, json};

use crate::arguments::ClientArguments;
use crate::connection::{Connection, segment};
use crate::failure::Failure;
use crate::output::{OutputFormat, RowSet, sorted_pretty};

/// Flags of `describe-database`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The database.
    #[arg(long, value_name = "N", env = "POLYLITE_NAME")]
    name: String,
}

/// Shows how the database is divided, and the columns of its tables.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let answer = connection.get(&format!("/databases/{}", segment(&arguments.name))).await?;
    let database = &answer["database"];
    match arguments.client.rows_form() {
        OutputFormat::Json => println!("{}", sorted_pretty(database)),
        OutputFormat::Csv => columns_of(database).print(OutputFormat::Csv)?,
        form => {
            let text = |field: &str| database[field].as_str().unwrap_or("-").to_owned();
            println!("Database:       {}", text("name"));
            println!("Type:           {}", text("db_type"));
            println!("Partitioning:   {}", text("partition_type"));
            println!("Partition key:  {}", text("partition_key"));
            for (group, columns) in database["column_groups"].as_object().into_iter().flatten() {
                let columns: Vec<&str> =
                    columns.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
                println!("Column group:   {group} ({})", columns.join(", "));
            }
            let columns = columns_of(database);
            if columns.rows.is_empty() {
                println!("No tables.");
            } else {
                columns.print(form)?;
            }
        }
    }
    Ok(())
}

/// One row for each column of each table.
fn columns_of(database: &Json) -> RowSet {
    let none = Vec::new();
    let mut rows = Vec::new();
    for table in database["tables"].as_array().unwrap_or(&none) {
        let indexes = table["indexes"].as_array().unwrap_or(&none);
        for column in table["columns"].as_array().unwrap_or(&none) {
            rows.push(json!({
                "table": table["name"],
                "column": column["name"],
                "type": column["data_type"],
                "primary_key": yes_or_no(&column["primary_key"]),
                "nullable": yes_or_no(&column["nullable"]),
                "default": column["default"],
                "indexed": yes_or_no(&Json::Bool(indexes.contains(&column["name"]))),
            }));
        }
    }
    let columns = ["table", "column", "type", "primary_key", "nullable", "default", "indexed"];
    RowSet::of_objects(&columns, &rows)
}

fn yes_or_no(flag: &Json) -> &'static str {
    if flag.as_bool() == Some(true) { "yes" } else { "no" }
}
