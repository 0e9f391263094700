//! Reads filters (<https://www.mongodb.com/docs/manual/reference/operator/query/>).

use common::json::kind_of;
use common::{Error, Result};
use serde_json::Value as Json;

use super::path::FieldPath;
use super::pattern::Pattern;
use super::{Filter, Side, Test, text};
use crate::documents::expression::Expression;
use crate::documents::place::Place;
use crate::documents::value::number::Numeric;
use crate::documents::value::{Fields, Typed, extended};

/// Most tests of a filter.
const TESTS_MAX: usize = 100_000;

/// The filter of a request: an object, or a text in the filter expression language. Absent and null stand for all
/// documents.
pub(crate) fn filter(json: Option<&Json>, place: &Place<'_>) -> Result<Filter> {
    match json {
        None | Some(Json::Null) => Ok(Filter::All(Vec::new())),
        Some(Json::Object(fields)) => object(fields, place),
        Some(Json::String(expression)) => text::parse(expression, place),
        Some(other) => Err(place.wrong(format!("a filter is an object or a text, not {}", kind_of(other)))),
    }
}

/// The filter that an object is.
pub(crate) fn object(fields: &Fields, place: &Place<'_>) -> Result<Filter> {
    place.check_depth()?;
    let mut parts = Vec::with_capacity(fields.len());
    for (name, operand) in fields {
        let place = place.field(name);
        match name.as_str() {
            "$and" => parts.extend(list(operand, &place)?),
            "$or" => parts.push(Filter::Any(list(operand, &place)?)),
            "$nor" => parts.push(Filter::Not(Box::new(Filter::Any(list(operand, &place)?)))),
            "$expr" => parts.push(Filter::Expression(Box::new(Expression::parse(operand, &place)?))),
            "$comment" => {}
            operator if operator.starts_with('$') => return Err(unknown(operator, &place)),
            field => {
                let path = FieldPath::parse(field, &place)?;
                parts.extend(tests_of(operand, &place)?.into_iter().map(|test| of_field(&path, test)));
            }
        }
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::All(parts) })
}

/// That a path leads to a value which passes; a negated test asks that it leads to none.
fn of_field(path: &FieldPath, test: Test) -> Filter {
    match test {
        Test::Not(tests) => {
            let parts = tests.into_iter().map(|test| of_field(path, test)).collect();
            Filter::Not(Box::new(Filter::All(parts)))
        }
        test => Filter::Field(path.clone(), test),
    }
}

fn list(operand: &Json, place: &Place<'_>) -> Result<Vec<Filter>> {
    let Json::Array(parts) = operand else {
        return Err(place.wrong(format!("a list of filters is wanted, not {}", kind_of(operand))));
    };
    if parts.is_empty() {
        return Err(place.wrong("the list needs at least one filter"));
    }
    parts
        .iter()
        .enumerate()
        .map(|(index, part)| match part {
            Json::Object(fields) => object(fields, &place.item(index)),
            other => Err(place.item(index).wrong(format!("a filter is an object, not {}", kind_of(other)))),
        })
        .collect()
}

/// Whether an object holds operators rather than fields.
pub(crate) fn is_operators(operand: &Json) -> Option<&Fields> {
    let fields = operand.as_object()?;
    let begins = fields.keys().next().is_some_and(|name| name.starts_with('$'));
    (begins && !extended::is_value(fields)).then_some(fields)
}

/// What is asked of a value: operators, or a value that it equals.
pub(crate) fn tests_of(operand: &Json, place: &Place<'_>) -> Result<Vec<Test>> {
    match is_operators(operand) {
        Some(operators) => tests(operators, place),
        None => Ok(vec![Test::Among(vec![extended::normal(operand.clone(), place)?])]),
    }
}

fn tests(operators: &Fields, place: &Place<'_>) -> Result<Vec<Test>> {
    place.check_depth()?;
    let mut found = Vec::with_capacity(operators.len());
    for (operator, operand) in operators {
        let place = place.field(operator);
        let value = || extended::normal(operand.clone(), &place);
        let test = match operator.as_str() {
            "$eq" => Test::Among(vec![value()?]),
            "$ne" => Test::Not(vec![Test::Among(vec![value()?])]),
            "$gt" => Test::Compare(Side::Greater, value()?),
            "$gte" => Test::Compare(Side::GreaterOrEqual, value()?),
            "$lt" => Test::Compare(Side::Less, value()?),
            "$lte" => Test::Compare(Side::LessOrEqual, value()?),
            "$in" => Test::Among(values(operand, &place)?),
            "$nin" => Test::Not(vec![Test::Among(values(operand, &place)?)]),
            "$exists" => {
                if flag(operand, &place)? {
                    Test::Exists
                } else {
                    Test::Not(vec![Test::Exists])
                }
            }
            "$type" => Test::Type(types(operand, &place)?),
            "$regex" => Test::Fits(pattern(operand, operators.get("$options"), &place)?),
            "$options" if operators.contains_key("$regex") => continue,
            "$options" => return Err(place.wrong("$options needs a $regex beside it")),
            "$mod" => modulo(operand, &place)?,
            "$size" => {
                match operand.as_u64().or_else(|| whole(operand).and_then(|size| u64::try_from(size).ok())) {
                    Some(size) => Test::Size(size),
                    None => return Err(place.wrong("$size needs a whole number of at least 0")),
                }
            }
            "$all" => {
                found.extend(all(operand, &place)?);
                continue;
            }
            "$elemMatch" => element(operand, &place)?,
            "$not" => match is_operators(operand) {
                Some(inner) => Test::Not(tests(inner, &place)?),
                None => return Err(place.wrong("$not needs an object of operators")),
            },
            other => return Err(unknown(other, &place)),
        };
        found.push(test);
    }
    Ok(found)
}

fn values(operand: &Json, place: &Place<'_>) -> Result<Vec<Json>> {
    let Json::Array(items) = operand else {
        return Err(place.wrong(format!("a list of values is wanted, not {}", kind_of(operand))));
    };
    if items.len() > TESTS_MAX {
        return Err(place.wrong(format!("the list has more than {TESTS_MAX} values")));
    }
    items.iter().enumerate().map(|(index, item)| extended::normal(item.clone(), &place.item(index))).collect()
}

fn flag(operand: &Json, place: &Place<'_>) -> Result<bool> {
    match operand {
        Json::Bool(flag) => Ok(*flag),
        Json::Number(number) if number.as_f64() == Some(1.0) => Ok(true),
        Json::Number(number) if number.as_f64() == Some(0.0) => Ok(false),
        other => Err(place.wrong(format!("true or false is wanted, not {}", kind_of(other)))),
    }
}

fn whole(operand: &Json) -> Option<i64> {
    match Typed::of(operand) {
        Typed::Number(number) => number.whole(),
        _ => None,
    }
}

/// Types by number and name (<https://www.mongodb.com/docs/manual/reference/bson-types/>).
const TYPES: [(i64, &str); 13] = [
    (1, "double"),
    (2, "string"),
    (3, "object"),
    (4, "array"),
    (5, "binData"),
    (7, "objectId"),
    (8, "bool"),
    (9, "date"),
    (10, "null"),
    (16, "int"),
    (18, "long"),
    (19, "decimal"),
    (i64::MAX, "number"),
];

fn types(operand: &Json, place: &Place<'_>) -> Result<Vec<&'static str>> {
    let one = |operand: &Json, place: &Place<'_>| -> Result<&'static str> {
        let known = TYPES.iter().find(|(number, name)| match operand {
            Json::String(text) => text == name,
            Json::Number(_) => whole(operand) == Some(*number),
            _ => false,
        });
        known
            .map(|(_, name)| *name)
            .ok_or_else(|| place.wrong(format!("{operand} is no type of a document's value")))
    };
    match operand {
        Json::Array(items) if items.is_empty() => Err(place.wrong("$type needs at least one type")),
        Json::Array(items) => {
            items.iter().enumerate().map(|(index, item)| one(item, &place.item(index))).collect()
        }
        other => Ok(vec![one(other, place)?]),
    }
}

fn pattern(operand: &Json, options: Option<&Json>, place: &Place<'_>) -> Result<Pattern> {
    let Json::String(pattern) = operand else {
        return Err(place.wrong(format!("a regular expression is a string, not {}", kind_of(operand))));
    };
    match options {
        None => Pattern::new(pattern, "", place),
        Some(Json::String(options)) => Pattern::new(pattern, options, place),
        Some(other) => Err(place.wrong(format!("$options is a string, not {}", kind_of(other)))),
    }
}

fn modulo(operand: &Json, place: &Place<'_>) -> Result<Test> {
    let number = |json: &Json| match Typed::of(json) {
        Typed::Number(number @ (Numeric::Integer(_) | Numeric::Real(_))) => number.truncated(),
        _ => None,
    };
    let wrong = || place.wrong("$mod needs a list of a divisor and a remainder, both numbers of 64 bits");
    let Json::Array(items) = operand else { return Err(wrong()) };
    let [divisor, remainder] = items.as_slice() else { return Err(wrong()) };
    match (number(divisor), number(remainder)) {
        (Some(0), _) => Err(place.item(0).wrong("the divisor cannot be 0")),
        (Some(divisor), Some(remainder)) => Ok(Test::Modulo(divisor, remainder)),
        _ => Err(wrong()),
    }
}

/// `$all`: every value of a list, or every `$elemMatch` of one, is found. An empty list is never found.
fn all(operand: &Json, place: &Place<'_>) -> Result<Vec<Test>> {
    let Json::Array(items) = operand else {
        return Err(place.wrong(format!("a list of values is wanted, not {}", kind_of(operand))));
    };
    if items.is_empty() {
        return Ok(vec![Test::Among(Vec::new())]);
    }
    let matcher = |item: &Json| is_operators(item).and_then(|operators| operators.get("$elemMatch").cloned());
    let matchers = items.iter().filter(|item| is_operators(item).is_some()).count();
    items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let place = place.item(index);
            match matcher(item) {
                Some(inner)
                    if matchers == items.len() && is_operators(item).is_some_and(|all| all.len() == 1) =>
                {
                    element(&inner, &place.field("$elemMatch"))
                }
                Some(_) => Err(place.wrong("$all takes either values or objects of one $elemMatch")),
                None => Ok(Test::Among(vec![extended::normal(item.clone(), &place)?])),
            }
        })
        .collect()
}

fn element(operand: &Json, place: &Place<'_>) -> Result<Test> {
    let Json::Object(fields) = operand else {
        return Err(place.wrong(format!("$elemMatch needs an object, not {}", kind_of(operand))));
    };
    if fields.contains_key("$expr") {
        return Err(place.field("$expr").wrong("$expr is about whole documents, not about elements"));
    }
    let is_filter =
        |name: &String| !name.starts_with('$') || ["$and", "$or", "$nor"].contains(&name.as_str());
    if fields.keys().next().is_none_or(is_filter) {
        return Ok(Test::ElementObject(Box::new(object(fields, place)?)));
    }
    Ok(Test::Element(tests(fields, place)?))
}

/// Operators of the query language that are understood and not offered.
const NOT_OFFERED: [&str; 17] = [
    "$where",
    "$text",
    "$jsonSchema",
    "$near",
    "$nearSphere",
    "$geoWithin",
    "$geoIntersects",
    "$bitsAllSet",
    "$bitsAnySet",
    "$bitsAllClear",
    "$bitsAnyClear",
    "$rand",
    "$sampleRate",
    "$alwaysTrue",
    "$alwaysFalse",
    "$regularExpression",
    "$timestamp",
];

fn unknown(operator: &str, place: &Place<'_>) -> Error {
    if NOT_OFFERED.contains(&operator) {
        return place
            .unsupported(format!("the operator '{operator}'"), "docs/documents.md lists what filters know");
    }
    place.wrong(format!("unknown operator '{operator}'")).with_hint(
        "$eq $ne $gt $gte $lt $lte $in $nin $and $or $nor $not $exists $type $regex $elemMatch $all $size $mod $expr",
    )
}
