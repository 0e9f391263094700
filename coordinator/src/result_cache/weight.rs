//! What an answer weighs, so that one limit stands for two: of entries and of bytes.

use common::catalog::CacheLimits;
use query::documents::{Document, DocumentList};
use query::objects::ObjectAnswer;
use serde_json::Value as Json;

/// Heaviest weight that the least entry is given: fine enough for bytes to be told apart.
const LEAST_MAX: u64 = 1 << 20;
/// What an answer takes beside its rows, in bytes.
pub const OVERHEAD: usize = 256;

/// The unit of weight. Every entry weighs at least as much as the limit of entries allows it, and at least its
/// share of the bytes; so neither limit is ever passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    least: u64,
    entries: u64,
    bytes: u64,
}

impl Scale {
    /// The scale for some limits; `None` if they allow nothing.
    pub(super) fn of(limits: CacheLimits) -> Option<Scale> {
        let CacheLimits { enabled, entries, bytes, expiration_seconds } = limits;
        if !enabled || entries == 0 || bytes == 0 || expiration_seconds == 0 {
            return None;
        }
        let entries = entries.min(u64::from(u32::MAX));
        Some(Scale { least: (u64::from(u32::MAX) / entries).min(LEAST_MAX), entries, bytes })
    }

    /// Greatest weight of all entries together; it fits in 32 bits.
    pub(super) fn capacity(self) -> u64 {
        self.least * self.entries
    }

    /// The weight of an entry.
    pub(super) fn weight(self, bytes: usize) -> u32 {
        let share = (bytes as u128 * u128::from(self.capacity())).div_ceil(u128::from(self.bytes));
        u32::try_from(share.max(u128::from(self.least))).unwrap_or(u32::MAX)
    }
}

/// An answer whose size in memory is known, roughly.
pub trait Weighed {
    /// Bytes.
    fn bytes(&self) -> usize;
}

impl Weighed for ObjectAnswer {
    fn bytes(&self) -> usize {
        OVERHEAD + self.data.as_ref().map_or(0, json_bytes)
    }
}

impl Weighed for Document {
    fn bytes(&self) -> usize {
        OVERHEAD + self.text.capacity()
    }
}

impl Weighed for Vec<Json> {
    fn bytes(&self) -> usize {
        OVERHEAD + self.iter().map(json_bytes).sum::<usize>()
    }
}

impl Weighed for DocumentList {
    fn bytes(&self) -> usize {
        OVERHEAD + self.text().len()
    }
}

impl Weighed for u64 {
    fn bytes(&self) -> usize {
        OVERHEAD
    }
}

fn json_bytes(json: &Json) -> usize {
    let within = match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(json_bytes).sum(),
        // A map keeps its keys and an index of them.
        Json::Object(fields) => fields.iter().map(|(name, value)| 64 + name.len() + json_bytes(value)).sum(),
    };
    size_of::<Json>() + within
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(entries: u64, bytes: u64) -> Scale {
        Scale::of(CacheLimits { entries, bytes, ..CacheLimits::default() }).unwrap()
    }

    #[test]
    fn no_limit_can_be_passed() {
        for (entries, bytes) in
            [(1, 1), (5, 64 << 20), (1_000, 64 << 20), (3_000_000, 1_000), (u64::MAX, u64::MAX >> 1)]
        {
            let scale = scale(entries, bytes);
            assert!(scale.capacity() <= u64::from(u32::MAX));
            // So many of the least entries fit, and not one more.
            let most = scale.capacity() / u64::from(scale.weight(0));
            assert_eq!(most, entries.min(u64::from(u32::MAX)), "{entries} entries");
            for size in [1_usize, 100, 70_000, 9 << 20] {
                let fit = scale.capacity() / u64::from(scale.weight(size));
                assert!(fit as u128 * size as u128 <= u128::from(bytes), "{fit} of {size} in {bytes} bytes");
            }
        }
    }

    #[test]
    fn limits_of_nothing_keep_nothing() {
        let limits = CacheLimits::default();
        assert!(Scale::of(CacheLimits { enabled: false, ..limits }).is_none());
        assert!(Scale::of(CacheLimits { entries: 0, ..limits }).is_none());
        assert!(Scale::of(CacheLimits { bytes: 0, ..limits }).is_none());
        assert!(Scale::of(CacheLimits { expiration_seconds: 0, ..limits }).is_none());
    }
}
