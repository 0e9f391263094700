//! A group's log, as `consensus` reads it.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use common::PartitionId;
use consensus::{HardState, LogEntry, LogError, LogStart, LogView};
use parking_lot::Mutex;
use raft_engine::env::{DefaultFileSystem, FileSystem};

use super::record::{self, GroupState, StoredEntry};
use super::{Inner, region};
use crate::group_handle::CommittedLog;

/// One group's part of the shared log, for reading.
pub struct GroupView<F: FileSystem + 'static = DefaultFileSystem> {
    inner: Arc<Inner<F>>,
    group: PartitionId,
    state: Arc<Mutex<GroupState>>,
}

impl<F: FileSystem + 'static> GroupView<F> {
    pub(super) fn new(inner: Arc<Inner<F>>, group: PartitionId, state: Arc<Mutex<GroupState>>) -> Self {
        GroupView { inner, group, state }
    }

    /// Which generation of the state machine's files belongs to the log.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.state.lock().record.generation
    }

    /// Reads entries from the files until the limit, at least one.
    fn read(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<LogEntry>, LogError> {
        let damaged = |reason: String| LogError::Damaged(format!("entries {low}..{high}: {reason}"));
        let limit = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let region = region(self.group);
        let stored = self.inner.read(move |engine| {
            let mut stored = Vec::new();
            engine
                .fetch_entries_to::<StoredEntry>(region, low, high, Some(limit), &mut stored)
                .map(|_| stored)
        });
        let stored = stored.map_err(|error| damaged(error.to_string()))?;
        let entries: Option<Vec<LogEntry>> = stored.into_iter().map(record::decode).collect();
        let entries = entries.ok_or_else(|| damaged("an entry is cut off".to_owned()))?;
        let in_order = entries.iter().zip(low..).all(|(entry, index)| entry.index == index);
        if entries.is_empty() || !in_order {
            return Err(damaged("entries are missing".to_owned()));
        }
        Ok(entries)
    }
}

impl<F: FileSystem + 'static> LogView for GroupView<F> {
    fn start(&self) -> LogStart {
        self.state.lock().record.start.clone()
    }

    fn hard_state(&self) -> HardState {
        self.state.lock().hard_state
    }

    fn last_index(&self) -> u64 {
        self.state.lock().tail.last()
    }

    fn term(&self, index: u64) -> Result<u64, LogError> {
        {
            let state = self.state.lock();
            let start = &state.record.start;
            if index == start.index {
                return Ok(start.term);
            }
            check_range(&state, index, index + 1)?;
            if let Some(term) = state.tail.term(index) {
                return Ok(term);
            }
        }
        Ok(self.read(index, index + 1, u64::MAX)?[0].term)
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<LogEntry>, LogError> {
        let first_held = {
            let state = self.state.lock();
            check_range(&state, low, high)?;
            state.tail.first_held()
        };
        if low >= high {
            return Ok(Vec::new());
        }
        // Not under the lock: the worker must be able to append meanwhile.
        let mut entries =
            if low < first_held { self.read(low, high.min(first_held), bytes_max)? } else { Vec::new() };
        let next = entries.last().map_or(low, |entry| entry.index + 1);
        let state = self.state.lock();
        if next < state.tail.first_held() {
            // Pushed out of memory since it was looked at; what was read is enough, if it is anything.
            drop(state);
            return if entries.is_empty() {
                self.read(low, high.min(next + 1), bytes_max)
            } else {
                Ok(entries)
            };
        }
        let mut bytes: u64 = entries.iter().map(|entry| entry.data.len() as u64).sum();
        for entry in state.tail.from(next).take_while(|entry| entry.index < high) {
            bytes += entry.data.len() as u64;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn configuration_entries(&self) -> Vec<u64> {
        self.state.lock().record.configuration_entries.clone()
    }
}

/// As [`GroupView`], for whoever may outlive the log: it does not keep the log open.
pub(crate) struct WeakView<F: FileSystem + 'static> {
    inner: Weak<Inner<F>>,
    group: PartitionId,
    state: Arc<Mutex<GroupState>>,
}

impl<F: FileSystem + 'static> GroupView<F> {
    pub(crate) fn downgrade(&self) -> WeakView<F> {
        WeakView { inner: Arc::downgrade(&self.inner), group: self.group, state: self.state.clone() }
    }
}

impl<F: FileSystem + 'static> CommittedLog for WeakView<F> {
    fn data(&self, index: u64) -> Result<Bytes, LogError> {
        let inner = self.inner.upgrade().ok_or(LogError::Unavailable)?;
        GroupView::new(inner, self.group, self.state.clone()).data(index)
    }
}

impl<F: FileSystem + 'static> CommittedLog for GroupView<F> {
    fn data(&self, index: u64) -> Result<Bytes, LogError> {
        let mut entries = self.entries(index, index + 1, u64::MAX)?;
        let entry = entries.pop().ok_or(LogError::Unavailable)?;
        Ok(entry.data)
    }
}

fn check_range(state: &GroupState, low: u64, high: u64) -> Result<(), LogError> {
    if low <= state.record.start.index {
        return Err(LogError::Compacted);
    }
    if high > state.tail.last() + 1 {
        return Err(LogError::Unavailable);
    }
    Ok(())
}
