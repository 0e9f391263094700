//! A coordinator that has left its cluster for good knows nothing that is true any more, and says so.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use common::{Error, ErrorCode};

use super::app::App;
use super::failure::Failure;

/// What it answers all the same: that it lives, what it counts, and what it knew of the cluster.
const ANSWERED: [&str; 4] = ["/health/live", "/metrics", "/version", "/cluster/status"];

/// Refuses requests once the coordinator has left.
pub async fn refuse(State(app): State<App>, request: Request, next: Next) -> Response {
    if !app.catalog.has_left() || ANSWERED.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    Failure::from(error(&app)).into_response()
}

fn error(app: &App) -> Error {
    let own = app.catalog.address().to_owned();
    let others = app.catalog.coordinator_addresses().into_values().filter(|address| *address != own);
    let others = others.collect::<Vec<_>>().join(", ");
    Error::new(ErrorCode::Unavailable, "this coordinator has left the cluster")
        .with_hint(format!("stop it, and ask one of the others: {others}"))
}
