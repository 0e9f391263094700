//! Which hash slot a key belongs to. Part of the storage format: it must never change.

use std::cmp::Ordering;

use xxhash_rust::xxh3::Xxh3;

use crate::Value;
use crate::row::ValueRef;
use crate::value::exact_integer;

/// Slots of a hash-partitioned database; a bucket owns a run of them.
pub const SLOTS: u32 = 16_384;

/// The slot of a key, whose values are as stored: after the column's affinity, and folded by its
/// collation ([`Collation::fold`]). Values that SQLite calls equal (1 and 1.0) share a slot.
#[must_use]
pub fn slot(key: &[Value]) -> u32 {
    // The upper bits of XXH3 are as well mixed as the lower ones.
    #[allow(clippy::cast_possible_truncation)]
    let upper = (key_hash(key.iter().map(ValueRef::from)) >> 32) as u32;
    upper % SLOTS
}

/// The hash of a key's values, as [`slot`] takes them.
#[must_use]
pub fn key_hash<'v>(key: impl IntoIterator<Item = ValueRef<'v>>) -> u64 {
    let mut hasher = Xxh3::new();
    for value in key {
        match value {
            ValueRef::Null => hasher.update(&[0]),
            ValueRef::Integer(number) => hash_integer(&mut hasher, number),
            ValueRef::Real(number) => match exact_integer(number) {
                Some(integer) => hash_integer(&mut hasher, integer),
                None => {
                    hasher.update(&[2]);
                    hasher.update(&number.to_bits().to_le_bytes());
                }
            },
            ValueRef::Text(text) => hash_bytes(&mut hasher, 3, text.as_bytes()),
            ValueRef::RawText(bytes) => hash_bytes(&mut hasher, 3, bytes),
            ValueRef::Blob(bytes) => hash_bytes(&mut hasher, 4, bytes),
        }
    }
    hasher.digest()
}

fn hash_integer(hasher: &mut Xxh3, number: i64) {
    hasher.update(&[1]);
    hasher.update(&number.to_le_bytes());
}

/// The length goes first, so that `("a", "bc")` and `("ab", "c")` differ.
fn hash_bytes(hasher: &mut Xxh3, tag: u8, bytes: &[u8]) {
    hasher.update(&[tag]);
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Tells apart the versions that some columns of a row have over time. Part of the storage format.
#[must_use]
pub fn stamp<'a>(values: impl IntoIterator<Item = &'a Value>) -> [u8; 16] {
    let mut encoded = Vec::new();
    for value in values {
        crate::row::write_value(&mut encoded, value.into());
    }
    xxhash_rust::xxh3::xxh3_128(&encoded).to_le_bytes()
}

/// SQLite's built-in collations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Collation {
    /// Bytes as they are.
    #[default]
    Binary,
    /// ASCII letters without regard to case.
    NoCase,
    /// Trailing spaces do not count.
    RTrim,
}

impl Collation {
    /// The collation of that name, in any letter case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Collation> {
        [("BINARY", Collation::Binary), ("NOCASE", Collation::NoCase), ("RTRIM", Collation::RTrim)]
            .into_iter()
            .find_map(|(known, collation)| known.eq_ignore_ascii_case(name).then_some(collation))
    }

    /// Its name as SQLite writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Collation::Binary => "BINARY",
            Collation::NoCase => "NOCASE",
            Collation::RTrim => "RTRIM",
        }
    }

    /// How two texts compare, as SQLite's collating functions say.
    #[must_use]
    pub fn compare(self, left: &[u8], right: &[u8]) -> Ordering {
        match self {
            Collation::Binary => left.cmp(right),
            Collation::RTrim => without_spaces(left).cmp(without_spaces(right)),
            Collation::NoCase => {
                // SQLite compares up to a NUL that both have, and then by length.
                let pairs = left.iter().zip(right).take_while(|(a, b)| (**a, **b) != (0, 0));
                let different = pairs
                    .map(|(a, b)| a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase()))
                    .find(|order| order.is_ne());
                different.unwrap_or_else(|| left.len().cmp(&right.len()))
            }
        }
    }

    /// One representative for all values that the collation calls equal.
    #[must_use]
    pub fn fold(self, value: Value) -> Value {
        match (self, value) {
            (Collation::NoCase, Value::Text(text)) => Value::Text(text.to_ascii_lowercase()),
            (Collation::RTrim, Value::Text(text)) => Value::Text(text.trim_end_matches(' ').to_owned()),
            (_, value) => value,
        }
    }
}

fn without_spaces(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_part_of_the_format() {
        // A change of these numbers would orphan the rows of every existing database.
        assert_eq!(slot(&[Value::Integer(1)]), slot(&[Value::Real(1.0)]));
        let slots: Vec<u32> =
            [Value::Null, Value::Integer(1), Value::Real(1.5), "north".into(), Value::Blob(vec![1, 2])]
                .iter()
                .map(|value| slot(std::slice::from_ref(value)))
                .collect();
        assert_eq!(slots, SLOTS_OF_RECORD);
    }

    const SLOTS_OF_RECORD: [u32; 5] = [8180, 13771, 13825, 16163, 11187];

    #[test]
    fn stamps_are_part_of_the_format() {
        // A change would make every write to a row that lies in several column groups fail.
        let stamped = stamp(&[Value::Integer(1), "a".into(), Value::Null]);
        assert_eq!(u128::from_le_bytes(stamped), STAMP_OF_RECORD);
        assert_ne!(stamp(&["ab".into(), "c".into()]), stamp(&["a".into(), "bc".into()]));
    }

    const STAMP_OF_RECORD: u128 = 160_544_402_049_565_959_489_571_623_758_162_381_733;

    #[test]
    fn keys_spread_evenly() {
        let mut buckets = [0u32; 8];
        for id in 0..80_000 {
            buckets[(slot(&[Value::Integer(id)]) / (SLOTS / 8)) as usize] += 1;
        }
        assert!(buckets.iter().all(|count| (9_500..10_500).contains(count)), "{buckets:?}");
    }
}
