//! Removing partitions that were replaced, once nobody needs a decision of their logs any more.

use std::time::Duration;

use common::Hlc;
use common::catalog::{Catalog, Retired};
use common::partition_map::BucketRange;

use super::super::cluster::Cluster;
use super::closing::own;
use crate::catalog::{Command, now_ms};

/// Snapshots that were pinned before, and streams out of them, can be read for so long.
const KEPT: Duration = Duration::from_secs(120);

/// The buckets that were replaced long enough ago, each with its database.
pub(in super::super) fn due(catalog: &Catalog) -> Vec<(String, Retired)> {
    let now = now_ms();
    let kept = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
    let of = |database: &common::catalog::Database| {
        let name = database.name.clone();
        database.retired.clone().into_iter().map(move |retired| (name.clone(), retired))
    };
    let retired = catalog.databases.values().flat_map(of);
    retired.filter(|(_, retired)| retired.since.saturating_add(kept) <= now).collect()
}

/// Removes a bucket's partitions, if they can be done without. If not, it is tried again later.
pub(in super::super) async fn retire(cluster: &impl Cluster, database: String, retired: Retired) {
    let Retired { bucket, .. } = retired;
    for partition in &bucket.partitions {
        match own(cluster, *partition, bucket.epoch, BucketRange::NOTHING, Hlc(0)).await {
            Ok((_, true)) => {}
            Ok((_, false)) => return,
            Err(error) => return tracing::debug!(%partition, %error, "a replaced partition does not answer"),
        }
    }
    let Some(partition) = bucket.partitions.first().copied() else { return };
    if let Err(error) = cluster.propose(Command::ForgetRetired { database, partition }).await {
        tracing::debug!(%partition, %error, "a replaced partition is not removed yet");
    }
}
