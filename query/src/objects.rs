//! Query objects: the JSON form of the commonest statements.

use common::json::to_json;
use common::protocol::StatementResult;
use common::query_object::{
    CollectionOperation, CollectionQuery, QueryObject, TableOperation, TableQuery, Which,
};
use common::schema::ObjectKind;
use common::{Error, ErrorCode, Result, Value};
use serde_json::{Map, Value as Json, json};

use crate::access::PartitionAccess;
use crate::documents::stored;
use crate::moment::Moment;
use crate::planner::Planner;
use crate::sql::run_one;

/// What a query object answers.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectAnswer {
    /// `data`: rows as objects, a document, or null.
    pub data: Option<Json>,
    /// `affected_rows`, of writes.
    pub affected_rows: Option<u64>,
    /// Whether it was a read.
    pub is_read: bool,
}

impl ObjectAnswer {
    fn read(data: Json) -> ObjectAnswer {
        ObjectAnswer { data: Some(data), affected_rows: None, is_read: true }
    }

    fn write(data: Option<Json>, affected_rows: u64) -> ObjectAnswer {
        ObjectAnswer { data, affected_rows: Some(affected_rows), is_read: false }
    }
}

/// Runs a query object.
pub async fn run(
    planner: &Planner,
    access: &impl PartitionAccess,
    object: QueryObject,
    moment: Moment,
) -> Result<ObjectAnswer> {
    match object {
        QueryObject::Sql(statement) => {
            let result = whole(run_one(planner, access, &statement, u32::MAX).await?)?;
            Ok(if result.is_read {
                ObjectAnswer::read(rows_as_objects(&result)?)
            } else {
                let data = (!result.columns.is_empty()).then(|| rows_as_objects(&result)).transpose()?;
                ObjectAnswer::write(data, result.affected_rows)
            })
        }
        QueryObject::Table(query) => on_table(planner, access, &query).await,
        QueryObject::Collection(query) => on_collection(planner, access, query, moment).await,
    }
}

async fn on_table(
    planner: &Planner,
    access: &impl PartitionAccess,
    query: &TableQuery,
) -> Result<ObjectAnswer> {
    let objects = &planner.database().schema.objects;
    let known = objects
        .iter()
        .any(|object| object.kind != ObjectKind::Index && object.name.eq_ignore_ascii_case(&query.table));
    if !known {
        return Err(Error::new(ErrorCode::TableNotFound, format!("Table '{}' does not exist", query.table)));
    }
    let result = whole(run_one(planner, access, &query.statement(), u32::MAX).await?)?;
    match &query.operation {
        TableOperation::Select { .. } => Ok(ObjectAnswer::read(rows_as_objects(&result)?)),
        TableOperation::Insert { .. } => {
            Ok(ObjectAnswer::write(Some(rows_as_objects(&result)?), result.affected_rows))
        }
        TableOperation::Delete { .. } => Ok(ObjectAnswer::write(None, result.affected_rows)),
        TableOperation::Update { conditions, .. } => {
            let now = TableQuery {
                table: query.table.clone(),
                operation: TableOperation::Select {
                    columns: Vec::new(),
                    conditions: conditions.clone(),
                    order_by: Vec::new(),
                    limit: None,
                },
            };
            let rows = run_one(planner, access, &now.statement(), u32::MAX).await.and_then(whole);
            let rows = rows.and_then(|rows| rows_as_objects(&rows));
            // The update is done, whatever becomes of reading the rows back.
            let rows = rows.map_err(|error| error.with_outcome(common::Outcome::Applied))?;
            Ok(ObjectAnswer::write(Some(rows), result.affected_rows))
        }
    }
}

/// Query objects never truncate.
fn whole(result: StatementResult) -> Result<StatementResult> {
    if result.truncated || result.rows.data.len() > common::limits::RESULT_MAX {
        return Err(Error::new(ErrorCode::ResultTooBig, "the answer is larger than 8 MiB").with_hint(
            "narrow it with where, columns and limit, or stream it from POST /databases/{db}/sql",
        ));
    }
    Ok(result)
}

fn rows_as_objects(result: &StatementResult) -> Result<Json> {
    let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
    let object = |row: Vec<Value>| {
        Json::Object(result.columns.iter().cloned().zip(row.iter().map(to_json)).collect::<Map<_, _>>())
    };
    Ok(Json::Array(rows.into_iter().map(object).collect()))
}

async fn on_collection(
    planner: &Planner,
    access: &impl PartitionAccess,
    query: CollectionQuery,
    moment: Moment,
) -> Result<ObjectAnswer> {
    let collection = &query.collection;
    match query.operation {
        CollectionOperation::Insert { document } => {
            let id = stored::insert_numbered(planner, access, collection, document, moment).await?;
            Ok(ObjectAnswer::write(Some(json!({ "id": id })), 1))
        }
        CollectionOperation::Find { which } => {
            let found = stored::matching(planner, access, collection, &which).await?;
            let mut documents = found.into_iter().map(stored::Stored::plain);
            Ok(ObjectAnswer::read(match which {
                Which::Id(_) => documents.next().unwrap_or(Json::Null),
                Which::Matching(_) => Json::Array(documents.collect()),
            }))
        }
        CollectionOperation::Update { which, document } => {
            let changed = stored::assign(planner, access, collection, &which, &document, moment).await?;
            let data = match which {
                Which::Id(_) => {
                    let found = stored::matching(planner, access, collection, &which).await;
                    let found = found.map_err(|error| error.with_outcome(common::Outcome::Applied))?;
                    Some(found.into_iter().next().map_or(Json::Null, stored::Stored::plain))
                }
                Which::Matching(_) => None,
            };
            Ok(ObjectAnswer::write(data, changed))
        }
        CollectionOperation::Delete { which } => {
            let deleted = stored::remove(planner, access, collection, &which).await?;
            Ok(ObjectAnswer::write(None, deleted))
        }
    }
}
