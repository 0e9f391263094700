//! `polylite status`.

use clap::Args;
use serde_json::Value as Json;

use crate::arguments::ClientArguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::{print_properties, properties, shown_value};

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
}

/// Shows the cluster as the coordinator sees it, one property a line.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let mut answer = connection.get("/cluster/status").await?;
    if let Some(object) = answer.as_object_mut() {
        object.remove("success");
    }
    let form = arguments.client.rows_form();
    Ok(print_properties(&answer, form, |answer| properties(answer, shown_property))?)
}

/// Lists of objects, and objects by id, are told by their ids or addresses, and their status; other members by their
/// values.
fn shown_property(value: &Json) -> common::Value {
    if let Some(members) = value.as_object() {
        let names = members.iter().map(|(id, member)| match member["status"].as_str() {
            Some(status) => format!("{id} ({status})"),
            None if member.is_object() => id.clone(),
            None => format!("{id} {member}"),
        });
        return names.collect::<Vec<_>>().join(", ").into();
    }
    let Some(items) = value.as_array() else { return shown_value(value) };
    let names = items.iter().map(|item| {
        let name = [&item["id"], &item["address"]].into_iter().find(|name| name.is_string());
        name.unwrap_or(item).clone()
    });
    shown_value(&Json::Array(names.collect()))
}
