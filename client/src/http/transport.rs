//! Sends requests to one of several coordinators, repeats them where that is safe, and reads the answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{ErrorCode, Outcome};
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::retry::{RetryPolicy, may_repeat, should_move_on};
use super::session::Sessions;
use super::{Effect, IDEMPOTENCY_KEY, Request};
use crate::error::{Error, ErrorBody, Result, local};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a transport is built from.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub endpoints: Vec<String>,
    pub timeout: Duration,
    pub connect_timeout: Duration,
    pub retry: RetryPolicy,
    pub api_key: Option<String>,
    /// PEM certificates to trust instead of the system's.
    pub certificates: Vec<Vec<u8>>,
}

pub(crate) struct Transport {
    http: reqwest::Client,
    endpoints: Vec<String>,
    /// The coordinator that answered last; the next request goes there.
    preferred: AtomicUsize,
    timeout: Duration,
    retry: RetryPolicy,
    sessions: Sessions,
}

impl Transport {
    pub(crate) fn new(settings: Settings) -> Result<Transport> {
        let endpoints =
            settings.endpoints.iter().map(|endpoint| check_endpoint(endpoint)).collect::<Result<Vec<_>>>()?;
        if endpoints.is_empty() {
            return Err(Error::invalid_use("a client needs the address of at least one coordinator"));
        }
        Ok(Transport {
            http: build_http(&settings)?,
            endpoints,
            preferred: AtomicUsize::new(0),
            timeout: settings.timeout,
            retry: settings.retry,
            sessions: Sessions::new(),
        })
    }

    /// Sends a request and reads its whole answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        let body = self.bytes(request).await?;
        parse(&body).map_err(|error| doubtful(error, request.effect))
    }

    /// Sends a request and reads its whole answer.
    pub(crate) async fn bytes(&self, request: &Request) -> Result<Bytes> {
        let named = self.named(request);
        let request = named.as_ref().unwrap_or(request);
        let mut attempts = Attempts::new(self, request);
        loop {
            let endpoint = attempts.endpoint;
            let attempt = async {
                let response = self.head(endpoint, request).await?;
                response.bytes().await.map_err(|error| Failure::from(lost(&error, request.effect)))
            };
            match attempts.within_deadline(attempt).await {
                Ok(body) => return Ok(body),
                Err(error) => attempts.repeat_after(error).await?,
            }
        }
    }

    /// A write under a name, so that it can be repeated; `None` if it has one, or must not have any.
    fn named(&self, request: &Request) -> Option<Request> {
        let wants_name = request.effect == Effect::Writes && !request.is_named() && !request.once_only;
        wants_name.then(|| {
            let name = HeaderValue::try_from(self.sessions.name_write()).expect("letters, digits and points");
            let mut named = request.clone();
            named.headers.insert(IDEMPOTENCY_KEY, name);
            named
        })
    }

    /// Sends a request and answers with the head; the body streams, and the time limit ends with the head.
    pub(crate) async fn open(&self, request: &Request) -> Result<reqwest::Response> {
        let mut attempts = Attempts::new(self, request);
        loop {
            let endpoint = attempts.endpoint;
            match attempts.within_deadline(self.head(endpoint, request)).await {
                Ok(response) => return Ok(response),
                Err(error) => attempts.repeat_after(error).await?,
            }
        }
    }

    /// Sends a request whose body streams. It is not repeated, and takes as long as it takes.
    pub(crate) async fn upload<T: DeserializeOwned>(
        &self,
        request: &Request,
        body: reqwest::Body,
    ) -> Result<T> {
        let endpoint = self.preferred.load(Ordering::Relaxed);
        let sent = self.build(endpoint, request).body(body).send().await;
        let response = sent.map_err(|error| failed_to_send(&error, request.effect))?;
        let response = check_status(response, request.effect).await.map_err(|failure| failure.error)?;
        let body = response.bytes().await.map_err(|error| lost(&error, request.effect))?;
        parse(&body).map_err(|error| doubtful(error, request.effect))
    }

    async fn head(&self, endpoint: usize, request: &Request) -> Result<reqwest::Response, Failure> {
        let sent = self.build(endpoint, request).body(request.body.clone()).send().await;
        let response = sent.map_err(|error| failed_to_send(&error, request.effect))?;
        check_status(response, request.effect).await
    }

    fn build(&self, endpoint: usize, request: &Request) -> reqwest::RequestBuilder {
        let url = format!("{}{}", self.endpoints[endpoint], request.path);
        self.http.request(request.method.clone(), url).headers(request.headers.clone())
    }
}

/// A failed attempt.
struct Failure {
    error: Error,
    /// The pause that the server asks for.
    pause: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, pause: None }
    }
}

/// The attempts of one request.
struct Attempts<'a> {
    transport: &'a Transport,
    effect: Effect,
    /// Whether the server knows a repetition.
    is_named: bool,
    /// Whether a conflict ends more than the request.
    of_transaction: bool,
    /// Whether an earlier attempt may have been, or may yet be, applied.
    in_doubt: bool,
    deadline: Instant,
    made: u32,
    endpoint: usize,
}

impl Attempts<'_> {
    fn new<'a>(transport: &'a Transport, request: &Request) -> Attempts<'a> {
        let deadline = Instant::now() + request.timeout.unwrap_or(transport.timeout);
        let endpoint = transport.preferred.load(Ordering::Relaxed);
        let (effect, is_named) = (request.effect, request.is_named());
        let of_transaction = request.of_transaction;
        Attempts { transport, effect, is_named, of_transaction, in_doubt: false, deadline, made: 0, endpoint }
    }

    async fn within_deadline<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.made += 1;
        match tokio::time::timeout_at(self.deadline, attempt).await {
            Ok(result) => result,
            Err(_) => {
                let error =
                    Error::new(local::CLIENT_TIMEOUT, "no answer came within the client's time limit");
                Err(doubtful(error, self.effect).into())
            }
        }
    }

    /// Waits until the next attempt is due; gives the error back if there should be none.
    async fn repeat_after(&mut self, failure: Failure) -> Result<()> {
        let Failure { error, pause: asked } = failure;
        if should_move_on(&error) {
            self.move_on();
        }
        let policy = &self.transport.retry;
        let pause =
            if self.all_tried() || asked.is_some() { policy.pause(self.made, asked) } else { Duration::ZERO };
        let in_vain = self.made >= policy.attempts_max || Instant::now() + pause >= self.deadline;
        self.in_doubt |= error.outcome == Outcome::Unknown;
        let is_over = self.of_transaction && error.is(ErrorCode::SerializationFailure);
        if in_vain || is_over || !may_repeat(self.effect, self.is_named, &error) {
            // What the last attempt says of itself says nothing of those before it.
            let hides_doubt = self.in_doubt && error.outcome == Outcome::NotApplied;
            return Err(if hides_doubt { error.with_outcome(Outcome::Unknown) } else { error });
        }
        tracing::debug!(%error, attempt = self.made, ?pause, "a request is repeated");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Turns to the next coordinator, and later requests with it.
    fn move_on(&mut self) {
        self.endpoint = (self.endpoint + 1) % self.transport.endpoints.len();
        self.transport.preferred.store(self.endpoint, Ordering::Relaxed);
    }

    /// Another coordinator is asked at once; the first pause comes when all of them have failed.
    fn all_tried(&self) -> bool {
        self.made as usize >= self.transport.endpoints.len()
    }
}

fn check_endpoint(endpoint: &str) -> Result<String> {
    let url = reqwest::Url::parse(endpoint)
        .map_err(|error| Error::invalid_use(format!("{endpoint:?} is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::invalid_use(format!("{endpoint:?} should begin with http:// or https://")));
    }
    Ok(endpoint.trim_end_matches('/').to_owned())
}

fn build_http(settings: &Settings) -> Result<reqwest::Client> {
    // Another part of the process may have chosen a provider already; then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    if let Some(key) = &settings.api_key {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| Error::invalid_use("the API key holds characters that cannot be sent"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let builder = || {
        reqwest::Client::builder()
            .connect_timeout(settings.connect_timeout)
            .default_headers(headers.clone())
            .tcp_nodelay(true)
            // A database in the same network is not behind the proxy that the environment names.
            .no_proxy()
    };
    let invalid = |error: reqwest::Error| Error::invalid_use(format!("no HTTP client: {error}"));
    if settings.certificates.is_empty() {
        // A machine without any certificate authority, as in a small container, can still speak plain HTTP.
        return builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(invalid);
    }
    let mut certificates = Vec::new();
    for pem in &settings.certificates {
        certificates.extend(reqwest::Certificate::from_pem_bundle(pem).map_err(invalid)?);
    }
    builder().tls_certs_only(certificates).build().map_err(invalid)
}

async fn check_status(response: reqwest::Response, effect: Effect) -> Result<reqwest::Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let header = |name: &HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    let pause = header(&RETRY_AFTER).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let request_id = header(&REQUEST_ID).map(str::to_owned);
    let silent = silent_outcome(status.as_u16(), effect);
    let body = response.bytes().await.map_err(|error| lost(&error, effect))?;
    let mut error = match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(parsed) => parsed.into_error(Some(status.as_u16()), silent),
        Err(_) => unexplained(status, &body).with_outcome(silent),
    };
    error.request_id = error.request_id.or(request_id);
    Err(Failure { error, pause })
}

/// What became of the request if the answer's body does not say, as that of a proxy: a refusal (4xx) did
/// nothing, anything else may have.
fn silent_outcome(status: u16, effect: Effect) -> Outcome {
    match effect {
        Effect::Writes if !(400..500).contains(&status) => Outcome::Unknown,
        Effect::Reads | Effect::Writes => Outcome::NotApplied,
    }
}

fn unexplained(status: http::StatusCode, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().take(200).collect();
    let mut error = Error::new(local::INVALID_ANSWER, format!("the server answered {status}: {text}"));
    error.status = Some(status.as_u16());
    error
}

fn failed_to_send(error: &reqwest::Error, effect: Effect) -> Error {
    if error.is_connect() {
        return Error::new(local::UNREACHABLE, with_causes(error)).retryable();
    }
    lost(error, effect)
}

fn lost(error: &reqwest::Error, effect: Effect) -> Error {
    doubtful(Error::new(local::CONNECTION_LOST, with_causes(error)), effect).retryable()
}

/// A write that was sent and not answered properly may have been applied.
fn doubtful(error: Error, effect: Effect) -> Error {
    match effect {
        Effect::Reads => error,
        Effect::Writes => error.with_outcome(Outcome::Unknown),
    }
}

/// reqwest's own text leaves out the cause, which is what people need.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        Error::new(local::INVALID_ANSWER, format!("the answer is not what was expected: {error}"))
    })
}
