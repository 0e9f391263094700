//! Update objects: `$set`, `$unset` and `$inc` with dotted paths.

use common::{Error, Result};
use serde_json::{Map, Number, Value as Json};

use super::filter::segments;

/// Fields that belong to the store.
pub(crate) const RESERVED: [&str; 4] = ["_id", "_version", "_created_at", "_updated_at"];

/// Whether an object is an update with operators rather than a document.
pub(crate) fn has_operators(object: &Map<String, Json>) -> bool {
    object.keys().any(|key| key.starts_with('$'))
}

/// Checks an update object.
pub(crate) fn check(update: &Map<String, Json>) -> Result<()> {
    if update.is_empty() {
        return Err(Error::bad_request("the update is empty"));
    }
    for (operator, fields) in update {
        if !["$set", "$unset", "$inc"].contains(&operator.as_str()) {
            return Err(Error::bad_request(format!("unknown update operator '{operator}'"))
                .with_hint("$set, $unset or $inc"));
        }
        let Json::Object(fields) = fields else {
            return Err(Error::bad_request(format!("{operator} needs an object")));
        };
        for (field, value) in fields {
            let names = segments(field)?;
            if RESERVED.contains(&names[0]) {
                return Err(Error::bad_request(format!("{} cannot be changed", names[0])));
            }
            if operator == "$inc" && !value.is_number() {
                return Err(Error::bad_request("$inc needs numbers"));
            }
        }
    }
    Ok(())
}

/// Changes a document by an update object that was checked.
pub(crate) fn apply(document: &mut Map<String, Json>, update: &Map<String, Json>) -> Result<()> {
    for (operator, fields) in update {
        let Json::Object(fields) = fields else { continue };
        for (field, value) in fields {
            let names = segments(field)?;
            match operator.as_str() {
                "$set" => set(document, &names, value.clone())?,
                "$unset" => unset(document, &names),
                _ => increment(document, &names, value)?,
            }
        }
    }
    Ok(())
}

fn set(document: &mut Map<String, Json>, names: &[&str], value: Json) -> Result<()> {
    let slot = slot(document, names)?;
    *slot = value;
    Ok(())
}

/// The place that a path names; what is missing on the way is made.
fn slot<'a>(document: &'a mut Map<String, Json>, names: &[&str]) -> Result<&'a mut Json> {
    let (first, rest) = names.split_first().ok_or_else(|| Error::bad_request("a field has no name"))?;
    let mut place = document.entry((*first).to_owned()).or_insert(Json::Null);
    for name in rest {
        if place.is_null() {
            *place = Json::Object(Map::new());
        }
        place = match place {
            Json::Object(fields) => fields.entry((*name).to_owned()).or_insert(Json::Null),
            Json::Array(items) => name
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index))
                .ok_or_else(|| Error::bad_request(format!("the array has no element '{name}'")))?,
            _ => {
                return Err(Error::bad_request(format!(
                    "'{name}' cannot be set inside a value that is no object"
                )));
            }
        };
    }
    Ok(place)
}

fn unset(document: &mut Map<String, Json>, names: &[&str]) {
    let Some((last, path)) = names.split_last() else { return };
    let mut fields = document;
    for name in path {
        match fields.get_mut(*name) {
            Some(Json::Object(inner)) => fields = inner,
            _ => return,
        }
    }
    fields.shift_remove(*last);
}

fn increment(document: &mut Map<String, Json>, names: &[&str], by: &Json) -> Result<()> {
    let slot = slot(document, names)?;
    let sum = match &*slot {
        Json::Null => by.clone(),
        Json::Number(number) => add(number, by)?,
        _ => return Err(Error::bad_request(format!("$inc: {} is not a number", names.join(".")))),
    };
    *slot = sum;
    Ok(())
}

/// Integers are added exactly; an overflow is refused.
fn add(number: &Number, by: &Json) -> Result<Json> {
    let overflow = || Error::bad_request("$inc: the sum does not fit in a 64-bit integer");
    if let (Some(left), Some(right)) = (number.as_i64(), by.as_i64()) {
        return left.checked_add(right).map(Json::from).ok_or_else(overflow);
    }
    let sum = number.as_f64().zip(by.as_f64()).map(|(left, right)| left + right);
    sum.and_then(Number::from_f64).map(Json::Number).ok_or_else(overflow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn updated(document: Json, update: Json) -> Result<Json> {
        let (Json::Object(mut document), Json::Object(update)) = (document, update) else { panic!() };
        check(&update)?;
        apply(&mut document, &update)?;
        Ok(Json::Object(document))
    }

    #[test]
    fn operators_change_nested_fields() {
        assert_eq!(
            updated(
                json!({"a": {"n": 9_007_199_254_740_993_i64}, "b": 1, "t": [1, 2]}),
                json!({"$inc": {"a.n": 1, "new": 2}, "$unset": {"b": ""}, "$set": {"x.y": "z", "t.1": 5}})
            )
            .unwrap(),
            json!({"a": {"n": 9_007_199_254_740_994_i64}, "t": [1, 5], "new": 2, "x": {"y": "z"}})
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (document, update) in [
            (json!({"a": "x"}), json!({"$inc": {"a": 1}})),
            (json!({"a": "x"}), json!({"$set": {"a.b": 1}})),
            (json!({}), json!({"$set": {"_id": 1}})),
            (json!({}), json!({"$push": {"a": 1}})),
            (json!({"a": i64::MAX}), json!({"$inc": {"a": 1}})),
        ] {
            assert!(updated(document, update).is_err());
        }
    }
}
