//! `/cache`. Nothing is cached yet, so every number is truly zero; the limits that a client sets are kept.

use axum::extract::State;
use parking_lot::Mutex;
use serde_json::json;

use super::answer::success_seen;
use super::app::App;
use super::body::{JsonBody, OptionalJsonBody};
use super::databases::seen_catalog;
use super::failure::Answer;

/// Limits of the cache.
#[derive(Debug)]
pub struct CacheLimits {
    limits: Mutex<Limits>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    entries: u64,
    bytes: u64,
    expiration_seconds: u64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        let limits = Limits { entries: 1_000, bytes: 64 << 20, expiration_seconds: 60 };
        CacheLimits { limits: Mutex::new(limits) }
    }
}

/// Counters of the cache.
#[utoipa::path(get, path = "/cache/stats", tag = "Cache",
    responses((status = 200, description = "`{\"stats\":{\"hits\":…,\"misses\":…,\"size\":…,\"max_size\":…}}`")))]
pub async fn stats(State(app): State<App>) -> Answer {
    let limits = *app.cache.limits.lock();
    let stats = json!({ "stats": {
        "hits": 0, "misses": 0, "evictions": 0, "expirations": 0, "size": 0, "bytes": 0,
        "max_size": limits.entries, "max_bytes": limits.bytes, "expiration_seconds": limits.expiration_seconds,
    } });
    Ok(success_seen(stats, &seen_catalog(&app)))
}

/// Empties the cache.
#[utoipa::path(post, path = "/cache/clear", tag = "Cache",
    responses((status = 200, description = "It is empty; the counters keep their values")))]
pub async fn clear(State(app): State<App>, _body: OptionalJsonBody) -> Answer {
    Ok(success_seen(json!({ "message": "Cache cleared successfully" }), &seen_catalog(&app)))
}

/// Sets the cache's limits.
#[utoipa::path(post, path = "/cache/config", tag = "Cache",
    request_body(content = Object, description = "`max_size` (entries), `max_bytes`, `expiration_seconds`"),
    responses((status = 200, description = "The limits in force")))]
pub async fn configure(State(app): State<App>, JsonBody(mut body): JsonBody) -> Answer {
    let most = u64::from(u32::MAX);
    let entries = body.whole("max_size", 0, most)?;
    let bytes = body.whole("max_bytes", 0, u64::MAX)?;
    let expiration_seconds = body.whole("expiration_seconds", 0, most)?;
    let mut limits = app.cache.limits.lock();
    limits.entries = entries.unwrap_or(limits.entries);
    limits.bytes = bytes.unwrap_or(limits.bytes);
    limits.expiration_seconds = expiration_seconds.unwrap_or(limits.expiration_seconds);
    let config = json!({ "message": "Cache configured successfully", "config": {
        "max_size": limits.entries, "max_bytes": limits.bytes, "expiration_seconds": limits.expiration_seconds,
    } });
    Ok(success_seen(config, &seen_catalog(&app)))
}
