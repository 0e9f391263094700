//! A damaged file is replaced by a copy of another replica's.
//!
//! The log is sound, so the group needs no snapshot and offers none: the replica fetches the file itself, lands
//! on it what was committed since, and serves again. Until then it notes here which entries were committed, and
//! reads them from the log again in the end; if the copy is older than the oldest one noted, a newer is fetched.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use consensus_runtime::{Committed, Role};

use super::super::inbox::Event;
use super::super::machine::Machine;
use super::super::missed_entries::{MissedEntries, catch_up};
use super::super::snapshots::{self, Source};
use super::{Worker, long_ago};
use crate::layout::sync_folder_of;

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
    missed: MissedEntries,
    /// A copy is there, up to this index.
    fetched: Option<u64>,
}

impl Repair {
    pub(super) fn new(needed: bool) -> Repair {
        let (gave_away, missed) = (long_ago(PAUSE), MissedEntries::default());
        Repair { needed, fetching: false, gave_away, missed, fetched: None }
    }

    pub(super) fn begin(&mut self) {
        self.needed = true;
    }

    pub(super) fn end(&mut self) {
        (self.needed, self.fetched) = (false, None);
        self.missed = MissedEntries::default();
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
            self.missed.note(entries);
        }
    }
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
        let before = self.repair.missed.begin_after();
        let at_least = before.or_else(|| self.group.as_ref().map(|group| group.status().commit)).unwrap_or(0);
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

    /// A copy was fetched, or could not be.
    pub(super) fn copy_fetched(&mut self, index: Option<u64>) {
        match index {
            Some(_) => self.repair.fetched = index,
            None => self.repair.fetching = false,
        }
        self.take_copy_if_covered();
    }

    /// Puts a fetched copy in the damaged file's place, once this replica's log holds all of it as committed: after a
    /// start a file must not be ahead of its log. The log names the generation, so the number stays; should
    /// the process end in between, the next start finds no file and fetches another copy.
    pub(super) fn take_copy_if_covered(&mut self) {
        let Some(index) = self.repair.fetched.take_if(|index| *index <= self.delivered) else { return };
        self.repair.fetching = false;
        let Some(group) = self.group.clone().filter(|_| self.repair.needed) else { return };
        let Some(entries) = self.repair.missed.take_after(index) else { return };
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
