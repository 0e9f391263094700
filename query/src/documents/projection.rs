//! Which fields of a document are answered.

use common::{Error, Result};
use serde_json::{Map, Value as Json};

use super::filter::segments;

/// Fields to keep or to leave out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Projection {
    fields: Vec<String>,
    keep: bool,
    id: bool,
}

impl Projection {
    /// Reads a projection: `{"a":1,"b.c":1}` keeps, `{"a":0}` leaves out; `_id` may be said apart. A list of
    /// names keeps.
    pub(crate) fn of(json: Option<&Json>) -> Result<Option<Projection>> {
        let mut projection = Projection { fields: Vec::new(), keep: false, id: true };
        let given: Vec<(&str, bool)> = match json {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::Array(names)) => names
                .iter()
                .map(|name| name.as_str().map(|name| (name, true)))
                .collect::<Option<_>>()
                .ok_or_else(wrong)?,
            Some(Json::Object(fields)) => {
                fields.iter().map(|(name, flag)| Ok((name.as_str(), kept(flag)?))).collect::<Result<_>>()?
            }
            Some(_) => return Err(wrong()),
        };
        if given.is_empty() {
            return Ok(None);
        }
        let mut kept_fields = None;
        for (name, flag) in given {
            if name == "_id" {
                projection.id = flag;
                continue;
            }
            segments(name)?;
            if kept_fields.is_some_and(|other| other != flag) {
                return Err(Error::bad_request("a projection either keeps fields or leaves them out"));
            }
            kept_fields = Some(flag);
            projection.fields.push(name.to_owned());
        }
        projection.keep = kept_fields.unwrap_or(projection.id && json.is_some_and(Json::is_object));
        Ok(Some(projection))
    }

    /// The document with the fields that are wanted.
    pub(crate) fn apply(&self, document: Map<String, Json>) -> Map<String, Json> {
        let id = document.get("_id").cloned().filter(|_| self.id);
        let mut result = if self.keep { Map::new() } else { document.clone() };
        if self.keep {
            result.extend(id.map(|id| ("_id".to_owned(), id)));
        } else if !self.id {
            result.shift_remove("_id");
        }
        for field in &self.fields {
            let names: Vec<&str> = field.split('.').collect();
            if self.keep {
                copy(&document, &mut result, &names);
            } else {
                remove(&mut result, &names);
            }
        }
        result
    }
}

fn wrong() -> Error {
    Error::bad_request("projection must be an object of 1 and 0, or a list of names")
}

fn kept(flag: &Json) -> Result<bool> {
    match flag {
        Json::Bool(flag) => Ok(*flag),
        Json::Number(number) if number.as_i64() == Some(1) => Ok(true),
        Json::Number(number) if number.as_i64() == Some(0) => Ok(false),
        _ => Err(wrong()),
    }
}

fn copy(from: &Map<String, Json>, to: &mut Map<String, Json>, names: &[&str]) {
    let Some((first, rest)) = names.split_first() else { return };
    match (from.get(*first), rest) {
        (Some(value), []) => {
            to.insert((*first).to_owned(), value.clone());
        }
        (Some(Json::Object(inner)), rest) => {
            let place = to.entry((*first).to_owned()).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(place) = place {
                copy(inner, place, rest);
            }
        }
        _ => {}
    }
}

fn remove(fields: &mut Map<String, Json>, names: &[&str]) {
    let Some((first, rest)) = names.split_first() else { return };
    if rest.is_empty() {
        fields.shift_remove(*first);
    } else if let Some(Json::Object(inner)) = fields.get_mut(*first) {
        remove(inner, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn projected(projection: Json) -> Json {
        let Json::Object(document) = json!({"_id": 1, "a": {"b": 2, "c": 3}, "d": 4}) else { panic!() };
        let projection = Projection::of(Some(&projection)).unwrap().unwrap();
        Json::Object(projection.apply(document))
    }

    #[test]
    fn fields_are_kept_or_left_out() {
        assert_eq!(projected(json!({"a.b": 1})), json!({"_id": 1, "a": {"b": 2}}));
        assert_eq!(projected(json!({"a.b": 0})), json!({"_id": 1, "a": {"c": 3}, "d": 4}));
        assert_eq!(projected(json!({"d": 1, "_id": 0})), json!({"d": 4}));
        assert_eq!(projected(json!({"_id": 0})), json!({"a": {"b": 2, "c": 3}, "d": 4}));
        assert_eq!(projected(json!({"_id": 1})), json!({"_id": 1}));
        assert_eq!(projected(json!(["d"])), json!({"_id": 1, "d": 4}));
        assert!(Projection::of(Some(&json!({"a": 1, "b": 0}))).is_err());
    }
}
