//! `/cluster`: the coordinators, operations, and what is not well.

use axum::extract::State;
use common::catalog::{Catalog, Operation, OperationState, OperationWork, Partition, Replica, ReplicaRole};
use common::names::check_node_id;
use common::protocol::ReplicaReport;
use common::{Error, ErrorCode, NodeId, PartitionId};
use http::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::answer::success_seen;
use super::app::App;
use super::body::JsonBody;
use super::databases::seen_catalog;
use super::failure::Answer;
use super::request::Segments;
use crate::catalog::coordinator_address;
use crate::gateway::ready;

/// Who leads, who belongs to the cluster, and what is not well.
#[utoipa::path(get, path = "/cluster/status", tag = "Cluster",
    responses((status = 200, description = "`{\"is_leader\",\"leader\",\"address\",\"term\",\"coordinators\",\
        \"nodes\",\"under_replicated\",\"quarantined\",\"in_doubt_transactions\",\
        \"partitioning\"}`")))]
pub async fn status(State(app): State<App>) -> Answer {
    // Not confirmed: this has to be told also when the coordinators cannot agree.
    let catalog = app.catalog.view();
    let ids: Vec<PartitionId> = catalog.partitions.keys().copied().collect();
    let facts = app.health.ask(&ids).await;
    let in_doubt: u64 = facts.values().map(|facts| u64::from(facts.in_doubt)).sum();
    let quarantined = quarantined(&catalog, facts.values().flat_map(|facts| facts.replicas.values()));
    let under_replicated = catalog
        .partitions
        .values()
        .filter(|partition| {
            let wanted =
                catalog.databases.get(&partition.database).map_or(0, |database| database.replication_factor);
            let answering = facts.get(&partition.id).map_or(0, |facts| facts.replicas.len());
            // A learner does not count for a quorum yet.
            let voters =
                partition.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter).count();
            answering.min(voters) < wanted as usize
        })
        .count();
    let coordinators = catalog.coordinators.values().map(|coordinator| {
        let role = if coordinator.role == ReplicaRole::Voter { "voter" } else { "learner" };
        json!({ "id": coordinator.replica.0, "address": coordinator.address(), "role": role })
    });
    let status = json!({
        "is_leader": app.catalog.is_leader(),
        "leader": app.catalog.leader_address(),
        "address": app.address,
        "cluster": catalog.cluster,
        "term": app.catalog.term(),
        "catalog_version": catalog.version,
        "coordinators": coordinators.collect::<Vec<_>>(),
        "nodes": nodes(&catalog),
        "partitions": catalog.partitions.len(),
        "under_replicated": under_replicated,
        "quarantined": quarantined,
        "in_doubt_transactions": in_doubt,
        "partitioning": super::partitioning::shown(&catalog),
    });
    Ok(success_seen(status, &seen_catalog(&app)))
}

/// Replicas that serve nothing because they are damaged or have diverged, and why.
pub(super) fn quarantined<'r>(
    catalog: &Catalog,
    reports: impl Iterator<Item = &'r ReplicaReport>,
) -> Vec<Json> {
    let shown = |report: &ReplicaReport| {
        let reason = report.quarantined.as_ref()?;
        let partition = catalog.partitions.get(&report.partition)?;
        let replica = partition.replicas.iter().find(|replica| replica.id == report.replica)?;
        Some(json!({
            "partition": partition.uuid,
            "database": partition.database,
            "node": replica.node,
            "reason": reason,
        }))
    };
    reports.filter_map(shown).collect()
}

fn nodes(catalog: &Catalog) -> Map<String, Json> {
    let shown = |node: &common::catalog::Node| json!({ "host": node.host, "port": node.port, "status": node.status.as_str() });
    catalog.nodes.values().map(|node| (node.id.to_string(), shown(node))).collect()
}

/// Makes this coordinator join another one's cluster.
#[utoipa::path(post, path = "/cluster/join", tag = "Cluster",
    request_body(content = Object, description = "`coordinator_address`*: `http://host:port`"),
    responses((status = 200, description = "It belongs to that cluster"),
        (status = 422, description = "`not_supported`: this coordinator's own cluster is in use; \
            `node_unreachable`: no coordinator answers there")))]
pub async fn join(State(app): State<App>, JsonBody(mut body): JsonBody) -> Answer {
    let url = body.required_text("coordinator_address")?;
    body.done()?;
    let bookmark = app.joins.join(coordinator_address(&url)?).await?;
    let message = format!("Joined cluster with coordinator at {url}");
    Ok(success_seen(json!({ "message": message }), &bookmark))
}

/// Takes a coordinator out of the cluster for good: this one or, by its address, one that is gone.
#[utoipa::path(post, path = "/cluster/leave", tag = "Cluster",
    request_body(content = Object, description = "`address`: `host:port` as `/cluster/status` shows it; left out, the \
        coordinator that is asked leaves"),
    responses((status = 200, description = "The others go on without it; it may be stopped"),
        (status = 404, description = "`node_not_found`: no coordinator has that address"),
        (status = 409, description = "`node_in_use`: it is the only one"),
        (status = 503, description = "`no_quorum`: too few of the others answer")))]
pub async fn leave(State(app): State<App>, JsonBody(mut body): JsonBody) -> Answer {
    let address = body.text("address")?.unwrap_or_else(|| app.catalog.address().to_owned());
    body.done()?;
    let coordinators = app.catalog.confirmed().await?.coordinators.clone();
    let leaving = coordinators.values().find(|coordinator| coordinator.address() == address);
    let leaving = leaving.ok_or_else(|| {
        Error::new(ErrorCode::NodeNotFound, format!("Coordinator '{address}' not found"))
            .with_hint("GET /cluster/status names the coordinators; one that has left is not asked any more")
    })?;
    app.catalog.leave(leaving.replica).await?;
    let message = format!("Coordinator '{address}' has left the cluster");
    Ok(success_seen(json!({ "message": message }), &seen_catalog(&app)))
}

/// How an operation is coming along.
#[utoipa::path(get, path = "/cluster/operations/{id}", tag = "Cluster", params(("id" = String, Path)),
    responses((status = 200, description = "`{\"state\",\"progress\",\"error\"}`"), (status = 404, description = "`not_found`")))]
pub async fn operation(State(app): State<App>, Segments(id): Segments<String>) -> Answer {
    let operation = app.operations.get(&id).await?;
    Ok(success_seen(describe(&app.catalog.view(), &operation), &seen_catalog(&app)))
}

fn describe(catalog: &Catalog, operation: &Operation) -> Json {
    let progress = match operation.state {
        OperationState::Pending => 0,
        OperationState::Running => progress(catalog, &operation.work),
        OperationState::Completed | OperationState::Failed | OperationState::Cancelled => 100,
    };
    let time = |millis: u64| {
        i64::try_from(millis)
            .ok()
            .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
            .map(|time| time.to_string())
    };
    json!({
        "operation": operation.id,
        "state": operation.state,
        "progress": progress,
        "error": operation.error.as_ref().map(|error| &error.message),
        "started_at": time(operation.started_at),
        "ended_at": operation.ended_at.and_then(time),
    })
}

/// How much of the work is done, in percent, where that can be counted.
fn progress(catalog: &Catalog, work: &OperationWork) -> usize {
    let OperationWork::DrainNode { node, replicas } = work else { return 50 };
    let held = catalog.partitions.values().flat_map(|partition| &partition.replicas);
    let left = held.filter(|replica| replica.node == *node && replica.role != ReplicaRole::Lost).count();
    100 * replicas.saturating_sub(left) / (*replicas).max(1)
}

/// Gives an operation up.
#[utoipa::path(delete, path = "/cluster/operations/{id}", tag = "Cluster", params(("id" = String, Path)),
    responses((status = 200, description = "It is cancelled"), (status = 400, description = "It has ended already"),
        (status = 404, description = "`not_found`"),
        (status = 422, description = "`not_supported`: operations of this kind run to their end")))]
pub async fn cancel_operation(State(app): State<App>, Segments(id): Segments<String>) -> Answer {
    app.operations.cancel(&id).await?;
    let message = format!("Operation '{id}' cancelled");
    Ok(success_seen(json!({ "message": message }), &seen_catalog(&app)))
}

/// Has the replica on another node lead a partition.
#[utoipa::path(post, path = "/cluster/partitions/{id}/transfer-leader", tag = "Cluster",
    params(("id" = String, Path)), request_body(content = Object, description = "`to`*: a storage node's id"),
    responses((status = 202, description = "`{\"operation\":\"<id>\"}`"),
        (status = 404, description = "`partition_not_found` or `node_not_found`")))]
pub async fn transfer_leader(
    State(app): State<App>,
    Segments(id): Segments<String>,
    JsonBody(mut body): JsonBody,
) -> Answer {
    let to = body.required_text("to")?;
    body.done()?;
    check_node_id(&to)?;
    let catalog = app.catalog.confirmed().await?;
    let (partition, node) = find(&catalog, &id, &to)?;
    let votes = |replica: &&Replica| replica.node == node && replica.role == ReplicaRole::Voter;
    let replica = partition.replicas.iter().find(votes).ok_or_else(|| {
        Error::bad_request(format!("'to': storage node '{to}' holds no voting replica of this partition"))
    })?;
    let operation = app.operations.transfer_leader(partition.id, replica.id).await?;
    Ok(accepted(&app, &operation))
}

/// An operation was begun.
pub(super) fn accepted(app: &App, operation: &str) -> axum::response::Response {
    let mut response = success_seen(json!({ "operation": operation }), &seen_catalog(app));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// A partition and a node by their ids.
pub(super) fn find<'c>(catalog: &'c Catalog, id: &str, node: &str) -> Result<(&'c Partition, NodeId), Error> {
    let partition = catalog
        .partitions
        .values()
        .find(|partition| partition.uuid == id && ready(catalog, &partition.database).is_some())
        .ok_or_else(|| Error::new(ErrorCode::PartitionNotFound, format!("Partition '{id}' not found")))?;
    let found = NodeId::from(node);
    if !catalog.nodes.contains_key(&found) {
        return Err(Error::new(ErrorCode::NodeNotFound, format!("Storage node '{node}' not found")));
    }
    Ok((partition, found))
}
