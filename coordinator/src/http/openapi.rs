//! The description of the interface, generated from the handlers' annotations, and the page to browse it.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::response::{Redirect, Response};
use axum::routing::get;
use common::ErrorCode;
use common::{Error, Outcome};
use http::header::CONTENT_TYPE;
use serde_json::{Value as Json, json};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_swagger_ui::Config;

use super::answer::json_text;
use super::app::App;
use super::failure::Answer;
use super::later_routes;

/// The description without its paths.
pub fn base() -> OpenApi {
    let info = InfoBuilder::new().title("Polylite").version(env!("CARGO_PKG_VERSION")).description(Some(
        "Many SQLite files acting as one database: SQL tables and JSON documents over HTTP.",
    ));
    OpenApiBuilder::new().info(info.build()).build()
}

/// `/openapi.json` and `/docs`.
pub fn routes(api: OpenApi) -> Router<App> {
    let text = Arc::new(describe(api).to_string().into_bytes());
    let config = Arc::new(Config::from("/openapi.json"));
    Router::new()
        .route("/openapi.json", get(async move || json_text(text.to_vec())))
        .route("/docs", get(async || Redirect::to("/docs/")))
        .route(
            "/docs/",
            get({
                let config = config.clone();
                async move || page("index.html", config)
            }),
        )
        .route("/docs/{*file}", get(async move |Path(file): Path<String>| page(&file, config)))
}

fn page(file: &str, config: Arc<Config<'static>>) -> Answer {
    match utoipa_swagger_ui::serve(file, config) {
        Ok(Some(found)) => {
            let mut response = Response::new(axum::body::Body::from(found.bytes.into_owned()));
            let content_type =
                found.content_type.parse().map_err(|_| Error::internal("a page without a type"))?;
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            Ok(response)
        }
        Ok(None) => Err(Error::new(ErrorCode::NotFound, format!("there is no page /docs/{file}")).into()),
        Err(error) => Err(Error::internal(format!("a page of /docs cannot be served: {error}")).into()),
    }
}

/// The whole description: the handlers' own, the routes that are still to come, and what all have in common.
fn describe(api: OpenApi) -> Json {
    let mut api = serde_json::to_value(api).unwrap_or_default();
    for (path, method, operation) in later_routes::descriptions() {
        api["paths"][path][method] = operation;
    }
    name_operations(&mut api);
    with_errors(api)
}

/// Names each operation by its method and path: generators of clients need names that are unique.
fn name_operations(api: &mut Json) {
    for (path, methods) in api["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            if let Some(operation) = operation.as_object_mut() {
                let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
                let name = std::iter::once(method.as_str()).chain(words).collect::<Vec<_>>().join("_");
                operation.insert("operationId".to_owned(), Json::String(name));
            }
        }
    }
}

/// Adds to every operation the answer that all errors have in common.
fn with_errors(mut api: Json) -> Json {
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    let outcomes = [Outcome::NotApplied, Outcome::Applied, Outcome::Partial, Outcome::Unknown];
    api["components"]["schemas"]["Error"] = json!({
        "type": "object",
        "required": ["success", "error", "code", "retryable", "outcome", "request_id"],
        "properties": {
            "success": { "type": "boolean", "enum": [false] },
            "error": { "type": "string", "description": "For people; for an SQL error SQLite's own text" },
            "code": { "type": "string", "enum": codes },
            "retryable": { "type": "boolean", "description": "The same request may be sent again as it is" },
            "outcome": { "type": "string", "enum": outcomes, "description": "What became of the write" },
            "request_id": { "type": "string" },
            "hint": { "type": "string" },
            "sqlite_code": { "type": "integer" },
            "statement": { "type": "integer", "description": "Index in the batch" },
            "partition": { "type": "string" },
            "applied": { "type": "array", "items": { "type": "string" } },
        },
    });
    api["components"]["responses"]["Error"] = json!({
        "description": "An error",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
    });
    let paths = api["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in paths.filter_map(Json::as_object_mut).flat_map(|path| path.values_mut()) {
        if operation.get("responses").is_some() {
            operation["responses"]["default"] = json!({ "$ref": "#/components/responses/Error" });
        }
    }
    api
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn routes_that_are_still_to_come_are_described_and_every_operation_has_a_name_of_its_own() {
        let api = describe(base());
        assert!(api["paths"]["/audit"]["get"]["responses"]["422"].is_object());
        let operations =
            api["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        let names: Vec<&str> =
            operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(names.contains(&"delete_auth_keys_id"));
    }
}
