//! A coordinator that has left its cluster for good knows nothing that is true any more, and says so.

use axum::extract::Request;
use common::{Error, ErrorCode};

use super::app::App;
use super::failure::Failure;

/// What it answers all the same: that it lives, what it counts, and what it knew of the cluster.
const ANSWERED: [&str; 4] = ["/health/live", "/metrics", "/version", "/cluster/status"];

/// What a request is refused with once the coordinator has left.
pub(super) fn refusal(app: &App, request: &Request) -> Option<Failure> {
    let refuses = app.catalog.has_left() && !ANSWERED.contains(&request.uri().path());
    refuses.then(|| Failure::from(error(app)))
}

fn error(app: &App) -> Error {
    let own = app.catalog.address().to_owned();
    let others = app.catalog.coordinator_addresses().into_values().filter(|address| *address != own);
    let others = others.collect::<Vec<_>>().join(", ");
    Error::new(ErrorCode::Unavailable, "this coordinator has left the cluster")
        .with_hint(format!("stop it, and ask one of the others: {others}"))
}
