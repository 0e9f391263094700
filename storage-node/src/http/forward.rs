//! What only the catalog can do is passed to a coordinator, and answered as it answers.

use std::time::Duration;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use common::{Error, ErrorCode};
use polylite_client::{Client, Request as Outgoing};
use serde_json::{Value, json};

use super::AppState;
use super::body::JsonBody;
use super::reply::Refusal;

/// How long a coordinator may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Passes a request on as it came.
pub async fn forward(
    State(state): State<AppState>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let makes_database = method == Method::POST && path == "/databases";
    let body = body.map(|body| if makes_database { with_tables(body) } else { Ok(body) }).transpose()?;
    Ok(answer(pass_on(&state, method, path, body.as_ref()).await))
}

/// A coordinator's answer as this node's own.
pub fn answer(passed_on: Result<Value, Response>) -> Response {
    passed_on.map_or_else(|refused| refused, |answer| Json(answer).into_response())
}

/// Storage nodes take a database's tables in `schema`, coordinators beside its name.
fn with_tables(mut database: Value) -> Result<Value, Error> {
    let Some(fields) = database.as_object_mut() else { return Ok(database) };
    let schema = fields.remove("schema").filter(|schema| !schema.is_null());
    let is_sql =
        fields.get("db_type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("sql"));
    match schema {
        Some(mut schema) => {
            let Some(schema) = schema.as_object_mut() else {
                return Err(Error::bad_request("'schema' must be an object"));
            };
            fields.insert("tables".to_owned(), schema.remove("tables").unwrap_or_default());
        }
        None if is_sql && !fields.contains_key("tables") => {
            return Err(Error::bad_request("Schema is required for SQL databases"));
        }
        None => {}
    }
    Ok(database)
}

/// Sends a request to a coordinator; an error is the response to give.
pub async fn pass_on(
    state: &AppState,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Response> {
    let refuse = |error: Error| Refusal(error).into_response();
    let addresses = state.neighbours.coordinators();
    if addresses.is_empty() {
        let text = "no coordinator is known; start the node with --coordinator";
        return Err(refuse(Error::new(ErrorCode::Unavailable, text)));
    }
    let urls = addresses.into_iter().map(|address| format!("http://{address}"));
    let client = Client::builder(urls).timeout(TIMEOUT).build().map_err(from_client)?;
    let mut request = Outgoing::new(method, path);
    if let Some(body) = body {
        request = request.json(body).map_err(from_client)?;
    }
    client.send(&request).await.map_err(from_client)
}

fn from_client(error: polylite_client::Error) -> Response {
    let status = error.status.and_then(|status| StatusCode::from_u16(status).ok());
    let mut body = json!({
        "success": false,
        "error": error.message,
        "code": if status.is_some() { error.code.as_str() } else { ErrorCode::Unavailable.as_str() },
        "retryable": error.retryable || status.is_none(),
        "outcome": error.outcome,
        "request_id": super::reply::request_id(),
    });
    if let Some(hint) = error.hint {
        body["hint"] = Value::from(hint);
    }
    if let Some(code) = error.sqlite_code {
        body["sqlite_code"] = Value::from(code);
    }
    (status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), Json(body)).into_response()
}
