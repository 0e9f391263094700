//! Answers: every JSON object has `success`, and errors look alike everywhere.

use std::any::Any;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use common::{Error, ErrorCode};
use serde_json::{Map, Value, json};

/// An error on its way to a client.
pub struct Refusal(pub Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal(error) = self;
        let status =
            StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut body = json!({
            "success": false,
            "error": error.message,
            "code": error.code.as_str(),
            "retryable": error.code.retryable(),
            "outcome": error.outcome,
            "request_id": format!("{:032x}", crate::random::unique()),
        });
        let optional: [(&str, Option<Value>); 4] = [
            ("hint", error.hint.map(Value::from)),
            ("statement", error.statement.map(Value::from)),
            ("sqlite_code", error.sqlite_code.map(Value::from)),
            ("partition", error.partition.map(Value::from)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        let retry_later = status == StatusCode::SERVICE_UNAVAILABLE;
        let mut response = (status, Json(body)).into_response();
        if retry_later {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The result of a route.
pub type Answer = Result<Json<Value>, Refusal>;

/// `{"success":true}` with these fields.
pub fn success(fields: Value) -> Answer {
    let mut body = Map::from_iter([("success".to_owned(), Value::Bool(true))]);
    if let Value::Object(fields) = fields {
        body.extend(fields);
    }
    Ok(Json(Value::Object(body)))
}

/// No replica of such a database is here.
pub fn no_such_database(name: &str) -> Refusal {
    Refusal(Error::new(ErrorCode::DatabaseNotFound, format!("Database '{name}' not found")))
}

/// A path that is not one of ours.
pub async fn no_such_route() -> Refusal {
    Refusal(Error::new(ErrorCode::NotFound, "no such route"))
}

/// A path of ours, asked for with another method.
pub async fn no_such_method() -> Refusal {
    Refusal(Error::new(ErrorCode::MethodNotAllowed, "the route does not have this method"))
}

/// A handler's panic is logged by the panic hook; the client learns that it is not its fault.
pub fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    let outcome = common::Outcome::Unknown;
    Refusal(Error::internal("the server failed on this request").with_outcome(outcome)).into_response()
}
