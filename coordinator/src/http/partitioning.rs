//! `/cluster/partitioning`: when partitions are split and merged by themselves. The limits are kept in the catalog and
//! hold for the whole cluster.

use axum::extract::State;
use common::catalog::{Catalog, Operation, OperationWork};
use serde_json::{Value as Json, json};

use super::answer::success_seen;
use super::app::App;
use super::body::JsonBody;
use super::databases::seen_catalog;
use super::failure::Answer;
use crate::catalog::{Command, is_open};

/// When partitions are split and merged by themselves, and what is under way.
#[utoipa::path(get, path = "/cluster/partitioning", tag = "Cluster",
    responses((status = 200, description = "`{\"partitioning\":{\"automatic\",\"split_bytes\",\"split_requests\",\
        \"merge_bytes\",\"merge_requests\",\"after_seconds\",\"splits\",\"merges\",\"by_itself\",\"under_way\"}}`")))]
pub async fn get(State(app): State<App>) -> Answer {
    let catalog = app.catalog.confirmed().await?;
    Ok(success_seen(json!({ "partitioning": shown(&catalog) }), &seen_catalog(&app)))
}

/// Sets when partitions are split and merged by themselves.
#[utoipa::path(post, path = "/cluster/partitioning", tag = "Cluster",
    request_body(content = Object, description = "`automatic`; `split_bytes` and `split_requests` (a second), above which a \
        partition is split; `merge_bytes` and `merge_requests`, up to which neighbours are merged, at most half of the \
        former; `after_seconds`, how long it must have been so. What is left out stays as it is"),
    responses((status = 200, description = "The limits in force"),
        (status = 400, description = "`bad_request`: what is merged would be split again")))]
pub async fn configure(State(app): State<App>, JsonBody(mut body): JsonBody) -> Answer {
    let most = i64::MAX.unsigned_abs();
    let command = Command::ConfigurePartitioning {
        automatic: body.flag("automatic")?,
        split_bytes: body.whole("split_bytes", 1, most)?,
        split_requests: body.whole("split_requests", 1, most)?,
        merge_bytes: body.whole("merge_bytes", 0, most)?,
        merge_requests: body.whole("merge_requests", 0, most)?,
        after_seconds: body.whole("after_seconds", 0, u64::from(u32::MAX))?,
    };
    body.done()?;
    app.catalog.propose(command).await?;
    Ok(success_seen(json!({ "partitioning": shown(&app.catalog.view()) }), &seen_catalog(&app)))
}

/// The limits, how often partitions were replaced, and the operations that do so now.
pub(super) fn shown(catalog: &Catalog) -> Json {
    let replaces = |operation: &&Operation| {
        is_open(operation) && matches!(operation.work, OperationWork::ReplaceBuckets { .. })
    };
    let under_way = catalog.operations.values().filter(replaces).map(|operation| operation.id.as_str());
    let (limits, done) = (catalog.partitioning, catalog.replacements);
    json!({
        "automatic": limits.automatic,
        "split_bytes": limits.split_bytes,
        "split_requests": limits.split_requests,
        "merge_bytes": limits.merge_bytes,
        "merge_requests": limits.merge_requests,
        "after_seconds": limits.after_seconds,
        "splits": done.splits,
        "merges": done.merges,
        "by_itself": done.automatic,
        "under_way": under_way.collect::<Vec<_>>(),
    })
}
