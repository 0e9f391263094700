//! `POST /replications` adds this node as a replica of every partition of a database. That is a catalog
//! operation, so it is asked of a coordinator, and its state is that of the coordinator's operation.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use common::{Error, NodeId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AppState;
use super::forward::pass_on;
use super::reply::Refusal;

/// What is to be replicated. The source is part of the reference interface; the copy comes from each
/// partition's leader, whoever that is.
#[derive(Deserialize)]
pub struct Wanted {
    db_name: Option<String>,
    source_node: Option<Value>,
}

/// `GET /replications`.
pub async fn list(State(state): State<AppState>) -> Response {
    ask(&state, Method::GET, "/cluster/replications", Value::Null).await
}

/// `POST /replications`.
pub async fn begin(State(state): State<AppState>, Json(wanted): Json<Wanted>) -> Response {
    let (Some(database), Some(_)) = (wanted.db_name, wanted.source_node) else {
        return Refusal(Error::bad_request("Missing required fields")).into_response();
    };
    let node = state.service.node();
    let body = json!({ "db_name": database, "node": node.as_ref().map(NodeId::as_str) });
    ask(&state, Method::POST, "/cluster/replications", body).await
}

/// `GET /replications/{task}`.
pub async fn show(State(state): State<AppState>, Path(task): Path<String>) -> Response {
    let path = format!("/cluster/replications/{}", polylite_client::segment(&task));
    ask(&state, Method::GET, &path, Value::Null).await
}

/// `DELETE /replications/{task}`.
pub async fn cancel(State(state): State<AppState>, Path(task): Path<String>) -> Response {
    let path = format!("/cluster/replications/{}", polylite_client::segment(&task));
    ask(&state, Method::DELETE, &path, Value::Null).await
}

async fn ask(state: &AppState, method: Method, path: &str, body: Value) -> Response {
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    match pass_on(state, method, path, &body).await {
        Ok(answer) => Json(answer).into_response(),
        Err(response) => response,
    }
}
