//! SQL: one statement, or several together.

use std::sync::Arc;
use std::time::Duration;

use common::Outcome;
use common::json::to_json;
pub use common::protocol::ReadLevel;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::database::Database;
use crate::error::{Error, ErrorBody, Result};
use crate::http::{IDEMPOTENCY_KEY, Request};
use crate::row_stream::RowStream;
use crate::rows::{Columns, Rows};
use crate::value::{Cell, ToValue, Value};

/// The client waits this much longer than the statement's own limit, whose error says more.
const GRACE: Duration = Duration::from_secs(5);

/// A batch of more statements gets no idempotency key by itself: its answer may be larger than those that are kept.
const NAMED_STATEMENTS_MAX: usize = 1_000;

/// What a statement did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Executed {
    /// Rows inserted, changed or deleted by the statement itself.
    pub affected_rows: u64,
    /// Rowid of the last row that it inserted.
    pub last_insert_rowid: Option<i64>,
    /// Rows that it answered, as by SELECT or RETURNING.
    pub rows: Rows,
}

/// Options that a statement and a batch share.
#[derive(Clone, Debug, Default, Serialize)]
struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<ReadLevel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_staleness_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rows: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    #[serde(skip)]
    idempotency_key: Option<String>,
}

macro_rules! option_setters {
    () => {
        /// As a part of an open transaction.
        pub(crate) fn within(mut self, transaction: &str) -> Self {
            self.options.transaction = Some(transaction.to_owned());
            self
        }

        /// How fresh what is read must be; linearizable if not said.
        pub fn level(mut self, level: ReadLevel) -> Self {
            // The bound has a field of its own.
            (self.options.level, self.options.max_staleness_ms) = match level {
                ReadLevel::StaleWithin(milliseconds) => (Some(ReadLevel::Stale), Some(milliseconds)),
                level => (Some(level), None),
            };
            self
        }

        /// The deadline that the server holds; 10 seconds if not said.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.options.timeout_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
            self
        }

        /// Most rows that are answered; 10,000 if not said, at most 1,000,000.
        pub fn max_rows(mut self, rows: u32) -> Self {
            self.options.max_rows = Some(rows);
            self
        }

        /// A name for the request instead of the library's own, by which the server knows a repetition: it gets
        /// the first answer and changes nothing. With a name that outlives the process, so can the repetition.
        pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
            self.options.idempotency_key = Some(key.into());
            self
        }
    };
}

/// A statement with its parameters.
#[derive(Clone, Debug, Default)]
struct Statement {
    text: String,
    positional: Vec<Value>,
    named: Vec<(String, Value)>,
}

impl Statement {
    fn to_json(&self) -> Result<Json> {
        if !self.named.is_empty() && !self.positional.is_empty() {
            return Err(Error::invalid_use(
                "a statement's parameters are bound by position or by name, not both",
            ));
        }
        if self.named.is_empty() {
            let params: Vec<Json> = self.positional.iter().map(to_json).collect();
            return Ok(json!({"sql": self.text, "params": params}));
        }
        let params: Map<String, Json> =
            self.named.iter().map(|(name, value)| (name.clone(), to_json(value))).collect();
        Ok(json!({"sql": self.text, "params": params}))
    }

    /// Whether the text surely changes nothing. WITH may begin a write, and so counts as one.
    fn surely_reads(&self) -> bool {
        let text = self.text.trim_start();
        let word = text.split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or_default();
        let reads = ["SELECT", "VALUES", "EXPLAIN"].iter().any(|first| word.eq_ignore_ascii_case(first));
        let is_one_statement = text.trim_end().trim_end_matches(';').find(';').is_none();
        reads && is_one_statement
    }
}

/// One SQL statement on its way; made by [`Database::sql`].
///
/// ```no_run
/// # async fn example(database: polylite_client::Database) -> polylite_client::Result<()> {
/// let executed = database.sql("INSERT INTO users (name) VALUES (?)").bind("Ada").execute().await?;
/// let name: String = database
///     .sql("SELECT name FROM users WHERE id = :id")
///     .bind_named("id", executed.last_insert_rowid)
///     .query()
///     .await?
///     .scalar()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before execute, query or stream"]
pub struct Sql {
    database: Database,
    statement: Statement,
    options: Options,
}

impl Sql {
    pub(crate) fn new(database: Database, text: String) -> Sql {
        let statement = Statement { text, ..Statement::default() };
        Sql { database, statement, options: Options::default() }
    }

    /// Binds the next parameter.
    pub fn bind(mut self, value: impl ToValue) -> Sql {
        self.statement.positional.push(value.to_value());
        self
    }

    /// Binds a parameter by its name, without its `:`, `@` or `$`.
    pub fn bind_named(mut self, name: impl Into<String>, value: impl ToValue) -> Sql {
        self.statement.named.push((name.into(), value.to_value()));
        self
    }

    option_setters!();

    /// Runs the statement and answers what it did.
    pub async fn execute(self) -> Result<Executed> {
        let request = self.request()?;
        let answer: SqlAnswer = self.database.transport().json(&request).await?;
        match answer.results.into_iter().next() {
            Some(result) => result.into_executed(Some(200), silent(&self.statement)),
            None => Err(missing_result(silent(&self.statement))),
        }
    }

    /// Runs the statement and answers its rows.
    pub async fn query(self) -> Result<Rows> {
        Ok(self.execute().await?.rows)
    }

    /// Runs the statement and answers its rows as structures.
    pub async fn query_as<T: serde::de::DeserializeOwned>(self) -> Result<Vec<T>> {
        self.query().await?.rows_as()
    }

    /// Runs the statement and answers any number of rows as they come, in bounded memory.
    pub async fn stream(self) -> Result<RowStream> {
        let request = self.request()?.header(http::header::ACCEPT, "application/x-ndjson")?;
        RowStream::read(self.database.transport().open(&request).await?).await
    }

    fn request(&self) -> Result<Request> {
        let statements = vec![self.statement.to_json()?];
        let reads = self.statement.surely_reads();
        build(&self.database, &SqlRequest { statements, atomic: true, options: &self.options }, reads)
    }
}

/// Several statements in one request; made by [`Database::batch`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before run"]
pub struct Batch {
    database: Database,
    statements: Vec<Statement>,
    atomic: bool,
    options: Options,
}

impl Batch {
    pub(crate) fn new(database: Database) -> Batch {
        Batch { database, statements: Vec::new(), atomic: true, options: Options::default() }
    }

    /// Adds a statement; what is bound next belongs to it.
    pub fn sql(mut self, text: impl Into<String>) -> Batch {
        self.statements.push(Statement { text: text.into(), ..Statement::default() });
        self
    }

    /// Binds the next parameter of the statement added last.
    ///
    /// # Panics
    /// If no statement was added.
    pub fn bind(mut self, value: impl ToValue) -> Batch {
        self.last().positional.push(value.to_value());
        self
    }

    /// Binds a parameter of the statement added last by its name, without its `:`, `@` or `$`.
    ///
    /// # Panics
    /// If no statement was added.
    pub fn bind_named(mut self, name: impl Into<String>, value: impl ToValue) -> Batch {
        self.last().named.push((name.into(), value.to_value()));
        self
    }

    fn last(&mut self) -> &mut Statement {
        self.statements.last_mut().expect("a parameter belongs to a statement added before")
    }

    /// Whether all statements are applied or none (the default), over all partitions; else each stands alone.
    pub fn atomic(mut self, atomic: bool) -> Batch {
        self.atomic = atomic;
        self
    }

    option_setters!();

    /// Runs the statements in order. An atomic batch answers an error as a whole; one that is not atomic
    /// has an error in the place of each statement that failed.
    pub async fn run(self) -> Result<Vec<Result<Executed>>> {
        let statements = self.statements.iter().map(Statement::to_json).collect::<Result<Vec<_>>>()?;
        let reads = self.statements.iter().all(Statement::surely_reads);
        let body = SqlRequest { statements, atomic: self.atomic, options: &self.options };
        let request = build(&self.database, &body, reads)?;
        let answer: SqlAnswer = self.database.transport().json(&request).await?;
        if answer.results.len() != self.statements.len() {
            return Err(missing_result(if reads { Outcome::NotApplied } else { Outcome::Unknown }));
        }
        let results = self.statements.iter().zip(answer.results);
        Ok(results.map(|(statement, result)| result.into_executed(None, silent(statement))).collect())
    }
}

#[derive(Serialize)]
struct SqlRequest<'a> {
    statements: Vec<Json>,
    atomic: bool,
    #[serde(flatten)]
    options: &'a Options,
}

fn build(database: &Database, body: &SqlRequest<'_>, reads: bool) -> Result<Request> {
    let mut request = Request::post(database.path("/sql"), body)?;
    if reads {
        request = request.reads();
    }
    if !body.atomic && body.statements.len() > 1 {
        request = request.unnamed().of_transaction();
    }
    if body.statements.len() > NAMED_STATEMENTS_MAX {
        request = request.unnamed();
    }
    if let Some(milliseconds) = body.options.timeout_ms {
        request = request.timeout(Duration::from_millis(milliseconds) + GRACE);
    }
    if body.options.transaction.is_some() {
        // What happens once is the transaction's commit.
        request = request.unnamed().of_transaction();
    }
    match &body.options.idempotency_key {
        Some(key) => request.header(IDEMPOTENCY_KEY, key),
        None => Ok(request),
    }
}

/// The outcome of a statement whose answer does not tell it.
fn silent(statement: &Statement) -> Outcome {
    if statement.surely_reads() { Outcome::NotApplied } else { Outcome::Unknown }
}

fn missing_result(outcome: Outcome) -> Error {
    Error::new(crate::error::local::INVALID_ANSWER, "the answer does not hold a result for every statement")
        .with_outcome(outcome)
}

/// The body of an answer to SQL.
#[derive(Deserialize)]
pub(crate) struct SqlAnswer {
    pub(crate) results: Vec<ResultBody>,
}

/// What one statement answered.
#[derive(Deserialize)]
pub(crate) struct ResultBody {
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    rows: Vec<Vec<Cell>>,
    #[serde(default)]
    truncated: bool,
    #[serde(default)]
    affected_rows: u64,
    last_insert_rowid: Option<i64>,
    #[serde(flatten)]
    error: Option<FailedStatement>,
}

#[derive(Deserialize)]
struct FailedStatement {
    /// Present in an error and nowhere else; without it this is not one.
    code: String,
    #[serde(flatten)]
    rest: Map<String, Json>,
}

impl ResultBody {
    pub(crate) fn into_executed(self, status: Option<u16>, silent: Outcome) -> Result<Executed> {
        if let Some(failed) = self.error {
            return Err(failed.into_error(status, silent));
        }
        let columns = Arc::new(Columns { names: self.columns, types: self.types });
        let values = self.rows.into_iter().map(|row| row.into_iter().map(|cell| cell.0).collect()).collect();
        Ok(Executed {
            affected_rows: self.affected_rows,
            last_insert_rowid: self.last_insert_rowid,
            rows: Rows::new(columns, values, self.truncated),
        })
    }
}

impl FailedStatement {
    fn into_error(self, status: Option<u16>, silent: Outcome) -> Error {
        let mut body = self.rest;
        body.insert("code".to_owned(), Json::String(self.code));
        match serde_json::from_value::<ErrorBody>(Json::Object(body)) {
            Ok(error) => error.into_error(status, silent),
            Err(error) => {
                Error::new(crate::error::local::INVALID_ANSWER, error.to_string()).with_outcome(silent)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(text: &str) -> bool {
        Statement { text: text.to_owned(), ..Statement::default() }.surely_reads()
    }

    #[test]
    fn only_what_surely_reads_counts_as_a_read() {
        assert!(reads(" select 1"));
        assert!(reads("VALUES(1);"));
        assert!(reads("EXPLAIN QUERY PLAN DELETE FROM t"));
        assert!(!reads("WITH x AS (SELECT 1) DELETE FROM t"));
        assert!(!reads("SELECT 1; DELETE FROM t"));
        assert!(!reads("selection"));
        assert!(!reads("-- a remark\nDELETE FROM t"));
    }

    #[test]
    fn results_hold_rows_or_an_error() {
        let text = r#"{"columns":["b","r"],"types":["BLOB",""],"truncated":false,
            "rows":[[{"$blob":"AQI="},{"$real":"-Infinity"}],[9223372036854775807,true]]}"#;
        let body: ResultBody = serde_json::from_str(text).expect("valid");
        let rows = body.into_executed(None, Outcome::NotApplied).expect("no error").rows;
        assert_eq!(rows[0].values(), [Value::Blob(vec![1, 2]), Value::Real(f64::NEG_INFINITY)]);
        assert_eq!(rows[1].values(), [Value::Integer(i64::MAX), Value::Integer(1)]);

        let text = r#"{"error":"UNIQUE constraint failed: t.id","code":"unique_violation"}"#;
        let body: ResultBody = serde_json::from_str(text).expect("valid");
        let error = body.into_executed(None, Outcome::NotApplied).expect_err("an error");
        assert!(error.is(common::ErrorCode::UniqueViolation));
        assert_eq!(error.message, "UNIQUE constraint failed: t.id");
    }
}
