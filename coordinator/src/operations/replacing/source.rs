//! The partitions that are replaced: snapshots of them, and what has changed since.

use std::time::Duration;

use common::protocol::{PartitionTarget, PinId, PinRequest};
use common::replacing::{ReplacingReply, ReplacingRequest, RowKey};
use common::{Error, ErrorCode, PartitionId, Result};
use futures_util::future::join_all;

use super::super::cluster::Cluster;
use super::super::partition_leader;
use super::Attempt;

/// How long a partition's leader is looked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(5);
/// How often a replica is asked to note changes, until it is sure to note all.
const ASKED_MAX: usize = 400;
const ASKED_AGAIN: Duration = Duration::from_millis(5);

/// A snapshot of a partition.
pub(super) struct Source<C: Cluster> {
    pub(super) partition: PartitionId,
    pub(super) address: String,
    pub(super) pin: PinId,
    pub(super) index: u64,
    _kept: C::Kept,
}

impl<C: Cluster> Source<C> {
    /// Pins a snapshot of the newest state, of a partition that is in `epoch`.
    pub(super) async fn pin(
        cluster: &C,
        partition: PartitionId,
        epoch: u64,
        schema_version: u64,
    ) -> Result<Source<C>> {
        let timeout_ms = u64::try_from(QUESTION.as_millis()).unwrap_or(u64::MAX);
        let target = PartitionTarget { partition, epoch, schema_version, timeout_ms };
        partition_leader::ask(cluster, partition, PATIENCE, |address| {
            let pin = PinId(rand::random());
            let request = PinRequest { target: target.clone(), pin, at: None, at_least: 0, readers: 1 };
            async move {
                let (pinned, kept) = cluster.pin(&address, request).await?;
                Ok(Source { partition, address, pin, index: pinned.index, _kept: kept })
            }
        })
        .await
    }

    /// The keys of rows that have changed since another snapshot was taken, and are in this one.
    pub(super) async fn changed_since(&self, cluster: &C, index: u64) -> Result<Vec<RowKey>> {
        let step = ReplacingRequest::ChangedRows { partition: self.partition, since: Some(index) };
        match cluster.replacing(&self.address, step, QUESTION).await? {
            ReplacingReply::ChangedRows { applied, keys: Some(keys) } if applied >= self.index => Ok(keys),
            _ => Err(Error::new(ErrorCode::Unavailable, "a replica does not know what has changed")),
        }
    }

    /// Some rows of the snapshot, as changes in the order of the keys.
    pub(super) async fn rows(&self, cluster: &C, keys: &[RowKey]) -> Result<common::entry::Effects> {
        let step =
            ReplacingRequest::RowsByKey { partition: self.partition, pin: self.pin, keys: keys.to_vec() };
        match cluster.replacing(&self.address, step, QUESTION).await? {
            ReplacingReply::Rows(effects) => Ok(effects),
            _ => Err(Error::internal("a storage node answered another question")),
        }
    }
}

/// Has the replicas of a partition note which rows change from now on. One that does not answer can be done without, as
/// long as it does not come to lead.
pub(super) async fn note_changes(cluster: &impl Cluster, partition: PartitionId) -> Result<()> {
    let addresses = partition_leader::addresses(cluster, partition)?;
    join_all(addresses.values().map(|address| note_changes_at(cluster, partition, address))).await;
    Ok(())
}

async fn note_changes_at(cluster: &impl Cluster, partition: PartitionId, address: &str) {
    for _ in 0..ASKED_MAX {
        let step = ReplacingRequest::ChangedRows { partition, since: None };
        match cluster.replacing(address, step, QUESTION).await {
            Ok(ReplacingReply::ChangedRows { keys: None, .. }) => tokio::time::sleep(ASKED_AGAIN).await,
            Ok(_) => return,
            Err(error) => return tracing::debug!(%partition, address, %error, "changes are not noted"),
        }
    }
}

/// Nobody needs to know any more what has changed.
pub(super) fn forget_changes(cluster: &impl Cluster, attempt: &Attempt) {
    for partition in attempt.sources.iter().flat_map(|bucket| bucket.partitions.clone()) {
        let addresses = partition_leader::addresses(cluster, partition).unwrap_or_default();
        for address in addresses.into_values() {
            let cluster = cluster.clone();
            tokio::spawn(async move {
                let step = ReplacingRequest::ChangedRows { partition, since: Some(u64::MAX) };
                if let Err(error) = cluster.replacing(&address, step, QUESTION).await {
                    tracing::debug!(%partition, address, %error, "a replica goes on noting changes");
                }
            });
        }
    }
}
