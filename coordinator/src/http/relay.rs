//! Requests of a transaction go to the coordinator that began it: it alone knows what the transaction has done.
//!
//! The transaction's name tells whose it is. It stands in the path, in the query string or in the body, which is
//! looked at only where there are several coordinators.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use common::limits::{DOCUMENT_BODY_MAX, STATEMENT_TIMEOUT_MS_MAX};
use common::protocol::{CoordinatorReply, CoordinatorRequest, Relayed, Relaying, Reply, decode, encode};
use common::{Error, ErrorCode, Outcome, ReplicaId, Result};
use futures_util::future::join_all;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use polylite_client::peer::PeerError;
use serde_json::Value as Json;

use super::app::App;
use super::failure::Failure;
use super::router::Routes;
use crate::gateway::is_transaction_name;

/// Longest time that another coordinator may take.
const PATIENCE: Duration = Duration::from_millis(STATEMENT_TIMEOUT_MS_MAX + 5_000);

/// How long other coordinators are waited for where what they say is only added.
const LISTING_PATIENCE: Duration = Duration::from_secs(3);

/// Whether a request may belong to a transaction that another coordinator has begun.
pub(super) fn may_be_anothers(app: &App, request: &Request) -> bool {
    let is_alone = app.catalog.view().coordinators.len() < 2;
    let is_passed_on = request.extensions().get::<PassedOn>().is_some();
    !is_alone && !is_passed_on && may_belong(request.uri().path())
}

/// Answers a request here, or has the coordinator answer it whose transaction it belongs to.
pub(super) async fn by_owner(app: &App, routes: &Routes, request: Request) -> Response {
    let here = app.catalog.replica();
    let (parts, body) = request.into_parts();
    let (transaction, body) = match name(&parts, body).await {
        Ok(found) => found,
        Err(error) => return Failure::from(error).into_response(),
    };
    match transaction.as_deref().and_then(owner).filter(|owner| *owner != here) {
        None => routes.answer_here(Request::from_parts(parts, body)).await,
        Some(owner) => match relay(app, owner, parts, body).await {
            Ok(Relay::Answered(response)) => response,
            // What became of its commit can be learnt by anybody.
            Ok(Relay::OwnerGone(request)) => routes.answer_here(request).await,
            Err(error) => Failure::from(error).into_response(),
        },
    }
}

/// What became of a request that was passed on.
enum Relay {
    Answered(Response),
    /// The coordinator of the transaction cannot be reached.
    OwnerGone(Request),
}

/// Marks a request that another coordinator has passed on: it is answered here.
#[derive(Clone, Copy, Debug)]
pub(super) struct PassedOn;

/// What the other coordinators answer to a GET; those that are not there have nothing to say.
pub(super) async fn ask_others(app: &App, uri: &str) -> Vec<Json> {
    let here = app.catalog.replica();
    let others = app.catalog.coordinator_addresses().into_iter().filter(|(other, _)| *other != here);
    let asked = others.map(|(_, address)| async move {
        let (method, uri) = (Method::GET.to_string(), uri.to_owned());
        let relaying = Relaying { method, uri, headers: Vec::new(), body: Bytes::new() };
        let payload = encode(&CoordinatorRequest::Relay(relaying).marked());
        let reply = app.gateway.peers().call(&address, payload, LISTING_PATIENCE).await.ok()?;
        match decode::<Reply<CoordinatorReply>>(&reply).ok()?.ok()? {
            CoordinatorReply::Relayed(relayed) if relayed.status == 200 => {
                serde_json::from_slice(&relayed.body).ok()
            }
            _ => None,
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Whether a route may name a transaction. Imports have bodies of any size, and name none.
fn may_belong(path: &str) -> bool {
    let prefixes = ["/databases/", "/query/", "/transactions/"];
    prefixes.iter().any(|prefix| path.starts_with(prefix)) && !path.ends_with("/import")
}

/// The coordinator that a transaction's name begins with.
fn owner(transaction: &str) -> Option<ReplicaId> {
    transaction.split_once('-')?.0.parse().ok().map(ReplicaId)
}

/// The transaction that a request names, and its body, which may have been read.
async fn name(parts: &Parts, body: Body) -> Result<(Option<String>, Body)> {
    // A body of unknown or excessive length is left to the route, which reads it as it should.
    let length = http_body::Body::size_hint(&body).upper();
    if length.is_none_or(|length| length == 0 || length > DOCUMENT_BODY_MAX as u64) {
        return Ok((transaction_of(parts, &[]), body));
    }
    let bytes = body.collect().await.map_err(|_| Error::bad_request("the body broke off"))?.to_bytes();
    Ok((transaction_of(parts, &bytes), Body::from(bytes)))
}

/// The transaction that a request names in its path, its query string or its body.
pub(super) fn transaction_of(parts: &Parts, body: &[u8]) -> Option<String> {
    let segments: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
    if let ["transactions", id] | ["databases", _, "transactions", id, _] = segments.as_slice() {
        return Some((*id).to_owned());
    }
    let mut pairs = parts.uri.query().unwrap_or_default().split('&');
    if let Some(id) = pairs.find_map(|pair| pair.strip_prefix("transaction=")) {
        return Some(id.to_owned());
    }
    if !body.windows(NAME.len()).any(|window| window == NAME) {
        return None;
    }
    let object: Json = serde_json::from_slice(body).ok()?;
    // A document may have a field of this name, which says something else.
    object.get("transaction")?.as_str().filter(|text| is_transaction_name(text)).map(str::to_owned)
}

const NAME: &[u8] = b"\"transaction\"";

async fn relay(app: &App, owner: ReplicaId, parts: Parts, body: Body) -> Result<Relay> {
    let body = body.collect().await.map_err(|_| Error::bad_request("the body broke off"))?.to_bytes();
    let commits = parts.uri.path().ends_with("/commit")
        || body.windows(6).any(|word| word.eq_ignore_ascii_case(b"commit"));
    let Some(address) = app.catalog.coordinator_addresses().remove(&owner) else {
        return Ok(Relay::OwnerGone(Request::from_parts(parts, Body::from(body))));
    };
    let relaying = Relaying {
        method: parts.method.as_str().to_owned(),
        uri: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: headers_to_send(&parts.headers),
        body: body.clone(),
    };
    let payload = encode(&CoordinatorRequest::Relay(relaying).marked());
    let lost = if commits { Outcome::Unknown } else { Outcome::NotApplied };
    match app.gateway.peers().call(&address, payload, PATIENCE).await {
        Ok(reply) => match decode::<Reply<CoordinatorReply>>(&reply)?? {
            CoordinatorReply::Relayed(relayed) => response(relayed).map(Relay::Answered),
            _ => Err(Error::internal("a coordinator sent a reply of another kind").with_outcome(lost)),
        },
        Err(PeerError::Unreachable(_) | PeerError::Lost) => {
            Ok(Relay::OwnerGone(Request::from_parts(parts, Body::from(body))))
        }
        Err(PeerError::Timeout) => {
            let text = "the coordinator of the transaction did not answer in time";
            Err(Error::new(ErrorCode::Timeout, text).with_outcome(lost))
        }
        Err(error) => Err(error.of_write().with_outcome(lost)),
    }
}

fn headers_to_send(headers: &HeaderMap) -> Vec<(String, Bytes)> {
    let connection = ["connection", "content-length", "transfer-encoding", "upgrade", "host"];
    headers
        .iter()
        .filter(|(name, _)| !connection.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes())))
        .collect()
}

fn response(relayed: Relayed) -> Result<Response> {
    let malformed = || Error::internal("a coordinator relayed a malformed answer");
    let mut response = Response::new(Body::from(relayed.body));
    *response.status_mut() = StatusCode::from_u16(relayed.status).map_err(|_| malformed())?;
    for (name, value) in relayed.headers {
        let name: HeaderName = name.parse().map_err(|_| malformed())?;
        response.headers_mut().append(name, HeaderValue::from_bytes(&value).map_err(|_| malformed())?);
    }
    Ok(response)
}

/// Answers a request that another coordinator has passed on.
pub(crate) async fn answer(routes: Routes, relaying: Relaying) -> Result<Relayed> {
    let malformed = |_| Error::bad_request("the request that was passed on is malformed");
    let method = Method::from_bytes(relaying.method.as_bytes()).map_err(|_| malformed(()))?;
    let mut request = http::Request::builder().method(method).uri(relaying.uri);
    for (name, value) in relaying.headers {
        request = request.header(name, value.as_ref());
    }
    let mut request = request.body(Body::from(relaying.body)).map_err(|_| malformed(()))?;
    request.extensions_mut().insert(PassedOn);
    let mut response = routes.answer(request).await;
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        return Err(failure.error);
    }
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| Error::internal(error.to_string()))?.to_bytes();
    Ok(Relayed { status: parts.status.as_u16(), headers: headers_to_send(&parts.headers), body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_document_is_no_transaction_unless_it_is_named_like_one() {
        let (parts, ()) = http::Request::new(()).into_parts();
        let name = "3-0123456789abcdef0123456789abcdef";
        let body = format!(r#"{{"a": 1, "transaction": "{name}"}}"#);
        assert_eq!(transaction_of(&parts, body.as_bytes()).as_deref(), Some(name));
        assert_eq!(owner(name), Some(ReplicaId(3)));
        for other in ["3-7", "2026-11-21", "transfer", ""] {
            let body = format!(r#"{{"a": 1, "transaction": "{other}"}}"#);
            assert_eq!(transaction_of(&parts, body.as_bytes()), None, "{other}");
        }
    }
}
