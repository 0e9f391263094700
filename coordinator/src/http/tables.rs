//! `/databases/{db}/tables` and the collections' listing.

use axum::extract::State;
use common::names::check_database_name;
use common::schema::TableKind;
use common::{Error, ErrorCode, Result};
use query::schema::{declare_tables, drop_table};
use serde_json::{Value as Json, json};

use super::answer::success_seen;
use super::app::App;
use super::body::JsonBody;
use super::databases::seen_catalog;
use super::failure::Answer;
use super::fields::{Fields, missing};
use super::request::{Query, Segments};
use super::table_description::describe_tables;

/// Tables of a database.
#[utoipa::path(get, path = "/databases/{db}/tables", tag = "Databases", params(("db" = String, Path)),
    responses((status = 200, description = "`{\"success\":true,\"tables\":[…]}`")))]
pub async fn list(State(app): State<App>, Segments(name): Segments<String>) -> Answer {
    let (_, database) = app.database(&name).await?;
    let tables = describe_tables(database.schema).await?;
    Ok(success_seen(json!({ "tables": tables }), &seen_catalog(&app)))
}

/// Adds a table, or several.
#[utoipa::path(post, path = "/databases/{db}/tables", tag = "Databases", params(("db" = String, Path)),
    request_body(content = Object, description = "A table as in `POST /databases`, or `{\"tables\":[…]}`"),
    responses((status = 200, description = "They are there")))]
pub async fn add(
    State(app): State<App>,
    Segments(name): Segments<String>,
    query: Query,
    JsonBody(mut body): JsonBody,
) -> Answer {
    check_database_name("database", &name)?;
    let options = query.options(&mut Fields::default())?;
    let tables = match body.list("tables")? {
        Some(tables) => {
            body.done()?;
            tables
        }
        None => vec![body.rest()],
    };
    let message = message(&tables)?;
    let tables = &Json::Array(tables);
    let add = |session: std::sync::Arc<crate::gateway::Session>| async move {
        use query::access::PartitionAccess as _;
        let change = declare_tables(session.planner.database(), tables)?;
        session.access.change_schema(change).await
    };
    let ((), bookmark) = app.gateway.run(&name, &options, add).await?;
    Ok(success_seen(json!({ "message": message }), &bookmark))
}

fn message(tables: &[Json]) -> Result<String> {
    let names =
        tables.iter().map(|table| table.get("name").and_then(Json::as_str).ok_or_else(|| missing("name")));
    let names = names.collect::<Result<Vec<_>>>()?;
    match names.as_slice() {
        [] => Err(Error::bad_request("'tables' is empty")),
        [name] => Ok(format!("Table '{name}' created successfully")),
        several => Ok(format!("Tables '{}' created successfully", several.join("', '"))),
    }
}

/// Collections of a database with the number of their documents.
#[utoipa::path(get, path = "/databases/{db}/collections", tag = "Documents", params(("db" = String, Path)),
    responses((status = 200, description = "`{\"success\":true,\"collections\":[{\"name\":…,\"count\":…}]}`")))]
pub async fn list_collections(
    State(app): State<App>,
    Segments(name): Segments<String>,
    query: Query,
) -> Answer {
    let (_, database) = app.database(&name).await?;
    let options = query.options(&mut Fields::default())?;
    let mut collections = Vec::new();
    for spec in database.schema.tables.values().filter(|spec| spec.kind == TableKind::Collection) {
        let count = |session: std::sync::Arc<crate::gateway::Session>| async move {
            query::documents::count(&session.planner, &session.access, &spec.name, &json!({})).await
        };
        let (count, _) = app.gateway.run(&name, &options, count).await?;
        collections.push(json!({ "name": spec.name, "count": count }));
    }
    Ok(success_seen(json!({ "collections": collections }), &seen_catalog(&app)))
}

/// Drops a collection with all its documents.
#[utoipa::path(delete, path = "/databases/{db}/collections/{collection}", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    responses((status = 200, description = "It is gone"), (status = 404, description = "`collection_not_found`")))]
pub async fn drop_collection(
    State(app): State<App>,
    Segments((name, collection)): Segments<(String, String)>,
    query: Query,
) -> Answer {
    check_database_name("database", &name)?;
    check_database_name("collection", &collection)?;
    let options = query.options(&mut Fields::default())?;
    let collection = collection.as_str();
    let drop = |session: std::sync::Arc<crate::gateway::Session>| async move {
        use query::access::PartitionAccess as _;
        let database = session.planner.database();
        let found = database.schema.table(collection).filter(|spec| spec.kind == TableKind::Collection);
        if found.is_none() {
            let message = format!("Collection '{collection}' not found");
            return Err(Error::new(ErrorCode::CollectionNotFound, message));
        }
        session.access.change_schema(drop_table(database, collection)?).await
    };
    let ((), bookmark) = app.gateway.run(&name, &options, drop).await?;
    let message = format!("Collection '{collection}' deleted successfully");
    Ok(success_seen(json!({ "message": message }), &bookmark))
}
