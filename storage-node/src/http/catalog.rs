//! What is on this node: databases, partitions, and their files.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use common::names::quote_identifier;
use common::partition_map::BucketRange;
use common::protocol::{Params, Statement};
use common::schema::{ATTRIBUTES, DatabaseKind, PartitionType};
use common::{Error, ErrorCode, Value as SqlValue, json};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::AppState;
use super::forward::pass_on;
use super::query::read_all;
use super::reply::{Answer, Refusal, no_such_database, success};
use super::status::databases_by_kind;
use crate::replica::{Replica, snapshots};

/// Documents of a replica whose fields are told.
const DOCUMENTS_LOOKED_AT: u32 = 1_000;

/// `GET /databases`.
pub async fn databases(State(state): State<AppState>) -> Answer {
    success(json!({ "databases": databases_by_kind(&state) }))
}

/// The replicas of a database on this node.
pub fn replicas_of(state: &AppState, database: &str) -> Result<Vec<Arc<Replica>>, Refusal> {
    let mut replicas = state.service.registry().all();
    replicas.retain(|replica| {
        let assignment = replica.assignment();
        assignment.database == database && assignment.mapped
    });
    if replicas.is_empty() { Err(no_such_database(database)) } else { Ok(replicas) }
}

fn kind_of(replicas: &[Arc<Replica>]) -> &'static str {
    match replicas[0].assignment().kind {
        DatabaseKind::Sql => "sql",
        DatabaseKind::NoSql => "nosql",
    }
}

/// `GET /database/{db}/type`.
pub async fn database_type(State(state): State<AppState>, Path(database): Path<String>) -> Answer {
    let replicas = replicas_of(&state, &database)?;
    success(json!({ "type": kind_of(&replicas) }))
}

/// `GET /databases/{db}`: what the catalog says, in this route's own shape.
pub async fn database(
    State(state): State<AppState>,
    Path(database): Path<String>,
) -> Result<Response, Refusal> {
    let replicas = replicas_of(&state, &database)?;
    let kind = kind_of(&replicas);
    let path = format!("/databases/{}", polylite_client::segment(&database));
    let described = match pass_on(&state, Method::GET, &path, None).await {
        Ok(described) => described,
        Err(response) => return Ok(response),
    };
    let mut answer = json!({ "name": database, "type": kind });
    if kind == "sql" {
        answer["tables"] = by_name(&described["database"]["tables"], |table| {
            let columns = table["columns"].as_array().into_iter().flatten().map(|column| {
                json!({ "name": column["name"], "data_type": column["data_type"],
                    "nullable": column["nullable"], "primary_key": column["primary_key"] })
            });
            json!({ "name": table["name"], "columns": columns.collect::<Vec<_>>(), "indexes": table["indexes"] })
        });
    } else {
        let listed = match pass_on(&state, Method::GET, &format!("{path}/collections"), None).await {
            Ok(listed) => listed,
            Err(response) => return Ok(response),
        };
        let mut collections =
            by_name(&listed["collections"], |collection| json!({ "name": collection["name"] }));
        for (name, collection) in collections.as_object_mut().into_iter().flatten() {
            collection["fields"] = fields_of(&replicas, name).await?;
        }
        answer["collections"] = collections;
    }
    Ok(success(json!({ "database": answer })).into_response())
}

/// The fields of a collection and their types, as some documents of each replica here have them. Where attributes lie
/// in several column groups, each replica has its share.
async fn fields_of(replicas: &[Arc<Replica>], collection: &str) -> Result<Value, Error> {
    let table = quote_identifier(collection);
    let mut seen = Vec::new();
    for replica in replicas.iter().map(std::slice::from_ref) {
        let header = Statement { sql: format!("SELECT * FROM {table} LIMIT 0"), params: Params::None };
        let columns = read_all(replica, &header, collection).await?.pop().map(|result| result.columns);
        for column in columns.unwrap_or_default().iter().filter(|name| holds_attributes(name)) {
            let column = quote_identifier(column);
            let sql = format!(
                "SELECT DISTINCT field.key, field.type \
                 FROM (SELECT {column} AS part FROM {table} LIMIT {DOCUMENTS_LOOKED_AT}) AS some, json_each(some.part) AS field"
            );
            for result in read_all(replica, &Statement { sql, params: Params::None }, collection).await? {
                seen.extend(result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?);
            }
        }
    }
    Ok(types_by_field(&seen))
}

/// Whether a column of a collection holds documents, or a share of their attributes.
fn holds_attributes(column: &str) -> bool {
    column == "doc" || column.starts_with(ATTRIBUTES)
}

/// Rows of a field's name and a JSON type, gathered: `{"a":"int","b":"int or str"}`.
fn types_by_field(seen: &[Vec<SqlValue>]) -> Value {
    let mut fields: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in seen {
        let [SqlValue::Text(field), SqlValue::Text(json_type)] = row.as_slice() else { continue };
        let types = fields.entry(field).or_default();
        match json_type.as_str() {
            "integer" => drop(types.insert("int")),
            "real" => drop(types.insert("float")),
            "text" => drop(types.insert("str")),
            "true" | "false" => drop(types.insert("bool")),
            "array" => drop(types.insert("list")),
            "object" => drop(types.insert("dict")),
            // A null says nothing about the field's type.
            _ => {}
        }
    }
    let named = fields.into_iter().map(|(field, types)| {
        let types: Vec<&str> = types.into_iter().collect();
        (field.to_owned(), Value::from(if types.is_empty() { "null".to_owned() } else { types.join(" or ") }))
    });
    Value::Object(named.collect())
}

/// A list of named things as an object keyed by their names.
fn by_name(list: &Value, describe: impl Fn(&Value) -> Value) -> Value {
    let named = list.as_array().into_iter().flatten();
    let named = named.filter_map(|item| Some((item["name"].as_str()?.to_owned(), describe(item))));
    Value::Object(named.collect::<Map<_, _>>())
}

/// Which partition's file is wanted.
#[derive(Deserialize)]
pub struct WhichFile {
    partition: Option<String>,
}

/// `GET /database/{db}/file`: a copy of a partition's SQLite file, as of one moment.
pub async fn file(
    State(state): State<AppState>,
    Path(database): Path<String>,
    Query(which): Query<WhichFile>,
) -> Result<Response, Refusal> {
    let replica = choose(replicas_of(&state, &database)?, which.partition.as_deref())?;
    if replica.published().readers().is_none() {
        return Err(Refusal(Error::new(ErrorCode::Unavailable, "the replica is waiting for a snapshot")));
    }
    let (dir, generation) = (replica.dir().clone(), replica.published().generation());
    let applied = replica.published().applied();
    let upkeep = replica.upkeep().clone();
    let opened = tokio::task::spawn_blocking(move || {
        let outgoing =
            snapshots::outgoing(&dir, generation, applied, &upkeep).map_err(|error| error.to_string())?;
        std::fs::File::open(outgoing.path).map_err(|error| error.to_string())
    })
    .await;
    let failed = |text: String| Refusal(Error::internal(text));
    let file = opened.map_err(|panic| failed(panic.to_string()))?.map_err(failed)?;
    let body = Body::from_stream(tokio_util::io::ReaderStream::new(tokio::fs::File::from_std(file)));
    let disposition = format!("attachment; filename=\"{database}-{}.db\"", replica.partition());
    let headers = [(CONTENT_TYPE, "application/vnd.sqlite3".to_owned()), (CONTENT_DISPOSITION, disposition)];
    Ok((headers, body).into_response())
}

fn choose(mut replicas: Vec<Arc<Replica>>, wanted: Option<&str>) -> Result<Arc<Replica>, Refusal> {
    if let Some(wanted) = wanted {
        let found = replicas
            .into_iter()
            .find(|replica| replica.assignment().uuid == wanted || replica.partition().to_string() == wanted);
        let missing = || Error::new(ErrorCode::PartitionNotFound, format!("Partition '{wanted}' not found"));
        return found.ok_or_else(|| Refusal(missing()));
    }
    if replicas.len() > 1 {
        let error = Error::bad_request("the node holds several partitions of the database")
            .with_hint("name one with ?partition=, see GET /partitions/{db}");
        return Err(Refusal(error));
    }
    Ok(replicas.remove(0))
}

/// `GET /partitions`.
pub async fn partitions(State(state): State<AppState>) -> Answer {
    let partitions: Vec<Value> =
        state.service.registry().all().iter().map(|replica| describe(&state, replica)).collect();
    success(json!({ "partitions": partitions }))
}

/// `GET /partitions/{db}`.
pub async fn partitions_of(State(state): State<AppState>, Path(database): Path<String>) -> Answer {
    let replicas = replicas_of(&state, &database)?;
    let partitions: Vec<Value> = replicas.iter().map(|replica| describe(&state, replica)).collect();
    success(json!({ "partitions": partitions }))
}

/// A partition as clients know it, with what this node knows of it.
fn describe(_state: &AppState, replica: &Replica) -> Value {
    let assignment = replica.assignment();
    let report = replica.report();
    let node_of = |id: Option<common::ReplicaId>| {
        id.and_then(|id| assignment.peers.get(&id)).map(|peer| peer.node.as_str().to_owned())
    };
    let nodes: Vec<&str> = assignment.peers.values().map(|peer| peer.node.as_str()).collect();
    let mut partition = json!({
        "id": assignment.uuid,
        "replica": report.replica.0,
        "database_name": assignment.database,
        "partition_type": assignment.partition_type.as_str(),
        "partition_key": assignment.partition_key,
        "storage_nodes": nodes,
        "leader": node_of(report.leader),
        "rows": report.rows,
        "bytes": report.bytes,
        "applied_index": report.applied,
    });
    if assignment.kind == DatabaseKind::Sql {
        partition["partition_value"] = range_as_json(&assignment.range);
    }
    if assignment.partition_type != PartitionType::Horizontal {
        partition["columns"] = Value::Null;
    }
    partition
}

fn range_as_json(range: &BucketRange) -> Value {
    match range {
        BucketRange::Slots { first, last } => json!({ "slots": [first, last] }),
        BucketRange::Keys { from, to } => {
            json!({ "from": from.as_ref().map(json::to_json), "to": to.as_ref().map(json::to_json) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_every_type_that_was_seen_in_it() {
        let row = |field: &str, json_type: &str| vec![SqlValue::from(field), SqlValue::from(json_type)];
        let seen = [
            row("a", "integer"),
            row("b", "text"),
            row("b", "integer"),
            row("a", "null"),
            row("c", "true"),
            row("c", "false"),
            row("d", "null"),
        ];
        let fields = json!({ "a": "int", "b": "int or str", "c": "bool", "d": "null" });
        assert_eq!(types_by_field(&seen), fields);
    }
}
