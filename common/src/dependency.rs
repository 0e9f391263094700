//! What an answer depends on: it stays true for as long as none of this changes.

use serde::{Deserialize, Serialize};

/// A table that an answer was computed from, or some of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dependency {
    /// The table's name, in any letter case.
    pub table: String,
    /// The rows, if they were named by a key; else all of them.
    pub keys: Option<Keys>,
}

/// Rows by the values of a key. The answer depends on every row that has one of these keys, or gets one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Keys {
    /// The columns of the key; none stands for the rowid.
    pub columns: Vec<String>,
    /// What [`crate::hash::key_hash`] makes of each key's values. Keys that share one are taken for the same.
    pub hashes: Vec<u64>,
}

impl Dependency {
    /// All rows of a table.
    #[must_use]
    pub fn on_table(table: impl Into<String>) -> Dependency {
        Dependency { table: table.into(), keys: None }
    }

    /// Bytes that it takes beside its own size, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_keys = |keys: &Keys| {
            size_of_val(keys.hashes.as_slice())
                + keys.columns.iter().map(|name| 24 + name.len()).sum::<usize>()
        };
        self.table.len() + self.keys.as_ref().map_or(0, of_keys)
    }
}
