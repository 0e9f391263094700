//! Updates. An error is `None`.

use serde_json::{Map, Number, Value as Json, json};

use super::Fields;
use super::filters::holds;
use super::values::{compare, equal, is_object, lead};

/// A document changed by an update, or replaced.
pub fn updated(document: &Fields, filter: &Json, update: &Json, array_filters: &Json) -> Option<Fields> {
    let changes = update.as_object().unwrap();
    if !changes.keys().any(|name| name.starts_with('$')) {
        let id = document.get("_id").map(|id| ("_id".to_owned(), id.clone()));
        let fields = changes.iter().filter(|(name, _)| *name != "_id");
        return Some(
            id.into_iter().chain(fields.map(|(name, value)| (name.clone(), value.clone()))).collect(),
        );
    }
    let mut changed = Json::Object(document.clone());
    for (operator, fields) in changes {
        for (path, operand) in fields.as_object().unwrap() {
            for names in concrete(&changed, path, document, filter, array_filters)? {
                change(&mut changed, &names, operator, operand)?;
            }
        }
    }
    changed.as_object().cloned()
}

/// The paths that `$`, `$[]` and `$[x]` stand for.
fn concrete(
    value: &Json,
    path: &str,
    document: &Fields,
    filter: &Json,
    array_filters: &Json,
) -> Option<Vec<Vec<String>>> {
    let mut paths: Vec<Vec<String>> = vec![Vec::new()];
    for name in path.split('.') {
        if !name.starts_with('$') {
            paths.iter_mut().for_each(|path| path.push(name.to_owned()));
            continue;
        }
        let mut next = Vec::new();
        for path in paths {
            let items = get(value, &path)?.as_array()?.clone();
            let chosen: Vec<usize> = match name {
                "$" => vec![matched(document, &path, filter)?],
                "$[]" => (0..items.len()).collect(),
                _ => {
                    let of = |item: &Json| {
                        let named = Map::from_iter([("x".to_owned(), item.clone())]);
                        holds(&named, &array_filters[0])
                    };
                    (0..items.len()).filter(|index| of(&items[*index])).collect()
                }
            };
            next.extend(chosen.into_iter().map(|index| [path.clone(), vec![index.to_string()]].concat()));
        }
        paths = next;
    }
    Some(paths)
}

/// The first element by which the filter's condition on this array holds.
fn matched(document: &Fields, path: &[String], filter: &Json) -> Option<usize> {
    let array = path.join(".");
    let (field, wanted) =
        filter.as_object()?.iter().find(|(field, _)| field.split('.').next() == Some(array.as_str()))?;
    let items = document.get(&array)?.as_array()?;
    items.iter().position(|item| {
        let alone = Map::from_iter([(array.clone(), json!([item]))]);
        holds(&alone, &json!({ field.clone(): wanted }))
    })
}

fn get<'a>(value: &'a Json, names: &[String]) -> Option<&'a Json> {
    names.iter().try_fold(value, |value, name| match value {
        Json::Array(items) => items.get(name.parse::<usize>().ok()?),
        value if is_object(value) => value.get(name),
        _ => None,
    })
}

fn set(value: &mut Json, names: &[String], new: Json) -> Option<()> {
    let Some((name, rest)) = names.split_first() else {
        *value = new;
        return Some(());
    };
    match value {
        Json::Array(items) => {
            let index: usize = name.parse().ok()?;
            while items.len() <= index {
                items.push(Json::Null);
                if items.len() == index + 1 && !rest.is_empty() {
                    items[index] = json!({});
                }
            }
            set(&mut items[index], rest, new)
        }
        value if is_object(value) => {
            let fields = value.as_object_mut()?;
            if rest.is_empty() {
                fields.insert(name.clone(), new);
                return Some(());
            }
            set(fields.entry(name.clone()).or_insert(json!({})), rest, new)
        }
        _ => None,
    }
}

fn remove(value: &mut Json, names: &[String]) {
    let (last, path) = names.split_last().unwrap();
    let parent = path.iter().try_fold(value, |value, name| match value {
        Json::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
        Json::Object(fields) => fields.get_mut(name),
        _ => None,
    });
    match parent {
        Some(Json::Array(items)) => {
            if let Some(item) = last.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                *item = Json::Null;
            }
        }
        Some(parent) if is_object(parent) => drop(parent.as_object_mut().unwrap().shift_remove(last)),
        _ => {}
    }
}

fn change(value: &mut Json, names: &[String], operator: &str, operand: &Json) -> Option<()> {
    let known = get(value, names).cloned();
    match operator {
        "$set" => set(value, names, operand.clone()),
        "$unset" => {
            remove(value, names);
            Some(())
        }
        "$inc" | "$mul" => {
            let is_sum = operator == "$inc";
            let result = match known {
                None if is_sum => operand.clone(),
                None if operand.is_i64() => json!(0),
                None => json!(0.0),
                Some(known) => arithmetic(&known, operand, is_sum)?,
            };
            set(value, names, result)
        }
        "$min" if known.as_ref().is_some_and(|known| compare(operand, known).is_ge()) => Some(()),
        "$max" if known.as_ref().is_some_and(|known| compare(operand, known).is_le()) => Some(()),
        "$min" | "$max" => set(value, names, operand.clone()),
        "$rename" => {
            let Some(known) = known else { return Some(()) };
            let to = vec![operand.as_str().unwrap().to_owned()];
            remove(value, names);
            remove(value, &to);
            set(value, &to, known)
        }
        "$push" | "$addToSet" => {
            let mut items = match known {
                None => Vec::new(),
                Some(Json::Array(items)) => items,
                Some(_) => return None,
            };
            push(&mut items, operator, operand);
            set(value, names, Json::Array(items))
        }
        "$pull" | "$pullAll" | "$pop" => {
            let mut items = match known {
                None => return Some(()),
                Some(Json::Array(items)) => items,
                Some(_) => return None,
            };
            match operator {
                "$pullAll" => {
                    items.retain(|item| !operand.as_array().unwrap().iter().any(|out| equal(out, item)))
                }
                "$pull" => items.retain(|item| !pulled(item, operand)),
                _ if items.is_empty() => {}
                _ if operand == 1 => drop(items.pop()),
                _ => drop(items.remove(0)),
            }
            set(value, names, Json::Array(items))
        }
        other => panic!("{other}"),
    }
}

fn pulled(item: &Json, operand: &Json) -> bool {
    let has_operators =
        operand.as_object().is_some_and(|fields| fields.keys().any(|name| name == "$gte" || name == "$in"));
    if has_operators {
        let alone = Map::from_iter([("x".to_owned(), item.clone())]);
        return holds(&alone, &json!({ "x": operand }));
    }
    if is_object(operand) {
        return is_object(item) && holds(item.as_object().unwrap(), operand);
    }
    equal(item, operand)
}

fn arithmetic(left: &Json, right: &Json, is_sum: bool) -> Option<Json> {
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
        return if is_sum { left.checked_add(right) } else { left.checked_mul(right) }.map(Json::from);
    }
    let (left, right) = (left.as_f64()?, right.as_f64()?);
    Number::from_f64(if is_sum { left + right } else { left * right }).map(Json::Number)
}

fn push(items: &mut Vec<Json>, operator: &str, operand: &Json) {
    let each = operand.get("$each").and_then(Json::as_array);
    let values = each.cloned().unwrap_or_else(|| vec![operand.clone()]);
    if operator == "$addToSet" {
        for value in values {
            if !items.iter().any(|item| equal(item, &value)) {
                items.push(value);
            }
        }
        return;
    }
    let at = match operand.get("$position").and_then(Json::as_i64) {
        None => items.len(),
        Some(at) if at >= 0 => items.len().min(at as usize),
        Some(at) => items.len().saturating_sub(at.unsigned_abs() as usize),
    };
    for (offset, value) in values.into_iter().enumerate() {
        items.insert(at + offset, value);
    }
    match operand.get("$sort").and_then(Json::as_i64) {
        Some(1) => items.sort_by(compare),
        Some(_) => items.sort_by(|left, right| compare(right, left)),
        None => {}
    }
    match operand.get("$slice").and_then(Json::as_i64) {
        Some(slice) if slice >= 0 => items.truncate(slice as usize),
        Some(slice) => drop(items.drain(..items.len().saturating_sub(slice.unsigned_abs() as usize))),
        None => {}
    }
}

/// The values that `distinct` answers.
pub fn distinct(documents: &[Fields], path: &str) -> Vec<Json> {
    let names: Vec<&str> = path.split('.').collect();
    let mut values: Vec<Json> = Vec::new();
    for document in documents {
        for value in lead(&Json::Object(document.clone()), &names).into_iter().filter_map(|lead| lead.value) {
            match value {
                Json::Array(items) => values.extend(items),
                value => values.push(value),
            }
        }
    }
    values.sort_by(compare);
    values.dedup_by(|left, right| equal(left, right));
    values
}
