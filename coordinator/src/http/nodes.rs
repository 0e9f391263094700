//! `/nodes`: storage nodes, registered, shown, removed.

use std::time::Duration;

use axum::extract::State;
use common::catalog::{Catalog, Node, NodeStatus, address};
use common::names::check_node_id;
use common::protocol::NodeHealth;
use common::{Error, ErrorCode, NodeId, Result};
use serde_json::{Map, Value as Json, json};

use super::answer::success_seen;
use super::app::App;
use super::body::JsonBody;
use super::cluster::{accepted, quarantined};
use super::databases::seen_catalog;
use super::failure::Answer;
use super::fields::{Fields, missing};
use super::request::Segments;
use crate::catalog::{Answer as CatalogAnswer, Command};
use crate::health::check_cluster;

/// How long a node that is introduced may take to say who it is.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// Storage nodes by id.
#[utoipa::path(get, path = "/nodes", tag = "Nodes",
    responses((status = 200, description = "`{\"nodes\":{\"<id>\":{\"id\",\"host\",\"port\",\"status\",\"databases\"}}}`, \
        with `quarantined` where replicas are")))]
pub async fn list(State(app): State<App>) -> Answer {
    let catalog = app.catalog.confirmed().await?;
    // Without it the list is true, and says less.
    let health = app.health.nodes().await.unwrap_or_default();
    let nodes: Map<String, Json> =
        catalog.nodes.values().map(|node| (node.id.to_string(), describe(&catalog, node, &health))).collect();
    Ok(success_seen(json!({ "nodes": nodes }), &seen_catalog(&app)))
}

/// One storage node.
#[utoipa::path(get, path = "/nodes/{id}", tag = "Nodes", params(("id" = String, Path)),
    responses((status = 200, description = "`{\"node\":{…}}`"), (status = 404, description = "`node_not_found`")))]
pub async fn get(State(app): State<App>, Segments(id): Segments<String>) -> Answer {
    let (catalog, node) = find(&app, &id).await?;
    let health = app.health.nodes().await.unwrap_or_default();
    Ok(success_seen(json!({ "node": describe(&catalog, &node, &health) }), &seen_catalog(&app)))
}

/// Registers a storage node that answers at an address.
#[utoipa::path(post, path = "/nodes", tag = "Nodes",
    request_body(content = Object, description = "`host`*, `port`*, `id`"),
    responses((status = 200, description = "`{\"node_id\":…}`, the id it has if it is known already"),
        (status = 403, description = "`forbidden`: it belongs to another cluster"),
        (status = 422, description = "`node_unreachable`")))]
pub async fn register(State(app): State<App>, JsonBody(body): JsonBody) -> Answer {
    let Introduction { host, port, id } = read_introduction(body)?;
    let catalog = app.catalog.confirmed().await?;
    let known = catalog.nodes.values().find(|node| node.host == host && node.port == port);
    let node = match known {
        Some(node) => node.id.clone(),
        None => {
            let (own, _, cluster) =
                app.storage.identify(&address(&host, port), PROBE_TIME).await.map_err(unreachable)?;
            if let Some(theirs) = cluster {
                check_cluster(&catalog.cluster, &theirs)?;
            }
            let command = Command::RegisterNode { node: id.or(own), instance: None, host, port };
            match app.catalog.propose(command).await? {
                CatalogAnswer::Node(node) => node,
                other => return Err(Error::internal(format!("the catalog answered {other:?}")).into()),
            }
        }
    };
    let answer = json!({ "message": "Storage node registered successfully", "node_id": node });
    Ok(success_seen(answer, &seen_catalog(&app)))
}

fn unreachable(error: Error) -> Error {
    let message = format!("no storage node answers at this address: {}", error.message);
    Error::new(ErrorCode::NodeUnreachable, message).with_hint("start the node first; it registers itself")
}

/// Removes a storage node that holds nothing indispensable.
#[utoipa::path(delete, path = "/nodes/{id}", tag = "Nodes", params(("id" = String, Path)),
    responses((status = 200, description = "It is gone"), (status = 404, description = "`node_not_found`"),
        (status = 409, description = "`node_in_use`")))]
pub async fn remove(State(app): State<App>, Segments(id): Segments<String>) -> Answer {
    let (_, node) = find(&app, &id).await?;
    app.catalog.propose(Command::RemoveNode { node: node.id }).await?;
    let message = format!("Storage node '{id}' removed successfully");
    Ok(success_seen(json!({ "message": message }), &seen_catalog(&app)))
}

/// A hint about a node: it is asked, and its answer counts.
#[utoipa::path(post, path = "/nodes/{id}/status", tag = "Nodes", params(("id" = String, Path)),
    request_body(content = Object, description = "`status`: `inactive` or `active`"),
    responses((status = 200, description = "`{\"status\":…}`, what the node really is")))]
pub async fn hint_status(
    State(app): State<App>,
    Segments(id): Segments<String>,
    JsonBody(mut body): JsonBody,
) -> Answer {
    let hint = body.required_text("status")?;
    match hint.as_str() {
        "active" | "inactive" | "suspected" | "syncing" => {}
        "draining" => {
            let error =
                Error::not_supported("a node is not drained by its status", "use POST /nodes/{id}/drain");
            return Err(error.into());
        }
        _ => return Err(Error::bad_request("'status' must be 'active' or 'inactive'").into()),
    }
    let (_, node) = find(&app, &id).await?;
    if hint == "active" && node.status == NodeStatus::Draining {
        let (instance, status) = (node.instance, NodeStatus::Active);
        app.catalog.propose(Command::SetNodeStatus { node: node.id, instance, status }).await?;
    }
    let status = app.health.hint_inactive(&NodeId::from(id.as_str())).await?;
    let message = format!("Storage node '{id}' is {}", status.as_str());
    Ok(success_seen(json!({ "message": message, "status": status.as_str() }), &seen_catalog(&app)))
}

/// Has a node give all its replicas away while it serves, so that it can be removed.
#[utoipa::path(post, path = "/nodes/{id}/drain", tag = "Nodes", params(("id" = String, Path)),
    responses((status = 202, description = "`{\"operation\":\"<id>\"}`; cancelling it has the node used again"),
        (status = 404, description = "`node_not_found`")))]
pub async fn drain(State(app): State<App>, Segments(id): Segments<String>) -> Answer {
    let (_, node) = find(&app, &id).await?;
    let operation = app.operations.drain(node.id).await?;
    Ok(accepted(&app, &operation))
}

async fn find(app: &App, id: &str) -> Result<(std::sync::Arc<Catalog>, Node)> {
    check_node_id(id)?;
    let catalog = app.catalog.confirmed().await?;
    let node = catalog
        .nodes
        .get(&NodeId::from(id))
        .cloned()
        .ok_or_else(|| Error::new(ErrorCode::NodeNotFound, format!("Storage node '{id}' not found")))?;
    Ok((catalog, node))
}

fn describe(catalog: &Catalog, node: &Node, health: &[NodeHealth]) -> Json {
    let reports = health.iter().filter(|heard| heard.node == node.id).flat_map(|heard| &heard.replicas);
    let held = |partition: &&common::catalog::Partition| {
        partition.replicas.iter().any(|replica| replica.node == node.id)
    };
    let mut databases: Vec<&str> =
        catalog.partitions.values().filter(held).map(|partition| partition.database.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    let mut shown = json!({
        "id": node.id,
        "host": node.host,
        "port": node.port,
        "status": node.status.as_str(),
        "databases": databases,
    });
    // Older clients make their node of these five fields alone.
    let quarantined = quarantined(catalog, reports);
    if !quarantined.is_empty() {
        shown["quarantined"] = quarantined.into();
    }
    shown
}

/// A node as an operator introduces it.
#[derive(Debug, PartialEq, Eq)]
struct Introduction {
    host: String,
    port: u16,
    id: Option<NodeId>,
}

fn read_introduction(mut body: Fields) -> Result<Introduction> {
    let host = body.required_text("host")?;
    let port = body.whole("port", 1, u64::from(u16::MAX))?.ok_or_else(|| missing("port"))?;
    let id = body.text("id")?;
    if let Some(id) = &id {
        check_node_id(id)?;
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || host.len() > 255 || !host.bytes().all(is_name) {
        return Err(Error::bad_request("'host' must be a host name or an address, without scheme and port"));
    }
    Ok(Introduction { host, port: u16::try_from(port).unwrap_or_default(), id: id.map(NodeId) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Json) -> Result<Introduction> {
        read_introduction(Fields::of(body).unwrap())
    }

    #[test]
    fn an_introduction_is_a_host_and_a_port() {
        let read_well = read(json!({"host": "localhost", "port": 5501, "status": "active"})).unwrap();
        assert_eq!(read_well, Introduction { host: "localhost".into(), port: 5501, id: None });
        for bad in [
            json!({"port": 1}),
            json!({"host": "h"}),
            json!({"host": "h", "port": "5501"}),
            json!({"host": "h", "port": 0}),
            json!({"host": "http://169.254.169.254/", "port": 80}),
            json!({"host": "", "port": 80}),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().code, ErrorCode::BadRequest, "{bad}");
        }
        assert_eq!(read(json!({"host": "h", "port": 1, "id": "../x"})).unwrap_err().code, ErrorCode::BadName);
    }
}
