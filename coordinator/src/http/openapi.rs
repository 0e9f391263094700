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

/// The description without its paths.
pub fn base() -> OpenApi {
    let info = InfoBuilder::new().title("Polylite").version(env!("CARGO_PKG_VERSION")).description(Some(
        "Many SQLite files acting as one database: SQL tables and JSON documents over HTTP.",
    ));
    OpenApiBuilder::new().info(info.build()).build()
}

/// `/openapi.json` and `/docs`.
pub fn routes(api: OpenApi) -> Router<App> {
    let text = Arc::new(with_errors(api).to_string().into_bytes());
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

/// Adds to every operation the answer that all errors have in common.
fn with_errors(api: OpenApi) -> Json {
    let mut api = serde_json::to_value(api).unwrap_or_default();
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
