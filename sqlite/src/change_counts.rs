//! What statements before have changed, as `changes()`, `total_changes()` and `last_insert_rowid()` tell it. SQLite tells it of
//! all that a connection has done; here a connection serves requests that must not learn of each other, nor of the
//! rows that were loaded for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::names::quote_identifier;
use rusqlite::functions::FunctionFlags;
use rusqlite::{OptionalExtension as _, ffi};

use crate::connection::{OURS, ours};
use crate::error::Result;

/// The counts of one connection.
pub(crate) struct ChangeCounts {
    /// SQLite's count of all changes when the request at hand began.
    before: Arc<AtomicU64>,
    /// A statement that changes no row, by which SQLite forgets what the last one changed; without it one is found.
    no_change: Option<&'static str>,
}

impl ChangeCounts {
    /// Has the connection's `total_changes()` count from the beginning of a request. `no_change` changes no row, whenever
    /// a request begins.
    pub(crate) fn install(
        raw: &rusqlite::Connection,
        no_change: Option<&'static str>,
    ) -> Result<ChangeCounts> {
        let before = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&before);
        // As SQLite's own: allowed in views and triggers, and another one at each call.
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
        raw.create_scalar_function("total_changes", 0, flags, move |context| {
            // SAFETY: the connection is used for this question alone, and not kept.
            let total = unsafe { context.get_connection() }?.total_changes();
            Ok(total.saturating_sub(counted.load(Ordering::Relaxed)).cast_signed())
        })?;
        Ok(ChangeCounts { before, no_change })
    }

    /// From now on nothing was done before.
    pub(crate) fn begin_request(&self, raw: &rusqlite::Connection) -> Result<()> {
        if raw.changes() != 0 {
            match self.no_change {
                Some(sql) => raw.prepare_cached(sql)?.raw_execute().map(|_| ())?,
                None => forget_last_count(raw)?,
            }
        }
        self.begin_counting(raw);
        // SAFETY: the handle is open while the connection is borrowed.
        unsafe { ffi::sqlite3_set_last_insert_rowid(raw.handle(), 0) };
        Ok(())
    }

    /// `total_changes()` counts from now on.
    pub(crate) fn begin_counting(&self, raw: &rusqlite::Connection) {
        self.before.store(raw.total_changes(), Ordering::Relaxed);
    }
}

/// Makes `changes()` 0, as a statement does that changes no row.
fn forget_last_count(raw: &rusqlite::Connection) -> Result<()> {
    // Virtual tables have no pages.
    let any = ours!(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ",
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' LIMIT 1"
    );
    let table: Option<String> = raw.prepare_cached(any)?.query_row([], |row| row.get(0)).optional()?;
    if let Some(table) = table {
        let sql = format!("{OURS}DELETE FROM {} WHERE 0", quote_identifier(&table));
        raw.prepare_cached(&sql)?.raw_execute()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_of_its_own_statements() {
        for no_change in [None, Some("DELETE FROM log WHERE 0")] {
            is_told_of_its_own_statements(no_change);
        }
    }

    fn is_told_of_its_own_statements(no_change: Option<&'static str>) {
        let raw = rusqlite::Connection::open_in_memory().unwrap();
        let counts = ChangeCounts::install(&raw, no_change).unwrap();
        let told = || -> (i64, i64, i64) {
            let sql = "SELECT changes(), total_changes(), last_insert_rowid()";
            raw.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
        };
        raw.execute_batch(
            "CREATE TABLE t (a); CREATE TABLE log (a); INSERT INTO t VALUES (1), (2), (3); \
             CREATE TRIGGER logged AFTER DELETE ON t BEGIN INSERT INTO log VALUES (old.a); END",
        )
        .unwrap();
        assert_eq!(told(), (3, 3, 3));
        counts.begin_request(&raw).unwrap();
        assert_eq!(told(), (0, 0, 0));
        raw.execute_batch("UPDATE t SET a = 4 WHERE a = 1").unwrap();
        assert_eq!(told(), (1, 1, 0));
        // What triggers change counts in the total alone.
        raw.execute_batch("DELETE FROM t WHERE a > 2").unwrap();
        assert_eq!(told(), (2, 5, 0));
        counts.begin_request(&raw).unwrap();
        assert_eq!(told(), (0, 0, 0));
    }
}
