//! The statement that a query object on a table stands for.

use super::{Comparison, Condition, TableOperation, TableQuery};
use crate::Value;
use crate::names::quote_identifier;
use crate::protocol::{Params, Statement};

impl TableQuery {
    /// The statement that does it: names quoted, values as parameters. An insert answers the row as stored.
    #[must_use]
    pub fn statement(&self) -> Statement {
        let table = quote_identifier(&self.table);
        let mut params = Vec::new();
        let sql = match &self.operation {
            TableOperation::Insert { values } if values.is_empty() => {
                format!("INSERT INTO {table} DEFAULT VALUES RETURNING *")
            }
            TableOperation::Insert { values } => {
                let names: Vec<String> = values.iter().map(|(name, _)| quote_identifier(name)).collect();
                params.extend(values.iter().map(|(_, value)| value.clone()));
                let marks = vec!["?"; names.len()].join(", ");
                format!("INSERT INTO {table} ({}) VALUES ({marks}) RETURNING *", names.join(", "))
            }
            TableOperation::Select { columns, conditions, order_by, limit } => {
                let columns = match columns.as_slice() {
                    [] => "*".to_owned(),
                    names => names.iter().map(|name| quote_identifier(name)).collect::<Vec<_>>().join(", "),
                };
                let filter = render_conditions(conditions, &mut params);
                let order = render_order(order_by);
                let limit = limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
                format!("SELECT {columns} FROM {table}{filter}{order}{limit}")
            }
            TableOperation::Update { values, conditions } => {
                let sets: Vec<String> =
                    values.iter().map(|(name, _)| format!("{} = ?", quote_identifier(name))).collect();
                params.extend(values.iter().map(|(_, value)| value.clone()));
                let filter = render_conditions(conditions, &mut params);
                format!("UPDATE {table} SET {}{filter}", sets.join(", "))
            }
            TableOperation::Delete { conditions } => {
                let filter = render_conditions(conditions, &mut params);
                format!("DELETE FROM {table}{filter}")
            }
        };
        let params = if params.is_empty() { Params::None } else { Params::Positional(params) };
        Statement { sql, params }
    }
}

fn render_conditions(conditions: &[Condition], params: &mut Vec<Value>) -> String {
    if conditions.is_empty() {
        return String::new();
    }
    let terms: Vec<String> = conditions
        .iter()
        .map(|condition| {
            let column = quote_identifier(&condition.column);
            let operator = match (condition.comparison, condition.value.is_null()) {
                (Comparison::Equal, true) => return format!("{column} IS NULL"),
                (Comparison::NotEqual, true) => return format!("{column} IS NOT NULL"),
                (Comparison::Equal, false) => "=",
                (Comparison::NotEqual, false) => "<>",
                (Comparison::Less, _) => "<",
                (Comparison::LessOrEqual, _) => "<=",
                (Comparison::Greater, _) => ">",
                (Comparison::GreaterOrEqual, _) => ">=",
            };
            params.push(condition.value.clone());
            format!("{column} {operator} ?")
        })
        .collect();
    format!(" WHERE {}", terms.join(" AND "))
}

fn render_order(order_by: &[(String, bool)]) -> String {
    if order_by.is_empty() {
        return String::new();
    }
    let terms: Vec<String> = order_by
        .iter()
        .map(|(column, descending)| {
            format!("{}{}", quote_identifier(column), if *descending { " DESC" } else { "" })
        })
        .collect();
    format!(" ORDER BY {}", terms.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query_object::QueryObject;
    use crate::schema::DatabaseKind;
    use serde_json::{Value as Json, json};

    fn statement(json: Json) -> Statement {
        match QueryObject::parse(json, DatabaseKind::Sql).unwrap() {
            QueryObject::Table(query) => query.statement(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_query_becomes_a_statement_with_parameters() {
        let found = statement(json!({
            "operation": "query", "table": "a\"b", "columns": ["x", "y"],
            "where": {"x": {"$gt": 5, "$lt": 10}, "y": null}, "order_by": "x desc, y", "limit": 3
        }));
        assert_eq!(
            found.sql,
            "SELECT \"x\", \"y\" FROM \"a\"\"b\" WHERE \"x\" > ? AND \"x\" < ? AND \"y\" IS NULL \
             ORDER BY \"x\" DESC, \"y\" LIMIT 3"
        );
        assert_eq!(found.params, Params::Positional(vec![5.into(), 10.into()]));
    }

    #[test]
    fn null_and_absent_mean_the_same() {
        let found =
            statement(json!({"operation": "get", "table": "t", "columns": null, "where": {}, "limit": null}));
        assert_eq!(found, Statement { sql: "SELECT * FROM \"t\"".into(), params: Params::None });
    }
}
