//! When each table last changed: who has read one need not be told of changes of the others.

use std::collections::BTreeMap;

use common::names::is_internal_table;
use sqlite::KEYS_TABLE;

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

    /// Some tables have changed. Internal ones say where rows of others are, so that with them everything may have; but
    /// no read looks into the one that holds the answers to requests with an idempotency key.
    pub(super) fn note(&mut self, tables: &[String], index: u64) {
        if tables.iter().any(|table| is_internal_table(table) && table != KEYS_TABLE) {
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

    /// The last change of a table.
    #[must_use]
    pub fn last_of(&self, table: &str) -> u64 {
        self.tables.get(&table.to_ascii_lowercase()).copied().unwrap_or_default().max(self.all)
    }

    /// The last change that may have been one of every table.
    #[must_use]
    pub fn last_of_all(&self) -> u64 {
        self.all
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
        assert_eq!((changes.last_of("a"), changes.last_of_all()), (5, 5));
        changes.note(&names(&["A", "b"]), 7);
        changes.note(&names(&["b"]), 8);
        assert_eq!((changes.last_of("a"), changes.last_of("B"), changes.last_of("c")), (7, 8, 5));
        changes.note(&names(&["c", KEYS_TABLE]), 9);
        assert_eq!((changes.last_of("a"), changes.last_of("c"), changes.last_of_all()), (7, 9, 5));
        changes.note(&names(&["_unique_1"]), 10);
        assert_eq!((changes.last_of("a"), changes.last_of_all()), (10, 10), "internal tables tell of others");
    }
}
