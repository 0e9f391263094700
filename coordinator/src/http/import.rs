//! `POST /databases/{db}/import`: any number of rows or documents, in atomic batches.
//!
//! Three things go on at once: the body arrives, a thread of its own reads rows out of it, and the batch
//! before is written. Batches are written one after the other, so that what was imported when a line turns
//! out bad is everything before it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use bytes::Bytes;
use common::idempotency::{IdempotencyKey, KeyedRequest};
use common::names::check_database_name;
use common::{Error, ErrorCode, Outcome, Result};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::json;
use tokio::sync::mpsc;

use super::answer::success_seen;
use super::app::{App, moment};
use super::body::next_piece;
use super::failure::{Answer, Failure};
use super::import_batches::{BadInput, Batch, Content, Format, Source, read_batches};
use super::once::{self, Attempt, Done};
use super::request::{Query, Segments};
use crate::gateway::{Bookmark, Once, RequestOptions, Session};

/// Pieces of the body that may wait for the reader.
const PIECES_MAX: usize = 16;
/// Batches that may wait to be written.
const BATCHES_MAX: usize = 2;
/// How long one batch may take, elections included.
const BATCH_TIME: Duration = Duration::from_secs(30);
/// How often a batch is tried that was not applied for reasons that pass.
const ATTEMPTS: u32 = 4;

/// Imports rows into a table or documents into a collection.
#[utoipa::path(post, path = "/databases/{db}/import", tag = "Import and export",
    params(("db" = String, Path), ("table" = Option<String>, Query), ("collection" = Option<String>, Query),
        ("format" = Option<String>, Query, description = "csv or ndjson"),
        ("null" = Option<String>, Query, description = "The CSV text that means NULL")),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, description = "`{\"rows\":n}`")))]
pub async fn post(
    State(app): State<App>,
    Segments(database): Segments<String>,
    query: Query,
    request: Request,
) -> Answer {
    let key = once::key_of(request.headers())?;
    check_database_name("database", &database)?;
    let target = target(&query)?;
    let source = Source {
        format: format(&query, request.headers())?,
        null: query.text("null").map(str::to_owned),
        into_collection: matches!(target, Target::Collection(_)),
    };
    let import = Import { app: &app, database: &database, target: &target, query: &query, key };
    let mut bookmark = import.check_target().await?;
    let mut batches = start_reading(request.into_body(), source);
    let mut rows = 0;
    let mut number = 0;
    while let Some(batch) = batches.recv().await {
        let batch = batch.map_err(|bad| failed(rows, bad.line, bad.error))?;
        let (written, seen) = import
            .write(number, &batch)
            .await
            .map_err(|error| failed(rows, batch.first_line, in_lines(&batch, error)))?;
        number += 1;
        rows += written;
        bookmark = seen;
    }
    Ok(success_seen(json!({ "rows": rows }), &bookmark))
}

/// What is imported into, and what is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A table.
    Table(String),
    /// A collection.
    Collection(String),
}

/// `table=` or `collection=`.
pub fn target(query: &Query) -> Result<Target> {
    match (query.text("table"), query.text("collection")) {
        (Some(table), None) => Ok(Target::Table(table.to_owned())),
        (None, Some(collection)) => {
            check_database_name("collection", collection)?;
            Ok(Target::Collection(collection.to_owned()))
        }
        _ => Err(Error::bad_request("name either 'table' or 'collection' in the query string")),
    }
}

/// `format=`, else what the Content-Type says.
pub fn format(query: &Query, headers: &HeaderMap) -> Result<Format> {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match (query.text("format"), declared.split(';').next().unwrap_or_default().trim()) {
        (Some("csv"), _) | (None, "text/csv") => Ok(Format::Csv),
        (Some("ndjson"), _) | (None, "application/x-ndjson") => Ok(Format::NdJson),
        _ => Err(Error::bad_request("'format' must be 'csv' or 'ndjson'")),
    }
}

struct Import<'a> {
    app: &'a App,
    database: &'a str,
    target: &'a Target,
    query: &'a Query,
    /// The request's idempotency key, of which each batch has a part.
    key: Option<IdempotencyKey>,
}

impl Import<'_> {
    fn options(&self) -> Result<RequestOptions> {
        let options = self.query.options_within(BATCH_TIME)?;
        if options.transaction.is_some() {
            return Err(Error::not_supported(
                "an import is no part of a transaction",
                "insert rows with statements of the transaction, or import without it",
            ));
        }
        Ok(options)
    }

    /// An import into nothing fails before it has read a body of any size.
    async fn check_target(&self) -> Result<Bookmark> {
        let check = |session: Arc<Session>| async move { check_target(&session, self.target, true) };
        self.app.gateway.run(self.database, &self.options()?, check).await.map(|((), bookmark)| bookmark)
    }

    async fn write(&self, number: usize, batch: &Batch) -> Result<(u64, Bookmark)> {
        let mut attempt = 1;
        loop {
            let written = match &self.key {
                None => self.write_once(batch, None).await,
                Some(key) => self.write_with_key(key.part(number), batch).await,
            };
            match written {
                Err(error)
                    if error.code.retryable()
                        && error.outcome == Outcome::NotApplied
                        && attempt < ATTEMPTS =>
                {
                    tracing::debug!(%error, attempt, "a batch of an import is tried again");
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// Writes a batch, or finds that it was written before.
    async fn write_with_key(&self, key: IdempotencyKey, batch: &Batch) -> Result<(u64, Bookmark)> {
        let request = KeyedRequest { key, digest: batch.digest(self.query.target()) };
        let attempt = |once| async move {
            let (rows, bookmark) = self.write_once(batch, Some(once)).await?;
            Ok(Attempt::Answered((rows, bookmark), Bytes::from(rows.to_string())))
        };
        match once::run_once(self.app, self.database, &request, attempt).await {
            Ok(Done::Now(written)) => Ok(written),
            Ok(Done::Before(kept)) => {
                let rows = std::str::from_utf8(&kept).ok().and_then(|rows| rows.parse().ok());
                let rows = rows.ok_or_else(|| Error::internal("a kept number of rows is none"))?;
                Ok((rows, Bookmark::default()))
            }
            Err(failure) => Err(failure.error),
        }
    }

    async fn write_once(&self, batch: &Batch, once: Option<Arc<Once>>) -> Result<(u64, Bookmark)> {
        let options = RequestOptions { once, ..self.options()? };
        let write = |session: Arc<Session>| async move {
            let (planner, access) = (&session.planner, &session.access);
            match (&batch.content, self.target) {
                (Content::Rows { columns, rows }, Target::Table(table)) => {
                    query::rows::insert(planner, access, table, columns, rows.clone()).await
                }
                (Content::Documents(documents), Target::Collection(collection)) => {
                    let ids =
                        query::documents::insert(planner, access, collection, documents.clone(), moment());
                    Ok(ids.await?.len() as u64)
                }
                _ => Err(Error::internal("rows are read for tables and documents for collections")),
            }
        };
        self.app.gateway.run(self.database, &options, write).await
    }
}

/// Refuses a table or a collection that is not there; a collection may come to be.
pub fn check_target(session: &Session, target: &Target, may_make: bool) -> Result<()> {
    let schema = &session.planner.database().schema;
    match target {
        Target::Table(table) if schema.table(table).is_none() => {
            Err(Error::new(ErrorCode::TableNotFound, format!("Table '{table}' not found")))
        }
        Target::Collection(collection) if !may_make && schema.table(collection).is_none() => {
            Err(Error::new(ErrorCode::CollectionNotFound, format!("Collection '{collection}' not found")))
        }
        _ => Ok(()),
    }
}

/// Starts to receive the body and to read it; batches come out. Both end when nobody takes batches any more.
fn start_reading(mut body: Body, source: Source) -> mpsc::Receiver<Result<Batch, BadInput>> {
    let (piece, pieces) = mpsc::channel::<Result<Bytes>>(PIECES_MAX);
    let (batch, batches) = mpsc::channel(BATCHES_MAX);
    tokio::spawn(async move {
        while let Some(next) = next_piece(&mut body).await.transpose() {
            let broken = next.is_err();
            if piece.send(next).await.is_err() || broken {
                return;
            }
        }
    });
    tokio::task::spawn_blocking(move || read_batches(pieces, &source, &batch));
    batches
}

/// The failure of an import: what was written before it stays.
fn failed(rows: u64, line: u64, error: Error) -> Failure {
    let mut error = error;
    if rows > 0 && error.outcome == Outcome::NotApplied {
        error.outcome = Outcome::Partial;
        error.applied = vec![format!("rows 1-{rows}")];
    }
    Failure { error, numbers: vec![("rows", rows), ("line", line)] }
}

/// Names the lines of a batch that a partition refused as a whole.
fn in_lines(batch: &Batch, error: Error) -> Error {
    let lines = match (batch.first_line, batch.last_line) {
        (first, last) if first == last => format!("line {first}"),
        (first, last) => format!("lines {first} to {last}"),
    };
    Error { message: format!("{lines}: {}", error.message), statement: None, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_imported_before_a_failure_is_told() {
        let first = failed(0, 1, Error::bad_request("x"));
        assert_eq!(first.error.outcome, Outcome::NotApplied);
        let later = failed(7, 9, Error::bad_request("x"));
        assert_eq!(later.error.outcome, Outcome::Partial);
        assert_eq!(later.error.applied, ["rows 1-7"]);
        assert_eq!(later.numbers, [("rows", 7), ("line", 9)]);
        let unknown = failed(7, 9, Error::bad_request("x").with_outcome(Outcome::Unknown));
        assert_eq!(unknown.error.outcome, Outcome::Unknown);
    }
}
