//! Enters rows that exist into global indexes under construction.
//!
//! A row and its entry are one guarded write: it succeeds only if the row is still as it was read, and every
//! writer removes the entry together with the row. So at any time an entry has its row, and the index is
//! whole when each row was visited once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use common::entry::Change as RowChange;
use common::names::quote_identifier;
use common::protocol::{Params, Statement, StatementResult, WorkItem};
use common::{Error, ErrorCode, Outcome, Result, Value};

use super::entries::{Entries, Entry};
use super::images::{Image, Images, Place, columns_of, index_row};
use super::proven::{Proofs, Proving};
use super::{ATTEMPTS_MAX, group_images, lookups, restamp};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::schema::Build;
use crate::table::{Table, bucket_of_index_row};
use common::schema::GlobalIndex;

/// Rows that are read, and entered in one write, at a time.
pub(super) const PAGE: u32 = 256;

/// Enters all rows. A unique violation means that two rows have equal values; its text names the hidden table.
pub(super) async fn fill(
    planner: &Planner,
    access: &impl PartitionAccess,
    builds: &[Build],
    until: Option<Instant>,
) -> Result<()> {
    for build in builds {
        let table = planner.table(&build.table).ok_or_else(|| Error::internal("an indexed table is gone"))?;
        let target = Target { planner, table: &table, index: &build.index };
        for bucket in 0..planner.buckets() {
            let mut after = None;
            loop {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Err(too_long());
                }
                let keys = target.keys(access, bucket, after).await?;
                let Some(last) = keys.last() else { break };
                after = Some(last.clone());
                if table.lost_columns {
                    let places: Vec<Place> = keys.iter().map(|key| (bucket, key.clone())).collect();
                    restamp::stamp_anew(planner, access, &table, &places).await?;
                }
                let page = target.rows(access, bucket, &keys).await?;
                target.enter_page(access, bucket, &page).await?;
            }
        }
    }
    Ok(())
}

fn too_long() -> Error {
    Error::new(
        ErrorCode::Timeout,
        "entering the rows into the UNIQUE index took too long; nothing was changed",
    )
    .with_hint("make it while the table has fewer rows, or put the partition key's columns into the index")
}

/// Enters rows that a change could not be made on because their entries may be missing: where a table has an
/// index under construction, its rows are entered before they change.
pub(super) async fn enter_before_change(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Arc<Table>,
    places: &[Place],
) -> Result<()> {
    for index in table.global_indexes.iter().filter(|index| index.building) {
        let target = Target { planner, table, index };
        for (bucket, key) in places {
            target.enter_row(access, *bucket, key).await?;
        }
    }
    Ok(())
}

struct Target<'a> {
    planner: &'a Planner,
    table: &'a Arc<Table>,
    index: &'a GlobalIndex,
}

impl Target<'_> {
    /// The keys of the next rows of a bucket after some key. The anchor has a part of each row.
    async fn keys(
        &self,
        access: &impl PartitionAccess,
        bucket: usize,
        after: Option<Vec<Value>>,
    ) -> Result<Vec<Vec<Value>>> {
        let names = self.table.key_names();
        let (list, table) = (names.join(", "), quote_identifier(&self.table.name));
        let condition = after.as_ref().map_or_else(String::new, |key| {
            format!(" WHERE ({list}) > ({})", vec!["?"; key.len()].join(", "))
        });
        let sql = format!("SELECT {list} FROM {table}{condition} ORDER BY {list} LIMIT {PAGE}");
        let params = after.map_or(Params::None, Params::Positional);
        let result = access.read(bucket, Statement { sql, params }, PAGE).await?;
        let keys = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
        if keys.is_empty() && result.truncated {
            return Err(Error::new(ErrorCode::ResultTooBig, "a row is too large to be indexed"));
        }
        Ok(keys)
    }

    /// The rows of some keys, as far as they are still there.
    async fn rows(
        &self,
        access: &impl PartitionAccess,
        bucket: usize,
        keys: &[Vec<Value>],
    ) -> Result<Vec<Image>> {
        let rows = lookups::rows_with_keys(self.planner, access, self.table, bucket, keys).await?;
        rows.into_iter().map(|row| self.image(row)).collect()
    }

    /// A row as it was read, under its key.
    fn image(&self, mut row: Vec<Value>) -> Result<Image> {
        if self.table.rowid_name.is_some() {
            return Ok((vec![row.remove(0)], row));
        }
        let image = (Vec::new(), row);
        Ok((columns_of(self.table, &image, &self.table.primary_key)?, image.1))
    }

    async fn enter_page(&self, access: &impl PartitionAccess, bucket: usize, page: &[Image]) -> Result<()> {
        let mut images = Images::default();
        for (row, entry) in page.iter().zip(self.entries(access, page).await?) {
            self.push_entry(bucket, row, entry, &mut images);
        }
        match write(access, Vec::new(), images).await {
            Err(refused) if is_about_a_row(&refused) => {
                for (key, _) in page {
                    self.enter_row(access, bucket, key).await?;
                }
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Enters one row, as it is now, if it is there and not entered already.
    async fn enter_row(&self, access: &impl PartitionAccess, bucket: usize, key: &[Value]) -> Result<()> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let rows = self.rows(access, bucket, &[key.to_vec()]).await?;
            let Some(row) = rows.into_iter().find(|(found, _)| found == key) else { return Ok(()) };
            let entry = self.entries(access, std::slice::from_ref(&row)).await?.pop().flatten();
            let mut images = Images::default();
            self.push_entry(bucket, &row, entry.clone(), &mut images);
            let refused = match write(access, Vec::new(), images).await {
                Err(refused) if is_about_a_row(&refused) => refused,
                other => return other.map(drop),
            };
            if refused.code == ErrorCode::UniqueViolation {
                let Some(proofs) = self.alone(access, &row, entry.as_ref()).await? else {
                    return Err(refused);
                };
                let mut images = Images::default();
                self.push_proof(bucket, &row, entry, &mut images);
                match write(access, proofs, images).await {
                    Err(other) if is_about_a_row(&other) => {}
                    other => return other.map(drop),
                }
            }
            if attempt == ATTEMPTS_MAX {
                return Err(refused);
            }
        }
    }

    /// Proofs that no other row has the row's entry; `None` if one has. An entry names its row by the rowid; where
    /// rows have none, it is looked for among all rows whose entry it is.
    async fn alone(
        &self,
        access: &impl PartitionAccess,
        row: &Image,
        entry: Option<&Entry>,
    ) -> Result<Option<Proofs>> {
        let Some(entry) = entry.filter(|_| self.table.without_rowid) else { return Ok(Some(Vec::new())) };
        let proving = Proving::new(access);
        for bucket in 0..self.planner.buckets() {
            let alike = self.rows_alike(&proving, bucket, entry).await?;
            if alike.iter().any(|other| other.0 != row.0) {
                return Ok(None);
            }
        }
        Ok(Some(proving.proofs()))
    }

    /// The rows of a bucket that have an entry.
    async fn rows_alike(
        &self,
        access: &impl PartitionAccess,
        bucket: usize,
        entry: &Entry,
    ) -> Result<Vec<Image>> {
        if self.index.computed.is_none() {
            let columns = self.table.index_columns(self.index);
            let values = (columns.as_slice(), entry.values.as_slice());
            let found = lookups::rows_with_values(self.planner, access, self.table, bucket, values).await?;
            return found.into_iter().map(|row| self.image(row)).collect();
        }
        let all = lookups::rows_of_bucket(self.planner, access, self.table, bucket).await?;
        let all = all.into_iter().map(|row| self.image(row)).collect::<Result<Vec<Image>>>()?;
        let mut entries = Entries::of_rows(self.planner, access, self.table, &all).await?;
        let mut alike = Vec::new();
        for row in all {
            let other = entries.next(self.table, self.index, &row)?;
            alike.extend(other.filter(|other| other.folded == entry.folded).map(|_| row));
        }
        Ok(alike)
    }

    /// The row, which must still be this one, and its entry, which must not be there.
    fn push_entry(&self, bucket: usize, row: &Image, entry: Option<Entry>, images: &mut Images) {
        let Some(Entry { values, folded, rowid }) = entry else { return };
        let place = bucket_of_index_row(self.planner.database(), &folded);
        group_images::push_unchanged(self.planner.database(), self.table, bucket, row, images);
        images.push(place, &self.index.table, index_row(values, rowid));
    }

    /// The row and its entry, which must both be there.
    fn push_proof(&self, bucket: usize, row: &Image, entry: Option<Entry>, images: &mut Images) {
        let Some(Entry { values, folded, rowid }) = entry else { return };
        let place = bucket_of_index_row(self.planner.database(), &folded);
        group_images::push_unchanged(self.planner.database(), self.table, bucket, row, images);
        let mut entry = values.clone();
        entry.push(rowid);
        let old_row = Some(entry.clone());
        let unchanged = RowChange::Update { old_key: values.clone(), key: values, old_row, row: entry };
        images.push(place, &self.index.table, unchanged);
    }

    /// The entries of some rows; `None` for a row that has none.
    async fn entries(&self, access: &impl PartitionAccess, rows: &[Image]) -> Result<Vec<Option<Entry>>> {
        let mut entries = Entries::of_rows(self.planner, access, self.table, rows).await?;
        rows.iter().map(|row| entries.next(self.table, self.index, row)).collect()
    }
}

/// Writes if what is proven still holds.
pub(super) async fn write(
    access: &impl PartitionAccess,
    proofs: Proofs,
    images: Images,
) -> Result<Vec<Vec<StatementResult>>> {
    let mut work: BTreeMap<usize, Vec<WorkItem>> = BTreeMap::new();
    let proofs = proofs.into_iter().map(|(bucket, proof)| (bucket, WorkItem::Proof(proof)));
    for (bucket, item) in proofs.chain(images.into_work()) {
        work.entry(bucket).or_default().push(item);
    }
    if work.is_empty() { Ok(Vec::new()) } else { access.write(work.into_iter().collect(), 0).await }
}

/// Whether a row is not what it was taken for, rather than anything else being wrong.
pub(super) fn is_about_a_row(error: &Error) -> bool {
    let code = matches!(error.code, ErrorCode::UniqueViolation | ErrorCode::SerializationFailure);
    code && error.outcome == Outcome::NotApplied
}
