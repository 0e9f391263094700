//! `polylite cache`.

use clap::{Args, ValueEnum};
use common::Value;
use serde_json::{Value as Json, json};

use crate::arguments::ClientArguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::{print_properties, properties, shown_value};

/// Flags of `cache`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// Show what the coordinator's cache has done, or empty it.
    #[arg(value_enum, default_value_t = Action::Stats)]
    action: Action,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Action {
    Stats,
    Clear,
}

/// Shows the counters of the coordinator's cache with the share of hits, or empties it.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    if let Action::Clear = arguments.action {
        let answer = connection.post("/cache/clear", &json!({})).await?;
        println!("{}", answer["message"].as_str().unwrap_or_default());
        return Ok(());
    }
    let mut stats = connection.get("/cache/stats").await?["stats"].take();
    stats["hit_ratio"] = hit_ratio(&stats);
    let form = arguments.client.rows_form();
    Ok(print_properties(&stats, form, told)?)
}

/// All but the databases as they are, and of each of these how often the cache was of use.
fn told(stats: &Json) -> Vec<(String, Value)> {
    let mut told = properties(stats, shown_value);
    told.retain(|(property, _)| !stats[property].is_object());
    for (database, counts) in stats["databases"].as_object().into_iter().flatten() {
        let text = format!("{} hits, {} misses", counts["hits"], counts["misses"]);
        told.push((format!("of {database}"), text.into()));
    }
    told
}

/// The share of reads that were answered from the cache, to three digits; null before the first read.
fn hit_ratio(stats: &Json) -> Json {
    let count = |name: &str| stats[name].as_f64().unwrap_or_default();
    let asked = count("hits") + count("misses");
    if asked == 0.0 { Json::Null } else { json!((count("hits") / asked * 1_000.0).round() / 1_000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_share_of_hits() {
        assert_eq!(hit_ratio(&json!({"hits": 2, "misses": 1})), json!(0.667));
        assert_eq!(hit_ratio(&json!({"hits": 0, "misses": 0})), Json::Null);
    }
}
