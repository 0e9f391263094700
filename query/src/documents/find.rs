//! Finding and counting documents.

use common::{Error, Result, Value};
use serde_json::{Map, Value as Json};

use super::filter::{Condition, Target};
use super::projection::Projection;
use super::stored::{existing, select, statement};
use crate::access::PartitionAccess;
use crate::planner::Planner;
use crate::sql::run_one;

/// `POST find`: the body has `filter`, `projection`, `sort`, `skip`, `limit`.
pub async fn find(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<Vec<Json>> {
    let request = fields(request)?;
    let mut condition = Condition::of(&filter(request)?)?;
    let projection = Projection::of(request.get("projection"))?;
    let mut rest = order(request.get("sort"), &mut condition.params)?;
    let (skip, limit) = (number(request, "skip")?, number(request, "limit")?);
    if skip.is_some() || limit.is_some() {
        // A negative limit is none.
        condition.params.extend([Value::Integer(limit.unwrap_or(-1)), Value::Integer(skip.unwrap_or(0))]);
        rest.push_str(" LIMIT ? OFFSET ?");
    }
    let quoted = existing(planner, collection)?;
    let found = select(planner, access, &quoted, condition, &rest).await?;
    let answered = |json: Json| match (json, &projection) {
        (Json::Object(document), Some(projection)) => Json::Object(projection.apply(document)),
        (json, _) => json,
    };
    Ok(found.into_iter().map(|stored| answered(stored.into_document().json)).collect())
}

/// `POST count`: the body has `filter`.
pub async fn count(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<u64> {
    let condition = Condition::of(&filter(fields(request)?)?)?;
    let quoted = existing(planner, collection)?;
    let sql = format!("SELECT count(*) FROM {quoted}{}", condition.clause());
    let result = run_one(planner, access, &statement(sql, condition.params), 1).await?;
    let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
    match rows.first().and_then(|row| row.first()) {
        Some(Value::Integer(count)) => Ok(u64::try_from(*count).unwrap_or(0)),
        _ => Err(Error::internal("a count is no integer")),
    }
}

/// A request's fields.
pub(super) fn fields(request: &Json) -> Result<&Map<String, Json>> {
    request.as_object().ok_or_else(|| Error::bad_request("the request must be an object"))
}

/// A request's filter; absent and null are the empty one.
pub(super) fn filter(request: &Map<String, Json>) -> Result<Map<String, Json>> {
    match request.get("filter") {
        None | Some(Json::Null) => Ok(Map::new()),
        Some(Json::Object(filter)) => Ok(filter.clone()),
        Some(Json::String(_)) => Err(Error::not_supported(
            "filters as text are not supported yet",
            "write the filter as an object, for example {\"role\": \"Dev\", \"age\": {\"$gt\": 30}}",
        )),
        Some(_) => Err(Error::bad_request("filter must be an object")),
    }
}

fn number(request: &Map<String, Json>, field: &str) -> Result<Option<i64>> {
    match request.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) if number >= 0 => Ok(Some(number)),
            _ => Err(Error::bad_request(format!("{field} must be an integer of at least 0"))),
        },
    }
}

/// ORDER BY of a sort object, `{"a":1,"b":-1}`, or of a list of such. Ties are in the order of making.
fn order(sort: Option<&Json>, params: &mut Vec<Value>) -> Result<String> {
    let wrong = || Error::bad_request("sort must be an object of fields with 1 or -1");
    let mut terms: Vec<(String, i64)> = Vec::new();
    let parts: Vec<&Map<String, Json>> = match sort {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Object(fields)) => vec![fields],
        Some(Json::Array(parts)) => {
            parts.iter().map(Json::as_object).collect::<Option<_>>().ok_or_else(wrong)?
        }
        Some(_) => return Err(wrong()),
    };
    for (field, direction) in parts.into_iter().flatten() {
        let direction =
            direction.as_i64().filter(|direction| [1, -1].contains(direction)).ok_or_else(wrong)?;
        terms.push((field.clone(), direction));
    }
    let mut rendered = Vec::with_capacity(terms.len() + 1);
    for (field, direction) in terms {
        let expression = match Target::of(&field)? {
            Target::Id => "\"_id\"".to_owned(),
            Target::Path(path) => {
                params.push(path.into());
                "\"doc\" ->> ?".to_owned()
            }
        };
        rendered.push(format!("{expression}{}", if direction < 0 { " DESC" } else { "" }));
    }
    rendered.push("rowid".to_owned());
    Ok(format!(" ORDER BY {}", rendered.join(", ")))
}
