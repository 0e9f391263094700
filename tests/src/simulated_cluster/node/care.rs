//! Checkpoints, truncation of the log, and snapshots.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use consensus::{InstallOutcome, SnapshotDescription};
use consensus_runtime::LogBatch;
use sqlite::Finding;
use sqlite::simulated::SimulatedDisk;
use storage_node::replica::machine::{Job, Machine, Pending, Ticket, WalTidying};

use super::{Broken, Node, Sound, Wish, broken};
use crate::simulated_cluster::PATIENCE_US;

const SNAPSHOT: &str = "snapshot.db";
/// A write-ahead log of SQLite larger than this is moved into the database file.
const WAL_BYTES_MAX: u64 = 40_000;

impl Node {
    pub(super) fn maintain(&mut self) -> Result<(), Broken> {
        if self.setup.scrubs && self.sound.is_some() && self.scrub()? {
            self.wishes.push(Wish::FoundSound);
        }
        if let Some(sound) = self.sound.as_mut().filter(|sound| sound.machine.is_writable()) {
            // Nobody waits for the answer, and the clients' tickets begin at 1.
            let deadline_ms = self.now_us / 1_000 + PATIENCE_US / 1_000;
            sound.machine.submit(Pending { ticket: Ticket(0), deadline_ms, job: Job::Compare });
        }
        let tidying = WalTidying { bytes_max: WAL_BYTES_MAX, patience: Some(Duration::ZERO) };
        let Some(written) = self.with_machine("checkpoint", |machine| machine.checkpoint(tidying))? else {
            self.give_leadership_away();
            self.want_copy();
            return Ok(());
        };
        let keep = written.saturating_sub(self.setup.log_entries);
        if let Some(start) = self.group.truncation(keep) {
            let mut batch = LogBatch::default();
            batch.truncate(self.setup.partition, start.clone());
            self.log.write(batch, false).map_err(|error| broken("truncate the log")(&error))?;
            self.group.compacted(&start);
        }
        Ok(())
    }

    pub(super) fn make_snapshot(&mut self) -> Result<(), Broken> {
        match self.back_up()? {
            Some(snapshot) => self.group.snapshot_ready(snapshot),
            None => self.group.snapshot_not_made(),
        }
        Ok(())
    }

    /// Copies the file, unless it cannot be copied now.
    pub(super) fn back_up(&mut self) -> Result<Option<SnapshotDescription>, Broken> {
        self.with_machine("flush", Machine::flush)?;
        let Some(sound) = &self.sound else { return Ok(None) };
        let to = self.disk.location(Path::new(SNAPSHOT));
        delete_database(&self.disk, Path::new(SNAPSHOT));
        let state = sound.machine.state().position;
        // Behind an open batch the file does not know yet of entries without effect.
        if sound.maintenance.backup(&to, |_| true).is_err() || sound.machine.written() != state.index {
            return Ok(None);
        }
        Ok(Some(SnapshotDescription {
            index: state.index,
            term: state.term,
            configuration: sound.machine.configuration().clone(),
            bytes: read_file(&self.disk, Path::new(SNAPSHOT))
                .map_err(|error| broken("read a snapshot")(&error))?,
        }))
    }

    /// Writes a received snapshot as the next generation. The simulation lets the file travel inside the
    /// message; how production moves it does not matter to what must hold.
    pub(super) fn stage(&mut self, snapshot: &SnapshotDescription) -> Result<(), Broken> {
        let generation = self.generation + 1;
        let path = database_path(generation);
        write_file(&self.disk, &path, &snapshot.bytes).map_err(|error| broken("stage a snapshot")(&error))?;
        let finding = sqlite::scrub(&self.disk.location(&path), &|_| true);
        if finding.map_err(|error| broken("read a snapshot again")(&error))? != Finding::Sound {
            return Err(Broken("the snapshot is damaged".into()));
        }
        self.staged = Some((generation, snapshot.clone()));
        Ok(())
    }

    pub(super) fn install(&mut self) -> Result<(), Broken> {
        if let Some((_, snapshot)) = &self.staged
            && !matches!(self.group.install_snapshot(snapshot), InstallOutcome::Adopted)
        {
            self.staged = None;
        }
        Ok(())
    }

    pub(super) fn switch_generation(&mut self) -> Result<(), Broken> {
        let Some((generation, _)) = self.staged.take() else { return Ok(()) };
        self.generation = generation;
        self.location = self.disk.location(&database_path(generation));
        if let Some(mut sound) = self.sound.take() {
            let outbox = sound.machine.abandon();
            self.wishes.extend(outbox.answers.into_iter().map(Wish::Answer));
        }
        let sound = Sound::open(&self.setup, &self.location, None)
            .map_err(|error| broken("open the installed state")(&error))?;
        self.adopt(sound)
    }
}

pub(super) fn database_path(generation: u64) -> PathBuf {
    PathBuf::from(format!("partition-{generation}.db"))
}

/// Writes a database in the place of whatever is there.
pub(super) fn write_file(disk: &SimulatedDisk, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    delete_database(disk, path);
    disk.create(path)?;
    disk.write_at(path, 0, bytes)?;
    disk.sync(path)
}

/// Removes what an earlier attempt may have left.
pub(super) fn delete_database(disk: &SimulatedDisk, path: &Path) {
    for suffix in ["", "-wal", "-journal"] {
        let file = PathBuf::from(format!("{}{suffix}", path.display()));
        if disk.open(&file).is_ok() {
            disk.delete(&file).expect("it was there a moment ago");
        }
    }
}

fn read_file(disk: &SimulatedDisk, path: &Path) -> std::io::Result<Bytes> {
    let size = usize::try_from(disk.size(path)?).expect("simulated files are small");
    let mut bytes = vec![0; size];
    disk.read_at(path, 0, &mut bytes)?;
    Ok(Bytes::from(bytes))
}
