//! Which keys the rows had and have that a batch of changes is about, for columns that somebody watches: who has read
//! the rows of some keys need not be told of changes of others.

use std::collections::HashMap;
use std::sync::Arc;

use common::Value;
use common::hash::key_hash;
use common::row::ValueRef;

use crate::layout::{Key, Layout, Layouts};

/// More keys are not told apart in one batch.
const HASHES_MAX: usize = 16_384;

/// The columns of a table by which its rows are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumns {
    /// The table, in any letter case.
    pub table: String,
    /// The columns, in any letter case; none stands for the rowid.
    pub columns: Vec<String>,
}

/// Columns that are watched. They are known by their numbers.
pub type WatchList = Arc<[KeyColumns]>;

/// The keys that were touched, of each of a list's columns by its number.
#[derive(Debug, Default)]
pub struct TouchedKeys(pub Vec<Touched>);

/// The keys that were touched of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// What [`key_hash`] makes of their values.
    Hashes(Vec<u64>),
    /// They are too many to be named, or the table lacks a column.
    Any,
}

impl Touched {
    fn add(&mut self, hash: u64) {
        match self {
            Touched::Hashes(hashes) if hashes.len() < HASHES_MAX => hashes.push(hash),
            other => *other = Touched::Any,
        }
    }
}

/// Notes the keys that are touched.
#[derive(Debug, Default)]
pub(crate) struct KeyWatch {
    list: WatchList,
    /// By the table's name as its layout has it.
    tables: HashMap<String, Vec<WatchedKey>>,
    touched: TouchedKeys,
}

#[derive(Debug)]
struct WatchedKey {
    number: usize,
    parts: Parts,
}

/// Where a key's values are.
#[derive(Debug)]
enum Parts {
    Rowid,
    /// By position among the stored columns.
    Columns(Vec<usize>),
    /// Not in the rows of this database.
    Nowhere,
}

impl KeyWatch {
    /// Watches these columns from now on.
    pub(crate) fn watch(&mut self, list: &WatchList, layouts: &Layouts) {
        self.list = list.clone();
        self.resolve(layouts);
        self.clear();
    }

    /// The tables are laid out so from now on.
    pub(crate) fn resolve(&mut self, layouts: &Layouts) {
        self.tables.clear();
        for (number, key) in self.list.iter().enumerate() {
            for layout in layouts.tables.iter().filter(|layout| layout.name.eq_ignore_ascii_case(&key.table))
            {
                let watched = WatchedKey { number, parts: parts_of(layout, &key.columns) };
                self.tables.entry(layout.name.clone()).or_default().push(watched);
            }
        }
    }

    /// Forgets what was touched.
    pub(crate) fn clear(&mut self) {
        drop(self.take());
    }

    /// What was touched, leaving nothing.
    pub(crate) fn take(&mut self) -> TouchedKeys {
        let nothing = vec![Touched::Hashes(Vec::new()); self.list.len()];
        std::mem::replace(&mut self.touched, TouchedKeys(nothing))
    }

    /// A row is there no more, or is there now. `column` answers its stored columns by their position.
    pub(crate) fn touch<'v>(&mut self, layout: &Layout, rowid: i64, column: impl Fn(usize) -> ValueRef<'v>) {
        if self.tables.is_empty() {
            return;
        }
        for WatchedKey { number, parts } in self.tables.get(&layout.name).into_iter().flatten() {
            let touched = &mut self.touched.0[*number];
            match parts {
                Parts::Rowid => touched.add(key_hash([ValueRef::Integer(rowid)])),
                Parts::Columns(positions) => touched.add(key_hash(positions.iter().map(|at| column(*at)))),
                Parts::Nowhere => *touched = Touched::Any,
            }
        }
    }
}

fn parts_of(layout: &Layout, columns: &[String]) -> Parts {
    if columns.is_empty() {
        return match layout.key {
            Key::Rowid { .. } => Parts::Rowid,
            Key::Columns(_) => Parts::Nowhere,
        };
    }
    let position =
        |name: &String| layout.columns.iter().position(|stored| stored.name.eq_ignore_ascii_case(name));
    columns.iter().map(position).collect::<Option<_>>().map_or(Parts::Nowhere, Parts::Columns)
}

/// The rowid that a row's key is; in a WITHOUT ROWID table it means nothing.
pub(crate) fn rowid_of(key: &[Value]) -> i64 {
    match key {
        [Value::Integer(rowid)] => *rowid,
        _ => 0,
    }
}
