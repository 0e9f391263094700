//! SQLite's file locks (<https://sqlite.org/lockingv3.html>) between connections of one process.

use rusqlite::ffi;

/// Names an open handle.
pub type HandleId = u64;

/// Who holds which lock on one file.
#[derive(Debug, Default)]
pub struct FileLocks {
    shared: Vec<HandleId>,
    reserved: Option<HandleId>,
    pending: Option<HandleId>,
    exclusive: Option<HandleId>,
}

impl FileLocks {
    /// Raises a handle's lock. `false`: another one is in the way.
    pub fn lock(&mut self, handle: HandleId, level: i32) -> bool {
        let is_other = |holder: Option<HandleId>| holder.is_some_and(|holder| holder != handle);
        match level {
            ffi::SQLITE_LOCK_SHARED => {
                if is_other(self.pending) || is_other(self.exclusive) {
                    return false;
                }
                if !self.shared.contains(&handle) {
                    self.shared.push(handle);
                }
                true
            }
            ffi::SQLITE_LOCK_RESERVED => {
                if is_other(self.reserved) || is_other(self.exclusive) {
                    return false;
                }
                self.reserved = Some(handle);
                true
            }
            ffi::SQLITE_LOCK_EXCLUSIVE => {
                if is_other(self.pending) || is_other(self.reserved) || is_other(self.exclusive) {
                    return false;
                }
                // No new reader comes in while this one waits for the old ones to leave.
                self.pending = Some(handle);
                if self.shared.iter().any(|holder| *holder != handle) {
                    return false;
                }
                self.exclusive = Some(handle);
                true
            }
            _ => true,
        }
    }

    /// Lowers a handle's lock to shared or none.
    pub fn unlock(&mut self, handle: HandleId, level: i32) {
        for holder in [&mut self.reserved, &mut self.pending, &mut self.exclusive] {
            if *holder == Some(handle) {
                *holder = None;
            }
        }
        if level == ffi::SQLITE_LOCK_NONE {
            self.shared.retain(|holder| *holder != handle);
        } else if !self.shared.contains(&handle) {
            self.shared.push(handle);
        }
    }

    pub fn is_reserved(&self) -> bool {
        self.reserved.is_some() || self.pending.is_some() || self.exclusive.is_some()
    }
}
