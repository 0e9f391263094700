//! Who the node is and what it holds.

use std::collections::BTreeSet;

use axum::extract::State;
use common::NodeId;
use common::schema::DatabaseKind;
use serde_json::{Value, json};

use super::AppState;
use super::reply::{Answer, success};

/// `GET /status`.
pub async fn status(State(state): State<AppState>) -> Answer {
    success(json!({
        "node_id": state.service.node().as_ref().map(NodeId::as_str),
        "host": state.host,
        "port": state.port,
        "databases": databases_by_kind(&state),
        "partitions": state.service.registry().all().len(),
    }))
}

/// Names of the databases that have a replica here, by kind.
pub fn databases_by_kind(state: &AppState) -> Value {
    let (mut sql, mut nosql) = (BTreeSet::new(), BTreeSet::new());
    for replica in state.service.registry().all() {
        let assignment = replica.assignment();
        let names = match assignment.kind {
            DatabaseKind::Sql => &mut sql,
            DatabaseKind::NoSql => &mut nosql,
        };
        names.insert(assignment.database.clone());
    }
    json!({ "sql": sql, "nosql": nosql })
}
