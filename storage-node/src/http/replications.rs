//! Copies of databases on this node, made by request.
//!
//! The catalog makes them: one operation for each partition, resumed by whichever coordinator leads. This node
//! remembers which operations a request has begun, and asks a coordinator how they are.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use common::{Error, ErrorCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::AppState;
use super::body::JsonBody;
use super::forward::pass_on;
use super::reply::{Refusal, success};

/// Tasks that are remembered.
const TASKS_KEPT: usize = 100;

/// The tasks begun by requests to this process, the newest last.
#[derive(Default)]
pub struct Replications {
    tasks: Mutex<VecDeque<Arc<Task>>>,
}

struct Task {
    id: String,
    database: String,
    source: Value,
    operations: Vec<String>,
    started: Timestamp,
}

/// How a task is, by its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Replications {
    fn all(&self) -> Vec<Arc<Task>> {
        self.tasks.lock().iter().cloned().collect()
    }

    fn find(&self, id: &str) -> Result<Arc<Task>, Refusal> {
        let missing = || Error::new(ErrorCode::NotFound, format!("Replication task '{id}' does not exist"));
        self.tasks.lock().iter().rev().find(|task| task.id == id).cloned().ok_or_else(|| missing().into())
    }

    fn remember(&self, task: Task) {
        let mut tasks = self.tasks.lock();
        tasks.push_back(Arc::new(task));
        if tasks.len() > TASKS_KEPT {
            tasks.pop_front();
        }
    }
}

impl Status {
    fn of(operations: &[Value]) -> Status {
        let any = |state: &str| operations.iter().any(|operation| operation["state"] == state);
        match (any("pending"), any("running"), any("completed")) {
            (true, false, false) => Status::Pending,
            (true, ..) | (_, true, _) => Status::Running,
            _ if any("failed") => Status::Failed,
            _ if any("cancelled") => Status::Cancelled,
            _ => Status::Completed,
        }
    }

    fn has_ended(self) -> bool {
        !matches!(self, Status::Pending | Status::Running)
    }

    fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }
}

/// `GET /replications`.
pub async fn list(State(state): State<AppState>) -> Result<Response, Response> {
    let mut tasks = Vec::new();
    for task in state.replications.all() {
        tasks.push(describe(&task, &operations_of(&state, &task).await?));
    }
    Ok(success(json!({ "tasks": tasks })).into_response())
}

/// `GET /replications/{task}`.
pub async fn get(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, Response> {
    let task = state.replications.find(&id).map_err(Refusal::into_response)?;
    let operations = operations_of(&state, &task).await?;
    Ok(success(json!({ "task": describe(&task, &operations) })).into_response())
}

/// `POST /replications`: this node becomes a replica of every partition of a database.
pub async fn begin(State(state): State<AppState>, body: JsonBody) -> Result<Response, Response> {
    let refuse = |error: Error| Refusal(error).into_response();
    let wanted = body.required().map_err(refuse)?;
    let Some(database) = wanted["db_name"].as_str().filter(|_| wanted["source_node"].is_object()) else {
        return Err(refuse(Error::bad_request("Missing required fields")));
    };
    for task in state.replications.all().iter().filter(|task| task.database == database) {
        if !Status::of(&operations_of(&state, task).await?).has_ended() {
            let message = format!("Replication of database '{database}' is already running");
            return Err(refuse(Error::bad_request(message)));
        }
    }
    let unnamed = || refuse(Error::new(ErrorCode::Unavailable, "no coordinator has registered the node yet"));
    let node = state.service.node().ok_or_else(unnamed)?;
    let operations = state.neighbours.replicate(database, &node).await.map_err(refuse)?;
    let started = Timestamp::now();
    state.replications.remember(Task {
        id: format!("replicate_{database}_{}", started.as_second()),
        database: database.to_owned(),
        source: wanted["source_node"].clone(),
        operations,
        started,
    });
    let message = format!("Replication of database '{database}' started");
    Ok(success(json!({ "message": message })).into_response())
}

/// `DELETE /replications/{task}`.
pub async fn cancel(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, Response> {
    let task = state.replications.find(&id).map_err(Refusal::into_response)?;
    let operations = operations_of(&state, &task).await?;
    let status = Status::of(&operations);
    if status.has_ended() {
        let message = format!("Replication task '{id}' is {} already", status.as_str());
        return Err(Refusal(Error::bad_request(message)).into_response());
    }
    for operation in operations.iter().filter(|operation| operation["ended_at"].is_null()) {
        let path = format!("/cluster/operations/{}", operation["operation"].as_str().unwrap_or_default());
        pass_on(&state, Method::DELETE, &path, None).await?;
    }
    Ok(success(json!({ "message": format!("Replication task '{id}' cancelled") })).into_response())
}

/// What a coordinator says of a task's operations. Those that it has forgotten ended long ago.
async fn operations_of(state: &AppState, task: &Task) -> Result<Vec<Value>, Response> {
    let mut operations = Vec::with_capacity(task.operations.len());
    for id in &task.operations {
        match pass_on(state, Method::GET, &format!("/cluster/operations/{id}"), None).await {
            Ok(operation) => operations.push(operation),
            Err(refused) if refused.status() == StatusCode::NOT_FOUND => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(operations)
}

fn describe(task: &Task, operations: &[Value]) -> Value {
    let status = Status::of(operations);
    let progress: u64 = operations.iter().filter_map(|operation| operation["progress"].as_u64()).sum();
    let ended = operations.iter().filter_map(|operation| operation["ended_at"].as_str()).max();
    let started = task.started.to_string();
    json!({
        "id": task.id,
        "db_name": task.database,
        "source_node": task.source,
        "status": status.as_str(),
        "progress": progress.checked_div(operations.len() as u64).unwrap_or(100),
        "error": operations.iter().find_map(|operation| operation["error"].as_str()),
        "start_time": started,
        "end_time": status.has_ended().then(|| ended.unwrap_or(&started)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_as_far_as_its_operations() {
        let status = |states: &[&str]| {
            let operations: Vec<Value> = states.iter().map(|state| json!({ "state": state })).collect();
            Status::of(&operations).as_str()
        };
        assert_eq!(status(&[]), "completed");
        assert_eq!(status(&["pending", "pending"]), "pending");
        assert_eq!(status(&["pending", "completed"]), "running");
        assert_eq!(status(&["running", "failed"]), "running");
        assert_eq!(status(&["completed", "failed"]), "failed");
        assert_eq!(status(&["completed", "cancelled"]), "cancelled");
        assert_eq!(status(&["completed", "completed"]), "completed");
    }

    #[test]
    fn a_task_tells_its_share_and_its_first_error() {
        let task = Task {
            id: "replicate_d_1".into(),
            database: "d".into(),
            source: json!({ "id": "n1" }),
            operations: vec!["op-1".into(), "op-2".into()],
            started: Timestamp::UNIX_EPOCH,
        };
        let operations = [
            json!({ "state": "completed", "progress": 100, "error": null, "ended_at": "1970-01-01T00:00:02Z" }),
            json!({ "state": "failed", "progress": 100, "error": "lost", "ended_at": "1970-01-01T00:00:03Z" }),
        ];
        let told = describe(&task, &operations);
        assert_eq!((&told["status"], &told["progress"]), (&json!("failed"), &json!(100)));
        assert_eq!((&told["error"], &told["end_time"]), (&json!("lost"), &json!("1970-01-01T00:00:03Z")));
        assert_eq!(describe(&task, &[])["end_time"], "1970-01-01T00:00:00Z");
    }
}
