//! Replicas are moved from node to node, one after the other.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::commands::bench::own_cluster::node_name;
use crate::commands::bench::workload::{DATABASE, Subject};
use crate::commands::operation::await_end_closely;
use crate::failure::Failure;

/// Moves replicas to nodes that hold none of the partition for a while; answers how many would be moved in an hour.
#[allow(clippy::cast_precision_loss)]
pub async fn move_replicas(subject: &Subject, nodes: usize, time: Duration) -> Result<f64, Failure> {
    let begun = Instant::now();
    let mut moved = 0_usize;
    while begun.elapsed() < time {
        let answer = subject.connection.get(&format!("/partitions/{DATABASE}")).await?;
        let partitions: Vec<&Json> =
            answer["partitions"].as_object().into_iter().flat_map(|found| found.values()).collect();
        let Some(partition) = partitions.get(moved % partitions.len().max(1)) else {
            return Err(Failure::refused("the database has no partitions"));
        };
        let holders: Vec<&str> =
            partition["storage_nodes"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        let free = (0..nodes).map(node_name).find(|node| !holders.contains(&node.as_str()));
        let (Some(from), Some(to)) = (holders.get(moved % holders.len().max(1)), free) else {
            return Err(Failure::refused("no node is free to move a replica to"));
        };
        let path = format!("/cluster/partitions/{}/move", partition["id"].as_str().unwrap_or_default());
        let operation = subject.connection.post(&path, &json!({ "from": from, "to": to })).await?;
        await_end_closely(&subject.connection, &operation).await?;
        moved += 1;
    }
    Ok(moved as f64 * 3_600.0 / begun.elapsed().as_secs_f64())
}
