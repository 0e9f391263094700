//! `POST /query/{db}`: reads see the replicas on this node, each as fresh as its leader; rows of partitions
//! that have no replica here are absent. Everything that changes something is a coordinator's business, and so are
//! rows whose columns lie in several column groups: a node may hold some of them only.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use common::json::{from_json, to_json};
use common::names::quote_identifier;
use common::protocol::{Params, PartitionTarget, ReadLevel, ReadRequest, Statement, StatementResult};
use common::query_object::{
    CollectionOperation, CollectionQuery, QueryObject, TableOperation, TableQuery, Which,
};
use common::schema::{DOCUMENT_ID, DatabaseKind, PartitionType};
use common::{Error, ErrorCode, Result, Value};
use serde_json::{Map, Value as JsonValue, json};

use super::AppState;
use super::body::JsonBody;
use super::forward::{self, pass_on};
use super::reply::{Refusal, success};
use crate::replica::Replica;
use crate::replica::reading::Deadline;

/// The reference client gives up after five seconds, so it must have its answer before.
const TIME_LIMIT: Duration = Duration::from_secs(4);

/// The route.
pub async fn query(
    State(state): State<AppState>,
    Path(database): Path<String>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let body = body.required()?;
    let mut replicas = state.service.registry().all();
    replicas.retain(|replica| {
        let assignment = replica.assignment();
        assignment.database == database && assignment.mapped
    });
    let kind = replicas.first().map_or(DatabaseKind::Sql, |replica| replica.assignment().kind);
    let is_divided =
        |replica: &Arc<Replica>| replica.assignment().partition_type != PartitionType::Horizontal;
    let is_whole = !replicas.iter().any(is_divided);
    let data = match QueryObject::parse(body.clone(), kind)? {
        QueryObject::Table(TableQuery {
            table,
            operation: TableOperation::Select { columns, conditions, order_by, limit },
        }) if is_whole => {
            let select = Select { columns, order_by, limit };
            select.run(&replicas, &table, conditions).await?
        }
        QueryObject::Collection(CollectionQuery {
            collection,
            operation: CollectionOperation::Find { which },
        }) if is_whole => find(&replicas, &collection, &which).await?,
        _ => {
            let path = format!("/query/{}", polylite_client::segment(&database));
            let mut answered = pass_on(&state, Method::POST, &path, Some(&body)).await;
            if let Ok(JsonValue::Object(answer)) = &mut answered {
                answer.entry("error").or_insert(JsonValue::Null);
                answer.entry("affected_rows").or_insert(JsonValue::from(0));
            }
            return Ok(forward::answer(answered));
        }
    };
    Ok(success(json!({ "data": data, "error": null, "affected_rows": 0 })).into_response())
}

/// What a query object selects, beside its conditions.
struct Select {
    columns: Vec<String>,
    order_by: Vec<(String, bool)>,
    limit: Option<u64>,
}

impl Select {
    /// Each replica answers its own rows in order; they are put in order and cut once more here. Values are
    /// compared as SQLite's BINARY collation does.
    async fn run(
        self,
        replicas: &[Arc<Replica>],
        table: &str,
        conditions: Vec<common::query_object::Condition>,
    ) -> Result<JsonValue> {
        let Select { mut columns, order_by, limit } = self;
        let width = columns.len();
        if width > 0 {
            columns.extend(order_by.iter().map(|(column, _)| column.clone()));
        }
        let operation = TableOperation::Select { columns, conditions, order_by: order_by.clone(), limit };
        let statement = TableQuery { table: table.to_owned(), operation }.statement();
        let mut names = Vec::new();
        let mut rows: Vec<Vec<Value>> = Vec::new();
        for result in read_all(replicas, &statement, table).await? {
            rows.extend(result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?);
            names = result.columns;
        }
        let keys: Vec<(usize, bool)> = order_by
            .iter()
            .enumerate()
            .map(|(number, (column, descending))| {
                let named = || names.iter().position(|name| name.eq_ignore_ascii_case(column));
                (if width > 0 { width + number } else { named().unwrap_or(0) }, *descending)
            })
            .collect();
        rows.sort_by(|left, right| {
            let compared = keys.iter().map(|&(key, descending)| {
                let order = left[key].compare(&right[key]);
                if descending { order.reverse() } else { order }
            });
            compared.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        rows.truncate(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)));
        let shown = if width > 0 { width } else { names.len() };
        let object = |row: Vec<Value>| {
            let fields = names.iter().take(shown).cloned().zip(row.iter().map(to_json));
            JsonValue::Object(fields.collect::<Map<_, _>>())
        };
        Ok(JsonValue::Array(rows.into_iter().map(object).collect()))
    }
}

/// Documents by id, or by equality of their own fields.
async fn find(replicas: &[Arc<Replica>], collection: &str, which: &Which) -> Result<JsonValue> {
    let table = quote_identifier(collection);
    let mut params = Vec::new();
    let mut terms = Vec::new();
    match which {
        Which::Id(id) => {
            terms.push(format!("{DOCUMENT_ID} = ?"));
            params.push(id.clone());
        }
        Which::Matching(filter) => {
            for (field, value) in filter {
                let value = from_json(value).map_err(|_| {
                    Error::not_supported(
                        "a storage node finds documents by equality of plain values only",
                        "send the query to a coordinator",
                    )
                })?;
                terms.push("(doc ->> ?) IS ?".to_owned());
                params.push(Value::Text(format!("$.{}", JsonValue::from(field.as_str()))));
                params.push(value);
            }
        }
    }
    let filter = if terms.is_empty() { String::new() } else { format!(" WHERE {}", terms.join(" AND ")) };
    let params = if params.is_empty() { Params::None } else { Params::Positional(params) };
    let statement = Statement { sql: format!("SELECT json(doc) FROM {table}{filter}"), params };
    let mut documents = Vec::new();
    for result in read_all(replicas, &statement, collection).await? {
        for row in result.rows.to_values().map_err(|error| Error::internal(error.to_string()))? {
            let Some(Value::Text(text)) = row.first() else { continue };
            let document = serde_json::from_str(text).map_err(|error| Error::internal(error.to_string()))?;
            documents.push(document);
        }
    }
    Ok(match which {
        Which::Id(_) => documents.into_iter().next().unwrap_or(JsonValue::Null),
        Which::Matching(_) => JsonValue::Array(documents),
    })
}

/// Rows of every replica of a database on this node.
pub(super) async fn read_all(
    replicas: &[Arc<Replica>],
    statement: &Statement,
    table: &str,
) -> Result<Vec<StatementResult>> {
    let mut results = Vec::with_capacity(replicas.len());
    for replica in replicas {
        let result = read_own(replica, statement).await.map_err(|error| {
            if error.message.starts_with("no such table") {
                return Error::new(ErrorCode::TableNotFound, format!("Table '{table}' does not exist"));
            }
            error
        })?;
        if result.truncated {
            return Err(Error::new(ErrorCode::ResultTooBig, "the answer is larger than 8 MiB")
                .with_hint("ask for fewer rows with 'limit'"));
        }
        results.push(result);
    }
    Ok(results)
}

/// Reads a replica of this node once it has applied what its leader had committed when the read began.
async fn read_own(replica: &Replica, statement: &Statement) -> Result<StatementResult> {
    let timeout_ms = u64::try_from(TIME_LIMIT.as_millis()).unwrap_or(u64::MAX);
    let at_least = replica.confirmed_index(Deadline::after(timeout_ms)).await?;
    let request = ReadRequest {
        target: PartitionTarget {
            partition: replica.partition(),
            epoch: replica.published().epoch(),
            schema_version: replica.published().schema_version(),
            timeout_ms,
        },
        level: ReadLevel::Stale,
        at_least,
        pin: None,
        statement: statement.clone(),
        max_rows: Some(common::limits::ROWS_MAX),
    };
    let (result, _) = replica.read(request).await?;
    Ok(result)
}
