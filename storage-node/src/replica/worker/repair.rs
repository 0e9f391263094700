//! A damaged file is replaced by a copy of another replica's.
//!
//! The log is sound, so the group needs no snapshot and offers none: the replica fetches the file itself, lands
//! on it what was committed since, and serves again. Until then it notes here which entries were committed, and
//! reads them from the log again in the end; if the copy is older than the oldest one noted, a newer is fetched.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus_runtime::{Committed, CommittedKind, CommittedLog, Role};

use super::super::inbox::Event;
use super::super::machine::{Fault, Machine};
use super::super::snapshots::{self, Source};
use super::{Worker, long_ago};
use crate::layout::sync_folder_of;

/// Most entries that are noted for the copy.
const ENTRIES_NOTED: usize = 16_384;

/// Copies lie apart from the generations that the log may switch to meanwhile.
const COPY: u64 = 1 << 32;

/// Shortest time between two attempts to give leadership away.
const PAUSE: Duration = Duration::from_secs(1);

/// How far the replacement is.
pub(super) struct Repair {
    needed: bool,
    fetching: bool,
    /// When leadership was last given away: where every replica is damaged it must not go round and round.
    gave_away: Instant,
    missed: VecDeque<Committed>,
}

impl Repair {
    pub(super) fn new(needed: bool) -> Repair {
        Repair { needed, fetching: false, gave_away: long_ago(PAUSE), missed: VecDeque::new() }
    }

    pub(super) fn begin(&mut self) {
        self.needed = true;
    }

    pub(super) fn end(&mut self) {
        self.needed = false;
        self.missed.clear();
    }

    /// Whether leadership may be given away now.
    pub(super) fn may_give_away(&mut self) -> bool {
        let may = self.gave_away.elapsed() >= PAUSE;
        if may {
            self.gave_away = Instant::now();
        }
        may
    }

    /// These were committed while there was no file to land them on.
    pub(super) fn miss(&mut self, entries: Vec<Committed>) {
        if self.needed {
            self.missed.extend(entries.into_iter().map(without_data));
            let surplus = self.missed.len().saturating_sub(ENTRIES_NOTED);
            self.missed.drain(..surplus);
        }
    }

    /// What has to be landed on a file that holds everything up to an index, without its data; `None` if a part
    /// of it is not noted any more.
    fn after(&mut self, index: u64) -> Option<Vec<Committed>> {
        if self.missed.front().is_some_and(|first| first.index > index + 1) {
            return None;
        }
        Some(std::mem::take(&mut self.missed).into_iter().filter(|entry| entry.index > index).collect())
    }
}

/// The data of an entry stay in the log.
fn without_data(entry: Committed) -> Committed {
    Committed { data: Bytes::new(), ..entry }
}

/// Lands entries on a copy, reading their data again, one at a time.
fn catch_up(machine: &mut Machine, missed: Vec<Committed>, log: &dyn CommittedLog) -> Result<(), Fault> {
    for mut entry in missed {
        if entry.kind == CommittedKind::Normal {
            entry.data = log.data(entry.index)?;
        }
        machine.committed(&[entry], log)?;
    }
    Ok(())
}

impl Worker {
    /// Called about once a second.
    pub(super) fn fetch_copy_if_damaged(&mut self) {
        if self.machine.is_none() && self.role.role == Role::Leader {
            return self.give_leadership_away();
        }
        if !self.repair.needed || self.repair.fetching {
            return;
        }
        let Some(address) =
            self.role.leader.and_then(|leader| snapshots::address_of(&self.assignment, leader))
        else {
            return;
        };
        let oldest = self.repair.missed.front().map(|entry| entry.index - 1);
        let at_least = oldest.or_else(|| self.group.as_ref().map(|group| group.status().commit)).unwrap_or(0);
        let (dir, generation, sender) = (self.dir.clone(), COPY + self.generation, self.sender.clone());
        let partition = self.assignment.partition;
        let client = self.neighbours.storage().clone();
        let upkeep = self.upkeep.clone();
        self.repair.fetching = true;
        self.tokio.spawn(async move {
            let source = Source { client, address, partition, at_least, upkeep };
            let fetched = snapshots::fetch(&source, &dir, generation).await;
            if let Err(error) = &fetched {
                tracing::warn!(%partition, %error, "no copy could be fetched for a damaged file");
            }
            let _ = sender.send(Event::CopyFetched(fetched.ok().map(|copy| copy.index)));
        });
    }

    /// Puts the copy in the damaged file's place. The log names the generation, so the number stays; should
    /// the process end in between, the next start finds no file and fetches another copy.
    pub(super) fn take_copy(&mut self, index: Option<u64>) {
        self.repair.fetching = false;
        let Some(index) = index.filter(|_| self.repair.needed) else { return };
        let Some(group) = self.group.clone() else { return };
        let Some(entries) = self.repair.after(index) else { return };
        if let Err(error) = self.swap_in(COPY + self.generation) {
            return self.quarantine(&error.to_string());
        }
        let opened =
            Machine::open(&self.location(), self.assignment.partition, None).and_then(|mut machine| {
                catch_up(&mut machine, entries, group.log().as_ref())?;
                Ok(machine)
            });
        match opened {
            Ok(machine) => {
                tracing::info!(partition = %self.assignment.partition, index, "a damaged file was replaced");
                self.adopt(machine);
            }
            Err(fault) => self.quarantine(&fault.to_string()),
        }
    }

    fn swap_in(&self, fetched: u64) -> io::Result<()> {
        let current = self.dir.generation(self.generation);
        match fs::remove_dir_all(&current) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(self.dir.generation(fetched), &current)?;
        sync_folder_of(&current)
    }
}
