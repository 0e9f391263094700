//! Replicas of a node that is gone are made anew on others.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{LOOK, PATIENCE};
use crate::commands::bench::failover;
use crate::commands::bench::workload::Subject;
use crate::commands::operation::await_end;
use crate::failure::Failure;

/// Waits until every partition has a leader again, and the silence of a node that was killed has been noticed: before, a
/// coordinator that has heard from it a moment ago does not take it for gone.
pub async fn await_notice(subject: &Subject, node: &str) -> Result<(), Failure> {
    failover::busiest_leader(subject).await?;
    let begun = Instant::now();
    while subject.connection.get(&format!("/nodes/{node}")).await?["node"]["status"] == "active" {
        if begun.elapsed() > PATIENCE {
            return Err(Failure::refused("nobody notices that a node is gone"));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Says that a dead node is gone for good, and waits until every partition has its replicas on others; answers how long
/// that took.
pub async fn make_anew(subject: &Subject, node: &str) -> Result<Duration, Failure> {
    let begun = Instant::now();
    subject.connection.post(&format!("/nodes/{node}/status"), &json!({ "status": "inactive" })).await?;
    loop {
        // Its replicas leave once others have taken their places; how many are missing is known only a moment later.
        let held = subject.connection.get(&format!("/nodes/{node}")).await?;
        if held["node"]["databases"].as_array().is_some_and(Vec::is_empty) {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > PATIENCE {
            return Err(Failure::refused("the replicas of a lost node were not made anew"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Spreads replicas and leaders evenly.
pub async fn even_out(subject: &Subject) -> Result<(), Failure> {
    let begun = subject.connection.post("/cluster/rebalance", &json!({})).await?;
    await_end(&subject.connection, &begun).await.map(drop)
}
