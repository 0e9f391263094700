//! A query object read out of JSON and checked.

use serde_json::{Map, Value as Json};

use super::{
    CollectionOperation, CollectionQuery, Comparison, Condition, QueryObject, TableOperation, TableQuery,
    Which,
};
use crate::protocol::{Params, Statement};
use crate::schema::DatabaseKind;
use crate::{Error, Result, Value, json};

impl QueryObject {
    /// Checks a query object. Where it names neither a table nor a collection, `kind` decides what it is on.
    pub fn parse(json: Json, kind: DatabaseKind) -> Result<QueryObject> {
        let Json::Object(fields) = json else { return Err(Error::bad_request("a query is a JSON object")) };
        let operation = match present(&fields, "operation") {
            Some(Json::String(operation)) => operation.to_ascii_lowercase(),
            Some(_) => return Err(Error::bad_request("operation must be a text")),
            None => return Err(Error::bad_request("Missing required field: operation")),
        };
        if operation == "sql" {
            check_fields(&operation, &fields, &["sql", "params"])?;
            return parse_sql(&fields).map(QueryObject::Sql);
        }
        let on_table = present(&fields, "table").is_some()
            || (kind == DatabaseKind::Sql && present(&fields, "collection").is_none());
        if on_table {
            parse_table_query(&operation, &fields).map(QueryObject::Table)
        } else {
            parse_collection_query(&operation, &fields).map(QueryObject::Collection)
        }
    }
}

/// Refuses a field that the operation does not have: one that is misspelt, and then ignored, would choose other rows
/// than were meant.
fn check_fields(operation: &str, fields: &Map<String, Json>, known: &[&str]) -> Result<()> {
    let says_something = |value: &Json| match value {
        Json::Null => false,
        Json::Object(entries) => !entries.is_empty(),
        Json::Array(items) => !items.is_empty(),
        _ => true,
    };
    let stray = |(name, value): &(&String, &Json)| {
        *name != "operation" && !known.contains(&name.as_str()) && says_something(value)
    };
    let Some((name, _)) = fields.iter().find(stray) else { return Ok(()) };
    Err(Error::bad_request(format!("unknown field '{name}' of the operation {operation}"))
        .with_hint(format!("it has the fields {}", known.join(", "))))
}

/// A field that is there and not null.
fn present<'a>(fields: &'a Map<String, Json>, name: &str) -> Option<&'a Json> {
    fields.get(name).filter(|value| !value.is_null())
}

fn text(fields: &Map<String, Json>, name: &str) -> Result<Option<String>> {
    match present(fields, name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Error::bad_request(format!("{name} must be a text"))),
    }
}

fn object<'a>(fields: &'a Map<String, Json>, name: &str) -> Result<Option<&'a Map<String, Json>>> {
    match present(fields, name) {
        None => Ok(None),
        Some(Json::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Error::bad_request(format!("{name} must be an object"))),
    }
}

fn parse_sql(fields: &Map<String, Json>) -> Result<Statement> {
    let sql = text(fields, "sql")?.ok_or_else(|| Error::bad_request("Missing required field: sql"))?;
    let params = match present(fields, "params") {
        None => Params::None,
        Some(Json::Array(values)) if values.is_empty() => Params::None,
        Some(Json::Array(values)) => {
            Params::Positional(values.iter().map(json::from_json).collect::<Result<_>>()?)
        }
        Some(Json::Object(values)) => Params::Named(
            values
                .iter()
                .map(|(name, value)| Ok((name.clone(), json::from_json(value)?)))
                .collect::<Result<_>>()?,
        ),
        Some(_) => return Err(Error::bad_request("params must be an array or an object")),
    };
    Ok(Statement { sql, params })
}

fn parse_table_query(operation: &str, fields: &Map<String, Json>) -> Result<TableQuery> {
    let table = text(fields, "table")?.ok_or_else(|| Error::bad_request("Missing required field: table"))?;
    let values = || -> Result<Vec<(String, Value)>> {
        let values =
            object(fields, "values")?.ok_or_else(|| Error::bad_request("Missing required field: values"))?;
        values.iter().map(|(name, value)| Ok((name.clone(), column_value(name, value)?))).collect()
    };
    let conditions = || parse_conditions(object(fields, "where")?);
    let known: &[&str] = match operation {
        "insert" => &["table", "values"],
        "query" | "get" => &["table", "columns", "where", "order_by", "limit"],
        "update" => &["table", "values", "where"],
        "delete" => &["table", "where"],
        other => return Err(unknown_operation("SQL", other)),
    };
    check_fields(operation, fields, known)?;
    let operation = match operation {
        "insert" => TableOperation::Insert { values: values()? },
        "query" | "get" => TableOperation::Select {
            columns: parse_columns(fields)?,
            conditions: conditions()?,
            order_by: parse_order(fields)?,
            limit: parse_limit(fields)?,
        },
        "update" => {
            let values = values()?;
            if values.is_empty() {
                return Err(Error::bad_request("values must name at least one column"));
            }
            TableOperation::Update { values, conditions: conditions()? }
        }
        _ => TableOperation::Delete { conditions: conditions()? },
    };
    Ok(TableQuery { table, operation })
}

fn unknown_operation(face: &str, operation: &str) -> Error {
    Error::bad_request(format!("Unsupported {face} operation: {operation}"))
        .with_hint("insert, query, get, update, delete or sql")
}

fn column_value(column: &str, value: &Json) -> Result<Value> {
    json::from_json(value).map_err(|mut error| {
        error.message = format!("{column}: {}", error.message);
        error
    })
}

fn parse_columns(fields: &Map<String, Json>) -> Result<Vec<String>> {
    let columns = match present(fields, "columns") {
        None => return Ok(Vec::new()),
        Some(Json::Array(columns)) => columns
            .iter()
            .map(|column| column.as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
            .ok_or_else(|| Error::bad_request("columns must be a list of names"))?,
        Some(_) => return Err(Error::bad_request("columns must be a list of names")),
    };
    Ok(if columns.iter().any(|column| column == "*") { Vec::new() } else { columns })
}

fn parse_order(fields: &Map<String, Json>) -> Result<Vec<(String, bool)>> {
    let Some(order) = text(fields, "order_by")? else { return Ok(Vec::new()) };
    order.split(',').map(str::trim).filter(|term| !term.is_empty()).map(parse_term).collect()
}

fn parse_term(term: &str) -> Result<(String, bool)> {
    let mut words = term.split_whitespace();
    let column = words.next().unwrap_or_default().trim_matches('"').to_owned();
    let descending = match words.next().map(str::to_ascii_uppercase).as_deref() {
        None | Some("ASC") => Some(false),
        Some("DESC") => Some(true),
        Some(_) => None,
    };
    match (descending, words.next()) {
        (Some(descending), None) if !column.is_empty() => Ok((column, descending)),
        _ => Err(Error::bad_request(format!("order_by: '{term}' is not a column with ASC or DESC"))),
    }
}

fn parse_limit(fields: &Map<String, Json>) -> Result<Option<u64>> {
    match present(fields, "limit") {
        None => Ok(None),
        Some(limit) => limit
            .as_u64()
            .map(Some)
            .ok_or_else(|| Error::bad_request("limit must be an integer of at least 0")),
    }
}

fn parse_conditions(object: Option<&Map<String, Json>>) -> Result<Vec<Condition>> {
    let mut conditions = Vec::new();
    for (column, value) in object.into_iter().flatten() {
        let operators = match value {
            Json::Object(fields) if !is_tagged(fields) => fields,
            plain => {
                let value = column_value(column, plain)?;
                conditions.push(Condition { column: column.clone(), comparison: Comparison::Equal, value });
                continue;
            }
        };
        if operators.is_empty() {
            return Err(Error::bad_request(format!("{column}: no operator is given"))
                .with_hint("$eq, $ne, $lt, $lte, $gt or $gte"));
        }
        for (operator, value) in operators {
            let comparison = match operator.as_str() {
                "$eq" => Comparison::Equal,
                "$ne" => Comparison::NotEqual,
                "$lt" => Comparison::Less,
                "$lte" => Comparison::LessOrEqual,
                "$gt" => Comparison::Greater,
                "$gte" => Comparison::GreaterOrEqual,
                other => {
                    return Err(Error::bad_request(format!("{column}: unknown operator '{other}'"))
                        .with_hint("$eq, $ne, $lt, $lte, $gt or $gte"));
                }
            };
            let value = column_value(column, value)?;
            conditions.push(Condition { column: column.clone(), comparison, value });
        }
    }
    Ok(conditions)
}

/// `{"$blob":…}` and `{"$real":…}` are values.
fn is_tagged(fields: &Map<String, Json>) -> bool {
    fields.len() == 1 && fields.keys().all(|key| key == "$blob" || key == "$real")
}

fn parse_collection_query(operation: &str, fields: &Map<String, Json>) -> Result<CollectionQuery> {
    let collection = text(fields, "collection")?.unwrap_or_else(|| "default".to_owned());
    let document = || -> Result<Map<String, Json>> {
        let document = object(fields, "document")?;
        document.cloned().ok_or_else(|| Error::bad_request("Missing required field: document"))
    };
    let known: &[&str] = match operation {
        "insert" => &["collection", "document"],
        "update" => &["collection", "document", "id", "where"],
        "get" | "query" | "delete" => &["collection", "id", "where"],
        other => return Err(unknown_operation("NoSQL", other)),
    };
    check_fields(operation, fields, known)?;
    let operation = match operation {
        "insert" => CollectionOperation::Insert { document: document()? },
        "get" | "query" => CollectionOperation::Find { which: parse_which(fields)? },
        "update" => CollectionOperation::Update {
            which: not_all(parse_which(fields)?, "UPDATE")?,
            document: document()?,
        },
        _ => CollectionOperation::Delete { which: not_all(parse_which(fields)?, "DELETE")? },
    };
    Ok(CollectionQuery { collection, operation })
}

fn parse_which(fields: &Map<String, Json>) -> Result<Which> {
    let filter = object(fields, "where")?.cloned().unwrap_or_default();
    match present(fields, "id") {
        None => Ok(Which::Matching(filter)),
        Some(_) if !filter.is_empty() => {
            Err(Error::bad_request("a document is chosen by 'id' or by 'where', not by both")
                .with_hint("put the id into 'where' as _id"))
        }
        Some(Json::String(id)) => Ok(Which::Id(Value::Text(id.clone()))),
        Some(Json::Number(id)) => {
            let id = id.as_i64().ok_or_else(|| Error::bad_request("id must be an integer or a text"))?;
            Ok(Which::Id(Value::Integer(id)))
        }
        Some(_) => Err(Error::bad_request("id must be an integer or a text")),
    }
}

fn not_all(which: Which, word: &str) -> Result<Which> {
    match which {
        Which::Matching(filter) if filter.is_empty() => Err(Error::bad_request(format!(
            "Either document ID or conditions are required for {word} operation"
        ))),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said() {
        for (json, message) in [
            (json!({}), "Missing required field: operation"),
            (json!({"operation": "query"}), "Missing required field: table"),
            (json!({"operation": "join", "table": "t"}), "Unsupported SQL operation: join"),
            (
                json!({"operation": "query", "table": "t", "where": {"a": {"$like": 1}}}),
                "a: unknown operator '$like'",
            ),
            (json!({"operation": "delete", "table": "t", "where": {"a": {}}}), "a: no operator is given"),
            (
                json!({"operation": "delete", "table": "t", "id": 5}),
                "unknown field 'id' of the operation delete",
            ),
            (
                json!({"operation": "delete", "table": "t", "limit": 1}),
                "unknown field 'limit' of the operation delete",
            ),
            (
                json!({"operation": "delete", "collection": "c", "id": 5, "where": {"a": 1}}),
                "a document is chosen by 'id' or by 'where', not by both",
            ),
            (
                json!({"operation": "query", "table": "t", "limit": "3"}),
                "limit must be an integer of at least 0",
            ),
            (
                json!({"operation": "update", "collection": "c", "document": {}}),
                "Either document ID or conditions are required for UPDATE operation",
            ),
        ] {
            assert_eq!(QueryObject::parse(json, DatabaseKind::Sql).unwrap_err().message, message);
        }
    }
}
