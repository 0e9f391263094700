//! Values at concrete paths of a document: names of fields and indexes of elements.

use common::{Error, Result};
use serde_json::{Map, Value as Json};

use crate::documents::filter::path::index_of;
use crate::documents::value::{Fields, as_object};

/// Most elements that an assignment may add to an array.
const PADDING_MAX: usize = 100_000;

/// The value at a path.
pub(super) fn get<'a>(fields: &'a Fields, names: &[&str]) -> Option<&'a Json> {
    let (first, rest) = names.split_first()?;
    rest.iter().try_fold(fields.get(*first)?, |value, name| match value {
        Json::Array(items) => items.get(index_of(name)?),
        other => as_object(other)?.get(*name),
    })
}

/// Puts a value at a path; objects on the way are made where nothing is.
pub(super) fn set(fields: &mut Fields, names: &[&str], value: Json) -> Result<()> {
    let Some((first, rest)) = names.split_first() else { return Err(Error::bad_request("a path is empty")) };
    if rest.is_empty() {
        fields.insert((*first).to_owned(), value);
        return Ok(());
    }
    let inner = fields.entry((*first).to_owned()).or_insert_with(|| Json::Object(Map::new()));
    set_within(inner, rest, value)
}

fn set_within(at: &mut Json, names: &[&str], value: Json) -> Result<()> {
    let Some((first, rest)) = names.split_first() else {
        *at = value;
        return Ok(());
    };
    if let Json::Array(items) = at {
        let index = index_of(first)
            .ok_or_else(|| Error::bad_request(format!("the field '{first}' cannot be made in an array")))?;
        if index >= items.len() {
            if index - items.len() > PADDING_MAX {
                return Err(Error::bad_request(format!(
                    "the index {first} is too far beyond the end of the array"
                )));
            }
            items.resize(index, Json::Null);
            items.push(if rest.is_empty() { Json::Null } else { Json::Object(Map::new()) });
        }
        return set_within(&mut items[index], rest, value);
    }
    if as_object(at).is_none() {
        return Err(Error::bad_request(format!(
            "the field '{first}' cannot be made in a value that is no object"
        )));
    }
    match at {
        Json::Object(fields) => set(fields, names, value),
        _ => Err(Error::internal("an object is none")),
    }
}

/// Removes the value at a path. An element of an array becomes null, so that the others keep their indexes.
pub(super) fn remove(fields: &mut Fields, names: &[&str]) -> Option<Json> {
    let (last, path) = names.split_last()?;
    let Some((first, rest)) = path.split_first() else { return fields.shift_remove(*last) };
    let mut at = fields.get_mut(*first)?;
    for name in rest {
        at = match at {
            Json::Array(items) => items.get_mut(index_of(name)?)?,
            Json::Object(inner) => inner.get_mut(*name)?,
            _ => return None,
        };
    }
    match at {
        Json::Array(items) => items.get_mut(index_of(last)?).map(Json::take),
        Json::Object(inner) => inner.shift_remove(*last),
        _ => None,
    }
}
