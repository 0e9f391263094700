//! Updates: operators, or a document in place of another
//! (<https://www.mongodb.com/docs/manual/reference/operator/update/>).
//!
//! `parse` reads them, `target` finds the places in a document that a path means, `operation` says what becomes
//! of the value there. A document is changed here and written under the version that was read, but for what a partition can do by
//! itself (`in_place`).

mod array;
pub(in crate::documents) mod in_place;
mod operation;
mod parse;
mod place_in_document;
mod target;

use common::Result;
use serde_json::Value as Json;

use self::operation::Operation;
pub(crate) use self::parse::Filters;
use self::target::Target;
use super::filter::{Filter, Test};
use super::place::Place;
use super::stored::RESERVED;
use super::value::Fields;

/// A change of documents.
#[derive(Clone, Debug)]
pub(crate) enum Update {
    /// Another document takes the place; the id stays.
    Replacement(Fields),
    Operators {
        changes: Vec<Change>,
        filters: Filters,
    },
    /// The fields of a patch (RFC 7396).
    Merge(Fields),
    /// Fields take the place of those of their names.
    Assignment(Fields),
}

/// An operator with its place.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    target: Target,
    operation: Operation,
}

/// What a document's change depends on beside the document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    /// The filter by which the document was found.
    pub(crate) filter: Option<&'a Filter>,
    /// Milliseconds since the Unix epoch.
    pub(crate) now: i64,
    /// Whether the document is being made.
    pub(crate) inserts: bool,
}

impl Update {
    /// The document as it is afterwards, with the metadata that it had.
    pub(crate) fn apply(&self, document: &Fields, circumstances: &Circumstances<'_>) -> Result<Fields> {
        match self {
            Update::Replacement(fields) => {
                let mut changed: Fields =
                    document.iter().filter(|(name, _)| *name == "_id").map(owned).collect();
                changed
                    .extend(fields.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())).map(owned));
                if circumstances.inserts && !changed.contains_key("_id") {
                    changed.extend(fields.iter().filter(|(name, _)| *name == "_id").map(owned));
                }
                Ok(changed)
            }
            Update::Operators { changes, filters } => {
                let mut changed = document.clone();
                for change in changes {
                    let places = change.target.places(&changed, document, filters, circumstances)?;
                    for place in places {
                        change.operation.apply(&mut changed, &place, circumstances)?;
                    }
                }
                Ok(changed)
            }
            Update::Assignment(fields) => {
                let mut changed = document.clone();
                changed.extend(fields.iter().map(owned));
                Ok(changed)
            }
            Update::Merge(patch) => {
                let mut changed = document.clone();
                merge(&mut changed, patch);
                Ok(changed)
            }
        }
    }
}

fn owned((name, value): (&String, &Json)) -> (String, Json) {
    (name.clone(), value.clone())
}

/// Whether two documents are the same but for their metadata. The order of fields counts, as it can be seen.
pub(crate) fn is_same(left: &Fields, right: &Fields) -> bool {
    let own = |fields: &Fields| -> Vec<(String, Json)> {
        fields.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())).map(owned).collect()
    };
    let text = |fields: &Fields| serde_json::to_string(&own(fields)).unwrap_or_default();
    text(left) == text(right)
}

/// RFC 7396. What Extended JSON says with an object is one value.
fn merge(target: &mut Fields, patch: &Fields) {
    for (name, value) in patch {
        match super::value::as_object(value) {
            None if value.is_null() => drop(target.shift_remove(name)),
            None => drop(target.insert(name.clone(), value.clone())),
            Some(inner) => {
                let slot = target.entry(name.clone()).or_insert(Json::Null);
                let mut object = super::value::as_object(slot).cloned().unwrap_or_default();
                merge(&mut object, inner);
                *slot = Json::Object(object);
            }
        }
    }
}

/// The document that an upsert begins with: what the filter asks for by equality.
pub(crate) fn beginning(filter: &Filter) -> Result<Fields> {
    let mut document = Fields::new();
    add_equalities(filter, &mut document)?;
    Ok(document)
}

fn add_equalities(filter: &Filter, document: &mut Fields) -> Result<()> {
    match filter {
        Filter::All(parts) => parts.iter().try_for_each(|part| add_equalities(part, document)),
        Filter::Any(parts) if parts.len() == 1 => add_equalities(&parts[0], document),
        Filter::Field(path, Test::Among(values)) if values.len() == 1 => {
            let names: Vec<&str> = path.names.iter().map(String::as_str).collect();
            if RESERVED[1..].contains(&names[0]) {
                return Ok(());
            }
            place_in_document::set(document, &names, values[0].clone())
                .map_err(|error| Place::root("filter").wrong(error.message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn updated(document: Json, update: Json, filter: Json, filters: Json) -> Result<Json> {
        let Json::Object(document) = document else { panic!() };
        let place = Place::root("update");
        let update = Update::parse(&update, Some(&filters), &place)?;
        let filter = super::super::filter::parse::filter(Some(&filter), &Place::root("filter"))?;
        let circumstances = Circumstances { filter: Some(&filter), now: 0, inserts: false };
        update.apply(&document, &circumstances).map(Json::Object)
    }

    #[test]
    fn operators_change_documents() {
        for (document, update, wanted) in [
            (
                json!({"a": {"n": 9_007_199_254_740_993_i64}, "b": 1, "t": [1, 2]}),
                json!({"$inc": {"a.n": 1, "new": 2}, "$unset": {"b": ""}, "$set": {"x.y": "z", "t.3": 5}}),
                json!({"a": {"n": 9_007_199_254_740_994_i64}, "t": [1, 2, null, 5], "new": 2, "x": {"y": "z"}}),
            ),
            (json!({"n": 2}), json!({"$mul": {"n": 2.5, "m": 3}}), json!({"n": 5.0, "m": 0})),
            (
                json!({"n": 2, "m": 2}),
                json!({"$min": {"n": 1}, "$max": {"m": "x"}}),
                json!({"n": 1, "m": "x"}),
            ),
            (json!({"a": {"b": 1}}), json!({"$rename": {"a.b": "c", "gone": "d"}}), json!({"a": {}, "c": 1})),
            (
                json!({}),
                json!({"$currentDate": {"at": true}}),
                json!({"at": {"$date": "1970-01-01T00:00:00.000Z"}}),
            ),
            (
                json!({"t": [3, 1]}),
                json!({"$push": {"t": {"$each": [2, 5], "$sort": -1, "$slice": 3}}}),
                json!({"t": [5, 3, 2]}),
            ),
            (
                json!({"t": [1]}),
                json!({"$push": {"t": {"$each": [2, 3], "$position": 0}}}),
                json!({"t": [2, 3, 1]}),
            ),
            (json!({"t": [1]}), json!({"$addToSet": {"t": {"$each": [1.0, 2, 2]}}}), json!({"t": [1, 2]})),
            (json!({"t": [1, 5, 9, "x"]}), json!({"$pull": {"t": {"$gte": 5}}}), json!({"t": [1, "x"]})),
            (
                json!({"t": [{"a": 1, "b": 2}, {"a": 2}]}),
                json!({"$pull": {"t": {"a": 1}}}),
                json!({"t": [{"a": 2}]}),
            ),
            (json!({"t": [1, 2, 1]}), json!({"$pullAll": {"t": [1]}}), json!({"t": [2]})),
            (
                json!({"t": [1, 2, 3], "u": [1]}),
                json!({"$pop": {"t": -1, "u": 1}}),
                json!({"t": [2, 3], "u": []}),
            ),
            (json!({"t": [1, 2]}), json!({"$inc": {"t.$[]": 10}}), json!({"t": [11, 12]})),
        ] {
            assert_eq!(
                updated(document, update.clone(), json!({}), json!(null)).unwrap(),
                wanted,
                "{update}"
            );
        }
    }

    #[test]
    fn positions_come_from_filters() {
        let document = json!({"g": [{"s": 80}, {"s": 90}, {"s": 95}]});
        assert_eq!(
            updated(document.clone(), json!({"$set": {"g.$.ok": true}}), json!({"g.s": 90}), json!(null))
                .unwrap(),
            json!({"g": [{"s": 80}, {"s": 90, "ok": true}, {"s": 95}]})
        );
        let matched = json!({"g": {"$elemMatch": {"s": {"$gt": 90}}}});
        assert_eq!(
            updated(document.clone(), json!({"$inc": {"g.$.s": 1}}), matched, json!(null)).unwrap(),
            json!({"g": [{"s": 80}, {"s": 90}, {"s": 96}]})
        );
        assert_eq!(
            updated(document, json!({"$set": {"g.$[x].s": 0}}), json!({}), json!([{"x.s": {"$lt": 95}}]))
                .unwrap(),
            json!({"g": [{"s": 0}, {"s": 0}, {"s": 95}]})
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (document, update) in [
            (json!({"a": "x"}), json!({"$inc": {"a": 1}})),
            (json!({"a": "x"}), json!({"$set": {"a.b": 1}})),
            (json!({"a": null}), json!({"$set": {"a.b": 1}})),
            (json!({"a": [1]}), json!({"$set": {"a.b": 1}})),
            (json!({}), json!({"$set": {"_id": 1}})),
            (json!({}), json!({"$set": {"a": 1}, "$inc": {"a.b": 1}})),
            (json!({"a": 1}), json!({"$push": {"a": 1}})),
            (json!({"a": i64::MAX}), json!({"$inc": {"a": 1}})),
            (json!({"a": [1]}), json!({"$set": {"a.$": 1}})),
            (json!({"a": [1]}), json!({"$set": {"a.$[y]": 1}})),
            (json!({}), json!({"$set": {"a": {"$gt": 1}}})),
            (json!({}), json!({"$sett": {"a": 1}})),
            (json!({}), json!({})),
        ] {
            let refused = updated(document, update.clone(), json!({}), json!(null));
            assert_eq!(refused.map_err(|error| error.code), Err(common::ErrorCode::BadRequest), "{update}");
        }
    }
}
