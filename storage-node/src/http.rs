//! The node's listener: the connections of its peers, and the JSON routes of people and monitors.

mod body;
mod catalog;
mod forward;
mod health;
mod query;
mod replications;
mod reply;
mod status;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use common::host_rule::{HostRule, NamedHost};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;

use self::replications::Replications;
use crate::neighbours::Neighbours;
use crate::service::Service;

/// What the routes need.
#[derive(Clone)]
pub struct AppState {
    /// What the node runs.
    pub service: Arc<Service>,
    /// The rest of the cluster.
    pub neighbours: Neighbours,
    /// Host that others are told.
    pub host: String,
    /// Port that others are told.
    pub port: u16,
    /// The hosts that requests may name.
    pub hosts: Arc<HostRule>,
    /// Copies of databases that were asked for.
    pub replications: Arc<Replications>,
    /// Ends the connections of peers.
    pub stop_peers: CancellationToken,
}

impl AppState {
    /// The state of a node that is told to others as `host:port`.
    #[must_use]
    pub fn new(
        service: Arc<Service>,
        neighbours: Neighbours,
        (host, port): (String, u16),
        hosts: HostRule,
    ) -> AppState {
        let hosts = Arc::new(hosts);
        let (replications, stop_peers) = (Arc::default(), CancellationToken::new());
        AppState { service, neighbours, host, port, hosts, replications, stop_peers }
    }
}

/// All routes.
pub fn app(state: AppState) -> Router {
    Router::new()
        .route(polylite_client::peer::PATH, get(peer))
        .route("/status", get(status::status))
        .route("/databases", get(catalog::databases).post(forward::forward))
        .route("/databases/{database}", get(catalog::database).delete(forward::forward))
        .route("/database/{database}/type", get(catalog::database_type))
        .route("/database/{database}/file", get(catalog::file))
        .route("/query/{database}", post(query::query))
        .route("/partitions", get(catalog::partitions).post(forward::forward))
        .route("/partitions/{name}", get(catalog::partitions_of).delete(forward::forward))
        .route("/replications", get(replications::list).post(replications::begin))
        .route("/replications/{task}", get(replications::get).delete(replications::cancel))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/version", get(health::version))
        .fallback(any(reply::no_such_route))
        .method_not_allowed_fallback(reply::no_such_method)
        .layer(CatchPanicLayer::custom(reply::panicked))
        .layer(from_fn_with_state(state.hosts.clone(), check_host))
        .layer(from_fn(reply::name_request))
        .with_state(state)
}

/// Refuses requests that name another host. Nodes among themselves use addresses that this node may not know for
/// its own; no browser can speak their protocol.
async fn check_host(State(hosts): State<Arc<HostRule>>, request: Request, next: Next) -> Response {
    let named = NamedHost {
        authority: request.uri().authority().map(Authority::as_str),
        header: request.headers().get(HOST).map(HeaderValue::as_bytes),
        is_required: request.version() == Version::HTTP_11,
    };
    let is_peer = request.uri().path() == polylite_client::peer::PATH;
    match hosts.check(named) {
        Err(error) if !is_peer => reply::Refusal(error).into_response(),
        _ => next.run(request).await,
    }
}

/// A peer opens a connection.
async fn peer(State(state): State<AppState>, mut request: Request) -> Response {
    let stop = state.stop_peers.child_token();
    polylite_client::peer::accept_until(&mut request, state.service, stop).map(Body::new)
}

/// Serves a listener until it is told to stop; requests under way are answered first.
pub async fn serve(listener: TcpListener, state: AppState, stop: CancellationToken) {
    let app = app(state);
    let connections = GracefulShutdown::new();
    let builder = Builder::new(TokioExecutor::new());
    loop {
        let socket = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    // Too many open files, most often: the connections that end make room.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        // Small answers must not wait for the acknowledgement of earlier ones.
        let _ = socket.set_nodelay(true);
        let app = app.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let app = app.clone();
            async move {
                let answered: Result<Response, Infallible> = app.oneshot(request.map(Body::new)).await;
                answered
            }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}
