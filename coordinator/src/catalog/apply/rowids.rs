//! Rowids over partitions: greatest + 1, as in one SQLite file, with no gap visible to a client that sends one
//! statement after another.

use common::catalog::Catalog;
use common::schema::TableSpec;
use common::{Error, ErrorCode, Result};

use super::ready_database;
use crate::catalog::Answer;

/// SQLite's primary result code for "database or disk is full", which it answers when rowids have run out.
const SQLITE_FULL: i32 = 13;

/// The rowid that the first row of a table gets.
const FIRST_ROWID: i64 = 1;

pub(super) fn allocate(
    catalog: &mut Catalog,
    database: &str,
    name: &str,
    count: u64,
    greatest: Option<i64>,
) -> Result<Answer> {
    let table = table(catalog, database, name)?;
    let next = match greatest {
        // As long as none was handed out, rows whose rowids are all negative are followed as in one file.
        Some(greatest) if greatest < 0 && table.next_rowid == FIRST_ROWID => greatest + 1,
        Some(greatest) => table.next_rowid.max(greatest.checked_add(1).ok_or_else(rowids_exhausted)?),
        None if table.rowids_set_by_client => return Ok(Answer::NeedsGreatest),
        None => table.next_rowid,
    };
    let after = i64::try_from(count).ok().and_then(|count| next.checked_add(count));
    table.next_rowid = after.ok_or_else(rowids_exhausted)?;
    table.rowids_set_by_client = false;
    Ok(Answer::Rowids { first: next })
}

/// Takes back what was not used, unless others have been handed out since: then the gap stays.
pub(super) fn release(
    catalog: &mut Catalog,
    database: &str,
    name: &str,
    first: i64,
    count: u64,
) -> Result<Answer> {
    let table = table(catalog, database, name)?;
    let after = i64::try_from(count).ok().and_then(|count| first.checked_add(count));
    if after == Some(table.next_rowid) {
        table.next_rowid = first;
    }
    Ok(Answer::Done)
}

pub(super) fn set_by_client(catalog: &mut Catalog, database: &str, name: &str) -> Result<Answer> {
    table(catalog, database, name)?.rowids_set_by_client = true;
    Ok(Answer::Done)
}

fn table<'a>(catalog: &'a mut Catalog, database: &str, name: &str) -> Result<&'a mut TableSpec> {
    ready_database(catalog, database)?
        .schema
        .tables
        .get_mut(&name.to_ascii_lowercase())
        .ok_or_else(|| Error::new(ErrorCode::TableNotFound, format!("Table '{name}' not found")))
}

fn rowids_exhausted() -> Error {
    let mut error = Error::new(ErrorCode::SqlError, "database or disk is full");
    error.sqlite_code = Some(SQLITE_FULL);
    error.with_hint("the greatest possible rowid is in use; give the rows their ids")
}
