//! The shared log on its own: what is written is there after it is opened again.

use std::path::Path;

use bytes::Bytes;
use common::{PartitionId, ReplicaId};
use consensus::{EntryKind, HardState, LogEntry, LogError, LogStart, LogView, Persist};
use consensus_runtime::{
    AppliedConfiguration, Configuration, LogBatch, LogOptions, SharedLog, SnapshotDescription,
};

const GROUP: PartitionId = PartitionId(0);

fn open(directory: &Path) -> SharedLog {
    SharedLog::open(directory, &LogOptions::small()).expect("the log opens")
}

fn entry(index: u64, term: u64, kind: EntryKind, bytes: usize) -> LogEntry {
    LogEntry { index, term, kind, data: Bytes::from(vec![u8::try_from(index % 251).expect("small"); bytes]) }
}

fn normal(index: u64, term: u64) -> LogEntry {
    entry(index, term, EntryKind::Normal, 10)
}

fn append(log: &SharedLog, group: PartitionId, entries: Vec<LogEntry>) {
    let mut batch = LogBatch::default();
    batch.persist(group, Persist { entries, ..Persist::default() }, 0);
    log.write(batch, true).expect("the log is written");
}

fn create(log: &SharedLog, group: PartitionId) {
    let mut batch = LogBatch::default();
    batch.create(group, ReplicaId(3), Some(Configuration::of_voters([1, 2, 3].map(ReplicaId))));
    log.write(batch, true).expect("the log is written");
}

/// Index and term of all entries.
fn content(log: &SharedLog, group: PartitionId) -> Vec<(u64, u64)> {
    let view = log.view(group).expect("the group is there");
    let entries = view.entries(view.start().index + 1, view.last_index() + 1, u64::MAX).expect("readable");
    entries.iter().map(|entry| (entry.index, entry.term)).collect()
}

#[test]
fn groups_are_found_again_with_all_they_hold() {
    let directory = tempfile::tempdir().expect("directory");
    {
        let log = open(directory.path());
        create(&log, GROUP);
        create(&log, PartitionId(9));
        append(&log, GROUP, vec![normal(2, 1), normal(3, 1), normal(4, 2)]);
        let mut batch = LogBatch::default();
        let hard_state = Some(HardState { term: 4, vote: 2, commit: 3 });
        batch.persist(GROUP, Persist { hard_state, ..Persist::default() }, 0);
        // The same batch overwrites what a deposed leader wrote.
        let change = entry(3, 4, EntryKind::Configuration, 1);
        batch.persist(GROUP, Persist { entries: vec![change], ..Persist::default() }, 0);
        log.write(batch, true).expect("the log is written");
    }
    let log = open(directory.path());
    assert_eq!(log.groups(), [GROUP, PartitionId(9)]);
    assert_eq!(log.replica(GROUP), Some(ReplicaId(3)));
    assert_eq!(content(&log, GROUP), [(2, 1), (3, 4)]);
    let view = log.view(GROUP).expect("view");
    assert_eq!(view.hard_state(), HardState { term: 4, vote: 2, commit: 3 });
    assert_eq!(view.configuration_entries(), [3]);
    assert_eq!((1..=3).map(|index| view.term(index)).collect::<Vec<_>>(), [Ok(1), Ok(1), Ok(4)]);
    assert_eq!((view.term(0), view.term(4)), (Err(LogError::Compacted), Err(LogError::Unavailable)));
    // An overwritten membership change is no longer one.
    append(&log, GROUP, vec![normal(3, 5)]);
    assert!(view.configuration_entries().is_empty());
}

#[test]
fn a_view_reads_across_files_and_memory_within_its_limit() {
    let directory = tempfile::tempdir().expect("directory");
    let log = open(directory.path());
    create(&log, GROUP);
    // More than is kept in memory.
    let large = 100 << 10;
    for index in 2..=21 {
        append(&log, GROUP, vec![entry(index, 1, EntryKind::Normal, large)]);
    }
    let view = log.view(GROUP).expect("view");
    let all = view.entries(2, 22, u64::MAX).expect("readable");
    assert_eq!(all.iter().map(|entry| entry.index).collect::<Vec<_>>(), (2..=21).collect::<Vec<_>>());
    assert!(all.iter().all(|entry| *entry == self::entry(entry.index, 1, EntryKind::Normal, large)));
    for low in [2, 10, 16, 18, 21] {
        let some = view.entries(low, 22, 3 * large as u64).expect("readable");
        assert!(some[0].index == low && some.len() <= 4, "{low}: {}", some.len());
        let one = view.entries(low, 22, 1).expect("readable");
        assert_eq!(one.len(), 1, "at least one, whatever its size");
    }
}

#[test]
fn truncation_and_installation_outlive_the_process() {
    let directory = tempfile::tempdir().expect("directory");
    let configuration =
        AppliedConfiguration { index: 3, configuration: Configuration::of_voters([ReplicaId(3)]) };
    {
        let log = open(directory.path());
        create(&log, GROUP);
        create(&log, PartitionId(1));
        for group in [GROUP, PartitionId(1)] {
            append(&log, group, (2..=9).map(|index| normal(index, 1)).collect());
        }
        let mut batch = LogBatch::default();
        batch.truncate(GROUP, LogStart { index: 5, term: 1, configuration: configuration.clone() });
        let snapshot = SnapshotDescription {
            index: 100,
            term: 6,
            configuration: configuration.clone(),
            bytes: Bytes::new(),
        };
        let hard_state = Some(HardState { term: 7, vote: 0, commit: 100 });
        let entries = vec![normal(101, 7)];
        let persist = Persist { snapshot: Some(snapshot), entries, hard_state, must_sync: true };
        batch.persist(PartitionId(1), persist, 4);
        log.write(batch, true).expect("the log is written");
    }
    let log = open(directory.path());
    assert_eq!(content(&log, GROUP), (6..=9).map(|index| (index, 1)).collect::<Vec<_>>());
    assert_eq!(content(&log, PartitionId(1)), [(101, 7)]);
    let record = log.record(PartitionId(1)).expect("record");
    assert_eq!((record.generation, record.start.index, record.start.term), (4, 100, 6));
    assert_eq!(record.start.configuration, configuration);

    let mut batch = LogBatch::default();
    batch.remove(PartitionId(1));
    log.write(batch, true).expect("the log is written");
    drop(log);
    assert_eq!(open(directory.path()).groups(), [GROUP]);
}

#[test]
fn a_truncated_log_gives_its_files_back() {
    let directory = tempfile::tempdir().expect("directory");
    let log = open(directory.path());
    create(&log, GROUP);
    // A second group that never moves must not keep the files alive.
    create(&log, PartitionId(5));
    append(&log, PartitionId(5), vec![normal(2, 1)]);
    let view = log.view(GROUP).expect("view");
    for index in 2..2_000 {
        append(&log, GROUP, vec![entry(index, 1, EntryKind::Normal, 4 << 10)]);
        if index % 50 == 0 {
            let start = LogStart { index: index - 10, term: 1, configuration: view.start().configuration };
            let mut batch = LogBatch::default();
            batch.truncate(GROUP, start);
            log.write(batch, false).expect("the log is written");
        }
        log.purge().expect("files can be freed");
    }
    // Eight megabytes were written.
    assert!(log.used_bytes() < 1 << 20, "{} bytes are in use", log.used_bytes());
    drop((log, view));
    let log = open(directory.path());
    assert_eq!(content(&log, PartitionId(5)), [(2, 1)]);
    assert_eq!(content(&log, GROUP).last(), Some(&(1_999, 1)));
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().expect("directory");
    drop(open(directory.path()));
    let config = raft_engine::Config { dir: directory.path().display().to_string(), ..Default::default() };
    let engine = raft_engine::Engine::open(config).expect("the engine opens");
    let mut batch = raft_engine::LogBatch::default();
    let newer = consensus_runtime::FORMAT_VERSION + 1;
    batch.put(0, b"format".to_vec(), newer.to_le_bytes().to_vec()).expect("batch");
    engine.write(&mut batch, true).expect("write");
    drop(engine);
    let refused = SharedLog::open(directory.path(), &LogOptions::small());
    assert!(
        matches!(refused, Err(consensus_runtime::OpenLogError::NewerFormat { found }) if found == newer),
        "a later version's files must not be touched"
    );
}

#[test]
fn a_directory_has_one_user() {
    let directory = tempfile::tempdir().expect("directory");
    let _log = open(directory.path());
    assert!(SharedLog::open(directory.path(), &LogOptions::small()).is_err());
}

/// The log engine keeps the block read last per thread, without saying whose it is.
#[test]
fn logs_read_from_one_thread_are_not_mixed_up() {
    let directories = [(), ()].map(|()| tempfile::tempdir().expect("directory"));
    for (directory, term) in directories.iter().zip([3, 7]) {
        let log = open(directory.path());
        create(&log, GROUP);
        append(&log, GROUP, vec![normal(2, term), normal(3, term)]);
    }
    // Both files look alike, and both logs come back from them.
    let logs = directories.each_ref().map(|directory| open(directory.path()));
    assert_eq!(content(&logs[0], GROUP), [(2, 3), (3, 3)]);
    assert_eq!(content(&logs[1], GROUP), [(2, 7), (3, 7)]);
}

/// The log's files, oldest first.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let names = std::fs::read_dir(directory).expect("a folder").map(|entry| entry.expect("an entry").path());
    let is_log = |path: &std::path::PathBuf| path.extension().is_some_and(|ending| ending == "raftlog");
    let mut files: Vec<_> = names.filter(is_log).collect();
    files.sort();
    files
}

/// Changes one byte of a file, counted from the last one that is not zero.
fn flip(file: &Path, from_end: usize) {
    let mut bytes = std::fs::read(file).expect("a file");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("something was written");
    bytes[last - from_end] ^= 0xff;
    std::fs::write(file, bytes).expect("the file is written");
}

#[test]
fn a_torn_last_record_is_cut_off() {
    let directory = tempfile::tempdir().expect("directory");
    let log = open(directory.path());
    create(&log, GROUP);
    append(&log, GROUP, vec![normal(2, 1)]);
    append(&log, GROUP, vec![normal(3, 1)]);
    drop(log);
    flip(files(directory.path()).last().expect("a file"), 2);
    let log = open(directory.path());
    assert_eq!(content(&log, GROUP), [(2, 1)]);
    append(&log, GROUP, vec![normal(3, 2)]);
    drop(log);
    assert_eq!(content(&open(directory.path()), GROUP), [(2, 1), (3, 2)]);
}

#[test]
fn damage_before_the_last_file_is_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let log = open(directory.path());
    create(&log, GROUP);
    for index in 2..200 {
        append(&log, GROUP, vec![entry(index, 1, EntryKind::Normal, 4 << 10)]);
    }
    drop(log);
    let files = files(directory.path());
    assert!(files.len() > 2, "so many bytes take more than {} files", files.len());
    flip(&files[0], 2);
    let refused = SharedLog::open(directory.path(), &LogOptions::small());
    assert!(refused.is_err(), "nothing of what was acknowledged may be left out in silence");
}

#[test]
fn a_folder_that_cannot_be_used_is_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let place = directory.path().join("log");
    std::fs::write(&place, "a file where the log's folder should be").expect("the file is written");
    assert!(SharedLog::open(&place, &LogOptions::small()).is_err());
}
