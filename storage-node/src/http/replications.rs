//! Copies are made by the catalog, which gives every partition as many replicas as it is meant to have: a node
//! that joins receives its share by itself. Copying a database to a node by request is not offered yet.

use axum::body::Bytes;
use axum::extract::Path;
use common::{Error, ErrorCode};
use serde_json::{Value, json};

use super::reply::{Answer, Refusal, success};

/// `GET /replications`: no task was ever begun.
pub async fn list() -> Answer {
    success(json!({ "tasks": [] }))
}

/// `POST /replications`.
pub async fn begin(body: Bytes) -> Answer {
    let wanted: Value = serde_json::from_slice(&body)
        .map_err(|error| Refusal(Error::bad_request(format!("the body is not JSON: {error}"))))?;
    if !wanted["db_name"].is_string() || !wanted["source_node"].is_object() {
        return Err(Refusal(Error::bad_request("Missing required fields")));
    }
    Err(Refusal(Error::not_supported(
        "replication cannot be asked for node by node",
        "a partition with too few replicas gains one by itself when a node joins",
    )))
}

/// `GET` or `DELETE /replications/{task}`.
pub async fn no_such_task(Path(task): Path<String>) -> Answer {
    Err(Refusal(Error::new(ErrorCode::NotFound, format!("Replication task '{task}' does not exist"))))
}
