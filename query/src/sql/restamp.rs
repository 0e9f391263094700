//! Stamps rows anew whose table has lost columns outside the anchor.
//!
//! A stamp stays as it is when its part loses a column, for it still tells the versions of the part apart. But it
//! no longer follows from what is left of the row, so that a change which tells what the row was is refused. Then
//! the parts are read as they are, and those that belong together are given the stamps of now.

use std::collections::BTreeMap;

use common::entry::Change as RowChange;
use common::{Error, Result, Value};
use futures_util::future;

use super::group_images::part_image;
use super::images::{Images, Place};
use super::index_build::{PAGE, is_about_a_row, write};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::Piece;
use crate::table::Table;

/// Stamps some rows of a split table anew. Rows that are gone, or that others change meanwhile, are left out.
pub(super) async fn stamp_anew(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    places: &[Place],
) -> Result<()> {
    let mut by_bucket: BTreeMap<usize, Vec<Vec<Value>>> = BTreeMap::new();
    for (bucket, key) in places {
        by_bucket.entry(*bucket).or_default().push(key.clone());
    }
    for (bucket, keys) in by_bucket {
        for keys in keys.chunks(PAGE as usize) {
            let mut images = Images::default();
            for parts in read_parts(planner, access, table, bucket, keys).await? {
                push(planner, table, bucket, &parts, &mut images);
            }
            match write(access, Vec::new(), images).await {
                Err(refused) if !is_about_a_row(&refused) => return Err(refused),
                // Another has changed one of the rows; the change that is to follow finds out.
                _ => {}
            }
        }
    }
    Ok(())
}

/// A part as it is stored: the key, and what follows it, the stamps first.
type StoredPart = (Vec<Value>, Vec<Value>);

/// The parts of each row of which all are there, in the order of the table's parts.
async fn read_parts(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    bucket: usize,
    keys: &[Vec<Value>],
) -> Result<Vec<Vec<StoredPart>>> {
    let width = table.key_names().len();
    let reads = table.parts.iter().enumerate().map(|(number, part)| async move {
        let stamps = match number {
            0 => table.parts[1..].iter().map(|other| other.group).collect(),
            _ => vec![part.group],
        };
        let (group, columns) = (part.group, part.stored(table).collect());
        let piece = Piece { group, joins: true, stamps, columns, filters: Vec::new() };
        let index = planner.database().partition_index(group, bucket);
        let result = access.read(index, piece.by_keys(table, keys), PAGE).await?;
        let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
        let split = |mut row: Vec<Value>| {
            let values = row.split_off(width.min(row.len()));
            (row, values)
        };
        Ok::<_, Error>(rows.into_iter().map(split).collect::<Vec<StoredPart>>())
    });
    let mut groups = future::try_join_all(reads).await?.into_iter();
    let anchors = groups.next().unwrap_or_default();
    let others: Vec<Vec<StoredPart>> = groups.collect();
    let whole = |anchor: StoredPart| {
        let part_of = |part: &Vec<StoredPart>| part.iter().find(|(key, _)| *key == anchor.0).cloned();
        let rest = others.iter().map(part_of).collect::<Option<Vec<StoredPart>>>()?;
        Some(std::iter::once(anchor).chain(rest).collect())
    };
    Ok(anchors.into_iter().filter_map(whole).collect())
}

/// Appends the parts of a row with the stamps of now, if they are those of one moment and have others.
fn push(planner: &Planner, table: &Table, bucket: usize, parts: &[StoredPart], images: &mut Images) {
    let Some(((_, anchor), others)) = parts.split_first() else { return };
    // The anchor begins with the stamps of the others, in their order, and each of these with its own.
    if !others.iter().zip(anchor).all(|((_, other), stamp)| other.first() == Some(stamp)) {
        return;
    }
    let row = whole_row(table, parts);
    let anew: Vec<Vec<Value>> = table.parts.iter().map(|part| part_image(table, part, &row)).collect();
    if anew[0][..others.len()] == anchor[..others.len()] {
        return;
    }
    for ((part, (key, stored)), anew) in table.parts.iter().zip(parts).zip(anew) {
        let change = RowChange::Update {
            old_key: key.clone(),
            key: key.clone(),
            old_row: Some(stored.clone()),
            row: anew,
        };
        images.push(planner.database().partition_index(part.group, bucket), &table.name, change);
    }
}

/// The values of all stored columns, in order.
fn whole_row(table: &Table, parts: &[StoredPart]) -> Vec<Value> {
    let mut row = vec![Value::Null; table.columns.len()];
    for (number, (part, (_, stored))) in table.parts.iter().zip(parts).enumerate() {
        let stamps = if number == 0 { table.parts.len() - 1 } else { 1 };
        for (column, value) in part.stored(table).zip(stored.iter().skip(stamps)) {
            row[column] = value.clone();
        }
    }
    table.stored().map(|column| std::mem::take(&mut row[column])).collect()
}
