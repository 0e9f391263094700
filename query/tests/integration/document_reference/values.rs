//! The order of values, and what paths lead to.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::Fields;

pub fn is_date(value: &Json) -> bool {
    value.as_object().is_some_and(|fields| fields.len() == 1 && fields.contains_key("$date"))
}

fn is_decimal(value: &Json) -> bool {
    value.as_object().is_some_and(|fields| fields.len() == 1 && fields.contains_key("$numberDecimal"))
}

pub fn is_object(value: &Json) -> bool {
    value.is_object() && !is_date(value) && !is_decimal(value)
}

pub fn is_number(value: &Json) -> bool {
    value.is_number() || is_decimal(value)
}

pub fn rank(value: &Json) -> u8 {
    match value {
        Json::Null => 1,
        _ if is_number(value) => 2,
        Json::String(_) => 3,
        _ if is_date(value) => 9,
        Json::Object(_) => 4,
        Json::Array(_) => 5,
        _ => 8,
    }
}

pub fn compare(left: &Json, right: &Json) -> Ordering {
    rank(left).cmp(&rank(right)).then_with(|| match (left, right) {
        (Json::String(left), Json::String(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Json::Bool(left), Json::Bool(right)) => left.cmp(right),
        (Json::Array(left), Json::Array(right)) => {
            let pairs = left.iter().zip(right).map(|(left, right)| compare(left, right));
            pairs.fold(Ordering::Equal, Ordering::then).then(left.len().cmp(&right.len()))
        }
        _ if is_number(left) => compare_numbers(left, right),
        _ if is_date(left) => left["$date"].as_str().cmp(&right["$date"].as_str()),
        (Json::Object(left), Json::Object(right)) => {
            let mut order = Ordering::Equal;
            for ((left_name, left), (right_name, right)) in left.iter().zip(right) {
                order = order
                    .then(rank(left).cmp(&rank(right)))
                    .then(left_name.cmp(right_name))
                    .then(compare(left, right));
            }
            order.then(left.len().cmp(&right.len()))
        }
        _ => Ordering::Equal,
    })
}

/// The tests' decimals are halves and quarters, which reals hold exactly.
fn compare_numbers(left: &Json, right: &Json) -> Ordering {
    let real = |value: &Json| match value.get("$numberDecimal") {
        Some(text) => text.as_str().unwrap().parse::<f64>().unwrap(),
        None => value.as_f64().unwrap(),
    };
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(left), None) => integer_with_real(left, real(right)),
        (None, Some(right)) => integer_with_real(right, real(left)).reverse(),
        (None, None) => real(left).partial_cmp(&real(right)).unwrap(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "saturating is as good for a comparison")]
fn integer_with_real(integer: i64, real: f64) -> Ordering {
    let whole = i128::from(integer).cmp(&(real.floor() as i128));
    if whole == Ordering::Equal && real.fract() != 0.0 { Ordering::Less } else { whole }
}

pub fn equal(left: &Json, right: &Json) -> bool {
    compare(left, right) == Ordering::Equal
}

/// A value that a path leads to; nothing where a field is missing.
pub struct Lead {
    pub value: Option<Json>,
    /// Whether the elements of an array count too: not where the path names an element of an array itself.
    pub expands: bool,
}

impl Lead {
    fn to(value: Option<Json>) -> Vec<Lead> {
        vec![Lead { value, expands: true }]
    }
}

/// The values that a path leads to.
pub fn lead(value: &Json, names: &[&str]) -> Vec<Lead> {
    let Some((name, rest)) = names.split_first() else { return Lead::to(Some(value.clone())) };
    if !is_object(value) {
        return Lead::to(None);
    }
    match value.get(*name) {
        None => Lead::to(None),
        Some(Json::Array(items)) if !rest.is_empty() => through(items, rest),
        Some(inner) => lead(inner, rest),
    }
}

fn through(items: &[Json], names: &[&str]) -> Vec<Lead> {
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if is_object(item) {
            found.extend(lead(item, names));
        }
        if names[0] == index.to_string() {
            match item {
                item if names.len() == 1 => found.push(Lead { value: Some(item.clone()), expands: false }),
                Json::Array(inner) => found.extend(through(inner, &names[1..])),
                item if is_object(item) => found.extend(lead(item, &names[1..])),
                _ => {}
            }
        }
    }
    found
}

/// Puts documents in an order.
pub fn sort(documents: &mut [Fields], order: &Json) {
    let Some(order) = order.as_object() else { return };
    documents.sort_by(|left, right| {
        order.iter().fold(Ordering::Equal, |before, (path, direction)| {
            let descends = direction == -1;
            let own = compare_keys(&key(left, path, descends), &key(right, path, descends));
            before.then(if descends { own.reverse() } else { own })
        })
    });
}

/// None is an empty array.
fn key(document: &Fields, path: &str, descends: bool) -> Option<Json> {
    let names: Vec<&str> = path.split('.').collect();
    let mut keys: Vec<Option<Json>> = Vec::new();
    for value in simple(&Json::Object(document.clone()), &names) {
        match value {
            None => keys.push(Some(Json::Null)),
            Some(Json::Array(items)) if items.is_empty() => keys.push(None),
            Some(Json::Array(items)) => keys.extend(items.into_iter().map(Some)),
            value => keys.push(value),
        }
    }
    keys.sort_by(compare_keys);
    let chosen = if descends { keys.pop() } else { keys.into_iter().next() };
    chosen.unwrap_or(Some(Json::Null))
}

fn compare_keys(left: &Option<Json>, right: &Option<Json>) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => compare(left, right),
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}

/// Values where a number means the element alone.
pub fn simple(value: &Json, names: &[&str]) -> Vec<Option<Json>> {
    let Some((name, rest)) = names.split_first() else { return vec![Some(value.clone())] };
    match value {
        Json::Array(items) => match name.parse::<usize>() {
            Ok(index) => match items.get(index) {
                Some(Json::Array(_)) if !rest.is_empty() => simple(&items[index], rest),
                Some(item) if rest.is_empty() || is_object(item) => simple(item, rest),
                _ => Vec::new(),
            },
            Err(_) => {
                items.iter().filter(|item| is_object(item)).flat_map(|item| simple(item, names)).collect()
            }
        },
        value if is_object(value) => match value.get(*name) {
            None => vec![None],
            Some(inner) => simple(inner, rest),
        },
        _ => vec![None],
    }
}
