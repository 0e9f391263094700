//! The one place where an error becomes an answer: its status, its headers and its body.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use common::json::write_string;
use common::{Error, ErrorCode, Outcome};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

/// An error on its way out of a handler. It travels as an extension of an empty response, because its body
/// names the request, which the handler does not know; [`render`] writes it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The error.
    pub error: Error,
    /// Numbers that the answer shows beside it.
    pub numbers: Vec<(&'static str, u64)>,
}

/// What a handler answers.
pub type Answer = Result<Response, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, numbers: Vec::new() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status(self.error.code);
        response.extensions_mut().insert(self);
        response
    }
}

fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Seconds after which a client may try again: an election takes about a second.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The answer to an error.
pub fn render(failure: Failure, request_id: &str) -> Response {
    let error = public(failure.error);
    if error.code == ErrorCode::Internal {
        tracing::error!(request_id, error = %error.message, "internal error");
    }
    let mut body = Vec::with_capacity(256);
    body.extend_from_slice(b"{\"success\":false,");
    write_error_fields(&mut body, &error);
    for (name, number) in failure.numbers {
        raw_field(&mut body, name, &number.to_string());
    }
    body.extend_from_slice(b",\"request_id\":");
    write_string(&mut body, request_id);
    body.push(b'}');
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status(error.code);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if error.code.http_status() == 503 {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}

/// Nodes have words among themselves that clients do not know.
fn public(mut error: Error) -> Error {
    error.code = match error.code {
        ErrorCode::NotLeader => ErrorCode::NoQuorum,
        ErrorCode::StaleSchema | ErrorCode::StalePartitionMap => ErrorCode::LeadershipLost,
        code => code,
    };
    error
}

/// Writes `"error":…,"code":…,…` without braces: the fields of a failed request, of a failed statement
/// among others, and of a stream that breaks off.
pub fn write_error_fields(out: &mut Vec<u8>, error: &Error) {
    out.extend_from_slice(b"\"error\":");
    write_string(out, &error.message);
    text_field(out, "code", error.code.as_str());
    // A request whose write may have been applied must not be repeated blindly.
    let retryable = error.code.retryable() && error.outcome == Outcome::NotApplied;
    raw_field(out, "retryable", if retryable { "true" } else { "false" });
    text_field(out, "outcome", outcome_word(error.outcome));
    if let Some(hint) = &error.hint {
        text_field(out, "hint", hint);
    }
    if let Some(code) = error.sqlite_code {
        raw_field(out, "sqlite_code", &code.to_string());
    }
    if let Some(index) = error.statement {
        raw_field(out, "statement", &index.to_string());
    }
    if let Some(partition) = &error.partition {
        text_field(out, "partition", partition);
    }
    if error.outcome == Outcome::Partial {
        out.extend_from_slice(b",\"applied\":");
        // Serialising strings into memory cannot fail.
        let _ = serde_json::to_writer(out, &error.applied);
    }
}

fn text_field(out: &mut Vec<u8>, name: &str, text: &str) {
    raw_field(out, name, "");
    write_string(out, text);
}

fn raw_field(out: &mut Vec<u8>, name: &str, json: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(json.as_bytes());
}

const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotApplied => "not_applied",
        Outcome::Applied => "applied",
        Outcome::Partial => "partial",
        Outcome::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    async fn body_of(error: Error) -> (StatusCode, Option<HeaderValue>, Json) {
        let response = render(error.into(), "r-1");
        let retry_after = response.headers().get(RETRY_AFTER).cloned();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, retry_after, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn every_field_that_applies_is_there_and_no_other() {
        let mut error = Error::new(ErrorCode::UniqueViolation, "UNIQUE constraint failed: t.id");
        error.sqlite_code = Some(1555);
        error = error.at_statement(2);
        let (status, retry_after, body) = body_of(error).await;
        assert_eq!(status, 409);
        assert_eq!(retry_after, None);
        assert_eq!(
            body,
            json!({"success": false, "error": "UNIQUE constraint failed: t.id", "code": "unique_violation",
                "retryable": false, "outcome": "not_applied", "sqlite_code": 1555, "statement": 2,
                "request_id": "r-1"})
        );
    }

    #[tokio::test]
    async fn a_write_that_may_have_happened_is_not_retryable() {
        let lost = Error::new(ErrorCode::NoQuorum, "lost").with_outcome(Outcome::Unknown);
        let (status, retry_after, body) = body_of(lost).await;
        assert_eq!(status, 503);
        assert_eq!(retry_after, Some(RETRY_AFTER_SECONDS));
        assert_eq!(body["retryable"], false);
        assert_eq!(body["outcome"], "unknown");
    }

    #[tokio::test]
    async fn words_between_nodes_do_not_reach_clients() {
        for code in [ErrorCode::NotLeader, ErrorCode::StaleSchema, ErrorCode::StalePartitionMap] {
            let (status, _, body) = body_of(Error::new(code, "x")).await;
            assert_eq!(status, 503);
            assert!(["no_quorum", "leadership_lost"].contains(&body["code"].as_str().unwrap()), "{body}");
        }
    }

    #[tokio::test]
    async fn a_partial_write_lists_what_was_applied() {
        let mut error = Error::new(ErrorCode::NoQuorum, "x").with_outcome(Outcome::Partial);
        error.applied = vec!["partition 1".into()];
        let (_, _, body) = body_of(error).await;
        assert_eq!(body["applied"], json!(["partition 1"]));
    }
}
