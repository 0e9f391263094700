//! Changes of arrays.

use serde_json::Value as Json;

use crate::documents::expression::{ElementOrder, sliced};
use crate::documents::value::order::equal;

/// `$push` with its modifiers: values are put in, then all are sorted, then some are kept.
#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) values: Vec<Json>,
    /// Where; a negative position counts from the end.
    pub(super) position: Option<i64>,
    /// How many are kept of the first or, negative, of the last.
    pub(super) slice: Option<i64>,
    pub(super) order: Option<ElementOrder>,
}

impl Push {
    /// Changes the elements.
    pub(super) fn apply(&self, items: &mut Vec<Json>) {
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let at = match self.position {
            None => length,
            Some(position) if position < 0 => length.saturating_add(position).max(0),
            Some(position) => position.min(length),
        };
        let at = usize::try_from(at).unwrap_or(items.len());
        items.splice(at..at, self.values.iter().cloned());
        if let Some(order) = &self.order {
            items.sort_by(|left, right| order.compare(left, right));
        }
        if let Some(slice) = self.slice {
            *items = sliced(items, None, slice);
        }
    }
}

/// Adds the values that are not there yet.
pub(super) fn add_to_set(items: &mut Vec<Json>, values: &[Json]) {
    for value in values {
        if !items.iter().any(|item| equal(item, value)) {
            items.push(value.clone());
        }
    }
}
