//! Dividing what buckets own, and putting it together again.

use std::cmp::Ordering;

use crate::hash::SLOTS;
use crate::partition_map::{BucketRange, Homes};
use crate::{Error, Result, Value};

/// Where a bucket is divided.
#[derive(Clone, Debug, PartialEq)]
pub enum SplitPoint {
    /// Before this slot.
    Slot(u32),
    /// Before this key.
    Key(Value),
    /// In the middle of its slots.
    Middle,
}

/// Divides a range in two; the point belongs to the right one. Fails unless both own something.
pub fn split(range: &BucketRange, at: &SplitPoint) -> Result<[BucketRange; 2]> {
    match (range, at) {
        (BucketRange::Slots { first, last }, SplitPoint::Slot(_) | SplitPoint::Middle) => {
            let at = if let SplitPoint::Slot(at) = at { *at } else { (first + last).div_ceil(2) };
            if at <= *first || at > *last {
                return Err(Error::bad_request(format!(
                    "'at': the partition owns the slots {first} to {last}, so it can be split before a slot from {} to {last}",
                    first + 1
                )));
            }
            let (left, right) = ((*first, at - 1), (at, *last));
            Ok([left, right].map(|(first, last)| BucketRange::Slots { first, last }))
        }
        (BucketRange::Keys { from, to }, SplitPoint::Key(at)) => {
            let above = from.as_ref().is_none_or(|from| from.compare(at) == Ordering::Less);
            let below = to.as_ref().is_none_or(|to| at.compare(to) == Ordering::Less);
            if at.is_null() || !above || !below {
                return Err(Error::bad_request(
                    "'at' must lie between the first and the last key of the partition",
                ));
            }
            let left = BucketRange::Keys { from: from.clone(), to: Some(at.clone()) };
            Ok([left, BucketRange::Keys { from: Some(at.clone()), to: to.clone() }])
        }
        (BucketRange::Slots { .. }, SplitPoint::Key(_)) => Err(Error::bad_request(
            "'at': the database is partitioned by hash; name a slot, or leave 'at' out",
        )),
        (BucketRange::Keys { .. }, SplitPoint::Slot(_) | SplitPoint::Middle) => {
            Err(Error::bad_request("'at': the key that the right partition begins with is needed"))
        }
    }
}

/// What two neighbours own together. `None` if the right one does not begin where the left one ends.
#[must_use]
pub fn merged(left: &BucketRange, right: &BucketRange) -> Option<BucketRange> {
    match (left, right) {
        (BucketRange::Slots { first, last: end }, BucketRange::Slots { first: begin, last }) => {
            (end + 1 == *begin).then_some(BucketRange::Slots { first: *first, last: *last })
        }
        (BucketRange::Keys { from, to: Some(end) }, BucketRange::Keys { from: Some(begin), to }) => {
            (end.compare(begin) == Ordering::Equal)
                .then(|| BucketRange::Keys { from: from.clone(), to: to.clone() })
        }
        _ => None,
    }
}

/// What consecutive ranges own together. `None` if there is none, or a gap or an overlap between them.
#[must_use]
pub fn union<'r>(ranges: impl IntoIterator<Item = &'r BucketRange>) -> Option<BucketRange> {
    let mut ranges = ranges.into_iter();
    let first = ranges.next()?.clone();
    ranges.try_fold(first, |whole, next| merged(&whole, next))
}

/// Divides homes among the buckets that get some ranges: the slots of the ranges themselves where these are slots, else
/// equal shares.
#[must_use]
pub fn divide_homes(homes: Homes, ranges: &[BucketRange]) -> Vec<Homes> {
    let count = u32::try_from(ranges.len()).unwrap_or(u32::MAX).max(1);
    let share = |index: u32| homes.first + (homes.end - homes.first) * index / count;
    (0..count)
        .zip(ranges)
        .map(|(index, range)| match range {
            BucketRange::Slots { first, last } => Homes { first: *first, end: last + 1 },
            BucketRange::Keys { .. } => Homes { first: share(index), end: share(index + 1) },
        })
        .collect()
}

/// The homes of a new database's buckets.
#[must_use]
pub fn first_homes(ranges: &[BucketRange]) -> Vec<Homes> {
    divide_homes(Homes { first: 0, end: SLOTS }, ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition_map::{hash_ranges, key_ranges};

    const SLOTS_4_TO_9: BucketRange = BucketRange::Slots { first: 4, last: 9 };

    #[test]
    fn slots_are_split_without_gap_and_merged_again() {
        for at in [SplitPoint::Middle, SplitPoint::Slot(5), SplitPoint::Slot(9)] {
            let halves = split(&SLOTS_4_TO_9, &at).unwrap();
            assert!(halves.iter().all(|half| !half.is_nothing()), "{halves:?}");
            assert_eq!(union(&halves), Some(SLOTS_4_TO_9));
        }
        for at in [SplitPoint::Slot(4), SplitPoint::Slot(10), SplitPoint::Key(5.into())] {
            assert!(split(&SLOTS_4_TO_9, &at).is_err(), "{at:?}");
        }
        let one = BucketRange::Slots { first: 4, last: 4 };
        assert!(split(&one, &SplitPoint::Middle).is_err(), "one slot cannot be divided");
    }

    #[test]
    fn keys_are_split_at_a_point_within() {
        let ranges = key_ranges(&[10.into(), 20.into()]).unwrap();
        for (range, at) in [(0, 3), (1, 15), (2, 21)] {
            let halves = split(&ranges[range], &SplitPoint::Key(at.into())).unwrap();
            assert_eq!(union(&halves), Some(ranges[range].clone()));
        }
        for at in [
            SplitPoint::Key(10.into()),
            SplitPoint::Key(20.into()),
            SplitPoint::Key(Value::Null),
            SplitPoint::Middle,
        ] {
            assert!(split(&ranges[1], &at).is_err(), "{at:?}");
        }
        assert_eq!(union(&ranges), Some(BucketRange::Keys { from: None, to: None }));
    }

    #[test]
    fn only_neighbours_are_merged() {
        let ranges = hash_ranges(4);
        assert_eq!(merged(&ranges[0], &ranges[2]), None);
        assert_eq!(merged(&ranges[1], &ranges[0]), None);
        assert_eq!(union(&ranges), Some(hash_ranges(1).remove(0)));
        assert_eq!(union([]), None);
    }

    #[test]
    fn homes_cover_every_slot_however_often_they_are_divided() {
        let mut homes = first_homes(&key_ranges(&[1.into()]).unwrap());
        for _ in 0..20 {
            let first = homes.remove(0);
            let two = key_ranges(&[1.into()]).unwrap();
            homes.splice(0..0, divide_homes(first, &two));
        }
        assert_eq!((homes[0].first, homes.last().unwrap().end), (0, SLOTS));
        assert!(homes.windows(2).all(|pair| pair[0].end == pair[1].first), "{homes:?}");
        let slots = first_homes(&hash_ranges(3));
        assert_eq!(slots[1].first, SLOTS / 3);
    }
}
