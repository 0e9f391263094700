//! A log in memory that forgets at a crash what was not synced.

use std::cell::RefCell;
use std::rc::Rc;

use common::ReplicaId;

use crate::{
    AppliedConfiguration, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Configuration, EntryKind, HardState, LogEntry,
    LogError, LogStart, LogView, Persist,
};

#[derive(Clone, Debug, Default)]
struct Content {
    start: LogStart,
    hard_state: HardState,
    entries: Vec<LogEntry>,
}

#[derive(Default)]
struct Disk {
    written: Content,
    synced: Content,
}

/// A disk with one log. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct MemoryLog(Rc<RefCell<Disk>>);

impl MemoryLog {
    /// The log of a new group with these voters.
    pub(crate) fn bootstrap(voters: impl IntoIterator<Item = ReplicaId>) -> MemoryLog {
        let configuration = Configuration::of_voters(voters);
        let content = Content {
            start: LogStart {
                index: BOOTSTRAP_INDEX,
                term: BOOTSTRAP_TERM,
                configuration: AppliedConfiguration { index: BOOTSTRAP_INDEX, configuration },
            },
            hard_state: HardState { term: BOOTSTRAP_TERM, vote: 0, commit: BOOTSTRAP_INDEX },
            entries: Vec::new(),
        };
        MemoryLog(Rc::new(RefCell::new(Disk { written: content.clone(), synced: content })))
    }

    pub(super) fn persist(&self, persist: &Persist) {
        let disk = &mut *self.0.borrow_mut();
        let log = &mut disk.written;
        if let Some(snapshot) = &persist.snapshot {
            log.entries.clear();
            log.start = LogStart {
                index: snapshot.index,
                term: snapshot.term,
                configuration: snapshot.configuration.clone(),
            };
        }
        if let Some(first) = persist.entries.first() {
            log.entries.retain(|entry| entry.index < first.index);
            log.entries.extend(persist.entries.iter().cloned());
        }
        log.hard_state = persist.hard_state.unwrap_or(log.hard_state);
        if persist.must_sync {
            disk.synced = disk.written.clone();
        }
    }

    pub(super) fn truncate(&self, start: LogStart) {
        let log = &mut self.0.borrow_mut().written;
        log.entries.retain(|entry| entry.index > start.index);
        log.start = start;
    }

    pub(super) fn crash(&self) {
        let disk = &mut *self.0.borrow_mut();
        disk.written = disk.synced.clone();
    }

    /// The disk has lost what comes after the index, synced or not.
    pub(super) fn lose_after(&self, index: u64) {
        let disk = &mut *self.0.borrow_mut();
        disk.written.entries.retain(|entry| entry.index <= index);
        disk.synced = disk.written.clone();
    }

    pub(super) fn all(&self) -> Vec<LogEntry> {
        self.0.borrow().written.entries.clone()
    }
}

impl LogView for MemoryLog {
    fn start(&self) -> LogStart {
        self.0.borrow().written.start.clone()
    }

    fn hard_state(&self) -> HardState {
        self.0.borrow().written.hard_state
    }

    fn last_index(&self) -> u64 {
        let log = &self.0.borrow().written;
        log.entries.last().map_or(log.start.index, |entry| entry.index)
    }

    fn term(&self, index: u64) -> Result<u64, LogError> {
        if index == self.start().index {
            return Ok(self.start().term);
        }
        self.entries(index, index + 1, u64::MAX).map(|entries| entries[0].term)
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<LogEntry>, LogError> {
        if low <= self.start().index {
            return Err(LogError::Compacted);
        }
        if high > self.last_index() + 1 {
            return Err(LogError::Unavailable);
        }
        let mut bytes = 0;
        let log = &self.0.borrow().written;
        let wanted = log.entries.iter().filter(|entry| (low..high).contains(&entry.index));
        let fits = wanted.take_while(|entry| {
            bytes += entry.data.len() as u64;
            entry.index == low || bytes <= bytes_max
        });
        Ok(fits.cloned().collect())
    }

    fn configuration_entries(&self) -> Vec<u64> {
        let log = &self.0.borrow().written;
        let changes = log.entries.iter().filter(|entry| entry.kind == EntryKind::Configuration);
        changes.map(|entry| entry.index).collect()
    }
}
