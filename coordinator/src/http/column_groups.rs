//! Column groups of a database as requests name them, and as answers show them.

use common::catalog::{Catalog, Database, NodeStatus, one_column_group};
use common::schema::PartitionType;
use common::{Error, Result};
use query::schema::{columns_of_groups, declare_column_groups};
use serde_json::{Map, Value as Json};

/// As many column groups as there are nodes are made where a request names none, but no more than this: each
/// further one makes rows dearer to write and to put together.
const AUTOMATIC_MAX: usize = 3;

/// How many column groups to make where a request names none.
#[must_use]
pub fn automatic_count(catalog: &Catalog) -> usize {
    let active = catalog.nodes.values().filter(|node| node.status == NodeStatus::Active);
    active.count().clamp(1, AUTOMATIC_MAX)
}

/// The names of a new database's column groups. What `groups` says of all tables is handed on to those that
/// say nothing themselves.
pub fn of_new_database(
    groups: Option<&Json>,
    tables: &mut [Json],
    partition_type: PartitionType,
    automatic: usize,
) -> Result<Vec<String>> {
    let names = declare_column_groups(groups, tables)?;
    if partition_type == PartitionType::Horizontal {
        return match names.is_empty() {
            true => Ok(one_column_group()),
            false => Err(Error::bad_request("column_groups go with the partition types VERTICAL and MIXED")),
        };
    }
    Ok(match (names.is_empty(), automatic > 1) {
        (false, _) => names,
        (true, true) => (1..=automatic).map(|number| format!("g{number}")).collect(),
        (true, false) => one_column_group(),
    })
}

/// The columns of each column group as `table.column`; `None` for a database that is not divided by columns.
pub async fn columns(database: &Database) -> Result<Option<Vec<Vec<String>>>> {
    if database.column_groups.len() == 1 {
        return Ok(None);
    }
    let database = database.clone();
    // SQLite reads the schema, which takes milliseconds when it is large.
    let found = tokio::task::spawn_blocking(move || columns_of_groups(&database)).await;
    found.map_err(|error| Error::internal(error.to_string()))?.map(Some)
}

/// Column groups by name with their columns; null for a database that is not divided by columns.
pub async fn describe(database: &Database) -> Result<Json> {
    let Some(columns) = columns(database).await? else { return Ok(Json::Null) };
    let shown: Map<String, Json> =
        database.column_groups.iter().cloned().zip(columns.into_iter().map(Json::from)).collect();
    Ok(Json::Object(shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::ErrorCode;
    use serde_json::json;

    #[test]
    fn groups_are_those_named_or_one_per_node() {
        let of = |groups: Option<Json>, partition_type| {
            of_new_database(groups.as_ref(), &mut [], partition_type, 3)
        };
        let vertical = PartitionType::Vertical;
        assert_eq!(of(Some(json!({"b": ["x"], "a": ["y"]})), vertical).unwrap(), ["b", "a"]);
        assert_eq!(of(None, PartitionType::Mixed).unwrap(), ["g1", "g2", "g3"]);
        assert_eq!(of(None, PartitionType::Horizontal).unwrap(), one_column_group());
        let refused = |groups, partition_type| of(Some(groups), partition_type).unwrap_err().code;
        assert_eq!(refused(json!({"a": ["x"]}), PartitionType::Horizontal), ErrorCode::BadRequest);
        assert_eq!(refused(json!(["a"]), vertical), ErrorCode::BadRequest);
        assert_eq!(refused(json!({"a": ["x"], "b": ["x"]}), vertical), ErrorCode::BadRequest);
    }
}
