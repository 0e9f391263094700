//! Writes that one partition cannot decide: the rows are gathered, the client's text runs over them here,
//! and the rows that it changed go back as images. Each image of a changed or deleted row carries the row
//! that it was computed on; if that is no longer there, the write is refused and computed again.

use std::sync::Arc;

use common::entry::{Change as RowChange, Effects};
use common::protocol::{Statement, StatementResult};
use common::schema::GlobalIndex;
use common::{Error, Result, Value};

use super::Limits;
use super::gather::{self, Purpose, budget, passed};
use super::insert::index_row;
use super::write::{Combine, Images, Pending};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::Change;
use crate::table::{Key, Table, bucket_of, bucket_of_index_row};

/// Turns the statement into work.
pub(super) async fn prepare(
    planner: &Planner,
    access: &impl PartitionAccess,
    change: &Change,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<Pending> {
    let mut merge =
        gather::fill(planner, access, &whole(change), values, &statement.sql, Purpose::Write).await?;
    let (deadline, text) = (access.deadline(), statement.clone());
    let (mut results, effects) = access
        .compute(move || {
            let interrupted = || passed(deadline);
            merge.write(std::slice::from_ref(&text), &budget(limits.max_rows, &interrupted))
        })
        .await?;
    let result: StatementResult = results.pop().unwrap_or_default();
    let routed = route(planner, &change.target, effects)?;
    let building = change.target.global_indexes.iter().any(|index| index.building);
    let unentered = building.then(|| (Arc::clone(&change.target), routed.changed));
    if let Some(greatest) = routed.greatest_new_rowid {
        access.rowids_set(&change.target.name, greatest).await?;
    }
    Ok(Pending {
        work: routed.images.into_work().collect(),
        combine: Combine::Known(Box::new(result)),
        allocated: None,
        computed: true,
        meets_rows: change.meets_rows,
        unentered,
    })
}

/// The relations are made as declared, so every stored column is needed.
fn whole(change: &Change) -> Vec<crate::plan::Source> {
    change
        .sources
        .iter()
        .map(|source| crate::plan::Source { columns: source.table.stored().collect(), ..source.clone() })
        .collect()
}

struct Routed {
    images: Images,
    /// Where the rows are that change or go.
    changed: Vec<(usize, Value)>,
    greatest_new_rowid: Option<i64>,
}

/// Sends each row image to the bucket that owns the row, and its rows in global indexes to theirs.
fn route(planner: &Planner, table: &Table, effects: Effects) -> Result<Routed> {
    let mut routed = Routed { images: Images::default(), changed: Vec::new(), greatest_new_rowid: None };
    for effect in effects.rows {
        let name = &effects.tables[usize::from(effect.table)];
        if *name != table.name {
            return Err(Error::internal(format!("a write to {} changed {name}", table.name)));
        }
        let (old, new) = match &effect.change {
            RowChange::Insert { key, row } => (None, Some((key.clone(), row.clone()))),
            RowChange::Update { old_key, key, old_row, row } => {
                (Some((old_key.clone(), kept(old_row)?)), Some((key.clone(), row.clone())))
            }
            RowChange::Delete { key, old_row } => (Some((key.clone(), kept(old_row)?)), None),
        };
        route_index_rows(planner, table, old.as_ref(), new.as_ref(), &mut routed.images)?;
        if let Some((key, _)) = new
            .as_ref()
            .filter(|(key, _)| !table.without_rowid && old.as_ref().is_none_or(|(old_key, _)| old_key != key))
            && let Some(Value::Integer(rowid)) = key.first()
        {
            routed.greatest_new_rowid = routed.greatest_new_rowid.max(Some(*rowid));
        }
        let place =
            |image: &Option<Image>| image.as_ref().map(|image| home(planner, table, image)).transpose();
        let (from, to) = (place(&old)?, place(&new)?);
        if let (Some(from), Some((key, _))) = (from, &old) {
            routed.changed.extend(key.first().map(|rowid| (from, rowid.clone())));
        }
        match (from, to) {
            (Some(from), Some(to)) if from != to => {
                let ((old_key, old_row), (key, row)) = (old.unwrap_or_default(), new.unwrap_or_default());
                let gone = RowChange::Delete { key: old_key, old_row: Some(old_row) };
                routed.images.push(from, &table.name, gone);
                routed.images.push(to, &table.name, RowChange::Insert { key, row });
            }
            (Some(bucket), _) | (None, Some(bucket)) => {
                routed.images.push(bucket, &table.name, effect.change);
            }
            (None, None) => {}
        }
    }
    Ok(routed)
}

/// A row's key and its stored columns.
pub(super) type Image = (Vec<Value>, Vec<Value>);

/// Indexed values, the same folded, and the row's rowid.
type IndexEntry = (Vec<Value>, Vec<Value>, Value);

fn kept(old_row: &Option<Vec<Value>>) -> Result<Vec<Value>> {
    old_row.clone().ok_or_else(|| Error::internal("a change was captured without the row that it replaces"))
}

/// The stored values of some columns out of a row image.
fn columns_of(table: &Table, image: &Image, columns: &[usize]) -> Result<Vec<Value>> {
    let stored: Vec<usize> = table.stored().collect();
    columns
        .iter()
        .map(|position| {
            if table.rowid_alias == Some(*position) {
                return image.0.first().cloned();
            }
            let at = stored.iter().position(|other| other == position)?;
            image.1.get(at).cloned()
        })
        .collect::<Option<Vec<Value>>>()
        .ok_or_else(|| Error::internal("a row image lacks a column"))
}

fn folded(table: &Table, columns: &[usize], values: &[Value]) -> Result<Vec<Value>> {
    columns
        .iter()
        .zip(values)
        .map(|(position, value)| table.folded(*position, value.clone()))
        .collect::<Option<Vec<Value>>>()
        .ok_or_else(|| Error::internal("a key column has an unknown collation"))
}

/// The bucket that owns a row.
fn home(planner: &Planner, table: &Table, image: &Image) -> Result<usize> {
    let key = match &table.key {
        Key::Rowid => image.0.clone(),
        Key::Columns(columns) => folded(table, columns, &columns_of(table, image, columns)?)?,
    };
    Ok(bucket_of(planner.database(), &key))
}

/// A row's entry in a global index: the indexed values, the same folded, the rowid. `None` for a row with a
/// NULL among the values, which equals no other.
pub(super) fn index_entry(table: &Table, index: &GlobalIndex, image: &Image) -> Result<Option<IndexEntry>> {
    let columns = table.index_columns(index);
    let values = columns_of(table, image, &columns)?;
    if values.iter().any(Value::is_null) {
        return Ok(None);
    }
    let folded = folded(table, &columns, &values)?;
    Ok(Some((values, folded, image.0.first().cloned().unwrap_or_default())))
}

fn route_index_rows(
    planner: &Planner,
    table: &Table,
    old: Option<&Image>,
    new: Option<&Image>,
    images: &mut Images,
) -> Result<()> {
    for index in &table.global_indexes {
        let entry = |image: Option<&Image>| match image {
            Some(image) => index_entry(table, index, image),
            None => Ok(None),
        };
        let (before, after) = (entry(old)?, entry(new)?);
        if before == after {
            continue;
        }
        if let Some((values, folded, rowid)) = before {
            let bucket = bucket_of_index_row(planner.database(), &folded);
            let mut row = values.clone();
            row.push(rowid);
            images.push(bucket, &index.table, RowChange::Delete { key: values, old_row: Some(row) });
        }
        if let Some((values, folded, rowid)) = after {
            let bucket = bucket_of_index_row(planner.database(), &folded);
            images.push(bucket, &index.table, index_row(values, rowid));
        }
    }
    Ok(())
}
