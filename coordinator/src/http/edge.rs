//! What every request passes on its way in and out: its id, the host rule, the net under panics, the
//! rendering of errors, and the numbers.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use common::host_rule::{HostRule, NamedHost};
use common::{Error, ErrorCode, Outcome};
use futures_util::FutureExt as _;
use http::header::{CONNECTION, HOST};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, Request, Version};
use parking_lot::RwLock;

use super::failure::{self, Failure};
use super::router::Routes;
use crate::metrics::RequestMetrics;

/// Names a request in answers and logs; a client's own is echoed.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What answers the requests that pass the edge.
pub trait Answering: Clone {
    /// Answers a request; a failure is among the response's extensions.
    fn answer(&self, request: Request<Body>) -> impl Future<Output = Response> + Send;
}

impl Answering for Routes {
    fn answer(&self, request: Request<Body>) -> impl Future<Output = Response> + Send {
        self.answer(request)
    }
}

/// The coordinator's HTTP interface without its socket.
pub struct Face<R = Routes> {
    routes: RwLock<R>,
    hosts: HostRule,
    metrics: RequestMetrics,
}

impl<R: Answering> Face<R> {
    /// The interface over routes.
    #[must_use]
    pub fn new(routes: R, hosts: HostRule, metrics: RequestMetrics) -> Face<R> {
        Face { routes: RwLock::new(routes), hosts, metrics }
    }

    /// Answers by other routes from the next request on.
    pub(crate) fn switch_to(&self, routes: R) {
        *self.routes.write() = routes;
    }

    /// Answers a request, whatever kind of body it comes with.
    pub async fn answer<B>(&self, request: Request<B>) -> Response
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let request = request.map(Body::new);
        let started = Instant::now();
        let request_id = request_id(&request);
        let (version, subject) = (request.version(), RequestMetrics::subject(request.uri().path()));
        let mut response = self.route(request).await;
        if let Some(failure) = response.extensions_mut().remove::<Failure>() {
            let mut headers = std::mem::take(response.headers_mut());
            // The router has counted the empty body that stood for the failure.
            headers.remove(http::header::CONTENT_LENGTH);
            let closes = failure.error.code == ErrorCode::BodyTooLarge && version == Version::HTTP_11;
            response = failure::render(failure, request_id.to_str().unwrap_or_default());
            response.headers_mut().extend(headers);
            if closes {
                // The rest of the body is not worth reading.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        response.headers_mut().insert(X_REQUEST_ID, request_id);
        self.metrics.answered(subject, response.status(), started.elapsed());
        response
    }

    async fn route(&self, request: Request<Body>) -> Response {
        // Nodes among themselves use addresses that this node may not know for its own; no browser can
        // speak their protocol.
        let is_peer = request.uri().path() == polylite_client::peer::PATH;
        if !is_peer && let Err(error) = self.hosts.check(named_host(&request)) {
            return Failure::from(error).into_response();
        }
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let routes = self.routes.read().clone();
        match AssertUnwindSafe(routes.answer(request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => Failure::from(after_panic(&panic, is_read)).into_response(),
        }
    }
}

/// The host that a request says it is for.
fn named_host(request: &Request<Body>) -> NamedHost<'_> {
    NamedHost {
        authority: request.uri().authority().map(Authority::as_str),
        header: request.headers().get(HOST).map(HeaderValue::as_bytes),
        is_required: request.version() == Version::HTTP_11,
    }
}

/// A handler panicked, perhaps after it had sent a write.
fn after_panic(panic: &Box<dyn Any + Send>, is_read: bool) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("?"), "a request's handler panicked");
    Error::internal("internal error; the server's log has the details").with_outcome(if is_read {
        Outcome::NotApplied
    } else {
        Outcome::Unknown
    })
}

/// The client's request id if it is printable and short, else a new one.
fn request_id(request: &Request<Body>) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        (1..=128).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    request.headers().get(X_REQUEST_ID).filter(usable).cloned().unwrap_or_else(|| {
        let number: u64 = rand::random();
        let digit = |place: usize| b"0123456789abcdef"[(number >> (4 * place)) as usize & 15];
        let made: [u8; 16] = std::array::from_fn(|at| digit(15 - at));
        HeaderValue::from_bytes(&made).expect("hexadecimal digits are a header value")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::{get, post};
    use serde_json::Value as Json;
    use tower::ServiceExt as _;

    impl Answering for Router {
        async fn answer(&self, request: Request<Body>) -> Response {
            match self.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    }

    async fn panics() -> &'static str {
        panic!("boom")
    }

    fn face() -> Face<Router> {
        let router =
            Router::new().route("/panics", post(panics).get(panics)).route("/fine", get(|| async { "fine" }));
        Face::new(router, HostRule::new("localhost", None, &[]), RequestMetrics::new())
    }

    async fn ask(request: http::request::Builder) -> (http::response::Parts, Json) {
        let mut request = request.body(String::new()).unwrap();
        request.headers_mut().entry("host").or_insert(HeaderValue::from_static("localhost"));
        let response = face().answer(request).await;
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (parts, serde_json::from_slice(&bytes).unwrap_or(Json::Null))
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_like_every_error() {
        let (parts, body) = ask(Request::post("/panics").header(X_REQUEST_ID, "mine")).await;
        assert_eq!(parts.status, 500);
        assert_eq!(parts.headers[X_REQUEST_ID], "mine");
        assert_eq!((&body["code"], &body["outcome"]), (&"internal".into(), &"unknown".into()));
        assert_eq!(body["request_id"], "mine");
        assert!(!body["error"].as_str().unwrap().contains("boom"));
        let (_, body) = ask(Request::get("/panics")).await;
        assert_eq!(body["outcome"], "not_applied");
    }

    #[tokio::test]
    async fn a_request_without_a_usable_id_gets_one() {
        for id in ["", "has space", &"x".repeat(129)] {
            let (parts, _) = ask(Request::get("/fine").header(X_REQUEST_ID, id)).await;
            assert_eq!(parts.headers[X_REQUEST_ID].len(), 16, "{id:?}");
        }
    }

    #[tokio::test]
    async fn a_request_for_another_host_is_misdirected() {
        let (parts, body) = ask(Request::get("/fine").header("host", "evil.test")).await;
        assert_eq!(parts.status, 421);
        assert_eq!(body["code"], "unknown_host");
    }
}
