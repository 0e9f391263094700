//! Reading a whole file to see whether it still is what was written: every row adds up to the sums that were
//! stored with it, and SQLite finds its pages in order.

use std::cell::Cell;

use common::names::quote_identifier;
use rusqlite::ffi;

use crate::budget::{Budget, Watch};
use crate::connection::{Connection, ours};
use crate::error::{Failure, Result};
use crate::layout::Layouts;
use crate::recipe::{self, Location};
use crate::system::System;
use crate::table_sums::scan;

/// Bytes of rows between two looks at the pace.
const SLICE: usize = 64 << 10;
/// What SQLite's own check counts as between two looks at the pace, which come every 1,000 steps of a page or an
/// instruction.
const CHECK_SLICE: usize = 16 << 10;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The file is what was written.
    Sound,
    /// It is not.
    Damaged(String),
    /// The pace ended it before the end.
    Ended,
}

/// Asked after each slice of about so many bytes; may wait, and ends the reading by `false`.
pub type Pace<'a> = &'a dyn Fn(usize) -> bool;

/// Reads a replica's file beside whoever writes it. A connection of its own sees what is on the disk, not what others
/// remember of it. Each table's rows are read in one transaction, because they have to add up to what is stored at that
/// moment, and its pages in another: an open one keeps the write-ahead log from beginning anew.
///
/// # Errors
/// If the file cannot be read for a reason that says nothing about it, such as a lock.
pub fn scrub(location: &Location, pace: Pace<'_>) -> Result<Finding> {
    match scrub_tables(location, pace) {
        Err(Failure::Storage { code, message }) if is_damage(code) => Ok(Finding::Damaged(message)),
        other => other,
    }
}

fn scrub_tables(location: &Location, pace: Pace<'_>) -> Result<Finding> {
    let connection = recipe::applier(location, false)?;
    connection.raw().execute_batch("PRAGMA cache_size=-1024; PRAGMA query_only=ON")?;
    for table in &stored_tables(connection.raw())? {
        for look in [add_up, check_pages] {
            connection.run(ours!("BEGIN"))?;
            let found = look(&connection, table, pace);
            connection.run(ours!("ROLLBACK"))?;
            match found? {
                Finding::Sound => {}
                other => return Ok(other),
            }
        }
    }
    Ok(Finding::Sound)
}

/// All tables that have pages, those of the replica alone too.
fn stored_tables(raw: &rusqlite::Connection) -> Result<Vec<String>> {
    let sql = ours!("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name");
    let mut statement = raw.prepare(sql)?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// Whether a table's rows add up to the stored sums.
fn add_up(connection: &Connection, table: &str, pace: Pace<'_>) -> Result<Finding> {
    let raw = connection.raw();
    let stored = System::of(raw).table_sums()?.get(table);
    // As of this transaction: the table may have changed, or be gone, since it was listed. Those of the replica alone have
    // no sums.
    let layouts = Layouts::read(raw)?;
    let Some(layout) = layouts.get(table) else { return Ok(Finding::Sound) };
    let mut unpaced = 0;
    let found = scan(raw, layout, |bytes| {
        unpaced += bytes;
        unpaced < SLICE || pace(std::mem::take(&mut unpaced))
    })?;
    let Some(found) = found else { return Ok(Finding::Ended) };
    if found != stored && table != crate::layout::SEQUENCES {
        let message =
            format!("the rows of {table} are not those that were written: {found:?}, not {stored:?}");
        return Ok(Finding::Damaged(message));
    }
    Ok(Finding::Sound)
}

/// SQLite's own check of a table and its indexes. Constraints that clients declared are not looked at: rows were
/// checked when they were written.
fn check_pages(connection: &Connection, table: &str, pace: Pace<'_>) -> Result<Finding> {
    let raw = connection.raw();
    // It may be gone since its rows were read.
    if !stored_tables(raw)?.iter().any(|stored| stored == table) {
        return Ok(Finding::Sound);
    }
    let ended = Cell::new(false);
    let interrupted = || {
        ended.set(!pace(CHECK_SLICE));
        ended.get()
    };
    let budget = Budget { interrupted: Some(&interrupted), ..Budget::unlimited() };
    let watch = Watch::begin(raw, &budget);
    let mut statement = raw.prepare(&format!("PRAGMA quick_check({})", quote_identifier(table)))?;
    let found: rusqlite::Result<Vec<String>> =
        statement.query_map([], |row| row.get(0)).and_then(Iterator::collect);
    drop(watch);
    if ended.get() {
        return Ok(Finding::Ended);
    }
    let found = found?;
    if found == ["ok"] {
        return Ok(Finding::Sound);
    }
    Ok(Finding::Damaged(format!("{table}: {}", found.join("; "))))
}

/// Whether an error says that the file is not what was written.
fn is_damage(code: i32) -> bool {
    matches!(code & 0xff, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN)
}
