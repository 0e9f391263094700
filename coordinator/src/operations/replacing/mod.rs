//! Putting other buckets in the place of some: splitting one, merging several.
//!
//! The new partitions are made beside the map. Rows are copied into them out of snapshots while the old partitions
//! serve ([`copying`]); what changes meanwhile is noted there and copied again, round by round, until little is left.
//! Then the old partitions are closed, the last changes are copied, the new ones are opened, and the catalog publishes
//! them ([`closing`]). Requests wait for that with their next plan. [`retiring`] removes the old partitions later.
//!
//! An attempt that fails, or whose driver is gone, is given up with its partitions, whatever it had reached: the next one
//! begins with new ones. What of it is still on its way is refused everywhere by its partitions or epochs.

mod closing;
mod copying;
pub(super) mod middle_key;
pub(super) mod retiring;
mod source;

use std::sync::Arc;
use std::time::Duration;

use common::catalog::{Catalog, Database, OperationWork, ReplacingStage};
use common::partition_map::{Bucket, BucketRange};
use common::{Error, ErrorCode, PartitionId, Result};

use super::cluster::Cluster;
use super::driver::fail;
use super::is_open;
use crate::catalog::{Command, NewPartition, random};
use crate::placement::{Measured, choose_nodes};

/// After so many attempts the operation fails.
const ATTEMPTS_MAX: u32 = 10;
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// An attempt, as the catalog has it.
#[derive(Clone, Debug)]
struct Attempt {
    operation: String,
    database: Arc<Database>,
    sources: Vec<Bucket>,
    targets: Vec<Bucket>,
    number: u32,
    stage: ReplacingStage,
}

impl Attempt {
    /// The attempt under way; `None` if the operation has ended.
    fn find(catalog: &Catalog, operation: &str) -> Option<Attempt> {
        let found = catalog.operations.get(operation).filter(|found| is_open(found))?;
        let OperationWork::ReplaceBuckets { database, sources, targets, attempt, stage, .. } =
            found.work.clone()
        else {
            return None;
        };
        let database = Arc::new(catalog.databases.get(&database)?.clone());
        Some(Attempt { operation: operation.to_owned(), database, sources, targets, number: attempt, stage })
    }

    /// The database as it will be.
    fn database_after(&self) -> Database {
        let mut after = (*self.database).clone();
        let is_source =
            |bucket: &Bucket| self.sources.iter().any(|source| source.partitions == bucket.partitions);
        let first = after.buckets.iter().position(is_source).unwrap_or_default();
        after.buckets.retain(|bucket| !is_source(bucket));
        after.buckets.splice(first..first, self.targets.iter().cloned());
        after
    }

    async fn advance(&self, cluster: &impl Cluster, stage: ReplacingStage) -> Result<()> {
        let command =
            Command::AdvanceReplacing { operation: self.operation.clone(), attempt: self.number, stage };
        cluster.propose(command).await.map(drop)
    }

    async fn carry_out(&self, cluster: &impl Cluster) -> Result<()> {
        self.advance(cluster, ReplacingStage::Copying).await?;
        let mut copies = copying::copy(cluster, self).await?;
        copying::catch_up(cluster, self, &mut copies).await?;
        closing::replace(cluster, self, &mut copies).await
    }
}

pub(super) async fn drive(cluster: &impl Cluster, id: &str) -> Result<()> {
    loop {
        let Some(attempt) = Attempt::find(&*cluster.confirmed().await?, id) else { return Ok(()) };
        if attempt.stage != ReplacingStage::Fresh {
            begin_anew(cluster, &attempt).await?;
            continue;
        }
        let ended = attempt.carry_out(cluster).await;
        source::forget_changes(cluster, &attempt);
        let Err(error) = ended else { return Ok(()) };
        let number = attempt.number;
        tracing::warn!(operation = id, number, %error, "an attempt at replacing partitions has failed");
        let Some(now) = Attempt::find(&*cluster.confirmed().await?, id) else { return Ok(()) };
        if now.number != number {
            // Another coordinator leads, and has begun anew.
            return Ok(());
        }
        if !may_pass(&error) || number >= ATTEMPTS_MAX {
            return fail(cluster, id, error).await;
        }
        // At once, for the old partitions may be closed.
        begin_anew(cluster, &now).await?;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether another attempt may end better: nodes come back, and replicas move.
fn may_pass(error: &Error) -> bool {
    error.code.retryable() || error.code == ErrorCode::PartitionNotFound
}

async fn begin_anew(cluster: &impl Cluster, attempt: &Attempt) -> Result<()> {
    let catalog = cluster.view();
    let ranges: Vec<BucketRange> = attempt.targets.iter().map(|bucket| bucket.range.clone()).collect();
    let measured = cluster.measured().await;
    let targets = new_partitions(&catalog, &measured, &attempt.database, &ranges)?;
    let (operation, attempt) = (attempt.operation.clone(), attempt.number);
    cluster.propose(Command::RestartReplacing { operation, attempt, targets }).await.map(drop)
}

/// Partitions for buckets of a database, with nodes. Fails with `no_storage_nodes` if there are none.
pub fn new_partitions(
    catalog: &Catalog,
    measured: &Measured,
    database: &Database,
    ranges: &[BucketRange],
) -> Result<Vec<NewPartition>> {
    let count = ranges.len() * database.column_groups.len();
    let nodes = choose_nodes(catalog, measured, count, database.replication_factor)?;
    let partitions = ranges.iter().cycle().cloned().zip(nodes);
    Ok(partitions.map(|(range, nodes)| NewPartition { uuid: random::uuid(), range, nodes }).collect())
}

/// A partition's database and bucket.
pub(super) fn bucket_of(catalog: &Catalog, partition: PartitionId) -> Result<(&Database, &Bucket)> {
    let found = catalog.databases.values().find_map(|database| {
        let bucket = database.buckets.iter().find(|bucket| bucket.partitions.contains(&partition))?;
        Some((database, bucket))
    });
    found.ok_or_else(|| Error::new(ErrorCode::PartitionNotFound, format!("Partition {partition} not found")))
}
