//! What requests say beside their bodies: path, query string, bookmark.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use common::limits::{STATEMENT_TIMEOUT_MS, STATEMENT_TIMEOUT_MS_MAX};
use common::protocol::ReadLevel;
use common::{Error, Result};
use http::Uri;
use http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::answer::{RowShape, X_BOOKMARK};
use super::failure::Failure;
use super::fields::Fields;
use crate::gateway::{Bookmark, Once, RequestOptions};

/// Greatest bound on the staleness of a read: a day.
const STALENESS_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// The variable segments of the path.
pub struct Segments<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(segments) = Path::<T>::from_request_parts(parts, state)
            .await
            .map_err(|error| Error::bad_request(format!("the path is malformed: {error}")))?;
        Ok(Segments(segments))
    }
}

/// The query string and the bookmark's header.
#[derive(Default)]
pub struct Query {
    target: String,
    parameters: BTreeMap<String, String>,
    bookmark: Bookmark,
    /// The attempt that the request belongs to, if it is a write with an idempotency key.
    once: Option<Arc<Once>>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let bookmark = match parts.headers.get(X_BOOKMARK) {
            None => Bookmark::default(),
            Some(header) => Bookmark::parse(header.to_str().unwrap_or_default())?,
        };
        let parameters = match parts.uri.query() {
            None => BTreeMap::new(),
            Some(_) => parse_parameters(&parts.uri)?,
        };
        let once = parts.extensions.get::<Arc<Once>>().cloned();
        let target = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        Ok(Query { target, parameters, bookmark, once })
    }
}

fn parse_parameters(uri: &Uri) -> Result<BTreeMap<String, String>> {
    if !is_utf8(uri.query().unwrap_or_default()) {
        return Err(Error::bad_request("the query string is not UTF-8 in percent-encoding"));
    }
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Error::bad_request(format!("the query string is malformed: {error}")))?;
    let mut parameters = BTreeMap::new();
    for (name, value) in pairs.0 {
        if parameters.contains_key(&name) {
            return Err(Error::bad_request(format!("'{name}' occurs twice in the query string")));
        }
        parameters.insert(name, value);
    }
    Ok(parameters)
}

/// Whether the bytes that percent signs stand for make text: a reader that replaces others would read something
/// else than was sent.
fn is_utf8(encoded: &str) -> bool {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits =
            after.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}

impl Query {
    /// The path and the query string.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// A parameter's text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// How the request wants to be served: `level`, `timeout_ms` and `transaction` of the body, else of the query
    /// string.
    pub fn options(&self, body: &mut Fields) -> Result<RequestOptions> {
        let level = match body.text("level")? {
            Some(level) => parse_level(&level)?,
            None => self.level()?,
        };
        let staleness = match body.whole("max_staleness_ms", 0, STALENESS_MS_MAX)? {
            Some(staleness) => Some(staleness),
            None => self.whole("max_staleness_ms", 0, STALENESS_MS_MAX)?,
        };
        let level = bounded(level, staleness);
        let timeout_ms = match body.whole("timeout_ms", 1, STATEMENT_TIMEOUT_MS_MAX)? {
            Some(timeout_ms) => timeout_ms,
            None => self.timeout_ms()?.unwrap_or(STATEMENT_TIMEOUT_MS),
        };
        let transaction = body.text("transaction")?;
        let options = self.options_with(level, Duration::from_millis(timeout_ms))?;
        Ok(RequestOptions { transaction: transaction.or(options.transaction), ..options })
    }

    /// How the request wants to be served, with a time limit that the query string may lower or raise.
    pub fn options_within(&self, limit: Duration) -> Result<RequestOptions> {
        let limit = self.timeout_ms()?.map_or(limit, Duration::from_millis);
        let staleness = self.whole("max_staleness_ms", 0, STALENESS_MS_MAX)?;
        self.options_with(bounded(self.level()?, staleness), limit)
    }

    fn options_with(&self, level: ReadLevel, limit: Duration) -> Result<RequestOptions> {
        let (deadline, bookmark) = (Instant::now() + limit, self.bookmark.clone());
        let (once, transaction) = (self.once.clone(), self.text("transaction").map(str::to_owned));
        let (cache, lock) = (self.cache()?, false);
        let streams = false;
        Ok(RequestOptions { level, deadline, bookmark, cache, once, transaction, lock, streams })
    }

    /// `cache=bypass` asks the data, whatever the cache has.
    fn cache(&self) -> Result<bool> {
        match self.text("cache") {
            None => Ok(true),
            Some("bypass") => Ok(false),
            Some(_) => Err(Error::bad_request("'cache' can only be 'bypass'")),
        }
    }

    fn level(&self) -> Result<ReadLevel> {
        self.text("level").map_or(Ok(ReadLevel::default()), parse_level)
    }

    fn timeout_ms(&self) -> Result<Option<u64>> {
        self.whole("timeout_ms", 1, STATEMENT_TIMEOUT_MS_MAX)
    }

    /// A parameter that is a whole number between two bounds, both allowed.
    fn whole(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Error::bad_request(format!("'{name}' must be a whole number from {least} to {most}"))),
        }
    }

    /// `rows=objects` or `rows=arrays`.
    pub fn row_shape(&self) -> Result<RowShape> {
        match self.text("rows") {
            None | Some("arrays") => Ok(RowShape::Arrays),
            Some("objects") => Ok(RowShape::Objects),
            Some(_) => Err(Error::bad_request("'rows' must be 'arrays' or 'objects'")),
        }
    }
}

/// The level that keeps a bound on staleness.
fn bounded(level: ReadLevel, staleness_ms: Option<u64>) -> ReadLevel {
    match (level, staleness_ms) {
        (ReadLevel::Stale, Some(milliseconds)) => ReadLevel::StaleWithin(milliseconds),
        _ => level,
    }
}

fn parse_level(level: &str) -> Result<ReadLevel> {
    match level {
        "linearizable" => Ok(ReadLevel::Linearizable),
        "leader" => Ok(ReadLevel::Leader),
        "stale" => Ok(ReadLevel::Stale),
        _ => Err(Error::bad_request("'level' must be 'linearizable', 'leader' or 'stale'")),
    }
}

/// What a response may be, by the `Accept` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON object.
    Json,
    /// A line of JSON for each row.
    NdJson,
    /// Comma-separated values.
    Csv,
}

impl<S: Send + Sync> FromRequestParts<S> for Form {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let accept = parts.headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
        Ok(accept.map_or(Form::Json, form_of))
    }
}

/// The first of the known forms that is named.
fn form_of(accept: &str) -> Form {
    accept
        .split(',')
        .find_map(|range| match range.split(';').next().unwrap_or_default().trim() {
            "application/x-ndjson" => Some(Form::NdJson),
            "text/csv" => Some(Form::Csv),
            "application/json" | "*/*" => Some(Form::Json),
            _ => None,
        })
        .unwrap_or(Form::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query {
            parameters: parse_parameters(&format!("/?{text}").parse().unwrap()).unwrap(),
            ..Query::default()
        }
    }

    #[test]
    fn levels_come_from_the_body_or_the_query_string() {
        let level =
            |query: &Query, body| query.options(&mut Fields::of(body).unwrap()).map(|options| options.level);
        assert_eq!(level(&query(""), serde_json::json!({})), Ok(ReadLevel::Linearizable));
        assert_eq!(level(&query("level=stale"), serde_json::json!({})), Ok(ReadLevel::Stale));
        assert_eq!(
            level(&query("level=stale"), serde_json::json!({"level": "leader"})),
            Ok(ReadLevel::Leader)
        );
        assert!(level(&query("level=none"), serde_json::json!({})).is_err());
        assert!(level(&query("timeout_ms=0"), serde_json::json!({})).is_err());
    }

    #[test]
    fn a_bound_on_staleness_is_kept_and_checked() {
        let level = |query: &Query, body| {
            let options = query.options(&mut Fields::of(body).unwrap())?;
            Ok::<_, Error>((options.level, query.options_within(Duration::from_secs(1))?.level))
        };
        use ReadLevel::{Leader, Stale, StaleWithin};
        let none = serde_json::json!({});
        assert_eq!(level(&query("level=stale"), none.clone()), Ok((Stale, Stale)));
        let bounded = query("level=stale&max_staleness_ms=500");
        assert_eq!(level(&bounded, none.clone()), Ok((StaleWithin(500), StaleWithin(500))));
        assert_eq!(level(&query("level=leader&max_staleness_ms=0"), none.clone()), Ok((Leader, Leader)));
        let in_body = serde_json::json!({"level": "stale", "max_staleness_ms": 500});
        assert_eq!(level(&query(""), in_body).map(|(level, _)| level), Ok(StaleWithin(500)));
        for bad in ["-1", "1.5", "x", "", "86400001"] {
            assert!(level(&query(&format!("max_staleness_ms={bad}")), none.clone()).is_err(), "{bad}");
        }
        assert!(level(&query(""), serde_json::json!({"max_staleness_ms": "5"})).is_err());
    }

    #[test]
    fn the_accept_header_chooses_the_form() {
        assert_eq!(form_of("application/x-ndjson"), Form::NdJson);
        assert_eq!(form_of("text/html, text/csv;q=0.9"), Form::Csv);
        assert_eq!(form_of("*/*"), Form::Json);
        assert_eq!(form_of("image/png"), Form::Json);
    }

    #[test]
    fn a_parameter_is_named_once() {
        assert!(parse_parameters(&"/?a=1&a=2".parse().unwrap()).is_err());
    }

    #[test]
    fn a_query_string_is_utf8() {
        let q = |text: &str| {
            parse_parameters(&format!("/?q={text}").parse().unwrap()).map(|all| all["q"].clone())
        };
        assert_eq!(q("%C3%A9+%25%zz%2").unwrap(), "é %%zz%2");
        for text in ["%FF", "%C3", "a%C3%28"] {
            assert_eq!(q(text).unwrap_err().code, common::ErrorCode::BadRequest, "{text}");
        }
    }
}
