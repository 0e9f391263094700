//! What a replica's worker tells the rest of the node, to be read without asking it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::dependency::Dependency;
use parking_lot::{Mutex, MutexGuard, RwLock};
use sqlite::{Location, ReaderPool, TableSums};
use tokio::sync::watch;

use super::leases::Grants;
use super::machine::{KeyChanges, Machine, TableChanges};
use super::pins::pinning_readers;
use super::promises::Promises;
use super::scrub_counts::ScrubCounts;
use crate::config::{READS_PER_REPLICA, STREAMS_PER_REPLICA};

/// Connections that read a replica's file.
struct Readers {
    /// For a read each.
    passing: Arc<ReaderPool>,
    /// For snapshots that are pinned.
    pinning: Arc<ReaderPool>,
}

/// What has changed the state, and up to which log index that is all. One lock holds it: what is so up to one index
/// must not be taken for what is so up to a later one.
#[derive(Default)]
struct Changes {
    /// Applied index.
    applied: u64,
    base: u64,
    tables: TableChanges,
    in_doubt: bool,
}

/// Since when an answer is what a replica's state says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastChange {
    /// Log index of the last entry that changed anything that the answer depends on.
    pub at: u64,
    /// Log index of the last entry that changed the state.
    pub base: u64,
    /// Log index up to which that is so.
    pub index: u64,
    /// Whether a transaction is prepared there and not decided.
    pub in_doubt: bool,
}

impl Changes {
    fn take_over(&mut self, machine: &Machine) {
        let position = machine.state().position;
        self.applied = position.index;
        self.base = position.base;
        if self.tables != *machine.table_changes() {
            self.tables.clone_from(machine.table_changes());
        }
        self.in_doubt = machine.prepared().is_some();
    }
}

/// The state of a replica as of its last turn.
pub struct Published {
    /// Index up to which the log's effects can be read.
    received: watch::Sender<u64>,
    changes: Mutex<Changes>,
    epoch: AtomicU64,
    schema_version: AtomicU64,
    rows: AtomicU64,
    used_bytes: AtomicU64,
    table_sums: Mutex<TableSums>,
    key_changes: Arc<KeyChanges>,
    /// Log index of the prepare of a transaction that is not decided; the greatest number there is without one.
    prepared_at: AtomicU64,
    owes_commit: AtomicBool,
    writable: AtomicBool,
    settled: AtomicBool,
    generation: AtomicU64,
    /// The last index at which digests were compared, and this replica's.
    digest: Mutex<Option<(u64, u128)>>,
    /// Why the replica is in quarantine, or should be.
    quarantined: Mutex<Option<String>>,
    /// `None` while the replica has no sound file.
    readers: RwLock<Option<Readers>>,
    promises: Promises,
    scrubs: ScrubCounts,
    leases: Mutex<Grants>,
}

impl Published {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Published {
        Published {
            received: watch::Sender::new(0),
            changes: Mutex::default(),
            epoch: AtomicU64::new(0),
            schema_version: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            used_bytes: AtomicU64::new(0),
            table_sums: Mutex::default(),
            key_changes: Arc::default(),
            prepared_at: AtomicU64::new(u64::MAX),
            owes_commit: AtomicBool::new(false),
            writable: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            digest: Mutex::default(),
            quarantined: Mutex::default(),
            readers: RwLock::new(None),
            promises: Promises::default(),
            scrubs: ScrubCounts::default(),
            leases: Mutex::default(),
        }
    }

    /// The file that is read from now on.
    pub fn serve(&self, generation: u64, location: &Location) {
        self.generation.store(generation, Ordering::Release);
        let passing =
            ReaderPool::new(location.clone(), READS_PER_REPLICA + STREAMS_PER_REPLICA, READS_PER_REPLICA);
        let pinning = pinning_readers(location);
        *self.readers.write() = Some(Readers { passing: Arc::new(passing), pinning: Arc::new(pinning) });
    }

    /// There is no file to read from.
    pub fn withdraw(&self) {
        *self.readers.write() = None;
        self.promises.withdraw();
        self.leases.lock().end_leading();
        self.writable.store(false, Ordering::Release);
    }

    /// Digests were compared at an index; this replica's was this.
    pub fn compared(&self, index: u64, digest: u128) {
        *self.digest.lock() = Some((index, digest));
    }

    /// The last index at which digests were compared, and this replica's.
    #[must_use]
    pub fn digest(&self) -> Option<(u64, u128)> {
        *self.digest.lock()
    }

    /// Why the replica is in quarantine, or should be; `None` once it is not any more.
    pub fn set_quarantined(&self, reason: Option<String>) {
        *self.quarantined.lock() = reason;
    }

    /// Why the replica is in quarantine, or should be.
    #[must_use]
    pub fn quarantined(&self) -> Option<String> {
        self.quarantined.lock().clone()
    }

    /// The file's pages in use take so much.
    pub fn set_used_bytes(&self, bytes: u64) {
        self.used_bytes.store(bytes, Ordering::Release);
    }

    /// Size of the file's pages in use, up to some seconds old.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Acquire)
    }

    /// Takes over what the machine says. The index comes last: whoever waits for it finds the rest there.
    pub fn update(&self, machine: &Machine) {
        let state = machine.state();
        self.changes.lock().take_over(machine);
        self.epoch.store(state.ownership.as_ref().map_or(0, |owned| owned.epoch), Ordering::Release);
        self.schema_version.store(state.schema_version, Ordering::Release);
        self.rows.store(machine.rows(), Ordering::Release);
        if *self.table_sums.lock() != *machine.table_sums() {
            self.table_sums.lock().clone_from(machine.table_sums());
        }
        let prepared_at = machine.prepared().map_or(u64::MAX, |prepared| prepared.index);
        self.prepared_at.store(prepared_at, Ordering::Release);
        self.owes_commit.store(machine.owes_commit(), Ordering::Release);
        self.writable.store(machine.is_writable(), Ordering::Release);
        self.settled.store(machine.is_settled(), Ordering::Release);
        self.promises.update(machine);
        let settled = machine.is_writable() && machine.prepared().is_none();
        self.leases.lock().update(settled, machine.has_batch_under_way());
        self.received.send_if_modified(|received| {
            let moved = *received != machine.received();
            *received = machine.received();
            moved
        });
    }

    /// Readers of the file, if there is a sound one.
    #[must_use]
    pub fn readers(&self) -> Option<Arc<ReaderPool>> {
        self.readers.read().as_ref().map(|readers| Arc::clone(&readers.passing))
    }

    /// Readers that snapshots are pinned by, if there is a sound file.
    #[must_use]
    pub fn pinning_readers(&self) -> Option<Arc<ReaderPool>> {
        self.readers.read().as_ref().map(|readers| Arc::clone(&readers.pinning))
    }

    /// Of which moments snapshots show the state.
    #[must_use]
    pub fn promises(&self) -> &Promises {
        &self.promises
    }

    /// How often the file was read again.
    #[must_use]
    pub fn scrubs(&self) -> &ScrubCounts {
        &self.scrubs
    }

    /// What coordinators rely on.
    pub fn leases(&self) -> MutexGuard<'_, Grants> {
        self.leases.lock()
    }

    /// Waits until the log's effects can be read up to an index.
    pub async fn wait_for(&self, index: u64) {
        if *self.received.borrow() >= index {
            return;
        }
        // The sender lives as long as `self`.
        let _ = self.received.subscribe().wait_for(|received| *received >= index).await;
    }

    /// Waits until the log's effects can be read up to an index that a client has seen. Who has written over several
    /// partitions has seen no more than the index of the prepare, and that the transaction has committed; so what is
    /// prepared up to there has to be decided.
    pub async fn wait_for_seen(&self, index: u64) {
        let is_seen = |received: u64| received >= index && self.prepared_at.load(Ordering::Acquire) > index;
        if is_seen(*self.received.borrow()) {
            return;
        }
        let _ = self.received.subscribe().wait_for(|received| is_seen(*received)).await;
    }

    /// Waits until no commit has been told that is not in the state. On a leader only, once it has received what a
    /// majority has.
    pub async fn wait_for_told(&self) {
        let is_paid = || !self.owes_commit.load(Ordering::Acquire);
        if !is_paid() {
            let _ = self.received.subscribe().wait_for(|_| is_paid()).await;
        }
    }

    /// Applied index.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.changes.lock().applied
    }

    /// Log index of the last entry that changed the state.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.changes.lock().base
    }

    /// What last changed anything of this; without names, the whole state.
    #[must_use]
    pub fn last_change(&self, dependencies: &[Dependency]) -> LastChange {
        let changes = self.changes.lock();
        let tables = &changes.tables;
        let last = |dependency: &Dependency| {
            let keys = dependency.keys.as_ref();
            // Noted while it is applied, so that no change up to the index is missing.
            let of_rows = keys.and_then(|keys| self.key_changes.last_of(&dependency.table, keys));
            of_rows.map_or_else(|| tables.last_of(&dependency.table), |rows| rows.max(tables.last_of_all()))
        };
        let at = dependencies.iter().map(last).max().unwrap_or(changes.base);
        LastChange { at, base: changes.base, index: changes.applied, in_doubt: changes.in_doubt }
    }

    /// Where the replica's machine notes which keys change.
    #[must_use]
    pub fn key_changes(&self) -> Arc<KeyChanges> {
        self.key_changes.clone()
    }

    /// Version of the partition's place in the map.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Version of the schema.
    #[must_use]
    pub fn schema_version(&self) -> u64 {
        self.schema_version.load(Ordering::Acquire)
    }

    /// Rows of the client's tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Acquire)
    }

    /// Rows of each of the client's tables.
    #[must_use]
    pub fn table_rows(&self) -> Vec<(String, u64)> {
        self.table_sums.lock().client_rows().map(|(table, rows)| (table.to_owned(), rows)).collect()
    }

    /// Transactions prepared and not decided.
    #[must_use]
    pub fn in_doubt(&self) -> u32 {
        u32::from(self.changes.lock().in_doubt)
    }

    /// Waits until the partition is in an epoch of the map, or in a later one.
    pub async fn wait_for_epoch(&self, epoch: u64) {
        if self.epoch() < epoch {
            // The sender lives as long as `self`.
            let _ = self.received.subscribe().wait_for(|_| self.epoch() >= epoch).await;
        }
    }

    /// Whether others have taken the partition's place, and nobody will need a decision of its log any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Whether writes are taken.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Acquire)
    }

    /// Number of the file's generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl Default for Published {
    fn default() -> Self {
        Published::new()
    }
}
