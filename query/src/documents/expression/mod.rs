//! Expressions of pipelines, projections and `$expr`
//! (<https://www.mongodb.com/docs/manual/reference/operator/aggregation/>).
//!
//! `parse` reads them, this file evaluates what is not strict in its arguments, and the other files hold the
//! operators that compute a value from values, by subject.

mod arithmetic;
mod arrays;
mod comparison;
mod conversion;
mod date_parts;
mod dates;
#[cfg(test)]
mod examples;
mod operators;
pub(crate) mod parse;
mod selections;
mod sets;
mod spread;
mod strings;
mod trigonometry;

use common::{Error, Result};
use serde_json::{Map, Value as Json};

pub(crate) use self::arithmetic::{Total, average, combined};
pub(crate) use self::arrays::{ElementOrder, sliced};
use self::operators::Operator;
pub(crate) use self::spread::Spread;
use super::value::{Fields, as_object, date, is_truthy, size};

/// Most memory of a value that an expression makes, in bytes.
const VALUE_MAX: usize = 64 << 20;

/// Something to be computed for a document. A value may be missing, which is not the same as null.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    Literal(Json),
    /// A variable and the names of fields in it.
    Path(Variable, Vec<String>),
    Object(Vec<(String, Expression)>),
    Array(Vec<Expression>),
    /// An operator on values.
    Call(&'static Operator, Vec<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    /// The first that is neither null nor missing, else the last.
    IfNull(Vec<Expression>),
    /// Cases in order and what else there is.
    Switch(Vec<(Expression, Expression)>, Option<Box<Expression>>),
    Let(Vec<(String, Expression)>, Box<Expression>),
    /// Elements for which a condition holds; at most so many.
    Filter {
        input: Box<Expression>,
        name: String,
        condition: Box<Expression>,
        limit: Option<Box<Expression>>,
    },
    Map {
        input: Box<Expression>,
        name: String,
        mapped: Box<Expression>,
    },
    Reduce {
        input: Box<Expression>,
        initial: Box<Expression>,
        next: Box<Expression>,
    },
}

/// What a path begins at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// The document, `$$ROOT` and `$$CURRENT`.
    Document,
    /// `$$NOW`.
    Now,
    /// `$$REMOVE`: nothing.
    Remove,
    /// One that the expression or the stage defines.
    Named(String),
}

/// A variable with its value, and those defined before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: Option<&'a Json>,
    pub(crate) outer: Option<&'a Binding<'a>>,
}

/// What names in an expression stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) document: &'a Fields,
    pub(crate) variables: Option<&'a Binding<'a>>,
    /// Milliseconds since the Unix epoch, where that is known.
    pub(crate) now: Option<i64>,
}

impl<'a> Scope<'a> {
    /// A document, without variables.
    pub(crate) const fn of_document(document: &'a Fields) -> Scope<'a> {
        Scope { document, variables: None, now: None }
    }

    fn find(&self, name: &str) -> Option<&'a Json> {
        let mut binding = self.variables;
        while let Some(found) = binding {
            if found.name == name {
                return found.value;
            }
            binding = found.outer;
        }
        None
    }
}

impl Expression {
    /// Its value for a document.
    pub(crate) fn evaluate(&self, scope: &Scope<'_>) -> Result<Option<Json>> {
        match self {
            Expression::Literal(value) => Ok(Some(value.clone())),
            Expression::Path(variable, names) => path(variable, names, scope),
            Expression::Object(fields) => {
                let mut object = Map::with_capacity(fields.len());
                for (name, expression) in fields {
                    if let Some(value) = expression.evaluate(scope)? {
                        object.insert(name.clone(), value);
                    }
                }
                bounded(Json::Object(object))
            }
            Expression::Array(items) => {
                let values = items.iter().map(|item| Ok(item.evaluate(scope)?.unwrap_or_default()));
                bounded(Json::Array(values.collect::<Result<_>>()?))
            }
            Expression::Call(operator, arguments) => {
                let values = arguments.iter().map(|argument| argument.evaluate(scope));
                let values = values.collect::<Result<Vec<Option<Json>>>>()?;
                let value = (operator.apply)(&values).map_err(|error| named(error, operator.name))?;
                value.map_or(Ok(None), bounded)
            }
            Expression::And(parts) => decided(parts, false, scope),
            Expression::Or(parts) => decided(parts, true, scope),
            Expression::IfNull(parts) => {
                let mut value = None;
                for part in parts {
                    value = part.evaluate(scope)?;
                    if value.as_ref().is_some_and(|value| !value.is_null()) {
                        break;
                    }
                }
                Ok(value)
            }
            Expression::Switch(cases, otherwise) => {
                for (condition, value) in cases {
                    if is_truthy(condition.evaluate(scope)?.as_ref()) {
                        return value.evaluate(scope);
                    }
                }
                match otherwise {
                    Some(otherwise) => otherwise.evaluate(scope),
                    None => Err(Error::bad_request(
                        "$switch: no case holds for a document, and there is no default",
                    )),
                }
            }
            Expression::Let(variables, inner) => {
                let values = variables.iter().map(|(name, value)| Ok((name, value.evaluate(scope)?)));
                let values = values.collect::<Result<Vec<_>>>()?;
                with_bindings(&values, scope, &mut |scope| inner.evaluate(scope))
            }
            Expression::Filter { input, name, condition, limit } => {
                let most = match limit {
                    Some(limit) => arrays::count(limit.evaluate(scope)?.as_ref(), "$filter: limit")?,
                    None => usize::MAX,
                };
                let Some(items) = items_of(input, "$filter", scope)? else { return Ok(Some(Json::Null)) };
                let mut kept = Vec::new();
                for item in items {
                    if kept.len() >= most {
                        break;
                    }
                    let holds = bound(name, &item, scope, condition)?;
                    if is_truthy(holds.as_ref()) {
                        kept.push(item);
                    }
                }
                Ok(Some(Json::Array(kept)))
            }
            Expression::Map { input, name, mapped } => {
                let Some(items) = items_of(input, "$map", scope)? else { return Ok(Some(Json::Null)) };
                let mut held = 0;
                let values = items.iter().map(|item| {
                    let value = bound(name, item, scope, mapped)?.unwrap_or_default();
                    held += size(&value);
                    if held > VALUE_MAX { Err(too_large()) } else { Ok(value) }
                });
                Ok(Some(Json::Array(values.collect::<Result<_>>()?)))
            }
            Expression::Reduce { input, initial, next } => {
                let Some(items) = items_of(input, "$reduce", scope)? else { return Ok(Some(Json::Null)) };
                let mut value = initial.evaluate(scope)?;
                for item in items {
                    let this = Binding { name: "this", value: Some(&item), outer: scope.variables };
                    let both = Binding { name: "value", value: value.as_ref(), outer: Some(&this) };
                    let following = next.evaluate(&Scope { variables: Some(&both), ..*scope })?;
                    value = following;
                }
                Ok(value)
            }
        }
    }
}

fn bounded(value: Json) -> Result<Option<Json>> {
    if matches!(value, Json::Object(_) | Json::Array(_) | Json::String(_)) && size(&value) > VALUE_MAX {
        return Err(too_large());
    }
    Ok(Some(value))
}

fn too_large() -> Error {
    Error::new(common::ErrorCode::ResultTooBig, "an expression makes a value of more than 64 MiB")
}

fn named(mut error: Error, operator: &str) -> Error {
    if !error.message.starts_with('$') {
        error.message = format!("{operator}: {}", error.message);
    }
    error
}

fn decided(parts: &[Expression], decisive: bool, scope: &Scope<'_>) -> Result<Option<Json>> {
    for part in parts {
        if is_truthy(part.evaluate(scope)?.as_ref()) == decisive {
            return Ok(Some(Json::Bool(decisive)));
        }
    }
    Ok(Some(Json::Bool(!decisive)))
}

fn bound(name: &str, item: &Json, scope: &Scope<'_>, inner: &Expression) -> Result<Option<Json>> {
    let binding = Binding { name, value: Some(item), outer: scope.variables };
    inner.evaluate(&Scope { variables: Some(&binding), ..*scope })
}

/// Evaluates with some more variables.
pub(crate) fn with_bindings<T>(
    values: &[(&String, Option<Json>)],
    scope: &Scope<'_>,
    inner: &mut dyn FnMut(&Scope<'_>) -> Result<T>,
) -> Result<T> {
    match values.split_first() {
        None => inner(scope),
        Some(((name, value), rest)) => {
            let binding = Binding { name, value: value.as_ref(), outer: scope.variables };
            with_bindings(rest, &Scope { variables: Some(&binding), ..*scope }, inner)
        }
    }
}

/// The elements that an input has; `None` for null and for nothing.
fn items_of(input: &Expression, operator: &str, scope: &Scope<'_>) -> Result<Option<Vec<Json>>> {
    match input.evaluate(scope)? {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Array(items)) => Ok(Some(items)),
        Some(_) => Err(Error::bad_request(format!("{operator}: the input is not an array"))),
    }
}

fn path(variable: &Variable, names: &[String], scope: &Scope<'_>) -> Result<Option<Json>> {
    let start = match variable {
        Variable::Document => {
            return Ok(match names.split_first() {
                None => Some(Json::Object(scope.document.clone())),
                Some((first, rest)) => scope.document.get(first).and_then(|value| within(value, rest)),
            });
        }
        Variable::Remove => return Ok(None),
        Variable::Now => {
            let now = scope.now.ok_or_else(|| {
                Error::not_supported("$$NOW is known in pipelines only", "send the time as {\"$date\":…}")
            })?;
            return Ok(Some(date(now)));
        }
        Variable::Named(name) => scope.find(name),
    };
    Ok(start.and_then(|value| within(value, names)))
}

/// The value at a path; in an array, an array of what its objects have there.
pub(crate) fn within(value: &Json, names: &[String]) -> Option<Json> {
    let Some((first, rest)) = names.split_first() else { return Some(value.clone()) };
    match value {
        Json::Array(items) => Some(Json::Array(
            // Nested arrays are entered too, each as an array of its own.
            items.iter().filter_map(|item| within(item, names)).collect(),
        )),
        other => within(as_object(other)?.get(first)?, rest),
    }
}

/// What `$slice` of a projection says: a number of elements, or a position and a number.
pub(crate) fn parse_slice(json: &Json) -> Option<(Option<i64>, i64)> {
    match json {
        Json::Array(pair) => match pair.as_slice() {
            [from, count] => Some((Some(from.as_i64()?), count.as_i64().filter(|count| *count > 0)?)),
            _ => None,
        },
        count => Some((None, count.as_i64()?)),
    }
}
