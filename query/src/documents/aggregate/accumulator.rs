//! What is made of the documents of a group.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use common::{Error, Result};
use serde_json::{Map, Value as Json};

use crate::documents::budget::Budget;
use crate::documents::expression::{Total, average};
use crate::documents::value::as_object;
use crate::documents::value::order::{Key, compare};

/// An accumulator's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sum,
    Average,
    Minimum,
    Maximum,
    First,
    Last,
    Push,
    AddToSet,
    MergeObjects,
}

impl Kind {
    /// The kind of an operator.
    pub(super) fn of(operator: &str) -> Option<Kind> {
        Some(match operator {
            "$sum" => Kind::Sum,
            "$avg" => Kind::Average,
            "$min" => Kind::Minimum,
            "$max" => Kind::Maximum,
            "$first" => Kind::First,
            "$last" => Kind::Last,
            "$push" => Kind::Push,
            "$addToSet" => Kind::AddToSet,
            "$mergeObjects" => Kind::MergeObjects,
            _ => return None,
        })
    }
}

/// An accumulator at work.
#[derive(Debug)]
pub(super) enum Accumulator {
    Sum(Total),
    Average(Total),
    /// The value that is on this side of all others.
    Extreme(Ordering, Option<Json>),
    First(Option<Option<Json>>),
    Last(Option<Json>),
    Push(Vec<Json>),
    AddToSet(BTreeSet<Key>),
    MergeObjects(Map<String, Json>),
}

impl Accumulator {
    /// One that has seen nothing.
    pub(super) fn new(kind: Kind) -> Accumulator {
        match kind {
            Kind::Sum => Accumulator::Sum(Total::default()),
            Kind::Average => Accumulator::Average(Total::default()),
            Kind::Minimum => Accumulator::Extreme(Ordering::Less, None),
            Kind::Maximum => Accumulator::Extreme(Ordering::Greater, None),
            Kind::First => Accumulator::First(None),
            Kind::Last => Accumulator::Last(None),
            Kind::Push => Accumulator::Push(Vec::new()),
            Kind::AddToSet => Accumulator::AddToSet(BTreeSet::new()),
            Kind::MergeObjects => Accumulator::MergeObjects(Map::new()),
        }
    }

    /// Takes a document's value.
    pub(super) fn add(&mut self, value: Option<Json>, budget: &mut Budget) -> Result<()> {
        match (self, value) {
            (Accumulator::Sum(total) | Accumulator::Average(total), Some(value)) => total.add(&value)?,
            (Accumulator::Extreme(wanted, best), Some(value))
                if !value.is_null() && best.as_ref().is_none_or(|best| compare(&value, best) == *wanted) =>
            {
                *best = Some(value);
            }
            (Accumulator::First(first @ None), value) => {
                if let Some(value) = &value {
                    budget.hold(value)?;
                }
                *first = Some(value);
            }
            (Accumulator::Last(last), value) => *last = value,
            (Accumulator::Push(values), Some(value)) => {
                budget.hold(&value)?;
                values.push(value);
            }
            (Accumulator::AddToSet(values), Some(value)) => {
                let key = Key(value);
                if !values.contains(&key) {
                    budget.hold(&key.0)?;
                    values.insert(key);
                }
            }
            (Accumulator::MergeObjects(merged), Some(value)) if !value.is_null() => {
                let fields = as_object(&value)
                    .ok_or_else(|| Error::bad_request("$mergeObjects: objects are wanted"))?;
                budget.hold(&value)?;
                merged.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            _ => {}
        }
        Ok(())
    }

    /// The group's value.
    pub(super) fn finish(self) -> Result<Json> {
        Ok(match self {
            Accumulator::Sum(total) => total.sum()?,
            Accumulator::Average(total) => average(&total)?,
            Accumulator::Extreme(_, best) => best.unwrap_or_default(),
            Accumulator::First(first) => first.flatten().unwrap_or_default(),
            Accumulator::Last(last) => last.unwrap_or_default(),
            Accumulator::Push(values) => Json::Array(values),
            Accumulator::AddToSet(values) => Json::Array(values.into_iter().map(|key| key.0).collect()),
            Accumulator::MergeObjects(fields) => Json::Object(fields),
        })
    }
}
