//! Which route is whose.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use common::{Error, ErrorCode};
use futures_util::FutureExt as _;
use http::{Method, Uri};
use polylite_client::peer;
use tower::ServiceExt as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::failure::Answer;
use super::{
    cache, cluster, databases, document_indexes, document_requests, documents, explain, export, import,
    later_routes, left, nodes, once, openapi, partitioning, partitions, placement, query_objects, relay,
    replacing, service, sql, tables, transactions,
};

/// Routes with all that they need to answer. Clones share it.
///
/// What only some requests need lies around the routes as functions rather than as layers, which every request would pay
/// for.
#[derive(Clone)]
pub struct Routes {
    app: App,
    router: Router,
}

impl Routes {
    /// Answers a request here, or has the coordinator answer it whose transaction it belongs to.
    pub(crate) fn answer(&self, request: Request) -> impl Future<Output = Response> + Send + use<> {
        if let Some(refusal) = left::refusal(&self.app, &request) {
            return std::future::ready(refusal.into_response()).boxed().right_future();
        }
        if relay::may_be_anothers(&self.app, &request) {
            let routes = self.clone();
            return async move { relay::by_owner(&routes.app, &routes, request).await }
                .boxed()
                .right_future();
        }
        self.answer_here(request).left_future()
    }

    /// Answers a request here, once if it has a key.
    pub(super) fn answer_here(&self, request: Request) -> impl Future<Output = Response> + Send + use<> {
        if once::has_key(&request) {
            let routes = self.clone();
            return async move { once::answer(&routes.app, &routes, request).await }.boxed().right_future();
        }
        self.handle(request).left_future()
    }

    /// Has a request answered by its handler.
    pub(super) fn handle(&self, request: Request) -> impl Future<Output = Response> + Send + use<> {
        self.router.clone().oneshot(request).map(|answered| match answered {
            Ok(response) => response,
            Err(never) => match never {},
        })
    }
}

/// All routes. Those of [`routes!`] are described in `/openapi.json` by the same annotation that names them.
pub fn router(app: App) -> Routes {
    let (described, api) = OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(databases::list, databases::create))
        .routes(routes!(databases::get, databases::drop))
        .routes(routes!(tables::list, tables::add))
        .routes(routes!(sql::post, sql::get))
        .routes(routes!(explain::post))
        .routes(routes!(query_objects::post))
        .routes(routes!(tables::list_collections))
        .routes(routes!(tables::drop_collection))
        .routes(routes!(documents::insert))
        .routes(routes!(documents::get, documents::put, documents::patch, documents::delete))
        .routes(routes!(document_requests::find))
        .routes(routes!(document_requests::aggregate))
        .routes(routes!(document_requests::count))
        .routes(routes!(document_requests::distinct))
        .routes(routes!(document_requests::update))
        .routes(routes!(document_requests::delete_many))
        .routes(routes!(document_requests::bulk))
        .routes(routes!(document_requests::explain))
        .routes(routes!(document_indexes::list, document_indexes::create))
        .routes(routes!(document_indexes::drop))
        .routes(routes!(transactions::begin))
        .routes(routes!(transactions::commit))
        .routes(routes!(transactions::roll_back))
        .routes(routes!(transactions::list))
        .routes(routes!(transactions::abort))
        .routes(routes!(import::post))
        .routes(routes!(export::get))
        .routes(routes!(nodes::list, nodes::register))
        .routes(routes!(nodes::get, nodes::remove))
        .routes(routes!(nodes::hint_status))
        .routes(routes!(nodes::drain))
        .routes(routes!(partitions::list))
        .routes(routes!(partitions::of_database))
        .routes(routes!(cache::stats))
        .routes(routes!(cache::clear))
        .routes(routes!(cache::configure))
        .routes(routes!(cluster::status))
        .routes(routes!(cluster::join))
        .routes(routes!(cluster::leave))
        .routes(routes!(cluster::transfer_leader))
        .routes(routes!(placement::move_replica))
        .routes(routes!(placement::rebalance))
        .routes(routes!(replacing::split))
        .routes(routes!(replacing::merge))
        .routes(routes!(partitioning::get, partitioning::configure))
        .routes(routes!(cluster::operation, cluster::cancel_operation))
        .routes(routes!(service::live))
        .routes(routes!(service::ready))
        .routes(routes!(service::version))
        .routes(routes!(service::metrics))
        .split_for_parts();
    let router = described
        .merge(later_routes::routes())
        .route(peer::PATH, get(service::peer))
        .merge(openapi::routes(api))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app.clone());
    Routes { app, router }
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
