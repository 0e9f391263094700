//! Requests about the documents of a collection that a filter or a pipeline chooses.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::Response;
use bytes::Bytes;
use common::dependency::Dependency;
use common::{Error, Result};
use futures_util::StreamExt as _;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use query::Planner;
use query::documents::{self, DocumentStream};
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot};

use super::answer::{success_seen, success_with_text, with_bookmark, with_cache_use};
use super::app::{App, moment};
use super::body::DocumentBody;
use super::documents::check;
use super::explain::tree;
use super::failure::{Answer, Failure, write_error_fields};
use super::fields::Fields;
use super::request::{Form, Query, Segments};
use crate::gateway::{Bookmark, CacheUse, Found, Known, RequestOptions, Session};
use crate::result_cache::Question;

/// Documents that wait for a client that takes a stream.
const DOCUMENTS_WAITING: usize = 64;

/// A request with its body.
pub struct Chosen {
    pub(super) app: App,
    pub(super) database: String,
    pub(super) collection: String,
    pub(super) options: RequestOptions,
    pub(super) body: Json,
    form: Form,
}

impl FromRequest<App> for Chosen {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let Segments((database, collection)) =
            Segments::<(String, String)>::from_request_parts(&mut parts, app).await?;
        let query = Query::from_request_parts(&mut parts, app).await?;
        let form = Form::from_request_parts(&mut parts, app).await?;
        check(&database, &collection, &query)?;
        let DocumentBody(body) = DocumentBody::from_request(Request::from_parts(parts, body), app).await?;
        let mut fields = Fields::of(body)?;
        let options = query.options(&mut fields)?;
        Ok(Chosen { app: app.clone(), database, collection, options, body: fields.rest(), form })
    }
}

impl Chosen {
    /// Runs work on the collection, again if the schema has changed meanwhile.
    pub(super) async fn run<T, F>(&self, work: impl Fn(Arc<Session>) -> F) -> Result<(T, Bookmark)>
    where
        F: Future<Output = Result<T>> + Send,
    {
        self.app.gateway.run(&self.database, &self.options, work).await
    }
}

/// Whether a read answers the same whenever the documents are the same: it must not ask for time or chance.
fn is_repeatable(body: &str) -> bool {
    !["$$NOW", "$sample"].iter().any(|word| body.contains(word))
}

/// Of a pipeline: it may look into other collections.
fn anything(_: &Planner, _: &str, _: &Json) -> Vec<Dependency> {
    Vec::new()
}

/// Runs a function of [`query::documents`] on the collection of a request, with the request's body.
macro_rules! on_collection {
    ($chosen:expr, $function:path $(, $more:expr)*) => {{
        let (collection, body) = ($chosen.collection.as_str(), &$chosen.body);
        $chosen.run(|session: Arc<Session>| async move {
            $function(&session.planner, &session.access, collection, body $(, $more)*).await
        })
        .await
    }};
}
pub(super) use on_collection;

/// The same for a function that only reads, whose answer may be kept and given again. `$dependencies` says of a
/// planner, the collection and the body what the answer depends on.
macro_rules! read_collection {
    ($chosen:expr, $dependencies:expr, $function:path $(, $more:expr)*) => {{
        let (collection, body) = ($chosen.collection.as_str(), &$chosen.body);
        let text = body.to_string();
        let asked = is_repeatable(&text).then_some((collection, &text));
        let question = asked.and_then(|asked| Question::new(stringify!($function), &$chosen.database, &asked));
        let dependencies = |planner: &Planner| $dependencies(planner, collection, body);
        let asking = Known { question, dependencies };
        let work = |session: Arc<Session>| async move {
            $function(&session.planner, &session.access, collection, body $(, $more)*).await
        };
        $chosen.app.gateway.read(&$chosen.database, &$chosen.options, &asking, work).await
    }};
}

/// Documents that a filter matches.
#[utoipa::path(post, path = "/databases/{db}/collections/{collection}/find", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    request_body(content = Object, description = "`filter`, `projection`, `sort`, `skip`, `limit`"),
    responses((status = 200, description = "`{\"documents\":[…]}`; with `Accept: application/x-ndjson` a line \
        `{\"document\":…}` for each, and `{\"end\":…}`")))]
pub async fn find(chosen: Chosen) -> Answer {
    if chosen.form == Form::NdJson {
        return streamed(chosen, What::Find).await;
    }
    let Found { answer, bookmark, cache } =
        read_collection!(chosen, Planner::dependencies_of_filter, documents::find)?;
    Ok(with_cache_use(success_with_text("documents", answer.text(), &bookmark), cache))
}

/// What a pipeline makes of the documents.
#[utoipa::path(post, path = "/databases/{db}/collections/{collection}/aggregate", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    request_body(content = Object, description = "`pipeline`: a list of stages"),
    responses((status = 200, description = "`{\"documents\":[…]}`, or lines as of `find`")))]
pub async fn aggregate(chosen: Chosen) -> Answer {
    if chosen.form == Form::NdJson {
        return streamed(chosen, What::Aggregate).await;
    }
    let moment = moment();
    let Found { answer, bookmark, cache } = read_collection!(chosen, anything, documents::aggregate, moment)?;
    Ok(with_cache_use(success_with_text("documents", answer.text(), &bookmark), cache))
}

/// How many documents a filter matches.
#[utoipa::path(post, path = "/databases/{db}/collections/{collection}/count", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    request_body(content = Object, description = "`filter`"),
    responses((status = 200, description = "`{\"count\":…}`")))]
pub async fn count(chosen: Chosen) -> Answer {
    let Found { answer, bookmark, cache } =
        read_collection!(chosen, Planner::dependencies_of_filter, documents::count)?;
    Ok(with_cache_use(success_seen(json!({ "count": *answer }), &bookmark), cache))
}

/// The different values of a field.
#[utoipa::path(post, path = "/databases/{db}/collections/{collection}/distinct", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    request_body(content = Object, description = "`field`*, `filter`"),
    responses((status = 200, description = "`{\"values\":[…]}` in their order")))]
pub async fn distinct(chosen: Chosen) -> Answer {
    let Found { answer, bookmark, cache } =
        read_collection!(chosen, Planner::dependencies_of_filter, documents::distinct)?;
    Ok(with_cache_use(success_seen(json!({ "values": *answer }), &bookmark), cache))
}

/// Changes documents that a filter matches.
#[utoipa::path(post, path = "/databases/{db}/collections/{collection}/update", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    request_body(content = Object, description = "`filter`, `update`*, `multi` (true), `upsert` (false), `arrayFilters`"),
    responses((status = 200, description = "`{\"matched\":…,\"modified\":…,\"upserted_id\":…}`")))]
pub async fn update(chosen: Chosen) -> Answer {
    let moment = moment();
    let (updated, bookmark) = on_collection!(chosen, documents::update, moment)?;
    let answer = json!({
        "matched": updated.matched,
        "modified": updated.modified,
        "upserted_id": updated.upserted_id,
    });
    Ok(success_seen(answer, &bookmark))
}

/// Deletes documents that a filter matches.
#[utoipa::path(post, path = "/databases/{db}/collections/{collection}/delete", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    request_body(content = Object, description = "`filter`, `multi` (true)"),
    responses((status = 200, description = "`{\"deleted\":…}`")))]
pub async fn delete_many(chosen: Chosen) -> Answer {
    let (deleted, bookmark) = on_collection!(chosen, documents::delete_many)?;
    Ok(success_seen(json!({ "deleted": deleted }), &bookmark))
}

/// Several writes in one request.
#[utoipa::path(post, path = "/databases/{db}/collections/{collection}/bulk", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    request_body(content = Object, description = "`operations`*: `insertOne`, `updateOne`, `updateMany`, `replaceOne`, \
        `deleteOne`, `deleteMany`; `ordered` (true): the first that fails ends it; `atomic` (false): all or none"),
    responses((status = 200, description = "Counts, `results` in order, and `errors` with the index of each")))]
pub async fn bulk(chosen: Chosen) -> Answer {
    let moment = moment();
    let (answer, bookmark) = on_collection!(chosen, documents::bulk, moment)?;
    Ok(success_seen(answer, &bookmark))
}

/// Tells how a search is run, and which indexes are used.
#[utoipa::path(post, path = "/databases/{db}/collections/{collection}/explain", tag = "Documents",
    params(("db" = String, Path), ("collection" = String, Path)),
    request_body(content = Object, description = "`find` or `aggregate`, as these routes take them"),
    responses((status = 200, description = "The plan as a tree, as of `POST /databases/{db}/explain`")))]
pub async fn explain(chosen: Chosen) -> Answer {
    let (collection, body) = (chosen.collection.as_str(), &chosen.body);
    let explained = chosen.run(|session: Arc<Session>| async move {
        let plan = documents::explain(&session.planner, &session.access, collection, body).await?;
        Ok((plan, session.planner.database().clone()))
    });
    let ((plan, database), bookmark) = explained.await?;
    Ok(success_seen(tree(&plan, &database, &chosen.app.catalog.view()), &bookmark))
}

/// What is streamed.
#[derive(Clone, Copy)]
enum What {
    Find,
    Aggregate,
}

/// The answer as lines of JSON. Until the first document is there, an error is this request's; after that it is the
/// last line.
async fn streamed(mut chosen: Chosen, what: What) -> Answer {
    chosen.options.streams = true;
    let moment = moment();
    let (collection, body) = (Arc::new(chosen.collection.clone()), Arc::new(chosen.body.clone()));
    let started = chosen.run(|session: Arc<Session>| {
        let (collection, body) = (collection.clone(), body.clone());
        async move {
            let (begin, begun) = oneshot::channel();
            let (sender, receiver) = mpsc::channel(DOCUMENTS_WAITING);
            tokio::spawn(async move {
                let (planner, access) = (&session.planner, &session.access);
                let opened = match what {
                    What::Find => documents::find_stream(planner, access, &collection, &body).await,
                    What::Aggregate => {
                        documents::aggregate_stream(planner, access, &collection, &body, moment).await
                    }
                };
                match opened {
                    Ok(stream) => {
                        // Where nobody waits any more, sending the documents fails as well.
                        let _ = begin.send(Ok(()));
                        send(stream, sender).await;
                    }
                    Err(error) => drop(begin.send(Err(error))),
                }
            });
            begun.await.map_err(|_| Error::internal("a search ended without an answer"))??;
            Ok(receiver)
        }
    });
    let (receiver, bookmark) = started.await?;
    let lines = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let line: Bytes = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(line), receiver))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(with_cache_use(with_bookmark(response, &bookmark.text()), CacheUse::Bypass))
}

/// Sends a line for each document, until they end or nobody takes them.
async fn send(mut documents: DocumentStream<'_>, lines: mpsc::Sender<Bytes>) {
    let mut count = 0_u64;
    while let Some(document) = documents.next().await {
        let line = match document {
            Ok(document) => {
                count += 1;
                format!("{{\"document\":{document}}}\n").into_bytes()
            }
            Err(error) => {
                let mut out = b"{".to_vec();
                write_error_fields(&mut out, &error);
                out.extend_from_slice(b"}\n");
                // The line with the error is the last one, whether it is taken or not.
                let _ = lines.send(out.into()).await;
                return;
            }
        };
        if lines.send(line.into()).await.is_err() {
            return;
        }
    }
    // A client that has gone needs no end.
    let _ = lines.send(format!("{{\"end\":{{\"documents\":{count}}}}}\n").into_bytes().into()).await;
}
