//! `/databases/{db}/sql`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use common::dependency::Dependency;
use common::json::from_json;
use common::limits::{ROWS_DEFAULT, ROWS_MAX, SQL_MAX, STATEMENTS_MAX};
use common::names::check_database_name;
use common::protocol::{Params, Statement, StatementResult};
use common::{Error, ErrorCode, Result};
use query::Planner;
use query::sql::{SqlAnswer, SqlRequest};
use serde_json::Value as Json;

use super::answer::{RowShape, json_text, with_bookmark, with_cache_use, write_results};
use super::app::App;
use super::body::JsonBody;
use super::failure::Answer;
use super::fields::{Fields, missing, wrong_type};
use super::request::{Form, Query, Segments};
use super::{row_stream, transaction_control};
use crate::gateway::{Asking, CacheUse, Found, RequestOptions, Session};
use crate::result_cache::{OVERHEAD, Question, Weighed};

/// Runs SQL statements.
#[utoipa::path(post, path = "/databases/{db}/sql", tag = "Queries", params(("db" = String, Path)),
    request_body(content = Object, description = "`statements` (texts or `{\"sql\",\"params\"}`) or `sql` with \
        `params`; `atomic` (true), `level`, `timeout_ms`, `max_rows`, `transaction`"),
    responses((status = 200, description = "`{\"results\":[…],\"time_ms\":…,\"bookmark\":…}`")))]
pub async fn post(
    State(app): State<App>,
    Segments(database): Segments<String>,
    query: Query,
    form: Form,
    JsonBody(mut body): JsonBody,
) -> Answer {
    let mut options = query.options(&mut body)?;
    let (request, lock) = read_locking_request(&mut body)?;
    options.lock = lock;
    if lock && options.transaction.is_none() {
        return Err(Error::bad_request("'lock' needs a transaction")
            .with_hint("begin one with POST /databases/{db}/transactions")
            .into());
    }
    if options.transaction.is_some() && !request.atomic {
        return Err(Error::not_supported(
            "'atomic': false does not go with a transaction",
            "send the statements one by one: one that fails leaves the transaction as it was before",
        )
        .into());
    }
    if let (Some(transaction), [only]) = (&options.transaction, request.statements.as_slice())
        && let Some(control) = transaction_control::parse(&only.sql)
    {
        let started = Instant::now();
        let controlled = app.gateway.control_transaction(transaction, &database, control, &options);
        let bookmark = Box::pin(controlled).await?;
        let answer = SqlAnswer { results: vec![Ok(StatementResult::default())] };
        let answer = Arc::new(Rendered::of(&answer, query.row_shape()?)?);
        let done = Found { answer, bookmark, cache: CacheUse::Bypass };
        return Ok(respond(&done, started.elapsed()));
    }
    answer(&app, &database, request, &options, query.row_shape()?, form).await
}

/// Runs one statement that only reads.
#[utoipa::path(get, path = "/databases/{db}/sql", tag = "Queries",
    params(("db" = String, Path), ("q" = String, Query, description = "The statement")),
    responses((status = 200, description = "As of POST")))]
pub async fn get(
    State(app): State<App>,
    Segments(database): Segments<String>,
    query: Query,
    form: Form,
) -> Answer {
    let sql = query.text("q").ok_or_else(|| missing("q"))?.to_owned();
    let options = query.options(&mut Fields::default())?;
    let statement = Statement { sql, params: Params::None };
    let request =
        SqlRequest { statements: vec![statement], atomic: true, max_rows: ROWS_DEFAULT, read_only: true };
    answer(&app, &database, request, &options, query.row_shape()?, form).await
}

/// Runs a request and writes its answer in the form that the client takes.
async fn answer(
    app: &App,
    database: &str,
    request: SqlRequest,
    options: &RequestOptions,
    shape: RowShape,
    form: Form,
) -> Answer {
    check_database_name("database", database)?;
    if form != Form::Json {
        return Box::pin(row_stream::sql(app, database, request, options, form)).await;
    }
    let started = Instant::now();
    let found = run(app, database, request, options, shape).await?;
    let told_ms = options.once.as_ref().and_then(|once| once.time_ms());
    let time = told_ms.map_or_else(|| started.elapsed(), |ms| Duration::from_secs_f64(ms.max(0.0) / 1_000.0));
    Ok(respond(&found, time))
}

/// Runs the statements; those that are not atomic may fail one by one.
pub async fn run(
    app: &App,
    database: &str,
    request: SqlRequest,
    options: &RequestOptions,
    shape: RowShape,
) -> Result<Found<Rendered>> {
    // Planned a second time only if the schema has changed meanwhile; the statements are shared until then.
    let request = &Arc::new(request);
    if let Some(once) = &options.once {
        if !request.atomic && request.statements.len() > 1 {
            return Err(Error::not_supported(
                "an Idempotency-Key names one write, and statements that are not atomic are several",
                "send the statements atomically, or each with a key of its own",
            ));
        }
        // Until the text is planned.
        once.set_by_text(true);
    }
    let work = |session: Arc<Session>| {
        let request = request.clone();
        async move {
            session.prepare(&request.statements).await;
            let by_text = query::sql::is_by_text(&session.planner, &request);
            session.access.choose_way(by_text).await?;
            let answer = query::sql::run(&session.planner, &session.access, (*request).clone()).await?;
            Rendered::of(&answer, shape)
        }
    };
    app.gateway.read(database, options, &Asked { database, request, shape }, work).await
}

/// Statements as a question whose answer may be kept.
struct Asked<'a> {
    database: &'a str,
    request: &'a SqlRequest,
    shape: RowShape,
}

impl Asking for Asked<'_> {
    fn texts(&self) -> &[Statement] {
        &self.request.statements
    }

    fn question(&self) -> Option<Question> {
        let SqlRequest { statements, atomic, max_rows, read_only: _ } = self.request;
        let may_read = statements.iter().all(|statement| may_read(&statement.sql));
        may_read.then(|| Question::new("sql", self.database, &(statements, atomic, max_rows, self.shape)))?
    }

    fn is_repeatable(&self, planner: &Planner) -> bool {
        self.request.statements.iter().all(|statement| planner.is_repeatable(&statement.sql))
    }

    fn dependencies(&self, planner: &Planner) -> Vec<Dependency> {
        let statements = &self.request.statements;
        let each: Vec<_> = statements.iter().map(|statement| planner.dependencies_of(statement)).collect();
        let all_named = each.iter().all(|dependencies| !dependencies.is_empty());
        if all_named { each.concat() } else { Vec::new() }
    }
}

/// Whether a statement may read rows, by its first letter: of those that do not nothing is looked for.
fn may_read(sql: &str) -> bool {
    let first = sql.trim_ascii_start().bytes().next();
    first.is_none_or(|first| !b"ABCDEIPRU".contains(&first.to_ascii_uppercase()))
}

/// What statements answered, as the text that clients get: it is kept, and written once for all who ask the same.
pub struct Rendered {
    results: Vec<u8>,
    /// Whether nothing but reads were run, and all of them well.
    is_read: bool,
}

impl Rendered {
    fn of(answer: &SqlAnswer, shape: RowShape) -> Result<Rendered> {
        let mut results = Vec::with_capacity(256);
        write_results(&mut results, &answer.results, shape)?;
        let is_read = answer.results.iter().all(|result| result.as_ref().is_ok_and(|result| result.is_read));
        Ok(Rendered { results, is_read })
    }
}

impl Weighed for Rendered {
    fn bytes(&self) -> usize {
        OVERHEAD + self.results.capacity()
    }
}

fn respond(found: &Found<Rendered>, time: Duration) -> axum::response::Response {
    let Found { answer, bookmark, cache } = found;
    let bookmark = bookmark.text();
    let mut out = Vec::with_capacity(answer.results.len() + bookmark.len() + 64);
    out.extend_from_slice(b"{\"success\":true,");
    out.extend_from_slice(&answer.results);
    out.extend_from_slice(b",\"time_ms\":");
    write_milliseconds(&mut out, time);
    out.extend_from_slice(b",\"bookmark\":\"");
    out.extend_from_slice(bookmark.as_bytes());
    out.extend_from_slice(b"\"}");
    let response = with_bookmark(json_text(out), &bookmark);
    if answer.is_read { with_cache_use(response, *cache) } else { response }
}

/// Writes a time as milliseconds with three digits behind the point.
fn write_milliseconds(out: &mut Vec<u8>, time: Duration) {
    let mut left = time.as_micros();
    let mut digits = Vec::with_capacity(16);
    while left > 0 || digits.len() < 5 {
        if digits.len() == 3 {
            digits.push(b'.');
        }
        digits.push(b'0' + u8::try_from(left % 10).expect("a digit"));
        left /= 10;
    }
    out.extend(digits.iter().rev());
}

/// The statements of a body: `statements`, or `sql` with `params`.
pub fn read_request(body: &mut Fields) -> Result<SqlRequest> {
    match read_locking_request(body)? {
        (request, false) => Ok(request),
        (_, true) => {
            Err(Error::not_supported("'lock' is not supported here", "send it to /databases/{db}/sql"))
        }
    }
}

/// The same, and whether any statement is to lock what it touches.
fn read_locking_request(body: &mut Fields) -> Result<(SqlRequest, bool)> {
    let mut lock = body.flag("lock")?.unwrap_or(false);
    let max_rows = body.whole("max_rows", 0, u64::from(ROWS_MAX))?;
    let statements = match (body.list("statements")?, body.take("sql")) {
        (Some(_), Some(_)) => return Err(Error::bad_request("give either 'statements' or 'sql', not both")),
        (Some(items), None) => read_statements(items, &mut lock)?,
        (None, Some(sql)) => vec![statement(sql, body.take("params"))?],
        (None, None) => return Err(missing("statements")),
    };
    let atomic = body.flag("atomic")?.unwrap_or(true);
    body.done()?;
    let request = SqlRequest {
        statements,
        atomic,
        max_rows: max_rows.and_then(|rows| u32::try_from(rows).ok()).unwrap_or(ROWS_DEFAULT),
        read_only: false,
    };
    Ok((request, lock))
}

fn read_statements(items: Vec<Json>, lock: &mut bool) -> Result<Vec<Statement>> {
    if items.is_empty() {
        return Err(Error::bad_request("'statements' is empty"));
    }
    if items.len() > STATEMENTS_MAX {
        let message = format!("'statements' holds more than {STATEMENTS_MAX} statements");
        return Err(Error::new(ErrorCode::BodyTooLarge, message));
    }
    let read = |(index, item)| read_statement(item, lock).map_err(|error: Error| error.at_statement(index));
    items.into_iter().enumerate().map(read).collect()
}

fn read_statement(item: Json, lock: &mut bool) -> Result<Statement> {
    match item {
        Json::String(_) => statement(item, None),
        Json::Object(map) => {
            let mut fields = Fields::of(Json::Object(map))?;
            *lock |= fields.flag("lock")?.unwrap_or(false);
            let sql = fields.take("sql").ok_or_else(|| missing("sql"))?;
            let params = fields.take("params");
            fields.done()?;
            statement(sql, params)
        }
        other => Err(wrong_type("statements", "a list of strings and objects", &other)),
    }
}

/// A statement out of its text and its parameters.
pub fn statement(sql: Json, params: Option<Json>) -> Result<Statement> {
    let Json::String(sql) = sql else { return Err(wrong_type("sql", "a string", &sql)) };
    if sql.len() > SQL_MAX {
        let message = format!("a statement is longer than {SQL_MAX} bytes");
        return Err(Error::new(ErrorCode::BodyTooLarge, message)
            .with_hint("send large values as parameters, and many rows by import"));
    }
    Ok(Statement { sql, params: read_params(params)? })
}

fn read_params(params: Option<Json>) -> Result<Params> {
    let named =
        |name: &str, error: Error| Error { message: format!("'params': {name}: {}", error.message), ..error };
    match params {
        None => Ok(Params::None),
        Some(Json::Array(items)) => {
            let values = items
                .iter()
                .enumerate()
                .map(|(index, item)| from_json(item).map_err(|error| named(&(index + 1).to_string(), error)));
            Ok(Params::Positional(values.collect::<Result<_>>()?))
        }
        Some(Json::Object(entries)) => {
            let values = entries.iter().map(|(name, item)| {
                let bare = name.strip_prefix([':', '@', '$']).unwrap_or(name);
                Ok((bare.to_owned(), from_json(item).map_err(|error| named(name, error))?))
            });
            Ok(Params::Named(values.collect::<Result<_>>()?))
        }
        Some(other) => Err(wrong_type("params", "a list or an object", &other)),
    }
}

/// The operation `sql` of a query object, answered as `POST …/sql` answers.
pub async fn as_operation(
    app: &App,
    database: &str,
    mut body: Fields,
    options: &RequestOptions,
    shape: RowShape,
) -> Answer {
    let request = read_request(&mut body)?;
    answer(app, database, request, options, shape, Form::Json).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Value;
    use serde_json::json;

    fn read(body: Json) -> Result<SqlRequest> {
        read_request(&mut Fields::of(body).unwrap())
    }

    #[test]
    fn statements_come_as_texts_and_as_objects() {
        let request = read(json!({"statements": ["SELECT 1",
            {"sql": "INSERT INTO t VALUES (?, ?)", "params": [1, true]},
            {"sql": "SELECT :id", "params": {"id": null, ":x": 1.5}}], "atomic": false, "max_rows": 5}))
        .unwrap();
        assert_eq!(request.statements[0].params, Params::None);
        assert_eq!(request.statements[1].params, Params::Positional(vec![1.into(), 1.into()]));
        assert_eq!(
            request.statements[2].params,
            Params::Named(vec![("id".into(), Value::Null), ("x".into(), Value::Real(1.5))])
        );
        assert!(!request.atomic);
        assert_eq!(request.max_rows, 5);
    }

    #[test]
    fn a_time_has_three_digits_behind_the_point() {
        for (micros, text) in
            [(0, "0.000"), (7, "0.007"), (1_000, "1.000"), (12_345, "12.345"), (4_000_000, "4000.000")]
        {
            let mut out = Vec::new();
            write_milliseconds(&mut out, Duration::from_micros(micros));
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn of_statements_that_only_write_no_answer_is_looked_for() {
        for sql in ["INSERT INTO t VALUES (1)", " update t SET a = 1", "DELETE FROM t", "CREATE TABLE t (a)"]
        {
            assert!(!may_read(sql), "{sql}");
        }
        for sql in
            ["SELECT 1", "  with a AS (SELECT 1) SELECT * FROM a", "VALUES (1)", "-- x\nSELECT 1", "(", ""]
        {
            assert!(may_read(sql), "{sql}");
        }
    }

    #[test]
    fn one_statement_needs_no_list() {
        let request = read(json!({"sql": "SELECT ?", "params": ["a"]})).unwrap();
        assert_eq!(request.statements.len(), 1);
        assert!(request.atomic);
        assert_eq!(request.max_rows, ROWS_DEFAULT);
    }

    #[test]
    fn what_has_the_wrong_type_is_named() {
        for (body, name) in [
            (json!({}), "'statements'"),
            (json!({"sql": 5}), "'sql'"),
            (json!({"statements": "SELECT 1"}), "'statements'"),
            (json!({"statements": []}), "'statements'"),
            (json!({"statements": [5]}), "'statements'"),
            (json!({"sql": "SELECT 1", "params": "x"}), "'params'"),
            (json!({"sql": "SELECT ?", "params": [[1]]}), "'params': 1"),
            (json!({"sql": "SELECT 1", "atomic": "yes"}), "'atomic'"),
            (json!({"sql": "SELECT 1", "max_rows": 1_000_001}), "'max_rows'"),
            (json!({"sql": "SELECT ?", "parms": [1]}), "'parms'"),
            (json!({"statements": [{"sql": "SELECT ?", "parms": [1]}]}), "'parms'"),
        ] {
            let error = read(body.clone()).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadRequest, "{body}");
            assert!(error.message.contains(name), "{body}: {error}");
        }
    }

    #[test]
    fn the_statement_at_fault_is_named() {
        let error =
            read(json!({"statements": ["SELECT 1", {"sql": "SELECT ?", "params": [{}]}]})).unwrap_err();
        assert_eq!(error.statement, Some(1));
    }

    #[test]
    fn locks_are_read_and_refused_where_there_is_no_transaction() {
        let body = json!({"statements": [{"sql": "SELECT 1", "lock": true}]});
        let error = read(body.clone()).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotSupported);
        assert!(read_locking_request(&mut Fields::of(body).unwrap()).unwrap().1);
    }
}
