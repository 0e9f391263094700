//! Reads expressions.

use common::json::kind_of;
use common::{Error, Result};
use serde_json::{Map, Value as Json};

use super::operators::{self, Arguments};
use super::{Expression, Variable};
use crate::documents::place::Place;
use crate::documents::value::{Fields, extended};

impl Expression {
    /// Reads an expression: `"$a.b"` is a field, an object with one operator computes, everything else stands for
    /// itself.
    pub(crate) fn parse(json: &Json, place: &Place<'_>) -> Result<Expression> {
        place.check_depth()?;
        match json {
            Json::String(text) => match text.strip_prefix('$') {
                Some(path) => parse_path(path, place),
                None => Ok(Expression::Literal(json.clone())),
            },
            Json::Array(items) => {
                let items =
                    items.iter().enumerate().map(|(index, item)| Expression::parse(item, &place.item(index)));
                Ok(Expression::Array(items.collect::<Result<_>>()?))
            }
            Json::Object(fields) if extended::is_value(fields) => {
                Ok(Expression::Literal(extended::normal(json.clone(), place)?))
            }
            Json::Object(fields) => match fields.iter().next() {
                Some((operator, operand)) if operator.starts_with('$') => {
                    let place = place.field(operator);
                    if fields.len() > 1 {
                        return Err(place.wrong("an operator stands alone in its object"));
                    }
                    parse_operator(operator, operand, &place)
                }
                _ => parse_object(fields, place),
            },
            other => Ok(Expression::Literal(other.clone())),
        }
    }

    /// Reads the fields of an object.
    pub(crate) fn parse_fields(fields: &Fields, place: &Place<'_>) -> Result<Vec<(String, Expression)>> {
        let parsed = fields.iter().map(|(name, value)| {
            let place = place.field(name);
            if name.starts_with('$') || name.contains('.') || name.is_empty() {
                return Err(place.wrong(format!("'{name}' is not the name of a field")));
            }
            Ok((name.clone(), Expression::parse(value, &place)?))
        });
        parsed.collect()
    }
}

fn parse_object(fields: &Fields, place: &Place<'_>) -> Result<Expression> {
    Ok(Expression::Object(Expression::parse_fields(fields, place)?))
}

/// What stands behind the first dollar sign.
fn parse_path(path: &str, place: &Place<'_>) -> Result<Expression> {
    let (variable, names) = match path.strip_prefix('$') {
        None => (Variable::Document, Some(path)),
        Some(rest) => {
            let (name, names) = match rest.split_once('.') {
                Some((name, names)) => (name, Some(names)),
                None => (rest, None),
            };
            (known_variable(name, place)?, names)
        }
    };
    let names: Vec<String> =
        names.map(|names| names.split('.').map(str::to_owned).collect()).unwrap_or_default();
    if names.iter().any(|name| name.is_empty() || name.starts_with('$')) || names.len() > 100 {
        return Err(place.wrong(format!("'${path}' is not the path of a field")));
    }
    Ok(Expression::Path(variable, names))
}

/// A variable that the expression, or what it is part of, defines.
fn known_variable(name: &str, place: &Place<'_>) -> Result<Variable> {
    match variable(name, place)? {
        Variable::Named(name) if !place.knows(&name) => {
            Err(place.wrong(format!("the variable '$${name}' is not defined")))
        }
        known => Ok(known),
    }
}

fn variable(name: &str, place: &Place<'_>) -> Result<Variable> {
    match name {
        "ROOT" | "CURRENT" => Ok(Variable::Document),
        "NOW" => Ok(Variable::Now),
        "REMOVE" => Ok(Variable::Remove),
        name if name.starts_with(|first: char| first.is_ascii_lowercase() || !first.is_ascii()) => {
            Ok(Variable::Named(name.to_owned()))
        }
        _ => Err(place.wrong(format!("'$${name}' is not a variable"))),
    }
}

fn parse_operator(operator: &str, operand: &Json, place: &Place<'_>) -> Result<Expression> {
    let list = || -> Result<Vec<Expression>> { positional(operand, place) };
    match operator {
        "$literal" => extended::normal(operand.clone(), place).map(Expression::Literal),
        "$and" => Ok(Expression::And(list()?)),
        "$or" => Ok(Expression::Or(list()?)),
        "$ifNull" => {
            let parts = list()?;
            if parts.len() < 2 {
                Err(place.wrong("$ifNull needs at least two expressions"))
            } else {
                Ok(Expression::IfNull(parts))
            }
        }
        "$cond" => {
            let [condition, yes, no]: [Expression; 3] = match operand {
                Json::Object(_) => named(operand, &["if", "then", "else"], 3, place)?,
                _ => list()?,
            }
            .try_into()
            .map_err(|_| place.wrong("$cond needs a condition and two values"))?;
            Ok(Expression::Switch(vec![(condition, yes)], Some(Box::new(no))))
        }
        "$switch" => switch(operand, place),
        "$let" => let_variables(operand, place),
        "$filter" => {
            let fields = object(operand, &["input", "as", "cond", "limit"], place)?;
            Ok(Expression::Filter {
                input: required(fields, "input", place)?,
                name: element_name(fields, place)?,
                condition: required_with(fields, "cond", &[element_name(fields, place)?], place)?,
                limit: match fields.get("limit") {
                    Some(limit) => Some(Box::new(Expression::parse(limit, &place.field("limit"))?)),
                    None => None,
                },
            })
        }
        "$map" => {
            let fields = object(operand, &["input", "as", "in"], place)?;
            Ok(Expression::Map {
                input: required(fields, "input", place)?,
                name: element_name(fields, place)?,
                mapped: required_with(fields, "in", &[element_name(fields, place)?], place)?,
            })
        }
        "$reduce" => {
            let fields = object(operand, &["input", "initialValue", "in"], place)?;
            Ok(Expression::Reduce {
                input: required(fields, "input", place)?,
                initial: required(fields, "initialValue", place)?,
                next: required_with(fields, "in", &["this".to_owned(), "value".to_owned()], place)?,
            })
        }
        name => match operators::find(name) {
            Some(found) => {
                let arguments = match found.arguments {
                    Arguments::Positional(least, most) => {
                        let arguments = list()?;
                        if !(least..=most).contains(&arguments.len()) {
                            let wanted =
                                if least == most { least.to_string() } else { format!("{least} to {most}") };
                            return Err(place.wrong(format!(
                                "{name} takes {wanted} expressions, not {}",
                                arguments.len()
                            )));
                        }
                        arguments
                    }
                    // A list is one operand or several.
                    Arguments::Any => list()?,
                    Arguments::Named(names, needed) => named(operand, names, needed, place)?,
                    Arguments::DateAndZone => {
                        match operand.as_object().filter(|fields| fields.contains_key("date")) {
                            Some(_) => named(operand, &["date", "timezone"], 1, place)?,
                            None => list()?,
                        }
                    }
                };
                Ok(Expression::Call(found, arguments))
            }
            None => Err(place
                .wrong(format!("unknown operator '{name}'"))
                .with_hint("docs/documents.md lists them")),
        },
    }
}

/// Operands in a list, or one that stands by itself.
fn positional(operand: &Json, place: &Place<'_>) -> Result<Vec<Expression>> {
    match operand {
        Json::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| Expression::parse(item, &place.item(index)))
            .collect(),
        other => Ok(vec![Expression::parse(other, place)?]),
    }
}

/// Operands by name, in the order of `names`; those after the first `needed` may be left out.
fn named(operand: &Json, names: &[&str], needed: usize, place: &Place<'_>) -> Result<Vec<Expression>> {
    let fields = object(operand, names, place)?;
    names
        .iter()
        .enumerate()
        .map(|(index, name)| match fields.get(*name) {
            Some(value) => Expression::parse(value, &place.field(name)),
            None if index < needed => Err(missing(name, place)),
            None => Ok(Expression::Path(Variable::Remove, Vec::new())),
        })
        .collect()
}

fn object<'j>(operand: &'j Json, names: &[&str], place: &Place<'_>) -> Result<&'j Map<String, Json>> {
    let Json::Object(fields) = operand else {
        return Err(place.wrong(format!("an object is wanted, not {}", kind_of(operand))));
    };
    match fields.keys().find(|name| !names.contains(&name.as_str())) {
        Some(unknown) => Err(place.field(unknown).wrong(format!("there is no field '{unknown}' here"))),
        None => Ok(fields),
    }
}

fn missing(name: &str, place: &Place<'_>) -> Error {
    place.wrong(format!("the field '{name}' is missing"))
}

fn required(fields: &Fields, name: &str, place: &Place<'_>) -> Result<Box<Expression>> {
    let value = fields.get(name).ok_or_else(|| missing(name, place))?;
    Expression::parse(value, &place.field(name)).map(Box::new)
}

/// The same where some more variables are known.
fn required_with(
    fields: &Fields,
    name: &str,
    variables: &[String],
    place: &Place<'_>,
) -> Result<Box<Expression>> {
    required(fields, name, &place.knowing(variables))
}

/// The name of the variable for elements: `as`, or `this`.
fn element_name(fields: &Fields, place: &Place<'_>) -> Result<String> {
    match fields.get("as") {
        None => Ok("this".to_owned()),
        Some(Json::String(name)) => checked_name(name, &place.field("as")),
        Some(other) => Err(place.field("as").wrong(format!("a name is a string, not {}", kind_of(other)))),
    }
}

/// A variable's name: it begins with a small letter.
pub(crate) fn checked_name(name: &str, place: &Place<'_>) -> Result<String> {
    match variable(name, place) {
        Ok(Variable::Named(name)) if !name.contains('.') => Ok(name),
        _ => {
            Err(place
                .wrong(format!("'{name}' cannot be the name of a variable: it begins with a small letter")))
        }
    }
}

fn switch(operand: &Json, place: &Place<'_>) -> Result<Expression> {
    let fields = object(operand, &["branches", "default"], place)?;
    let Some(Json::Array(branches)) = fields.get("branches") else {
        return Err(place.wrong("$switch needs a list of branches"));
    };
    let list = place.field("branches");
    let cases = branches.iter().enumerate().map(|(index, branch)| {
        let place = list.item(index);
        let mut parts = named(branch, &["case", "then"], 2, &place)?.into_iter();
        match (parts.next(), parts.next()) {
            (Some(case), Some(then)) => Ok((case, then)),
            _ => Err(missing("then", &place)),
        }
    });
    let cases = cases.collect::<Result<Vec<_>>>()?;
    if cases.is_empty() {
        return Err(list.wrong("$switch needs at least one branch"));
    }
    let otherwise = match fields.get("default") {
        Some(value) => Some(Box::new(Expression::parse(value, &place.field("default"))?)),
        None => None,
    };
    Ok(Expression::Switch(cases, otherwise))
}

fn let_variables(operand: &Json, place: &Place<'_>) -> Result<Expression> {
    let fields = object(operand, &["vars", "in"], place)?;
    let Some(Json::Object(given)) = fields.get("vars") else {
        return Err(place.wrong("$let needs an object of variables"));
    };
    let variables = variables(given, &place.field("vars"))?;
    let names: Vec<String> = variables.iter().map(|(name, _)| name.clone()).collect();
    let inner = required_with(fields, "in", &names, place)?;
    Ok(Expression::Let(variables, inner))
}

/// Variables with the expressions of their values.
pub(crate) fn variables(given: &Fields, place: &Place<'_>) -> Result<Vec<(String, Expression)>> {
    let parsed = given.iter().map(|(name, value)| {
        let place = place.field(name);
        Ok((checked_name(name, &place)?, Expression::parse(value, &place)?))
    });
    parsed.collect()
}
