//! Running DDL that was checked on the shadow, on the leader's connection and on the one that lands entries alike.

use common::names::quote_identifier;
use common::{Error, ErrorCode};
use rusqlite::config::DbConfig;

use crate::connection::{ClientStatement, Connection, first_word, ours};
use crate::error::Result;

/// Runs statements in order, and `after` behind each. `enforced` says whether foreign keys are looked at otherwise on the
/// connection. What is done before a failure is left to the caller to undo.
pub(crate) fn define(
    connection: &Connection,
    statements: &[String],
    enforced: bool,
    mut after: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    for sql in statements {
        define_one(connection.raw(), sql, enforced)?;
        after(sql)?;
    }
    check_stored_text(connection)
}

fn define_one(raw: &rusqlite::Connection, sql: &str, enforced: bool) -> Result<()> {
    // Only where foreign keys are looked at does SQLite refuse to give rows a new column that refers to another
    // table and has a value. Elsewhere DDL has nothing to do with them.
    let adds_reference =
        first_word(sql).eq_ignore_ascii_case("ALTER") && sql.to_ascii_uppercase().contains("REFERENCES");
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, adds_reference)?;
    let done = raw.execute_batch(sql);
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, enforced)?;
    Ok(done?)
}

/// Refuses views that read the system's tables, which compiling CREATE VIEW does not notice, and triggers,
/// which would run with the rights of whoever changes the table.
fn check_stored_text(connection: &Connection) -> Result<()> {
    let sql = ours!("SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'trigger')");
    let objects: Vec<(String, String)> = {
        let mut statement = connection.raw().prepare_cached(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    for (kind, name) in objects {
        if kind == "trigger" {
            return Err(Error::not_supported("triggers are not supported", "leave it out").into());
        }
        let read = format!("SELECT * FROM {}", quote_identifier(&name));
        // It is not kept: a client's text of this kind is judged otherwise on a partition.
        let compiled = connection.as_stored_text(|raw| ClientStatement::prepare_once(raw, &read).map(|_| ()));
        // A view over a table that is gone does not compile, and can be read by nobody.
        if let Err(failure) = compiled
            && failure.code() != Some(ErrorCode::SqlError)
        {
            return Err(failure);
        }
    }
    Ok(())
}
