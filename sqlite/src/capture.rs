//! Capturing the rows that statements change, through SQLite's pre-update hook
//! (<https://sqlite.org/c3ref/preupdate_count.html>).

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use common::entry::{Change, Effect, Effects};
use common::limits::EFFECTS_MAX;
use common::protocol::SchemaStep;
use common::row::ValueRef;
use common::{Error, ErrorCode, Value};
use rusqlite::ffi;

use crate::error::{Failure, Result};
use crate::layout::{Key, Layout, Layouts};
use crate::system;
use crate::table_sums::{ChangeSums, RowHasher, TableSums};
use crate::touched_keys::{KeyWatch, TouchedKeys, WatchList};

/// A place in the effects to cut back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    tables: usize,
    rows: usize,
    bytes: usize,
}

/// What goes wrong inside the hook, where it can only be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    MalformedText,
    TooLarge,
    UnknownTable,
    Value(c_int),
    Panic,
}

#[derive(Default)]
struct State {
    layouts: Arc<Layouts>,
    effects: Effects,
    /// For each of them the hash of the row that it removes or replaces.
    old_hashes: Vec<u128>,
    hasher: RowHasher,
    watch: KeyWatch,
    /// From a table's position among the layouts to its position among the effects' tables.
    numbers: HashMap<usize, u16>,
    /// The table of the last change: the next one is most often of the same.
    last: Option<(usize, u16)>,
    bytes: usize,
    keeps_old_rows: bool,
    paused: bool,
    /// Whether a row was inserted since this was last asked.
    inserted: bool,
    problem: Option<Problem>,
}

/// The rows changed through one connection. Must be dropped before the connection is.
pub(crate) struct Capture {
    handle: *mut ffi::sqlite3,
    /// Lent to SQLite until the hook is removed. The hook runs only inside calls into SQLite, during which
    /// nobody else uses it.
    state: *mut State,
}

// SAFETY: the state and the handle are used by one thread at a time, the one that has the connection, as
// the owner of both holds them together; SQLite's handle may move between threads.
unsafe impl Send for Capture {}

impl Capture {
    /// Begins to capture. `keeps_old_rows`: changes carry the columns that the row had.
    pub(crate) fn install(connection: &rusqlite::Connection, keeps_old_rows: bool) -> Capture {
        let state = Box::into_raw(Box::new(State { keeps_old_rows, ..State::default() }));
        // SAFETY: the handle is open, and whoever holds the capture drops it before the connection.
        let handle = unsafe { connection.handle() };
        // SAFETY: `state` is valid until the hook is removed in `drop`.
        unsafe { ffi::sqlite3_preupdate_hook(handle, Some(on_change), state.cast()) };
        Capture { handle, state }
    }

    fn state(&self) -> &State {
        // SAFETY: valid until `drop`; no call into SQLite runs while the borrow lives, so the hook does not.
        unsafe { &*self.state }
    }

    fn state_mut(&mut self) -> &mut State {
        // SAFETY: as in `state`, and `&mut self` makes it the only borrow.
        unsafe { &mut *self.state }
    }

    /// The tables as they are from now on; what was captured is forgotten.
    pub(crate) fn set_layouts(&mut self, layouts: Arc<Layouts>) {
        let state = self.state_mut();
        state.follow(layouts);
        state.forget();
    }

    /// The schema has changed between the rows that are captured.
    pub(crate) fn change_schema(&mut self, step: SchemaStep, layouts: Arc<Layouts>) {
        let state = self.state_mut();
        state.effects.rows.push(Effect { table: 0, change: Change::Schema(step) });
        state.old_hashes.push(0);
        state.follow(layouts);
    }

    /// The tables are laid out so from now on; what was captured stays.
    pub(crate) fn follow(&mut self, layouts: Arc<Layouts>) {
        self.state_mut().follow(layouts);
    }

    pub(crate) fn layouts(&self) -> &Arc<Layouts> {
        &self.state().layouts
    }

    /// Whether changes carry the columns that the row had.
    pub(crate) fn keep_old_rows(&mut self, keep: bool) {
        self.state_mut().keeps_old_rows = keep;
    }

    /// While paused, changes are not captured.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.state_mut().paused = paused;
    }

    pub(crate) fn mark(&self) -> Mark {
        let state = self.state();
        Mark { tables: state.effects.tables.len(), rows: state.effects.rows.len(), bytes: state.bytes }
    }

    /// Forgets what was captured since the mark: it was rolled back.
    pub(crate) fn cut(&mut self, mark: Mark) {
        let state = self.state_mut();
        state.effects.rows.truncate(mark.rows);
        state.old_hashes.truncate(mark.rows);
        state.effects.tables.truncate(mark.tables);
        state.numbers.retain(|_, number| usize::from(*number) < mark.tables);
        state.last = None;
        state.bytes = mark.bytes;
        state.problem = None;
        state.inserted = false;
    }

    /// What was captured, leaving nothing.
    pub(crate) fn take(&mut self) -> Effects {
        let state = self.state_mut();
        let effects = std::mem::take(&mut state.effects);
        state.forget();
        effects
    }

    /// What was captured and what it does to the tables' sums, leaving nothing.
    pub(crate) fn take_with_sums(&mut self) -> (Effects, TableSums) {
        let state = self.state_mut();
        let layouts = Arc::clone(&state.layouts);
        let tables: Vec<_> = state.effects.tables.iter().map(|table| layouts.get(table)).collect();
        let mut sums = ChangeSums::default();
        for (effect, old) in state.effects.rows.iter().zip(&state.old_hashes) {
            if let Some(Some(layout)) = tables.get(usize::from(effect.table)) {
                sums.count(layout, effect, *old);
            }
        }
        let effects = self.take();
        let sums = sums.of(&effects.tables);
        (effects, sums)
    }

    /// Notes which keys of some columns are touched, from now on.
    pub(crate) fn watch(&mut self, list: &WatchList) {
        let state = self.state_mut();
        state.watch.watch(list, &state.layouts);
    }

    /// The keys that were touched since this was last asked; also by what was cut.
    pub(crate) fn take_touched(&mut self) -> TouchedKeys {
        self.state_mut().watch.take()
    }

    /// Appends a change that the hook cannot see.
    pub(crate) fn push(&mut self, table: &str, change: Change) {
        let state = self.state_mut();
        let Some(position) = state.layouts.position(table) else { return };
        let number = state.number(position);
        state.effects.rows.push(Effect { table: number, change });
        state.old_hashes.push(0);
    }

    /// What was captured since a mark.
    pub(crate) fn since(&self, mark: Mark) -> Effects {
        let mut effects = self.effects().clone();
        effects.rows.drain(..mark.rows.min(effects.rows.len()));
        effects
    }

    /// What was captured so far.
    pub(crate) fn effects(&self) -> &Effects {
        &self.state().effects
    }

    /// Whether a row was inserted since this was last asked.
    pub(crate) fn take_inserted(&mut self) -> bool {
        std::mem::take(&mut self.state_mut().inserted)
    }

    /// Fails if a change could not be captured; what was done since the last mark must be rolled back.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.state_mut().problem.take() {
            None => Ok(()),
            Some(Problem::MalformedText) => Err(Error::malformed_text().into()),
            Some(Problem::TooLarge) => {
                Err(Error::new(ErrorCode::ValueTooBig, "the request changes more than 1 GiB")
                    .with_hint("change the rows in several requests")
                    .into())
            }
            Some(problem) => {
                Err(Failure::refused(Error::internal(format!("a change could not be captured: {problem:?}"))))
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // SAFETY: the connection is still open (see the type's comment); once the hook is removed nobody
        // else holds the state, which came from `Box::into_raw`.
        unsafe {
            ffi::sqlite3_preupdate_hook(self.handle, None, std::ptr::null_mut());
            drop(Box::from_raw(self.state));
        }
    }
}

impl State {
    fn follow(&mut self, layouts: Arc<Layouts>) {
        self.watch.resolve(&layouts);
        self.layouts = layouts;
        self.numbers.clear();
        self.last = None;
    }

    fn forget(&mut self) {
        self.effects = Effects::default();
        self.old_hashes.clear();
        self.numbers.clear();
        self.last = None;
        self.bytes = 0;
        self.problem = None;
        self.inserted = false;
    }

    fn number(&mut self, position: usize) -> u16 {
        if let Some(number) = self.numbers.get(&position) {
            return *number;
        }
        let name = &self.layouts.tables[position].name;
        // Before the schema changed it may have been the name of another table.
        let known = self.effects.tables.iter().position(|table| table == name);
        let number = known.unwrap_or_else(|| {
            self.effects.tables.push(name.clone());
            self.effects.tables.len() - 1
        });
        let number = u16::try_from(number).expect("fewer than 65,536 names of tables");
        self.numbers.insert(position, number);
        number
    }

    /// Position of a table among the layouts and the effects; `None` if its changes are not replicated.
    fn find(&mut self, name: &str) -> Option<(usize, u16)> {
        if let Some((position, number)) = self.last
            && self.layouts.tables[position].name == name
        {
            return Some((position, number));
        }
        if system::is_local_table(name) {
            return None;
        }
        let Some(position) = self.layouts.position(name) else {
            self.problem = Some(Problem::UnknownTable);
            return None;
        };
        self.last = Some((position, self.number(position)));
        self.last
    }

    fn capture(&mut self, hook: &Hook) {
        let Some((position, number)) = self.find(hook.table) else { return };
        let layouts = Arc::clone(&self.layouts);
        let layout = &layouts.tables[position];
        match hook.change(layout, self.keeps_old_rows) {
            Ok((change, bytes)) => {
                self.inserted |= matches!(change, Change::Insert { .. })
                    && matches!(layout.key, Key::Rowid { .. })
                    && hook.is_direct();
                self.bytes += bytes;
                if self.bytes > EFFECTS_MAX {
                    self.problem = Some(Problem::TooLarge);
                    return;
                }
                match hook.old_hash(layout, &mut self.hasher, &mut self.watch) {
                    Ok(old) => {
                        if let Change::Insert { row, .. } | Change::Update { row, .. } = &change {
                            self.watch.touch(layout, hook.new_rowid, |at| ValueRef::from(&row[at]));
                        }
                        self.effects.rows.push(Effect { table: number, change });
                        self.old_hashes.push(old);
                        if hook.met_malformed_text.get() {
                            self.problem = Some(Problem::MalformedText);
                        }
                    }
                    Err(problem) => self.problem = Some(problem),
                }
            }
            Err(problem) => self.problem = Some(problem),
        }
    }
}

/// One call of the hook.
struct Hook<'a> {
    handle: *mut ffi::sqlite3,
    operation: c_int,
    table: &'a str,
    old_rowid: i64,
    new_rowid: i64,
    met_malformed_text: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

impl Hook<'_> {
    /// Whether the statement itself changes the row, rather than a trigger or a foreign key's action.
    fn is_direct(&self) -> bool {
        // SAFETY: called inside the hook, which is where this call is allowed, with the hook's handle.
        unsafe { ffi::sqlite3_preupdate_depth(self.handle) == 0 }
    }

    fn change(&self, layout: &Layout, keeps_old_rows: bool) -> std::result::Result<(Change, usize), Problem> {
        let mut bytes = 0;
        let change = match self.operation {
            ffi::SQLITE_INSERT => {
                let row = self.row(layout, Side::New, &mut bytes)?;
                Change::Insert { key: key_of(layout, self.new_rowid, &row), row }
            }
            ffi::SQLITE_DELETE => {
                let (key, old_row) = self.old(layout, keeps_old_rows, &mut bytes)?;
                Change::Delete { key, old_row }
            }
            _ => {
                let (old_key, old_row) = self.old(layout, keeps_old_rows, &mut bytes)?;
                let row = self.row(layout, Side::New, &mut bytes)?;
                Change::Update { old_key, key: key_of(layout, self.new_rowid, &row), old_row, row }
            }
        };
        Ok((change, bytes))
    }

    /// The old key and, if wanted, the old row; columns that nobody wants are not decoded.
    fn old(
        &self,
        layout: &Layout,
        with_row: bool,
        bytes: &mut usize,
    ) -> std::result::Result<(Vec<Value>, Option<Vec<Value>>), Problem> {
        if with_row {
            let row = self.row(layout, Side::Old, bytes)?;
            return Ok((key_of(layout, self.old_rowid, &row), Some(row)));
        }
        let key = match &layout.key {
            Key::Rowid { .. } => vec![Value::Integer(self.old_rowid)],
            Key::Columns(columns) => columns
                .iter()
                .map(|index| self.value(Side::Old, layout.stored[*index], bytes))
                .collect::<std::result::Result<_, _>>()?,
        };
        Ok((key, None))
    }

    /// The hash of the row that the change removes or replaces, which is told to `watch`; 0 if there is none.
    fn old_hash(
        &self,
        layout: &Layout,
        hasher: &mut RowHasher,
        watch: &mut KeyWatch,
    ) -> std::result::Result<u128, Problem> {
        if self.operation == ffi::SQLITE_INSERT {
            return Ok(0);
        }
        let problem = Cell::new(None);
        let column = |at: usize| match self.raw_value(Side::Old, layout.stored[at]) {
            // SAFETY: SQLite keeps the value until the hook returns, and each is read before the next is asked for.
            Ok(value) => unsafe { borrowed_value_of(value) },
            Err(found) => {
                problem.set(Some(found));
                ValueRef::Null
            }
        };
        let hidden = layout.hides_key().then_some(ValueRef::Integer(self.old_rowid));
        let hash = hasher.row(hidden, (0..layout.stored.len()).map(column));
        watch.touch(layout, self.old_rowid, column);
        problem.get().map_or(Ok(hash), Err)
    }

    fn row(
        &self,
        layout: &Layout,
        side: Side,
        bytes: &mut usize,
    ) -> std::result::Result<Vec<Value>, Problem> {
        layout.stored.iter().map(|column| self.value(side, *column, bytes)).collect()
    }

    fn value(&self, side: Side, column: c_int, bytes: &mut usize) -> std::result::Result<Value, Problem> {
        let value = self.raw_value(side, column)?;
        // SAFETY: SQLite keeps the value until the hook returns.
        let borrowed = unsafe { borrowed_value_of(value) };
        *bytes += match borrowed {
            ValueRef::Null => 0,
            ValueRef::Integer(_) | ValueRef::Real(_) => 8,
            ValueRef::Text(text) => text.len(),
            ValueRef::RawText(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        };
        if matches!(borrowed, ValueRef::RawText(_)) {
            self.met_malformed_text.set(true);
        }
        Ok(borrowed.to_value())
    }

    fn raw_value(&self, side: Side, column: c_int) -> std::result::Result<*mut ffi::sqlite3_value, Problem> {
        let mut value = std::ptr::null_mut();
        // SAFETY: called inside the hook, which is where these calls are allowed, with the handle that the
        // hook was given; OLD is asked for updates and deletes, NEW for updates and inserts.
        let code = unsafe {
            match side {
                Side::Old => ffi::sqlite3_preupdate_old(self.handle, column, &raw mut value),
                Side::New => ffi::sqlite3_preupdate_new(self.handle, column, &raw mut value),
            }
        };
        if code != ffi::SQLITE_OK || value.is_null() {
            return Err(Problem::Value(code));
        }
        Ok(value)
    }
}

/// # Safety
/// `value` must be a valid, protected value, and nothing else may be asked of it while the result lives.
unsafe fn borrowed_value_of<'v>(value: *mut ffi::sqlite3_value) -> ValueRef<'v> {
    // SAFETY: by the caller's promise; text and blob pointers are read before anything else is called
    // on the value, with the length that SQLite gives for them.
    unsafe {
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => ValueRef::Integer(ffi::sqlite3_value_int64(value)),
            ffi::SQLITE_FLOAT => ValueRef::Real(ffi::sqlite3_value_double(value)),
            ffi::SQLITE_TEXT => {
                let text = content(ffi::sqlite3_value_text(value).cast(), value);
                std::str::from_utf8(text).map_or(ValueRef::RawText(text), ValueRef::Text)
            }
            ffi::SQLITE_BLOB => ValueRef::Blob(content(ffi::sqlite3_value_blob(value).cast(), value)),
            _ => ValueRef::Null,
        }
    }
}

/// # Safety
/// `start` must be what `sqlite3_value_text` or `sqlite3_value_blob` just answered for `value`.
unsafe fn content<'v>(start: *const u8, value: *mut ffi::sqlite3_value) -> &'v [u8] {
    // SAFETY: by the caller's promise; SQLite answers NULL for an empty blob.
    unsafe {
        let length = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
        if start.is_null() { &[] } else { std::slice::from_raw_parts(start, length) }
    }
}

fn key_of(layout: &Layout, rowid: i64, row: &[Value]) -> Vec<Value> {
    match &layout.key {
        Key::Rowid { .. } => vec![Value::Integer(rowid)],
        Key::Columns(columns) => columns.iter().map(|index| row[*index].clone()).collect(),
    }
}

/// Called by SQLite before each row changes. A panic must not unwind into C.
unsafe extern "C" fn on_change(
    state: *mut c_void,
    handle: *mut ffi::sqlite3,
    operation: c_int,
    database: *const c_char,
    table: *const c_char,
    old_rowid: ffi::sqlite3_int64,
    new_rowid: ffi::sqlite3_int64,
) {
    // SAFETY: `state` is what `Capture::install` handed over, and nobody else uses it during a call into
    // SQLite; the names are C strings that live as long as the call.
    let (state, database, table) =
        unsafe { (&mut *state.cast::<State>(), CStr::from_ptr(database), CStr::from_ptr(table)) };
    // Rows behind a malformed text are captured all the same: they may be refused for something else.
    let is_lost = state.problem.is_some_and(|problem| problem != Problem::MalformedText);
    if state.paused || is_lost || database != c"main" {
        return;
    }
    let captured = catch_unwind(AssertUnwindSafe(|| match table.to_str() {
        Ok(table) => {
            let met_malformed_text = Cell::new(false);
            state.capture(&Hook { handle, operation, table, old_rowid, new_rowid, met_malformed_text });
        }
        Err(_) => state.problem = Some(Problem::UnknownTable),
    }));
    if captured.is_err() {
        state.problem = Some(Problem::Panic);
    }
}
