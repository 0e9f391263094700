//! Reads pipelines.

use common::json::kind_of;
use std::cmp::Ordering;

use common::names::check_database_name;
use common::{Error, Result};
use serde_json::{Value as Json, json};

use super::accumulator::Kind;
use super::group::{Group, GroupKey};
use super::stage::{Lookup, Stage, Unwind};
use crate::documents::expression::{Expression, parse::variables};
use crate::documents::filter::parse::object as parse_filter;
use crate::documents::filter::path::FieldPath;
use crate::documents::find::projection::{Of, Projection};
use crate::documents::find::sort::Order;
use crate::documents::place::Place;
use crate::documents::value::order::{compare, same_type};
use crate::documents::value::{Fields, extended};

/// Most stages of a pipeline.
const STAGES_MAX: usize = 1_000;
/// Deepest nesting of pipelines.
const NESTING_MAX: usize = 5;

/// Reads a pipeline: a list of stages.
pub(super) fn pipeline(json: Option<&Json>, place: &Place<'_>) -> Result<Vec<Stage>> {
    nested(json, place, 0)
}

fn nested(json: Option<&Json>, place: &Place<'_>, depth: usize) -> Result<Vec<Stage>> {
    let Some(Json::Array(items)) = json else {
        return Err(
            place.wrong(format!("a pipeline is a list of stages, not {}", json.map_or("nothing", kind_of)))
        );
    };
    if items.len() > STAGES_MAX || depth > NESTING_MAX {
        return Err(
            place.wrong(format!("a pipeline has at most {STAGES_MAX} stages and {NESTING_MAX} levels"))
        );
    }
    let mut stages = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = place.item(index);
        match item.as_object().map(|fields| (fields.len(), fields.iter().next())) {
            Some((1, Some((name, operand)))) => {
                stages.extend(stage(name, operand, &place.field(name), depth)?);
            }
            _ => return Err(place.wrong("a stage is an object of exactly one field")),
        }
    }
    Ok(stages)
}

fn stage(name: &str, operand: &Json, place: &Place<'_>, depth: usize) -> Result<Vec<Stage>> {
    Ok(vec![match name {
        "$match" => Stage::Match(parse_filter(object(operand, place)?, place)?),
        "$project" => {
            let projection = Projection::parse(Some(operand), Of::Stage, place)?;
            Stage::Project(projection.ok_or_else(|| place.wrong("$project needs an object of fields"))?)
        }
        "$addFields" | "$set" => Stage::Project(Projection::additions(object(operand, place)?, place)?),
        "$unset" => {
            let names = match operand {
                Json::String(name) => vec![name.as_str()],
                Json::Array(names) => names
                    .iter()
                    .map(|name| name.as_str().ok_or_else(|| place.wrong("$unset needs names of fields")))
                    .collect::<Result<_>>()?,
                _ => return Err(place.wrong("$unset needs names of fields")),
            };
            Stage::Project(Projection::removals(&names, place)?)
        }
        "$group" => Stage::Group(group(object(operand, place)?, place)?),
        "$bucket" => Stage::Group(bucket(object(operand, place)?, place)?),
        "$sortByCount" => {
            let key = GroupKey::Value(Expression::parse(operand, place)?);
            let outputs = vec![("count".to_owned(), Kind::Sum, Expression::Literal(json!(1)))];
            let order = Order::parse(Some(&json!({"count": -1})), place)?;
            return Ok(vec![Stage::Group(Group { key, outputs }), Stage::Sort(order)]);
        }
        "$sort" => {
            let order = Order::parse(Some(object(operand, place).map(|_| operand)?), place)?;
            if order.is_empty() {
                return Err(place.wrong("$sort needs at least one field"));
            }
            Stage::Sort(order)
        }
        "$limit" => match whole(operand, place)? {
            0 => return Err(place.wrong("$limit needs at least 1")),
            limit => Stage::Limit(limit),
        },
        "$skip" => Stage::Skip(whole(operand, place)?),
        "$unwind" => Stage::Unwind(unwind(operand, place)?),
        "$lookup" => Stage::Lookup(lookup(object(operand, place)?, place, depth)?),
        "$count" => match operand {
            Json::String(name) if !name.is_empty() && !name.starts_with('$') && !name.contains('.') => {
                Stage::Count(name.clone())
            }
            _ => return Err(place.wrong("$count needs the name of a field")),
        },
        "$facet" => {
            let fields = object(operand, place)?;
            if fields.is_empty() {
                return Err(place.wrong("$facet needs at least one pipeline"));
            }
            let facets = fields.iter().map(|(name, pipeline)| {
                let place = place.field(name);
                if name.is_empty() || name.starts_with('$') || name.contains('.') {
                    return Err(place.wrong(format!("'{name}' is not the name of a field")));
                }
                let stages = nested(Some(pipeline), &place, depth + 1)?;
                if stages.iter().any(|stage| matches!(stage, Stage::Facet(_))) {
                    return Err(place.wrong("a facet cannot have facets"));
                }
                Ok((name.clone(), stages))
            });
            Stage::Facet(facets.collect::<Result<_>>()?)
        }
        "$replaceRoot" => {
            let fields = object(operand, place)?;
            let root = fields.get("newRoot").filter(|_| fields.len() == 1);
            let root = root.ok_or_else(|| place.wrong("$replaceRoot is {\"newRoot\":…}"))?;
            Stage::ReplaceRoot(Expression::parse(root, &place.field("newRoot"))?)
        }
        "$replaceWith" => Stage::ReplaceRoot(Expression::parse(operand, place)?),
        "$sample" => {
            let fields = object(operand, place)?;
            let size = fields.get("size").filter(|_| fields.len() == 1);
            let size = size.ok_or_else(|| place.wrong("$sample is {\"size\":…}"))?;
            Stage::Sample(whole(size, &place.field("size"))?)
        }
        "$unionWith" => match operand {
            Json::String(name) => Stage::UnionWith(collection(name, place)?, Vec::new()),
            _ => {
                let fields = of_names(operand, &["coll", "pipeline"], place)?;
                let name = text(fields, "coll", place)?;
                let stages = match fields.get("pipeline") {
                    None => Vec::new(),
                    pipeline => nested(pipeline, &place.field("pipeline"), depth + 1)?,
                };
                Stage::UnionWith(collection(name, place)?, stages)
            }
        },
        other => return Err(unknown(other, place)),
    }])
}

const NOT_OFFERED: [&str; 17] = [
    "$out",
    "$merge",
    "$geoNear",
    "$graphLookup",
    "$bucketAuto",
    "$redact",
    "$setWindowFields",
    "$densify",
    "$fill",
    "$documents",
    "$search",
    "$searchMeta",
    "$vectorSearch",
    "$collStats",
    "$indexStats",
    "$changeStream",
    "$planCacheStats",
];

fn unknown(stage: &str, place: &Place<'_>) -> Error {
    if NOT_OFFERED.contains(&stage) {
        return place.unsupported(format!("the stage '{stage}'"), "docs/documents.md lists the stages");
    }
    place.wrong(format!("unknown stage '{stage}'")).with_hint(
        "$match $project $addFields $set $unset $group $bucket $sortByCount $sort $limit $skip $unwind $lookup $count \
         $facet $replaceRoot $replaceWith $sample $unionWith",
    )
}

fn object<'j>(operand: &'j Json, place: &Place<'_>) -> Result<&'j Fields> {
    operand.as_object().ok_or_else(|| place.wrong(format!("an object is wanted, not {}", kind_of(operand))))
}

fn of_names<'j>(operand: &'j Json, names: &[&str], place: &Place<'_>) -> Result<&'j Fields> {
    let fields = object(operand, place)?;
    match fields.keys().find(|name| !names.contains(&name.as_str())) {
        Some(unknown) => Err(place.field(unknown).wrong(format!("there is no field '{unknown}' here"))),
        None => Ok(fields),
    }
}

fn text<'j>(fields: &'j Fields, name: &str, place: &Place<'_>) -> Result<&'j str> {
    fields
        .get(name)
        .and_then(Json::as_str)
        .ok_or_else(|| place.field(name).wrong(format!("'{name}' is a string that must be there")))
}

fn collection(name: &str, place: &Place<'_>) -> Result<String> {
    check_database_name("collection", name)
        .map_err(|error| Error { message: format!("{} (at {place})", error.message), ..error })?;
    Ok(name.to_owned())
}

fn whole(operand: &Json, place: &Place<'_>) -> Result<u64> {
    let found = operand.as_i64().and_then(|number| u64::try_from(number).ok());
    found.ok_or_else(|| place.wrong("an integer of at least 0 is wanted"))
}

fn accumulators<'j>(
    fields: impl Iterator<Item = (&'j String, &'j Json)>,
    place: &Place<'_>,
) -> Result<Vec<(String, Kind, Expression)>> {
    let parsed = fields.map(|(name, value)| {
        let place = place.field(name);
        if name.is_empty() || name.starts_with('$') || name.contains('.') {
            return Err(place.wrong(format!("'{name}' is not the name of a field")));
        }
        let operators = value.as_object().filter(|operators| operators.len() == 1);
        let (operator, operand) = operators
            .and_then(|operators| operators.iter().next())
            .ok_or_else(|| place.wrong("a field of a group is an object with one accumulator"))?;
        let place = place.field(operator);
        if operator == "$count" {
            return Ok((name.clone(), Kind::Sum, Expression::Literal(json!(1))));
        }
        let (kind, expression) = match Kind::of(operator) {
            Some(kind) => (kind, Expression::parse(operand, &place)?),
            None => of_many(operator, operand, &place)?,
        };
        Ok((name.clone(), kind, expression))
    });
    parsed.collect()
}

/// An accumulator that keeps `n` values of `input`.
fn of_many(operator: &str, operand: &Json, place: &Place<'_>) -> Result<(Kind, Expression)> {
    const NOT_OFFERED: [&str; 7] =
        ["$top", "$topN", "$bottom", "$bottomN", "$median", "$percentile", "$accumulator"];
    const KNOWN: &str = "$sum $avg $min $max $first $last $push $addToSet $mergeObjects $count $stdDevPop \
        $stdDevSamp $firstN $lastN $minN $maxN";
    if NOT_OFFERED.contains(&operator) {
        return Err(place.unsupported(format!("the accumulator '{operator}'"), KNOWN));
    }
    let unknown = || place.wrong(format!("unknown accumulator '{operator}'")).with_hint(KNOWN);
    Kind::of_many(operator, 1).ok_or_else(unknown)?;
    let fields = of_names(operand, &["input", "n"], place)?;
    let input = fields.get("input").ok_or_else(|| place.wrong("the field 'input' is missing"))?;
    let count = fields.get("n").and_then(Json::as_u64).and_then(|count| usize::try_from(count).ok());
    let count = count
        .filter(|count| *count > 0)
        .ok_or_else(|| place.field("n").wrong("'n' is an integer of at least 1"))?;
    let kind = Kind::of_many(operator, count).ok_or_else(unknown)?;
    Ok((kind, Expression::parse(input, &place.field("input"))?))
}

fn group(fields: &Fields, place: &Place<'_>) -> Result<Group> {
    let key =
        fields.get("_id").ok_or_else(|| place.wrong("$group needs an _id; null makes one group of all"))?;
    Ok(Group {
        key: GroupKey::Value(Expression::parse(key, &place.field("_id"))?),
        outputs: accumulators(fields.iter().filter(|(name, _)| *name != "_id"), place)?,
    })
}

fn bucket(fields: &Fields, place: &Place<'_>) -> Result<Group> {
    of_names(&Json::Object(fields.clone()), &["groupBy", "boundaries", "default", "output"], place)?;
    let by = fields.get("groupBy").ok_or_else(|| place.wrong("$bucket needs groupBy"))?;
    let list = place.field("boundaries");
    let Some(Json::Array(boundaries)) = fields.get("boundaries") else {
        return Err(list.wrong("$bucket needs a list of boundaries"));
    };
    let boundaries = boundaries
        .iter()
        .enumerate()
        .map(|(index, boundary)| extended::normal(boundary.clone(), &list.item(index)))
        .collect::<Result<Vec<Json>>>()?;
    let ascends =
        |pair: &[Json]| same_type(&pair[0], &pair[1]) && compare(&pair[0], &pair[1]) == Ordering::Less;
    if boundaries.len() < 2 || !boundaries.windows(2).all(ascends) {
        return Err(list.wrong("boundaries are at least two values of one type that ascend"));
    }
    let otherwise = match fields.get("default") {
        None => None,
        Some(value) => Some(extended::normal(value.clone(), &place.field("default"))?),
    };
    let outputs = match fields.get("output") {
        None => vec![("count".to_owned(), Kind::Sum, Expression::Literal(json!(1)))],
        Some(output) => {
            let place = place.field("output");
            accumulators(object(output, &place)?.iter(), &place)?
        }
    };
    let by = Expression::parse(by, &place.field("groupBy"))?;
    Ok(Group { key: GroupKey::Bucket { by, boundaries, otherwise }, outputs })
}

fn unwind(operand: &Json, place: &Place<'_>) -> Result<Unwind> {
    let (path, index, preserves) = match operand {
        Json::String(path) => (path.as_str(), None, false),
        _ => {
            let fields =
                of_names(operand, &["path", "includeArrayIndex", "preserveNullAndEmptyArrays"], place)?;
            let index = match fields.get("includeArrayIndex") {
                None => None,
                Some(Json::String(name)) => Some(FieldPath::parse(name, &place.field("includeArrayIndex"))?),
                Some(_) => {
                    return Err(place.field("includeArrayIndex").wrong("the name of a field is wanted"));
                }
            };
            let preserves = match fields.get("preserveNullAndEmptyArrays") {
                None => false,
                Some(Json::Bool(flag)) => *flag,
                Some(_) => {
                    return Err(place.field("preserveNullAndEmptyArrays").wrong("true or false is wanted"));
                }
            };
            (text(fields, "path", place)?, index, preserves)
        }
    };
    let name = path.strip_prefix('$').ok_or_else(|| place.wrong("the path of $unwind begins with '$'"))?;
    Ok(Unwind { path: FieldPath::parse(name, place)?, index, preserves })
}

fn lookup(fields: &Fields, place: &Place<'_>, depth: usize) -> Result<Lookup> {
    of_names(
        &Json::Object(fields.clone()),
        &["from", "localField", "foreignField", "let", "pipeline", "as"],
        place,
    )?;
    let path = |name: &str| FieldPath::parse(text(fields, name, place)?, &place.field(name));
    let equal = match (fields.contains_key("localField"), fields.contains_key("foreignField")) {
        (true, true) => Some((path("localField")?, path("foreignField")?)),
        (false, false) if fields.contains_key("pipeline") => None,
        _ => return Err(place.wrong("$lookup needs localField and foreignField, or a pipeline")),
    };
    let place_of_let = place.field("let");
    let variables = match fields.get("let") {
        None => Vec::new(),
        Some(given) => variables(object(given, &place_of_let)?, &place_of_let)?,
    };
    let names: Vec<String> = variables.iter().map(|(name, _)| name.clone()).collect();
    Ok(Lookup {
        from: collection(text(fields, "from", place)?, &place.field("from"))?,
        fields: equal,
        pipeline: match fields.get("pipeline") {
            None => Vec::new(),
            pipeline => nested(pipeline, &place.knowing(&names).field("pipeline"), depth + 1)?,
        },
        variables,
        to: path("as")?,
    })
}
