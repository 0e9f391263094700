//! What SQLite holds in memory in this process, over all connections.

use rusqlite::ffi;

/// Has SQLite hold about so many bytes at most. Beyond them no connection's page cache grows: pages that it has are used
/// again. What a statement cannot do without it is given all the same, so no statement fails because of this.
///
/// Each connection has a page cache of its own with a bound of its own; how many connections there are depends on
/// replicas and on clients, and so would their sum.
pub fn bound(bytes: u32) {
    // SAFETY: a number goes in and a number comes out; SQLite guards it itself.
    unsafe { ffi::sqlite3_soft_heap_limit64(bytes.into()) };
}

/// Bytes that SQLite holds now.
#[must_use]
pub fn used() -> u64 {
    // SAFETY: SQLite answers a counter that it guards itself.
    let bytes = unsafe { ffi::sqlite3_memory_used() };
    bytes.unsigned_abs()
}
