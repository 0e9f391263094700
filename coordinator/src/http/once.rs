//! `Idempotency-Key`: sending a write again changes nothing and gets the first answer.
//!
//! The handlers know nothing of it. Around them, the request's body is read and named by its digest; the handler
//! runs with an [`Once`] among its options, which holds back what it writes; and when its answer is there, answer
//! and writes are committed together. An attempt that others disturb begins anew.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use common::idempotency::{IdempotencyKey, KEPT_ANSWER_MAX, KeyedRequest, request_digest};
use common::limits::DOCUMENT_BODY_MAX;
use common::{Error, ErrorCode, Outcome, Result};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use super::answer::{X_CACHE, json_text};
use super::app::{App, moment};
use super::body;
use super::failure::Failure;
use super::router::Routes;
use crate::catalog::{Command, digest_text, recall};
use crate::gateway::{Once, RequestOptions};

/// Names a write.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer is that of an earlier attempt.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Attempts at a request that others disturb.
const ATTEMPTS_MAX: u32 = 16;
/// How long the end of an attempt may take beyond its own time.
const COMMIT_TIME: Duration = Duration::from_secs(10);

/// Where a key is kept, by what its request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Home {
    /// A partition of this database.
    Database(String),
    /// The catalog.
    Catalog,
    /// Nowhere: the request only reads, or sees to its key itself.
    Nowhere,
}

/// Whether a request names the write that it is.
pub fn has_key(request: &Request) -> bool {
    request.headers().contains_key(&IDEMPOTENCY_KEY)
}

/// Runs a request with a key once.
pub(super) async fn answer(app: &App, routes: &Routes, request: Request) -> Response {
    let Some(header) = request.headers().get(&IDEMPOTENCY_KEY) else { return routes.handle(request).await };
    let home = home_of(request.method(), request.uri().path());
    if home == Home::Nowhere {
        return routes.handle(request).await;
    }
    let key = match IdempotencyKey::parse(header.as_bytes()) {
        Ok(key) => key,
        Err(error) => return Failure::from(error).into_response(),
    };
    let attempts = match Attempts::read(app.clone(), key, request, routes.clone()).await {
        Ok(attempts) => attempts,
        Err(error) => return Failure::from(error).into_response(),
    };
    if super::relay::transaction_of(&attempts.parts, &attempts.body).is_some() {
        // The transaction's commit is what happens once.
        return attempts.run(None).await.unwrap_or_else(|failure| failure.into_response());
    }
    let answered = match home {
        Home::Database(database) => attempts.in_database(&database).await,
        Home::Catalog | Home::Nowhere => attempts.in_catalog().await,
    };
    answered.unwrap_or_else(|failure| failure.into_response())
}

/// The key of a request that sees to it itself.
pub fn key_of(headers: &HeaderMap) -> Result<Option<IdempotencyKey>> {
    headers.get(&IDEMPOTENCY_KEY).map(|header| IdempotencyKey::parse(header.as_bytes())).transpose()
}

fn home_of(method: &Method, path: &str) -> Home {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Home::Nowhere;
    }
    match segments.as_slice() {
        ["databases", _, "import" | "explain" | "transactions", ..] => Home::Nowhere,
        ["databases", _, "collections", _, "find" | "count" | "distinct" | "aggregate" | "explain"] => {
            Home::Nowhere
        }
        // It is about this coordinator itself, whose catalog it may replace, and repeating it changes nothing.
        ["cluster", "join"] => Home::Nowhere,
        ["databases", database, _, ..] | ["query", database] => Home::Database((*database).to_owned()),
        ["databases", ..] | ["nodes", ..] | ["cluster", ..] => Home::Catalog,
        _ => Home::Nowhere,
    }
}

/// A request that can be run again and again.
struct Attempts {
    app: App,
    request: KeyedRequest,
    parts: Parts,
    body: Bytes,
    routes: Routes,
}

impl Attempts {
    async fn read(app: App, key: IdempotencyKey, request: Request, routes: Routes) -> Result<Attempts> {
        let (parts, mut body) = request.into_parts();
        let body = body::collect(&mut body, DOCUMENT_BODY_MAX).await?;
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let digest = request_digest([parts.method.as_str().as_bytes(), target.as_bytes(), &body]);
        Ok(Attempts { app, request: KeyedRequest { key, digest }, parts, body, routes })
    }

    /// Runs the handler.
    async fn run(&self, once: Option<Arc<Once>>) -> Result<Response, Failure> {
        let mut parts = self.parts.clone();
        if let Some(once) = once {
            parts.extensions.insert(once);
        }
        let request = Request::from_parts(parts, Body::from(self.body.clone()));
        let mut response = self.routes.handle(request).await;
        match response.extensions_mut().remove::<Failure>() {
            Some(failure) => Err(failure),
            None => Ok(response),
        }
    }

    async fn in_database(&self, database: &str) -> Result<Response, Failure> {
        let attempt = |once: Arc<Once>| async move {
            let response = self.run(Some(once.clone())).await?;
            let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
            Ok(if response.headers().contains_key(X_CACHE) || !is_json {
                // A read, and streams are reads too, changes nothing that the key could protect.
                Attempt::Ended(response)
            } else if once.was_replayed() {
                Attempt::Ended(replayed(response))
            } else {
                let (parts, answer) = whole(response).await?;
                Attempt::Answered(Response::from_parts(parts, Body::from(answer.clone())), answer)
            })
        };
        Ok(match run_once(&self.app, database, &self.request, attempt).await? {
            Done::Now(response) => response,
            Done::Before(answer) => replayed(json_text(answer.to_vec())),
        })
    }

    async fn in_catalog(&self) -> Result<Response, Failure> {
        let catalog = self.app.catalog.confirmed().await?;
        if let Some(answer) = recall(&catalog, moment().now_ms, &self.request)? {
            return Ok(replayed(json_text(answer.into_bytes())));
        }
        let response = self.run(None).await?;
        let (parts, answer) = whole(response).await?;
        let keep = Command::KeepAnswer {
            key: self.request.key.as_str().to_owned(),
            digest: digest_text(&self.request),
            answer: String::from_utf8_lossy(&answer).into_owned(),
        };
        self.app.catalog.propose(keep).await.map_err(|error| error.with_outcome(Outcome::Applied))?;
        Ok(Response::from_parts(parts, Body::from(answer)))
    }
}

/// How an attempt ends.
pub enum Attempt<T> {
    /// With nothing to keep.
    Ended(T),
    /// With an answer to be kept.
    Answered(T, Bytes),
}

/// What became of a request with a key.
pub enum Done<T> {
    /// It was done now.
    Now(T),
    /// It was done before, and this was kept.
    Before(Bytes),
}

/// Attempts a write to a database until one attempt comes through undisturbed, and only if none did before.
pub async fn run_once<T, F>(
    app: &App,
    database: &str,
    request: &KeyedRequest,
    attempt: impl Fn(Arc<Once>) -> F,
) -> Result<Done<T>, Failure>
where
    F: Future<Output = Result<Attempt<T>, Failure>>,
{
    let mut attempts = 0;
    loop {
        attempts += 1;
        let unfinished = Unfinished { app, once: Arc::new(Once::new(request.clone())) };
        let once = &unfinished.once;
        let failure = match attempt(once.clone()).await {
            Ok(Attempt::Ended(done)) => return Ok(Done::Now(done)),
            Ok(Attempt::Answered(done, answer)) => {
                let options =
                    RequestOptions { deadline: Instant::now() + COMMIT_TIME, ..RequestOptions::default() };
                if app.gateway.commit_once(database, &options, once, &answer).await? {
                    return Ok(Done::Now(done));
                }
                Failure::from(disturbed())
            }
            Err(failure) => failure,
        };
        if let Some(answer) = once.answered() {
            return Ok(Done::Before(answer));
        }
        let is_disturbed = failure.error.code == ErrorCode::SerializationFailure
            && failure.error.outcome == Outcome::NotApplied;
        if !is_disturbed || attempts >= ATTEMPTS_MAX {
            return match answered_meanwhile(app, database, request, &failure.error).await {
                Some(answer) => Ok(Done::Before(answer)),
                None => Err(failure),
            };
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..=4 << attempts.min(5)))).await;
    }
}

/// The answer that another attempt has come to, to which an error may be due.
async fn answered_meanwhile(
    app: &App,
    database: &str,
    request: &KeyedRequest,
    error: &Error,
) -> Option<Bytes> {
    if error.outcome != Outcome::NotApplied || error.code.http_status() != 409 {
        return None;
    }
    let once = Arc::new(Once::new(request.clone()));
    let options = RequestOptions { once: Some(once.clone()), ..RequestOptions::default() };
    let nothing = |_| async { Ok(()) };
    // Whatever keeps the key from being looked up, the error is true.
    let _ = app.gateway.run(database, &options, nothing).await;
    once.answered()
}

/// An attempt. If it ends without an answer, what it has prepared is given up.
struct Unfinished<'a> {
    app: &'a App,
    once: Arc<Once>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.app.gateway.abandon_once(&self.once);
    }
}

/// The whole answer; one that is too large to be kept is refused.
async fn whole(response: Response) -> Result<(http::response::Parts, Bytes)> {
    let (parts, body) = response.into_parts();
    let answer = axum::body::to_bytes(body, KEPT_ANSWER_MAX).await.map_err(|_| {
        let message = format!("the answer is larger than {KEPT_ANSWER_MAX} bytes, too large to be kept");
        Error::new(ErrorCode::ResultTooBig, message)
            .with_hint("send the request without an Idempotency-Key, or let it answer less")
    })?;
    Ok((parts, answer))
}

fn replayed(mut response: Response) -> Response {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn disturbed() -> Error {
    Error::new(ErrorCode::SerializationFailure, "another attempt at the request is under way")
        .with_hint("send it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_have_no_home_and_writes_one() {
        let home = |method: Method, path: &str| home_of(&method, path);
        let shop = || Home::Database("shop".to_owned());
        assert_eq!(home(Method::POST, "/databases/shop/sql"), shop());
        assert_eq!(home(Method::POST, "/query/shop"), shop());
        assert_eq!(home(Method::PUT, "/databases/shop/collections/c/documents/1"), shop());
        assert_eq!(home(Method::POST, "/databases/shop/tables"), shop());
        assert_eq!(home(Method::DELETE, "/databases/shop"), Home::Catalog);
        assert_eq!(home(Method::POST, "/databases"), Home::Catalog);
        assert_eq!(home(Method::POST, "/databases/shop/collections/c/find"), Home::Nowhere);
        assert_eq!(home(Method::GET, "/databases/shop/sql"), Home::Nowhere);
        assert_eq!(home(Method::POST, "/databases/shop/import"), Home::Nowhere);
        assert_eq!(home(Method::POST, "/cluster/join"), Home::Nowhere);
        assert_eq!(home(Method::POST, "/cluster/rebalance"), Home::Catalog);
    }
}
