//! Which route is whose.

use axum::Router;
use axum::routing::{any, delete, get, post};
use common::{Error, ErrorCode};
use http::{Method, Uri};
use polylite_client::peer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, later};
use super::failure::Answer;
use super::{
    cache, cluster, databases, documents, export, import, nodes, openapi, partitions, query_objects, service,
    sql, tables,
};

/// All routes. Those of [`routes!`] are described in `/openapi.json` by the same annotation that names them.
pub fn router(app: App) -> Router {
    let (described, api) = OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(databases::list, databases::create))
        .routes(routes!(databases::get, databases::drop))
        .routes(routes!(tables::list, tables::add))
        .routes(routes!(sql::post, sql::get))
        .routes(routes!(query_objects::post))
        .routes(routes!(tables::list_collections))
        .routes(routes!(tables::drop_collection))
        .routes(routes!(documents::insert))
        .routes(routes!(documents::get, documents::put, documents::patch, documents::delete))
        .routes(routes!(documents::find))
        .routes(routes!(documents::count))
        .routes(routes!(documents::update))
        .routes(routes!(documents::delete_many))
        .routes(routes!(import::post))
        .routes(routes!(export::get))
        .routes(routes!(nodes::list, nodes::register))
        .routes(routes!(nodes::get, nodes::remove))
        .routes(routes!(nodes::hint_status))
        .routes(routes!(partitions::list))
        .routes(routes!(partitions::of_database))
        .routes(routes!(cache::stats))
        .routes(routes!(cache::clear))
        .routes(routes!(cache::configure))
        .routes(routes!(cluster::status))
        .routes(routes!(cluster::join))
        .routes(routes!(cluster::operation))
        .routes(routes!(service::live))
        .routes(routes!(service::ready))
        .routes(routes!(service::version))
        .routes(routes!(service::metrics))
        .split_for_parts();
    described
        .merge(not_yet())
        .route(peer::PATH, get(service::peer))
        .merge(openapi::routes(api))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// Routes of the interface whose part of the product is not there yet.
fn not_yet() -> Router<App> {
    let collection = "/databases/{db}/collections/{collection}";
    let mut router = Router::new()
        .route("/databases/{db}/explain", post(sql::explain))
        .route("/databases/{db}/transactions", post(transactions))
        .route("/databases/{db}/transactions/{id}/commit", post(transactions))
        .route("/databases/{db}/transactions/{id}/rollback", post(transactions))
        .route("/transactions", get(transactions))
        .route("/transactions/{id}", delete(transactions))
        .route(&format!("{collection}/indexes"), get(documents::not_yet).post(documents::not_yet))
        .route(&format!("{collection}/indexes/{{name}}"), delete(documents::not_yet))
        .route("/cluster/operations/{id}/cancel", post(cluster::cancel_operation))
        .route("/cluster/partitions/{id}/split", post(cluster::not_yet))
        .route("/cluster/partitions/merge", post(cluster::not_yet))
        .route("/cluster/partitions/{id}/move", post(cluster::not_yet))
        .route("/cluster/partitions/{id}/transfer-leader", post(cluster::not_yet))
        .route("/cluster/rebalance", post(cluster::not_yet))
        .route("/cluster/join-tokens", post(access))
        .route("/nodes/{id}/drain", post(cluster::not_yet));
    for operation in ["distinct", "aggregate", "explain", "bulk"] {
        router = router.route(&format!("{collection}/{operation}"), post(documents::not_yet));
    }
    for path in ["/auth/keys", "/auth/keys/{id}", "/auth/users", "/auth/users/{id}", "/auth/login", "/audit"]
    {
        router = router.route(path, any(access));
    }
    router
}

async fn transactions() -> Answer {
    Err(later("an interactive transaction", "send its statements in one atomic request to /sql").into())
}

async fn access() -> Answer {
    Err(later("access control", "let the server listen on an address that only trusted clients reach").into())
}

async fn unknown_route(uri: Uri) -> Answer {
    let path: String = uri.path().chars().take(200).collect();
    Err(Error::new(ErrorCode::NotFound, format!("there is no route {path}"))
        .with_hint("the routes are listed at /docs")
        .into())
}

async fn wrong_method(method: Method, uri: Uri) -> Answer {
    let path: String = uri.path().chars().take(200).collect();
    Err(Error::new(ErrorCode::MethodNotAllowed, format!("{method} is not a method of {path}"))
        .with_hint("the methods of each route are listed at /docs")
        .into())
}
