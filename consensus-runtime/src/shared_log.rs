//! One durable log for all groups of a process, over `raft-engine`.
//!
//! A [`LogBatch`] holds what one round writes for any number of groups. It reaches the disk as one record,
//! whole or not at all. Each group has its entries, its hard state and its [`GroupRecord`].

mod batch;
mod reader_thread;
mod record;
mod tail;
mod view;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{PartitionId, ReplicaId};
use parking_lot::{Mutex, RwLock};
use raft_engine::env::{DefaultFileSystem, FileSystem};
use raft_engine::{Config, Engine, ReadableSize, RecoveryMode};

pub use batch::LogBatch;
use reader_thread::ReaderThread;
pub use record::GroupRecord;
use record::GroupState;
pub use view::GroupView;

/// Version of what this module writes. A directory of a newer version is refused.
pub const FORMAT_VERSION: u32 = 1;

/// The engine's region that describes the directory; groups come after it.
const DIRECTORY_REGION: u64 = 0;
const FORMAT_KEY: &[u8] = b"format";

/// The engine's region of a group.
fn region(group: PartitionId) -> u64 {
    group.0.checked_add(1).expect("partition ids are assigned from 0 upwards")
}

/// Sizes of the log's files, in bytes.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// A file is closed when it has reached this size.
    pub file_bytes: u64,
    /// Above this total, old files are freed by moving what they still hold, and groups are asked to truncate.
    pub purge_bytes: u64,
    /// Zeroed files are kept ready up to about this total: a sync into them is twice as fast, because it does
    /// not change the file's size. 0 for none.
    pub prefill_bytes: u64,
    /// Threads that read the files at start.
    pub recovery_threads: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            file_bytes: 16 << 20,
            purge_bytes: 128 << 20,
            prefill_bytes: 16 << 20,
            recovery_threads: 2,
        }
    }
}

impl LogOptions {
    /// Small files, nothing prepared, one thread: for simulations.
    #[must_use]
    pub fn small() -> LogOptions {
        LogOptions { file_bytes: 64 << 10, purge_bytes: 256 << 10, prefill_bytes: 0, recovery_threads: 1 }
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// Written by a newer program.
    #[error("the log has format version {found}, this program knows up to {FORMAT_VERSION}")]
    NewerFormat {
        /// The directory's version.
        found: u32,
    },
    /// The files cannot be read, or another process uses them.
    #[error("the log cannot be opened: {0}")]
    Engine(#[from] raft_engine::Error),
    /// A record is not what this program writes.
    #[error("the log's record of group {group} is damaged: {reason}")]
    Damaged {
        /// The group.
        group: PartitionId,
        /// What is wrong.
        reason: String,
    },
    /// The log could be read but not written.
    #[error(transparent)]
    Write(#[from] LogWriteError),
}

/// The log could not be written or synced. What of it reached the disk is unknown, so the process must end: see
/// [`crate::RuntimeOptions::on_fatal`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LogWriteError(pub String);

/// The log. Clones share it; it is closed with the last of them and of its views.
pub struct SharedLog<F: FileSystem + 'static = DefaultFileSystem> {
    inner: Arc<Inner<F>>,
}

impl<F: FileSystem + 'static> Clone for SharedLog<F> {
    fn clone(&self) -> Self {
        SharedLog { inner: self.inner.clone() }
    }
}

struct Inner<F: FileSystem + 'static> {
    engine: Arc<Engine<F>>,
    reader: ReaderThread,
    groups: RwLock<BTreeMap<PartitionId, Arc<Mutex<GroupState>>>>,
    bytes_since_purge: AtomicU64,
    purge_interval: u64,
}

impl SharedLog {
    /// Opens the log in a directory, or makes it.
    ///
    /// # Errors
    /// If it cannot be read, is of a newer format, or belongs to another process.
    pub fn open(directory: &Path, options: &LogOptions) -> Result<SharedLog, OpenLogError> {
        SharedLog::open_with_file_system(directory, options, Arc::new(DefaultFileSystem))
    }
}

impl<F: FileSystem + 'static> Inner<F> {
    /// Runs what reads entries back from files.
    fn read<T: Send + 'static>(&self, job: impl FnOnce(&Engine<F>) -> T + Send + 'static) -> T {
        let engine = self.engine.clone();
        self.reader.run(move || job(&engine))
    }
}

/// The groups as the engine's files have them.
fn read_groups<F: FileSystem + 'static>(
    engine: &Engine<F>,
) -> Result<BTreeMap<PartitionId, Arc<Mutex<GroupState>>>, OpenLogError> {
    let mut groups = BTreeMap::new();
    for region in engine.raft_groups().into_iter().filter(|region| *region != DIRECTORY_REGION) {
        let group = PartitionId(region - 1);
        if let Some(state) = GroupState::read(engine, group)? {
            groups.insert(group, Arc::new(Mutex::new(state)));
        }
    }
    Ok(groups)
}

impl<F: FileSystem + 'static> SharedLog<F> {
    /// Opens the log on another file system. The engine lists the directory through the operating system and
    /// keeps a lock file in it; all else goes through `file_system`, which therefore has to keep an empty
    /// file of the same name in the real directory for every file that it holds.
    ///
    /// # Errors
    /// As [`SharedLog::open`].
    pub fn open_with_file_system(
        directory: &Path,
        options: &LogOptions,
        file_system: Arc<F>,
    ) -> Result<SharedLog<F>, OpenLogError> {
        std::fs::create_dir_all(directory).map_err(raft_engine::Error::Io)?;
        let engine =
            Arc::new(Engine::open_with_file_system(engine_options(directory, options), file_system)?);
        let is_new = check_format(&engine)?;
        let reader = ReaderThread::start().map_err(raft_engine::Error::Io)?;
        let opened = engine.clone();
        let groups = reader.run(move || read_groups(&opened))?;
        let log = SharedLog {
            inner: Arc::new(Inner {
                engine,
                reader,
                groups: RwLock::new(groups),
                bytes_since_purge: AtomicU64::new(0),
                purge_interval: options.file_bytes / 2,
            }),
        };
        if is_new {
            log.write_format()?;
            if options.prefill_bytes > 0 {
                // The first file is made before there are prepared ones; this moves on to one of those.
                log.inner.engine.purge_manager().must_rewrite_append_queue(None, None);
            }
            sync_names(directory).map_err(raft_engine::Error::Io)?;
        }
        Ok(log)
    }

    /// The groups in the log, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<PartitionId> {
        self.inner.groups.read().keys().copied().collect()
    }

    /// What the log says of a group beside its entries.
    #[must_use]
    pub fn record(&self, group: PartitionId) -> Option<GroupRecord> {
        self.inner.groups.read().get(&group).map(|state| state.lock().record.clone())
    }

    /// The replica of a group that this log belongs to.
    #[must_use]
    pub fn replica(&self, group: PartitionId) -> Option<ReplicaId> {
        self.record(group).map(|record| record.replica)
    }

    /// A group's log, for reading; `None` if the log does not hold the group.
    #[must_use]
    pub fn view(&self, group: PartitionId) -> Option<GroupView<F>> {
        let state = self.inner.groups.read().get(&group)?.clone();
        Some(GroupView::new(self.inner.clone(), group, state))
    }

    /// Writes a batch, whole or not at all, and makes it and everything before it durable if `sync` is set.
    ///
    /// # Errors
    /// If that failed. The log must not be used any more.
    pub fn write(&self, batch: LogBatch, sync: bool) -> Result<(), LogWriteError> {
        let mut encoded = raft_engine::LogBatch::default();
        batch.apply(&self.inner.groups, &mut encoded)?;
        self.write_encoded(&mut encoded, sync)
    }

    /// Whether so much was written since the last [`SharedLog::purge`] that another is worth its while.
    #[must_use]
    pub fn is_purge_due(&self) -> bool {
        self.inner.bytes_since_purge.load(Ordering::Relaxed) >= self.inner.purge_interval
    }

    /// Frees old files. Returns the groups whose old entries stand in the way, ascending.
    ///
    /// # Errors
    /// As [`SharedLog::write`].
    pub fn purge(&self) -> Result<Vec<PartitionId>, LogWriteError> {
        self.inner.bytes_since_purge.store(0, Ordering::Relaxed);
        // It reads what it moves.
        let mut regions = guarded(|| self.inner.read(Engine::purge_expired_files))?;
        regions.sort_unstable();
        let groups = regions.into_iter().filter(|region| *region != DIRECTORY_REGION);
        Ok(groups.map(|region| PartitionId(region - 1)).collect())
    }

    /// Bytes of the files in use.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.inner.engine.get_used_size() as u64
    }

    fn write_format(&self) -> Result<(), LogWriteError> {
        let mut batch = raft_engine::LogBatch::default();
        let version = FORMAT_VERSION.to_le_bytes().to_vec();
        batch.put(DIRECTORY_REGION, FORMAT_KEY.to_vec(), version).map_err(write_error)?;
        self.write_encoded(&mut batch, true)
    }

    fn write_encoded(&self, batch: &mut raft_engine::LogBatch, sync: bool) -> Result<(), LogWriteError> {
        let written = guarded(|| self.inner.engine.write(batch, sync))?;
        self.inner.bytes_since_purge.fetch_add(written as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Makes a new log's files, and the directory itself, durable by name: to sync a file is not enough for that.
fn sync_names(directory: &Path) -> std::io::Result<()> {
    std::fs::File::open(directory)?.sync_all()?;
    match directory.canonicalize()?.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The engine panics where a sync fails; to us that is an error like others.
fn guarded<T>(operation: impl FnOnce() -> raft_engine::Result<T>) -> Result<T, LogWriteError> {
    match std::panic::catch_unwind(AssertUnwindSafe(operation)) {
        Ok(result) => result.map_err(write_error),
        Err(panic) => Err(LogWriteError(crate::worker::panic_text(panic.as_ref()))),
    }
}

fn write_error(error: raft_engine::Error) -> LogWriteError {
    LogWriteError(error.to_string())
}

fn engine_options(directory: &Path, options: &LogOptions) -> Config {
    Config {
        dir: directory.to_string_lossy().into_owned(),
        // A torn last record is what a crash leaves. Damage before it is damage.
        recovery_mode: RecoveryMode::TolerateTailCorruption,
        recovery_threads: options.recovery_threads,
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(options.file_bytes),
        purge_threshold: ReadableSize(options.purge_bytes),
        enable_log_recycle: true,
        prefill_for_recycle: options.prefill_bytes > 0,
        prefill_limit: (options.prefill_bytes > 0).then_some(ReadableSize(options.prefill_bytes)),
        ..Config::default()
    }
}

/// Whether the directory is new; an error if it is too new.
fn check_format<F: FileSystem + 'static>(engine: &Engine<F>) -> Result<bool, OpenLogError> {
    let Some(bytes) = engine.get(DIRECTORY_REGION, FORMAT_KEY) else { return Ok(true) };
    // A longer number could only come from a later version.
    let found = bytes.try_into().map_or(u32::MAX, u32::from_le_bytes);
    if found > FORMAT_VERSION { Err(OpenLogError::NewerFormat { found }) } else { Ok(false) }
}
