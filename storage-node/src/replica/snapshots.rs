//! Snapshots are copies of the partition's SQLite file; each says in its own system tables what it holds.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{PartitionId, ReplicaId};
use consensus_runtime::{AppliedConfiguration, Installed, SnapshotDescription};
use futures_util::StreamExt as _;
use polylite_client::node::StorageClient;
use sqlite::{Failure, Finding, Location, Maintenance, Reader, SystemState};

use super::machine::{Fault, decode_configuration};
use crate::layout::{ReplicaDir, sync_folder_of};
use crate::upkeep::Upkeep;

/// Shorter waits for the rate of fetching are put together.
const RATE_SLACK: Duration = Duration::from_millis(5);

/// What was fetched is synced in pieces of so many bytes: one sync of a whole file holds up all others on the same disk.
const BYTES_SYNCED: usize = 16 << 20;

/// A snapshot could not be made or taken over.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The disk.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The sender.
    #[error(transparent)]
    Sender(#[from] common::Error),
    /// The sender's file is damaged, or the copy was on its way.
    #[error("the copy is damaged: {0}")]
    Damaged(String),
    /// The copy is of another partition, or too old.
    #[error("the snapshot holds partition {partition} up to {index}, which is not what was offered")]
    NotWanted {
        /// Whose copy it is.
        partition: PartitionId,
        /// How far it goes.
        index: u64,
    },
}

impl From<Failure> for SnapshotError {
    fn from(failure: Failure) -> Self {
        SnapshotError::Fault(failure.into())
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Io { path: path.clone(), source }
}

/// A snapshot for other replicas.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub description: SnapshotDescription,
}

/// A snapshot that holds at least an index: the newest one on disk, or one made now. Earlier ones are
/// deleted; whoever is still reading one keeps it open.
pub fn outgoing(
    dir: &ReplicaDir,
    generation: u64,
    at_least: u64,
    upkeep: &Upkeep,
) -> Result<Outgoing, SnapshotError> {
    let _alone = upkeep.copying.lock();
    let folder = dir.outgoing();
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    if let Some(path) = newest(&folder)?.filter(|(index, _)| *index >= at_least).map(|(_, path)| path)
        && let Ok(state) = read_state(&path)
    {
        return describe(path, &state);
    }
    let fresh = folder.join("fresh.db");
    remove_if_there(&fresh)?;
    let paced = |bytes| {
        upkeep.pace_copy(bytes);
        true
    };
    Maintenance::open(&Location::file(dir.database(generation)))?.backup(&Location::file(&fresh), paced)?;
    let state = read_state(&fresh)?;
    let path = dir.outgoing_snapshot(state.position.index);
    for old in files(&folder)? {
        if old.1 != path {
            remove_if_there(&old.1)?;
        }
    }
    fs::rename(&fresh, &path).map_err(at(&path))?;
    describe(path, &state)
}

fn describe(path: PathBuf, state: &SystemState) -> Result<Outgoing, SnapshotError> {
    let description = SnapshotDescription {
        index: state.position.index,
        term: state.position.term,
        configuration: decode_configuration(&state.configuration)?,
        bytes: Bytes::new(),
    };
    Ok(Outgoing { path, description })
}

fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, SnapshotError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let index = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(index) = index.filter(|_| path.extension().is_some_and(|extension| extension == "db")) {
            found.push((index, path));
        }
    }
    Ok(found)
}

fn newest(folder: &Path) -> Result<Option<(u64, PathBuf)>, SnapshotError> {
    Ok(files(folder)?.into_iter().max())
}

fn remove_if_there(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// What a file's own system tables say, without changing the file.
fn read_state(path: &Path) -> Result<SystemState, SnapshotError> {
    let mut reader = Reader::open(&Location::file(path))?;
    let snapshot = reader.snapshot()?;
    Ok(snapshot.system().state()?)
}

/// Where a snapshot is fetched from.
pub struct Source {
    /// Asks other nodes.
    pub client: StorageClient,
    /// The node that has it.
    pub address: String,
    /// Whose snapshot.
    pub partition: PartitionId,
    /// It must hold at least this index.
    pub at_least: u64,
    /// How fast it is fetched.
    pub upkeep: Arc<Upkeep>,
}

/// Fetches a snapshot into the folder of a new generation, and makes it durable. It is in use only once the
/// log has switched to that generation.
pub async fn fetch(source: &Source, dir: &ReplicaDir, generation: u64) -> Result<Installed, SnapshotError> {
    let folder = dir.generation(generation);
    let path = dir.database(generation);
    let file = {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&folder)(error)),
            _ => {}
        }
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        Arc::new(File::create(&path).map_err(at(&path))?)
    };
    let mut unsynced = 0;
    let mut pieces = source.client.snapshot(&source.address, source.partition, source.at_least).await?;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        file.as_ref().write_all(&piece).map_err(at(&path))?;
        unsynced += piece.len();
        if unsynced >= BYTES_SYNCED {
            unsynced = 0;
            let file = file.clone();
            let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
            synced.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(at(&path))?;
        }
        let wait = source.upkeep.fetch_rate.take(piece.len());
        if wait > RATE_SLACK {
            tokio::time::sleep(wait).await;
        }
    }
    let partition = source.partition;
    let at_least = source.at_least;
    let upkeep = source.upkeep.clone();
    tokio::task::spawn_blocking(move || {
        file.sync_all().map_err(at(&path))?;
        sync_folder_of(&path).map_err(at(&path))?;
        sync_folder_of(&folder).map_err(at(&folder))?;
        let state = read_state(&path)?;
        if state.identity.partition != partition || state.position.index < at_least {
            let (partition, index) = (state.identity.partition, state.position.index);
            return Err(SnapshotError::NotWanted { partition, index });
        }
        let paced = |bytes| {
            upkeep.pace_copy(bytes);
            true
        };
        if let Finding::Damaged(reason) = sqlite::scrub(&Location::file(&path), &paced)? {
            return Err(SnapshotError::Damaged(reason));
        }
        let configuration: AppliedConfiguration = decode_configuration(&state.configuration)?;
        Ok(Installed { index: state.position.index, term: state.position.term, configuration, generation })
    })
    .await
    .unwrap_or_else(|panic| Err(at(dir.root())(io::Error::other(panic))))
}

/// The address of a replica, if it is known.
#[must_use]
pub fn address_of(assignment: &common::protocol::Assignment, replica: ReplicaId) -> Option<String> {
    assignment.peers.get(&replica).map(|peer| peer.address.clone())
}
