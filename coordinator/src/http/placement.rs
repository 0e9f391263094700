//! Where replicas live, changed by hand.

use axum::extract::State;
use common::catalog::{Replica, ReplicaRole};
use common::names::check_node_id;
use common::{Error, NodeId};

use super::app::App;
use super::body::JsonBody;
use super::cluster::{accepted, find};
use super::failure::Answer;
use super::request::Segments;

/// Moves a partition's replica from one node to another.
#[utoipa::path(post, path = "/cluster/partitions/{id}/move", tag = "Cluster", params(("id" = String, Path)),
    request_body(content = Object, description = "`from`*, `to`*: storage nodes' ids"),
    responses((status = 202, description = "`{\"operation\":\"<id>\"}`"),
        (status = 404, description = "`partition_not_found` or `node_not_found`"),
        (status = 409, description = "`serialization_failure`: its replicas are being changed already")))]
pub async fn move_replica(
    State(app): State<App>,
    Segments(id): Segments<String>,
    JsonBody(mut body): JsonBody,
) -> Answer {
    let (from, to) = (body.required_text("from")?, body.required_text("to")?);
    body.done()?;
    check_node_id(&from)?;
    check_node_id(&to)?;
    let catalog = app.catalog.confirmed().await?;
    let (partition, node) = find(&catalog, &id, &to)?;
    let leaving = NodeId::from(from.as_str());
    let votes = |replica: &&Replica| replica.node == leaving && replica.role == ReplicaRole::Voter;
    let replica = partition.replicas.iter().find(votes).ok_or_else(|| {
        Error::bad_request(format!("'from': storage node '{from}' holds no voting replica of this partition"))
    })?;
    let operation = app.operations.move_replica(partition.id, replica.id, node).await?;
    Ok(accepted(&app, &operation))
}

/// Spreads replicas and leaders evenly over the storage nodes.
#[utoipa::path(post, path = "/cluster/rebalance", tag = "Cluster",
    responses((status = 202, description = "`{\"operation\":\"<id>\"}`; of the one under way, if there is one")))]
pub async fn rebalance(State(app): State<App>) -> Answer {
    let operation = app.operations.rebalance().await?;
    Ok(accepted(&app, &operation))
}
