//! Files, and what a power cut leaves of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::faults::{Counters, Faults};
use super::locks::{FileLocks, HandleId};
use super::random::Random;
use super::shared_memory::SharedMemory;
use super::vfs;
use crate::Location;

/// Bytes that a power cut keeps or forgets as one.
const SECTOR: usize = 512;

type FileId = u64;

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Inner>);

struct Inner {
    /// Opens SQLite databases on this disk.
    vfs: vfs::Registration,
    state: Mutex<State>,
}

/// What a VFS and the disk's own methods share.
pub(super) struct State {
    random: Random,
    /// Grows at each power cut; handles from before are dead.
    pub(super) incarnation: u64,
    next_id: u64,
    files: BTreeMap<FileId, Contents>,
    names: BTreeMap<PathBuf, FileId>,
    durable_names: BTreeMap<PathBuf, FileId>,
    /// Changes of names since the last sync, in order.
    pending: Vec<NameChange>,
    pub(super) locks: BTreeMap<FileId, FileLocks>,
    pub(super) shared_memory: BTreeMap<FileId, Arc<Mutex<SharedMemory>>>,
    /// Milliseconds since the Unix epoch, as SQLite is told.
    pub(super) wall_ms: u64,
    faults: Faults,
    /// How many more changes there is power for.
    power_left: Option<u64>,
    /// What there was when the power went.
    at_power_loss: Option<Box<Remains>>,
}

/// Files and names as they were at a moment.
struct Remains {
    files: BTreeMap<FileId, Contents>,
    names: BTreeMap<PathBuf, FileId>,
    durable_names: BTreeMap<PathBuf, FileId>,
    pending: Vec<NameChange>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Make(PathBuf, FileId),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Contents {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: BTreeSet<usize>,
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> SimulatedDisk {
        let state = State {
            random: Random::new(seed),
            incarnation: 0,
            next_id: 1,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            locks: BTreeMap::new(),
            shared_memory: BTreeMap::new(),
            wall_ms: 1_700_000_000_000,
            faults: Faults::default(),
            power_left: None,
            at_power_loss: None,
        };
        SimulatedDisk(Arc::new_cyclic(|inner| {
            let weak = inner.clone();
            let vfs = vfs::Registration::new(Box::new(move || weak.upgrade().map(SimulatedDisk)));
            Inner { vfs, state: Mutex::new(state) }
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no thread has panicked with the disk in its hands")
    }

    /// A SQLite database on this disk.
    #[must_use]
    pub fn location(&self, path: &Path) -> Location {
        Location::with_vfs(path, self.0.vfs.name())
    }

    /// The power is cut: what was not synced is kept or forgotten at random, and every handle is dead.
    pub fn crash(&self) {
        self.state().crash();
    }

    /// Lets the next syncs fail, as on a dying disk.
    pub fn fail_syncs(&self, count: u32) {
        self.state().faults.syncs_to_fail = count;
    }

    /// Lets the next reads fail.
    pub fn fail_reads(&self, count: u32) {
        self.state().faults.reads_to_fail = count;
    }

    /// Lets the next writes fail.
    pub fn fail_writes(&self, count: u32) {
        self.state().faults.writes_to_fail = count;
    }

    /// The power goes after so many more writes, syncs and changes of names. Those that follow seem to be done, and are
    /// not: [`SimulatedDisk::crash`] goes back to the moment at which the power went. What a program says from then on,
    /// nobody hears.
    pub fn lose_power_after(&self, operations: u64) {
        self.state().power_left = Some(operations);
    }

    /// The power goes now, if it has not gone yet.
    pub fn lose_power(&self) {
        self.state().lose_power();
    }

    /// Whether the power has gone.
    #[must_use]
    pub fn has_lost_power(&self) -> bool {
        !self.state().has_power()
    }

    /// Bounds what all files hold together; writes past it fail. `None` lifts the bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().faults.capacity = bytes;
    }

    /// Makes syncs pretend: a control by which tests show that they would notice a loss.
    pub fn lie_about_syncs(&self, lying: bool) {
        self.state().faults.lying = lying;
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state().faults.counters
    }

    /// How often a program has met a fault: a full disk, or a sync, read or write that failed.
    #[must_use]
    pub fn faults_met(&self) -> u64 {
        let counters = self.state().faults.counters;
        counters.refused_writes + counters.failed_syncs + counters.failed_accesses
    }

    /// What SQLite's clock shows from now on, in milliseconds since the Unix epoch.
    pub fn set_wall_clock(&self, millis: u64) {
        self.state().wall_ms = millis;
    }

    /// Paths of all files, in order.
    #[must_use]
    pub fn list(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// Makes an empty file, or empties the one that is there.
    pub fn create(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        match state.find(path) {
            Ok(file) => state.truncate(file, 0),
            Err(_) => {
                state.make(path);
            }
        }
        Ok(())
    }

    /// Whether there is such a file.
    pub fn open(&self, path: &Path) -> Result<()> {
        self.state().find(path).map(drop)
    }

    /// Reads at most as much as the buffer holds; 0 at the end.
    pub fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut state = self.state();
        let file = state.find(path)?;
        state.read(file, offset, buffer)
    }

    /// Writes; a gap before `offset` reads as zeros.
    pub fn write_at(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut state = self.state();
        let file = state.find(path)?;
        state.write(file, offset, bytes)
    }

    /// Sets the file's size.
    pub fn truncate(&self, path: &Path, size: u64) -> Result<()> {
        let mut state = self.state();
        let file = state.find(path)?;
        state.truncate(file, size);
        Ok(())
    }

    /// Size in bytes.
    pub fn size(&self, path: &Path) -> Result<u64> {
        let state = self.state();
        Ok(state.size(state.find(path)?))
    }

    /// Makes the file's contents durable, and all names as they are now.
    pub fn sync(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        let file = state.find(path)?;
        state.sync(file)
    }

    /// Renames a file over another one, if there is one.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.state();
        state.find(from)?;
        state.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// Deletes a file.
    pub fn delete(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.find(path)?;
        state.change_names(NameChange::Remove(path.to_owned()));
        Ok(())
    }
}

impl State {
    pub(super) fn find(&self, path: &Path) -> Result<FileId> {
        let missing = || Error::new(ErrorKind::NotFound, format!("no file {}", path.display()));
        self.names.get(path).copied().ok_or_else(missing)
    }

    /// A new, empty file.
    pub(super) fn make(&mut self, path: &Path) -> FileId {
        let id = self.new_id();
        self.files.insert(id, Contents::default());
        self.change_names(NameChange::Make(path.to_owned(), id));
        id
    }

    /// A number for a file or a handle.
    pub(super) fn new_id(&mut self) -> HandleId {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn delete(&mut self, path: &Path) {
        self.change_names(NameChange::Remove(path.to_owned()));
    }

    pub(super) fn random_bytes(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.random.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    pub(super) fn size(&self, file: FileId) -> u64 {
        self.files[&file].current.len() as u64
    }

    pub(super) fn read(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        if self.has_power() {
            self.faults.read()?;
        }
        let contents = &self.files[&file].current;
        let start = position(offset).min(contents.len());
        let count = buffer.len().min(contents.len() - start);
        buffer[..count].copy_from_slice(&contents[start..start + count]);
        Ok(count)
    }

    pub(super) fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<()> {
        self.use_power();
        if self.has_power() {
            let growth = (position(offset) + bytes.len()).saturating_sub(self.files[&file].current.len());
            let State { faults, files, .. } = self;
            let held = || files.values().map(|contents| contents.current.len() as u64).sum::<u64>();
            faults.write(growth > 0, || held() + growth as u64)?;
        }
        let contents = self.contents(file);
        let (start, end) = (position(offset), position(offset) + bytes.len());
        let first = start.min(contents.current.len());
        if contents.current.len() < end {
            contents.current.resize(end, 0);
        }
        contents.current[start..end].copy_from_slice(bytes);
        contents.touch(first, end);
        Ok(())
    }

    pub(super) fn truncate(&mut self, file: FileId, size: u64) {
        self.use_power();
        let contents = self.contents(file);
        let (old, new) = (contents.current.len(), position(size));
        contents.current.resize(new, 0);
        contents.touch(old.min(new), old.max(new));
    }

    pub(super) fn sync(&mut self, file: FileId) -> Result<()> {
        self.use_power();
        if self.has_power() {
            self.faults.sync()?;
        }
        if self.faults.lying {
            return Ok(());
        }
        self.contents(file).sync();
        self.durable_names.clone_from(&self.names);
        self.pending.clear();
        Ok(())
    }

    fn contents(&mut self, file: FileId) -> &mut Contents {
        self.files.get_mut(&file).expect("an open file is there")
    }

    fn use_power(&mut self) {
        match &mut self.power_left {
            Some(0) => self.lose_power(),
            Some(left) => *left -= 1,
            None => {}
        }
    }

    /// Whether faults count: without power everything seems to be done.
    fn has_power(&self) -> bool {
        self.at_power_loss.is_none()
    }

    fn lose_power(&mut self) {
        if self.has_power() {
            self.at_power_loss = Some(Box::new(Remains {
                files: self.files.clone(),
                names: self.names.clone(),
                durable_names: self.durable_names.clone(),
                pending: self.pending.clone(),
            }));
        }
    }

    fn change_names(&mut self, change: NameChange) {
        self.use_power();
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn crash(&mut self) {
        self.incarnation += 1;
        self.faults.counters.power_cuts += 1;
        self.power_left = None;
        if let Some(remains) = self.at_power_loss.take() {
            let Remains { files, names, durable_names, pending } = *remains;
            (self.files, self.names, self.durable_names, self.pending) =
                (files, names, durable_names, pending);
        }
        self.locks.clear();
        self.shared_memory.clear();
        let kept = self.random.below(self.pending.len() + 1);
        for change in self.pending.drain(..).take(kept) {
            change.apply(&mut self.durable_names);
        }
        self.names.clone_from(&self.durable_names);
        // A deleted file lives on while a handle is open, but no handle survives this.
        let used: BTreeSet<FileId> = self.names.values().copied().collect();
        self.files.retain(|id, _| used.contains(id));
        let mut torn = false;
        for contents in self.files.values_mut() {
            torn |= contents.crash(&mut self.random);
        }
        self.faults.counters.torn_cuts += u64::from(torn);
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, FileId>) {
        match self {
            NameChange::Make(path, file) => {
                names.insert(path.clone(), *file);
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
            NameChange::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl Contents {
    fn touch(&mut self, start: usize, end: usize) {
        self.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.durable.resize(self.current.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.copy_sector(sector);
        }
    }

    /// Makes one sector durable, as far as it lies within both sizes.
    fn copy_sector(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.current.len()).min(self.durable.len());
        if start < end {
            self.durable[start..end].copy_from_slice(&self.current[start..end]);
        }
    }

    /// Forgets some of what was not synced; says whether it kept some and forgot some.
    fn crash(&mut self, random: &mut Random) -> bool {
        let dirty = std::mem::take(&mut self.dirty);
        // The size changes as a whole: before, or after.
        if self.durable.len() != self.current.len() && random.coin() {
            self.durable.resize(self.current.len(), 0);
        }
        // Often all or nothing survives; the mixtures in between are rarer in the world, and worse.
        let (all, mut kept) = (dirty.len(), 0);
        match random.below(4) {
            0 => {}
            1 => {
                kept = all;
                dirty.into_iter().for_each(|sector| self.copy_sector(sector));
            }
            _ => {
                for sector in dirty {
                    if random.coin() {
                        kept += 1;
                        self.copy_sector(sector);
                    }
                }
            }
        }
        self.current.clone_from(&self.durable);
        (1..all).contains(&kept)
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).expect("simulated files are small")
}
