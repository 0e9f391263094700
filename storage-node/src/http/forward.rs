//! What only the catalog can do is passed to a coordinator, and answered as it answers.

use std::time::Duration;

use axum::Json;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use common::limits::BODY_MAX;
use common::{Error, ErrorCode};
use polylite_client::{Client, Request as Outgoing};
use serde_json::{Value, json};

use super::AppState;
use super::reply::Refusal;

/// How long a coordinator may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Passes a request on as it came.
pub async fn forward(State(state): State<AppState>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let body = match to_bytes(body, BODY_MAX).await {
        Ok(body) => body,
        Err(_) => {
            let error = Error::new(ErrorCode::BodyTooLarge, "the request body is too large");
            return Refusal(error).into_response();
        }
    };
    let is_json = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"));
    if !body.is_empty() && !is_json {
        let error = Error::new(ErrorCode::UnsupportedMediaType, "the body must be application/json");
        return Refusal(error).into_response();
    }
    let body = if head.method == Method::POST && path == "/databases" { with_tables(body) } else { Ok(body) };
    let passed_on = match body {
        Ok(body) => pass_on(&state, head.method, &path, &body).await,
        Err(error) => Err(Refusal(error).into_response()),
    };
    match passed_on {
        Ok(answer) => Json(answer).into_response(),
        Err(response) => response,
    }
}

/// Storage nodes take a database's tables in `schema`, coordinators beside its name.
fn with_tables(body: Bytes) -> Result<Bytes, Error> {
    let mut database: Value = serde_json::from_slice(&body)
        .map_err(|error| Error::bad_request(format!("the body is not JSON: {error}")))?;
    let Some(fields) = database.as_object_mut() else { return Ok(body) };
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
    Ok(database.to_string().into())
}

/// Sends a request to a coordinator; an error is the response to give.
pub async fn pass_on(state: &AppState, method: Method, path: &str, body: &Bytes) -> Result<Value, Response> {
    let refuse = |error: Error| Refusal(error).into_response();
    let addresses = state.neighbours.coordinators();
    if addresses.is_empty() {
        let text = "no coordinator is known; start the node with --coordinator";
        return Err(refuse(Error::new(ErrorCode::Unavailable, text)));
    }
    let urls = addresses.into_iter().map(|address| format!("http://{address}"));
    let client = Client::builder(urls).timeout(TIMEOUT).build().map_err(from_client)?;
    let mut request = Outgoing::new(method, path);
    if !body.is_empty() {
        let parsed: Value = serde_json::from_slice(body)
            .map_err(|error| refuse(Error::bad_request(format!("the body is not JSON: {error}"))))?;
        request = request.json(&parsed).map_err(from_client)?;
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
