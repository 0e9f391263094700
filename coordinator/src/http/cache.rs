//! `/cache`: the answers that this coordinator keeps. The limits that a client sets are kept in the catalog and
//! hold for every coordinator.

use axum::extract::State;
use common::catalog::CacheLimits;
use serde_json::{Map, Value as Json, json};

use super::answer::success_seen;
use super::app::App;
use super::body::{JsonBody, OptionalJsonBody};
use super::databases::seen_catalog;
use super::failure::Answer;
use crate::catalog::Command;
use crate::result_cache::CacheCounts;

/// Counters of the cache.
#[utoipa::path(get, path = "/cache/stats", tag = "Cache",
    responses((status = 200, description = "`{\"stats\":{\"hits\":…,\"misses\":…,\"leased_hits\":…,\"evictions\":…,\"expirations\":…,\
        \"size\":…,\"max_size\":…,\"bytes\":…,\"databases\":{\"<name>\":{\"hits\":…,\"misses\":…}}}}`")))]
pub async fn stats(State(app): State<App>) -> Answer {
    let found = app.gateway.cache_stats();
    let of_database = |counts: &CacheCounts| json!({ "hits": counts.hits, "misses": counts.misses });
    let databases: Map<String, Json> =
        found.databases.iter().map(|(name, counts)| (name.clone(), of_database(counts))).collect();
    let mut stats = json!({
        "hits": found.total.hits,
        "misses": found.total.misses,
        "leased_hits": found.leased,
        "evictions": found.evictions,
        "expirations": found.expirations,
        "invalidations": found.invalidations,
        "size": found.entries,
        "bytes": found.bytes,
        "databases": databases,
    });
    if let (Json::Object(stats), Json::Object(limits)) = (&mut stats, shown(app.catalog.view().cache)) {
        stats.extend(limits);
    }
    Ok(success_seen(json!({ "stats": stats }), &seen_catalog(&app)))
}

/// Empties the cache.
#[utoipa::path(post, path = "/cache/clear", tag = "Cache",
    responses((status = 200, description = "It is empty; the counters keep their values")))]
pub async fn clear(State(app): State<App>, _body: OptionalJsonBody) -> Answer {
    app.gateway.cache().clear();
    Ok(success_seen(json!({ "message": "Cache cleared successfully" }), &seen_catalog(&app)))
}

/// Sets the cache's limits.
#[utoipa::path(post, path = "/cache/config", tag = "Cache",
    request_body(content = Object, description = "`max_size` (entries), `max_bytes`, `expiration_seconds`, `enabled`"),
    responses((status = 200, description = "The limits in force")))]
pub async fn configure(State(app): State<App>, JsonBody(mut body): JsonBody) -> Answer {
    let most = u64::from(u32::MAX);
    let command = Command::ConfigureCache {
        enabled: body.flag("enabled")?,
        entries: body.whole("max_size", 0, most)?,
        bytes: body.whole("max_bytes", 0, i64::MAX.unsigned_abs())?,
        expiration_seconds: body.whole("expiration_seconds", 0, most)?,
    };
    body.done()?;
    app.catalog.propose(command).await?;
    let config = shown(app.catalog.view().cache);
    let answer = json!({ "message": "Cache configured successfully", "config": config });
    Ok(success_seen(answer, &seen_catalog(&app)))
}

fn shown(limits: CacheLimits) -> Json {
    json!({
        "enabled": limits.enabled,
        "max_size": limits.entries,
        "max_bytes": limits.bytes,
        "expiration_seconds": limits.expiration_seconds,
    })
}
