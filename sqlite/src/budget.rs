//! How much a statement may cost, and the watch that ends it when it costs more.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::ffi;

/// SQLite asks the watch each time it has run this many instructions of its virtual machine.
const OPERATIONS_PER_QUESTION: u32 = 1_000;

/// What a statement or a request may cost.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// Asked every 1,000 instructions; once it says `true` the statement ends with `statement_timeout`.
    pub interrupted: Option<&'a dyn Fn() -> bool>,
    /// Most instructions of SQLite's virtual machine, to within a thousand: a deadline that is the same on every
    /// machine.
    pub instructions: Option<u64>,
    /// Most rows answered by a statement; more are left out and the answer says `truncated`.
    pub rows: u64,
    /// Most bytes of rows answered by a statement; treated as `rows`.
    pub bytes: usize,
}

impl Default for Budget<'_> {
    fn default() -> Self {
        Budget {
            interrupted: None,
            instructions: None,
            rows: u64::from(common::limits::ROWS_DEFAULT),
            bytes: common::limits::RESULT_MAX,
        }
    }
}

impl Budget<'_> {
    /// No limit of any kind.
    #[must_use]
    pub fn unlimited() -> Budget<'static> {
        Budget { interrupted: None, instructions: None, rows: u64::MAX, bytes: usize::MAX }
    }
}

struct Question<'a> {
    interrupted: Option<&'a dyn Fn() -> bool>,
    instructions_left: Option<u64>,
}

impl Question<'_> {
    fn must_stop(&mut self) -> bool {
        if let Some(left) = &mut self.instructions_left {
            *left = left.saturating_sub(u64::from(OPERATIONS_PER_QUESTION));
            if *left == 0 {
                return true;
            }
        }
        self.interrupted.is_some_and(|interrupted| interrupted())
    }
}

/// Watches a connection for as long as it lives.
pub(crate) struct Watch<'a> {
    connection: &'a rusqlite::Connection,
    /// Lent to SQLite as a pointer until the watch is dropped; only the callback uses it meanwhile.
    question: *mut Question<'a>,
}

impl<'a> Watch<'a> {
    pub(crate) fn begin(connection: &'a rusqlite::Connection, budget: &Budget<'a>) -> Watch<'a> {
        let question = Box::into_raw(Box::new(Question {
            interrupted: budget.interrupted,
            instructions_left: budget.instructions,
        }));
        // SAFETY: the handle is open while `connection` is borrowed, and `question` stays valid until the
        // handler is removed in `drop`.
        unsafe {
            ffi::sqlite3_progress_handler(
                connection.handle(),
                OPERATIONS_PER_QUESTION as c_int,
                Some(ask),
                question.cast(),
            );
        }
        Watch { connection, question }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open; once the handler is removed nobody holds `question`, which came from
        // `Box::into_raw`.
        unsafe {
            ffi::sqlite3_progress_handler(self.connection.handle(), 0, None, std::ptr::null_mut());
            drop(Box::from_raw(self.question));
        }
    }
}

/// A panic must not unwind into C; it ends the statement instead.
unsafe extern "C" fn ask(question: *mut c_void) -> c_int {
    // SAFETY: `question` is the pointer that `Watch::begin` handed over, and SQLite calls on one thread.
    let question = unsafe { &mut *question.cast::<Question<'_>>() };
    c_int::from(catch_unwind(AssertUnwindSafe(|| question.must_stop())).unwrap_or(true))
}
