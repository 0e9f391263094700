//! What goes wrong on a disk besides power cuts, when it is told to, and what has happened on it.

use std::io::{Error, ErrorKind, Result};

/// What has happened on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes.
    pub writes: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Syncs that failed because they were told to.
    pub failed_syncs: u64,
    /// Reads and writes that failed because they were told to.
    pub failed_accesses: u64,
    /// Writes refused because the disk was full.
    pub refused_writes: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Power cuts after which some of what was not synced was there and some was not.
    pub torn_cuts: u64,
}

/// Faults to come.
#[derive(Debug, Default)]
pub struct Faults {
    /// How many of the next syncs fail.
    pub syncs_to_fail: u32,
    /// How many of the next reads fail.
    pub reads_to_fail: u32,
    /// How many of the next writes fail.
    pub writes_to_fail: u32,
    /// Whether syncs say that they are done and do nothing.
    pub lying: bool,
    /// Most bytes that all files hold together.
    pub capacity: Option<u64>,
    pub counters: Counters,
}

impl Faults {
    /// Before a sync.
    pub fn sync(&mut self) -> Result<()> {
        if self.syncs_to_fail > 0 {
            self.syncs_to_fail -= 1;
            self.counters.failed_syncs += 1;
            return Err(Error::other("the sync failed"));
        }
        self.counters.syncs += 1;
        Ok(())
    }

    /// Before a read.
    pub fn read(&mut self) -> Result<()> {
        if self.reads_to_fail > 0 {
            self.reads_to_fail -= 1;
            self.counters.failed_accesses += 1;
            return Err(Error::other("the read failed"));
        }
        Ok(())
    }

    /// Before a write that makes files hold `used` bytes together.
    pub fn write(&mut self, grows: bool, used: impl FnOnce() -> u64) -> Result<()> {
        if self.writes_to_fail > 0 {
            self.writes_to_fail -= 1;
            self.counters.failed_accesses += 1;
            return Err(Error::other("the write failed"));
        }
        if let Some(capacity) = self.capacity
            && grows
            && used() > capacity
        {
            self.counters.refused_writes += 1;
            return Err(ErrorKind::StorageFull.into());
        }
        self.counters.writes += 1;
        Ok(())
    }
}
