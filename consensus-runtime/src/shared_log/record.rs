//! What is stored of a group, and how entries are encoded.

use bytes::Bytes;
use common::{PartitionId, ReplicaId};
use consensus::{EntryKind, HardState, LogEntry, LogStart};
use protobuf::well_known_types::BytesValue;
use raft_engine::env::FileSystem;
use raft_engine::{Engine, MessageExt};
use serde::{Deserialize, Serialize};

use super::tail::Tail;
use super::{OpenLogError, region};

pub(super) const RECORD_KEY: &[u8] = b"record";
pub(super) const HARD_STATE_KEY: &[u8] = b"hard-state";

/// What the log says of a group beside its entries and its hard state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The replica whose log it is.
    pub replica: ReplicaId,
    /// Which generation of the state machine's files belongs to the log.
    pub generation: u64,
    /// Where the log begins.
    pub start: LogStart,
    /// Where membership changes may stand, ascending.
    pub configuration_entries: Vec<u64>,
}

/// A group as it is held in memory. Equal to what is on disk and in the operating system's cache.
pub(super) struct GroupState {
    pub(super) record: GroupRecord,
    pub(super) hard_state: HardState,
    pub(super) tail: Tail,
}

impl GroupState {
    /// `None` if the region holds no group.
    pub(super) fn read<F: FileSystem + 'static>(
        engine: &Engine<F>,
        group: PartitionId,
    ) -> Result<Option<GroupState>, OpenLogError> {
        let damaged = |reason: String| OpenLogError::Damaged { group, reason };
        let region = region(group);
        let Some(record) = engine.get(region, RECORD_KEY) else { return Ok(None) };
        let record: GroupRecord = postcard::from_bytes(&record).map_err(|e| damaged(e.to_string()))?;
        let hard_state = match engine.get(region, HARD_STATE_KEY) {
            Some(bytes) => postcard::from_bytes(&bytes).map_err(|e| damaged(e.to_string()))?,
            None => return Err(damaged("there is no hard state".to_owned())),
        };
        let start = record.start.index;
        let last = engine.last_index(region).map_or(start, |last| last.max(start));
        let tail = if last == start {
            Tail::empty(start)
        } else {
            let entry = engine.get_entry::<StoredEntry>(region, last)?;
            let entry = entry.ok_or_else(|| damaged(format!("entry {last} is missing")))?;
            Tail::ending_with(decode(entry).ok_or_else(|| damaged(format!("entry {last} is cut off")))?)
        };
        Ok(Some(GroupState { record, hard_state, tail }))
    }
}

/// Entries as the engine stores them: index, term and kind in front of the data, inside of a protobuf message,
/// because the engine takes only those.
pub(super) struct StoredEntry;

const HEADER: usize = 17;

impl MessageExt for StoredEntry {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        let index = entry.value.first_chunk().expect("entries are encoded with a header");
        u64::from_le_bytes(*index)
    }
}

pub(super) fn encode(entry: &LogEntry) -> BytesValue {
    let mut value = Vec::with_capacity(HEADER + entry.data.len());
    value.extend_from_slice(&entry.index.to_le_bytes());
    value.extend_from_slice(&entry.term.to_le_bytes());
    value.push(match entry.kind {
        EntryKind::Normal => 0,
        EntryKind::Configuration => 1,
    });
    value.extend_from_slice(&entry.data);
    BytesValue { value, ..BytesValue::default() }
}

/// `None` if it is not what [`encode`] makes.
pub(super) fn decode(entry: BytesValue) -> Option<LogEntry> {
    let value = Bytes::from(entry.value);
    let index = u64::from_le_bytes(*value.first_chunk()?);
    let term = u64::from_le_bytes(*value.get(8..)?.first_chunk()?);
    let kind = match value.get(16)? {
        0 => EntryKind::Normal,
        1 => EntryKind::Configuration,
        _ => return None,
    };
    Some(LogEntry { index, term, kind, data: value.slice(HEADER..) })
}
