//! Transactions over several requests: begin, commit, roll back, list.

use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::extract::State;
use common::names::check_database_name;
use common::{Error, Result};
use serde_json::{Value as Json, json};

use super::answer::{success, success_seen};
use super::app::App;
use super::body::OptionalFields;
use super::failure::Answer;
use super::fields::Fields;
use super::relay::{self, PassedOn};
use super::request::{Query, Segments};
use crate::gateway::{OpenTransaction, TransactionOptions};

const IDLE_MS: u64 = 10_000;
const IDLE_MS_MAX: u64 = 600_000;
const DURATION_MS: u64 = 60_000;
const DURATION_MS_MAX: u64 = 3_600_000;

/// Begins a transaction.
#[utoipa::path(post, path = "/databases/{db}/transactions", tag = "Transactions",
    params(("db" = String, Path)),
    request_body(content = Object, description = "`read_only` (false), `mode` (`optimistic` or `pessimistic`), \
        `idle_timeout_ms` (10000), `max_duration_ms` (60000)"),
    responses((status = 200, description = "`{\"transaction\":\"…\",\"expires_at\":…}`")))]
pub async fn begin(
    State(app): State<App>,
    Segments(database): Segments<String>,
    query: Query,
    OptionalFields(mut body): OptionalFields,
) -> Answer {
    check_database_name("database", &database)?;
    let transaction = read_options(&mut body)?;
    let options = query.options(&mut body)?;
    body.done()?;
    let begun = app.gateway.begin_transaction(&database, transaction, &options).await?;
    Ok(success(json!({ "transaction": begun.id, "expires_at": time(begun.expires) })))
}

fn read_options(body: &mut Fields) -> Result<TransactionOptions> {
    let pessimistic = match body.text("mode")?.as_deref() {
        None | Some("optimistic") => false,
        Some("pessimistic") => true,
        Some(_) => return Err(Error::bad_request("'mode' must be 'optimistic' or 'pessimistic'")),
    };
    let idle = body.whole("idle_timeout_ms", 1, IDLE_MS_MAX)?.unwrap_or(IDLE_MS);
    let longest = body.whole("max_duration_ms", 1, DURATION_MS_MAX)?.unwrap_or(DURATION_MS);
    Ok(TransactionOptions {
        read_only: body.flag("read_only")?.unwrap_or(false),
        pessimistic,
        idle: Duration::from_millis(idle),
        longest: Duration::from_millis(longest),
    })
}

/// Commits a transaction. A second time it answers what the first one did.
#[utoipa::path(post, path = "/databases/{db}/transactions/{id}/commit", tag = "Transactions",
    params(("db" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "All of it is applied"),
        (status = 409, description = "`serialization_failure`: nothing of it is"),
        (status = 410, description = "`transaction_gone`")))]
pub async fn commit(
    State(app): State<App>,
    Segments((database, id)): Segments<(String, String)>,
    query: Query,
) -> Answer {
    let options = query.options(&mut Fields::default())?;
    let bookmark = app.gateway.commit_transaction(&id, &database, &options).await?;
    Ok(success_seen(json!({ "transaction": id, "state": "committed" }), &bookmark))
}

/// Rolls a transaction back.
#[utoipa::path(post, path = "/databases/{db}/transactions/{id}/rollback", tag = "Transactions",
    params(("db" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "Nothing of it is applied"),
        (status = 410, description = "`transaction_gone`")))]
pub async fn roll_back(
    State(app): State<App>,
    Segments((database, id)): Segments<(String, String)>,
    query: Query,
) -> Answer {
    let options = query.options(&mut Fields::default())?;
    app.gateway.roll_back_transaction(&id, Some(&database), &options).await?;
    Ok(success(json!({ "transaction": id, "state": "rolled_back" })))
}

/// The open transactions of all coordinators that answer, oldest first.
#[utoipa::path(get, path = "/transactions", tag = "Transactions",
    responses((status = 200, description = "`{\"transactions\":[{\"transaction\",\"database\",\"read_only\",\
        \"began_at\",\"expires_at\",\"requests\"}]}`")))]
pub async fn list(State(app): State<App>, passed_on: Option<Extension<PassedOn>>) -> Answer {
    let mut open: Vec<Json> = app.gateway.open_transactions().into_iter().map(shown).collect();
    if passed_on.is_none() {
        for mut answer in relay::ask_others(&app, "/transactions").await {
            if let Some(Json::Array(others)) = answer.get_mut("transactions").map(Json::take) {
                open.extend(others);
            }
        }
    }
    open.sort_by_cached_key(|transaction| {
        transaction["began_at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok())
    });
    Ok(success(json!({ "transactions": open })))
}

/// Rolls a transaction back, whoever has begun it.
#[utoipa::path(delete, path = "/transactions/{id}", tag = "Transactions", params(("id" = String, Path)),
    responses((status = 200, description = "Nothing of it is applied"),
        (status = 410, description = "`transaction_gone`")))]
pub async fn abort(State(app): State<App>, Segments(id): Segments<String>, query: Query) -> Answer {
    let options = query.options(&mut Fields::default())?;
    app.gateway.roll_back_transaction(&id, None, &options).await?;
    Ok(success(json!({ "transaction": id, "state": "rolled_back" })))
}

fn time(at: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(at).ok().map(|at| at.to_string())
}

fn shown(transaction: OpenTransaction) -> Json {
    json!({
        "transaction": transaction.id,
        "database": transaction.database,
        "read_only": transaction.read_only,
        "began_at": time(transaction.began),
        "expires_at": time(transaction.expires),
        "requests": transaction.requests,
    })
}
