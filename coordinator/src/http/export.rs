//! `GET /databases/{db}/export`: all rows of a table, or documents of a collection.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use common::limits::STATEMENT_TIMEOUT_MS_MAX;
use common::names::check_database_name;
use http::HeaderMap;

use super::answer::with_bookmark;
use super::app::App;
use super::document_csv::Members;
use super::failure::Answer;
use super::import::{Target, check_target, format, target};
use super::import_batches::Format;
use super::request::{Query, Segments};
use super::row_stream::{Encoder, NdJson, respond};
use crate::gateway::{RequestOptions, Session};

/// Exports a table or a collection.
#[utoipa::path(get, path = "/databases/{db}/export", tag = "Import and export",
    params(("db" = String, Path), ("table" = Option<String>, Query), ("collection" = Option<String>, Query),
        ("format" = Option<String>, Query, description = "csv or ndjson")),
    responses((status = 200, description = "The rows", content_type = "text/csv")))]
pub async fn get(State(app): State<App>, Segments(database): Segments<String>, query: Query) -> Answer {
    check_database_name("database", &database)?;
    let target = &target(&query)?;
    let format = format(&query, &HeaderMap::new())?;
    let options = query.options_within(Duration::from_millis(STATEMENT_TIMEOUT_MS_MAX))?;
    let options = RequestOptions { streams: true, ..options };
    let export = |session: Arc<Session>| async move {
        check_target(&session, target, false)?;
        let (Target::Table(name) | Target::Collection(name)) = target;
        let (planner, access) = (&session.planner, &session.access);
        // The line of names comes first, so the documents are read through for it once more.
        let members = match (format, target) {
            (Format::Csv, Target::Collection(_)) => {
                Members::of(query::rows::export(planner, access, name).await?).await?
            }
            _ => Members::default(),
        };
        let rows = query::rows::export(planner, access, name).await?;
        Ok((rows, members, session))
    };
    let ((rows, members, session), bookmark) = app.gateway.run(&database, &options, export).await?;
    let encoder = match (format, target) {
        (Format::Csv, Target::Table(_)) => Encoder::csv(&rows),
        (Format::Csv, Target::Collection(_)) => Encoder::DocumentsCsv(members),
        (Format::NdJson, Target::Table(_)) => Encoder::ndjson(&rows, NdJson::Objects),
        (Format::NdJson, Target::Collection(_)) => Encoder::ndjson(&rows, NdJson::Documents),
    };
    Ok(with_bookmark(respond(rows, encoder, session), &bookmark.text()))
}
