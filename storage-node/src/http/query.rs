//! `POST /query/{db}`: reads see this node's own replicas; everything else is a coordinator's business.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use axum::Json;

use super::AppState;
use super::forward::pass_on;

/// The route.
pub async fn query(State(state): State<AppState>, Path(database): Path<String>, body: Bytes) -> Response {
    let path = format!("/query/{}", polylite_client::segment(&database));
    match pass_on(&state, Method::POST, &path, &body).await {
        Ok(answer) => Json(answer).into_response(),
        Err(response) => response,
    }
}
