//! Dotted paths, and the values that they lead to in a document.
//!
//! A path leads through the objects of an array to a value in each of them, and by a number to one element
//! (<https://www.mongodb.com/docs/manual/tutorial/query-array-of-documents/>). An array in an array is entered by
//! numbers alone.

use common::Result;
use serde_json::Value as Json;

use crate::documents::place::Place;
use crate::documents::value::{Fields, as_object};

/// Most names of a path.
const NAMES_MAX: usize = 100;

/// A dotted path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath {
    /// As written.
    pub(crate) text: String,
    /// Its names, at least one, none of them empty.
    pub(crate) names: Vec<String>,
}

/// What a path that ends at an array leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Each element, and then the array itself.
    Elements,
    /// The array itself.
    Whole,
}

/// A value that passed a test: where it lies, if that is in an array, by the index in the outermost one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) index: Option<usize>,
}

/// A test of a value; `None` where a field is missing.
pub(crate) type ValueTest<'t> = dyn FnMut(Option<&Json>) -> bool + 't;

impl FieldPath {
    /// Reads a path.
    pub(crate) fn parse(text: &str, place: &Place<'_>) -> Result<FieldPath> {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            return Err(place.wrong(format!("'{text}' is not the path of a field")));
        }
        if let Some(name) = names.iter().find(|name| name.starts_with('$') || name.contains('\0')) {
            return Err(place.wrong(format!("'{name}' is not the name of a field")));
        }
        if names.len() > NAMES_MAX {
            return Err(place.wrong(format!("the path has more than {NAMES_MAX} names")));
        }
        Ok(FieldPath { text: text.to_owned(), names })
    }

    /// The first of the values that the path leads to which passes a test.
    pub(crate) fn find(&self, document: &Fields, leaf: Leaf, test: &mut ValueTest<'_>) -> Option<Found> {
        Walk { leaf, test, index: None }.object(document, &self.names)
    }

    /// All values that the path leads to.
    pub(crate) fn values<'a>(&self, document: &'a Fields, leaf: Leaf) -> Vec<Option<&'a Json>> {
        let mut values = Vec::new();
        collect_object(document, &self.names, leaf, &mut values);
        values
    }
}

/// Whether a name is the index of an element.
pub(crate) fn index_of(name: &str) -> Option<usize> {
    let is_index = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    // `01` is no index, as it is not how an index is written.
    (is_index && (name == "0" || !name.starts_with('0'))).then(|| name.parse().ok()).flatten()
}

struct Walk<'w, 't> {
    leaf: Leaf,
    test: &'w mut ValueTest<'t>,
    index: Option<usize>,
}

impl Walk<'_, '_> {
    fn ask(&mut self, value: Option<&Json>) -> Option<Found> {
        (self.test)(value).then_some(Found { index: self.index })
    }

    fn object(&mut self, fields: &Fields, names: &[String]) -> Option<Found> {
        let (first, rest) = names.split_first()?;
        match fields.get(first) {
            None => self.ask(None),
            Some(value) if rest.is_empty() => self.end(value),
            Some(Json::Array(items)) => self.array(items, rest),
            Some(value) => match as_object(value) {
                Some(inner) => self.object(inner, rest),
                None => self.ask(None),
            },
        }
    }

    fn end(&mut self, value: &Json) -> Option<Found> {
        if let (Leaf::Elements, Json::Array(items)) = (self.leaf, value) {
            for (index, item) in items.iter().enumerate() {
                if let Some(found) = self.within(index, |walk| walk.ask(Some(item))) {
                    return Some(found);
                }
            }
        }
        self.ask(Some(value))
    }

    fn array(&mut self, items: &[Json], names: &[String]) -> Option<Found> {
        let (first, rest) = names.split_first()?;
        let wanted = index_of(first);
        for (index, item) in items.iter().enumerate() {
            let inner = as_object(item);
            let by_name = inner.and_then(|inner| self.within(index, |walk| walk.object(inner, names)));
            if by_name.is_some() {
                return by_name;
            }
            if wanted == Some(index) {
                let by_index = self.within(index, |walk| match (item, inner, rest.is_empty()) {
                    (_, _, true) => walk.ask(Some(item)),
                    (_, Some(inner), false) => walk.object(inner, rest),
                    (Json::Array(nested), _, false) => walk.array(nested, rest),
                    _ => None,
                });
                if by_index.is_some() {
                    return by_index;
                }
            }
        }
        None
    }

    /// Goes on in an element; the outermost array's index is the one that is told.
    fn within(&mut self, index: usize, go_on: impl FnOnce(&mut Self) -> Option<Found>) -> Option<Found> {
        let outer = self.index;
        self.index = outer.or(Some(index));
        let found = go_on(self);
        self.index = outer;
        found
    }
}

fn collect_object<'a>(fields: &'a Fields, names: &[String], leaf: Leaf, values: &mut Vec<Option<&'a Json>>) {
    let Some((first, rest)) = names.split_first() else { return };
    match fields.get(first) {
        None => values.push(None),
        Some(Json::Array(items)) if rest.is_empty() && leaf == Leaf::Elements => {
            values.extend(items.iter().map(Some))
        }
        Some(value) if rest.is_empty() => values.push(Some(value)),
        Some(Json::Array(items)) => collect_array(items, rest, leaf, values),
        Some(value) => match as_object(value) {
            Some(inner) => collect_object(inner, rest, leaf, values),
            None => values.push(None),
        },
    }
}

fn collect_array<'a>(items: &'a [Json], names: &[String], leaf: Leaf, values: &mut Vec<Option<&'a Json>>) {
    let Some((first, rest)) = names.split_first() else { return };
    // Where an index stands, it means the element, not a field of that name in all of them.
    if let Some(index) = index_of(first) {
        let Some(item) = items.get(index) else { return };
        match (item, rest.is_empty()) {
            (Json::Array(inner), true) if leaf == Leaf::Elements => values.extend(inner.iter().map(Some)),
            (_, true) => values.push(Some(item)),
            (Json::Array(inner), false) => collect_array(inner, rest, leaf, values),
            (_, false) => {
                if let Some(inner) = as_object(item) {
                    collect_object(inner, rest, leaf, values);
                }
            }
        }
        return;
    }
    for inner in items.iter().filter_map(as_object) {
        collect_object(inner, names, leaf, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(document: Json, path: &str, leaf: Leaf) -> Vec<Json> {
        let Json::Object(document) = document else { panic!() };
        let mut seen = Vec::new();
        let path = FieldPath::parse(path, &Place::root("filter")).unwrap();
        path.find(&document, leaf, &mut |value| {
            seen.push(value.cloned().unwrap_or(json!("missing")));
            false
        });
        seen
    }

    #[test]
    fn paths_lead_through_arrays() {
        let document = json!({"a": [{"b": 1}, {"b": [2, 3]}, 4, {}], "c": {"d": 5}, "e": [[6, 7], {"1": 8}]});
        let all = |path: &str| seen(document.clone(), path, Leaf::Elements);
        assert_eq!(all("a.b"), [json!(1), json!(2), json!(3), json!([2, 3]), json!("missing")]);
        assert_eq!(seen(document.clone(), "a.b", Leaf::Whole), [json!(1), json!([2, 3]), json!("missing")]);
        assert_eq!(all("c.d"), [json!(5)]);
        assert_eq!(all("c.d.x"), [json!("missing")]);
        assert_eq!(all("e.0"), [json!([6, 7]), json!("missing")]);
        assert_eq!(all("e.0.1"), [json!(7), json!("missing")]);
        assert_eq!(all("e.1"), [json!(8), json!({"1": 8})]);
        assert_eq!(all("gone"), [json!("missing")]);
        assert!(seen(json!({"a": [1, 2]}), "a.b", Leaf::Elements).is_empty());
    }

    #[test]
    fn the_outermost_index_is_told() {
        let Json::Object(document) = json!({"a": [{"b": [1]}, {"b": [2, 3]}]}) else { panic!() };
        let path = FieldPath::parse("a.b", &Place::root("filter")).unwrap();
        let found = path.find(&document, Leaf::Elements, &mut |value| value == Some(&json!(3)));
        assert_eq!(found, Some(Found { index: Some(1) }));
        for bad in ["", "a.", ".a", "a..b", "$a", "a.$b"] {
            assert!(FieldPath::parse(bad, &Place::root("filter")).is_err(), "{bad}");
        }
    }
}
