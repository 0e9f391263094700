//! The places in a document that an update's path means: `a.$.b` is the element by which the document was found,
//! `a.$[].b` every element, `a.$[x].b` those for which the array filter of `x` holds.

use common::{Error, Result};
use serde_json::Value as Json;

use super::place_in_document::get;
use super::{Circumstances, Filters};
use crate::documents::place::Place;
use crate::documents::value::Fields;

/// Most places of one path in one document.
const PLACES_MAX: usize = 1_000_000;

/// A path of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) steps: Vec<Step>,
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    /// `$`
    Matched,
    /// `$[]`
    Every,
    /// `$[x]`
    Filtered(String),
}

impl Target {
    /// Reads a path.
    pub(super) fn parse(text: &str, place: &Place<'_>) -> Result<Target> {
        let wrong = || place.wrong(format!("'{text}' is not the path of a field"));
        let mut steps = Vec::new();
        for name in text.split('.') {
            steps.push(match name {
                "$" => Step::Matched,
                "$[]" => Step::Every,
                _ => match name.strip_prefix("$[").and_then(|rest| rest.strip_suffix(']')) {
                    Some(filter) if filter.starts_with(|first: char| first.is_ascii_lowercase()) => {
                        Step::Filtered(filter.to_owned())
                    }
                    Some(_) => return Err(wrong()),
                    None if name.is_empty() || name.starts_with('$') || name.contains('\0') => {
                        return Err(wrong());
                    }
                    None => Step::Name(name.to_owned()),
                },
            });
        }
        if !matches!(steps.first(), Some(Step::Name(_))) || steps.len() > 100 {
            return Err(wrong());
        }
        Ok(Target { steps })
    }

    /// The field of the document that it begins with.
    pub(super) fn first(&self) -> &str {
        match self.steps.first() {
            Some(Step::Name(name)) => name,
            _ => "",
        }
    }

    /// Whether one of two paths lies within the other, or they are the same.
    pub(super) fn conflicts(&self, other: &Target) -> bool {
        self.steps.iter().zip(&other.steps).all(|(left, right)| left == right)
    }

    /// Whether it is made of names alone.
    pub(super) fn is_plain(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Name(_)))
    }

    /// Its names, if it is made of names alone.
    pub(super) fn names(&self) -> Vec<String> {
        let name = |step: &Step| match step {
            Step::Name(name) => Some(name.clone()),
            _ => None,
        };
        self.steps.iter().filter_map(name).collect()
    }

    /// The concrete paths that it means in a document. `before` is the document as it was found.
    pub(super) fn places(
        &self,
        document: &Fields,
        before: &Fields,
        filters: &Filters,
        circumstances: &Circumstances<'_>,
    ) -> Result<Vec<Vec<String>>> {
        let mut places: Vec<Vec<String>> = vec![Vec::new()];
        for step in &self.steps {
            if let Step::Name(name) = step {
                places.iter_mut().for_each(|place| place.push(name.clone()));
                continue;
            }
            let mut further = Vec::new();
            for place in places {
                let names: Vec<&str> = place.iter().map(String::as_str).collect();
                let Some(Json::Array(items)) = get(document, &names) else {
                    return Err(Error::bad_request(format!("there is no array at '{}'", place.join("."))));
                };
                let index = |index: usize| [place.as_slice(), &[index.to_string()]].concat();
                match step {
                    Step::Every => further.extend((0..items.len()).map(index)),
                    Step::Filtered(name) => {
                        for (position, item) in items.iter().enumerate() {
                            if filters.hold(name, item)? {
                                further.push(index(position));
                            }
                        }
                    }
                    _ => further.push(index(matched(before, &place, circumstances)?)),
                }
                if further.len() > PLACES_MAX {
                    return Err(Error::bad_request("the path means too many places"));
                }
            }
            places = further;
        }
        Ok(places)
    }
}

fn matched(document: &Fields, array: &[String], circumstances: &Circumstances<'_>) -> Result<usize> {
    circumstances.filter.and_then(|filter| filter.matched_index(document, array)).ok_or_else(|| {
        Error::bad_request(format!("the filter finds no element of '{}' that $ could mean", array.join(".")))
            .with_hint("the filter must have a condition on the elements of the array")
    })
}
