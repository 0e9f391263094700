//! The order of values: by type first, then by value
//! (<https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/>).

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value as Json;

use super::{Fields, Typed};

/// Compares two values of any types.
pub(crate) fn compare(left: &Json, right: &Json) -> Ordering {
    let (left, right) = (Typed::of(left), Typed::of(right));
    left.rank().cmp(&right.rank()).then_with(|| compare_same(&left, &right))
}

/// Compares where a field may be missing, which comes before everything.
pub(crate) fn compare_optional(left: Option<&Json>, right: Option<&Json>) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => compare(left, right),
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}

/// Whether two values are equal: numbers by value, objects field by field in their order.
pub(crate) fn equal(left: &Json, right: &Json) -> bool {
    compare(left, right) == Ordering::Equal
}

/// Whether two values are of types that compare with each other.
pub(crate) fn same_type(left: &Json, right: &Json) -> bool {
    Typed::of(left).rank() == Typed::of(right).rank()
}

fn compare_same(left: &Typed<'_>, right: &Typed<'_>) -> Ordering {
    match (left, right) {
        (Typed::Number(left), Typed::Number(right)) => left.compare(right),
        (Typed::Text(left), Typed::Text(right)) | (Typed::ObjectId(left), Typed::ObjectId(right)) => {
            left.cmp(right)
        }
        (Typed::Object(left), Typed::Object(right)) => compare_objects(left, right),
        (Typed::Array(left), Typed::Array(right)) => {
            let pairs = left.iter().zip(*right).map(|(left, right)| compare(left, right));
            first_difference(pairs).then_with(|| left.len().cmp(&right.len()))
        }
        (Typed::Binary(subtype, left), Typed::Binary(other, right)) => {
            let bytes = |text: &str| BASE64.decode(text).unwrap_or_default();
            let (left, right) = (bytes(left), bytes(right));
            left.len().cmp(&right.len()).then_with(|| subtype.cmp(other)).then_with(|| left.cmp(&right))
        }
        (Typed::Bool(left), Typed::Bool(right)) => left.cmp(right),
        (Typed::Date(left), Typed::Date(right)) => left.cmp(right),
        _ => Ordering::Equal,
    }
}

/// Field by field: first the types of the values, then the names, then the values.
fn compare_objects(left: &Fields, right: &Fields) -> Ordering {
    let pairs = left.iter().zip(right).map(|((left_name, left), (right_name, right))| {
        let (left_type, right_type) = (Typed::of(left).rank(), Typed::of(right).rank());
        left_type.cmp(&right_type).then_with(|| left_name.cmp(right_name)).then_with(|| compare(left, right))
    });
    first_difference(pairs).then_with(|| left.len().cmp(&right.len()))
}

fn first_difference(mut pairs: impl Iterator<Item = Ordering>) -> Ordering {
    pairs.find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
}

/// A value as a key of an ordered map.
#[derive(Clone, Debug)]
pub(crate) struct Key(pub(crate) Json);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_ordered_by_type_and_then_by_value() {
        let sorted = [
            json!(null),
            json!(-1.5),
            json!({"$numberDecimal": "-1.4"}),
            json!(2),
            json!(2.5),
            json!(""),
            json!("B"),
            json!("a"),
            json!({}),
            json!({"b": 1}),
            json!({"a": "x"}),
            json!({"a": "x", "b": 1}),
            json!([]),
            json!([1]),
            json!([1, 2]),
            json!([2]),
            json!({"$binary": {"base64": "AQ==", "subType": "00"}}),
            json!({"$oid": "5f0000000000000000000000"}),
            json!(false),
            json!(true),
            json!({"$date": "1969-12-31T23:59:59.999Z"}),
            json!({"$date": "2024-01-01T00:00:00.000Z"}),
        ];
        assert!(sorted.is_sorted_by(|left, right| compare(left, right) == Ordering::Less));
        assert!(equal(&json!({"a": 1}), &json!({"a": 1.0})));
        assert!(!equal(&json!({"a": 1, "b": 2}), &json!({"b": 2, "a": 1})));
        assert_eq!(compare_optional(None, Some(&json!(null))), Ordering::Less);
    }
}
