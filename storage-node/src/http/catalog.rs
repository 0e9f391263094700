//! What is on this node: databases, partitions, and their files.

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use common::partition_map::BucketRange;
use common::schema::{DatabaseKind, PartitionType};
use common::{Error, ErrorCode, json};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

use super::AppState;
use super::forward::pass_on;
use super::reply::{Answer, Refusal, no_such_database, success};
use super::status::databases_by_kind;
use crate::replica::{Replica, snapshots};

/// `GET /databases`.
pub async fn databases(State(state): State<AppState>) -> Answer {
    success(json!({ "databases": databases_by_kind(&state) }))
}

/// The replicas of a database on this node.
pub fn replicas_of(state: &AppState, database: &str) -> Result<Vec<Arc<Replica>>, Refusal> {
    let mut replicas = state.service.registry().all();
    replicas.retain(|replica| replica.assignment().database == database);
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
    let described = match pass_on(&state, Method::GET, &path, &Bytes::new()).await {
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
        let listed = match pass_on(&state, Method::GET, &format!("{path}/collections"), &Bytes::new()).await {
            Ok(listed) => listed,
            Err(response) => return Ok(response),
        };
        answer["collections"] =
            by_name(&listed["collections"], |collection| json!({ "name": collection["name"], "fields": {} }));
    }
    Ok(success(json!({ "database": answer })).into_response())
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
    let opened = tokio::task::spawn_blocking(move || {
        let outgoing = snapshots::outgoing(&dir, generation, applied).map_err(|error| error.to_string())?;
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
