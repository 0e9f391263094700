//! Checkpoints, log truncation and snapshots.

use std::fs;
use std::time::{Duration, Instant};

use consensus_runtime::{Committed, Installed, SnapshotDescription, SnapshotOffer, SnapshotRefused};

use super::super::inbox::Event;
use super::super::machine::WalTidying;
use super::super::snapshots::{self, Source};
use super::log_sizes::LogSizes;
use super::{Machine, Worker, long_ago};
use crate::config::{
    IDLE_CHECKPOINT, IDLE_WAL_BYTES, LOG_BYTES_KEPT, LOG_ENTRIES_KEPT, WAL_BYTES_MAX, WAL_PATIENCE,
};

/// How often the size of the write-ahead log is looked at while it grows.
const LOOK: Duration = Duration::from_secs(1);

/// When the file needs what.
pub(super) struct Care {
    looked: Instant,
    checkpointed: Instant,
    /// Something was applied since the last checkpoint.
    changed: bool,
    /// The log wants to be truncated.
    wanted: bool,
    /// Another replica needs a snapshot of at least this index.
    snapshot: Option<u64>,
    making: bool,
    /// The write-ahead log is larger than it should be.
    grown: bool,
    /// A checkpoint waits for the end of the batch under way.
    due: bool,
    log_sizes: LogSizes,
}

impl Care {
    pub(super) fn new() -> Care {
        Care {
            looked: long_ago(LOOK),
            checkpointed: Instant::now(),
            changed: false,
            wanted: false,
            snapshot: None,
            making: false,
            grown: false,
            due: false,
            log_sizes: LogSizes::default(),
        }
    }

    /// Entries were applied, or will be soon.
    pub(super) fn changed(&mut self, entries: &[Committed]) {
        self.changed = true;
        entries.iter().for_each(|entry| self.log_sizes.note(entry.index, entry.data.len()));
    }

    pub(super) fn checkpoint_soon(&mut self) {
        self.wanted = true;
    }

    /// Whether the write-ahead log is larger than it should be, as it was last seen.
    pub(super) fn is_grown(&self) -> bool {
        self.grown
    }

    pub(super) fn want_snapshot(&mut self, at_least: u64) {
        self.snapshot = Some(self.snapshot.map_or(at_least, |wanted| wanted.max(at_least)));
    }
}

/// The size of the write-ahead log, if it can be told.
fn wal_bytes(machine: &Machine) -> u64 {
    machine.wal_bytes().unwrap_or(0)
}

impl Worker {
    /// Whether there is anything to look after about once a second.
    pub(super) fn needs_care(&self) -> bool {
        let care = &self.care;
        let has_work = care.changed || care.wanted || care.grown || care.snapshot.is_some();
        self.machine.is_none() || has_work || self.in_doubt.may_be_open() || self.has_to_compare()
    }

    /// Does what is due, between batches.
    pub(super) fn look_after(&mut self) {
        self.make_snapshot();
        if self.care.looked.elapsed() < LOOK {
            return;
        }
        self.care.looked = Instant::now();
        self.look_for_in_doubt();
        self.fetch_copy_if_damaged();
        self.compare_and_scrub();
        let Some(machine) = &self.machine else { return };
        match machine.used_bytes() {
            Ok(bytes) => self.published.set_used_bytes(bytes),
            Err(fault) => {
                tracing::warn!(partition = %self.assignment.partition, %fault, "a file's size is unknown")
            }
        }
        let grown = wal_bytes(machine) > self.upkeep.options.wal_bytes;
        let idle = self.care.changed && self.care.checkpointed.elapsed() > IDLE_CHECKPOINT;
        self.care.grown = grown;
        // Under load a batch is under way nearly always, and keeps the write-ahead log as it is.
        let busy = machine.has_batch_under_way();
        if grown || idle || self.care.wanted {
            self.checkpoint(idle);
        }
        self.care.due = grown && busy;
        self.end_readers_if_overgrown();
    }

    /// Makes the checkpoint that a batch was in the way of, before the next batch begins.
    pub(super) fn checkpoint_if_due(&mut self) {
        if self.care.due && !self.machine.as_ref().is_some_and(Machine::has_batch_under_way) {
            self.checkpoint(false);
        }
    }

    /// What even a checkpoint could not move into the file waits for a reader that began before it. Reading the file
    /// again can wait, and begins anew after a pause; clients' streams are ended only in need.
    fn end_readers_if_overgrown(&self) {
        let bytes = self.machine.as_ref().map_or(0, wal_bytes);
        if bytes > 2 * self.upkeep.options.wal_bytes {
            self.agreement.end_scrub();
        }
        if bytes > WAL_BYTES_MAX && self.open_streams.end_oldest() {
            let partition = self.assignment.partition;
            tracing::warn!(%partition, "the oldest stream is ended: it kept the write-ahead log from being tidied");
        }
    }

    fn checkpoint(&mut self, idle: bool) {
        let limit = self.upkeep.options.wal_bytes;
        let is_large = self.machine.as_ref().is_some_and(|machine| wal_bytes(machine) > 2 * limit);
        let tidying = WalTidying {
            bytes_max: if idle { limit.min(IDLE_WAL_BYTES) } else { limit },
            // Without a change since the last time the load is over.
            patience: match (self.care.changed, is_large) {
                (false, _) => None,
                (true, true) => Some(WAL_PATIENCE),
                (true, false) => Some(Duration::ZERO),
            },
        };
        (self.care.changed, self.care.wanted, self.care.due) = (false, false, false);
        self.care.checkpointed = Instant::now();
        let mut synced = None;
        self.with_machine(|machine| {
            synced = Some(machine.checkpoint(tidying)?);
            Ok(())
        });
        if let (Some(synced), Some(group)) = (synced, &self.group) {
            let large = self.care.log_sizes.index_before(LOG_BYTES_KEPT).min(synced);
            group.truncate(synced.saturating_sub(LOG_ENTRIES_KEPT).max(large));
        }
    }

    /// Makes the snapshot that is wanted, once everything applied is in the file.
    fn make_snapshot(&mut self) {
        let Some(at_least) = self.care.snapshot.filter(|_| !self.care.making) else { return };
        let Some(machine) = &mut self.machine else {
            self.care.snapshot = None;
            if let Some(group) = &self.group {
                group.snapshot_ready(None);
            }
            return;
        };
        if machine.state().position.index < at_least {
            return;
        }
        if machine.written() < at_least {
            self.with_machine(Machine::flush);
            if self.machine.as_ref().is_none_or(|machine| machine.written() < at_least) {
                return;
            }
        }
        self.care.snapshot = None;
        self.care.making = true;
        let (dir, generation, sender) = (self.dir.clone(), self.generation, self.sender.clone());
        let (partition, upkeep) = (self.assignment.partition, self.upkeep.clone());
        self.tokio.spawn_blocking(move || {
            let made = snapshots::outgoing(&dir, generation, at_least, &upkeep);
            if let Err(error) = &made {
                tracing::warn!(%partition, %error, "a snapshot could not be made");
            }
            let _ = sender.send(Event::SnapshotMade(made.ok().map(|outgoing| outgoing.description)));
        });
    }

    pub(super) fn snapshot_made(&mut self, made: Option<SnapshotDescription>) {
        self.care.making = false;
        if let Some(group) = &self.group {
            group.snapshot_ready(made);
        }
    }

    /// Fetches an offered snapshot in the background, as the next generation.
    pub(super) fn fetch_snapshot(&mut self, offer: &SnapshotOffer) {
        let address = snapshots::address_of(&self.assignment, offer.from);
        let (dir, generation, sender) = (self.dir.clone(), self.generation + 1, self.sender.clone());
        let partition = self.assignment.partition;
        let (client, at_least) = (self.neighbours.storage().clone(), offer.description.index);
        let upkeep = self.upkeep.clone();
        self.tokio.spawn(async move {
            let fetched = match address {
                Some(address) => {
                    let source = Source { client, address, partition, at_least, upkeep };
                    snapshots::fetch(&source, &dir, generation).await.map_err(|error| {
                        tracing::warn!(%partition, %error, "a snapshot could not be fetched");
                        SnapshotRefused
                    })
                }
                None => Err(SnapshotRefused),
            };
            let _ = sender.send(Event::SnapshotFetched(fetched));
        });
    }

    pub(super) fn snapshot_fetched(&mut self, result: Result<Installed, SnapshotRefused>) {
        if let Some(group) = &self.group {
            group.snapshot_installed(result);
        }
    }

    /// A generation that is not in use and will not be.
    pub(super) fn remove_generation(&self, generation: u64) {
        let folder = self.dir.generation(generation);
        if let Err(error) = fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            // The next start removes it.
            tracing::warn!(path = %folder.display(), %error, "an old generation could not be removed");
        }
    }
}
