//! A stream of rows as a table that can be read once: a virtual table (<https://sqlite.org/vtab.html>)
//! without constraints, indexes or a second scan, whose memory is one block.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int};
use std::marker::PhantomData;
use std::sync::Arc;

use common::row::{RowBlock, ValueRef, read_value};
use common::{Error, ErrorCode};
use parking_lot::Mutex;
use rusqlite::vtab::{
    Context, CreateVTab, Filters, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor, VTabKind,
};
use rusqlite::{Connection, ffi};

use crate::binding::Bound;
use crate::error::Result;

/// Name of the virtual tables' module.
pub(crate) const MODULE_NAME: &str = "gathered_stream";

/// What reading a row of a stream costs, in the unit of SQLite's planner: about what a row of a table does.
const COST_OF_ROW: f64 = 3.0;

/// What a second scan of a stream is told.
const READ_TWICE: &str = "a stream of gathered rows was read twice";

/// Whether an error says that a stream was scanned a second time, so that the text must run over relations.
#[must_use]
pub fn was_read_twice(error: &Error) -> bool {
    error.code == ErrorCode::Internal && error.message == READ_TWICE
}

/// Gives the next block of rows, `None` after the last. It may wait.
pub type RowSource = Box<dyn FnMut() -> common::Result<Option<RowBlock>> + Send>;

/// Streams by the names of their tables, shared by a connection and its virtual tables.
pub(crate) type Streams = Arc<Mutex<StreamRegistry>>;

#[derive(Default)]
pub(crate) struct StreamRegistry {
    by_table: HashMap<String, Stream>,
    /// The name of each stream by its number.
    names: Vec<String>,
    failure: Option<Error>,
}

/// A stream that waits for its table to be scanned. It is told where its rows come from before that.
pub(crate) struct Stream {
    /// The columns as a CREATE TABLE statement, of which SQLite takes names, types and collations.
    pub(crate) declaration: String,
    /// For each column of the table, its place in the rows.
    pub(crate) places: Vec<Option<usize>>,
    /// Where the rowid is in the rows; without it rows are numbered.
    pub(crate) rowid: Option<usize>,
    /// How many rows are expected: SQLite orders joins by it.
    pub(crate) rows_expected: i64,
    pub(crate) source: Option<RowSource>,
}

/// Makes the module known to a connection.
pub(crate) fn load_module(connection: &Connection) -> Result<Streams> {
    const MODULE: Module<'_, StreamTable> = Module::read_only_module();
    let streams = Streams::default();
    connection.create_module(MODULE_NAME, &MODULE, Some(Arc::clone(&streams)))?;
    Ok(streams)
}

impl StreamRegistry {
    pub(crate) fn add(&mut self, table: &str, stream: Stream) {
        self.by_table.insert(table.to_owned(), stream);
        self.names.push(table.to_owned());
    }

    /// The name of the stream that shows itself in plans by that number.
    pub(crate) fn name(&self, number: i32) -> Option<&str> {
        usize::try_from(number).ok().and_then(|number| self.names.get(number)).map(String::as_str)
    }

    /// Says where a stream's rows come from. `false` if there is no such stream.
    pub(crate) fn feed(&mut self, table: &str, source: RowSource) -> bool {
        let stream = self.by_table.get_mut(table);
        let found = stream.is_some();
        if let Some(stream) = stream {
            stream.source = Some(source);
        }
        found
    }

    /// Takes a stream out.
    pub(crate) fn remove(&mut self, table: &str) {
        self.by_table.remove(table);
    }

    /// Why a stream ended early, once.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }
}

#[repr(C)]
struct StreamTable {
    /// SQLite's own part, which must come first.
    base: ffi::sqlite3_vtab,
    /// By which plans name it.
    number: i32,
    rows_expected: i64,
    streams: Streams,
    table: String,
    places: Vec<Option<usize>>,
    rowid: Option<usize>,
}

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab`, as the trait demands.
unsafe impl<'vtab> VTab<'vtab> for StreamTable {
    type Aux = Streams;
    type Cursor = StreamCursor<'vtab>;

    fn connect(
        db: &mut VTabConnection,
        aux: Option<&Streams>,
        _module: &[u8],
        _database: &[u8],
        table: &[u8],
        _arguments: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, StreamTable)> {
        let streams = Arc::clone(aux.ok_or_else(|| module_error("the module has no streams"))?);
        let table = String::from_utf8_lossy(table).into_owned();
        let (declaration, places, rowid, rows_expected, number) = {
            let registry = streams.lock();
            let stream = registry.by_table.get(&table).ok_or_else(|| module_error("no such stream"))?;
            let number = registry.names.iter().position(|name| *name == table);
            let number = number.and_then(|number| i32::try_from(number).ok());
            let number = number.ok_or_else(|| module_error("a stream without a number"))?;
            let declaration = CString::new(stream.declaration.as_str())?;
            (declaration, stream.places.clone(), stream.rowid, stream.rows_expected, number)
        };
        // Views may read it although its schema is not trusted.
        db.config(VTabConfig::Innocuous)?;
        let base = ffi::sqlite3_vtab::default();
        let table = StreamTable { base, number, rows_expected, streams, table, places, rowid };
        Ok((Cow::Owned(declaration), table))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        info.set_idx_num(self.number);
        info.set_idx_str(MODULE_NAME);
        info.set_estimated_rows(self.rows_expected);
        // A count of rows is far below what a float holds exactly.
        #[allow(clippy::cast_precision_loss)]
        info.set_estimated_cost(self.rows_expected as f64 * COST_OF_ROW);
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<StreamCursor<'vtab>> {
        Ok(StreamCursor {
            base: ffi::sqlite3_vtab_cursor::default(),
            streams: Arc::clone(&self.streams),
            table: self.table.clone(),
            places: self.places.clone(),
            rowid: self.rowid,
            source: None,
            block: RowBlock::default(),
            position: 0,
            rows_left: 0,
            starts: Vec::new(),
            number: 0,
            ended: false,
            lifetime: PhantomData,
        })
    }
}

impl CreateVTab<'_> for StreamTable {
    const KIND: VTabKind = VTabKind::Default;
}

#[repr(C)]
struct StreamCursor<'vtab> {
    /// SQLite's own part, which must come first.
    base: ffi::sqlite3_vtab_cursor,
    streams: Streams,
    table: String,
    places: Vec<Option<usize>>,
    rowid: Option<usize>,
    source: Option<RowSource>,
    block: RowBlock,
    /// Where the next row begins in the block.
    position: usize,
    rows_left: u32,
    /// Where each column of the row at hand begins.
    starts: Vec<usize>,
    number: i64,
    ended: bool,
    lifetime: PhantomData<&'vtab StreamTable>,
}

impl StreamCursor<'_> {
    /// Reads blocks until one has a row; `false` at the end of the stream.
    fn next_block(&mut self) -> rusqlite::Result<bool> {
        let source = self.source.as_mut().ok_or_else(|| module_error("the stream was not begun"))?;
        while self.rows_left == 0 {
            match source() {
                Ok(Some(block)) => {
                    self.rows_left = block.rows;
                    self.position = 0;
                    self.block = block;
                }
                Ok(None) => return Ok(false),
                Err(error) => {
                    let message = error.message.clone();
                    self.streams.lock().failure = Some(error);
                    return Err(module_error(&message));
                }
            }
        }
        Ok(true)
    }

    fn step(&mut self) -> rusqlite::Result<()> {
        self.number += 1;
        if self.rows_left == 0 && !self.next_block()? {
            self.ended = true;
            return Ok(());
        }
        self.rows_left -= 1;
        self.starts.clear();
        let mut rest = &self.block.data[self.position..];
        for _ in 0..self.block.columns {
            self.starts.push(self.block.data.len() - rest.len());
            read_value(&mut rest).map_err(|error| module_error(&error.to_string()))?;
        }
        self.position = self.block.data.len() - rest.len();
        Ok(())
    }

    fn value(&self, place: usize) -> rusqlite::Result<ValueRef<'_>> {
        let start = *self.starts.get(place).ok_or_else(|| module_error("a row has too few columns"))?;
        read_value(&mut &self.block.data[start..]).map_err(|error| module_error(&error.to_string()))
    }
}

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab_cursor`, as the trait demands.
unsafe impl VTabCursor for StreamCursor<'_> {
    fn filter(&mut self, _: c_int, _: Option<&str>, _: &Filters<'_>) -> rusqlite::Result<()> {
        let source = self.streams.lock().by_table.get_mut(&self.table).and_then(|s| s.source.take());
        let Some(source) = source else {
            self.streams.lock().failure = Some(Error::internal(READ_TWICE));
            return Err(module_error(READ_TWICE));
        };
        self.source = Some(source);
        self.step()
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.step()
    }

    fn eof(&self) -> bool {
        self.ended
    }

    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()> {
        let place =
            usize::try_from(column).ok().and_then(|column| self.places.get(column).copied()).flatten();
        let value = place.map_or(Ok(ValueRef::Null), |place| self.value(place))?;
        context.set_result(Bound(value))
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        match self.rowid.map(|place| self.value(place)).transpose()? {
            Some(ValueRef::Integer(rowid)) => Ok(rowid),
            Some(_) => Err(module_error("a rowid is not an integer")),
            None => Ok(self.number),
        }
    }
}

fn module_error(message: &str) -> rusqlite::Error {
    rusqlite::Error::ModuleError(message.to_owned())
}
