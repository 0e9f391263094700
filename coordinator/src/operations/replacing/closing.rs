//! The moment at which new partitions take the place of old ones.

use std::time::Duration;

use common::catalog::ReplacingStage;
use common::partition_map::BucketRange;
use common::replacing::{ReplacingReply, ReplacingRequest};
use common::{Error, Hlc, PartitionId, Result};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::super::cluster::Cluster;
use super::super::partition_leader;
use super::Attempt;
use super::copying::{Copy, catch_up_once};
use crate::catalog::{Command, filling_epoch, serving_epoch};

/// If a partition takes longer to take its place, the attempt is given up and the old partitions serve again.
const STEP: Duration = Duration::from_secs(5);

/// Closes the old partitions, copies what is left, opens the new ones, and publishes them. From its first step on
/// requests to these partitions wait.
pub(super) async fn replace<C: Cluster>(
    cluster: &C,
    attempt: &Attempt,
    copies: &mut [Copy<C>],
) -> Result<()> {
    attempt.advance(cluster, ReplacingStage::Closing).await?;
    let begun = Instant::now();
    let closed = filling_epoch(&attempt.sources);
    let old = attempt.sources.iter().flat_map(|bucket| &bucket.partitions);
    let closing = old.map(|partition| own(cluster, *partition, closed, BucketRange::NOTHING, Hlc(0)));
    let places = try_join_all(closing).await?;
    let last = places.into_iter().map(|(at, _)| at).max().unwrap_or_default();
    catch_up_once(cluster, attempt, copies, Some(closed)).await?;
    let serving = serving_epoch(&attempt.sources);
    // Later than everything that the old partitions have told of their moments.
    let new = attempt.targets.iter().flat_map(|bucket| bucket.partitions.iter().map(move |id| (*id, bucket)));
    let opening = new.map(|(partition, bucket)| own(cluster, partition, serving, bucket.range.clone(), last));
    try_join_all(opening).await?;
    let (operation, attempt) = (attempt.operation.clone(), attempt.number);
    let command = Command::FinishReplacing { operation: operation.clone(), attempt };
    cluster.propose(command).await?;
    let pause_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(operation, pause_ms, "partitions were replaced");
    Ok(())
}

/// Gives a partition its place in the map. Answers a moment at which it had it, and whether nobody needs it any more.
pub(super) async fn own(
    cluster: &impl Cluster,
    partition: PartitionId,
    epoch: u64,
    range: BucketRange,
    after: Hlc,
) -> Result<(Hlc, bool)> {
    // Sent twice, it is the same as once.
    let owned = partition_leader::ask(cluster, partition, STEP, |address| {
        let step = ReplacingRequest::Own { partition, epoch, range: range.clone(), after };
        async move { cluster.replacing(&address, step, STEP).await }
    });
    match owned.await? {
        ReplacingReply::Owned { at, settled } => Ok((at, settled)),
        _ => Err(Error::internal("a storage node answered another question")),
    }
}
