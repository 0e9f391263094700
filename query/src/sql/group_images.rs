//! Takes changes of rows apart whose columns lie in several column groups.
//!
//! Each part of a row begins with its stamps, see [`super::rejoin`]: the anchor's with those of all other parts,
//! another part with its own. A stamp is a digest of the part's values, so it needs no memory: the stamps that
//! a row had follow from the row as it was read. Every change of a row changes the anchor's part, and thereby
//! finds out if any part of the row has changed since.

use common::Value;
use common::catalog::Database;
use common::entry::Change as RowChange;
use common::hash::stamp;
use common::value::Affinity;

use super::images::{Image, Images};
use crate::table::{Part, Table};

/// Appends a change of a whole row in a bucket, by column group. Groups whose part stays as it is are left out.
pub(super) fn push(
    database: &Database,
    table: &Table,
    bucket: usize,
    change: RowChange,
    images: &mut Images,
) {
    if !table.is_split() {
        return images.push(bucket, &table.name, change);
    }
    for part in &table.parts {
        let image = |row: &[Value]| part_image(table, part, row);
        let change = match &change {
            RowChange::Insert { key, row } => RowChange::Insert { key: key.clone(), row: image(row) },
            RowChange::Delete { key, old_row } => {
                RowChange::Delete { key: key.clone(), old_row: old_row.as_deref().map(image) }
            }
            RowChange::Update { old_key, key, old_row, row } => {
                let (old_row, row) = (old_row.as_deref().map(image), image(row));
                if old_key == key && old_row.as_ref().is_some_and(|old| is_stored_alike(old, &row)) {
                    continue;
                }
                RowChange::Update { old_key: old_key.clone(), key: key.clone(), old_row, row }
            }
            RowChange::Schema(step) => RowChange::Schema(step.clone()),
        };
        images.push(database.partition_index(part.group, bucket), &table.name, change);
    }
}

/// Whether rows are the same as they are stored: minus zero equals zero, and is another value.
fn is_stored_alike(left: &[Value], right: &[Value]) -> bool {
    let same = |(left, right): (&Value, &Value)| match (left, right) {
        (Value::Real(left), Value::Real(right)) => left.to_bits() == right.to_bits(),
        (left, right) => left == right,
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}

/// Appends a change of a row to what it is already, which only holds if it is: of a row in several column groups
/// the anchor's part tells about the others.
pub(super) fn push_unchanged(
    database: &Database,
    table: &Table,
    bucket: usize,
    row: &Image,
    images: &mut Images,
) {
    let (key, values) = row.clone();
    let unchanged = |row: Vec<Value>| RowChange::Update {
        old_key: key.clone(),
        key: key.clone(),
        old_row: Some(row.clone()),
        row,
    };
    match table.parts.first().filter(|_| table.is_split()) {
        None => images.push(bucket, &table.name, unchanged(values)),
        Some(anchor) => {
            let index = database.partition_index(anchor.group, bucket);
            images.push(index, &table.name, unchanged(part_image(table, anchor, &values)));
        }
    }
}

/// A part of a row as its partition stores it: stamps, then columns. `row` has the values of all stored columns of the
/// table; where a generated one lies in a part, the partition computes it.
pub(super) fn part_image(table: &Table, part: &Part, row: &[Value]) -> Vec<Value> {
    let is_anchor = part.group == table.parts[0].group;
    let stamped = table.parts[1..].iter().filter(|other| is_anchor || other.group == part.group);
    let stored: Vec<usize> = table.stored().collect();
    let value = |column: usize| row.get(stored.binary_search(&column).ok()?);
    let stamps = stamped.map(|other| Value::Blob(stamp_of(table, other, &value).to_vec()));
    let columns = part.stored(table).map(|column| value(column).cloned().unwrap_or_default());
    stamps.chain(columns).collect()
}

/// The stamp of a part of a row, the same for the row as captured and as read: SQLite stores reals that are
/// integers as such, and gives them back as reals.
fn stamp_of<'r>(table: &Table, part: &Part, value: &impl Fn(usize) -> Option<&'r Value>) -> [u8; 16] {
    let is_stored = |column: &&usize| !table.columns[**column].is_generated();
    let values: Vec<Value> = part
        .own
        .iter()
        .filter(is_stored)
        .map(|&column| match (table.columns[column].affinity, value(column)) {
            #[expect(clippy::cast_precision_loss, reason = "SQLite converts so too")]
            (Affinity::Real, Some(Value::Integer(integer))) => Value::Real(*integer as f64),
            // Minus zero is stored as zero.
            (_, Some(Value::Real(real))) if *real == 0.0 => Value::Real(0.0),
            (_, value) => value.cloned().unwrap_or_default(),
        })
        .collect();
    stamp(&values)
}
