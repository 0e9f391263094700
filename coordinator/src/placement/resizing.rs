//! Which buckets should be split, and which merged, by their size and load: a pure function of the catalog and of what
//! was measured.

use common::catalog::{Catalog, Database, DatabaseState, OperationWork, PartitioningLimits};
use common::limits::PARTITIONS_MAX;
use common::partition_division::merged;
use common::partition_map::{Bucket, BucketRange};
use common::{PartitionId, catalog::NodeStatus};

use super::load::{Measured, PartitionLoad};
use crate::catalog::is_open;

/// A database that has so many buckets for each node is not divided further for its load: more nodes would help.
const BUCKETS_PER_NODE: usize = 8;
/// Fewest buckets of a database that can be split again.
const BUCKETS_MIN: usize = 2;

/// A change of a database's buckets. Buckets are named by their first partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resizing {
    /// A bucket is too large, or has too much to do.
    Split {
        /// The database.
        database: String,
        /// The bucket.
        partition: PartitionId,
    },
    /// Two neighbours are small and have little to do.
    Merge {
        /// The database.
        database: String,
        /// The bucket whose slots or keys come first.
        left: PartitionId,
        /// The one that begins where it ends.
        right: PartitionId,
    },
}

impl Resizing {
    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        let (Resizing::Split { database, .. } | Resizing::Merge { database, .. }) = self;
        database
    }
}

/// What should be done now, at most one thing for each database: first the largest bucket is split, and where none has
/// to be, the smallest neighbours are merged. Nothing where partitions are being changed, or are not all known.
#[must_use]
pub fn resizings(catalog: &Catalog, measured: &Measured) -> Vec<Resizing> {
    if !catalog.partitioning.automatic {
        return Vec::new();
    }
    let settled = catalog.databases.values().filter(|database| is_settled(catalog, database));
    settled.filter_map(|database| resizing(catalog, database, measured)).collect()
}

fn is_settled(catalog: &Catalog, database: &Database) -> bool {
    let concerns = |work: &OperationWork| match work {
        OperationWork::ReplaceBuckets { database: other, .. } => *other == database.name,
        OperationWork::DrainNode { .. } | OperationWork::Rebalance => true,
        OperationWork::AddReplica { partition, .. } | OperationWork::RemoveReplica { partition, .. } => {
            database.partitions().any(|(_, _, id)| id == *partition)
        }
        _ => false,
    };
    database.state == DatabaseState::Ready
        && database.schema_change.is_none()
        && database.buckets.len() >= BUCKETS_MIN
        && !catalog.operations.values().any(|one| is_open(one) && concerns(&one.work))
}

fn resizing(catalog: &Catalog, database: &Database, measured: &Measured) -> Option<Resizing> {
    let loads: Option<Vec<PartitionLoad>> =
        database.buckets.iter().map(|bucket| load_of(bucket, measured)).collect();
    let loads = loads?;
    let limits = &catalog.partitioning;
    let name = || database.name.clone();
    let anchor = |place: usize| database.buckets[place].partitions[0];
    let fits = (database.buckets.len() + 1) * database.column_groups.len() <= PARTITIONS_MAX as usize;
    let spread_out = database.buckets.len() >= BUCKETS_PER_NODE * active_nodes(catalog);
    let to_split = (0..loads.len()).filter(|place| {
        fits && may_be_split(&database.buckets[*place].range)
            && is_too_much(loads[*place], limits, spread_out)
    });
    if let Some(place) = to_split.max_by_key(|place| (loads[*place].bytes, loads[*place].requests)) {
        return Some(Resizing::Split { database: name(), partition: anchor(place) });
    }
    if database.buckets.len() <= database.buckets_asked.max(BUCKETS_MIN) {
        return None;
    }
    let together = |place: usize| PartitionLoad {
        bytes: loads[place].bytes + loads[place + 1].bytes,
        requests: loads[place].requests + loads[place + 1].requests,
    };
    let to_merge = (0..loads.len() - 1).filter(|place| {
        let both = together(*place);
        let (left, right) = (&database.buckets[*place].range, &database.buckets[*place + 1].range);
        merged(left, right).is_some()
            && both.bytes <= limits.merge_bytes
            && both.requests <= limits.merge_requests
    });
    let place = to_merge.min_by_key(|place| (together(*place).bytes, *place))?;
    Some(Resizing::Merge { database: name(), left: anchor(place), right: anchor(place + 1) })
}

/// What the greatest partition of a bucket holds and does; `None` if one is not known.
fn load_of(bucket: &Bucket, measured: &Measured) -> Option<PartitionLoad> {
    bucket.partitions.iter().try_fold(PartitionLoad::default(), |most, id| {
        // No file is empty: it has not been looked at yet.
        let load = measured.get(id).filter(|load| load.bytes > 0)?;
        Some(PartitionLoad { bytes: most.bytes.max(load.bytes), requests: most.requests.max(load.requests) })
    })
}

fn may_be_split(range: &BucketRange) -> bool {
    match range {
        BucketRange::Slots { first, last } => first < last,
        BucketRange::Keys { .. } => true,
    }
}

fn is_too_much(load: PartitionLoad, limits: &PartitioningLimits, spread_out: bool) -> bool {
    load.bytes > limits.split_bytes || (load.requests > limits.split_requests && !spread_out)
}

fn active_nodes(catalog: &Catalog) -> usize {
    catalog.nodes.values().filter(|node| node.status == NodeStatus::Active).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Command;
    use crate::placement::fixture;

    const GIB: u64 = 1 << 30;

    fn cluster() -> Catalog {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "d", 4, 3);
        catalog
    }

    /// Loads of the buckets of `d` in their order.
    fn measured(catalog: &Catalog, loads: &[(u64, u64)]) -> Measured {
        let buckets = catalog.databases["d"].buckets.iter();
        let loads =
            loads.iter().map(|(bytes, requests)| PartitionLoad { bytes: *bytes, requests: *requests });
        buckets.map(|bucket| bucket.partitions[0]).zip(loads).collect()
    }

    fn anchors(catalog: &Catalog) -> Vec<PartitionId> {
        catalog.databases["d"].buckets.iter().map(|bucket| bucket.partitions[0]).collect()
    }

    fn split_of(partition: PartitionId) -> Vec<Resizing> {
        vec![Resizing::Split { database: "d".into(), partition }]
    }

    #[test]
    fn a_bucket_that_is_large_or_busy_is_split_the_largest_first() {
        let catalog = cluster();
        let ids = anchors(&catalog);
        let now = |loads: &[(u64, u64)]| resizings(&catalog, &measured(&catalog, loads));
        assert_eq!(now(&[(GIB, 0), (8 * GIB, 20_000), (1, 0), (1, 0)]), [], "neither is above its limit");
        assert_eq!(now(&[(9 * GIB, 0), (12 * GIB, 0), (1, 0), (1, 0)]), split_of(ids[1]));
        assert_eq!(now(&[(1, 0), (1, 0), (1, 0), (1, 20_001)]), split_of(ids[3]));
        assert_eq!(now(&[(9 * GIB, 0), (1, 0), (1, 0)]), [], "nothing is known of one");
    }

    #[test]
    fn neighbours_are_merged_down_to_what_people_have_asked_for() {
        let mut catalog = cluster();
        let ids = anchors(&catalog);
        let loads = [(GIB, 0), (100, 50), (200, 50), (GIB, 200)];
        assert_eq!(resizings(&catalog, &measured(&catalog, &loads)), [], "it was made with four");
        catalog.databases.get_mut("d").unwrap().buckets_asked = 2;
        let merge = Resizing::Merge { database: "d".into(), left: ids[1], right: ids[2] };
        assert_eq!(resizings(&catalog, &measured(&catalog, &loads)), [merge]);
        let busy = [(GIB, 0), (100, 51), (200, 50), (GIB, 200)];
        assert_eq!(resizings(&catalog, &measured(&catalog, &busy)), [], "together they do too much");
        catalog.partitioning.automatic = false;
        assert_eq!(resizings(&catalog, &measured(&catalog, &loads)), [], "it is turned off");
    }

    #[test]
    fn what_was_merged_is_never_split_at_once_nor_what_was_split_merged() {
        let mut catalog = cluster();
        catalog.databases.get_mut("d").unwrap().buckets_asked = 2;
        for split_bytes in [1, 2, 3, 100, 1 << 20, 8 * GIB] {
            let command = |merge_bytes| Command::ConfigurePartitioning {
                automatic: None,
                split_bytes: Some(split_bytes),
                split_requests: None,
                merge_bytes: Some(merge_bytes),
                merge_requests: None,
                after_seconds: None,
            };
            let version = catalog.version + 1;
            assert!(crate::catalog::apply(&mut catalog, version, &command(split_bytes / 2 + 1)).is_err());
            fixture::run(&mut catalog, &command(split_bytes / 2));
            // Halves of the smallest that is split, and the largest that was merged.
            let half = (split_bytes + 1).div_ceil(2);
            let halves = [(half, 0), (half, 0), (half, 0), (half, 0)];
            let after_split = resizings(&catalog, &measured(&catalog, &halves));
            assert!(!after_split.iter().any(|one| matches!(one, Resizing::Merge { .. })), "{split_bytes}");
            let whole = split_bytes / 2;
            let after_merge = resizings(&catalog, &measured(&catalog, &[(whole, 0); 4]));
            assert!(!after_merge.iter().any(|one| matches!(one, Resizing::Split { .. })), "{split_bytes}");
        }
    }

    #[test]
    fn nothing_is_begun_where_something_is_under_way_nor_for_load_where_more_nodes_would_help() {
        let mut catalog = cluster();
        let loads = [(9 * GIB, 0), (1, 0), (1, 0), (1, 0)];
        fixture::run(&mut catalog, &Command::Rebalance);
        assert_eq!(resizings(&catalog, &measured(&catalog, &loads)), []);
        let mut catalog = fixture::cluster(1);
        fixture::create(&mut catalog, "d", 8, 1);
        let busy = measured(&catalog, &[(1, 30_000); 8]);
        assert_eq!(resizings(&catalog, &busy), []);
        let large = measured(&catalog, &[(9 * GIB, 30_000); 8]);
        assert_eq!(resizings(&catalog, &large).len(), 1);
    }
}
