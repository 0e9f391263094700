//! Partitions are split and merged again.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::commands::bench::workload::{DATABASE, Subject};
use crate::commands::operation::await_end_closely;
use crate::failure::Failure;

/// By when requests to a partition that is replaced should go on.
pub const GOAL_MS: f64 = 500.0;

/// Splits one partition after the other and merges its halves, for a while; answers how often one took another's place.
pub async fn split_and_merge(subject: &Subject, time: Duration) -> Result<usize, Failure> {
    let begun = Instant::now();
    let mut replaced = 0;
    while replaced == 0 || begun.elapsed() < time {
        let before = in_order(subject).await?;
        let Some(whole) = before.get(replaced / 2 % before.len().max(1)) else {
            return Err(Failure::refused("the database has no partitions"));
        };
        replace(subject, &format!("/cluster/partitions/{whole}/split"), &json!({})).await?;
        let after = in_order(subject).await?;
        let halves: Vec<&String> = after.iter().filter(|id| !before.contains(id)).collect();
        let [left, right] = halves[..] else {
            return Err(Failure::refused("a split partition has not become two"));
        };
        replace(subject, "/cluster/partitions/merge", &json!({ "left": left, "right": right })).await?;
        replaced += 2;
    }
    Ok(replaced)
}

async fn replace(subject: &Subject, path: &str, body: &Json) -> Result<(), Failure> {
    let operation = subject.connection.post(path, body).await?;
    await_end_closely(&subject.connection, &operation).await
}

/// The partitions' ids in the order of their slots.
async fn in_order(subject: &Subject) -> Result<Vec<String>, Failure> {
    let answer = subject.connection.get(&format!("/partitions/{DATABASE}")).await?;
    let partitions = answer["partitions"].as_object().into_iter().flatten();
    let mut placed: Vec<(u64, String)> = partitions
        .map(|(id, partition)| (partition["partition_value"]["slots"][0].as_u64().unwrap_or(0), id.clone()))
        .collect();
    placed.sort_unstable();
    Ok(placed.into_iter().map(|(_, id)| id).collect())
}
