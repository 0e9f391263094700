//! Filters as SQL conditions over the documents' table. Paths and values are parameters.
//!
//! A comparison holds only between values of one type: a number with numbers, a text with texts, true and
//! false with themselves.

use common::{Error, Result, Value};
use serde_json::{Map, Value as Json};

/// Deepest nesting of `$and` and `$or`.
const DEPTH_MAX: usize = 50;

/// A condition with its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Condition {
    pub(crate) sql: String,
    pub(crate) params: Vec<Value>,
}

impl Condition {
    /// The condition that a filter is; an empty filter holds for all documents.
    pub(crate) fn of(filter: &Map<String, Json>) -> Result<Condition> {
        let mut condition = Condition::default();
        condition.object(filter, 0)?;
        Ok(condition)
    }

    /// A WHERE clause, or nothing.
    pub(crate) fn clause(&self) -> String {
        if self.sql.is_empty() { String::new() } else { format!(" WHERE {}", self.sql) }
    }

    fn object(&mut self, filter: &Map<String, Json>, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Error::bad_request("the filter is nested too deep"));
        }
        for (index, (field, wanted)) in filter.iter().enumerate() {
            if index > 0 {
                self.sql.push_str(" AND ");
            }
            match (field.as_str(), wanted) {
                ("$and", Json::Array(parts)) => self.list(parts, " AND ", depth)?,
                ("$or", Json::Array(parts)) => self.list(parts, " OR ", depth)?,
                ("$and" | "$or", _) => {
                    return Err(Error::bad_request(format!("{field} needs a list of filters")));
                }
                (operator, _) if operator.starts_with('$') => return Err(unknown(operator)),
                _ => self.field(field, wanted)?,
            }
        }
        Ok(())
    }

    fn list(&mut self, parts: &[Json], between: &str, depth: usize) -> Result<()> {
        if parts.is_empty() {
            return Err(Error::bad_request("$and and $or need at least one filter"));
        }
        self.sql.push('(');
        for (index, part) in parts.iter().enumerate() {
            let Json::Object(part) = part else {
                return Err(Error::bad_request("$and and $or need a list of filters"));
            };
            if index > 0 {
                self.sql.push_str(between);
            }
            self.sql.push('(');
            if part.is_empty() {
                self.sql.push('1');
            }
            self.object(part, depth + 1)?;
            self.sql.push(')');
        }
        self.sql.push(')');
        Ok(())
    }

    fn field(&mut self, field: &str, wanted: &Json) -> Result<()> {
        let target = Target::of(field)?;
        match wanted {
            Json::Object(operators) if operators.keys().any(|key| key.starts_with('$')) => {
                for (index, (operator, operand)) in operators.iter().enumerate() {
                    if index > 0 {
                        self.sql.push_str(" AND ");
                    }
                    self.operator(&target, operator, operand)?;
                }
                Ok(())
            }
            value => self.equal(&target, value),
        }
    }

    fn operator(&mut self, target: &Target, operator: &str, operand: &Json) -> Result<()> {
        match operator {
            "$eq" => self.equal(target, operand),
            "$ne" => self.negated(|condition| condition.equal(target, operand)),
            "$gt" => self.compare(target, ">", operand),
            "$gte" => self.compare(target, ">=", operand),
            "$lt" => self.compare(target, "<", operand),
            "$lte" => self.compare(target, "<=", operand),
            "$in" => self.one_of(target, operand),
            "$nin" => self.negated(|condition| condition.one_of(target, operand)),
            "$exists" => {
                let Json::Bool(wanted) = operand else {
                    return Err(Error::bad_request("$exists needs true or false"));
                };
                self.exists(target, *wanted);
                Ok(())
            }
            other => Err(unknown(other)),
        }
    }

    fn negated(&mut self, inner: impl FnOnce(&mut Condition) -> Result<()>) -> Result<()> {
        self.sql.push('(');
        inner(self)?;
        self.sql.push_str(") IS NOT TRUE");
        Ok(())
    }

    fn one_of(&mut self, target: &Target, operand: &Json) -> Result<()> {
        let Json::Array(values) = operand else {
            return Err(Error::bad_request("$in and $nin need a list"));
        };
        if values.is_empty() {
            self.sql.push('0');
            return Ok(());
        }
        if let (Target::Id, Some(ids)) = (target, values.iter().map(id_value).collect::<Option<Vec<_>>>()) {
            // One list, by which the partitions can be chosen.
            self.sql.push_str("\"_id\" IN (");
            self.sql.push_str(&vec!["?"; ids.len()].join(", "));
            self.sql.push(')');
            self.params.extend(ids);
            return Ok(());
        }
        self.sql.push('(');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.sql.push_str(" OR ");
            }
            self.equal(target, value)?;
        }
        self.sql.push(')');
        Ok(())
    }

    fn exists(&mut self, target: &Target, wanted: bool) {
        match target {
            Target::Id => self.sql.push_str(if wanted { "1" } else { "0" }),
            Target::Path(path) => {
                self.sql.push_str("json_type(\"doc\", ?) IS ");
                self.sql.push_str(if wanted { "NOT NULL" } else { "NULL" });
                self.params.push(Value::Text(path.clone()));
            }
        }
    }

    fn equal(&mut self, target: &Target, value: &Json) -> Result<()> {
        let path = match target {
            Target::Path(path) => path,
            Target::Id => {
                match id_value(value) {
                    Some(id) => {
                        self.sql.push_str("\"_id\" = ?");
                        self.params.push(id);
                    }
                    None => self.sql.push('0'),
                }
                return Ok(());
            }
        };
        let typed = |kind: &str| format!("(json_type(\"doc\", ?) {kind} AND \"doc\" ->> ? = ?)");
        let path = || Value::Text(path.clone());
        match value {
            Json::Null => {
                self.sql.push_str("coalesce(json_type(\"doc\", ?), 'null') = 'null'");
                self.params.push(path());
            }
            Json::Bool(flag) => {
                self.sql.push_str("json_type(\"doc\", ?) = ?");
                self.params.extend([path(), flag.to_string().into()]);
            }
            Json::Number(_) => {
                self.sql.push_str(&typed("IN ('integer', 'real')"));
                self.params.extend([path(), path(), common::json::from_json(value)?]);
            }
            Json::String(text) => {
                self.sql.push_str(&typed("= 'text'"));
                self.params.extend([path(), path(), text.clone().into()]);
            }
            Json::Array(_) | Json::Object(_) => {
                let kind = if value.is_array() { "array" } else { "object" };
                self.sql.push_str("(json_type(\"doc\", ?) = ? AND \"doc\" -> ? = ?)");
                self.params.extend([path(), kind.into(), path(), value.to_string().into()]);
            }
        }
        Ok(())
    }

    fn compare(&mut self, target: &Target, operator: &str, operand: &Json) -> Result<()> {
        let (kinds, classes) = match operand {
            Json::Number(_) => ("IN ('integer', 'real')", "IN ('integer', 'real')"),
            Json::String(_) => ("= 'text'", "= 'text'"),
            _ => {
                return Err(Error::bad_request("$gt, $gte, $lt and $lte compare numbers or texts"));
            }
        };
        let value = common::json::from_json(operand)?;
        match target {
            Target::Id => {
                self.sql.push_str(&format!("(typeof(\"_id\") {classes} AND \"_id\" {operator} ?)"));
                self.params.push(value);
            }
            Target::Path(path) => {
                self.sql.push_str(&format!("(json_type(\"doc\", ?) {kinds} AND \"doc\" ->> ? {operator} ?)"));
                self.params.extend([Value::Text(path.clone()), Value::Text(path.clone()), value]);
            }
        }
        Ok(())
    }
}

/// Operators of MongoDB's query language that have no form here yet.
const NOT_YET: [&str; 16] = [
    "$not",
    "$nor",
    "$regex",
    "$options",
    "$elemMatch",
    "$all",
    "$size",
    "$type",
    "$mod",
    "$expr",
    "$text",
    "$where",
    "$jsonSchema",
    "$bitsAllSet",
    "$bitsAnySet",
    "$comment",
];

fn unknown(operator: &str) -> Error {
    if NOT_YET.contains(&operator) {
        return Error::not_supported(
            format!("the operator '{operator}' is not supported yet"),
            "use $eq $ne $gt $gte $lt $lte $in $nin $exists $and $or, or SQL over the collection",
        );
    }
    Error::bad_request(format!("unknown operator '{operator}'"))
        .with_hint("$eq $ne $gt $gte $lt $lte $in $nin $exists $and $or")
}

fn id_value(value: &Json) -> Option<Value> {
    match value {
        Json::String(text) => Some(Value::Text(text.clone())),
        Json::Number(number) => number.as_i64().map(Value::Integer),
        _ => None,
    }
}

/// What a field of a filter or a sort order names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// The document's id.
    Id,
    /// A path of SQLite's JSON functions.
    Path(String),
}

impl Target {
    /// The target of a dotted field name.
    pub(crate) fn of(field: &str) -> Result<Target> {
        if field == "_id" {
            return Ok(Target::Id);
        }
        let mut path = "$".to_owned();
        for name in segments(field)? {
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                path.push_str(&format!("[{name}]"));
            } else {
                path.push_str(&format!(".\"{name}\""));
            }
        }
        Ok(Target::Path(path))
    }
}

/// The names of a dotted field.
pub(crate) fn segments(field: &str) -> Result<Vec<&str>> {
    let names: Vec<&str> = field.split('.').collect();
    if names.iter().any(|name| name.is_empty()) {
        return Err(Error::bad_request(format!("'{field}' is not a field")));
    }
    // SQLite's paths have no way to write these in a name.
    if field.contains(['"', '\\', '\0']) {
        return Err(Error::not_supported(
            "field names with quotes or backslashes cannot be asked for",
            "read the document and look there",
        ));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn condition(filter: Json) -> Result<Condition> {
        let Json::Object(filter) = filter else { panic!() };
        Condition::of(&filter)
    }

    #[test]
    fn values_and_paths_are_parameters() {
        let found = condition(json!({"a.b": "x'; --", "_id": 3})).unwrap();
        assert_eq!(found.sql, "(json_type(\"doc\", ?) = 'text' AND \"doc\" ->> ? = ?) AND \"_id\" = ?");
        assert_eq!(found.params[0], Value::from("$.\"a\".\"b\""));
        assert_eq!(found.params[2], Value::from("x'; --"));
    }

    #[test]
    fn unknown_operators_are_refused() {
        for filter in [json!({"a": {"$like": "x"}}), json!({"$xor": []}), json!({"a": {"$gt": null}})] {
            assert_eq!(condition(filter).unwrap_err().code, common::ErrorCode::BadRequest);
        }
        for filter in [json!({"a": {"$regex": "x"}}), json!({"$where": "1"}), json!({"a": {"$not": {}}})] {
            let error = condition(filter).unwrap_err();
            assert_eq!(error.code, common::ErrorCode::NotSupported);
            assert!(error.hint.is_some());
        }
    }
}
