//! `/databases/{db}/collections/{collection}/indexes`.

use std::sync::Arc;

use axum::extract::State;
use query::documents;
use serde_json::json;

use super::answer::success_seen;
use super::app::App;
use super::document_requests::{Chosen, on_collection};
use super::documents::check;
use super::failure::Answer;
use super::request::{Query, Segments};
use crate::gateway::Session;

/// Indexes of a collection.
#[utoipa::path(get, path = "/databases/{db}/collections/{collection}/indexes", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    responses((status = 200, description = "`{\"indexes\":[{\"name\":…,\"fields\":[…],\"unique\":…}]}`")))]
pub async fn list(
    State(app): State<App>,
    Segments((database, collection)): Segments<(String, String)>,
    query: Query,
) -> Answer {
    let options = check(&database, &collection, &query)?;
    let collection = collection.as_str();
    let list = |session: Arc<Session>| async move { documents::list_indexes(&session.planner, collection) };
    let (indexes, bookmark) = app.gateway.run(&database, &options, list).await?;
    Ok(success_seen(json!({ "indexes": indexes }), &bookmark))
}

/// Makes an index over the documents that are there and all to come.
#[utoipa::path(post, path = "/databases/{db}/collections/{collection}/indexes", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    request_body(content = Object, description = "`name`, `fields`*: paths, `unique` (false)"),
    responses((status = 200, description = "`{\"name\":…}`"),
        (status = 409, description = "`unique_violation`: the documents have equal values")))]
pub async fn create(chosen: Chosen) -> Answer {
    let (name, bookmark) = on_collection!(chosen, documents::create_index)?;
    Ok(success_seen(json!({ "name": name }), &bookmark))
}

/// Drops an index.
#[utoipa::path(delete, path = "/databases/{db}/collections/{collection}/indexes/{name}", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "It is gone"), (status = 404, description = "`not_found`")))]
pub async fn drop(
    State(app): State<App>,
    Segments((database, collection, name)): Segments<(String, String, String)>,
    query: Query,
) -> Answer {
    let options = check(&database, &collection, &query)?;
    let (collection, name) = (collection.as_str(), name.as_str());
    let drop = |session: Arc<Session>| async move {
        documents::drop_index(&session.planner, &session.access, collection, name).await
    };
    let ((), bookmark) = app.gateway.run(&database, &options, drop).await?;
    Ok(success_seen(json!({}), &bookmark))
}
