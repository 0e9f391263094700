//! When the rows of each key last changed, for keys that reads are known by: who has read one row need not be told of
//! changes of the others.
//!
//! Nothing is noted of a key before a read has named its columns. What is noted is in memory only, and may be more
//! than what changed.

use std::collections::HashMap;

use common::dependency::Keys;
use parking_lot::Mutex;
use sqlite::{KeyColumns, Touched, TouchedKeys, WatchList};

/// More keys than these are not watched: one is a table's columns.
const WATCHED_MAX: usize = 64;
/// No more rows are told apart; then none of the key's that has one too many.
const ROWS_MAX: usize = 65_536;

/// The log index of each row's last change, as far as it is known. Shared by the machine, which notes changes, and by
/// those who ask.
#[derive(Debug, Default)]
pub struct KeyChanges {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    list: WatchList,
    /// In the order of the list.
    watched: Vec<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    /// All changes after this index are noted; `None` while nothing is noted yet.
    from: Option<u64>,
    /// By the hash of the key's values.
    last: HashMap<u64, u64>,
}

impl Watched {
    /// Any row may have changed.
    fn note_all(&mut self, index: u64) {
        if let Some(from) = &mut self.from {
            *from = index;
            self.last.clear();
        }
    }

    /// `room` is for how many more rows there is room.
    fn note(&mut self, touched: &Touched, room: usize, index: u64) {
        match touched {
            Touched::Hashes(hashes) if hashes.len() <= room => {
                self.last.extend(hashes.iter().map(|hash| (*hash, index)));
            }
            _ => self.note_all(index),
        }
    }
}

impl KeyChanges {
    /// The last change of rows of a table with some keys. `None` if it is not known: then it is watched from the next
    /// batch on.
    #[must_use]
    pub fn last_of(&self, table: &str, keys: &Keys) -> Option<u64> {
        let mut state = self.state.lock();
        let is_it = |key: &KeyColumns| key.table.eq_ignore_ascii_case(table) && key.columns == keys.columns;
        let Some(number) = state.list.iter().position(is_it) else {
            state.add(KeyColumns { table: table.to_owned(), columns: keys.columns.clone() });
            return None;
        };
        let Watched { from, last } = &state.watched[number];
        let changed = keys.hashes.iter().filter_map(|hash| last.get(hash)).copied().max();
        from.map(|from| from.max(changed.unwrap_or_default()))
    }

    /// What is to be watched, if that is more than the first `known` keys: whoever takes it notes every change after
    /// `base`.
    pub(super) fn begin(&self, known: usize, base: u64) -> Option<WatchList> {
        let mut state = self.state.lock();
        if state.list.len() == known {
            return None;
        }
        for watched in &mut state.watched {
            watched.from.get_or_insert(base);
        }
        Some(state.list.clone())
    }

    /// Keys were touched by a change.
    pub(super) fn note(&self, touched: &TouchedKeys, index: u64) {
        let mut state = self.state.lock();
        let mut rows: usize = state.watched.iter().map(|watched| watched.last.len()).sum();
        for (number, watched) in state.watched.iter_mut().enumerate().filter(|(_, key)| key.from.is_some()) {
            let before = watched.last.len();
            let room = ROWS_MAX.saturating_sub(rows);
            watched.note(touched.0.get(number).unwrap_or(&Touched::Any), room, index);
            rows = rows - before + watched.last.len();
        }
    }

    /// Anything may have changed.
    pub(super) fn note_all(&self, index: u64) {
        self.state.lock().watched.iter_mut().for_each(|watched| watched.note_all(index));
    }

    /// Nothing is noted any more: whoever did so is gone.
    pub(super) fn stop(&self) {
        self.state.lock().watched.iter_mut().for_each(|watched| *watched = Watched::default());
    }
}

impl State {
    fn add(&mut self, key: KeyColumns) {
        if self.watched.len() < WATCHED_MAX {
            self.list = self.list.iter().cloned().chain([key]).collect();
            self.watched.push(Watched::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(hashes: &[u64]) -> Keys {
        Keys { columns: vec!["id".into()], hashes: hashes.to_vec() }
    }

    fn touched(hashes: &[u64]) -> TouchedKeys {
        TouchedKeys(vec![Touched::Hashes(hashes.to_vec())])
    }

    /// Watched from index 5 on.
    fn watched() -> KeyChanges {
        let changes = KeyChanges::default();
        assert_eq!(changes.last_of("t", &keys(&[1])), None);
        assert_eq!(changes.last_of("t", &keys(&[1])), None, "nobody notes anything yet");
        let list = changes.begin(0, 5).expect("there is something to watch");
        assert_eq!(list.len(), 1);
        assert_eq!(changes.begin(1, 9), None, "it is watched already");
        changes
    }

    #[test]
    fn a_key_changes_by_itself_once_it_is_watched() {
        let changes = watched();
        changes.note(&touched(&[1, 2]), 6);
        changes.note(&touched(&[2]), 7);
        let last = |hashes: &[u64]| changes.last_of("T", &keys(hashes)).unwrap();
        assert_eq!((last(&[1]), last(&[2]), last(&[3]), last(&[])), (6, 7, 5, 5));
        assert_eq!(last(&[3, 1]), 6);
    }

    #[test]
    fn what_is_not_told_apart_is_taken_for_changed() {
        let changes = watched();
        changes.note(&TouchedKeys(vec![Touched::Any]), 6);
        assert_eq!(changes.last_of("t", &keys(&[3])), Some(6));
        changes.note(&TouchedKeys::default(), 7);
        assert_eq!(changes.last_of("t", &keys(&[3])), Some(7), "it was not watched yet");
        changes.note_all(8);
        assert_eq!(changes.last_of("t", &keys(&[3])), Some(8));
        changes.note(&touched(&vec![4; ROWS_MAX + 1]), 9);
        assert_eq!(changes.last_of("t", &keys(&[3])), Some(9));
        changes.stop();
        assert_eq!(changes.last_of("t", &keys(&[3])), None);
    }

    #[test]
    fn columns_that_are_named_later_are_noted_later() {
        let changes = watched();
        let other = Keys { columns: Vec::new(), hashes: vec![1] };
        assert_eq!(changes.last_of("t", &other), None);
        changes.note(&touched(&[1]), 6);
        assert_eq!(changes.last_of("t", &other), None);
        assert_eq!(changes.last_of("t", &keys(&[2])), Some(5), "the first is watched on");
        assert_eq!(changes.begin(1, 6).map(|list| list.len()), Some(2));
        assert_eq!(changes.last_of("t", &other), Some(6));
    }
}
