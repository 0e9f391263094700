//! Reading a partition: read-only connections on its write-ahead log, each read in one snapshot.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use common::protocol::{Statement, StatementResult};
use common::row::RowBlock;
use parking_lot::{Condvar, Mutex};

use crate::budget::Budget;
use crate::connection::{Connection, ours};
use crate::error::Result;
use crate::query::{self, Access, Flow};
use crate::recipe::{self, Location};
use crate::system::System;

/// A read-only connection.
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens one.
    pub fn open(location: &Location) -> Result<Reader> {
        Ok(Reader { connection: recipe::reader(location)? })
    }

    /// Opens a snapshot: everything read through it is one state of the partition.
    pub fn snapshot(&mut self) -> Result<Snapshot<'_>> {
        self.begin()?;
        Ok(Snapshot { connection: &self.connection, ends: true })
    }

    fn begin(&self) -> Result<()> {
        self.connection.run(ours!("BEGIN"))?;
        // SQLite opens the snapshot at the first read.
        System::of(self.connection.raw()).position()?;
        Ok(())
    }

    /// Answers one reading statement from a snapshot of its own.
    pub fn query(&mut self, statement: &Statement, budget: &Budget<'_>) -> Result<StatementResult> {
        self.snapshot()?.query(statement, budget)
    }
}

/// Ends the open snapshot, if there is one.
fn end(connection: &Connection) {
    if !connection.raw().is_autocommit() {
        // A read transaction that cannot be ended ends with its connection.
        let _ = connection.run(ours!("ROLLBACK"));
    }
}

/// One state of the partition, kept until dropped. A long one keeps the write-ahead log from being reset.
pub struct Snapshot<'r> {
    connection: &'r Connection,
    /// Whether it ends when this is dropped; else it is a [`PinnedReader`]'s.
    ends: bool,
}

impl Snapshot<'_> {
    pub(crate) fn connection(&self) -> &Connection {
        self.connection
    }

    /// The system tables of this state: its log index, schema version, epoch.
    #[must_use]
    pub fn system(&self) -> System<'_> {
        System::of(self.connection.raw())
    }

    /// Answers a reading statement; rows past the budget are left out, and the answer says so.
    ///
    /// # Errors
    /// `sql_forbidden` if the statement writes.
    pub fn query(&self, statement: &Statement, budget: &Budget<'_>) -> Result<StatementResult> {
        query::answer(self.connection, statement, Access::Read, budget)
    }

    /// The rows of a reading statement; `None` if they are more than the budget.
    ///
    /// # Errors
    /// `sql_forbidden` if the statement writes.
    pub fn rows(&self, statement: &Statement, budget: &Budget<'_>) -> Result<Option<RowBlock>> {
        query::rows(self.connection, statement, budget)
    }

    /// Runs a reading statement and hands on its columns' names and declared types, then its rows in
    /// blocks of about 64 KiB, until somebody says [`Flow::Stop`]. Memory is bounded by a block and a row.
    pub fn stream(
        &self,
        statement: &Statement,
        budget: &Budget<'_>,
        mut header: impl FnMut(Vec<String>, Vec<String>) -> Flow,
        mut block: impl FnMut(RowBlock) -> Flow,
    ) -> Result<()> {
        query::stream(self.connection, statement, budget, &mut header, &mut block)
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if self.ends {
            end(self.connection);
        }
    }
}

/// A reader that keeps its snapshot over many reads, until it is dropped.
pub struct PinnedReader {
    reader: PooledReader,
}

impl PinnedReader {
    /// A reader without a snapshot yet.
    #[must_use]
    pub fn new(reader: PooledReader) -> PinnedReader {
        PinnedReader { reader }
    }

    /// Opens a snapshot of the newest state, in place of the one before.
    pub fn open(&mut self) -> Result<()> {
        end(&self.reader.connection);
        self.reader.begin()
    }

    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { connection: &self.reader.connection, ends: false }
    }
}

impl Drop for PinnedReader {
    fn drop(&mut self) {
        end(&self.reader.connection);
    }
}

/// Readers of one partition: opened when needed, at most `limit` at once, few kept idle.
pub struct ReaderPool {
    shared: Arc<Shared>,
}

struct Shared {
    location: Location,
    limit: usize,
    kept: usize,
    state: Mutex<PoolState>,
    returned: Condvar,
}

struct PoolState {
    idle: Vec<Reader>,
    lent: usize,
}

impl ReaderPool {
    /// A pool that lends at most `limit` readers and keeps at most `kept` idle ones open.
    #[must_use]
    pub fn new(location: Location, limit: usize, kept: usize) -> ReaderPool {
        let state = Mutex::new(PoolState { idle: Vec::new(), lent: 0 });
        let shared = Shared { location, limit: limit.max(1), kept, state, returned: Condvar::new() };
        ReaderPool { shared: Arc::new(shared) }
    }

    /// Borrows a reader; waits while all are lent.
    pub fn acquire(&self) -> Result<PooledReader> {
        let idle = {
            let mut state = self.shared.state.lock();
            while state.lent >= self.shared.limit {
                self.shared.returned.wait(&mut state);
            }
            state.lent += 1;
            state.idle.pop()
        };
        let reader = match idle {
            Some(reader) => Ok(reader),
            None => Reader::open(&self.shared.location),
        };
        match reader {
            Ok(reader) => Ok(PooledReader { reader: Some(reader), shared: Arc::clone(&self.shared) }),
            Err(failure) => {
                self.shared.give_back(None);
                Err(failure)
            }
        }
    }

    /// Borrows a reader that is open and idle, if there is one. Never waits.
    #[must_use]
    pub fn acquire_idle(&self) -> Option<PooledReader> {
        let mut state = self.shared.state.lock();
        if state.lent >= self.shared.limit {
            return None;
        }
        let reader = state.idle.pop()?;
        state.lent += 1;
        Some(PooledReader { reader: Some(reader), shared: Arc::clone(&self.shared) })
    }

    /// How many readers are lent now.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.shared.state.lock().lent
    }
}

impl Shared {
    fn give_back(&self, reader: Option<Reader>) {
        let mut state = self.state.lock();
        state.lent -= 1;
        if let Some(reader) = reader
            && state.idle.len() < self.kept
        {
            state.idle.push(reader);
        }
        drop(state);
        self.returned.notify_one();
    }
}

/// A reader that goes back to its pool when dropped.
pub struct PooledReader {
    reader: Option<Reader>,
    shared: Arc<Shared>,
}

impl Deref for PooledReader {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        self.reader.as_ref().expect("present until dropped")
    }
}

impl DerefMut for PooledReader {
    fn deref_mut(&mut self) -> &mut Reader {
        self.reader.as_mut().expect("present until dropped")
    }
}

impl Drop for PooledReader {
    fn drop(&mut self) {
        self.shared.give_back(self.reader.take());
    }
}
