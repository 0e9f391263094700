//! What a request comes to on each partition: row images between steps of DDL.

use std::sync::Arc;

use common::catalog::Database;
use common::entry::{Change as RowChange, Effect, Effects};
use common::protocol::{SchemaStep, WorkItem};
use common::{Error, Result};
use sqlite::{ScriptTrial, Segment};

use super::script::{Change, Script};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::schema::Build;
use crate::sql::entries::{Entries, Entry};
use crate::sql::images::{self, Images, index_row};
use crate::sql::proven::Proofs;
use crate::table::bucket_of_index_row;

/// Items by partition, each with the number of the statement that it belongs to, if it belongs to one.
pub(super) struct Work {
    buckets: usize,
    version: u64,
    partitions: Vec<Vec<(Option<usize>, WorkItem)>>,
}

/// Whose the items are that were sent, in order.
pub(super) struct Owners(Vec<Option<usize>>);

impl Owners {
    /// An error of an item as one of its statement.
    pub(super) fn told(&self, mut error: Error) -> Error {
        let owner = error.statement.and_then(|item| self.0.get(item as usize).copied().flatten());
        error.statement = owner.and_then(|owner| u32::try_from(owner).ok());
        error
    }
}

impl Work {
    /// What was read comes first.
    pub(super) fn new(database: &Database, proofs: Proofs) -> Work {
        let buckets = database.buckets.len();
        let mut partitions: Vec<Vec<_>> =
            (0..buckets * database.column_groups.len()).map(|_| Vec::new()).collect();
        for (partition, proof) in proofs {
            partitions[partition].push((None, WorkItem::Proof(proof)));
        }
        Work { buckets, version: database.schema.version + 1, partitions }
    }

    /// The items as they are sent to every partition.
    pub(super) fn into_items(self) -> (Vec<(usize, Vec<WorkItem>)>, Owners) {
        let mut owners = Vec::new();
        let mut work = Vec::with_capacity(self.partitions.len());
        for (partition, items) in self.partitions.into_iter().enumerate() {
            let (of, items): (Vec<Option<usize>>, Vec<WorkItem>) = items.into_iter().unzip();
            owners.extend(of);
            work.push((partition, items));
        }
        (work, Owners(owners))
    }

    /// Adds what the statements came to.
    pub(super) async fn add_all(
        &mut self,
        access: &impl PartitionAccess,
        script: &Script<'_>,
        tried: ScriptTrial,
    ) -> Result<()> {
        let (mut changes, mut segments) = (script.changes.iter().peekable(), tried.segments.into_iter());
        for (index, step) in script.steps.iter().enumerate() {
            if !matches!(step, sqlite::TrialStep::Definition { .. }) {
                continue;
            }
            let segment = segments.next().ok_or_else(|| Error::internal("a change was not tried"))?;
            match changes.next_if(|(number, _)| *number == index) {
                Some((_, change)) => self.add_change(access, script, (index, change), segment).await?,
                None => {
                    let version = version_at(script, index);
                    self.add_rows(access, script.versions.planner(version)?, segment.effects).await?;
                }
            }
        }
        let newest = script.versions.newest();
        if tried.rest.rows.is_empty() {
            return Ok(());
        }
        self.add_rows(access, script.versions.planner(newest)?, tried.rest).await
    }

    /// Adds the rows that changed before a change of the schema, the change, and the rows that it makes.
    async fn add_change(
        &mut self,
        access: &impl PartitionAccess,
        script: &Script<'_>,
        (index, change): (usize, &Change),
        segment: Segment,
    ) -> Result<()> {
        let Segment { mut effects, rows } = segment;
        if let Some(dropped) = &change.dropped {
            retain(&mut effects, |table| table != dropped);
        }
        if !effects.rows.is_empty() {
            self.add_rows(access, script.versions.planner(change.version)?, effects).await?;
        }
        for (partition, items) in self.partitions.iter_mut().enumerate() {
            let statements = change.definition.statements_of(partition / self.buckets);
            let step = SchemaStep { version: self.version, statements };
            items.push((Some(index), WorkItem::Schema(step)));
        }
        if rows.rows.is_empty() {
            return Ok(());
        }
        let planner = script.versions.planner(change.version + 1)?;
        for build in &change.definition.builds {
            self.add_entries(access, planner, build, &rows).await?;
        }
        let mut filled = rows;
        retain(&mut filled, |table| change.filled.as_deref() == Some(table));
        self.add_rows(access, planner, filled).await
    }

    /// Adds changes of rows, which are placed by a schema.
    async fn add_rows(
        &mut self,
        access: &impl PartitionAccess,
        planner: &Planner,
        effects: Effects,
    ) -> Result<()> {
        if effects.rows.is_empty() {
            return Ok(());
        }
        let lost: Vec<String> =
            planner.tables().filter(|table| table.lost_columns).map(|table| table.name.clone()).collect();
        let effects = anew(effects, &lost)?;
        let entries = Entries::of_changes(planner, access, &effects).await?;
        let mut images = images::route(planner, effects, entries)?.images;
        // What is left of the parts of such rows does not tell their stamps. That they are what they were is proven.
        lost.iter().for_each(|table| images.forget_old_rows(table));
        self.add_images(images);
        Ok(())
    }

    /// Adds the entries of a table's rows in a new global index.
    async fn add_entries(
        &mut self,
        access: &impl PartitionAccess,
        planner: &Planner,
        build: &Build,
        rows: &Effects,
    ) -> Result<()> {
        let table = planner.table(&build.table).ok_or_else(|| Error::internal("an indexed table is gone"))?;
        let mut found = Vec::new();
        for effect in rows.rows.iter().filter(|effect| rows.tables[usize::from(effect.table)] == build.table)
        {
            found.extend(images::sides(&effect.change)?.1);
        }
        let mut entries = Entries::of_rows(planner, access, &Arc::clone(&table), &found).await?;
        let mut images = Images::default();
        for row in &found {
            if let Some(Entry { values, folded, rowid }) = entries.next(&table, &build.index, row)? {
                let bucket = bucket_of_index_row(planner.database(), &folded);
                images.push(bucket, &build.index.table, index_row(values, rowid));
            }
        }
        self.add_images(images);
        Ok(())
    }

    fn add_images(&mut self, images: Images) {
        for (partition, item) in images.into_work() {
            self.partitions[partition].push((None, item));
        }
    }
}

/// The number of the schema that a step finds which leaves the schema as it is.
fn version_at(script: &Script<'_>, index: usize) -> usize {
    script.changes.iter().filter(|(number, _)| *number < index).count()
}

/// Keeps the changes of some tables.
fn retain(effects: &mut Effects, is_kept: impl Fn(&str) -> bool) {
    let kept: Vec<bool> = effects.tables.iter().map(|table| is_kept(table)).collect();
    effects.rows.retain(|effect| kept[usize::from(effect.table)]);
}

/// Changes of some tables' rows as rows that go and come, so that all parts of a row are stored anew.
fn anew(effects: Effects, tables: &[String]) -> Result<Effects> {
    if tables.is_empty() {
        return Ok(effects);
    }
    let Effects { tables: names, rows } = effects;
    let mut changed = Vec::with_capacity(rows.len());
    for Effect { table, change } in rows {
        match change {
            RowChange::Update { old_key, key, old_row, row }
                if tables.contains(&names[usize::from(table)]) =>
            {
                changed.push(Effect { table, change: RowChange::Delete { key: old_key, old_row } });
                changed.push(Effect { table, change: RowChange::Insert { key, row } });
            }
            change => changed.push(Effect { table, change }),
        }
    }
    Ok(Effects { tables: names, rows: changed })
}
