//! Which rows have changed since when, noted while they are being copied into other partitions.
//!
//! It is in memory only: a replica that has lost it says so, and the copying begins anew.

use std::collections::{BTreeMap, HashMap};

use common::Value;
use common::entry::{Change, Effect, Effects};
use common::replacing::RowKey;

use super::Machine;

/// More keys are not noted; then nothing is known any more.
const KEYS_MAX: usize = 500_000;

/// Changed rows of a batch: table and encoded key.
pub(super) type ChangedKeys = Vec<(String, Vec<u8>)>;

/// The log index of each row's last change.
#[derive(Debug, Default)]
pub(super) struct RowChanges {
    /// All changes after this index are noted; `None` while a batch is on its way whose changes are not.
    from: Option<u64>,
    tables: BTreeMap<String, HashMap<Vec<u8>, u64>>,
    count: usize,
}

impl RowChanges {
    pub(super) fn note(&mut self, table: &str, key: Vec<u8>, index: u64) {
        if self.count >= KEYS_MAX {
            self.from = Some(u64::MAX);
            self.tables.clear();
            return;
        }
        let known = match self.tables.get_mut(table) {
            Some(keys) => keys.insert(key, index),
            None => self.tables.entry(table.to_owned()).or_default().insert(key, index),
        };
        self.count += usize::from(known.is_none());
    }

    pub(super) fn note_effect(&mut self, tables: &[String], effect: &Effect, index: u64) {
        let Some(table) = tables.get(usize::from(effect.table)) else { return };
        for key in keys_of(&effect.change) {
            self.note(table, encode(key), index);
        }
    }

    fn since(&self, index: u64) -> Option<Vec<RowKey>> {
        self.from.filter(|from| *from <= index)?;
        let tables = self.tables.iter().flat_map(|(table, keys)| keys.iter().map(move |key| (table, key)));
        let changed = tables.filter(|(_, (_, changed))| **changed > index);
        changed
            .map(|(table, (key, _))| {
                Some(RowKey { table: table.clone(), key: postcard::from_bytes(key).ok()? })
            })
            .collect()
    }
}

/// The keys that a change is about: two where it moves a row.
fn keys_of(change: &Change) -> Vec<&[Value]> {
    match change {
        Change::Insert { key, .. } | Change::Delete { key, .. } => vec![key],
        Change::Update { old_key, key, .. } if old_key == key => vec![key],
        Change::Update { old_key, key, .. } => vec![old_key, key],
        Change::Schema(_) => Vec::new(),
    }
}

fn encode(key: &[Value]) -> Vec<u8> {
    postcard::to_stdvec(key).expect("every value has an encoding")
}

impl Machine {
    /// The keys of rows that have changed since a log index; without an index, changes are noted from now on, and the
    /// answer is empty as soon as that is sure. `None` if not all of them were noted.
    pub fn changed_rows(&mut self, since: Option<u64>) -> Option<Vec<RowKey>> {
        let Some(since) = since else {
            let changes = self.row_changes.get_or_insert_default();
            if changes.from == Some(u64::MAX) {
                *changes = RowChanges::default();
            }
            let unnoted = self.flight.as_ref().is_some_and(|flight| flight.executed);
            if changes.from.is_none() && !unnoted {
                changes.from = Some(self.state.position.index);
            }
            return changes.from.map(|_| Vec::new());
        };
        if since == u64::MAX {
            self.row_changes = None;
            return Some(Vec::new());
        }
        self.row_changes.as_ref()?.since(since)
    }

    /// The keys of a batch that is proposed, if they are to be noted.
    pub(super) fn keys_to_note(&self, effects: &Effects) -> ChangedKeys {
        if self.row_changes.is_none() {
            return Vec::new();
        }
        let of = |effect: &Effect| {
            let table = effects.tables.get(usize::from(effect.table)).cloned().unwrap_or_default();
            keys_of(&effect.change)
                .into_iter()
                .map(move |key| (table.clone(), encode(key)))
                .collect::<Vec<_>>()
        };
        effects.rows.iter().flat_map(of).collect()
    }

    /// A batch was committed.
    pub(super) fn note_keys(&mut self, keys: ChangedKeys, index: u64) {
        if let Some(changes) = &mut self.row_changes {
            keys.into_iter().for_each(|(table, key)| changes.note(&table, key, index));
        }
    }

    /// Rows were landed.
    pub(super) fn note_rows(&mut self, effects: &Effects, index: u64) {
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(super::PlantedBug::ChangesForgotten) {
            return;
        }
        if let Some(changes) = &mut self.row_changes {
            effects.rows.iter().for_each(|effect| changes.note_effect(&effects.tables, effect, index));
        }
    }

    /// No batch is on its way any more: what comes now is noted.
    pub(super) fn noted_from_now(&mut self) {
        if let Some(changes) = &mut self.row_changes {
            changes.from.get_or_insert(self.state.position.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &RowChanges, since: u64) -> Option<Vec<Value>> {
        let keys = changes.since(since)?;
        let mut values: Vec<Value> = keys.into_iter().flat_map(|key| key.key).collect();
        values.sort_by(Value::compare);
        Some(values)
    }

    #[test]
    fn what_has_changed_since_an_index_is_told_once_and_by_its_last_change() {
        let mut changes = RowChanges { from: Some(10), ..RowChanges::default() };
        let effect = |change| Effect { table: 0, change };
        let tables = ["t".to_owned()];
        let insert = Change::Insert { key: vec![1.into()], row: Vec::new() };
        changes.note_effect(&tables, &effect(insert), 11);
        let moved =
            Change::Update { old_key: vec![2.into()], key: vec![3.into()], old_row: None, row: Vec::new() };
        changes.note_effect(&tables, &effect(moved), 12);
        changes.note_effect(&tables, &effect(Change::Delete { key: vec![1.into()], old_row: None }), 13);
        assert_eq!(changed(&changes, 10), Some(vec![1.into(), 2.into(), 3.into()]));
        assert_eq!(changed(&changes, 12), Some(vec![1.into()]));
        assert_eq!(changed(&changes, 13), Some(Vec::new()));
        assert_eq!(changed(&changes, 9), None, "it was not noted yet");
    }

    #[test]
    fn nothing_is_known_before_it_is_sure_that_all_is_noted() {
        let mut changes = RowChanges::default();
        changes.note("t", encode(&[1.into()]), 5);
        assert_eq!(changed(&changes, 4), None);
    }

    #[test]
    fn too_many_changes_are_not_known_rather_than_known_in_part() {
        let mut changes = RowChanges { from: Some(1), ..RowChanges::default() };
        for number in 0..=KEYS_MAX {
            changes.note("t", encode(&[i64::try_from(number).unwrap().into()]), 2);
        }
        assert_eq!(changed(&changes, 1), None);
    }
}
