//! Time and chance that can be held: what is done again finds the same ones.
//!
//! SQLite asks its VFS for the time, and the functions `random` and `randomblob` for chance. While a thread holds
//! [`TimeAndChance`] values, those of its executor answer what follows from them.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use common::tries::TimeAndChance;
use rusqlite::ffi;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;

use crate::error::Result;

/// Milliseconds from the beginning of the Julian day count to that of Unix time.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;
/// Longer than any value of a client may be: SQLite refuses it, and what is longer yet.
const BLOB_MAX: i64 = 32 << 20;
/// SQLite's name of the VFS that tells the held time.
const VFS_NAME: &std::ffi::CStr = c"polylite-pinned";

thread_local! {
    static HELD: Cell<Option<TimeAndChance>> = const { Cell::new(None) };
}

/// While it lives, this thread's time and chance are held.
pub(crate) struct Held {
    before: Option<TimeAndChance>,
}

/// Holds time and chance.
pub(crate) fn hold(pinned: TimeAndChance) -> Held {
    Held { before: HELD.replace(Some(pinned)) }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(self.before);
    }
}

/// The present that is held, in milliseconds since the Unix epoch.
pub(crate) fn held_ms() -> Option<u64> {
    HELD.get().map(|pinned| pinned.now_ms)
}

/// The next 64 random bits: SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, 2014) while chance is held, else SQLite's.
fn random_bits() -> u64 {
    match HELD.get() {
        Some(pinned) => {
            let seed = pinned.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            HELD.set(Some(TimeAndChance { seed, ..pinned }));
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        }
        None => {
            let mut bits = 0_u64;
            // SAFETY: SQLite fills the eight bytes of the variable.
            unsafe { ffi::sqlite3_randomness(8, (&raw mut bits).cast::<c_void>()) };
            bits
        }
    }
}

/// Replaces `random` and `randomblob` of a connection.
pub(crate) fn load(connection: &rusqlite::Connection) -> Result<()> {
    // As SQLite's own ones they may stand in a schema.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("random", 0, flags, |_| {
        let bits = random_bits().cast_signed();
        // As SQLite has it: never the one number whose absolute value is none.
        Ok(if bits < 0 { -(bits & i64::MAX) } else { bits })
    })?;
    connection.create_scalar_function("randomblob", 1, flags, |context| {
        let length = usize::try_from(length_of(context).clamp(1, BLOB_MAX)).unwrap_or(1);
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend_from_slice(&random_bits().to_le_bytes());
        }
        bytes.truncate(length);
        Ok(bytes)
    })?;
    Ok(())
}

/// The argument as an integer, as SQLite takes it.
fn length_of(context: &Context<'_>) -> i64 {
    match context.get_raw(0) {
        ValueRef::Null => 0,
        ValueRef::Integer(length) => length,
        #[allow(clippy::cast_possible_truncation)]
        ValueRef::Real(length) => length as i64,
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            let text = String::from_utf8_lossy(text);
            let text = text.trim_start();
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse().unwrap_or(0)
        }
    }
}

/// The name of a VFS that is the operating system's, but for the time that is held.
pub(crate) fn vfs() -> &'static str {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        // SAFETY: the default VFS is registered for as long as the process runs.
        let system = unsafe { *ffi::sqlite3_vfs_find(ptr::null()) };
        let pinned = ffi::sqlite3_vfs {
            pNext: ptr::null_mut(),
            zName: VFS_NAME.as_ptr(),
            xCurrentTime: Some(current_time),
            xCurrentTimeInt64: Some(current_time_int64),
            ..system
        };
        // SAFETY: the copy is leaked, and so lives as long as the process; its methods are those of the default one.
        let code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(pinned)), 0) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes the VFS");
    });
    "polylite-pinned"
}

fn now_ms() -> u64 {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    held_ms().unwrap_or_else(|| u64::try_from(wall.as_millis()).unwrap_or(u64::MAX))
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    #[allow(clippy::cast_precision_loss)]
    let days = (UNIX_EPOCH_JULIAN_MS + now_ms().cast_signed()) as f64 / 86_400_000.0;
    // SAFETY: SQLite hands over its variable.
    unsafe { *out = days };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_int64(_: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite hands over its variable.
    unsafe { *out = UNIX_EPOCH_JULIAN_MS + now_ms().cast_signed() };
    ffi::SQLITE_OK
}
