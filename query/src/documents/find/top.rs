//! The first of many in an order, holding no more than are wanted.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use common::Result;

use super::sort::{Order, SortKey};
use crate::documents::budget::Budget;

/// Keeps what comes first. Equals stay in the order in which they came.
pub(crate) struct Top<T> {
    order: std::sync::Arc<Order>,
    most: usize,
    /// The last of those that are kept is on top.
    kept: BinaryHeap<Entry<T>>,
    came: u64,
    budget: Budget,
}

struct Entry<T> {
    order: std::sync::Arc<Order>,
    key: SortKey,
    came: u64,
    item: T,
    size: usize,
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare_keys(&self.key, &other.key).then_with(|| self.came.cmp(&other.came))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> Top<T> {
    /// Keeps at most so many, or all.
    pub(crate) fn new(order: Order, most: Option<u64>) -> Top<T> {
        let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        Top {
            order: std::sync::Arc::new(order),
            most,
            kept: BinaryHeap::new(),
            came: 0,
            budget: Budget::default(),
        }
    }

    /// Takes an item of a size in bytes.
    pub(crate) fn add(&mut self, key: SortKey, item: T, size: usize) -> Result<()> {
        let entry = Entry { order: self.order.clone(), key, came: self.came, item, size };
        self.came += 1;
        if self.kept.len() >= self.most && self.kept.peek().is_none_or(|last| entry >= *last) {
            return Ok(());
        }
        self.budget.hold_bytes(size)?;
        self.kept.push(entry);
        if self.kept.len() > self.most
            && let Some(last) = self.kept.pop()
        {
            self.budget.release_bytes(last.size);
        }
        Ok(())
    }

    /// What was kept, in its order.
    pub(crate) fn finish(self) -> Vec<T> {
        self.kept.into_sorted_vec().into_iter().map(|entry| entry.item).collect()
    }
}
