//! Which bucket of a database owns a key.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize};

use crate::hash::{SLOTS, slot};
use crate::{Error, PartitionId, Result, Value};

/// How a database spreads its rows over buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionMethod {
    /// By the hash slot of the key.
    #[default]
    Hash,
    /// By the order of the key's first value.
    Range,
}

/// What a bucket owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum BucketRange {
    /// Hash slots, both ends included.
    Slots {
        /// First slot.
        first: u32,
        /// Last slot.
        last: u32,
    },
    /// Keys from `from` (included; `None`: from the least) up to `to` (excluded; `None`: to the greatest).
    Keys {
        /// Least key.
        from: Option<Value>,
        /// First key that is no longer in it.
        to: Option<Value>,
    },
}

impl BucketRange {
    /// Owned by a partition that others have replaced.
    pub const NOTHING: BucketRange = BucketRange::Slots { first: 1, last: 0 };

    /// Whether every key is outside.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self, BucketRange::Slots { first, last } if first > last)
    }

    /// Whether no key is outside.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        match self {
            BucketRange::Slots { first, last } => *first == 0 && *last == SLOTS - 1,
            BucketRange::Keys { from, to } => from.is_none() && to.is_none(),
        }
    }
}

/// One bucket: its range and the partitions that hold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// What it owns.
    pub range: BucketRange,
    /// One per column group of the database, the anchor's first. A catalog of the time before column groups
    /// has the only one as `partition`.
    #[serde(alias = "partition", deserialize_with = "one_or_several")]
    pub partitions: Vec<PartitionId>,
    /// Version of this bucket's place in the map; a partition refuses requests planned on an older one.
    pub epoch: u64,
    /// What is placed by hash whatever the method: index rows and idempotency keys.
    pub homes: Homes,
}

/// Slots whose index rows and idempotency keys a bucket holds: `first` included, `end` excluded. Those of a database's
/// buckets follow each other in order and cover every slot; one that was split off may have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Homes {
    /// First slot.
    pub first: u32,
    /// The slot after the last.
    pub end: u32,
}

impl Homes {
    /// Every slot.
    pub const ALL: Homes = Homes { first: 0, end: SLOTS };
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PartitionId>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        One(PartitionId),
        Several(Vec<PartitionId>),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::One(partition) => vec![partition],
        Stored::Several(partitions) => partitions,
    })
}

/// Divides all slots evenly over `count` buckets.
#[must_use]
pub fn hash_ranges(count: u32) -> Vec<BucketRange> {
    (0..count)
        .map(|index| BucketRange::Slots {
            first: slot_boundary(index, count),
            last: slot_boundary(index + 1, count) - 1,
        })
        .collect()
}

fn slot_boundary(index: u32, count: u32) -> u32 {
    // At most 16,384 · 256, far inside 32 bits.
    SLOTS * index / count
}

/// The ranges between split points, which must rise and hold no NULL.
pub fn key_ranges(split_points: &[Value]) -> Result<Vec<BucketRange>> {
    if split_points.iter().any(Value::is_null) {
        return Err(Error::bad_request("split_points must not hold null"));
    }
    if split_points.windows(2).any(|pair| pair[0].compare(&pair[1]) != Ordering::Less) {
        return Err(Error::bad_request("split_points must rise strictly"));
    }
    let mut from = None;
    let mut ranges = Vec::with_capacity(split_points.len() + 1);
    for point in split_points {
        ranges.push(BucketRange::Keys { from: from.replace(point.clone()), to: Some(point.clone()) });
    }
    ranges.push(BucketRange::Keys { from, to: None });
    Ok(ranges)
}

/// The bucket that owns a key. The key's values are as stored and folded by their collations.
///
/// # Panics
/// If the buckets do not cover every key, which the catalog guarantees.
#[must_use]
pub fn bucket_of_key(buckets: &[Bucket], key: &[Value]) -> usize {
    if buckets.len() == 1 {
        return 0;
    }
    let found = match &buckets[0].range {
        BucketRange::Slots { .. } => {
            let wanted = slot(key);
            buckets.partition_point(
                |bucket| matches!(bucket.range, BucketRange::Slots { last, .. } if last < wanted),
            )
        }
        BucketRange::Keys { .. } => {
            let wanted = key.first().unwrap_or(&Value::Null);
            buckets.partition_point(|bucket| match &bucket.range {
                BucketRange::Keys { to: Some(to), .. } => to.compare(wanted) != Ordering::Greater,
                _ => false,
            })
        }
    };
    assert!(found < buckets.len(), "the partition map does not cover a key");
    found
}

/// The bucket that holds what is placed by hash at a slot.
///
/// # Panics
/// If the buckets' homes do not cover every slot, which the catalog guarantees.
#[must_use]
pub fn bucket_of_home(buckets: &[Bucket], slot: u32) -> usize {
    let found = buckets.partition_point(|bucket| bucket.homes.end <= slot);
    assert!(found < buckets.len(), "the partition map does not cover a slot");
    found
}

/// The buckets that may hold keys between two bounds (both included, `None`: open), in order. Under
/// hashing that is all of them.
#[must_use]
pub fn buckets_of_key_range(buckets: &[Bucket], low: Option<&Value>, high: Option<&Value>) -> Vec<usize> {
    let overlaps = |bucket: &Bucket| match &bucket.range {
        BucketRange::Slots { .. } => true,
        BucketRange::Keys { from, to } => {
            let starts_late =
                matches!((from, high), (Some(from), Some(high)) if from.compare(high) == Ordering::Greater);
            let ends_early =
                matches!((to, low), (Some(to), Some(low)) if to.compare(low) != Ordering::Greater);
            !starts_late && !ends_early
        }
    };
    (0..buckets.len()).filter(|&index| overlaps(&buckets[index])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(ranges: Vec<BucketRange>) -> Vec<Bucket> {
        (1..)
            .zip(ranges)
            .map(|(id, range)| Bucket {
                range,
                partitions: vec![PartitionId(id)],
                epoch: 1,
                homes: Homes::ALL,
            })
            .collect()
    }

    #[test]
    fn slots_are_divided_without_gap_or_overlap() {
        for count in [1, 3, 4, 256] {
            let mut next = 0;
            for range in hash_ranges(count) {
                let BucketRange::Slots { first, last } = range else { panic!("a key range") };
                assert_eq!(first, next);
                assert!(last >= first);
                next = last + 1;
            }
            assert_eq!(next, SLOTS);
        }
    }

    #[test]
    fn every_key_has_the_bucket_whose_slots_hold_it() {
        let map = buckets(hash_ranges(5));
        for id in 0..1_000 {
            let key = [Value::Integer(id)];
            let BucketRange::Slots { first, last } = map[bucket_of_key(&map, &key)].range else { panic!() };
            assert!((first..=last).contains(&slot(&key)));
        }
    }

    #[test]
    fn a_split_point_belongs_to_the_right() {
        let map = buckets(key_ranges(&[10.into(), 20.into()]).unwrap());
        let bucket = |value: Value| bucket_of_key(&map, &[value]);
        assert_eq!(
            [Value::Null, 9.into(), 10.into(), 19.into(), 20.into(), "a".into()].map(bucket),
            [0, 0, 1, 1, 2, 2]
        );
        assert_eq!(buckets_of_key_range(&map, Some(&5.into()), Some(&10.into())), [0, 1]);
        assert_eq!(buckets_of_key_range(&map, Some(&20.into()), None), [2]);
    }

    #[test]
    fn a_bucket_written_before_there_were_column_groups_is_read() {
        let text = r#"{"range":{"Slots":{"first":0,"last":16383}},"partition":7,"epoch":1,
            "homes":{"first":0,"end":16384}}"#;
        let bucket: Bucket = serde_json::from_str(text).unwrap();
        assert_eq!(bucket.partitions, [PartitionId(7)]);
        let again: Bucket = serde_json::from_str(&serde_json::to_string(&bucket).unwrap()).unwrap();
        assert_eq!(again, bucket);
    }

    #[test]
    fn split_points_must_rise() {
        assert!(key_ranges(&[2.into(), 2.into()]).is_err());
        assert!(key_ranges(&[Value::Null]).is_err());
    }
}
