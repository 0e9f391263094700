//! The library's storage trait over a [`LogView`].

use std::cell::RefCell;

use common::ReplicaId;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, RawNode, Storage, StorageError};

use crate::errors::LogError;
use crate::log::{LogEntry, LogView};
use crate::snapshot::{SnapshotDescription, SnapshotRequest};

/// The library's state machine over our storage.
pub(crate) type Node<L> = RawNode<Store<L>>;

/// What the library reads from.
pub(crate) struct Store<L> {
    pub(crate) view: L,
    pub(crate) hard_state: HardState,
    pub(crate) members: ConfState,
    /// The library asks for snapshots through a shared reference.
    pub(crate) snapshots: RefCell<SnapshotShelf>,
}

/// The snapshot at hand, and the one that is asked for.
#[derive(Default)]
pub(crate) struct SnapshotShelf {
    pub(crate) ready: Option<SnapshotDescription>,
    pub(crate) wanted: Option<SnapshotRequest>,
    /// Index of the current configuration: an older snapshot does not know its newest member.
    pub(crate) configuration_index: u64,
}

impl<L: LogView> Storage for Store<L> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.hard_state.clone(), conf_state: self.members.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let entries = self.view.entries(low, high, bytes_max).map_err(storage_error)?;
        Ok(entries.into_iter().map(LogEntry::into_raft).collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.view.term(index).map_err(storage_error)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.view.start().index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.view.last_index())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let to = ReplicaId(to);
        let mut shelf = self.snapshots.borrow_mut();
        let log_start = self.view.start().index;
        if let Some(snapshot) = &shelf.ready
            && snapshot.index >= request_index.max(log_start)
            && snapshot.configuration.configuration.contains(to)
        {
            return Ok(snapshot.to_raft());
        }
        let index_min = request_index.max(log_start).max(shelf.configuration_index);
        shelf.wanted = Some(SnapshotRequest { to, index_min });
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

fn storage_error(error: LogError) -> raft::Error {
    raft::Error::Store(match error {
        LogError::Compacted => StorageError::Compacted,
        LogError::Unavailable => StorageError::Unavailable,
        LogError::Damaged(_) => StorageError::Other(Box::new(error)),
    })
}
