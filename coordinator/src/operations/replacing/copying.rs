//! Filling the new partitions while the old ones serve.

use std::sync::Arc;
use std::time::Duration;

use common::catalog::Database;
use common::entry::{Change, Effect, Effects};
use common::protocol::{PartitionTarget, WorkItem, WriteRequest};
use common::replacing::RowKey;
use common::{Error, ErrorCode, PartitionId, Result};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use query::relocation::{Destination, Relocation};
use sqlite::KEYS_TABLE;

use super::super::cluster::Cluster;
use super::super::partition_leader;
use super::Attempt;
use super::source::{Source, note_changes};
use crate::catalog::filling_epoch;

/// A new partition that does not start in so long ends the attempt.
const START: Duration = Duration::from_secs(60);
/// How long one piece of rows may take to be in its partition.
const WRITE: Duration = Duration::from_secs(30);
/// Rows of one piece: a leader does that many in its usual turn.
const PIECE: usize = 1_000;
/// With fewer changed rows than these left, the old partitions are closed.
const FEW: usize = 200;
/// Rounds of copying what has changed, if it does not become few.
const ROUNDS_MAX: usize = 20;
/// As many rows keep writers waiting for about half a second; with more of them the attempt is given up.
const MANY: usize = 10_000;

/// The copy of one column group's partitions.
pub(super) struct Copy<C: Cluster> {
    /// As they were when they were last copied.
    sources: Vec<Source<C>>,
    targets: Vec<PartitionId>,
    relocation: Relocation,
    /// The place in the map of the first new bucket.
    first: usize,
    epoch: u64,
    schema_version: u64,
}

/// Makes the new partitions and copies all rows into them.
pub(super) async fn copy<C: Cluster>(cluster: &C, attempt: &Attempt) -> Result<Vec<Copy<C>>> {
    let after = Arc::new(attempt.database_after());
    let mut copies = Vec::new();
    for group in 0..attempt.database.column_groups.len() {
        copies.push(Copy::begin(cluster, attempt, &after, group).await?);
    }
    Ok(copies)
}

/// Copies what has changed meanwhile, until little is left.
pub(super) async fn catch_up<C: Cluster>(
    cluster: &C,
    attempt: &Attempt,
    copies: &mut [Copy<C>],
) -> Result<()> {
    for round in 0..ROUNDS_MAX {
        let changed = catch_up_once(cluster, attempt, copies, None).await?;
        tracing::debug!(operation = attempt.operation, round, changed, "changed rows were copied again");
        if changed < FEW {
            return Ok(());
        }
        if round + 1 == ROUNDS_MAX && changed <= MANY {
            return Ok(());
        }
    }
    Err(Error::new(ErrorCode::Unavailable, "the partition is written faster than its rows can be copied"))
}

/// Copies what has changed since the last time; answers how many rows that were. Old partitions that are closed are in
/// another epoch than their buckets'.
pub(super) async fn catch_up_once<C: Cluster>(
    cluster: &C,
    attempt: &Attempt,
    copies: &mut [Copy<C>],
    closed: Option<u64>,
) -> Result<usize> {
    let epochs: Vec<u64> = attempt.sources.iter().map(|bucket| closed.unwrap_or(bucket.epoch)).collect();
    let caught_up = copies.iter_mut().map(|copy| copy.catch_up(cluster, &epochs));
    Ok(try_join_all(caught_up).await?.into_iter().sum())
}

impl<C: Cluster> Copy<C> {
    async fn begin(cluster: &C, attempt: &Attempt, after: &Arc<Database>, group: usize) -> Result<Copy<C>> {
        let targets: Vec<PartitionId> =
            attempt.targets.iter().map(|bucket| bucket.partitions[group]).collect();
        let relocation = cluster.relocation(Arc::clone(after), group).await?;
        let is_target = |bucket: &common::partition_map::Bucket| bucket.partitions[group] == targets[0];
        let mut copy = Copy {
            sources: Vec::new(),
            first: after.buckets.iter().position(is_target).unwrap_or_default(),
            targets,
            relocation,
            epoch: filling_epoch(&attempt.sources),
            schema_version: attempt.database.schema.version,
        };
        try_join_all(copy.targets.iter().map(|target| started(cluster, *target))).await?;
        for bucket in &attempt.sources {
            let partition = bucket.partitions[group];
            note_changes(cluster, partition).await?;
            let source = Source::pin(cluster, partition, bucket.epoch, copy.schema_version).await?;
            copy.copy_all(cluster, &source).await?;
            copy.sources.push(source);
        }
        Ok(copy)
    }

    async fn copy_all(&self, cluster: &C, source: &Source<C>) -> Result<()> {
        let (header, mut images) = cluster.images(&source.address, source.partition, source.pin).await?;
        let made = self.targets.iter().map(|target| {
            partition_leader::change_schema(cluster, *target, self.schema_version, &header.statements)
        });
        try_join_all(made).await?;
        let mut gathered = vec![Effects::default(); self.targets.len()];
        while let Some(effects) = images.next().await {
            let Effects { tables, rows } = effects?;
            for effect in rows {
                let table = &tables[usize::from(effect.table)];
                for target in self.places_of(table, &effect.change)? {
                    push(&mut gathered[target], table, effect.change.clone());
                    if gathered[target].rows.len() >= PIECE {
                        self.adopt(cluster, target, std::mem::take(&mut gathered[target])).await?;
                    }
                }
            }
        }
        for (target, rest) in gathered.into_iter().enumerate() {
            self.adopt(cluster, target, rest).await?;
        }
        Ok(())
    }

    /// Which of the new partitions are to have a row.
    fn places_of(&self, table: &str, change: &Change) -> Result<Vec<usize>> {
        let (Change::Insert { key, row } | Change::Update { key, row, .. }) = change else {
            return Ok(Vec::new());
        };
        match self.relocation.destination(table, key, row)? {
            Destination::Everywhere => Ok((0..self.targets.len()).collect()),
            Destination::Bucket(bucket) => {
                let place = bucket.checked_sub(self.first).filter(|place| *place < self.targets.len());
                let place = place.ok_or_else(|| {
                    Error::internal(format!("a row of {table} lies in a partition that does not own it"))
                })?;
                Ok(vec![place])
            }
        }
    }

    async fn catch_up(&mut self, cluster: &C, epochs: &[u64]) -> Result<usize> {
        let pins = self.sources.iter().zip(epochs);
        let pins = pins.map(|(old, epoch)| Source::pin(cluster, old.partition, *epoch, self.schema_version));
        let sources = try_join_all(pins).await?;
        let mut keys: Vec<RowKey> = Vec::new();
        for (old, new) in self.sources.iter().zip(&sources) {
            keys.extend(new.changed_since(cluster, old.index).await?);
        }
        // What goes goes first, so that a unique value may have moved from any row to any other.
        let mut inserted = vec![Effects::default(); self.targets.len()];
        for keys in keys.chunks(PIECE) {
            let mut gone = Effects::default();
            for (key, changes) in keys.iter().zip(rows_now(cluster, &sources, keys).await?) {
                push(&mut gone, &key.table, Change::Delete { key: key.key.clone(), old_row: None });
                for change in changes {
                    for target in self.places_of(&key.table, &change)? {
                        push(&mut inserted[target], &key.table, change.clone());
                    }
                }
            }
            for target in 0..self.targets.len() {
                self.adopt(cluster, target, gone.clone()).await?;
            }
        }
        for (target, effects) in inserted.into_iter().enumerate() {
            for rows in effects.rows.chunks(PIECE) {
                let piece = Effects { tables: effects.tables.clone(), rows: rows.to_vec() };
                self.adopt(cluster, target, piece).await?;
            }
        }
        self.sources = sources;
        Ok(keys.len())
    }

    /// Has a new partition take rows over. When it is not known whether it has, the attempt is over: the same rows could
    /// arrive once more, later than newer ones.
    async fn adopt(&self, cluster: &C, target: usize, effects: Effects) -> Result<()> {
        if effects.rows.is_empty() {
            return Ok(());
        }
        let partition = self.targets[target];
        let timeout_ms = u64::try_from(WRITE.as_millis()).unwrap_or(u64::MAX);
        let (epoch, schema_version) = (self.epoch, self.schema_version);
        let write = WriteRequest {
            target: PartitionTarget { partition, epoch, schema_version, timeout_ms },
            work: vec![WorkItem::Adopted(effects)],
            max_rows: 1,
        };
        partition_leader::ask(cluster, partition, WRITE, |address| {
            let write = write.clone();
            async move { cluster.write(&address, write).await }
        })
        .await
        .map(drop)
    }
}

/// Rows by their keys, wherever they are: while they are copied, they may move from one old partition to another. What is
/// kept under an idempotency key may be something else in each of them, and the new partitions know what counts.
async fn rows_now<C: Cluster>(
    cluster: &C,
    sources: &[Source<C>],
    keys: &[RowKey],
) -> Result<Vec<Vec<Change>>> {
    let found = try_join_all(sources.iter().map(|source| source.rows(cluster, keys))).await?;
    let mut rows: Vec<Vec<Change>> = vec![Vec::new(); keys.len()];
    for effects in found {
        for ((rows, key), effect) in rows.iter_mut().zip(keys).zip(effects.rows) {
            if matches!(effect.change, Change::Insert { .. }) {
                if key.table != KEYS_TABLE {
                    rows.clear();
                }
                rows.push(effect.change);
            }
        }
    }
    Ok(rows)
}

fn push(effects: &mut Effects, table: &str, change: Change) {
    let known = effects.tables.iter().position(|name| name == table);
    let index = known.unwrap_or_else(|| {
        effects.tables.push(table.to_owned());
        effects.tables.len() - 1
    });
    let table = u16::try_from(index).expect("a database has few tables");
    effects.rows.push(Effect { table, change });
}

async fn started(cluster: &impl Cluster, partition: PartitionId) -> Result<()> {
    let started = async {
        tokio::select! {
            // In this order always, so that a simulation runs alike each time.
            biased;
            report = partition_leader::report(cluster, partition) => report.map(drop),
            never = partition_leader::nudge(cluster, partition) => match never {},
        }
    };
    let late = |_| Error::new(ErrorCode::NoQuorum, "a new partition has not started in time");
    tokio::time::timeout(START, started).await.map_err(late)?
}
