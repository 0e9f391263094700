//! Waiting for an operation of the cluster.

use std::time::Duration;

use serde_json::Value as Json;

use crate::connection::{Connection, segment};
use crate::failure::Failure;

/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(250);
/// The same where it is measured how long the operation takes.
const SHORT_PAUSE: Duration = Duration::from_millis(20);

/// Waits until the operation that an answer names has ended, and says which it was.
pub async fn await_end(connection: &Connection, begun: &Json) -> Result<String, Failure> {
    look_until_ended(connection, begun, PAUSE).await
}

/// Waits for the end closely.
pub async fn await_end_closely(connection: &Connection, begun: &Json) -> Result<(), Failure> {
    look_until_ended(connection, begun, SHORT_PAUSE).await.map(drop)
}

async fn look_until_ended(connection: &Connection, begun: &Json, pause: Duration) -> Result<String, Failure> {
    let id = begun["operation"].as_str().unwrap_or_default().to_owned();
    loop {
        let operation = connection.get(&format!("/cluster/operations/{}", segment(&id))).await?;
        match operation["state"].as_str() {
            Some("completed") => return Ok(id),
            Some(state @ ("failed" | "cancelled")) => {
                let reason = operation["error"].as_str().unwrap_or("nobody said why");
                return Err(Failure::refused(format!("Operation '{id}' {state}: {reason}")));
            }
            _ => tokio::time::sleep(pause).await,
        }
    }
}
