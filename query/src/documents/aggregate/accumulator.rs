//! What is made of the documents of a group.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};

use common::{Error, Result};
use serde_json::{Map, Value as Json};

use crate::documents::budget::Budget;
use crate::documents::expression::{Spread, Total, average};
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
    DeviationOfPopulation,
    DeviationOfSample,
    /// The first so many.
    Firsts(usize),
    /// The last so many.
    Lasts(usize),
    /// So many on this side of all others.
    Extremes(Ordering, usize),
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
            "$stdDevPop" => Kind::DeviationOfPopulation,
            "$stdDevSamp" => Kind::DeviationOfSample,
            _ => return None,
        })
    }

    /// The kind of an operator that keeps so many values.
    pub(super) fn of_many(operator: &str, count: usize) -> Option<Kind> {
        Some(match operator {
            "$firstN" => Kind::Firsts(count),
            "$lastN" => Kind::Lasts(count),
            "$minN" => Kind::Extremes(Ordering::Less, count),
            "$maxN" => Kind::Extremes(Ordering::Greater, count),
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
    DeviationOfPopulation(Spread),
    DeviationOfSample(Spread),
    Firsts(usize, Vec<Json>),
    Lasts(usize, VecDeque<Json>),
    /// Sorted, with what is on this side of the others in front.
    Extremes(Ordering, usize, Vec<Json>),
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
            Kind::DeviationOfPopulation => Accumulator::DeviationOfPopulation(Spread::default()),
            Kind::DeviationOfSample => Accumulator::DeviationOfSample(Spread::default()),
            Kind::Firsts(count) => Accumulator::Firsts(count, Vec::new()),
            Kind::Lasts(count) => Accumulator::Lasts(count, VecDeque::new()),
            Kind::Extremes(side, count) => Accumulator::Extremes(side, count, Vec::new()),
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
            (
                Accumulator::DeviationOfPopulation(spread) | Accumulator::DeviationOfSample(spread),
                Some(value),
            ) => spread.add(&value)?,
            (Accumulator::Firsts(count, values), value) if values.len() < *count => {
                let value = value.unwrap_or_default();
                budget.hold(&value)?;
                values.push(value);
            }
            (Accumulator::Lasts(count, values), value) => {
                let value = value.unwrap_or_default();
                budget.hold(&value)?;
                values.push_back(value);
                if values.len() > *count {
                    values.pop_front().iter().for_each(|first| budget.release(first));
                }
            }
            (Accumulator::Extremes(side, count, values), Some(value)) if !value.is_null() => {
                let is_in_front = |held: &Json| compare(&value, held) != *side;
                let position = values.partition_point(is_in_front);
                if position < *count {
                    budget.hold(&value)?;
                    values.insert(position, value);
                    if values.len() > *count {
                        values.pop().iter().for_each(|last| budget.release(last));
                    }
                }
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
            Accumulator::DeviationOfPopulation(spread) => spread.of_population()?,
            Accumulator::DeviationOfSample(spread) => spread.of_sample()?,
            Accumulator::Firsts(_, values) | Accumulator::Extremes(_, _, values) => Json::Array(values),
            Accumulator::Lasts(_, values) => Json::Array(values.into()),
        })
    }
}
