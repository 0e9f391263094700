//! What was committed while a replica had no sound file: it is landed on the copy that takes the file's place.

use std::collections::VecDeque;

use bytes::Bytes;
use consensus_runtime::{Committed, CommittedKind, CommittedLog};

use super::machine::{Fault, Machine};

/// Most entries that are noted.
const ENTRIES_NOTED: usize = 16_384;

/// Committed entries without a gap, but for their data, which stay in the log.
#[derive(Debug, Default)]
pub struct MissedEntries {
    noted: VecDeque<Committed>,
}

impl MissedEntries {
    /// These were committed next. The oldest ones are forgotten where there are too many.
    pub fn note(&mut self, entries: Vec<Committed>) {
        self.noted.extend(entries.into_iter().map(without_data));
        let surplus = self.noted.len().saturating_sub(ENTRIES_NOTED);
        self.noted.drain(..surplus);
    }

    /// The index up to which a copy has to go at least, so that these continue it; `None` if nothing was missed.
    #[must_use]
    pub fn begin_after(&self) -> Option<u64> {
        self.noted.front().map(|entry| entry.index - 1)
    }

    /// What has to be landed on a copy that holds everything up to an index; `None` if a part of it is not noted any
    /// more, and another copy is needed.
    pub fn take_after(&mut self, index: u64) -> Option<Vec<Committed>> {
        if self.begin_after().is_some_and(|before| before > index) {
            return None;
        }
        Some(std::mem::take(&mut self.noted).into_iter().filter(|entry| entry.index > index).collect())
    }
}

fn without_data(entry: Committed) -> Committed {
    Committed { data: Bytes::new(), ..entry }
}

/// Lands entries on a copy, reading their data again, one at a time.
///
/// # Errors
/// If the log or the copy cannot be read, or an entry does not land.
pub fn catch_up(machine: &mut Machine, missed: Vec<Committed>, log: &dyn CommittedLog) -> Result<(), Fault> {
    for mut entry in missed {
        if entry.kind == CommittedKind::Normal {
            entry.data = log.data(entry.index)?;
        }
        machine.committed(&[entry], log)?;
    }
    Ok(())
}
