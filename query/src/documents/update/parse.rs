//! Reads updates.

use common::json::kind_of;
use common::{Error, Result};
use serde_json::Value as Json;

use super::array::Push;
use super::operation::{Operation, Pull};
use super::target::{Step, Target};
use super::{Change, Update};
use crate::documents::expression::ElementOrder;
use crate::documents::filter::Filter;
use crate::documents::filter::parse::{is_operators, object as parse_filter, tests_of};
use crate::documents::place::Place;
use crate::documents::stored::RESERVED;
use crate::documents::value::{Fields, Typed, as_object, extended};

/// Conditions on elements by the names that paths give them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    named: Vec<(String, Filter)>,
}

impl Filters {
    /// Reads `arrayFilters`: a list of objects, each about one name.
    fn parse(json: Option<&Json>, place: &Place<'_>) -> Result<Filters> {
        let items = match json {
            None | Some(Json::Null) => return Ok(Filters::default()),
            Some(Json::Array(items)) => items,
            Some(other) => {
                return Err(place.wrong(format!("a list of filters is wanted, not {}", kind_of(other))));
            }
        };
        let mut filters = Filters::default();
        for (index, item) in items.iter().enumerate() {
            let place = place.item(index);
            let Json::Object(fields) = item else { return Err(place.wrong("a filter is an object")) };
            let mut names = Vec::new();
            names_in(fields, &mut names);
            let [name] = names.as_slice() else {
                return Err(place.wrong("an array filter is about exactly one name"));
            };
            if filters.named.iter().any(|(known, _)| known == name) {
                return Err(place.wrong(format!("there are two array filters for '{name}'")));
            }
            filters.named.push((name.clone(), parse_filter(fields, &place)?));
        }
        Ok(filters)
    }

    /// Whether the filter of a name holds for an element.
    pub(super) fn hold(&self, name: &str, item: &Json) -> Result<bool> {
        let found = self.named.iter().find(|(known, _)| known == name);
        let (_, filter) = found.ok_or_else(|| Error::internal("an array filter is missing"))?;
        filter.matches(&Fields::from_iter([(name.to_owned(), item.clone())]))
    }
}

/// The names with which the paths of a filter begin.
fn names_in(fields: &Fields, names: &mut Vec<String>) {
    for (field, operand) in fields {
        if field.starts_with('$') {
            let parts = operand.as_array().map(Vec::as_slice).unwrap_or_default();
            parts.iter().filter_map(Json::as_object).for_each(|part| names_in(part, names));
            continue;
        }
        let name = field.split('.').next().unwrap_or_default().to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

impl Update {
    /// Reads an update with operators, or a document.
    pub(crate) fn parse(json: &Json, array_filters: Option<&Json>, place: &Place<'_>) -> Result<Update> {
        let fields = match json {
            Json::Object(fields) => fields,
            Json::Array(_) => {
                return Err(
                    place.unsupported("an update by a pipeline", "use update operators, or read and replace")
                );
            }
            other => return Err(place.wrong(format!("an update is an object, not {}", kind_of(other)))),
        };
        let filters = Filters::parse(array_filters, &Place::root("arrayFilters"))?;
        if is_operators(json).is_none() && !fields.is_empty() {
            return Ok(Update::Replacement(extended::normal_fields(fields.clone(), place)?));
        }
        let mut changes = Vec::new();
        for (operator, operand) in fields {
            operators(operator, operand, &place.field(operator), &mut changes)?;
        }
        if changes.is_empty() {
            return Err(place
                .wrong("the update is empty")
                .with_hint("{\"$set\": {…}}; PUT replaces a document"));
        }
        check_places(&changes, place)?;
        check_names(&changes, &filters, place)?;
        Ok(Update::Operators { changes, filters })
    }

    /// Reads a merge patch.
    pub(crate) fn merge(patch: Fields, place: &Place<'_>) -> Result<Update> {
        Ok(Update::Merge(extended::normal_fields(patch, place)?))
    }

    /// Whether it is made of operators.
    pub(crate) fn has_operators(&self) -> bool {
        matches!(self, Update::Operators { .. })
    }
}

fn operators(operator: &str, operand: &Json, place: &Place<'_>, changes: &mut Vec<Change>) -> Result<()> {
    if !OPERATORS.contains(&operator) {
        if operator == "$bit" {
            return Err(place.unsupported("$bit", "read the document, and write it with If-Match"));
        }
        return Err(place
            .wrong(format!("unknown update operator '{operator}'"))
            .with_hint(OPERATORS.join(" ")));
    }
    let Json::Object(fields) = operand else {
        return Err(place.wrong(format!("{operator} needs an object, not {}", kind_of(operand))));
    };
    for (path, operand) in fields {
        let place = place.field(path);
        let target = Target::parse(path, &place)?;
        let operation = operation(operator, operand, &place)?;
        let may_set_id = matches!(operation, Operation::SetOnInsert(_)) && target.first() == "_id";
        if RESERVED.contains(&target.first()) && !may_set_id {
            return Err(place.wrong(format!("{} cannot be changed", target.first())));
        }
        changes.push(Change { target, operation });
    }
    Ok(())
}

const OPERATORS: [&str; 14] = [
    "$set",
    "$unset",
    "$inc",
    "$mul",
    "$min",
    "$max",
    "$rename",
    "$setOnInsert",
    "$currentDate",
    "$push",
    "$addToSet",
    "$pull",
    "$pullAll",
    "$pop",
];

fn operation(operator: &str, operand: &Json, place: &Place<'_>) -> Result<Operation> {
    let value = || extended::normal(operand.clone(), place);
    let number = || match Typed::of(operand) {
        Typed::Number(_) => value(),
        _ => Err(place.wrong(format!("{operator} needs a number, not {}", kind_of(operand)))),
    };
    Ok(match operator {
        "$set" => Operation::Set(value()?),
        "$unset" => Operation::Unset,
        "$inc" => Operation::Increment(number()?),
        "$mul" => Operation::Multiply(number()?),
        "$min" => Operation::Minimum(value()?),
        "$max" => Operation::Maximum(value()?),
        "$rename" => rename(operand, place)?,
        "$setOnInsert" => Operation::SetOnInsert(value()?),
        "$currentDate" => match operand {
            Json::Bool(true) => Operation::CurrentDate,
            Json::Object(fields) if fields.len() == 1 && fields.get("$type") == Some(&Json::from("date")) => {
                Operation::CurrentDate
            }
            _ => return Err(place.wrong("$currentDate needs true or {\"$type\":\"date\"}")),
        },
        "$push" => Operation::Push(push(operand, place)?),
        "$addToSet" => Operation::AddToSet(match each(operand, &["$each"], place)? {
            Some(modifiers) => values(&modifiers["$each"], &place.field("$each"))?,
            None => vec![value()?],
        }),
        "$pull" => Operation::Pull(pull(operand, place)?),
        "$pullAll" => Operation::Pull(Pull::Values(values(operand, place)?)),
        _ => match operand.as_f64() {
            Some(1.0) => Operation::Pop { first: false },
            Some(-1.0) => Operation::Pop { first: true },
            _ => return Err(place.wrong("$pop needs 1 or -1")),
        },
    })
}

fn rename(operand: &Json, place: &Place<'_>) -> Result<Operation> {
    let Json::String(name) = operand else {
        return Err(place.wrong(format!("$rename needs the new path, not {}", kind_of(operand))));
    };
    let target = Target::parse(name, place)?;
    if !target.is_plain() || RESERVED.contains(&target.first()) {
        return Err(place.wrong(format!("a field cannot be renamed to '{name}'")));
    }
    Ok(Operation::Rename(target))
}

fn values(operand: &Json, place: &Place<'_>) -> Result<Vec<Json>> {
    let Json::Array(items) = operand else {
        return Err(place.wrong(format!("a list of values is wanted, not {}", kind_of(operand))));
    };
    items.iter().enumerate().map(|(index, item)| extended::normal(item.clone(), &place.item(index))).collect()
}

/// An operand with `$each` and its modifiers.
fn each<'j>(operand: &'j Json, modifiers: &[&str], place: &Place<'_>) -> Result<Option<&'j Fields>> {
    let Some(fields) = operand.as_object().filter(|fields| fields.contains_key("$each")) else {
        return Ok(None);
    };
    match fields.keys().find(|name| !modifiers.contains(&name.as_str())) {
        Some(unknown) => Err(place.field(unknown).wrong(format!("unknown modifier '{unknown}'"))),
        None => Ok(Some(fields)),
    }
}

fn push(operand: &Json, place: &Place<'_>) -> Result<Push> {
    let Some(fields) = each(operand, &["$each", "$position", "$slice", "$sort"], place)? else {
        let value = extended::normal(operand.clone(), place)?;
        return Ok(Push { values: vec![value], position: None, slice: None, order: None });
    };
    let number = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(place.field(name).wrong(format!("{name} needs an integer, not {}", kind_of(value)))),
        },
    };
    let order = match fields.get("$sort") {
        None => None,
        Some(order) => Some(ElementOrder::parse(order, &place.field("$sort"))?),
    };
    Ok(Push {
        values: values(&fields["$each"], &place.field("$each"))?,
        position: number("$position")?,
        slice: number("$slice")?,
        order,
    })
}

fn pull(operand: &Json, place: &Place<'_>) -> Result<Pull> {
    if is_operators(operand).is_some() {
        return Ok(Pull::Tests(tests_of(operand, place)?));
    }
    match as_object(operand) {
        Some(fields) => Ok(Pull::Filter(parse_filter(fields, place)?)),
        None => Ok(Pull::Values(vec![extended::normal(operand.clone(), place)?])),
    }
}

/// Two changes of one place would depend on their order.
fn check_places(changes: &[Change], place: &Place<'_>) -> Result<()> {
    let mut targets: Vec<&Target> = Vec::with_capacity(changes.len());
    for change in changes {
        let renamed = match &change.operation {
            Operation::Rename(to) => Some(to),
            _ => None,
        };
        for target in std::iter::once(&change.target).chain(renamed) {
            if targets.iter().any(|other| target.conflicts(other)) {
                return Err(
                    place.wrong(format!("two changes concern the same place in '{}'", target.first()))
                );
            }
            targets.push(target);
        }
        if renamed.is_some() && !change.target.is_plain() {
            return Err(place.wrong("$rename cannot concern elements of arrays"));
        }
    }
    Ok(())
}

/// Every name of a path has a filter, and every filter is used.
fn check_names(changes: &[Change], filters: &Filters, place: &Place<'_>) -> Result<()> {
    let mut used: Vec<&str> = Vec::new();
    for step in changes.iter().flat_map(|change| &change.target.steps) {
        if let Step::Filtered(name) = step {
            if !filters.named.iter().any(|(known, _)| known == name) {
                return Err(place.wrong(format!("there is no array filter for '{name}'")));
            }
            used.push(name);
        }
    }
    match filters.named.iter().find(|(name, _)| !used.contains(&name.as_str())) {
        Some((name, _)) => {
            Err(Place::root("arrayFilters").wrong(format!("no path uses the filter of '{name}'")))
        }
        None => Ok(()),
    }
}
