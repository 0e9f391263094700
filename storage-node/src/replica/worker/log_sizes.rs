//! How much of the log lies behind an index, so that large entries are not kept by the thousand.

use std::collections::VecDeque;

/// Indexes are noted at this distance, in bytes of entries.
const STEP: u64 = 1 << 20;

/// Bytes of the entries that have come since this was made. What was in the log before counts as nothing until as much has
/// come again as is to be kept, and is not kept then.
#[derive(Default)]
pub(super) struct LogSizes {
    /// Bytes of all entries so far.
    total: u64,
    /// Indexes, and the bytes of all entries up to them.
    noted: VecDeque<(u64, u64)>,
}

impl LogSizes {
    /// Entries up to the index came, with so many bytes.
    pub(super) fn note(&mut self, index: u64, bytes: usize) {
        self.total += bytes as u64;
        if self.noted.back().is_none_or(|(_, total)| total + STEP <= self.total) {
            self.noted.push_back((index, self.total));
        }
    }

    /// The greatest noted index behind which there are more than so many bytes; 0 if there is none.
    pub(super) fn index_before(&mut self, bytes: u64) -> u64 {
        let is_before = |noted: Option<&(u64, u64)>| noted.is_some_and(|(_, at)| at + bytes < self.total);
        while is_before(self.noted.get(1)) {
            self.noted.pop_front();
        }
        self.noted.front().filter(|first| is_before(Some(first))).map_or(0, |(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_follows_the_bytes_and_not_the_number_of_entries() {
        let mut sizes = LogSizes::default();
        assert_eq!(sizes.index_before(10 * STEP), 0);
        for index in 1..=100 {
            sizes.note(index, 1 << 20);
        }
        assert_eq!(sizes.index_before(10 * STEP), 89);
        for index in 101..=5_000 {
            sizes.note(index, 10);
        }
        // Little has come since: what is kept reaches back nearly as far as before.
        assert_eq!(sizes.index_before(10 * STEP), 90);
        assert!(sizes.noted.len() < 20, "{} indexes are remembered", sizes.noted.len());
    }
}
