//! Writes to different keys, each by a transaction of its own, and readers of several keys: if one reader sees the
//! first write without the second, no other sees the second without the first.
//!
//! After Y. Sovran et al., "Transactional storage for geo-replicated systems" (2011), which allows it.

use std::collections::BTreeSet;

/// The keys of a group that a reader found written. Each key is written once.
pub type Seen = BTreeSet<u64>;

/// Two readers that disagree: their numbers, and a key that only the first and only the second saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// Numbers of the reads.
    pub reads: (usize, usize),
    /// Keys that one saw and the other did not.
    pub keys: (u64, u64),
}

/// Checks reads of the same keys: what they saw must lie on one line, each a part of the next.
pub fn check(reads: &[Seen]) -> Result<(), Fork> {
    let mut order: Vec<usize> = (0..reads.len()).collect();
    order.sort_by_key(|read| reads[*read].len());
    for pair in order.windows(2) {
        let (smaller, larger) = (&reads[pair[0]], &reads[pair[1]]);
        if let Some(only) = smaller.difference(larger).next() {
            let other = larger.difference(smaller).next().expect("the larger one has something else");
            return Err(Fork { reads: (pair[0], pair[1]), keys: (*only, *other) });
        }
    }
    Ok(())
}

/// Two reads of growing counters that disagree: their numbers, and the place of a counter of which the first has seen
/// more, though less in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterFork {
    /// Numbers of the reads.
    pub reads: (usize, usize),
    /// Place of the counter.
    pub counter: usize,
}

/// Checks reads of the same counters, which only grow, each by writes of its own: of two reads, one has seen no more of
/// any counter than the other.
pub fn check_counters(reads: &[Vec<i64>]) -> Result<(), CounterFork> {
    let mut order: Vec<usize> = (0..reads.len()).collect();
    order.sort_by_key(|read| reads[*read].iter().sum::<i64>());
    for pair in order.windows(2) {
        let (less, more) = (&reads[pair[0]], &reads[pair[1]]);
        if let Some(counter) = less.iter().zip(more).position(|(before, after)| before > after) {
            return Err(CounterFork { reads: (pair[0], pair[1]), counter });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(keys: &[u64]) -> Seen {
        keys.iter().copied().collect()
    }

    #[test]
    fn writes_that_all_see_in_one_order_are_fine() {
        assert_eq!(check(&[seen(&[1, 2]), seen(&[]), seen(&[2]), seen(&[1, 2, 3]), seen(&[2])]), Ok(()));
    }

    #[test]
    fn readers_that_see_two_writes_in_opposite_orders_are_found() {
        let found = check(&[seen(&[1]), seen(&[]), seen(&[2]), seen(&[1, 2])]).unwrap_err();
        assert_eq!((found.reads, found.keys), ((0, 2), (1, 2)));
        assert!(check(&[seen(&[1, 2]), seen(&[1, 3])]).is_err());
    }

    #[test]
    fn counters_that_all_see_grow_in_one_order_are_fine() {
        assert_eq!(check_counters(&[vec![2, 1], vec![0, 0], vec![2, 0], vec![2, 1], vec![1, 0]]), Ok(()));
    }

    #[test]
    fn readers_that_see_two_counters_grow_in_opposite_orders_are_found() {
        let found = check_counters(&[vec![1, 0], vec![0, 0], vec![0, 1]]).unwrap_err();
        assert_eq!((found.reads, found.counter), ((0, 2), 0));
        assert!(check_counters(&[vec![3, 1], vec![2, 9]]).is_err());
    }
}
