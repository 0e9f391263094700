//! Checkpoints, truncation of the log, and snapshots.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use consensus::{InstallOutcome, SnapshotDescription};
use consensus_runtime::LogBatch;
use sqlite::simulated::SimulatedDisk;
use sqlite::{Maintenance, Reader};
use storage_node::replica::machine::{Job, Machine, Pending, Ticket};

use super::{Broken, Node, Wish, broken};
use crate::simulated_cluster::{PATIENCE_US, PlantedBug};

const SNAPSHOT: &str = "snapshot.db";
/// A write-ahead log of SQLite larger than this is moved into the database file.
const WAL_BYTES_MAX: u64 = 40_000;

impl Node {
    pub(super) fn maintain(&mut self) -> Result<(), Broken> {
        if self.machine.is_writable() {
            // Nobody waits for the answer, and the clients' tickets begin at 1.
            let deadline_ms = self.now_us / 1_000 + PATIENCE_US / 1_000;
            self.machine.submit(Pending { ticket: Ticket(0), deadline_ms, job: Job::Compare });
        }
        let written = self.machine.checkpoint(WAL_BYTES_MAX).map_err(|error| broken("checkpoint")(&error))?;
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
        self.machine.flush().map_err(|error| broken("flush")(&error))?;
        let to = self.disk.location(Path::new(SNAPSHOT));
        delete_database(&self.disk, Path::new(SNAPSHOT));
        if self.maintenance.backup(&to, || true).is_err() {
            self.group.snapshot_not_made();
            return Ok(());
        }
        let state = self.machine.state().position;
        // Behind an open batch the file does not know yet of entries without effect.
        if self.machine.written() != state.index {
            self.group.snapshot_not_made();
            return Ok(());
        }
        self.group.snapshot_ready(SnapshotDescription {
            index: state.index,
            term: state.term,
            configuration: self.machine.configuration().clone(),
            bytes: read_file(&self.disk, Path::new(SNAPSHOT))
                .map_err(|error| broken("read a snapshot")(&error))?,
        });
        Ok(())
    }

    /// Writes a received snapshot as the next generation. The simulation lets the file travel inside the
    /// message; how production moves it does not matter to what must hold.
    pub(super) fn stage(&mut self, snapshot: &SnapshotDescription) -> Result<(), Broken> {
        let generation = self.generation + 1;
        let path = database_path(generation);
        delete_database(&self.disk, &path);
        self.disk
            .create(&path)
            .and_then(|()| self.disk.write_at(&path, 0, &snapshot.bytes))
            .and_then(|()| self.disk.sync(&path))
            .map_err(|error| broken("stage a snapshot")(&error))?;
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
        let outbox = self.machine.abandon();
        self.wishes.extend(outbox.answers.into_iter().map(Wish::Answer));
        self.machine = Machine::open(&self.location, self.setup.partition, None)
            .map_err(|error| broken("open the installed state")(&error))?;
        self.machine.limit_entries(self.setup.entry_bytes);
        if let Some(PlantedBug::Machine(bug)) = self.setup.bug {
            self.machine.plant(bug);
        }
        self.reader = Reader::open(&self.location).map_err(|error| broken("open a reader")(&error))?;
        self.maintenance =
            Maintenance::open(&self.location).map_err(|error| broken("open for maintenance")(&error))?;
        Ok(())
    }
}

pub(super) fn database_path(generation: u64) -> PathBuf {
    PathBuf::from(format!("partition-{generation}.db"))
}

/// Removes what an earlier attempt may have left.
fn delete_database(disk: &SimulatedDisk, path: &Path) {
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
