//! Which rows a computed write must know besides those that it looks through: found from the rows that it
//! changes, and read by their keys.
//!
//! - Where rows that are there decide what becomes of a new one (OR REPLACE, UPSERT): those with a key in common.
//! - Parents of new values of foreign keys, and children of rows that go or whose referenced key changes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use common::entry::{Change, Effects};
use common::names::quote_identifier;
use common::protocol::{Params, Statement};
use common::row::write_value;
use common::schema::GlobalIndex;
use common::value::Affinity;
use common::{Error, Result, Value};
use sqlite::TrialDatabase;
use sqlite::schema::ForeignKey;

use super::images::{self, Image};
use super::proven::{self, Asks, Fragment, Proofs};
use super::rejoin::Joint;
use crate::Planner;
use crate::access::PartitionAccess;
use crate::filter::Filter;
use crate::plan::{Footprint, Source};
use crate::route::{KeyColumn, Operand, Route};
use crate::table::{Key, Table, bucket_of, bucket_of_index_row, bucket_of_reference};

/// Keys asked for in one statement.
const KEYS_PER_STATEMENT: usize = 200;

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
    /// Tables that must be known as a whole.
    whole: BTreeSet<String>,
}

/// What has been read, and the proofs of it.
#[derive(Debug, Default)]
pub(super) struct Known {
    keys: HashSet<(String, By, Vec<u8>)>,
    pub(super) whole: BTreeSet<String>,
    pub(super) proofs: Proofs,
}

impl Lookups {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.whole.is_empty()
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
        let mut encoded = Vec::new();
        values.iter().for_each(|value| write_value(&mut encoded, value.into()));
        if known.keys.insert((table.name.clone(), by.clone(), encoded)) {
            self.keys.entry((table.name.clone(), by)).or_default().push(values);
        }
    }
}

/// Finds what must be looked up.
pub(super) struct Finder<'a> {
    pub(super) planner: &'a Planner,
    pub(super) footprint: &'a Footprint,
    /// By table, rowids that were generated, so that no row has them.
    pub(super) generated: BTreeMap<String, Range<i64>>,
}

impl Finder<'_> {
    /// What the changed rows make necessary and is not known yet.
    pub(super) fn lookups(&self, effects: &Effects, known: &mut Known) -> Result<Lookups> {
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
            self.of_change(&table, &effect.change, &mut lookups, known)?;
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
        lookups: &mut Lookups,
        known: &mut Known,
    ) -> Result<()> {
        let (old, new) = images::sides(change)?;
        if self.footprint.meets_rows
            && let Some(new) = &new
        {
            self.conflicts(table, old.as_ref(), new, lookups, known);
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
        lookups: &mut Lookups,
        known: &mut Known,
    ) {
        let Some(keys) = unique_keys(table) else { return lookups.add_whole(&table.name, known) };
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

/// What no two rows of a table share; `None` if only SQLite can say.
fn unique_keys(table: &Table) -> Option<Vec<By>> {
    let mut keys = Vec::new();
    if table.rowid_name.is_some() {
        keys.push(By::Rowid);
    } else {
        keys.push(By::Columns(table.primary_key.clone()));
    }
    for index in table.indexes.iter().filter(|index| index.unique) {
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

/// `None` if a row image does not hold them.
fn values_of(table: &Table, image: &Image, by: &By) -> Option<Vec<Value>> {
    match by {
        By::Rowid => Some(image.0.clone()),
        By::Columns(columns) => images::columns_of(table, image, columns).ok(),
    }
}

/// Reads what is asked for into the workspace.
pub(super) async fn fetch(
    planner: &Planner,
    access: &impl PartitionAccess,
    workspace: TrialDatabase,
    lookups: Lookups,
    known: &mut Known,
) -> Result<TrialDatabase> {
    let mut fragments = Vec::new();
    for name in &lookups.whole {
        let table = planner.table(name).ok_or_else(|| Error::internal("a table to look up is gone"))?;
        fragments.extend(fragments_of(planner, &Source::whole(&table), &[]));
        known.whole.insert(name.clone());
    }
    for ((name, by), keys) in lookups.keys {
        let table = planner.table(&name).ok_or_else(|| Error::internal("a table to look up is gone"))?;
        if !known.whole.contains(&name) {
            fragments.extend(by_keys(planner, access, &table, &by, keys, known).await?);
        }
    }
    let (workspace, proofs) = proven::load(access, workspace, fragments).await?;
    known.proofs.extend(proofs);
    Ok(workspace)
}

/// The reads that a source comes to.
pub(super) fn fragments_of(planner: &Planner, source: &Source, values: &[Value]) -> Vec<Fragment> {
    let database = planner.database();
    let columns: Arc<[usize]> = source.columns.clone().into();
    let buckets = source.route.buckets(database, &source.table, values);
    let fragment = |bucket| Fragment {
        table: Arc::clone(&source.table),
        columns: Arc::clone(&columns),
        asks: asks(planner, source, bucket, values),
    };
    buckets.into_iter().map(fragment).collect()
}

/// What a source comes to in one bucket.
fn asks(planner: &Planner, source: &Source, bucket: usize, values: &[Value]) -> Asks {
    let database = planner.database();
    match source.pieces().as_slice() {
        [piece] => Asks::One {
            partition: database.partition_index(piece.group, bucket),
            statement: piece.statement(&source.table, values),
        },
        _ => Asks::Several(Arc::new(Joint::new(database, source, bucket, values))),
    }
}

/// All columns of a table that is not split, as what stands before conditions, and what behind them.
fn whole_rows(table: &Arc<Table>) -> (String, String) {
    let order: Vec<String> = match table.rowid_name {
        Some(rowid) => vec![rowid.to_owned()],
        None => names_of(table, &table.primary_key),
    };
    let mut columns: Vec<String> = table.rowid_name.map(str::to_owned).into_iter().collect();
    columns.extend(names_of(table, &table.stored().collect::<Vec<usize>>()));
    let from = format!("SELECT {} FROM {}", columns.join(", "), quote_identifier(&table.name));
    (from, format!(" ORDER BY {}", order.join(", ")))
}

fn names_of(table: &Table, columns: &[usize]) -> Vec<String> {
    columns.iter().map(|position| quote_identifier(&table.columns[*position].name)).collect()
}

/// The rows with the greatest rowids, of which the greatest tells the next one.
pub(super) fn last_rows(planner: &Planner, table: &Arc<Table>) -> Vec<Fragment> {
    let (from, _) = whole_rows(table);
    let sql = format!("{from} ORDER BY {} DESC LIMIT 1", table.rowid_name.unwrap_or("rowid"));
    let columns: Arc<[usize]> = table.stored().collect();
    let fragment = |bucket| Fragment {
        table: Arc::clone(table),
        columns: Arc::clone(&columns),
        asks: Asks::One {
            partition: bucket,
            statement: Statement { sql: sql.clone(), params: Params::None },
        },
    };
    Route::default().buckets(planner.database(), table, &[]).into_iter().map(fragment).collect()
}

/// Where a row of a key is.
enum Home<'t> {
    Bucket(usize),
    /// A global index says it; its entry is in the bucket.
    Index(&'t GlobalIndex, usize),
    Anywhere,
}

/// Values of the columns that rows are looked up by, one list a row.
type Keys = Vec<Vec<Value>>;

async fn by_keys(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Arc<Table>,
    by: &By,
    keys: Keys,
    known: &mut Known,
) -> Result<Vec<Fragment>> {
    let mut by_bucket: BTreeMap<usize, Keys> = BTreeMap::new();
    let mut by_entry: BTreeMap<(usize, &str), (&GlobalIndex, Keys)> = BTreeMap::new();
    for key in keys {
        match home(planner, table, by, &key) {
            Home::Bucket(bucket) => by_bucket.entry(bucket).or_default().push(key),
            Home::Index(index, bucket) => {
                let entry = by_entry.entry((bucket, index.table.as_str()));
                entry.or_insert_with(|| (index, Vec::new())).1.push(key);
            }
            Home::Anywhere => {
                (0..planner.buckets())
                    .for_each(|bucket| by_bucket.entry(bucket).or_default().push(key.clone()));
            }
        }
    }
    let mut rowids: BTreeMap<usize, Keys> = BTreeMap::new();
    for ((bucket, _), (index, keys)) in by_entry {
        for keys in keys.chunks(KEYS_PER_STATEMENT) {
            let names: Vec<String> = index.columns.iter().map(|name| quote_identifier(name)).collect();
            let from = format!("SELECT _rowid FROM {}", quote_identifier(&index.table));
            let order = format!(" ORDER BY {}", names.join(", "));
            let statement = with_keys(&from, &names, keys, &order);
            let (found, proof) = proven::read(access, bucket, statement).await?;
            known.proofs.extend(proof);
            for rowid in found {
                match home(planner, table, &By::Rowid, &rowid) {
                    Home::Bucket(bucket) => rowids.entry(bucket).or_default().push(rowid),
                    _ => (0..planner.buckets())
                        .for_each(|bucket| rowids.entry(bucket).or_default().push(rowid.clone())),
                }
            }
        }
    }
    let mut fragments = Vec::new();
    for (by, by_bucket) in [(by, by_bucket), (&By::Rowid, rowids)] {
        for (bucket, keys) in by_bucket {
            let fragment = |keys| fragment(planner, table, by, bucket, keys);
            fragments.extend(keys.chunks(KEYS_PER_STATEMENT).map(fragment));
        }
    }
    Ok(fragments)
}

fn home<'t>(planner: &Planner, table: &'t Table, by: &By, key: &[Value]) -> Home<'t> {
    if table.reference {
        return Home::Bucket(bucket_of_reference(planner.database(), table));
    }
    if planner.buckets() == 1 {
        return Home::Bucket(0);
    }
    let columns: Vec<usize> = match (by, &table.key) {
        (By::Rowid, Key::Rowid) => return Home::Bucket(bucket_of(planner.database(), key)),
        (By::Rowid, Key::Columns(_)) => match table.rowid_alias {
            Some(alias) => vec![alias],
            None => return Home::Anywhere,
        },
        (By::Columns(columns), _) => columns.clone(),
    };
    let folded = |position: usize| {
        let at = columns.iter().position(|column| *column == position)?;
        table.folded(position, table.columns[position].affinity.apply(&key[at])?)
    };
    if let Key::Columns(chosen) = &table.key
        && let Some(values) = chosen.iter().map(|position| folded(*position)).collect::<Option<Vec<Value>>>()
    {
        return Home::Bucket(bucket_of(planner.database(), &values));
    }
    let covers = |index: &&GlobalIndex| {
        let has_columns = !index.building && index.computed.is_none();
        has_columns && !table.without_rowid && table.index_columns(index) == columns
    };
    if let Some(index) = table.global_indexes.iter().find(covers)
        && let Some(values) = columns.iter().map(|position| folded(*position)).collect::<Option<Vec<Value>>>()
    {
        return Home::Index(index, bucket_of_index_row(planner.database(), &values));
    }
    Home::Anywhere
}

fn fragment(planner: &Planner, table: &Arc<Table>, by: &By, bucket: usize, keys: &[Vec<Value>]) -> Fragment {
    let asks = if table.is_split() {
        let source = Source { filters: filters_among(table, by, keys), ..Source::whole(table) };
        asks(planner, &source, bucket, &[])
    } else {
        let names: Vec<String> = match by {
            By::Rowid => vec![table.rowid_name.unwrap_or("rowid").to_owned()],
            By::Columns(columns) => names_of(table, columns),
        };
        let (from, order) = whole_rows(table);
        Asks::One { partition: bucket, statement: with_keys(&from, &names, keys, &order) }
    };
    Fragment { table: Arc::clone(table), columns: table.stored().collect(), asks }
}

/// The rows of some keys in a bucket, all stored columns of them, after the rowid if the table has one. Others may
/// be among them.
pub(super) async fn rows_with_keys(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Arc<Table>,
    bucket: usize,
    keys: &[Vec<Value>],
) -> Result<Vec<Vec<Value>>> {
    let by = match table.rowid_name {
        Some(_) => By::Rowid,
        None => By::Columns(table.primary_key.clone()),
    };
    proven::rows(access, &fragment(planner, table, &by, bucket, keys)).await
}

/// All rows of a bucket, as [`rows_with_keys`] answers them.
pub(super) async fn rows_of_bucket(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Arc<Table>,
    bucket: usize,
) -> Result<Vec<Vec<Value>>> {
    let source = Source::whole(table);
    let fragment = Fragment {
        table: Arc::clone(table),
        columns: source.columns.clone().into(),
        asks: asks(planner, &source, bucket, &[]),
    };
    proven::rows(access, &fragment).await
}

/// The rows of a bucket that have some values in some columns, as [`rows_with_keys`] answers them.
pub(super) async fn rows_with_values(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Arc<Table>,
    bucket: usize,
    (columns, values): (&[usize], &[Value]),
) -> Result<Vec<Vec<Value>>> {
    let by = By::Columns(columns.to_vec());
    proven::rows(access, &fragment(planner, table, &by, bucket, &[values.to_vec()])).await
}

/// Conditions that the rows of some keys pass, one for each column, which may lie in different column groups.
/// Rows that pass all of them without having one of the keys do no harm.
fn filters_among(table: &Table, by: &By, keys: &[Vec<Value>]) -> Vec<Filter> {
    let columns: Vec<KeyColumn> = match by {
        By::Rowid => vec![KeyColumn::Rowid],
        By::Columns(columns) => columns.iter().map(|&column| KeyColumn::Position(column)).collect(),
    };
    let among = |(at, &column): (usize, &KeyColumn)| {
        let values = keys.iter().filter_map(|key| key.get(at).cloned().map(Operand::Constant)).collect();
        Filter::among(table, column, None, values)
    };
    columns.iter().enumerate().filter_map(among).collect()
}

/// `… WHERE names IN (keys) …`: the columns' own affinities and collations decide.
fn with_keys(from: &str, names: &[String], keys: &[Vec<Value>], order: &str) -> Statement {
    let condition = match names {
        [only] => format!("{only} IN ({})", vec!["?"; keys.len()].join(", ")),
        _ => {
            let row = format!("({})", vec!["?"; names.len()].join(", "));
            format!("({}) IN (VALUES {})", names.join(", "), vec![row; keys.len()].join(", "))
        }
    };
    let sql = format!("{from} WHERE {condition}{order}");
    Statement { sql, params: Params::Positional(keys.iter().flatten().cloned().collect()) }
}
