//! The memory that connections of one file share in WAL mode, and the locks on it.

use rusqlite::ffi;

use super::locks::HandleId;

const LOCKS: usize = ffi::SQLITE_SHM_NLOCK as usize;

/// Shared memory of one database file. Regions stay where they are until the last handle lets go.
#[derive(Debug, Default)]
pub struct SharedMemory {
    // Words, because SQLite wants the regions aligned for its counters.
    regions: Vec<Box<[u64]>>,
    shared: [Vec<HandleId>; LOCKS],
    exclusive: [Option<HandleId>; LOCKS],
}

impl SharedMemory {
    /// The region's address; `None` if it is not there and not to be made.
    pub fn region(&mut self, index: usize, bytes: usize, make: bool) -> Option<*mut u64> {
        while make && self.regions.len() <= index {
            self.regions.push(vec![0; bytes.div_ceil(8)].into_boxed_slice());
        }
        self.regions.get_mut(index).map(|region| region.as_mut_ptr())
    }

    /// Carries out `xShmLock`. `false`: another handle is in the way.
    pub fn lock(&mut self, handle: HandleId, first: usize, count: usize, flags: i32) -> bool {
        let slots = first..first + count;
        if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
            slots.for_each(|slot| self.unlock(handle, slot));
            return true;
        }
        let is_other = |holder: &HandleId| *holder != handle;
        if slots.clone().any(|slot| self.exclusive[slot].as_ref().is_some_and(is_other)) {
            return false;
        }
        if flags & ffi::SQLITE_SHM_SHARED != 0 {
            slots.for_each(|slot| self.shared[slot].push(handle));
            return true;
        }
        if slots.clone().any(|slot| self.shared[slot].iter().any(is_other)) {
            return false;
        }
        slots.for_each(|slot| self.exclusive[slot] = Some(handle));
        true
    }

    fn unlock(&mut self, handle: HandleId, slot: usize) {
        self.shared[slot].retain(|holder| *holder != handle);
        if self.exclusive[slot] == Some(handle) {
            self.exclusive[slot] = None;
        }
    }

    /// A handle goes away with all its locks.
    pub fn forget(&mut self, handle: HandleId) {
        (0..LOCKS).for_each(|slot| self.unlock(handle, slot));
    }
}
