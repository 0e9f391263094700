//! Filters: which documents a request is about. `parse` reads MongoDB's query language, this file says
//! what a filter means, `pushed` what of it partitions can decide.

pub(crate) mod parse;
pub(crate) mod path;
pub(crate) mod pattern;
pub(crate) mod pushed;
pub(crate) mod text;

use std::cmp::Ordering;

use common::Result;
use serde_json::Value as Json;

use self::path::{FieldPath, Leaf};
use self::pattern::Pattern;
use super::expression::{Expression, Scope};
use super::value::number::Numeric;
use super::value::order::{compare, equal, same_type};
use super::value::{Fields, Typed, as_object, is_truthy};

/// A condition on documents.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    /// All of them hold; without any it holds for every document.
    All(Vec<Filter>),
    /// One of them holds.
    Any(Vec<Filter>),
    Not(Box<Filter>),
    /// A value that the path leads to passes the test.
    Field(FieldPath, Test),
    /// The expression is true.
    Expression(Box<Expression>),
}

/// A test of a value.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// It equals one of these, or fits one of the patterns. A missing value equals null.
    Among(Vec<Json>),
    /// It is of the operand's type and on one side of it.
    Compare(Side, Json),
    Exists,
    /// Its type has one of these names.
    Type(Vec<&'static str>),
    Fits(Pattern),
    /// Divided by the first number it leaves the second.
    Modulo(i64, i64),
    /// It is an array of so many elements.
    Size(u64),
    /// It is an array with an element that passes all of these.
    Element(Vec<Test>),
    /// It is an array with an object for which the filter holds.
    ElementObject(Box<Filter>),
    /// It does not pass all of these.
    Not(Vec<Test>),
}

/// On which side of an operand a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Side {
    /// Whether an order of value and operand is on this side.
    pub(crate) fn has(self, order: Ordering) -> bool {
        match self {
            Side::Less => order == Ordering::Less,
            Side::LessOrEqual => order != Ordering::Greater,
            Side::Greater => order == Ordering::Greater,
            Side::GreaterOrEqual => order != Ordering::Less,
        }
    }

    fn allows_equal(self) -> bool {
        self.has(Ordering::Equal)
    }
}

impl Filter {
    /// Whether it can hold for one document only, of which it names the id.
    pub(crate) fn names_one_id(&self) -> bool {
        match self {
            Filter::All(parts) => parts.iter().any(Filter::names_one_id),
            Filter::Field(path, Test::Among(values)) => path.text == "_id" && values.len() == 1,
            _ => false,
        }
    }

    /// Whether it holds for a document.
    ///
    /// # Errors
    /// An expression cannot be computed for the document.
    pub(crate) fn matches(&self, document: &Fields) -> Result<bool> {
        self.matches_in(&Scope::of_document(document))
    }

    /// The same, where expressions may name variables.
    pub(crate) fn matches_in(&self, scope: &Scope<'_>) -> Result<bool> {
        match self {
            Filter::All(parts) => {
                for part in parts {
                    if !part.matches_in(scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Any(parts) => {
                for part in parts {
                    if part.matches_in(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Filter::Not(part) => part.matches_in(scope).map(|holds| !holds),
            Filter::Field(path, test) => {
                Ok(path.find(scope.document, test.leaf(), &mut |value| test.holds(value)).is_some())
            }
            Filter::Expression(expression) => {
                expression.evaluate(scope).map(|value| is_truthy(value.as_ref()))
            }
        }
    }

    /// Whether it has expressions.
    pub(crate) fn has_expressions(&self) -> bool {
        match self {
            Filter::All(parts) | Filter::Any(parts) => parts.iter().any(Filter::has_expressions),
            Filter::Not(part) => part.has_expressions(),
            Filter::Field(..) => false,
            Filter::Expression(_) => true,
        }
    }

    /// The index in the array at `array` of an element because of which the filter holds.
    pub(crate) fn matched_index(&self, document: &Fields, array: &[String]) -> Option<usize> {
        match self {
            Filter::All(parts) => parts.iter().find_map(|part| part.matched_index(document, array)),
            Filter::Any(parts) => parts
                .iter()
                .filter(|part| part.matches(document) == Ok(true))
                .find_map(|part| part.matched_index(document, array)),
            Filter::Field(path, test) => {
                let concerns = path.names.iter().zip(array).all(|(name, other)| name == other);
                if !concerns {
                    return None;
                }
                let mut within = None;
                let found = path.find(document, test.leaf(), &mut |value| {
                    within = value.and_then(|value| test.element(value));
                    test.holds(value)
                })?;
                found.index.or(within)
            }
            Filter::Not(_) | Filter::Expression(_) => None,
        }
    }
}

impl Test {
    /// What of an array is tested.
    pub(crate) fn leaf(&self) -> Leaf {
        match self {
            Test::Exists | Test::Size(_) | Test::Element(_) | Test::ElementObject(_) => Leaf::Whole,
            _ => Leaf::Elements,
        }
    }

    /// Whether a value passes.
    pub(crate) fn holds(&self, value: Option<&Json>) -> bool {
        match self {
            Test::Among(values) => {
                values.iter().any(|wanted| value.map_or(wanted.is_null(), |value| equal(value, wanted)))
            }
            Test::Compare(side, operand) => match value {
                None => operand.is_null() && side.allows_equal(),
                Some(value) => same_type(value, operand) && side.has(compare(value, operand)),
            },
            Test::Exists => value.is_some(),
            Test::Type(names) => value.is_some_and(|value| {
                let name = Typed::of(value).name();
                let is_number = ["int", "long", "double", "decimal"].contains(&name);
                names.iter().any(|wanted| *wanted == name || (is_number && *wanted == "number"))
            }),
            Test::Fits(pattern) => matches!(value, Some(Json::String(text)) if pattern.fits(text)),
            Test::Modulo(divisor, remainder) => match value.map(Typed::of) {
                Some(Typed::Number(number)) => is_congruent(&number, *divisor, *remainder),
                _ => false,
            },
            Test::Size(wanted) => matches!(value, Some(Json::Array(items)) if items.len() as u64 == *wanted),
            Test::Element(_) | Test::ElementObject(_) => {
                value.is_some_and(|value| self.element(value).is_some())
            }
            Test::Not(tests) => !tests.iter().all(|test| test.holds(value)),
        }
    }

    /// Whether an element passes, or one of its own elements if it is an array.
    pub(crate) fn holds_of(&self, item: &Json) -> bool {
        let within = |items: &Vec<Json>| items.iter().any(|item| self.holds(Some(item)));
        match (self, item) {
            (Test::Not(tests), item) => !tests.iter().all(|test| test.holds_of(item)),
            (test, Json::Array(items)) if test.leaf() == Leaf::Elements => {
                within(items) || self.holds(Some(item))
            }
            (_, item) => self.holds(Some(item)),
        }
    }

    /// The first element of an array that passes, for tests of elements.
    fn element(&self, value: &Json) -> Option<usize> {
        let Json::Array(items) = value else { return None };
        match self {
            Test::Element(tests) => {
                items.iter().position(|item| tests.iter().all(|test| test.holds(Some(item))))
            }
            Test::ElementObject(filter) => items
                .iter()
                .position(|item| as_object(item).is_some_and(|fields| filter.matches(fields) == Ok(true))),
            _ => None,
        }
    }
}

fn is_congruent(number: &Numeric, divisor: i64, remainder: i64) -> bool {
    number.truncated().is_some_and(|number| number.wrapping_rem(divisor) == remainder)
}
