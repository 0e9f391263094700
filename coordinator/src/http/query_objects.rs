//! `POST /query/{db}`: the query objects of the reference platform.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use common::limits::RESULT_MAX;
use common::names::check_database_name;
use common::query_object::QueryObject;
use common::{Error, ErrorCode, Outcome};
use query::Planner;
use serde_json::{Map, Value as Json};

use super::answer::{success_seen, with_cache_use};
use super::app::{App, moment};
use super::body::DocumentBody;
use super::failure::Answer;
use super::fields::{Fields, missing};
use super::request::{Query, Segments};
use super::sql;
use crate::gateway::{CacheUse, Known, RequestOptions, Session};
use crate::result_cache::Question;

/// The reference client gives up after 5 s, so it must have its answer before.
const TIME_LIMIT: Duration = Duration::from_secs(4);

/// Runs a query object.
#[utoipa::path(post, path = "/query/{db}", tag = "Queries", params(("db" = String, Path)),
    request_body(content = Object, description = "`operation`* (insert, query, get, update, delete, sql) with \
        `table` or `collection` and `columns`, `values`, `document`, `id`, `where`, `order_by`, `limit`"),
    responses((status = 200, description = "`{\"success\":true,\"data\":…,\"affected_rows\":…}`")))]
pub async fn post(
    State(app): State<App>,
    Segments(database): Segments<String>,
    query: Query,
    DocumentBody(body): DocumentBody,
) -> Answer {
    check_database_name("database", &database)?;
    let mut fields = Fields::of(body)?;
    let Some(operation) = fields.text("operation")? else { return Err(missing("operation").into()) };
    if operation == "sql" {
        let options = query.options(&mut fields)?;
        return sql::as_operation(&app, &database, fields, &options, query.row_shape()?).await;
    }
    let transaction = fields.text("transaction")?;
    let options = query.options_within(TIME_LIMIT)?;
    let options = RequestOptions { transaction: transaction.or(options.transaction), ..options };
    let is_read = is_read(&operation);
    let Json::Object(mut object) = fields.rest() else { unreachable!("fields are an object") };
    object.insert("operation".to_owned(), Json::String(operation));
    let (object, moment) = (&Json::Object(object), moment());
    let run = |session: Arc<Session>| async move {
        let object = QueryObject::parse(object.clone(), session.planner.database().kind)?;
        query::objects::run(&session.planner, &session.access, object, moment).await
    };
    let text = is_read.then(|| object.to_string());
    let question = text.and_then(|text| Question::new("object", &database, &text));
    let dependencies = |planner: &Planner| planner.dependencies_of_object(object);
    let asking = Known { question, dependencies };
    let found = app.gateway.read(&database, &options, &asking, run).await?;
    let (answer, bookmark) = (found.answer, found.bookmark);
    let mut fields = Map::new();
    fields.insert("data".to_owned(), answer.data.clone().unwrap_or_default());
    if found.cache == CacheUse::Hit {
        fields.insert("cached".to_owned(), Json::Bool(true));
    }
    if let Some(affected_rows) = answer.affected_rows {
        fields.insert("affected_rows".to_owned(), affected_rows.into());
    }
    let response = success_seen(Json::Object(fields), &bookmark);
    if http_body::Body::size_hint(response.body()).lower() > RESULT_MAX as u64 {
        let error = Error::new(ErrorCode::ResultTooBig, "the answer is larger than 8 MiB").with_hint(
            "ask for fewer rows with 'limit', or stream with SQL and Accept: application/x-ndjson",
        );
        let outcome = if answer.is_read { Outcome::NotApplied } else { Outcome::Applied };
        return Err(error.with_outcome(outcome).into());
    }
    Ok(if answer.is_read { with_cache_use(response, found.cache) } else { response })
}

/// Whether an operation reads and nothing else: rows by equality and order, without any function.
fn is_read(operation: &str) -> bool {
    matches!(operation, "get" | "query")
}
