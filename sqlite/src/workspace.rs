//! What merging databases may take of this process's memory and disk, and what they have taken.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use common::{Error, ErrorCode};

use crate::error::Failure;

/// The least share of memory, as a part of what one database may have: when the process has none left, a
/// database works with this and goes to disk earlier.
const LEAST_SHARE: usize = 16;

/// Bounds of a workspace, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceLimits {
    /// Memory of one database; what does not fit goes to disk.
    pub memory: usize,
    /// Memory of all databases together.
    pub memory_of_all: usize,
    /// Temporary disk space of one database.
    pub disk: u64,
    /// Temporary disk space of all databases together.
    pub disk_of_all: u64,
    /// The folder of temporary files; `None` for the operating system's.
    pub folder: Option<PathBuf>,
}

impl Default for WorkspaceLimits {
    fn default() -> Self {
        WorkspaceLimits {
            memory: 64 << 20,
            memory_of_all: 512 << 20,
            disk: 16 << 30,
            disk_of_all: 64 << 30,
            folder: None,
        }
    }
}

/// Memory and disk for merging databases. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    limits: WorkspaceLimits,
    databases: AtomicUsize,
    memory: AtomicUsize,
    disk: AtomicU64,
    written: AtomicU64,
    cancelled: AtomicU64,
}

/// What a workspace has been used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceUse {
    /// Databases that exist.
    pub databases: usize,
    /// Memory that they may take, in bytes.
    pub memory: usize,
    /// Temporary disk space that they take, in bytes.
    pub disk: u64,
    /// Bytes written to temporary files so far.
    pub written: u64,
    /// Answers that nobody waited for to their ends.
    pub cancelled: u64,
}

impl Workspace {
    /// A workspace within limits.
    #[must_use]
    pub fn new(limits: WorkspaceLimits) -> Workspace {
        Workspace { shared: Arc::new(Shared { limits, ..Shared::default() }) }
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> &WorkspaceLimits {
        &self.shared.limits
    }

    /// What it is used for now.
    #[must_use]
    pub fn used(&self) -> WorkspaceUse {
        WorkspaceUse {
            databases: self.shared.databases.load(Ordering::Relaxed),
            memory: self.shared.memory.load(Ordering::Relaxed),
            disk: self.shared.disk.load(Ordering::Relaxed),
            written: self.shared.written.load(Ordering::Relaxed),
            cancelled: self.shared.cancelled.load(Ordering::Relaxed),
        }
    }

    /// Counts an answer that nobody waited for to its end.
    pub fn note_cancelled(&self) {
        self.shared.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// A share for one database. It is never refused and never waits: memory that others have taken makes
    /// it smaller.
    pub(crate) fn share(&self) -> Arc<Share> {
        let limits = &self.shared.limits;
        let mut granted = 0;
        // The update always answers a value, so it never fails.
        let _ = self.shared.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            let left = limits.memory_of_all.saturating_sub(taken);
            granted = left.min(limits.memory).max(limits.memory / LEAST_SHARE);
            Some(taken.saturating_add(granted))
        });
        self.shared.databases.fetch_add(1, Ordering::Relaxed);
        self.new_share(granted)
    }

    /// The least share, for a database that needs little and is kept for others of its kind.
    pub(crate) fn least_share(&self) -> Arc<Share> {
        let share = self.new_share(self.shared.limits.memory / LEAST_SHARE);
        share.count();
        share
    }

    fn new_share(&self, memory: usize) -> Arc<Share> {
        Arc::new(Share {
            workspace: self.clone(),
            memory,
            disk: AtomicU64::new(0),
            exhausted: AtomicBool::new(false),
            idle: AtomicBool::new(false),
        })
    }
}

/// What one database may take, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    workspace: Workspace,
    /// Memory in bytes.
    pub(crate) memory: usize,
    disk: AtomicU64,
    exhausted: AtomicBool,
    /// Whether nobody uses its database, which counts for nothing then.
    idle: AtomicBool,
}

impl Share {
    /// Whether it has never needed disk space, so that its database has all that it holds in memory.
    pub(crate) fn is_small(&self) -> bool {
        self.disk.load(Ordering::Relaxed) == 0 && self.exhausted().is_none()
    }

    /// Gives the memory back while its database is not used.
    pub(crate) fn rest(&self) {
        if !self.idle.swap(true, Ordering::Relaxed) {
            self.discount();
        }
    }

    /// Takes the memory again.
    pub(crate) fn wake(&self) {
        if self.idle.swap(false, Ordering::Relaxed) {
            self.count();
        }
    }

    fn count(&self) {
        self.workspace.shared.memory.fetch_add(self.memory, Ordering::Relaxed);
        self.workspace.shared.databases.fetch_add(1, Ordering::Relaxed);
    }

    fn discount(&self) {
        self.workspace.shared.memory.fetch_sub(self.memory, Ordering::Relaxed);
        self.workspace.shared.databases.fetch_sub(1, Ordering::Relaxed);
    }

    /// The error of a full workspace in place of SQLite's that the disk is full.
    pub(crate) fn explain(&self, failure: Failure, what: &str) -> Failure {
        let Some(limit) = self.exhausted() else { return failure };
        let message = format!("{what} take more temporary disk space than the {limit} bytes allowed");
        let hint = "narrow the statement by the partition key, select fewer columns, or raise the coordinator's \
                    limit of temporary disk space";
        Failure::refused(Error::new(ErrorCode::ResultTooBig, message).with_hint(hint))
    }

    /// The folder of temporary files.
    pub(crate) fn folder(&self) -> Option<&PathBuf> {
        self.workspace.limits().folder.as_ref()
    }

    /// Takes more disk space; `false` if there is none left for this database, or for all.
    pub(crate) fn take_disk(&self, bytes: u64) -> bool {
        let limits = self.workspace.limits();
        let take = |counter: &AtomicU64, limit: u64| {
            counter
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                    taken.checked_add(bytes).filter(|sum| *sum <= limit)
                })
                .is_ok()
        };
        if !take(&self.disk, limits.disk) {
            self.exhausted.store(true, Ordering::Relaxed);
            return false;
        }
        if !take(&self.workspace.shared.disk, limits.disk_of_all) {
            self.disk.fetch_sub(bytes, Ordering::Relaxed);
            self.exhausted.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Gives disk space back.
    pub(crate) fn return_disk(&self, bytes: u64) {
        self.disk.fetch_sub(bytes, Ordering::Relaxed);
        self.workspace.shared.disk.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts what is written.
    pub(crate) fn note_written(&self, bytes: u64) {
        self.workspace.shared.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The limit of disk space, if it was reached.
    pub(crate) fn exhausted(&self) -> Option<u64> {
        self.exhausted.load(Ordering::Relaxed).then(|| self.workspace.limits().disk)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.rest();
        self.workspace.shared.disk.fetch_sub(self.disk.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_smaller_when_others_have_taken_theirs_and_comes_back() {
        let limits = WorkspaceLimits { memory: 64, memory_of_all: 100, ..WorkspaceLimits::default() };
        let workspace = Workspace::new(limits);
        let shares: Vec<_> = (0..3).map(|_| workspace.share()).collect();
        let memory: Vec<usize> = shares.iter().map(|share| share.memory).collect();
        assert_eq!(memory, [64, 36, 4]);
        assert_eq!(workspace.used().databases, 3);
        drop(shares);
        assert_eq!(workspace.used(), WorkspaceUse::default());
    }

    #[test]
    fn a_share_that_rests_counts_for_nothing() {
        let limits = WorkspaceLimits { memory: 64, memory_of_all: 100, ..WorkspaceLimits::default() };
        let workspace = Workspace::new(limits);
        let share = workspace.least_share();
        let in_use = WorkspaceUse { databases: 1, memory: 4, ..WorkspaceUse::default() };
        assert_eq!(workspace.used(), in_use);
        share.rest();
        share.rest();
        assert_eq!(workspace.used(), WorkspaceUse::default());
        share.wake();
        assert_eq!(workspace.used(), in_use);
        share.rest();
        drop(share);
        assert_eq!(workspace.used(), WorkspaceUse::default());
    }

    #[test]
    fn disk_space_is_bounded_for_one_and_for_all() {
        let limits = WorkspaceLimits { disk: 10, disk_of_all: 15, ..WorkspaceLimits::default() };
        let workspace = Workspace::new(limits);
        let (one, other) = (workspace.share(), workspace.share());
        assert!(one.take_disk(8) && !one.take_disk(3));
        assert_eq!(one.exhausted(), Some(10));
        assert!(!other.take_disk(9) && other.take_disk(7));
        assert_eq!(workspace.used().disk, 15);
        one.return_disk(8);
        drop(other);
        assert_eq!(workspace.used().disk, 0);
    }
}
