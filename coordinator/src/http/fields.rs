//! The fields of a request's JSON object, taken one by one with the type that each must have.

use common::json::kind_of;
use common::{Error, Result};
use serde_json::{Map, Value as Json};

/// In objects of more fields names are hashed rather than compared.
const COMPARED_MAX: usize = 8;
/// Most requests may have no more fields.
const ASKED: usize = 16;

/// A JSON object whose fields are taken out by name. `null` means the same as absent.
#[derive(Debug, Default)]
pub struct Fields {
    left: Map<String, Json>,
    /// What was asked for, there or not: the fields that the request may have.
    asked: Vec<&'static str>,
}

impl Fields {
    /// The fields of a request's body, which must be an object.
    pub fn of(body: Json) -> Result<Fields> {
        match body {
            Json::Object(left) => Ok(Fields { left, asked: Vec::with_capacity(ASKED) }),
            other => {
                Err(Error::bad_request(format!("the body must be a JSON object, not {}", kind_of(&other))))
            }
        }
    }

    /// Takes a field as it is.
    pub fn take(&mut self, name: &'static str) -> Option<Json> {
        self.asked.push(name);
        // Most fields are not there, and objects are small: comparing is quicker than hashing.
        let is_there = self.left.len() > COMPARED_MAX || self.left.keys().any(|key| key == name);
        is_there.then(|| self.left.remove(name)).flatten().filter(|value| !value.is_null())
    }

    /// Refuses what has not been taken: a misspelt field that is ignored makes something else than was meant.
    /// Called when every field that there may be was asked for.
    pub fn done(&self) -> Result<()> {
        let Some((name, _)) = self.left.iter().find(|(_, value)| !value.is_null()) else { return Ok(()) };
        Err(Error::bad_request(format!("unknown field '{name}'"))
            .with_hint(format!("fields here are {}", self.asked.join(", "))))
    }

    /// What has not been taken.
    #[must_use]
    pub fn rest(self) -> Json {
        Json::Object(self.left)
    }

    /// Takes a text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, "a string", &other)),
        }
    }

    /// Takes a text that must be there.
    pub fn required_text(&mut self, name: &'static str) -> Result<String> {
        self.text(name)?.ok_or_else(|| missing(name))
    }

    /// Takes a truth value.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong_type(name, "true or false", &other)),
        }
    }

    /// Takes a whole number between two bounds, both allowed.
    pub fn whole(&mut self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ if value.is_number() => {
                Err(Error::bad_request(format!("'{name}' must be a whole number from {least} to {most}")))
            }
            _ => Err(wrong_type(name, "a number", &value)),
        }
    }

    /// Takes a list.
    pub fn list(&mut self, name: &'static str) -> Result<Option<Vec<Json>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong_type(name, "a list", &other)),
        }
    }
}

/// The error for a field that must be there.
#[must_use]
pub fn missing(name: &str) -> Error {
    Error::bad_request(format!("Missing required fields: '{name}'"))
}

/// The error for a field of another JSON type.
#[must_use]
pub fn wrong_type(name: &str, wanted: &str, found: &Json) -> Error {
    Error::bad_request(format!("'{name}' must be {wanted}, not {}", kind_of(found)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_of_another_type_is_named() {
        let mut fields = Fields::of(json!({"name": 5, "atomic": "yes", "n": -1, "m": 2.5, "l": {}})).unwrap();
        assert_eq!(fields.text("name").unwrap_err().message, "'name' must be a string, not a number");
        assert!(fields.flag("atomic").unwrap_err().message.contains("'atomic'"));
        assert!(fields.whole("n", 0, 9).unwrap_err().message.contains("'n'"));
        assert!(fields.whole("m", 0, 9).unwrap_err().message.contains("'m'"));
        assert!(fields.list("l").unwrap_err().message.contains("'l'"));
        assert!(Fields::of(json!([])).is_err());
    }

    #[test]
    fn a_field_that_nobody_asked_for_is_told_with_those_there_are() {
        let mut fields = Fields::of(json!({"name": "a", "partitons": 3, "note": null})).unwrap();
        fields.text("name").unwrap();
        fields.whole("partitions", 1, 9).unwrap();
        let error = fields.done().unwrap_err();
        assert_eq!(error.message, "unknown field 'partitons'");
        assert_eq!(error.hint.as_deref(), Some("fields here are name, partitions"));
        fields.take("partitons");
        fields.done().unwrap();
    }

    #[test]
    fn null_is_as_good_as_absent() {
        let mut fields = Fields::of(json!({"name": null})).unwrap();
        assert_eq!(fields.text("name").unwrap(), None);
        assert!(fields.required_text("name").is_err());
    }
}
