//! The replicated log as the group sees it: entries, votes, and the seam through which it is read.

use bytes::Bytes;
use raft::eraftpb;
use serde::{Deserialize, Serialize};

use crate::configuration::AppliedConfiguration;
use crate::errors::LogError;

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// The host's bytes; empty for the entry with which a leader opens its term.
    Normal,
    /// A membership change, encoded by this crate.
    Configuration,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Position, from 1 without gaps.
    pub index: u64,
    /// Term of the leader that wrote it.
    pub term: u64,
    /// What it is for.
    pub kind: EntryKind,
    /// Its content.
    pub data: Bytes,
}

impl LogEntry {
    pub(crate) fn from_raft(entry: eraftpb::Entry) -> LogEntry {
        let kind = match entry.get_entry_type() {
            eraftpb::EntryType::EntryNormal => EntryKind::Normal,
            // The first form is never proposed here; it is kept apart from the second by its number.
            eraftpb::EntryType::EntryConfChange | eraftpb::EntryType::EntryConfChangeV2 => {
                EntryKind::Configuration
            }
        };
        LogEntry { index: entry.index, term: entry.term, kind, data: entry.data }
    }

    pub(crate) fn into_raft(self) -> eraftpb::Entry {
        let mut entry = eraftpb::Entry::default();
        entry.set_entry_type(match self.kind {
            EntryKind::Normal => eraftpb::EntryType::EntryNormal,
            EntryKind::Configuration => eraftpb::EntryType::EntryConfChangeV2,
        });
        entry.index = self.index;
        entry.term = self.term;
        entry.data = self.data;
        entry
    }
}

/// What a replica must never forget: forgetting a vote elects two leaders in one term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// Latest term seen.
    pub term: u64,
    /// Replica voted for in that term; 0 for none.
    pub vote: u64,
    /// Highest index known to be committed. May lag behind the truth.
    pub commit: u64,
}

impl HardState {
    pub(crate) fn from_raft(state: &eraftpb::HardState) -> HardState {
        HardState { term: state.term, vote: state.vote, commit: state.commit }
    }

    pub(crate) fn into_raft(self) -> eraftpb::HardState {
        eraftpb::HardState { term: self.term, vote: self.vote, commit: self.commit, ..Default::default() }
    }
}

/// Where a log begins: the last entry that it no longer holds, and the membership as of that entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStart {
    /// Index of the last truncated entry; 0 for a log that has never held anything.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Membership after that entry. Empty in a replica that waits for its first snapshot.
    pub configuration: AppliedConfiguration,
}

/// How a group reads its log. Everything that the caller has written is visible at once, whether or not it is
/// synced; nothing else ever changes it.
pub trait LogView {
    /// Where the log begins.
    fn start(&self) -> LogStart;

    /// The hard state last written; all zero if none was.
    fn hard_state(&self) -> HardState;

    /// Index of the last entry; the start's index if there is none.
    fn last_index(&self) -> u64;

    /// The term of an entry between the start's index and the last index, both included.
    ///
    /// # Errors
    /// [`LogError::Compacted`] below the start, [`LogError::Unavailable`] above the end.
    fn term(&self, index: u64) -> Result<u64, LogError>;

    /// The entries from `low` up to, not including, `high`, cut off where their data exceed `bytes_max`; at
    /// least one if the range is not empty.
    ///
    /// # Errors
    /// [`LogError::Compacted`] and [`LogError::Unavailable`] if the range leaves the log.
    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<LogEntry>, LogError>;

    /// Indexes, ascending, at which entries of kind [`EntryKind::Configuration`] may stand. Too many are
    /// allowed (an entry may since have been overwritten by another kind), too few are not.
    fn configuration_entries(&self) -> Vec<u64>;
}
