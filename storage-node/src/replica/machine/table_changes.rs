//! When each table last changed: who has read one need not be told of changes of the others.

use std::collections::BTreeMap;

use common::names::is_internal_table;

/// Holds the answers to requests with an idempotency key; no read looks into it.
const KEYS: &str = "_keys";

/// The log index of each table's last change, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableChanges {
    /// Every table may have changed as late as this.
    all: u64,
    tables: BTreeMap<String, u64>,
}

impl TableChanges {
    /// Nothing is known but the last change of the state.
    pub(super) fn since(base: u64) -> TableChanges {
        TableChanges { all: base, tables: BTreeMap::new() }
    }

    /// Some tables have changed. Internal ones say where rows of others are, so that with them everything may have.
    pub(super) fn note(&mut self, tables: &[String], index: u64) {
        if tables.iter().any(|table| is_internal_table(table) && table != KEYS) {
            return self.note_all(index);
        }
        for table in tables {
            self.tables.insert(table.to_ascii_lowercase(), index);
        }
    }

    /// Anything may have changed.
    pub(super) fn note_all(&mut self, index: u64) {
        *self = TableChanges::since(index);
    }

    /// The last change of any of these tables; of any table at all if there are none.
    #[must_use]
    pub fn last_of(&self, tables: &[String], base: u64) -> u64 {
        if tables.is_empty() {
            return base;
        }
        let known = tables.iter().filter_map(|table| self.tables.get(&table.to_ascii_lowercase()));
        known.copied().max().unwrap_or_default().max(self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_table_changes_by_itself_or_with_everything() {
        let mut changes = TableChanges::since(5);
        let last = |changes: &TableChanges, tables: &[&str]| changes.last_of(&names(tables), 99);
        assert_eq!(last(&changes, &["a"]), 5);
        changes.note(&names(&["A", "b"]), 7);
        changes.note(&names(&["b"]), 8);
        assert_eq!((last(&changes, &["a"]), last(&changes, &["B"])), (7, 8));
        assert_eq!((last(&changes, &["c", "a"]), last(&changes, &["c"])), (7, 5));
        assert_eq!(last(&changes, &[]), 99, "without names it is about the whole state");
        changes.note(&names(&["c", KEYS]), 9);
        assert_eq!((last(&changes, &["a"]), last(&changes, &["c"])), (7, 9));
        changes.note(&names(&["_unique_1"]), 9);
        assert_eq!(last(&changes, &["a"]), 9, "internal tables tell of others");
    }
}
