//! Answers: every JSON object has `success`, and errors look alike everywhere.

use std::any::Any;

use axum::Json;
use axum::extract::Request;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use common::{Error, ErrorCode};
use serde_json::{Map, Value, json};

/// Names a request in answers and logs; a client's own is echoed.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    /// The id of the request that is being answered.
    static REQUEST_ID: String;
}

/// The id of the request that is being answered.
pub fn request_id() -> String {
    REQUEST_ID.try_with(Clone::clone).unwrap_or_default()
}

/// Gives every request an id, the client's own if it is printable and short, and every answer that id.
pub async fn name_request(request: Request, next: Next) -> Response {
    let usable = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    let own = request.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).filter(usable);
    let id = own.map_or_else(|| format!("{:032x}", crate::random::unique()), str::to_owned);
    let header = HeaderValue::try_from(&id).expect("printable characters are a header value");
    let mut response = REQUEST_ID.scope(id, next.run(request)).await;
    response.headers_mut().insert(X_REQUEST_ID, header);
    response
}

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
            "request_id": request_id(),
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
