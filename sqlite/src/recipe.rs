//! How each kind of connection is opened. A reader, an executor, a shadow and a merge database are safe
//! against hostile text; the applier and maintenance run none.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use crate::authorizer::Role;
use crate::connection::Connection;
use crate::document_fields;
use crate::error::{Failure, Result};
use crate::fixed_moment;
use crate::grouping;
use crate::partial_sum;
use crate::pinned;
use crate::shipped_rows;

/// Milliseconds that a connection waits for a lock of another one. Writers of one partition take turns by
/// design, so a wait is short or a fault.
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// Where a database file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its path.
    pub path: PathBuf,
    /// Name of the VFS to open it with; `None` for the operating system's.
    pub vfs: Option<String>,
}

impl Location {
    /// A file of the operating system.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Location {
        Location { path: path.into(), vfs: None }
    }

    /// A file of a simulated disk.
    #[must_use]
    pub fn with_vfs(path: impl Into<PathBuf>, vfs: impl Into<String>) -> Location {
        Location { path: path.into(), vfs: Some(vfs.into()) }
    }

    pub(crate) fn open(&self, flags: OpenFlags) -> Result<rusqlite::Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = match &self.vfs {
            None => rusqlite::Connection::open_with_flags(&self.path, flags),
            Some(vfs) => {
                let vfs = CString::new(vfs.as_str()).expect("a VFS name holds no NUL");
                rusqlite::Connection::open_with_flags_and_vfs(&self.path, flags, vfs.as_c_str())
            }
        };
        opened.map_err(Failure::from)
    }
}

/// Options of the bundled SQLite without which the same text would mean something else, or effects could
/// not be captured.
const OPTIONS_NEEDED: [&str; 4] =
    ["ENABLE_PREUPDATE_HOOK", "ENABLE_MATH_FUNCTIONS", "ENABLE_STAT4", "ENABLE_FTS5"];

/// Checks that SQLite was built as this program needs it. To be called once when a process starts.
///
/// # Panics
/// If it was not: the program was built without the flags in `.cargo/config.toml`.
pub fn assert_build() {
    let connection = rusqlite::Connection::open_in_memory().expect("an in-memory database opens");
    for option in OPTIONS_NEEDED {
        let present: bool = connection
            .query_row("SELECT sqlite_compileoption_used(?)", [option], |row| row.get(0))
            .expect("compile options can be read");
        assert!(
            present,
            "SQLite was built without {option}; LIBSQLITE3_FLAGS of .cargo/config.toml is missing"
        );
    }
}

/// A read-only connection for client text.
pub(crate) fn reader(location: &Location) -> Result<Connection> {
    let raw = location.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    pragmas(&raw, &["query_only=ON", "cache_size=-2048"])?;
    hostile_safe(&raw)?;
    partial_sum::load_part(&raw)?;
    grouping::load(&raw)?;
    shipped_rows::load_module(&raw)?;
    Connection::new(raw, Role::Reader)
}

/// The leader's writing connection for client text.
pub(crate) fn executor(location: &Location) -> Result<Connection> {
    let vfs = location.vfs.clone().unwrap_or_else(|| pinned::vfs().to_owned());
    let location = Location::with_vfs(&location.path, vfs);
    let raw = location.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    write_ahead(&raw)?;
    hostile_safe(&raw)?;
    pinned::load(&raw)?;
    partial_sum::load_part(&raw)?;
    grouping::load(&raw)?;
    Connection::new(raw, Role::Executor)
}

/// A connection that lands rows and checked DDL. Rows were checked where they were computed; here a
/// constraint, trigger or limit could only make replicas differ.
pub(crate) fn applier(location: &Location, create: bool) -> Result<Connection> {
    let flags = if create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let raw = location.open(OpenFlags::SQLITE_OPEN_READ_WRITE | flags)?;
    write_ahead(&raw)?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    pragmas(
        &raw,
        &[
            "ignore_check_constraints=ON",
            "cell_size_check=ON",
            "mmap_size=0",
            "temp_store=MEMORY",
            // ANALYZE looks at a part of each index, so that it takes a moment at any size.
            "analysis_limit=1000",
        ],
    )?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // The role judges the text of views that DDL made; nothing else here is taken for a client's.
    Connection::new(raw, Role::Shadow)
}

/// An in-memory connection for client text.
pub(crate) fn in_memory(role: Role) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let raw = rusqlite::Connection::open_in_memory_with_flags(flags)?;
    hostile_safe(&raw)?;
    Connection::new(raw, role)
}

/// A connection for client text on private temporary files; only what does not fit in `memory` bytes reaches
/// them. Half of that is for pages, and as much again for rows that are being sorted.
pub(crate) fn temporary(role: Role, vfs: &str, memory: usize) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    // An empty name is SQLite's word for a private temporary database.
    let raw = Location::with_vfs(Path::new(""), vfs).open(flags)?;
    hostile_safe(&raw)?;
    shipped_rows::load_module(&raw)?;
    // The plan that was asked about is the plan that runs, whatever the parameters are.
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    pragmas(
        &raw,
        &[
            &format!("cache_size=-{}", memory / 2 / 1024),
            "journal_mode=DELETE",
            "synchronous=OFF",
            "temp_store=FILE",
        ],
    )?;
    Connection::new(raw, role)
}

/// The Raft log is the durable thing, so commits need no fsync of their own; checkpoints happen when
/// maintenance says so.
fn write_ahead(raw: &rusqlite::Connection) -> Result<()> {
    raw.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    let mode: String = raw.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Failure::Storage { code: 1, message: format!("journal mode is {mode} instead of wal") });
    }
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    pragmas(raw, &["synchronous=NORMAL", "wal_autocheckpoint=0", "cache_size=-16384"])
}

/// What hostile text must not find open. Legal statements of ordinary programs fit in these limits; the
/// deadline stops what costs too much within them.
pub(crate) fn hostile_safe(raw: &rusqlite::Connection) -> Result<()> {
    raw.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    pragmas(
        raw,
        &[
            "mmap_size=0",
            "cell_size_check=ON",
            "foreign_keys=ON",
            "recursive_triggers=OFF",
            "temp_store=MEMORY",
        ],
    )?;
    rusqlite::vtab::series::load_module(raw)?;
    document_fields::load(raw)?;
    fixed_moment::load(raw)?;
    for (option, value) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
    ] {
        raw.set_db_config(option, value)?;
    }
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, (16 << 20) + (64 << 10)),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 1_000_000),
        (Limit::SQLITE_LIMIT_COLUMN, 2_000),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 1_000),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 500),
        (Limit::SQLITE_LIMIT_VDBE_OP, 25_000_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50_000),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 32_766),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1_000),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        raw.set_limit(limit, value)?;
    }
    Ok(())
}

fn pragmas(raw: &rusqlite::Connection, settings: &[&str]) -> Result<()> {
    for setting in settings {
        raw.execute_batch(&format!("PRAGMA {setting}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn sqlite_is_built_as_needed() {
        super::assert_build();
    }
}
