//! Request bodies: JSON that declares itself as such, read strictly and within the limit.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use common::limits::BODY_MAX;
use common::{Error, ErrorCode, Result, strict_json};
use http_body_util::LengthLimitError;
use serde_json::Value;

use super::reply::Refusal;

/// The body's JSON; `None` if there is no body.
pub struct JsonBody(pub Option<Value>);

impl JsonBody {
    /// The JSON of a body that must be there.
    pub fn required(self) -> Result<Value> {
        self.0.ok_or_else(|| Error::bad_request("a JSON body is missing"))
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let bytes = read(&head.headers, body).await?;
        if bytes.is_empty() {
            return Ok(JsonBody(None));
        }
        let declared = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if !strict_json::is_declared(declared) {
            let error =
                Error::new(ErrorCode::UnsupportedMediaType, "the body must be application/json in UTF-8");
            return Err(error.with_hint("send the header Content-Type: application/json").into());
        }
        Ok(JsonBody(Some(strict_json::parse_body(&bytes)?)))
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes> {
    let too_large = || {
        Error::new(ErrorCode::BodyTooLarge, format!("the body is larger than {} MiB", BODY_MAX >> 20))
            .with_hint("send less at a time, or use a coordinator's import, which takes any size")
    };
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > BODY_MAX as u64) {
        return Err(too_large());
    }
    to_bytes(body, BODY_MAX).await.map_err(|error| {
        let cause = error.into_inner();
        if cause.is::<LengthLimitError>() {
            too_large()
        } else {
            Error::bad_request(format!("the body broke off: {cause}"))
        }
    })
}
