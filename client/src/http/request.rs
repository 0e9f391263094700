//! A request, before it is known which coordinator will get it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;

use super::segment;
use crate::error::{Error, Result};

/// The header that names a write.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a request changes something: decides what may be repeated, and what a lost answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing and may be repeated at will.
    Reads,
    /// It may change something.
    Writes,
}

/// Any request to the HTTP interface; for routes that have no method of their own in this library.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) effect: Effect,
    pub(super) timeout: Option<Duration>,
    /// A write that the server would not know again, so that it is not sent under a name.
    pub(super) once_only: bool,
    /// Whether it belongs to a transaction, which a conflict has ended.
    pub(super) of_transaction: bool,
}

impl Request {
    /// A request with a method for a path. GET reads, all else is taken to write until it is said to read.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Request {
        let effect = if method == Method::GET { Effect::Reads } else { Effect::Writes };
        Request {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            effect,
            timeout: None,
            once_only: false,
            of_transaction: false,
        }
    }

    /// A GET.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Request {
        Request::new(Method::GET, path)
    }

    /// A DELETE.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Request {
        Request::new(Method::DELETE, path)
    }

    /// A POST of JSON.
    pub fn post(path: impl Into<String>, body: &impl Serialize) -> Result<Request> {
        Request::new(Method::POST, path).json(body)
    }

    /// Adds a JSON body.
    pub fn json(mut self, body: &impl Serialize) -> Result<Request> {
        self.body = serde_json::to_vec(body)
            .map_err(|error| Error::invalid_use(format!("this cannot be sent as JSON: {error}")))?
            .into();
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(self)
    }

    /// Adds a parameter to the URL.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Request {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(&format!("{}={}", segment(name), segment(value)));
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: &str) -> Result<Request> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Error::invalid_use(format!("a header {name} cannot have the value {value:?}")))?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Names the write, instead of a name that the library chooses: sent again under the same name, also by another
    /// process, it changes nothing and gets the first answer.
    pub fn idempotency_key(self, key: &str) -> Result<Request> {
        self.header(IDEMPOTENCY_KEY, key)
    }

    /// Says that the request is several writes that stand alone: it gets no idempotency key of the library's own,
    /// and is not repeated unless it was certainly not applied.
    #[must_use]
    pub fn unnamed(mut self) -> Request {
        self.once_only = true;
        self
    }

    /// Says that the request belongs to a transaction: a conflict is not answered better by sending it again.
    #[must_use]
    pub(crate) fn of_transaction(mut self) -> Request {
        self.of_transaction = true;
        self
    }

    /// Whether it has an idempotency key.
    pub(super) fn is_named(&self) -> bool {
        self.headers.contains_key(IDEMPOTENCY_KEY)
    }

    /// Says that the request changes nothing.
    #[must_use]
    pub fn reads(mut self) -> Request {
        self.effect = Effect::Reads;
        self
    }

    /// Limits the time for this request, all attempts together, instead of the client's own limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = Some(timeout);
        self
    }
}
