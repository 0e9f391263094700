//! The newest entries and the terms of all recent ones, in memory.
//!
//! Almost every read is of an entry just written: to hand it out when it is committed, to send it to a follower,
//! to know its term. Those must not visit the files.

use std::collections::VecDeque;

use consensus::LogEntry;

/// Bytes of entries kept for each group; the last entry is kept whatever its size.
const TAIL_BYTES_MAX: usize = 512 << 10;

/// The end of a group's log.
pub(super) struct Tail {
    /// The newest entries, without gaps up to the last.
    entries: VecDeque<LogEntry>,
    bytes: usize,
    /// Index of the log's last entry, or of its start.
    last: u64,
    /// First index and term of each run of entries of one term, ascending; the last run reaches to `last`.
    terms: VecDeque<(u64, u64)>,
}

impl Tail {
    /// Of a log without entries after its start.
    pub(super) fn empty(start: u64) -> Tail {
        Tail { entries: VecDeque::new(), bytes: 0, last: start, terms: VecDeque::new() }
    }

    /// Of a log of which only the last entry is known.
    pub(super) fn ending_with(entry: LogEntry) -> Tail {
        let mut tail = Tail::empty(entry.index - 1);
        tail.append(std::slice::from_ref(&entry));
        tail
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Index of the first entry held here; after the last if there is none.
    pub(super) fn first_held(&self) -> u64 {
        self.entries.front().map_or(self.last + 1, |entry| entry.index)
    }

    /// The term of an entry, if it is known.
    pub(super) fn term(&self, index: u64) -> Option<u64> {
        let after = self.terms.partition_point(|(first, _)| *first <= index);
        (index <= self.last && after > 0).then(|| self.terms[after - 1].1)
    }

    /// The entries held here from an index on.
    pub(super) fn from(&self, low: u64) -> impl Iterator<Item = &LogEntry> {
        let skipped = usize::try_from(low.saturating_sub(self.first_held())).unwrap_or(usize::MAX);
        self.entries.iter().skip(skipped)
    }

    /// Adds entries, in place of those at and above the first one's index.
    pub(super) fn append(&mut self, entries: &[LogEntry]) {
        let Some(first) = entries.first() else { return };
        while self.entries.back().is_some_and(|entry| entry.index >= first.index) {
            self.bytes -= self.entries.pop_back().map_or(0, |entry| entry.data.len());
        }
        while self.terms.back().is_some_and(|(index, _)| *index >= first.index) {
            self.terms.pop_back();
        }
        for entry in entries {
            if self.terms.back().is_none_or(|(_, term)| *term != entry.term) {
                self.terms.push_back((entry.index, entry.term));
            }
            self.bytes += entry.data.len();
            self.last = entry.index;
            self.entries.push_back(entry.clone());
        }
        while self.bytes > TAIL_BYTES_MAX && self.entries.len() > 1 {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| entry.data.len());
        }
    }

    /// Forgets what is at and below the index.
    pub(super) fn truncate(&mut self, index: u64) {
        while self.entries.front().is_some_and(|entry| entry.index <= index) {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| entry.data.len());
        }
        while self.terms.get(1).is_some_and(|(first, _)| *first <= index + 1) {
            self.terms.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use consensus::EntryKind;

    use super::*;

    fn entry(index: u64, term: u64, bytes: usize) -> LogEntry {
        LogEntry { index, term, kind: EntryKind::Normal, data: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn overwritten_entries_and_their_terms_are_forgotten() {
        let mut tail = Tail::empty(1);
        tail.append(&[entry(2, 2, 1), entry(3, 2, 1), entry(4, 3, 1)]);
        tail.append(&[entry(3, 5, 1)]);
        assert_eq!((tail.last(), tail.first_held(), tail.bytes), (3, 2, 2));
        assert_eq!([1, 2, 3, 4].map(|index| tail.term(index)), [None, Some(2), Some(5), None]);
        assert_eq!(tail.from(3).map(|entry| entry.term).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn old_entries_leave_their_terms_behind() {
        let mut tail = Tail::empty(1);
        tail.append(&[entry(2, 2, TAIL_BYTES_MAX), entry(3, 3, 10)]);
        assert_eq!((tail.first_held(), tail.term(2), tail.term(3)), (3, Some(2), Some(3)));
        tail.append(&[entry(4, 3, 2 * TAIL_BYTES_MAX)]);
        assert_eq!((tail.first_held(), tail.bytes), (4, 2 * TAIL_BYTES_MAX), "the last one stays");
        tail.truncate(2);
        assert_eq!([2, 3, 4].map(|index| tail.term(index)), [None, Some(3), Some(3)]);
        tail.truncate(4);
        assert_eq!((tail.first_held(), tail.last(), tail.bytes), (5, 4, 0));
    }
}
