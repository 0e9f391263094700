//! Care of a replica's file: checkpoints, fsync of the write-ahead log, backups, checks, sizes, digests.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use common::names::{is_internal_table, quote_identifier};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{OpenFlags, ffi};

use crate::connection::{Connection, ours};
use crate::error::{Failure, Result};
use crate::layout::Layouts;
use crate::recipe::{self, Location};
use crate::table_sums::{self, Digest};

/// Pages copied between two looks at whether a backup should go on.
const BACKUP_PAGES: i32 = 256;

/// Steps of a backup after which it is synced.
const STEPS_SYNCED: u32 = 16;

/// Bytes before each page in the write-ahead log (<https://sqlite.org/fileformat2.html#wal_file_format>).
const FRAME_HEADER: i64 = 24;

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Frames in the write-ahead log.
    pub log_frames: u32,
    /// How many of them are in the database file now.
    pub moved_frames: u32,
    /// Whether the log begins anew, with the next write at the latest; readers of old snapshots prevent it.
    pub restarted: bool,
}

/// A connection for care. It is never used for clients or for applying.
pub struct Maintenance {
    connection: Connection,
    location: Location,
}

impl Maintenance {
    /// Opens one.
    pub fn open(location: &Location) -> Result<Maintenance> {
        Ok(Maintenance { connection: recipe::applier(location, false)?, location: location.clone() })
    }

    /// Moves the write-ahead log into the database file, which is fsynced, so that the next write begins it anew. To be
    /// called between batches. Readers of older states are waited for as long as `patience` says: where reads overlap
    /// all the time, there is no moment without one, and the log would never begin anew.
    pub fn checkpoint(&self, patience: Duration) -> Result<Checkpoint> {
        self.run_checkpoint(ours!("PRAGMA wal_checkpoint(RESTART)"), patience)
    }

    /// The same when no write is to be expected: the log is emptied, which the next writes pay for, because its file
    /// has to grow again.
    pub fn empty_wal(&self) -> Result<Checkpoint> {
        self.run_checkpoint(ours!("PRAGMA wal_checkpoint(TRUNCATE)"), Duration::ZERO)
    }

    fn run_checkpoint(&self, sql: &'static str, patience: Duration) -> Result<Checkpoint> {
        let mut statement = self.connection.raw().prepare_cached(sql)?;
        self.connection.raw().busy_timeout(patience)?;
        let (busy, log, moved): (bool, i64, i64) =
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let count = |frames: i64| u32::try_from(frames.max(0)).unwrap_or(u32::MAX);
        Ok(Checkpoint { log_frames: count(log), moved_frames: count(moved), restarted: !busy })
    }

    /// Fsyncs the write-ahead log: every transaction committed before survives a power cut, so the Raft log
    /// may be truncated below the applied index that was read before the call.
    pub fn sync_wal(&self) -> Result<()> {
        // A read makes this connection open the file.
        self.connection.raw().query_row(ours!("SELECT count(*) FROM sqlite_schema"), [], |_| Ok(()))?;
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        // SAFETY: the handle is open; SQLite answers a pointer to the connection's log file, which it keeps
        // open as long as the connection; a file without methods is not open.
        let code = unsafe {
            let code = ffi::sqlite3_file_control(
                self.connection.raw().handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_JOURNAL_POINTER,
                (&raw mut file).cast(),
            );
            match (code, file.as_ref().and_then(|file| file.pMethods.as_ref()).and_then(|m| m.xSync)) {
                (ffi::SQLITE_OK, Some(sync)) => {
                    sync(file, ffi::SQLITE_SYNC_NORMAL | ffi::SQLITE_SYNC_DATAONLY)
                }
                (ffi::SQLITE_OK, None) => ffi::SQLITE_IOERR_FSYNC,
                (code, _) => code,
            }
        };
        if code != ffi::SQLITE_OK {
            return Err(Failure::Storage {
                code,
                message: "the write-ahead log could not be fsynced".into(),
            });
        }
        self.sync_folder(&self.location.path)
    }

    /// Bytes of the write-ahead log that whoever opens the file after a crash has to read: all since it began anew,
    /// whether or not they were moved since. Its file keeps its size then, so that size would tell nothing.
    pub fn wal_bytes(&self) -> Result<u64> {
        let mut statement = self.connection.raw().prepare_cached(ours!("PRAGMA wal_checkpoint(NOOP)"))?;
        let frames: i64 = statement.query_row([], |row| row.get(1))?;
        let mut statement = self.connection.raw().prepare_cached(ours!("PRAGMA page_size"))?;
        let page: i64 = statement.query_row([], |row| row.get(0))?;
        Ok(u64::try_from(frames.max(0) * (page + FRAME_HEADER)).unwrap_or(0))
    }

    /// Size of the database's pages that are in use, in bytes, wherever they are: what is in the write-ahead log counts
    /// once, and free pages do not.
    pub fn used_bytes(&self) -> Result<u64> {
        let number = |sql| -> Result<i64> {
            let mut statement = self.connection.raw().prepare_cached(sql)?;
            Ok(statement.query_row([], |row| row.get(0))?)
        };
        let pages = number(ours!("PRAGMA page_count"))? - number(ours!("PRAGMA freelist_count"))?;
        Ok(u64::try_from(pages * number(ours!("PRAGMA page_size"))?).unwrap_or(0))
    }

    /// Size on disk of the database file and its write-ahead log, in bytes.
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.size_of_file(ffi::SQLITE_FCNTL_FILE_POINTER)?
            + self.size_of_file(ffi::SQLITE_FCNTL_JOURNAL_POINTER)?)
    }

    fn size_of_file(&self, which: i32) -> Result<u64> {
        self.connection.raw().query_row(ours!("SELECT count(*) FROM sqlite_schema"), [], |_| Ok(()))?;
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        let mut size: ffi::sqlite3_int64 = 0;
        // SAFETY: as in `sync_wal`.
        let code = unsafe {
            let code = ffi::sqlite3_file_control(
                self.connection.raw().handle(),
                c"main".as_ptr(),
                which,
                (&raw mut file).cast(),
            );
            match (code, file.as_ref().and_then(|file| file.pMethods.as_ref()).and_then(|m| m.xFileSize)) {
                (ffi::SQLITE_OK, Some(file_size)) => file_size(file, &raw mut size),
                (code, _) => code,
            }
        };
        if code != ffi::SQLITE_OK {
            return Err(Failure::Storage { code, message: "a file's size could not be read".into() });
        }
        Ok(u64::try_from(size).unwrap_or(0))
    }

    /// Copies the database as of one read transaction into a new file, fsynced with its folder. The copy
    /// has no write-ahead log. `go_on` is told the bytes that were copied every few hundred pages.
    ///
    /// # Errors
    /// `unavailable` if `go_on` said no; the unfinished copy is left for the caller to remove.
    pub fn backup(&self, to: &Location, mut go_on: impl FnMut(usize) -> bool) -> Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut target = to.open(flags)?;
        // The read transaction keeps other connections' writes from starting the copy over.
        self.connection.run(ours!("BEGIN"))?;
        let copied = self.copy_into(&mut target, to, &mut go_on);
        self.connection.run(ours!("ROLLBACK"))?;
        copied?;
        // Leaving WAL mode makes the copy one file, and fsyncs it.
        target.execute_batch("PRAGMA synchronous=FULL; PRAGMA journal_mode=DELETE")?;
        drop(target);
        if to.vfs.is_none() {
            let opened = File::options().read(true).write(true).open(&to.path);
            opened.and_then(|file| file.sync_all()).map_err(|error| io_failure(&to.path, &error))?;
        }
        self.sync_folder(&to.path)
    }

    fn copy_into(
        &self,
        target: &mut rusqlite::Connection,
        to: &Location,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<()> {
        self.connection.raw().query_row(ours!("SELECT count(*) FROM sqlite_schema"), [], |_| Ok(()))?;
        let page: u32 = self.connection.raw().query_row(ours!("PRAGMA page_size"), [], |row| row.get(0))?;
        let step = (page * BACKUP_PAGES.unsigned_abs()) as usize;
        let backup = Backup::new(self.connection.raw(), target)?;
        let mut unsynced = 0;
        loop {
            match backup.step(BACKUP_PAGES)? {
                StepResult::Done => return Ok(()),
                StepResult::More if go_on(step) => {
                    unsynced += 1;
                    // One sync of the whole copy would hold up all others on the same disk.
                    if unsynced == STEPS_SYNCED && to.vfs.is_none() {
                        unsynced = 0;
                        let opened = File::options().write(true).open(&to.path);
                        opened
                            .and_then(|file| file.sync_data())
                            .map_err(|error| io_failure(&to.path, &error))?;
                    }
                }
                _ => {
                    return Err(Failure::from_sqlite(ffi::SQLITE_BUSY, "the backup was ended".into(), false));
                }
            }
        }
    }

    /// Folders on a simulated disk need no fsync of their own.
    fn sync_folder(&self, file: &Path) -> Result<()> {
        if self.location.vfs.is_some() {
            return Ok(());
        }
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_failure(folder, &error))
    }

    /// What `PRAGMA integrity_check` finds; empty if the file is sound.
    pub fn integrity_check(&self) -> Result<Vec<String>> {
        let mut statement = self.connection.raw().prepare(ours!("PRAGMA integrity_check"))?;
        let found: Vec<String> =
            statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(if found == ["ok"] { Vec::new() } else { found })
    }

    /// How many idempotency keys are remembered.
    pub fn count_keys(&self) -> Result<u64> {
        let sql = ours!("SELECT count(*) FROM _keys");
        let count: i64 = self.connection.raw().query_row(sql, [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Rows of each of the client's tables. Reads every table.
    pub fn count_rows(&self) -> Result<Vec<(String, u64)>> {
        let layouts = Layouts::read(self.connection.raw())?;
        let client = layouts.tables.iter().filter(|layout| !is_internal_table(&layout.name));
        client
            .map(|layout| {
                let sql = format!("SELECT count(*) FROM {}", quote_identifier(&layout.name));
                let rows: i64 = self.connection.raw().query_row(&sql, [], |row| row.get(0))?;
                Ok((layout.name.clone(), u64::try_from(rows).unwrap_or(0)))
            })
            .collect()
    }

    /// Digest of everything that is replicated, by reading all of it: equal on replicas that applied the same log,
    /// and equal to [`crate::Applier::digest`].
    pub fn digest(&self) -> Result<Digest> {
        self.connection.run(ours!("BEGIN"))?;
        let raw = self.connection.raw();
        let digest = table_sums::scan_all(raw).and_then(|sums| table_sums::digest(raw, &sums));
        self.connection.run(ours!("ROLLBACK"))?;
        digest
    }
}

fn io_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Storage { code: ffi::SQLITE_IOERR_FSYNC, message: format!("{}: {error}", path.display()) }
}
