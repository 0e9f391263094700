//! Which rows a computed write must know besides those that it looks through: found from the rows that it
//! changes, and read by their keys.
//!
//! - Where rows that are there decide what becomes of a new one (OR REPLACE, UPSERT): those with a key in common, or an
//!   entry in a global index.
//! - Parents of new values of foreign keys, and children of rows that go or whose referenced key changes.

mod fetch;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use common::entry::{Change, Effects};
use common::row::write_value;
use common::schema::GlobalIndex;
use common::value::Affinity;
use common::{Error, Result, Value};
use sqlite::schema::{ForeignKey, Index, IndexOrigin};

pub(super) use fetch::{fetch, fragments_of, last_rows, rows_of_bucket, rows_with_keys, rows_with_values};

use super::entries::{Entries, Entry};
use super::images::{self, Image};
use super::proven::Proofs;
use crate::Planner;
use crate::plan::Footprint;
use crate::schema::term_column;
use crate::table::Table;

/// What names rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum By {
    Rowid,
    /// Positions of columns.
    Columns(Vec<usize>),
}

/// Rows that are asked for.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// By table and what names its rows.
    keys: BTreeMap<(String, By), Vec<Vec<Value>>>,
    /// Entries in global indexes, by table and the index's hidden table.
    entries: BTreeMap<(String, String), Vec<Vec<Value>>>,
    /// Tables that must be known as a whole.
    whole: BTreeSet<String>,
}

/// What has been read, and the proofs of it.
#[derive(Debug, Default)]
pub(super) struct Known {
    keys: HashSet<(String, By, Vec<u8>)>,
    entries: HashSet<(String, Vec<u8>)>,
    pub(super) whole: BTreeSet<String>,
    pub(super) proofs: Proofs,
}

impl Lookups {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.entries.is_empty() && self.whole.is_empty()
    }

    /// Asks for a whole table.
    pub(super) fn add_whole(&mut self, table: &str, known: &Known) {
        if !known.whole.contains(table) {
            self.whole.insert(table.to_owned());
        }
    }

    fn add(&mut self, table: &Table, by: By, values: Vec<Value>, known: &mut Known) {
        if known.whole.contains(&table.name) || values.iter().any(Value::is_null) {
            return;
        }
        if known.keys.insert((table.name.clone(), by.clone(), encoded(&values))) {
            self.keys.entry((table.name.clone(), by)).or_default().push(values);
        }
    }

    /// Asks for the row that an entry in a global index is of.
    fn add_entry(&mut self, table: &Table, hidden: &str, values: Vec<Value>, known: &mut Known) {
        if !known.whole.contains(&table.name) && known.entries.insert((hidden.to_owned(), encoded(&values))) {
            self.entries.entry((table.name.clone(), hidden.to_owned())).or_default().push(values);
        }
    }
}

fn encoded(values: &[Value]) -> Vec<u8> {
    let mut encoded = Vec::new();
    values.iter().for_each(|value| write_value(&mut encoded, value.into()));
    encoded
}

/// Finds what must be looked up.
pub(super) struct Finder<'a> {
    pub(super) planner: &'a Planner,
    pub(super) footprint: &'a Footprint,
    /// By table, rowids that were generated, so that no row has them.
    pub(super) generated: BTreeMap<String, Range<i64>>,
}

impl Finder<'_> {
    /// What the changed rows make necessary and is not known yet. Without the rows' computed entries in global
    /// indexes, tables that have such indexes must be known as a whole.
    pub(super) fn lookups(
        &self,
        effects: &Effects,
        mut entries: Option<Entries>,
        known: &mut Known,
    ) -> Result<Lookups> {
        let mut lookups = Lookups::default();
        let tables: Vec<Option<Arc<Table>>> =
            effects.tables.iter().map(|name| self.planner.table(name)).collect();
        let table_of = |number: u16| {
            let table = tables.get(usize::from(number)).cloned().flatten();
            table.ok_or_else(|| Error::internal("a captured change names no table"))
        };
        let mut may_lack_parents = false;
        for effect in &effects.rows {
            let table = table_of(effect.table)?;
            may_lack_parents |= self.may_lack_parents(&table, &effect.change);
        }
        for effect in &effects.rows {
            let table = table_of(effect.table)?;
            self.of_change(&table, &effect.change, entries.as_mut(), &mut lookups, known)?;
            // SQLite counts rows without their parents: one that goes counts as one less, if its parent is not here.
            if let (Some(old), _) = images::sides(&effect.change)?
                && may_lack_parents
            {
                self.parents(&table, &old, &mut lookups, known);
            }
        }
        Ok(lookups)
    }

    /// Whether a change may leave a row without its parent.
    fn may_lack_parents(&self, table: &Table, change: &Change) -> bool {
        let makes_a_child = !matches!(change, Change::Delete { .. }) && !table.foreign_keys.is_empty();
        let takes_a_parent = || {
            !matches!(change, Change::Insert { .. }) && !self.planner.references_to(&table.name).is_empty()
        };
        self.footprint.checks_foreign_keys && (makes_a_child || takes_a_parent())
    }

    fn of_change(
        &self,
        table: &Table,
        change: &Change,
        entries: Option<&mut Entries>,
        lookups: &mut Lookups,
        known: &mut Known,
    ) -> Result<()> {
        let (old, new) = images::sides(change)?;
        if self.footprint.meets_rows {
            let entered = match entries {
                Some(entries) => Some(entered(table, (old.as_ref(), new.as_ref()), entries)?),
                None => None,
            };
            if let Some(new) = &new {
                self.conflicts(table, old.as_ref(), new, entered, lookups, known);
            }
        }
        if self.footprint.checks_foreign_keys {
            if let Some(new) = &new {
                self.parents(table, new, lookups, known);
            }
            if let Some(old) = &old {
                self.children(table, old, new.as_ref(), lookups, known);
            }
        }
        Ok(())
    }

    /// Rows that may share a unique key with a new row.
    fn conflicts(
        &self,
        table: &Table,
        old: Option<&Image>,
        new: &Image,
        entered: Option<Vec<(String, Entry)>>,
        lookups: &mut Lookups,
        known: &mut Known,
    ) {
        let Some(keys) = unique_keys(table, entered.is_some()) else {
            return lookups.add_whole(&table.name, known);
        };
        for (index, entry) in entered.into_iter().flatten() {
            lookups.add_entry(table, &index, entry.values, known);
        }
        for by in keys {
            let values = |image: &Image| values_of(table, image, &by);
            match values(new) {
                None => lookups.add_whole(&table.name, known),
                Some(key) if old.and_then(values).as_ref() == Some(&key) => {}
                Some(key) if by == By::Rowid && self.is_generated(&table.name, &key) => {}
                Some(key) => lookups.add(table, by, key, known),
            }
        }
    }

    fn is_generated(&self, table: &str, key: &[Value]) -> bool {
        let generated = self.generated.get(table);
        matches!((key, generated), ([Value::Integer(rowid)], Some(generated)) if generated.contains(rowid))
    }

    fn parents(&self, table: &Table, new: &Image, lookups: &mut Lookups, known: &mut Known) {
        for foreign_key in &table.foreign_keys {
            let Some(parent) = self.planner.table(&foreign_key.parent) else { continue };
            // SQLite does not look at parents that the statement leaves alone.
            if !self.footprint.tables.iter().any(|table| table.name == parent.name) {
                continue;
            }
            let columns = parent_columns(&parent, foreign_key);
            let values = |image: &Image| values_of(table, image, &By::Columns(foreign_key.columns.clone()));
            let Some(key) = values(new) else {
                lookups.add_whole(&parent.name, known);
                continue;
            };
            // A key that an UPDATE sets to what it was is checked as well.
            let rowid = (parent.rowid_alias.is_some() && columns.first().copied() == parent.rowid_alias)
                .then(|| Affinity::Integer.apply(&key[0]))
                .flatten()
                .filter(|value| matches!(value, Value::Integer(_)));
            match rowid {
                Some(rowid) if self.is_generated(&parent.name, std::slice::from_ref(&rowid)) => {}
                Some(rowid) => lookups.add(&parent, By::Rowid, vec![rowid], known),
                None => lookups.add(&parent, By::Columns(columns), key, known),
            }
        }
    }

    fn children(
        &self,
        table: &Table,
        old: &Image,
        new: Option<&Image>,
        lookups: &mut Lookups,
        known: &mut Known,
    ) {
        for (child, foreign_key) in self.planner.references_to(&table.name) {
            let columns = parent_columns(table, &foreign_key);
            let by = By::Columns(columns.clone());
            let Some(key) = values_of(table, old, &by) else {
                lookups.add_whole(&child.name, known);
                continue;
            };
            if new.and_then(|new| values_of(table, new, &by)).as_ref() == Some(&key) {
                continue;
            }
            // A child's value is compared as the parent's column compares.
            let alike = |(own, parent): (&usize, &usize)| {
                let (own, parent) = (&child.columns[*own], &table.columns[*parent]);
                own.affinity == parent.affinity && own.collation.eq_ignore_ascii_case(&parent.collation)
            };
            if foreign_key.columns.iter().zip(&columns).all(alike) {
                lookups.add(&child, By::Columns(foreign_key.columns.clone()), key, known);
            } else {
                lookups.add_whole(&child.name, known);
            }
        }
    }
}

/// The columns of the parent that a foreign key names.
fn parent_columns(parent: &Table, foreign_key: &ForeignKey) -> Vec<usize> {
    if foreign_key.parent_columns.is_empty() {
        return parent.primary_key.clone();
    }
    foreign_key.parent_columns.iter().filter_map(|name| parent.column(name)).collect()
}

/// The entries in a table's global indexes that only SQLite can make, and that a change makes anew.
fn entered(
    table: &Table,
    (old, new): (Option<&Image>, Option<&Image>),
    entries: &mut Entries,
) -> Result<Vec<(String, Entry)>> {
    let mut found = Vec::new();
    let computed = table.global_indexes.iter().filter(|index| index.computed.is_some());
    for index in computed.filter(|index| !index.building && !table.without_rowid) {
        let mut entry = |image: Option<&Image>| match image {
            Some(image) => entries.next(table, index, image),
            None => Ok(None),
        };
        let (before, after) = (entry(old)?, entry(new)?);
        if before != after {
            found.extend(after.map(|entry| (index.table.clone(), entry)));
        }
    }
    Ok(found)
}

/// Whether a unique index has a global index whose entries are computed, and name the rows' rowids.
fn is_entered(table: &Table, index: &Index) -> bool {
    let name = (index.origin == IndexOrigin::Statement).then_some(&index.name);
    let first = term_column(index, 0);
    let is_it = |global: &&GlobalIndex| {
        global.computed.is_some() && global.index.as_ref() == name && global.columns.first() == Some(&first)
    };
    let global = table.global_indexes.iter().find(is_it);
    !table.without_rowid && global.is_some_and(|global| !global.building)
}

/// What no two rows of a table share, beside the entries in global indexes if these are known; `None` if only
/// SQLite can say.
fn unique_keys(table: &Table, entries_are_known: bool) -> Option<Vec<By>> {
    let mut keys = Vec::new();
    if table.rowid_name.is_some() {
        keys.push(By::Rowid);
    } else {
        keys.push(By::Columns(table.primary_key.clone()));
    }
    for index in table.indexes.iter().filter(|index| index.unique) {
        if entries_are_known && is_entered(table, index) {
            continue;
        }
        let columns = index.terms.iter().map(|term| {
            let position = term.column?;
            let same = table.columns[position].collation.eq_ignore_ascii_case(&term.collation);
            same.then_some(position)
        });
        let columns = columns.collect::<Option<Vec<usize>>>().filter(|_| !index.partial)?;
        if !keys.contains(&By::Columns(columns.clone())) {
            keys.push(By::Columns(columns));
        }
    }
    Some(keys)
}

/// Whether two rows of a table may be in conflict in more than one way.
pub(super) fn has_several_keys(table: &Table) -> bool {
    unique_keys(table, false).is_none_or(|keys| keys.len() > 1)
}

/// `None` if a row image does not hold them.
fn values_of(table: &Table, image: &Image, by: &By) -> Option<Vec<Value>> {
    match by {
        By::Rowid => Some(image.0.clone()),
        By::Columns(columns) => images::columns_of(table, image, columns).ok(),
    }
}
