//! How many partitions a database has, changed by hand.

use axum::extract::State;
use common::catalog::Catalog;
use common::json::from_json;
use common::partition_division::SplitPoint;
use common::partition_map::BucketRange;
use common::{Error, ErrorCode, PartitionId, Result};
use serde_json::Value as Json;

use super::app::App;
use super::body::JsonBody;
use super::cluster::accepted;
use super::failure::Answer;
use super::request::Segments;
use crate::gateway::ready;

/// Splits a partition, with those of the other column groups that hold the same rows.
#[utoipa::path(post, path = "/cluster/partitions/{id}/split", tag = "Cluster", params(("id" = String, Path)),
    request_body(content = Object, description = "`at`: what the right one begins with, a slot (left out: the middle) \
        or, where partitions are ranges of keys, a key"),
    responses((status = 202, description = "`{\"operation\":\"<id>\"}`"),
        (status = 400, description = "`bad_request`: `at` is not within the partition"),
        (status = 404, description = "`partition_not_found`"),
        (status = 409, description = "`serialization_failure`: the database is being changed otherwise"),
        (status = 422, description = "`not_supported`: the database has one horizontal partition")))]
pub async fn split(
    State(app): State<App>,
    Segments(id): Segments<String>,
    JsonBody(mut body): JsonBody,
) -> Answer {
    let at = body.take("at").filter(|at| !at.is_null());
    body.done()?;
    let catalog = app.catalog.confirmed().await?;
    let partition = find(&catalog, &id)?;
    let by_slots = catalog.databases.values().flat_map(|database| &database.buckets).any(|bucket| {
        bucket.partitions.contains(&partition) && matches!(bucket.range, BucketRange::Slots { .. })
    });
    let operation = app.operations.split(partition, &split_point(at, by_slots)?).await?;
    Ok(accepted(&app, &operation))
}

fn split_point(at: Option<Json>, by_slots: bool) -> Result<SplitPoint> {
    let slot = |at: &Json| at.as_u64().and_then(|slot| u32::try_from(slot).ok());
    match at {
        None => Ok(SplitPoint::Middle),
        Some(at) if by_slots => slot(&at)
            .map(SplitPoint::Slot)
            .ok_or_else(|| Error::bad_request("'at' must be the number of a slot")),
        Some(at) => from_json(&at).map(SplitPoint::Key),
    }
}

/// Merges two neighbouring partitions, with those of the other column groups that hold the same rows.
#[utoipa::path(post, path = "/cluster/partitions/merge", tag = "Cluster",
    request_body(content = Object, description = "`left`*, `right`*: partitions, the right one begins where the left \
        one ends"),
    responses((status = 202, description = "`{\"operation\":\"<id>\"}`"),
        (status = 400, description = "`bad_request`: they are not neighbours"),
        (status = 404, description = "`partition_not_found`"),
        (status = 409, description = "`serialization_failure`: the database is being changed otherwise"),
        (status = 422, description = "`not_supported`: the database would have one horizontal partition")))]
pub async fn merge(State(app): State<App>, JsonBody(mut body): JsonBody) -> Answer {
    let (left, right) = (body.required_text("left")?, body.required_text("right")?);
    body.done()?;
    let catalog = app.catalog.confirmed().await?;
    let (left, right) = (find(&catalog, &left)?, find(&catalog, &right)?);
    let operation = app.operations.merge(left, right).await?;
    Ok(accepted(&app, &operation))
}

/// A partition that is in its database's map.
fn find(catalog: &Catalog, id: &str) -> Result<PartitionId> {
    let databases = catalog.databases.values().filter(|database| ready(catalog, &database.name).is_some());
    let mut partitions = databases.flat_map(|database| database.partitions().map(|(_, _, id)| id));
    partitions
        .find(|partition| catalog.partitions.get(partition).is_some_and(|found| found.uuid == id))
        .ok_or_else(|| Error::new(ErrorCode::PartitionNotFound, format!("Partition '{id}' not found")))
}
