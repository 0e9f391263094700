//! About the server itself: health, version, numbers, and the connections of other nodes.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use common::{Error, ErrorCode};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use polylite_client::peer;
use serde_json::json;

use super::answer::success_seen;
use super::app::App;
use super::databases::seen_catalog;
use super::failure::Answer;

/// The process runs.
#[utoipa::path(get, path = "/health/live", tag = "Server", responses((status = 200, description = "It does")))]
pub async fn live(State(app): State<App>) -> Answer {
    Ok(success_seen(json!({ "status": "live" }), &seen_catalog(&app)))
}

/// The coordinator belongs to a cluster and can serve requests.
#[utoipa::path(get, path = "/health/ready", tag = "Server",
    responses((status = 200, description = "It can"), (status = 503, description = "`unavailable`")))]
pub async fn ready(State(app): State<App>) -> Answer {
    if app.catalog.view().cluster.is_empty() {
        return Err(
            Error::new(ErrorCode::Unavailable, "the coordinator has not joined its cluster yet").into()
        );
    }
    Ok(success_seen(json!({ "status": "ready" }), &seen_catalog(&app)))
}

/// Name and version of the program.
#[utoipa::path(get, path = "/version", tag = "Server",
    responses((status = 200, description = "`{\"name\":\"polylite\",\"version\":…}`")))]
pub async fn version(State(app): State<App>) -> Answer {
    let version = json!({ "name": "polylite", "version": env!("CARGO_PKG_VERSION") });
    Ok(success_seen(version, &seen_catalog(&app)))
}

/// Numbers for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "Server",
    responses((status = 200, description = "Prometheus' text format", content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>) -> Response {
    let catalog = app.catalog.view();
    let ids: Vec<_> = catalog.partitions.keys().copied().collect();
    let in_doubt: u32 = app.health.ask(&ids).await.values().map(|facts| facts.in_doubt).sum();
    let active =
        catalog.nodes.values().filter(|node| node.status == common::catalog::NodeStatus::Active).count();
    let merging = app.gateway.workspace().used();
    let cache = app.gateway.cache_stats();
    #[allow(clippy::cast_precision_loss)]
    for (name, help, value) in [
        (
            "polylite_catalog_version",
            "Log index of the last catalog command known here.",
            catalog.version as f64,
        ),
        ("polylite_catalog_term", "Raft term of the catalog's group.", app.catalog.term() as f64),
        (
            "polylite_catalog_leader",
            "1 if this coordinator leads.",
            f64::from(u8::from(app.catalog.is_leader())),
        ),
        (
            "polylite_in_doubt_transactions",
            "Transactions that are prepared on a partition and not decided.",
            f64::from(in_doubt),
        ),
        ("polylite_databases", "Databases in the catalog.", catalog.databases.len() as f64),
        ("polylite_partitions", "Partitions in the catalog.", catalog.partitions.len() as f64),
        (
            "polylite_partition_splits_total",
            "Partitions that were split since the cluster was founded.",
            catalog.replacements.splits as f64,
        ),
        (
            "polylite_partition_merges_total",
            "Neighbouring partitions that were merged since the cluster was founded.",
            catalog.replacements.merges as f64,
        ),
        (
            "polylite_partition_replacements_by_itself_total",
            "How many of these splits and merges nobody had asked for.",
            catalog.replacements.automatic as f64,
        ),
        ("polylite_nodes", "Storage nodes in the catalog.", catalog.nodes.len() as f64),
        ("polylite_merges", "Statements that are merged here now.", merging.databases as f64),
        ("polylite_merge_memory_bytes", "Memory that these may take.", merging.memory as f64),
        ("polylite_merge_disk_bytes", "Temporary disk space that they take.", merging.disk as f64),
        ("polylite_merge_spilled_bytes_total", "Bytes written to temporary files.", merging.written as f64),
        (
            "polylite_merges_cancelled_total",
            "Merged statements whose client went away before the answer's end.",
            merging.cancelled as f64,
        ),
        ("polylite_cache_hits_total", "Reads answered from the cache.", cache.total.hits as f64),
        (
            "polylite_cache_leased_hits_total",
            "Of these, those for which nobody was asked.",
            cache.leased as f64,
        ),
        ("polylite_cache_misses_total", "Reads that it had no true answer for.", cache.total.misses as f64),
        ("polylite_cache_evictions_total", "Answers dropped for lack of room.", cache.evictions as f64),
        ("polylite_cache_expirations_total", "Answers dropped for their age.", cache.expirations as f64),
        (
            "polylite_cache_invalidations_total",
            "Answers dropped because the data had changed.",
            cache.invalidations as f64,
        ),
        ("polylite_cache_entries", "Answers in the cache.", cache.entries as f64),
        ("polylite_cache_bytes", "What these take.", cache.bytes as f64),
        ("polylite_nodes_active", "Storage nodes that report as they should.", active as f64),
    ] {
        app.metrics.set(name, help, value);
    }
    let mut response = Response::new(Body::from(app.metrics.render()));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A connection between nodes.
pub async fn peer(State(app): State<App>, mut request: Request) -> Response {
    peer::accept_until(&mut request, app.peer_service.clone(), app.stopping.clone()).map(Body::new)
}
