//! What statements before have changed, as `changes()`, `total_changes()` and `last_insert_rowid()` tell it. SQLite tells it of
//! all that a connection has done; here a connection serves requests that must not learn of each other, nor of the
//! rows that were loaded for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use common::names::quote_identifier;
use rusqlite::functions::FunctionFlags;
use rusqlite::{OptionalExtension as _, ffi};

use crate::connection::{OURS, ours};
use crate::error::Result;

/// What statements have done, as SQLite's functions tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoneBefore {
    /// Rows that the last one changed: `changes()`.
    pub changes: i64,
    /// Rows that all of them changed: `total_changes()`.
    pub total_changes: i64,
    /// Rowid of the last row that was inserted, 0 if none was: `last_insert_rowid()`.
    pub last_insert_rowid: i64,
}

/// The counts of one connection.
pub(crate) struct ChangeCounts {
    counted: Arc<Counted>,
    /// A statement that changes no row, by which SQLite forgets what the last one changed; without it one is found.
    no_change: Option<&'static str>,
}

/// What the request at hand began with.
#[derive(Default)]
struct Counted {
    /// SQLite's own count of all changes then.
    total: AtomicU64,
    /// What the functions are to tell then.
    changes_before: AtomicI64,
    total_before: AtomicI64,
    /// Whether one of its statements has ended that changes rows, be it none.
    has_changed: AtomicBool,
}

impl Counted {
    /// Rows that were changed since then.
    fn since(&self, raw: &rusqlite::Connection) -> i64 {
        raw.total_changes().saturating_sub(self.total.load(Ordering::Relaxed)).cast_signed()
    }
}

impl ChangeCounts {
    /// Has the connection's functions tell of the request at hand, and of what is said to be before it. `no_change`
    /// changes no row, whenever a request begins.
    pub(crate) fn install(
        raw: &rusqlite::Connection,
        no_change: Option<&'static str>,
    ) -> Result<ChangeCounts> {
        let counted = Arc::new(Counted::default());
        // As SQLite's own: allowed in views and triggers, and another one at each call.
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
        let begun = Arc::clone(&counted);
        raw.create_scalar_function("total_changes", 0, flags, move |context| {
            // SAFETY: the connection is used for this question alone, and not kept.
            let since = begun.since(&*unsafe { context.get_connection() }?);
            Ok(begun.total_before.load(Ordering::Relaxed).saturating_add(since))
        })?;
        let begun = Arc::clone(&counted);
        raw.create_scalar_function("changes", 0, flags, move |context| {
            // SAFETY: as above.
            let raw = unsafe { context.get_connection() }?;
            let is_first = !begun.has_changed.load(Ordering::Relaxed) && begun.since(&raw) == 0;
            let before = || begun.changes_before.load(Ordering::Relaxed);
            Ok(if is_first { before() } else { raw.changes().cast_signed() })
        })?;
        Ok(ChangeCounts { counted, no_change })
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
        self.counted.total.store(raw.total_changes(), Ordering::Relaxed);
        self.say_before(DoneBefore::default());
    }

    /// Says what was done before the request that has just begun.
    pub(crate) fn continue_from(&self, raw: &rusqlite::Connection, before: DoneBefore) {
        self.say_before(before);
        // SAFETY: the handle is open while the connection is borrowed.
        unsafe { ffi::sqlite3_set_last_insert_rowid(raw.handle(), before.last_insert_rowid) };
    }

    fn say_before(&self, before: DoneBefore) {
        self.counted.changes_before.store(before.changes, Ordering::Relaxed);
        self.counted.total_before.store(before.total_changes, Ordering::Relaxed);
        self.counted.has_changed.store(false, Ordering::Relaxed);
    }

    /// Says that a statement has ended that changes rows: `changes()` tells of it even if it has changed none.
    pub(crate) fn note_change(&self) {
        self.counted.has_changed.store(true, Ordering::Relaxed);
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
        // One that goes on after others.
        counts.continue_from(&raw, DoneBefore { changes: 7, total_changes: 40, last_insert_rowid: 3 });
        assert_eq!(told(), (7, 40, 3));
        raw.execute_batch("UPDATE t SET a = 4 WHERE a = 5").unwrap();
        counts.note_change();
        assert_eq!(told(), (0, 40, 3));
        raw.execute_batch("INSERT INTO t VALUES (8), (9)").unwrap();
        assert_eq!(told(), (2, 42, raw.last_insert_rowid()));
        counts.begin_request(&raw).unwrap();
        assert_eq!(told(), (0, 0, 0));
    }
}
