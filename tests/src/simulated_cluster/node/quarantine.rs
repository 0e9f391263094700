//! A replica whose file is not what was written: it is put into quarantine, and rebuilt from a copy.
//!
//! Production does so in the thread around the machine (`storage_node::replica::worker`), with threads, files and
//! connections that a simulation cannot have; what it decides by is the same code here.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use common::ReplicaId;
use consensus::Role;
use sqlite::{Finding, Location, scrub};
use storage_node::replica::machine::{Compared, Fault, Machine};
use storage_node::replica::missed_entries::{MissedEntries, catch_up};

use super::care::{database_path, delete_database, write_file};
use super::{Broken, Input, Node, Sound, Wish, broken};
use crate::simulated_cluster::PlantedBug;
use crate::simulated_cluster::harm::QuarantineBug;

/// Where a copy lies until it takes the file's place.
const COPY: &str = "copy.db";

/// What a replica in quarantine remembers.
#[derive(Default)]
pub(super) struct Quarantine {
    missed: MissedEntries,
    /// A copy that has arrived, and what it holds.
    copy: Option<(u64, Bytes)>,
}

impl Node {
    /// Does something with the machine, if there is a sound file. If the file was harmed, a fault puts the replica into
    /// quarantine; any other is the program's.
    pub(super) fn with_machine<T>(
        &mut self,
        context: &str,
        act: impl FnOnce(&mut Machine) -> Result<T, Fault>,
    ) -> Result<Option<T>, Broken> {
        self.with_sound(context, |sound| {
            let done = act(&mut sound.machine);
            sound.promises.update(&sound.machine);
            done
        })
    }

    /// The same with everything that works with the file.
    pub(super) fn with_sound<T, E: Display>(
        &mut self,
        context: &str,
        act: impl FnOnce(&mut Sound) -> Result<T, E>,
    ) -> Result<Option<T>, Broken> {
        let Some(sound) = &mut self.sound else { return Ok(None) };
        match act(sound) {
            Ok(done) => Ok(Some(done)),
            Err(_) if self.setup.harmed => {
                self.quarantine();
                Ok(None)
            }
            Err(fault) => Err(broken(context)(&fault)),
        }
    }

    /// Whether it has a sound file, as far as it knows.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.sound.is_some()
    }

    /// Whether somebody else can write its file at this moment.
    #[must_use]
    pub fn may_be_harmed(&self) -> bool {
        let is_written = |sound: &Sound| sound.machine.has_batch_under_way();
        self.syncing.is_none() && self.sound.as_ref().is_some_and(|sound| !is_written(sound))
    }

    /// Its database, where it lies.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The name of its database on its disk.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        database_path(self.generation)
    }

    /// Reads the file again at once, which cannot be done while a sync is waited for.
    pub fn read_again(&mut self) -> Result<Vec<Wish>, Broken> {
        self.scrub()?;
        Ok(std::mem::take(&mut self.wishes))
    }

    /// The others have found that it is not what they are.
    pub fn condemn_itself(&mut self, found: Compared) -> Result<Vec<Wish>, Broken> {
        self.inbox.push_back(Input::Divergent(found));
        self.run()
    }

    /// Unless it has another file by now.
    pub(super) fn diverges(&mut self, found: Compared) -> Result<(), Broken> {
        if self.compared() == Some(found) { self.condemn() } else { Ok(()) }
    }

    /// The replica's file was harmed.
    pub fn expect_harm(&mut self) {
        self.setup.harmed = true;
    }

    /// Reads the file again, as production does now and then. Says whether it was sound.
    pub(super) fn scrub(&mut self) -> Result<bool, Broken> {
        match scrub(&self.location, &|_| true).map_err(|error| broken("read the file again")(&error))? {
            Finding::Damaged(_) => {
                self.condemn()?;
                Ok(false)
            }
            Finding::Sound | Finding::Ended => Ok(true),
        }
    }

    /// The digest that was asked for last.
    #[must_use]
    pub fn compared(&self) -> Option<Compared> {
        self.sound.as_ref().and_then(|sound| sound.compared)
    }

    /// How many replicas vote.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.group.status().configuration.voters.len()
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.group.status().role == Role::Leader
    }

    /// The file must never be served again, also not after a restart.
    fn condemn(&mut self) -> Result<(), Broken> {
        if self.sound.is_none() {
            return Ok(());
        }
        self.wishes.push(Wish::Condemned);
        if self.setup.bug == Some(PlantedBug::Quarantine(QuarantineBug::NotHonoured)) {
            return Ok(());
        }
        self.quarantine();
        delete_database(&self.disk, &database_path(self.generation));
        Ok(())
    }

    fn quarantine(&mut self) {
        if let Some(mut sound) = self.sound.take() {
            let outbox = sound.machine.abandon();
            self.wishes.extend(outbox.answers.into_iter().map(Wish::Answer));
        }
        self.refuse_all_reads();
        self.give_leadership_away();
    }

    pub(super) fn give_leadership_away(&mut self) {
        if let Some(heir) = self.group.status().heir() {
            // It does not lead any more.
            let _ = self.group.transfer_leader(heir);
        }
    }

    pub(super) fn miss(&mut self, entries: Vec<consensus_runtime::Committed>) {
        self.quarantine.missed.note(entries);
    }

    /// A copy has arrived.
    pub(super) fn keep_copy(&mut self, index: u64, bytes: Bytes) -> Result<(), Broken> {
        self.quarantine.copy = Some((index, bytes));
        self.take_copy_if_covered()
    }

    /// Asks for a copy, for as long as there is no sound file. A lost answer is asked for again.
    pub(super) fn want_copy(&mut self) {
        let status = self.group.status();
        if self.quarantine.copy.is_some() {
            return;
        }
        if let Some(leader) = status.leader.filter(|leader| *leader != status.id) {
            let at_least = self.quarantine.missed.begin_after().unwrap_or(status.commit);
            self.wishes.push(Wish::WantCopy { of: leader, at_least });
        }
    }

    /// Another replica asks for a copy that holds at least an index.
    pub(super) fn send_copy(&mut self, to: ReplicaId, at_least: u64) -> Result<(), Broken> {
        if let Some(copy) = self.back_up()?.filter(|copy| copy.index >= at_least) {
            self.wishes.push(Wish::Copy { to, index: copy.index, bytes: copy.bytes });
        }
        Ok(())
    }

    /// Puts a copy in the place of the damaged file, once the log holds all of it as committed. Should the power go in
    /// between, the next start finds no file.
    pub(super) fn take_copy_if_covered(&mut self) -> Result<(), Broken> {
        let is_covered = |(index, _): &mut (u64, Bytes)| *index <= self.delivered;
        let Some((index, bytes)) = self.quarantine.copy.take_if(is_covered) else { return Ok(()) };
        if self.sound.is_some() {
            return Ok(());
        }
        let copy = Path::new(COPY);
        write_file(&self.disk, copy, &bytes).map_err(|error| broken("write a copy")(&error))?;
        let finding = scrub(&self.disk.location(copy), &|_| true);
        if finding.map_err(|error| broken("read a copy again")(&error))? != Finding::Sound {
            return Ok(());
        }
        let Some(mut entries) = self.quarantine.missed.take_after(index) else { return Ok(()) };
        if self.setup.bug == Some(PlantedBug::Quarantine(QuarantineBug::MissedEntriesForgotten)) {
            entries.clear();
        }
        let path = database_path(self.generation);
        delete_database(&self.disk, &path);
        let moved = self.disk.rename(copy, &path).and_then(|()| self.disk.sync(&path));
        moved.map_err(|error| broken("move a copy")(&error))?;
        let mut sound =
            Sound::open(&self.setup, &self.location, None).map_err(|fault| broken("open a copy")(&fault))?;
        let view = self.view()?;
        catch_up(&mut sound.machine, entries, &view).map_err(|fault| broken("land on a copy")(&fault))?;
        self.adopt(sound)
    }

    /// A sound file has taken the place of what was there.
    pub(super) fn adopt(&mut self, mut sound: Sound) -> Result<(), Broken> {
        sound.machine.role_changed(self.role).map_err(|fault| broken("take the role on")(&fault))?;
        self.group.taken_over(sound.machine.received());
        self.group.applied(sound.machine.state().position.index);
        self.quarantine = Quarantine::default();
        self.sound = Some(sound);
        self.setup.harmed = false;
        self.wishes.push(Wish::Rebuilt);
        Ok(())
    }
}
