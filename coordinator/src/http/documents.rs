//! Documents of a collection.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use common::names::check_database_name;
use common::{Error, ErrorCode, Result};
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue};
use query::Planner;
use query::documents::{self, Document, Precondition};
use serde_json::{Map, Value as Json, json};

use super::answer::{success_seen, success_with_text, with_cache_use};
use super::app::{App, moment};
use super::body::{DocumentBody, OptionalFields};
use super::failure::Answer;
use super::fields::{Fields, wrong_type};
use super::request::{Query, Segments};
use crate::gateway::{Bookmark, Found, Known, RequestOptions, Session, is_transaction_name};
use crate::result_cache::Question;

/// Checks what every request to a collection has in common.
pub(super) fn check(database: &str, collection: &str, query: &Query) -> Result<RequestOptions> {
    check_database_name("database", database)?;
    check_database_name("collection", collection)?;
    query.options(&mut Fields::default())
}

/// Inserts a document, or several: all or none.
#[utoipa::path(post, path = "/databases/{db}/collections/{collection}/documents", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    request_body(content = Object, description = "A document, or `{\"documents\":[…]}`"),
    responses((status = 200, description = "`{\"id\":…}` or `{\"ids\":[…]}`")))]
pub async fn insert(
    State(app): State<App>,
    Segments((database, collection)): Segments<(String, String)>,
    query: Query,
    DocumentBody(body): DocumentBody,
) -> Answer {
    let mut options = check(&database, &collection, &query)?;
    let (list, is_list, transaction) = documents_of(body)?;
    options.transaction = transaction.or(options.transaction);
    let (list, collection, moment) = (&list, collection.as_str(), moment());
    let insert = |session: Arc<Session>| async move {
        documents::insert(&session.planner, &session.access, collection, list.clone(), moment).await
    };
    let (ids, bookmark) = app.gateway.run(&database, &options, insert).await?;
    let answer = match ids.as_slice() {
        [id] if !is_list => json!({ "id": id }),
        _ => json!({ "ids": ids }),
    };
    Ok(success_seen(answer, &bookmark))
}

/// The documents of a body, whether they came as a list, and the transaction that is named beside a list.
fn documents_of(body: Json) -> Result<(Vec<Json>, bool, Option<String>)> {
    let Json::Object(mut map) = body else { return Err(wrong_type("document", "an object", &body)) };
    let named = map.get("transaction").and_then(Json::as_str).map(str::to_owned);
    if map.contains_key("documents") && map.len() == 1 + usize::from(named.is_some()) {
        return match map.remove("documents") {
            Some(Json::Array(list)) => match list.iter().find(|document| !document.is_object()) {
                None => Ok((list, true, named)),
                Some(other) => Err(wrong_type("documents", "a list of objects", other)),
            },
            other => Err(wrong_type("documents", "a list", &other.unwrap_or_default())),
        };
    }
    let named = named_within(&mut map);
    Ok((vec![Json::Object(map)], false, named))
}

/// Takes the transaction out of a body that is itself a document or a patch. It is one by the form of its name; any
/// other value of this field is a part of the document.
fn named_within(document: &mut Map<String, Json>) -> Option<String> {
    let name = document.get("transaction")?.as_str().filter(|text| is_transaction_name(text))?.to_owned();
    document.shift_remove("transaction");
    Some(name)
}

/// A document by its id.
#[utoipa::path(get, path = "/databases/{db}/collections/{collection}/documents/{id}", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path), ("id" = String, Path, description =
        "Digits are an integer; a text of digits is quoted")),
    responses((status = 200, description = "`{\"document\":{…}}`, its version as ETag"),
        (status = 404, description = "`document_not_found`")))]
pub async fn get(
    State(app): State<App>,
    Segments((database, collection, id)): Segments<(String, String, String)>,
    query: Query,
) -> Answer {
    let options = check(&database, &collection, &query)?;
    let (collection, id) = (collection.as_str(), id.as_str());
    let get = |session: Arc<Session>| async move {
        documents::get(&session.planner, &session.access, collection, id).await
    };
    let asked = (collection, id);
    let question = Question::new("document", &database, &asked);
    let dependencies = |planner: &Planner| planner.dependencies_of_document(collection, id);
    let asking = Known { question, dependencies };
    let Found { answer, bookmark, cache } = app.gateway.read(&database, &options, &asking, get).await?;
    Ok(with_cache_use(shown(&answer, &bookmark), cache))
}

/// Replaces a document, or creates it.
#[utoipa::path(put, path = "/databases/{db}/collections/{collection}/documents/{id}", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path), ("id" = String, Path)),
    request_body(content = Object, description = "The document"),
    responses((status = 200, description = "`{\"document\":{…}}`"), (status = 412, description = "`precondition_failed`")))]
pub async fn put(
    State(app): State<App>,
    Segments((database, collection, id)): Segments<(String, String, String)>,
    query: Query,
    headers: HeaderMap,
    DocumentBody(body): DocumentBody,
) -> Answer {
    let mut options = check(&database, &collection, &query)?;
    let Json::Object(mut body) = body else { return Err(wrong_type("document", "an object", &body).into()) };
    options.transaction = named_within(&mut body).or(options.transaction);
    let body = Json::Object(body);
    let (precondition, moment) = (&precondition(&headers)?, moment());
    let (collection, id, body) = (collection.as_str(), id.as_str(), &body);
    let put = |session: Arc<Session>| async move {
        let (planner, access) = (&session.planner, &session.access);
        documents::put(planner, access, collection, id, body.clone(), precondition.clone(), moment).await
    };
    let ((document, _created), bookmark) = app.gateway.run(&database, &options, put).await?;
    Ok(shown(&document, &bookmark))
}

/// Changes a document by JSON Merge Patch, or by an update object with operators.
#[utoipa::path(patch, path = "/databases/{db}/collections/{collection}/documents/{id}", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path), ("id" = String, Path)),
    request_body(content = Object, description = "The patch"),
    responses((status = 200, description = "`{\"document\":{…}}`"), (status = 404, description = "`document_not_found`")))]
pub async fn patch(
    State(app): State<App>,
    Segments((database, collection, id)): Segments<(String, String, String)>,
    query: Query,
    headers: HeaderMap,
    DocumentBody(body): DocumentBody,
) -> Answer {
    let mut options = check(&database, &collection, &query)?;
    let Json::Object(mut body) = body else { return Err(wrong_type("patch", "an object", &body).into()) };
    options.transaction = named_within(&mut body).or(options.transaction);
    let body = Json::Object(body);
    let (precondition, moment) = (&precondition(&headers)?, moment());
    let (collection, id, body) = (collection.as_str(), id.as_str(), &body);
    let patch = |session: Arc<Session>| async move {
        let (planner, access) = (&session.planner, &session.access);
        documents::patch(planner, access, collection, id, body.clone(), precondition.clone(), moment).await
    };
    let (document, bookmark) = app.gateway.run(&database, &options, patch).await?;
    Ok(shown(&document, &bookmark))
}

/// Deletes a document.
#[utoipa::path(delete, path = "/databases/{db}/collections/{collection}/documents/{id}", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "It is gone"), (status = 404, description = "`document_not_found`")))]
pub async fn delete(
    State(app): State<App>,
    Segments((database, collection, id)): Segments<(String, String, String)>,
    query: Query,
    headers: HeaderMap,
    OptionalFields(mut body): OptionalFields,
) -> Answer {
    let mut options = check(&database, &collection, &query)?;
    options.transaction = body.text("transaction")?.or(options.transaction);
    body.done()?;
    let precondition = &precondition(&headers)?;
    let (collection, id) = (collection.as_str(), id.as_str());
    let delete = |session: Arc<Session>| async move {
        documents::delete(&session.planner, &session.access, collection, id, precondition.clone()).await
    };
    let ((), bookmark) = app.gateway.run(&database, &options, delete).await?;
    Ok(success_seen(json!({ "deleted": 1 }), &bookmark))
}

/// A document with its version as `ETag`.
fn shown(document: &Document, bookmark: &Bookmark) -> Response {
    let mut response = success_with_text("document", &document.text, bookmark);
    let tag = HeaderValue::try_from(format!("\"{}\"", document.version)).expect("a quoted number");
    response.headers_mut().insert(ETAG, tag);
    response
}

/// What `If-Match` and `If-None-Match` demand.
fn precondition(headers: &HeaderMap) -> Result<Precondition> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    match (text(IF_MATCH), text(IF_NONE_MATCH)) {
        (None, None) => Ok(Precondition::None),
        (Some("*"), None) => Ok(Precondition::Exists),
        (None, Some("*")) => Ok(Precondition::Absent),
        (Some(tags), None) => Ok(Precondition::Version(versions(tags)?)),
        (None, Some(_)) => Err(Error::bad_request("'If-None-Match' of a write must be *")),
        (Some(_), Some(_)) => Err(Error::bad_request("give either If-Match or If-None-Match, not both")),
    }
}

/// The versions that entity tags name, also without their quotes: as `_version` shows them. A tag that never was
/// ours matches nothing.
fn versions(tags: &str) -> Result<Vec<i64>> {
    let parse = |tag: &str| {
        let tag = tag.trim();
        let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
        let failed =
            || Error::new(ErrorCode::PreconditionFailed, format!("If-Match: no document has the tag {tag}"));
        number.parse().ok().ok_or_else(failed)
    };
    let (known, mut unknown): (Vec<_>, Vec<_>) = tags.split(',').map(parse).partition(Result::is_ok);
    let known: Vec<i64> = known.into_iter().filter_map(Result::ok).collect();
    match unknown.pop() {
        Some(Err(error)) if known.is_empty() => Err(error),
        _ => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_document_or_a_list_of_them() {
        assert_eq!(documents_of(json!({"a": 1})).unwrap(), (vec![json!({"a": 1})], false, None));
        assert_eq!(
            documents_of(json!({"documents": [{"a": 1}]})).unwrap(),
            (vec![json!({"a": 1})], true, None)
        );
        let within = json!({"documents": [{"a": 1}], "transaction": "x"});
        assert_eq!(documents_of(within).unwrap(), (vec![json!({"a": 1})], true, Some("x".into())));
        let named_so = json!({"documents": [1], "title": "x"});
        assert_eq!(documents_of(named_so.clone()).unwrap(), (vec![named_so], false, None));
        let (name, word) = ("1-0123456789abcdef0123456789abcdef", "of 5 euros");
        let within = documents_of(json!({"a": 1, "transaction": name})).unwrap();
        assert_eq!(within, (vec![json!({"a": 1})], false, Some(name.to_owned())));
        let its_own = json!({"a": 1, "transaction": word});
        assert_eq!(documents_of(its_own.clone()).unwrap(), (vec![its_own], false, None));
        for bad in [json!([]), json!({"documents": 5}), json!({"documents": [5]})] {
            assert!(documents_of(bad).is_err());
        }
    }

    #[test]
    fn preconditions_come_from_entity_tags() {
        let headers =
            |name, value: &str| HeaderMap::from_iter([(name, HeaderValue::try_from(value).unwrap())]);
        assert_eq!(
            precondition(&headers(IF_MATCH, "\"3\", \"5\"")).unwrap(),
            Precondition::Version(vec![3, 5])
        );
        assert_eq!(precondition(&headers(IF_MATCH, "7")).unwrap(), Precondition::Version(vec![7]));
        assert_eq!(precondition(&headers(IF_MATCH, "*")).unwrap(), Precondition::Exists);
        assert_eq!(precondition(&headers(IF_NONE_MATCH, "*")).unwrap(), Precondition::Absent);
        assert_eq!(
            precondition(&headers(IF_MATCH, "\"x\"")).unwrap_err().code,
            ErrorCode::PreconditionFailed
        );
        assert_eq!(precondition(&HeaderMap::new()).unwrap(), Precondition::None);
    }
}
