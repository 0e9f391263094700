//! A rusqlite connection with the gate that tells client text from our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use common::{Error, ErrorCode};
use parking_lot::Mutex;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{CachedStatement, Statement};

use crate::authorizer::{Role, denial, is_check_of_rows};
use crate::change_counts::ChangeCounts;
use crate::error::{Failure, Result};
use crate::layout::schema_cookie;

/// Begins each of our own texts. A client's text that begins so is not looked up among the prepared
/// statements, where it would find one that never passed the authorizer.
macro_rules! ours {
    ($($text:expr),+) => { concat!("/*ours*/", $($text),+) };
}
pub(crate) use ours;

/// See [`ours!`].
pub(crate) const OURS: &str = ours!("");

/// Prepared statements kept by each connection.
const STATEMENTS_KEPT: usize = 128;

/// What the authorizer shares with the connection.
struct Gate {
    /// Whether what is being compiled came from a client.
    client: AtomicBool,
    /// Whether that is the text of a view that is stored, which is judged as the schema's, wherever it is.
    stored: AtomicBool,
    /// Whether that is ALTER TABLE, which runs statements of its own.
    alters: AtomicBool,
    /// Why the client's statement was denied.
    denied: Mutex<Option<Error>>,
    /// What the statement touches, while somebody wants to know.
    trace: Mutex<Option<Trace>>,
}

/// What compiling a statement asked leave for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) reads: Vec<(String, String)>,
    pub(crate) writes: Vec<(String, Option<String>)>,
    pub(crate) functions: Vec<String>,
    pub(crate) changes_schema: bool,
    /// Tables in which rows are inserted.
    pub(crate) inserts: Vec<String>,
    /// Triggers, and views, on whose behalf leave was asked.
    pub(crate) accessors: Vec<String>,
    /// Tables in which the body of a trigger changes or deletes rows.
    pub(crate) changed_inside: Vec<String>,
}

/// A connection of one role.
pub(crate) struct Connection {
    raw: rusqlite::Connection,
    gate: Arc<Gate>,
    counts: ChangeCounts,
    /// SQLite's own version of the schema for which statements are kept.
    schema_cookie: AtomicI64,
}

impl Connection {
    /// Takes over a connection; client text is judged by its role.
    pub(crate) fn new(mut raw: rusqlite::Connection, role: Role) -> Result<Connection> {
        raw.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        let gate = Arc::new(Gate {
            client: AtomicBool::new(false),
            stored: AtomicBool::new(false),
            alters: AtomicBool::new(false),
            denied: Mutex::new(None),
            trace: Mutex::new(None),
        });
        let shared = Arc::clone(&gate);
        raw.authorizer(Some(move |context: AuthContext<'_>| authorize(&shared, role, &context)))?;
        // A write has no time to look for a table.
        let no_change = (role == Role::Executor).then_some(ours!("DELETE FROM _sys WHERE 0"));
        let counts = ChangeCounts::install(&raw, no_change)?;
        Ok(Connection { raw, gate, counts, schema_cookie: AtomicI64::new(i64::MIN) })
    }

    /// Begins a client's request: what was done before is not told of by `changes()` and its like. No triggers may be
    /// enabled that do not compile.
    pub(crate) fn forget_statements_before(&self) -> Result<()> {
        self.counts.begin_request(&self.raw)
    }

    /// What `changes()` and its like tell of statements before the request and of its own.
    pub(crate) fn counts(&self) -> &ChangeCounts {
        &self.counts
    }

    /// Drops kept statements of another schema: SQLite compiles them anew only when they run, and until then
    /// tells the columns that they had.
    pub(crate) fn forget_older_statements(&self) -> Result<()> {
        let cookie = schema_cookie(&self.raw)?;
        if self.schema_cookie.swap(cookie, Ordering::Relaxed) != cookie {
            self.raw.flush_prepared_statement_cache();
        }
        Ok(())
    }

    /// Drops all kept statements: the schema that they were compiled for was rolled back.
    pub(crate) fn forget_statements(&self) {
        self.schema_cookie.store(i64::MIN, Ordering::Relaxed);
        self.raw.flush_prepared_statement_cache();
    }

    /// The connection for our own statements.
    pub(crate) fn raw(&self) -> &rusqlite::Connection {
        &self.raw
    }

    /// Does `work` with everything that is compiled meanwhile, statements compiled again included, taken
    /// for the client's.
    pub(crate) fn as_client<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> Result<T>) -> Result<T> {
        struct Close<'a>(&'a AtomicBool);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Relaxed);
            }
        }
        self.gate.denied.lock().take();
        self.gate.alters.store(false, Ordering::Relaxed);
        self.gate.client.store(true, Ordering::Relaxed);
        let close = Close(&self.gate.client);
        let result = work(&self.raw);
        drop(close);
        match (result, self.gate.denied.lock().take()) {
            (Err(Failure::Refused(error)), Some(mut denied)) if error.code != ErrorCode::StatementTimeout => {
                denied.sqlite_code = error.sqlite_code;
                Err(Failure::refused(denied))
            }
            (result, _) => result,
        }
    }

    /// As [`Connection::as_client`], for what reads a view: it may be one over the schema itself.
    pub(crate) fn as_stored_text<T>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T>,
    ) -> Result<T> {
        self.gate.stored.store(true, Ordering::Relaxed);
        let result = self.as_client(work);
        self.gate.stored.store(false, Ordering::Relaxed);
        result
    }

    /// As [`Connection::as_client`], and says what was asked leave for.
    pub(crate) fn traced<T>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T>,
    ) -> Result<(T, Trace)> {
        *self.gate.trace.lock() = Some(Trace::default());
        let result = self.as_client(work);
        let trace = self.gate.trace.lock().take().unwrap_or_default();
        result.map(|value| (value, trace))
    }

    /// Runs one of our own statements that answers nothing.
    pub(crate) fn run(&self, sql: &'static str) -> Result<()> {
        self.raw.prepare_cached(sql)?.raw_execute().map(|_| ()).or_else(ignore_answered_rows)?;
        Ok(())
    }
}

/// PRAGMAs may answer a row that nobody wants.
fn ignore_answered_rows(error: rusqlite::Error) -> rusqlite::Result<()> {
    if matches!(error, rusqlite::Error::ExecuteReturnedResults) { Ok(()) } else { Err(error) }
}

/// A client's statement, prepared. Only to be called inside [`Connection::as_client`].
pub(crate) enum ClientStatement<'c> {
    Kept(CachedStatement<'c>),
    Once(Statement<'c>),
}

impl<'c> ClientStatement<'c> {
    /// Looks the text up among the kept statements, or compiles and keeps it.
    pub(crate) fn prepare(connection: &'c rusqlite::Connection, sql: &str) -> Result<ClientStatement<'c>> {
        if sql.trim_start().starts_with(OURS) {
            return ClientStatement::prepare_once(connection, sql);
        }
        check_text(sql)?;
        let prepared = connection.prepare_cached(sql);
        prepared.map(ClientStatement::Kept).map_err(|error| Failure::from_rusqlite(error, true))
    }

    /// Compiles the text in any case.
    pub(crate) fn prepare_once(
        connection: &'c rusqlite::Connection,
        sql: &str,
    ) -> Result<ClientStatement<'c>> {
        check_text(sql)?;
        let prepared = connection.prepare(sql);
        prepared.map(ClientStatement::Once).map_err(|error| Failure::from_rusqlite(error, true))
    }

    pub(crate) fn get(&mut self) -> &mut Statement<'c> {
        match self {
            ClientStatement::Kept(statement) => statement,
            ClientStatement::Once(statement) => statement,
        }
    }
}

/// Refuses what SQLite would not judge: it stops at a NUL, prepares nothing from a blank text, and asks the
/// authorizer about VACUUM only once it runs.
fn check_text(sql: &str) -> Result<()> {
    if sql.contains('\0') {
        return Err(Error::new(ErrorCode::SqlError, "the SQL text holds a NUL character").into());
    }
    match first_word(sql) {
        "" => Err(Error::new(ErrorCode::SqlError, "the statement is empty").into()),
        word if word.eq_ignore_ascii_case("VACUUM") => {
            Err(Error::new(ErrorCode::SqlForbidden, "VACUUM is not allowed").into())
        }
        _ => Ok(()),
    }
}

/// The text's first word; what is no letter counts as a word of its own. Space, comments, semicolons and
/// EXPLAIN are skipped.
pub(crate) fn first_word(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ';' || c.is_ascii_whitespace() || c == '\u{feff}');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            let length = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let word = if length == 0 { rest } else { &rest[..length] };
            if !["EXPLAIN", "QUERY", "PLAN"].iter().any(|skipped| skipped.eq_ignore_ascii_case(word)) {
                return word;
            }
            rest = &rest[length..];
        }
    }
}

fn authorize(gate: &Gate, role: Role, context: &AuthContext<'_>) -> Authorization {
    if !gate.client.load(Ordering::Relaxed) {
        return Authorization::Allow;
    }
    let role = if gate.stored.load(Ordering::Relaxed) { Role::Shadow } else { role };
    if matches!(context.action, AuthAction::AlterTable { .. }) {
        gate.alters.store(true, Ordering::Relaxed);
    }
    let is_own_check = gate.alters.load(Ordering::Relaxed) && is_check_of_rows(role, &context.action);
    if let Some(error) = denial(role, &context.action).filter(|_| !is_own_check) {
        gate.denied.lock().get_or_insert(error);
        return Authorization::Deny;
    }
    if let Some(trace) = gate.trace.lock().as_mut() {
        note(trace, &context.action);
        if let Some(accessor) = context.accessor {
            push_new(&mut trace.accessors, accessor.to_owned());
            if let AuthAction::Update { table_name, .. } | AuthAction::Delete { table_name } = &context.action
            {
                push_new(&mut trace.changed_inside, table_name.to_string());
            }
        }
    }
    Authorization::Allow
}

fn note(trace: &mut Trace, action: &AuthAction<'_>) {
    match action {
        AuthAction::Read { table_name, column_name } => {
            push_new(&mut trace.reads, (table_name.to_string(), column_name.to_string()));
        }
        AuthAction::Insert { table_name } => {
            push_new(&mut trace.inserts, table_name.to_string());
            push_new(&mut trace.writes, (table_name.to_string(), None));
        }
        AuthAction::Delete { table_name } => {
            push_new(&mut trace.writes, (table_name.to_string(), None));
        }
        AuthAction::Update { table_name, column_name } => {
            push_new(&mut trace.writes, (table_name.to_string(), Some(column_name.to_string())));
        }
        AuthAction::Function { function_name } => {
            push_new(&mut trace.functions, function_name.to_ascii_lowercase());
        }
        AuthAction::Select | AuthAction::Recursive | AuthAction::Pragma { .. } => {}
        _ => trace.changes_schema = true,
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::first_word;

    #[test]
    fn the_first_word_is_found_behind_space_and_comments() {
        for blank in ["", " ;\n", "-- nothing", "/* a */ ; -- b\n", "/* open"] {
            assert_eq!(first_word(blank), "", "{blank:?}");
        }
        assert_eq!(first_word("-- a\nSELECT 1"), "SELECT");
        assert_eq!(first_word("/* a */ (x)"), "(x)");
        assert_eq!(first_word("EXPLAIN QUERY/**/PLAN\tvacuum;"), "vacuum");
    }
}
