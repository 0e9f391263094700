//! Buckets that are too large, or have too much to do, are split, and small neighbours are merged, without anybody's
//! asking. Placement says what should be done; it is begun when that was so for a while. What is seen is not in the
//! catalog: whoever comes to lead sees it again.

use std::collections::BTreeMap;
use std::time::Duration;

use common::catalog::{Catalog, OperationState};
use common::partition_division::{self, SplitPoint};
use common::partition_map::BucketRange;
use common::{PartitionId, Result};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::replacing::{bucket_of, middle_key::middle_key};
use super::{BEGIN_TIMEOUT, Operations};
use crate::placement::{Resizing, resizings};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// A database of which nothing could be begun, or whose operation has failed, is left alone for so long.
const REST: Duration = Duration::from_secs(600);

/// What was seen and begun so far.
pub(super) struct Resizer {
    looked: Instant,
    /// Since when something should be done.
    wanted: BTreeMap<Resizing, Instant>,
    /// Databases that are left alone, until when.
    rests: BTreeMap<String, Instant>,
    /// The last operation of a database, until its end has been seen.
    begun: BTreeMap<String, String>,
    beginning: JoinSet<(Resizing, Result<String>)>,
}

impl Resizer {
    pub(super) fn new() -> Resizer {
        Resizer {
            looked: Instant::now(),
            wanted: BTreeMap::new(),
            rests: BTreeMap::new(),
            begun: BTreeMap::new(),
            beginning: JoinSet::new(),
        }
    }

    /// Begins what has been due for long enough.
    pub(super) async fn look(&mut self, operations: &Operations, catalog: &Catalog) {
        if self.looked.elapsed() < INTERVAL {
            return;
        }
        let now = Instant::now();
        self.looked = now;
        self.hear(now);
        self.see_ends(catalog, now);
        // One at a time: each takes a disk's room, and a network's.
        if !self.beginning.is_empty() || !self.begun.is_empty() {
            return;
        }
        let due = resizings(catalog, &operations.health.measured().await);
        let before = std::mem::take(&mut self.wanted);
        self.wanted =
            due.into_iter().map(|one| (one.clone(), before.get(&one).copied().unwrap_or(now))).collect();
        self.rests.retain(|_, until| *until > now);
        let patience = Duration::from_secs(catalog.partitioning.after_seconds);
        let is_ripe = |(one, since): &(&Resizing, &Instant)| {
            now.duration_since(**since) >= patience && !self.rests.contains_key(one.database())
        };
        if let Some((one, _)) = self.wanted.iter().find(is_ripe) {
            let (operations, one) = (operations.clone(), one.clone());
            self.beginning.spawn(async move {
                let begun = begin(&operations, &one).await;
                (one, begun)
            });
        }
    }

    /// Whether what was to be begun has been.
    fn hear(&mut self, now: Instant) {
        while let Some(ended) = self.beginning.try_join_next() {
            match ended {
                Ok((resizing, Ok(operation))) => {
                    tracing::info!(
                        operation,
                        ?resizing,
                        "partitions are split or merged for their size or load"
                    );
                    self.begun.insert(resizing.database().to_owned(), operation);
                }
                Ok((resizing, Err(error))) => {
                    tracing::warn!(?resizing, %error, "partitions cannot be split or merged for their size or load");
                    self.rests.insert(resizing.database().to_owned(), now + REST);
                }
                Err(error) => tracing::error!(%error, "splitting or merging by itself ended by a panic"),
            }
        }
    }

    /// Lets go of operations that have ended. Sizes and loads of the new partitions are watched from then on.
    fn see_ends(&mut self, catalog: &Catalog, now: Instant) {
        let rests = &mut self.rests;
        self.begun.retain(|database, operation| match catalog.operations.get(operation) {
            Some(found) if crate::catalog::is_open(found) => true,
            Some(found) => {
                if found.state != OperationState::Completed {
                    rests.insert(database.clone(), now + REST);
                }
                false
            }
            // The view lags behind its beginning; it is shown for an hour after its end.
            None => true,
        });
    }
}

async fn begin(operations: &Operations, resizing: &Resizing) -> Result<String> {
    match resizing {
        Resizing::Split { partition, .. } => split(operations, *partition).await,
        Resizing::Merge { left, right, .. } => operations.merge_as(*left, *right, true).await,
    }
}

async fn split(operations: &Operations, partition: PartitionId) -> Result<String> {
    let catalog = operations.catalog.confirmed_within(BEGIN_TIMEOUT).await?;
    let (database, bucket) = bucket_of(&catalog, partition)?;
    let at = match &bucket.range {
        BucketRange::Slots { .. } => SplitPoint::Middle,
        BucketRange::Keys { .. } => middle_key(operations, database, bucket).await?,
    };
    let ranges = partition_division::split(&bucket.range, &at)?;
    operations.replace(&catalog, database, vec![partition], &ranges, true).await
}
