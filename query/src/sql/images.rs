//! Sends changed rows to where they belong: each row image to the bucket that owns the row, and what it means
//! for the table's global indexes to the buckets of the indexed values.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::entry::{Change as RowChange, Effect, Effects};
use common::protocol::WorkItem;
use common::{Error, Result, Value};

use super::entries::{Entries, Entry};
use super::group_images;
use crate::Planner;
use crate::table::{Key, Table, bucket_of, bucket_of_index_row};

/// Row images of several tables of one bucket, as one item.
#[derive(Debug, Default)]
pub(crate) struct Images {
    by_bucket: BTreeMap<usize, Effects>,
}

impl Images {
    /// Appends a change of a row of `table` in a bucket.
    pub(crate) fn push(&mut self, bucket: usize, table: &str, change: RowChange) {
        let effects = self.by_bucket.entry(bucket).or_default();
        let known = effects.tables.iter().position(|name| name == table);
        let index = known.unwrap_or_else(|| {
            effects.tables.push(table.to_owned());
            effects.tables.len() - 1
        });
        let table = u16::try_from(index).expect("a statement changes few tables");
        effects.rows.push(Effect { table, change });
    }

    /// Leaves out what the changed rows of a table were: others know that they are that.
    pub(crate) fn forget_old_rows(&mut self, table: &str) {
        for effects in self.by_bucket.values_mut() {
            let Some(number) = effects.tables.iter().position(|name| name == table) else { continue };
            for effect in effects.rows.iter_mut().filter(|effect| usize::from(effect.table) == number) {
                if let RowChange::Update { old_row, .. } | RowChange::Delete { old_row, .. } =
                    &mut effect.change
                {
                    *old_row = None;
                }
            }
        }
    }

    /// As work.
    pub(crate) fn into_work(self) -> impl Iterator<Item = (usize, WorkItem)> {
        self.by_bucket.into_iter().map(|(bucket, effects)| (bucket, WorkItem::Effects(effects)))
    }
}

/// A row under its key in a bucket.
pub(super) type Place = (usize, Vec<Value>);

/// What became of captured changes.
#[derive(Debug, Default)]
pub(super) struct Routed {
    pub(super) images: Images,
    /// The tables that change.
    pub(super) tables: Vec<RoutedTable>,
}

/// What a table's captured changes come to.
#[derive(Debug)]
pub(super) struct RoutedTable {
    pub(super) table: Arc<Table>,
    /// Where the rows are that change or go.
    pub(super) changed: Vec<Place>,
    /// The greatest rowid that no row had before.
    pub(super) greatest_new_rowid: Option<i64>,
}

/// Sends the changed rows of any number of tables to their buckets, in the order in which they changed. `entries`
/// has what was computed of them.
pub(super) fn route(planner: &Planner, effects: Effects, mut entries: Entries) -> Result<Routed> {
    let mut routed = Routed::default();
    for name in &effects.tables {
        let table = planner
            .table(name)
            .ok_or_else(|| Error::internal(format!("a row of {name} changed, which is no table")))?;
        routed.tables.push(RoutedTable { table, changed: Vec::new(), greatest_new_rowid: None });
    }
    for effect in effects.rows {
        let table = routed
            .tables
            .get_mut(usize::from(effect.table))
            .ok_or_else(|| Error::internal("a captured change names no table"))?;
        table.route(planner, effect.change, &mut entries, &mut routed.images)?;
    }
    Ok(routed)
}

impl RoutedTable {
    fn route(
        &mut self,
        planner: &Planner,
        change: RowChange,
        entries: &mut Entries,
        images: &mut Images,
    ) -> Result<()> {
        let table = Arc::clone(&self.table);
        let (old, new) = sides(&change)?;
        route_index_rows(planner, &table, (old.as_ref(), new.as_ref()), entries, images)?;
        self.note_new_rowid(old.as_ref(), new.as_ref());
        if table.reference {
            (0..planner.buckets()).for_each(|bucket| images.push(bucket, &table.name, change.clone()));
            return Ok(());
        }
        let place =
            |image: &Option<Image>| image.as_ref().map(|image| home(planner, &table, image)).transpose();
        let (from, to) = (place(&old)?, place(&new)?);
        if let (Some(from), Some((key, _))) = (from, &old) {
            self.changed.push((from, key.clone()));
        }
        match (from, to) {
            (Some(from), Some(to)) if from != to => {
                let ((old_key, old_row), (key, row)) = (old.unwrap_or_default(), new.unwrap_or_default());
                let gone = RowChange::Delete { key: old_key, old_row: Some(old_row) };
                group_images::push(planner.database(), &table, from, gone, images);
                group_images::push(planner.database(), &table, to, RowChange::Insert { key, row }, images);
            }
            (Some(bucket), _) | (None, Some(bucket)) => {
                group_images::push(planner.database(), &table, bucket, change, images);
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn note_new_rowid(&mut self, old: Option<&Image>, new: Option<&Image>) {
        let Some((key, _)) = new else { return };
        let kept_its_key = old.is_some_and(|(old_key, _)| old_key == key);
        if let Some(Value::Integer(rowid)) = key.first()
            && !self.table.without_rowid
            && !kept_its_key
        {
            self.greatest_new_rowid = self.greatest_new_rowid.max(Some(*rowid));
        }
    }
}

/// A row's key and its stored columns.
pub(super) type Image = (Vec<Value>, Vec<Value>);

fn kept(old_row: &Option<Vec<Value>>) -> Result<Vec<Value>> {
    old_row.clone().ok_or_else(|| Error::internal("a change was captured without the row that it replaces"))
}

/// The stored values of some columns out of a row image.
pub(super) fn columns_of(table: &Table, image: &Image, columns: &[usize]) -> Result<Vec<Value>> {
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

fn route_index_rows(
    planner: &Planner,
    table: &Table,
    (old, new): (Option<&Image>, Option<&Image>),
    entries: &mut Entries,
    images: &mut Images,
) -> Result<()> {
    for index in &table.global_indexes {
        let mut entry = |image: Option<&Image>| match image {
            Some(image) => entries.next(table, index, image),
            None => Ok(None),
        };
        let (before, after) = (entry(old)?, entry(new)?);
        if before == after {
            continue;
        }
        if let Some(Entry { values, folded, rowid }) = before {
            let bucket = bucket_of_index_row(planner.database(), &folded);
            let mut row = values.clone();
            row.push(rowid);
            images.push(bucket, &index.table, RowChange::Delete { key: values, old_row: Some(row) });
        }
        if let Some(Entry { values, folded, rowid }) = after {
            let bucket = bucket_of_index_row(planner.database(), &folded);
            images.push(bucket, &index.table, index_row(values, rowid));
        }
    }
    Ok(())
}

/// The row before and after a change.
pub(super) fn sides(change: &RowChange) -> Result<(Option<Image>, Option<Image>)> {
    Ok(match change {
        RowChange::Insert { key, row } => (None, Some((key.clone(), row.clone()))),
        RowChange::Update { old_key, key, old_row, row } => {
            (Some((old_key.clone(), kept(old_row)?)), Some((key.clone(), row.clone())))
        }
        RowChange::Delete { key, old_row } => (Some((key.clone(), kept(old_row)?)), None),
        RowChange::Schema(_) => (None, None),
    })
}

/// A row of a global index.
pub(super) fn index_row(stored: Vec<Value>, rowid: Value) -> RowChange {
    let mut row = stored.clone();
    row.push(rowid);
    RowChange::Insert { key: stored, row }
}
