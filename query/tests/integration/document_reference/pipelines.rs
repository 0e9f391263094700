//! Pipelines, as far as the tests make them.

use serde_json::{Map, Value as Json, json};

use super::Fields;
use super::filters::holds;
use super::values::{compare, equal, sort};

pub fn run(mut documents: Vec<Fields>, pipeline: &[Json]) -> Vec<Fields> {
    for stage in pipeline {
        let (name, operand) = stage.as_object().unwrap().iter().next().unwrap();
        documents = match name.as_str() {
            "$match" => documents.into_iter().filter(|document| holds(document, operand)).collect(),
            "$sort" => {
                sort(&mut documents, operand);
                documents
            }
            "$limit" => documents.into_iter().take(operand.as_u64().unwrap() as usize).collect(),
            "$skip" => documents.into_iter().skip(operand.as_u64().unwrap() as usize).collect(),
            "$count" if documents.is_empty() => Vec::new(),
            "$count" => {
                vec![Map::from_iter([(operand.as_str().unwrap().to_owned(), json!(documents.len()))])]
            }
            "$unwind" => documents.iter().flat_map(|document| unwind(document, operand)).collect(),
            "$group" => group(&documents, operand.as_object().unwrap()),
            "$project" => documents.iter().map(|document| project(document, operand)).collect(),
            other => panic!("{other}"),
        };
    }
    documents
}

fn field<'a>(document: &'a Fields, path: &Json) -> Option<&'a Json> {
    document.get(path.as_str().unwrap().strip_prefix('$').unwrap())
}

fn unwind(document: &Fields, path: &Json) -> Vec<Fields> {
    let name = path.as_str().unwrap().strip_prefix('$').unwrap();
    let with = |value: &Json| {
        let mut copy = document.clone();
        copy.insert(name.to_owned(), value.clone());
        copy
    };
    match document.get(name) {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(items)) => items.iter().map(with).collect(),
        Some(_) => vec![document.clone()],
    }
}

fn group(documents: &[Fields], spec: &Fields) -> Vec<Fields> {
    let key = |document: &Fields| match &spec["_id"] {
        Json::Null => Json::Null,
        path => field(document, path).cloned().unwrap_or_default(),
    };
    let mut keys: Vec<Json> = Vec::new();
    for document in documents {
        if !keys.iter().any(|known| equal(known, &key(document))) {
            keys.push(key(document));
        }
    }
    keys.sort_by(compare);
    let of_key = |wanted: &Json| {
        let members: Vec<&Fields> =
            documents.iter().filter(|document| equal(&key(document), wanted)).collect();
        let mut made = Map::from_iter([("_id".to_owned(), wanted.clone())]);
        for (name, accumulator) in spec.iter().filter(|(name, _)| *name != "_id") {
            let (operator, operand) = accumulator.as_object().unwrap().iter().next().unwrap();
            made.insert(name.clone(), accumulated(&members, operator, operand));
        }
        made
    };
    keys.iter().map(of_key).collect()
}

fn accumulated(members: &[&Fields], operator: &str, operand: &Json) -> Json {
    if operand == 1 || operator == "$count" {
        return json!(members.len());
    }
    let values: Vec<&Json> = members.iter().filter_map(|member| field(member, operand)).collect();
    let numbers: Vec<&Json> = values.iter().copied().filter(|value| value.is_number()).collect();
    let real = || numbers.iter().map(|number| number.as_f64().unwrap()).sum::<f64>();
    let known = || values.iter().copied().filter(|value| !value.is_null());
    match operator {
        "$sum" if numbers.iter().all(|number| number.is_i64()) => {
            json!(numbers.iter().map(|number| number.as_i64().unwrap()).sum::<i64>())
        }
        "$sum" => json!(real()),
        "$avg" if numbers.is_empty() => Json::Null,
        "$avg" => json!(real() / numbers.len() as f64),
        "$min" => known().min_by(|left, right| compare(left, right)).cloned().unwrap_or_default(),
        "$max" => known().rev().max_by(|left, right| compare(left, right)).cloned().unwrap_or_default(),
        "$push" => json!(values),
        "$first" => members.first().and_then(|member| field(member, operand)).cloned().unwrap_or_default(),
        "$last" => members.last().and_then(|member| field(member, operand)).cloned().unwrap_or_default(),
        "$addToSet" => {
            let mut set: Vec<Json> = values.into_iter().cloned().collect();
            set.sort_by(compare);
            set.dedup_by(|right, left| equal(left, right));
            json!(set)
        }
        other => panic!("{other}"),
    }
}

/// `{"a": 1, "s": {"$add": ["$n", 1]}, "t": {"$cond": [{"$gt": ["$a", "$b"]}, "yes", "no"]}}` and the like.
fn project(document: &Fields, spec: &Json) -> Fields {
    let mut made = Fields::new();
    for (name, value) in document {
        if name == "_id" || spec.get(name) == Some(&json!(1)) {
            made.insert(name.clone(), value.clone());
        }
    }
    for (name, expression) in spec.as_object().unwrap().iter().filter(|(_, value)| value.is_object()) {
        if let Some(value) = evaluate(document, expression) {
            made.insert(name.clone(), value);
        }
    }
    made
}

fn evaluate(document: &Fields, expression: &Json) -> Option<Json> {
    let Some(fields) = expression.as_object() else {
        return match expression {
            Json::String(text) if text.starts_with('$') => field(document, expression).cloned(),
            other => Some(other.clone()),
        };
    };
    let (operator, operands) = fields.iter().next().unwrap();
    let operand = |index: usize| evaluate(document, &operands[index]);
    Some(match operator.as_str() {
        "$add" => match (operand(0), operand(1)) {
            (Some(left), Some(right)) if !left.is_null() => match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => json!(left + right),
                _ => json!(left.as_f64().unwrap() + right.as_f64().unwrap()),
            },
            _ => Json::Null,
        },
        "$cond" => return if operand(0) == Some(json!(true)) { operand(1) } else { operand(2) },
        "$gt" => json!(match (operand(0), operand(1)) {
            (Some(left), Some(right)) => compare(&left, &right).is_gt(),
            (left, right) => left.is_some() && right.is_none(),
        }),
        "$ifNull" => match operand(0) {
            None | Some(Json::Null) => return operand(1),
            Some(value) => value,
        },
        "$isArray" => json!(evaluate(document, operands).is_some_and(|value| value.is_array())),
        other => panic!("{other}"),
    })
}
