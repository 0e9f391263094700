//! Request bodies: their type, their size, and how long they may take to arrive.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use common::limits::{BODY_MAX, DOCUMENT_BODY_MAX};
use common::{Error, ErrorCode, Result, strict_json};
use futures_util::FutureExt as _;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::Value as Json;

use super::failure::Failure;
use super::fields::Fields;

/// How long a client may pause in the middle of a body.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Most bytes of a body that is too large that are read and thrown away.
const DISCARD_MAX: usize = 128 << 20;
/// Longest time for that.
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// The fields of a body that must be a JSON object, on ordinary routes.
pub struct JsonBody(pub Fields);

/// A body that may be missing, and of which nothing is used; if there is one, it must be a JSON object.
pub struct OptionalJsonBody;

/// The fields of a body that may be missing; if there is one, it must be a JSON object.
pub struct OptionalFields(pub Fields);

/// A body of the document routes, any JSON value.
pub struct DocumentBody(pub Json);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let text =
            read(request, BODY_MAX).await?.ok_or_else(|| Error::bad_request("a JSON body is missing"))?;
        Ok(JsonBody(Fields::of(strict_json::parse_body(&text)?)?))
    }
}

impl<S: Send + Sync> FromRequest<S> for OptionalJsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        if let Some(text) = read(request, BODY_MAX).await? {
            Fields::of(strict_json::parse_body(&text)?)?;
        }
        Ok(OptionalJsonBody)
    }
}

impl<S: Send + Sync> FromRequest<S> for OptionalFields {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        Ok(OptionalFields(match read(request, BODY_MAX).await? {
            Some(text) => Fields::of(strict_json::parse_body(&text)?)?,
            None => Fields::default(),
        }))
    }
}

impl<S: Send + Sync> FromRequest<S> for DocumentBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let text = read(request, DOCUMENT_BODY_MAX)
            .await?
            .ok_or_else(|| Error::bad_request("a JSON body is missing"))?;
        Ok(DocumentBody(strict_json::parse_body(&text)?))
    }
}

/// The body's bytes, or `None` if there is none.
async fn read(request: Request, limit: usize) -> Result<Option<Bytes>> {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(None);
    }
    check_type(&parts.headers)?;
    let mut body = body;
    let read = match check_length(&parts.headers, limit) {
        Ok(()) => collect(&mut body, limit).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(error) = &read
        && error.code == ErrorCode::BodyTooLarge
        && !is_patient(&parts.headers)
    {
        Box::pin(discard(body)).await;
    }
    let bytes = read?;
    Ok((!bytes.is_empty()).then_some(bytes))
}

/// Whether the client waits for a word before it sends a body, or sends so much that reading it is a waste.
fn is_patient(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT) || check_length(headers, DISCARD_MAX).is_err()
}

/// Reads what a client is still sending, within bounds: many clients look for the answer only when they have
/// sent everything, and never see it if the connection is closed before that.
async fn discard(mut body: Body) {
    let reading = async {
        let mut seen = 0;
        while let Ok(Some(piece)) = next_piece(&mut body).await {
            seen += piece.len();
            if seen > DISCARD_MAX {
                return;
            }
        }
    };
    // Whether it came to an end or not, the answer is the same.
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}

fn check_type(headers: &HeaderMap) -> Result<()> {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if strict_json::is_declared(declared) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::UnsupportedMediaType, "the body must be application/json in UTF-8")
        .with_hint("send the header Content-Type: application/json"))
}

fn check_length(headers: &HeaderMap, limit: usize) -> Result<()> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match declared.and_then(|text| text.parse::<u64>().ok()) {
        Some(length) if length > limit as u64 => Err(too_large(limit)),
        _ => Ok(()),
    }
}

fn too_large(limit: usize) -> Error {
    Error::new(ErrorCode::BodyTooLarge, format!("the body is larger than {} MiB", limit >> 20))
        .with_hint("send less at a time, or use import, which takes any size")
}

pub(super) async fn collect(body: &mut Body, limit: usize) -> Result<Bytes> {
    let Some(first) = next_piece(body).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && first.len() <= limit {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while whole.len() <= limit {
        match next_piece(body).await? {
            Some(piece) => whole.extend_from_slice(&piece),
            None => return Ok(whole.freeze()),
        }
    }
    Err(too_large(limit))
}

/// The next bytes of a body, `None` at its end.
pub async fn next_piece(body: &mut Body) -> Result<Option<Bytes>> {
    loop {
        let frame = match body.frame().now_or_never() {
            // It came with the head, as small bodies do: no timer is needed.
            Some(frame) => frame,
            None => tokio::time::timeout(PAUSE_MAX, body.frame())
                .await
                .map_err(|_| Error::bad_request("the body stopped arriving"))?,
        };
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(Error::bad_request(format!("the body broke off: {error}"))),
            // Trailers are of no interest.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_declares_no_type_is_not_taken_for_json() {
        assert_eq!(check_type(&HeaderMap::new()).unwrap_err().code, ErrorCode::UnsupportedMediaType);
    }

    #[tokio::test]
    async fn a_body_is_cut_off_at_its_limit_whatever_it_declares() {
        let pieces =
            futures_util::stream::iter((0..4).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 10]))));
        assert_eq!(
            collect(&mut Body::from_stream(pieces), 30).await.unwrap_err().code,
            ErrorCode::BodyTooLarge
        );
        assert_eq!(
            collect(&mut Body::from(vec![b' '; 31]), 30).await.unwrap_err().code,
            ErrorCode::BodyTooLarge
        );
        assert_eq!(collect(&mut Body::from(vec![b' '; 30]), 30).await.unwrap().len(), 30);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, "31".parse().unwrap());
        assert_eq!(check_length(&headers, 30).unwrap_err().code, ErrorCode::BodyTooLarge);
    }

    #[tokio::test]
    async fn a_client_that_sends_too_much_gets_to_the_end_of_it() {
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = sent.clone();
        let pieces = futures_util::stream::iter((0..9).map(move |_| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 10]))
        }));
        let request = Request::builder().header(CONTENT_TYPE, "application/json");
        let refused = read(request.body(Body::from_stream(pieces)).unwrap(), 30).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::BodyTooLarge);
        assert_eq!(sent.load(std::sync::atomic::Ordering::Relaxed), 9);
    }
}
