//! Orders of documents (<https://www.mongodb.com/docs/manual/reference/method/cursor.sort/>).
//!
//! A missing value counts as null, an array as its least element, or its greatest where the order descends; an
//! empty array comes before everything.

use std::cmp::Ordering;

use common::Result;
use serde_json::Value as Json;

use crate::documents::filter::path::{FieldPath, Leaf};
use crate::documents::place::Place;
use crate::documents::value::Fields;
use crate::documents::value::order::{compare, compare_optional};

/// Most fields of an order.
const FIELDS_MAX: usize = 32;

/// Fields with their directions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    pub(crate) fields: Vec<SortField>,
}

/// A field of an order.
#[derive(Clone, Debug)]
pub(crate) struct SortField {
    pub(crate) path: FieldPath,
    pub(crate) descending: bool,
}

/// What documents are compared by: a value for each field, none for an empty array.
pub(crate) type SortKey = Vec<Option<Json>>;

impl Order {
    /// Reads `{"a":1,"b":-1}`, or a list of such or of pairs, `[["a",1],["b",-1]]`; absent and null are no order.
    pub(crate) fn parse(json: Option<&Json>, place: &Place<'_>) -> Result<Order> {
        let mut order = Order::default();
        match json {
            None | Some(Json::Null) => {}
            Some(Json::Object(fields)) => order.add(fields, place)?,
            Some(Json::Array(parts)) => {
                for (index, part) in parts.iter().enumerate() {
                    let place = place.item(index);
                    match part {
                        Json::Object(fields) => order.add(fields, &place)?,
                        Json::Array(pair) => order.add(&of_pair(pair, &place)?, &place)?,
                        _ => return Err(wrong(&place)),
                    }
                }
            }
            Some(_) => return Err(wrong(place)),
        }
        Ok(order)
    }

    fn add(&mut self, fields: &Fields, place: &Place<'_>) -> Result<()> {
        for (name, direction) in fields {
            let place = place.field(name);
            let descending = match direction.as_f64() {
                Some(1.0) => false,
                Some(-1.0) => true,
                _ => return Err(wrong(&place)),
            };
            let path = FieldPath::parse(name, &place)?;
            if self.fields.iter().any(|known| known.path == path) {
                return Err(place.wrong("the field is named twice"));
            }
            if self.fields.len() >= FIELDS_MAX {
                return Err(place.wrong(format!("an order has at most {FIELDS_MAX} fields")));
            }
            self.fields.push(SortField { path, descending });
        }
        Ok(())
    }

    /// Whether documents come in the order of their making.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// What a document is compared by.
    pub(crate) fn key(&self, document: &Fields) -> SortKey {
        self.fields.iter().map(|field| field.value(document)).collect()
    }

    /// Compares documents by their keys.
    pub(crate) fn compare_keys(&self, left: &SortKey, right: &SortKey) -> Ordering {
        let pairs = self.fields.iter().zip(left.iter().zip(right));
        pairs.fold(Ordering::Equal, |order, (field, (left, right))| {
            order.then_with(|| {
                let order = compare_optional(left.as_ref(), right.as_ref());
                if field.descending { order.reverse() } else { order }
            })
        })
    }
}

/// A field and its direction, as clients in languages without ordered objects give them.
fn of_pair(pair: &[Json], place: &Place<'_>) -> Result<Fields> {
    match pair {
        [Json::String(name), direction] => Ok(Fields::from_iter([(name.clone(), direction.clone())])),
        _ => Err(wrong(place)),
    }
}

fn wrong(place: &Place<'_>) -> common::Error {
    place.wrong("a sort order is an object of fields with 1 or -1")
}

impl SortField {
    fn value(&self, document: &Fields) -> Option<Json> {
        let mut candidates: Vec<Option<&Json>> = Vec::new();
        for value in self.path.values(document, Leaf::Whole) {
            match value {
                None => candidates.push(Some(&Json::Null)),
                Some(Json::Array(items)) if items.is_empty() => candidates.push(None),
                Some(Json::Array(items)) => candidates.extend(items.iter().map(Some)),
                Some(value) => candidates.push(Some(value)),
            }
        }
        let order = |left: &Option<&Json>, right: &Option<&Json>| match (left, right) {
            (Some(left), Some(right)) => compare(left, right),
            (left, right) => left.is_some().cmp(&right.is_some()),
        };
        let chosen = if self.descending {
            candidates.into_iter().max_by(order)
        } else {
            candidates.into_iter().min_by(order)
        };
        chosen.map_or(Some(Json::Null), |value| value.cloned())
    }
}
