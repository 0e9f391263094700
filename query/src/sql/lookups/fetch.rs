//! Reads the rows that are asked for, by their keys, from where they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::names::quote_identifier;
use common::protocol::{Params, Statement};
use common::schema::GlobalIndex;
use common::{Error, Result, Value};
use sqlite::TrialDatabase;

use super::{By, Known, Lookups};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::filter::Filter;
use crate::plan::Source;
use crate::route::{KeyColumn, Operand, Route};
use crate::sql::proven::{self, Asks, Fragment};
use crate::sql::rejoin::Joint;
use crate::table::{Key, Table, bucket_of, bucket_of_index_row, bucket_of_reference};

/// Keys asked for in one statement.
const KEYS_PER_STATEMENT: usize = 200;

/// Reads what is asked for into the workspace.
pub(in crate::sql) async fn fetch(
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
    for ((name, hidden), entries) in lookups.entries {
        let table = planner.table(&name).ok_or_else(|| Error::internal("a table to look up is gone"))?;
        let index = table.global_indexes.iter().find(|index| index.table == hidden);
        let index = index.ok_or_else(|| Error::internal("a global index to look up is gone"))?;
        if !known.whole.contains(&name) {
            fragments.extend(by_entries(planner, access, &table, index, entries, known).await?);
        }
    }
    let (workspace, proofs) = proven::load(access, workspace, fragments).await?;
    known.proofs.extend(proofs);
    Ok(workspace)
}

/// The reads that a source comes to.
pub(in crate::sql) fn fragments_of(planner: &Planner, source: &Source, values: &[Value]) -> Vec<Fragment> {
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
pub(in crate::sql) fn last_rows(planner: &Planner, table: &Arc<Table>) -> Vec<Fragment> {
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
    let mut fragments = in_buckets(planner, table, by, by_bucket);
    for ((bucket, _), (index, keys)) in by_entry {
        let rowids = rowids_of(planner, access, table, index, (bucket, keys), known).await?;
        fragments.extend(in_buckets(planner, table, &By::Rowid, rowids));
    }
    Ok(fragments)
}

/// The rows that entries in a global index are of.
async fn by_entries(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Arc<Table>,
    index: &GlobalIndex,
    entries: Keys,
    known: &mut Known,
) -> Result<Vec<Fragment>> {
    let mut by_bucket: BTreeMap<usize, Keys> = BTreeMap::new();
    for values in entries {
        let folded = table.folded_entry(index, &values);
        let folded = folded.ok_or_else(|| Error::internal("an index has an unknown collation"))?;
        by_bucket.entry(bucket_of_index_row(planner.database(), &folded)).or_default().push(values);
    }
    let mut fragments = Vec::new();
    for in_bucket in by_bucket {
        let rowids = rowids_of(planner, access, table, index, in_bucket, known).await?;
        fragments.extend(in_buckets(planner, table, &By::Rowid, rowids));
    }
    Ok(fragments)
}

/// The rowids that a global index names for some values, by the buckets where the rows may be.
async fn rowids_of(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    index: &GlobalIndex,
    (bucket, values): (usize, Keys),
    known: &mut Known,
) -> Result<BTreeMap<usize, Keys>> {
    let mut rowids: BTreeMap<usize, Keys> = BTreeMap::new();
    for values in values.chunks(KEYS_PER_STATEMENT) {
        let names: Vec<String> = index.columns.iter().map(|name| quote_identifier(name)).collect();
        let from = format!("SELECT _rowid FROM {}", quote_identifier(&index.table));
        let order = format!(" ORDER BY {}", names.join(", "));
        let statement = with_keys(&from, &names, values, &order);
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
    Ok(rowids)
}

fn in_buckets(
    planner: &Planner,
    table: &Arc<Table>,
    by: &By,
    by_bucket: BTreeMap<usize, Keys>,
) -> Vec<Fragment> {
    let mut fragments = Vec::new();
    for (bucket, keys) in by_bucket {
        let fragment = |keys| fragment(planner, table, by, bucket, keys);
        fragments.extend(keys.chunks(KEYS_PER_STATEMENT).map(fragment));
    }
    fragments
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
pub(in crate::sql) async fn rows_with_keys(
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
pub(in crate::sql) async fn rows_of_bucket(
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
pub(in crate::sql) async fn rows_with_values(
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
