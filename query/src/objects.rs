//! Query objects: the JSON form of the commonest statements.

use common::json::to_json;
use common::protocol::{Statement, StatementResult};
use common::query_object::{
    CollectionOperation, CollectionQuery, Condition, QueryObject, TableOperation, TableQuery, Which,
};
use common::schema::ObjectKind;
use common::{Error, ErrorCode, Result, Value};
use serde_json::{Map, Value as Json, json};

use crate::access::PartitionAccess;
use crate::documents::{objects, stored};
use crate::moment::Moment;
use crate::planner::Planner;
use crate::sql::{self, SqlRequest, run_one};

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
    if let TableOperation::Update { conditions, .. } = &query.operation {
        return update_table(planner, access, query, conditions).await;
    }
    let result = whole(run_one(planner, access, &query.statement(), u32::MAX).await?)?;
    match &query.operation {
        TableOperation::Select { .. } => Ok(ObjectAnswer::read(rows_as_objects(&result)?)),
        TableOperation::Insert { .. } => {
            Ok(ObjectAnswer::write(Some(rows_as_objects(&result)?), result.affected_rows))
        }
        TableOperation::Delete { .. } | TableOperation::Update { .. } => {
            Ok(ObjectAnswer::write(None, result.affected_rows))
        }
    }
}

/// An update answers the rows that fulfil its conditions afterwards.
async fn update_table(
    planner: &Planner,
    access: &impl PartitionAccess,
    query: &TableQuery,
    conditions: &[Condition],
) -> Result<ObjectAnswer> {
    let now = TableQuery {
        table: query.table.clone(),
        operation: TableOperation::Select {
            columns: Vec::new(),
            conditions: conditions.to_vec(),
            order_by: Vec::new(),
            limit: None,
        },
    };
    let (affected_rows, rows) = write_and_read(planner, access, query.statement(), now.statement()).await?;
    // The update is done, whatever becomes of its rows' writing.
    let applied = |error: Error| error.with_outcome(common::Outcome::Applied);
    let rows = whole(rows).and_then(|rows| rows_as_objects(&rows)).map_err(applied)?;
    Ok(ObjectAnswer::write(Some(rows), affected_rows))
}

/// Runs a write, and a read that sees what it wrote.
async fn write_and_read(
    planner: &Planner,
    access: &impl PartitionAccess,
    write: Statement,
    read: Statement,
) -> Result<(u64, StatementResult)> {
    if access.holds_writes_back() {
        let request =
            SqlRequest { statements: vec![write, read], atomic: true, max_rows: u32::MAX, read_only: false };
        let mut results = sql::run(planner, access, request).await?.results.into_iter();
        let missing = || Error::internal("a statement has no result");
        let written = results.next().ok_or_else(missing)??;
        return Ok((written.affected_rows, results.next().ok_or_else(missing)??));
    }
    let written = run_one(planner, access, &write, u32::MAX).await?;
    let rows = run_one(planner, access, &read, u32::MAX).await;
    // The write is done, whatever becomes of reading its rows back.
    let rows = rows.map_err(|error| error.with_outcome(common::Outcome::Applied))?;
    Ok((written.affected_rows, rows))
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
            let found = objects::matching(planner, access, collection, &which).await?;
            let mut documents = found.into_iter().map(stored::Stored::plain);
            Ok(ObjectAnswer::read(match which {
                Which::Id(_) => documents.next().unwrap_or(Json::Null),
                Which::Matching(_) => Json::Array(documents.collect()),
            }))
        }
        CollectionOperation::Update { which, document } => {
            let (changed, document) =
                objects::assign(planner, access, collection, &which, &document, moment).await?;
            let data = match which {
                Which::Id(_) => Some(document.map_or(Json::Null, stored::Stored::plain)),
                Which::Matching(_) => None,
            };
            Ok(ObjectAnswer::write(data, changed))
        }
        CollectionOperation::Delete { which } => {
            let deleted = objects::remove(planner, access, collection, &which).await?;
            Ok(ObjectAnswer::write(None, deleted))
        }
    }
}
