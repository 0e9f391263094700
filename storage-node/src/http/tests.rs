//! The routes, without a socket; and the node's relation to a coordinator, with one that the test plays.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use common::host_rule::HostRule;
use common::partition_map::BucketRange;
use common::protocol::{
    Assignment, Assignments, CoordinatorReply, CoordinatorRequest, Heartbeat, Params, PeerAddress,
    Registration, Reply, Statement, StorageRequest, WorkItem, WriteRequest, encode,
};
use common::schema::{DatabaseKind, PartitionType};
use common::{NodeId, PartitionId, ReplicaId};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use polylite_client::peer::{Caller, PeerService, StreamSink};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::{AppState, app};
use crate::{StorageNode, StorageNodeOptions};

/// What a storage node told the coordinator.
enum Heard {
    Registered(Registration),
    Reported(Heartbeat),
}

/// A coordinator that gives a node its name and two partitions of a database.
struct Coordinator {
    heard: mpsc::UnboundedSender<Heard>,
    address: Mutex<String>,
}

impl Coordinator {
    async fn start() -> (Arc<Coordinator>, mpsc::UnboundedReceiver<Heard>) {
        let (heard, hears) = mpsc::unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Mutex::new(listener.local_addr().unwrap().to_string());
        let coordinator = Arc::new(Coordinator { heard, address });
        let router =
            Router::new().route(polylite_client::peer::PATH, get(accept)).with_state(coordinator.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (coordinator, hears)
    }

    fn assignments(&self, registration: &Registration) -> Assignments {
        let address = format!("{}:{}", registration.host, registration.port);
        let assignment = |number: u64| Assignment {
            partition: PartitionId(number),
            uuid: format!("uuid-{number}"),
            replica: ReplicaId(number),
            peers: [(ReplicaId(number), PeerAddress { node: "given".into(), address: address.clone() })]
                .into(),
            founders: Some(vec![ReplicaId(number)]),
            stands_first: true,
            database: "shop".into(),
            kind: DatabaseKind::Sql,
            partition_type: PartitionType::Horizontal,
            partition_key: Some("id".into()),
            range: BucketRange::Slots { first: 0, last: 9 },
            epoch: 1,
            mapped: true,
        };
        Assignments { cluster: "ours".into(), version: 5, replicas: vec![assignment(1), assignment(2)] }
    }
}

async fn accept(State(coordinator): State<Arc<Coordinator>>, mut request: Request) -> Response {
    polylite_client::peer::accept(&mut request, coordinator).map(Body::new)
}

impl PeerService for Coordinator {
    fn call(self: Arc<Self>, _from: Caller, payload: Bytes) -> BoxFuture<'static, Bytes> {
        Box::pin(async move {
            let coordinators = vec![self.address.lock().clone()];
            let reply = match CoordinatorRequest::decode(&payload).unwrap() {
                CoordinatorRequest::Register(registration) => {
                    let assignments = self.assignments(&registration);
                    // The test may have heard enough.
                    let _ = self.heard.send(Heard::Registered(registration));
                    CoordinatorReply::Registered { node: NodeId::from("given"), assignments, coordinators }
                }
                CoordinatorRequest::Heartbeat(heartbeat) => {
                    let _ = self.heard.send(Heard::Reported(heartbeat));
                    CoordinatorReply::Heartbeat { assignments: None, coordinators }
                }
                other => panic!("unexpected {other:?}"),
            };
            let reply: Reply<CoordinatorReply> = Ok(reply);
            encode(&reply)
        })
    }

    fn stream(self: Arc<Self>, _payload: Bytes, _sink: StreamSink) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn one_way(&self, _payload: Bytes) {}
}

/// A node that runs what the coordinator assigned, and its routes.
async fn start(folder: &tempfile::TempDir, coordinator: &Coordinator) -> (StorageNode, Router) {
    let options = StorageNodeOptions {
        host: "127.0.0.1".into(),
        port: 0,
        advertise: None,
        allowed_hosts: Vec::new(),
        data_dir: folder.path().to_owned(),
        coordinators: vec![format!("http://{}", coordinator.address.lock())],
        node_id: None,
        upkeep: Default::default(),
    };
    let node = StorageNode::start(options).await.unwrap();
    let service = node.service().clone();
    let neighbours = node.neighbours().clone();
    let told = ("127.0.0.1".into(), node.address().port());
    let router = app(AppState::new(service, neighbours, told, HostRule::new("127.0.0.1", None, &[])));
    (node, router)
}

async fn next_report(
    hears: &mut mpsc::UnboundedReceiver<Heard>,
    wanted: impl Fn(&Heartbeat) -> bool,
) -> Heartbeat {
    let waiting = async {
        loop {
            if let Some(Heard::Reported(report)) = hears.recv().await
                && wanted(&report)
            {
                return report;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("no such report came")
}

async fn ask(router: &Router, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json");
    let response = router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn fill(node: &StorageNode) {
    for partition in [PartitionId(1), PartitionId(2)] {
        let statements = vec!["CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)".to_owned()];
        let change = StorageRequest::ChangeSchema { partition, version: 1, statements };
        node.service().answer(change, &Caller::local()).await.unwrap();
        let first = partition.0 * 10;
        let sql = format!("INSERT INTO users VALUES ({first}, 'a'), ({}, 'b')", first + 1);
        let target =
            common::protocol::PartitionTarget { partition, epoch: 1, schema_version: 1, timeout_ms: 5_000 };
        let work = vec![WorkItem::Statement(Statement { sql, params: Params::None })];
        let write = WriteRequest { target, work, max_rows: 10 };
        node.service().answer(StorageRequest::Write(write), &Caller::local()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_registers_obeys_reports_and_says_goodbye() {
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, mut hears) = Coordinator::start().await;
    let (node, router) = start(&folder, &coordinator).await;
    let Some(Heard::Registered(registration)) = hears.recv().await else { panic!("it must register first") };
    assert_eq!(registration.port, node.address().port());
    let report =
        next_report(&mut hears, |report| report.replicas.iter().filter(|one| one.writable).count() == 2)
            .await;
    assert_eq!((report.assignments_version, report.node.as_str(), report.stopping), (5, "given", false));
    let (status, ready) = ask(&router, "GET", "/health/ready", Value::Null).await;
    assert_eq!((status, &ready["success"]), (StatusCode::OK, &json!(true)));
    node.shutdown().await;
    next_report(&mut hears, |report| report.stopping).await;

    // Under the same directory it comes back as the one it was.
    let (node, _) = start(&folder, &coordinator).await;
    assert_eq!(node.node_id(), Some("given".into()));
    let again = loop {
        match hears.recv().await.unwrap() {
            Heard::Registered(again) => break again,
            Heard::Reported(_) => {}
        }
    };
    assert_eq!((again.instance, again.node), (registration.instance, Some("given".into())));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_routes_show_what_is_on_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, mut hears) = Coordinator::start().await;
    let (node, router) = start(&folder, &coordinator).await;
    next_report(&mut hears, |report| report.replicas.iter().filter(|one| one.writable).count() == 2).await;
    fill(&node).await;

    let (_, status) = ask(&router, "GET", "/status", Value::Null).await;
    assert_eq!(status["node_id"], "given");
    assert_eq!(status["host"], "127.0.0.1");
    assert_eq!(status["port"], node.address().port());
    assert_eq!(status["databases"], json!({ "sql": ["shop"], "nosql": [] }));
    assert_eq!(status["partitions"], 2);
    assert_eq!(ask(&router, "GET", "/database/shop/type", Value::Null).await.1["type"], "sql");
    let (_, partitions) = ask(&router, "GET", "/partitions/shop", Value::Null).await;
    assert_eq!(partitions["partitions"][0]["id"], "uuid-1");
    assert_eq!(partitions["partitions"][1]["rows"], 2);
    assert_eq!(partitions["partitions"][1]["leader"], "given");
    assert_eq!(partitions["partitions"][0]["partition_value"], json!({ "slots": [0, 9] }));

    let (status, error) = ask(&router, "GET", "/partitions/other", Value::Null).await;
    assert_eq!((status, &error["code"]), (StatusCode::NOT_FOUND, &json!("database_not_found")));
    let (status, _) = ask(&router, "GET", "/database/shop/file", Value::Null).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "it holds two partitions");
    let file = Request::get("/database/shop/file?partition=uuid-2")
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap();
    let file = router.clone().oneshot(file).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert!(file.starts_with(b"SQLite format 3\0"));
    let (status, error) = ask(&router, "PATCH", "/status", Value::Null).await;
    assert_eq!((status, &error["code"]), (StatusCode::METHOD_NOT_ALLOWED, &json!("method_not_allowed")));
    assert_eq!(ask(&router, "GET", "/nothing", Value::Null).await.0, StatusCode::NOT_FOUND);
    let named = Request::get("/nothing")
        .header("host", "localhost")
        .header("x-request-id", "mine")
        .body(Body::empty())
        .unwrap();
    let answer = router.clone().oneshot(named).await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "mine");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["request_id"], "mine");
    let (status, error) = ask(&router, "POST", "/databases", json!({ "name": "d", "db_type": "sql" })).await;
    assert_eq!(
        (status, &error["error"]),
        (StatusCode::BAD_REQUEST, &json!("Schema is required for SQL databases"))
    );
    assert_eq!(ask(&router, "GET", "/replications", Value::Null).await.1["tasks"], json!([]));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_name_another_host_or_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, _hears) = Coordinator::start().await;
    let (node, router) = start(&folder, &coordinator).await;
    for (host, status) in [(Some("evil.test"), 421), (None, 400), (Some("127.0.0.1:9"), 200)] {
        let mut request = Request::get("/status").body(Body::empty()).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{host:?}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["success"], status == 200);
    }
    // What other nodes use is told by its upgrade, not by a name.
    let peer = Request::get(polylite_client::peer::PATH).header("host", "db7.internal").body(Body::empty());
    let answer = router.clone().oneshot(peer.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UPGRADE_REQUIRED);
    node.shutdown().await;
}

/// The error of a request whose body is sent as it is.
async fn refused(router: &Router, content_type: &str, body: impl Into<Body>) -> (u16, Value) {
    let request =
        Request::post("/query/shop").header("host", "[::1]:80").header("content-type", content_type);
    let response = router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice::<Value>(&bytes).unwrap()["code"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_read_as_strictly_as_on_coordinators() {
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, _hears) = Coordinator::start().await;
    let (node, router) = start(&folder, &coordinator).await;
    let query = r#"{"operation":"query","table":"users"}"#;
    assert_eq!(refused(&router, "text/plain", query).await, (415, json!("unsupported_media_type")));
    let twice = r#"{"operation":"query","table":"users","table":"others"}"#;
    assert_eq!(refused(&router, "application/json", twice).await, (400, json!("duplicate_key")));
    assert_eq!(refused(&router, "application/json", "").await, (400, json!("bad_request")));
    let large = vec![b' '; common::limits::BODY_MAX + 1];
    assert_eq!(refused(&router, "application/json", large.clone()).await, (413, json!("body_too_large")));
    let pieces = large.chunks(1 << 20).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)));
    let unannounced = Body::from_stream(futures_util::stream::iter(pieces.collect::<Vec<_>>()));
    assert_eq!(refused(&router, "application/json", unannounced).await, (413, json!("body_too_large")));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_objects_read_the_nodes_own_replicas() {
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, mut hears) = Coordinator::start().await;
    let (node, router) = start(&folder, &coordinator).await;
    next_report(&mut hears, |report| report.replicas.iter().filter(|one| one.writable).count() == 2).await;
    fill(&node).await;

    let query = json!({ "operation": "query", "table": "users", "columns": ["name"], "order_by": "id DESC", "limit": 3 });
    let (status, answer) = ask(&router, "POST", "/query/shop", query).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["data"], json!([{ "name": "b" }, { "name": "a" }, { "name": "b" }]));
    let query = json!({ "operation": "query", "table": "users", "where": { "id": 20 } });
    assert_eq!(
        ask(&router, "POST", "/query/shop", query).await.1["data"],
        json!([{ "id": 20, "name": "a" }])
    );
    let query = json!({ "operation": "query", "table": "users", "where": { "id": 99 } });
    let nothing = json!({ "success": true, "data": [], "error": null, "affected_rows": 0 });
    assert_eq!(ask(&router, "POST", "/query/shop", query).await.1, nothing);
    let query = json!({ "operation": "query", "table": "missing" });
    let (status, error) = ask(&router, "POST", "/query/shop", query.clone()).await;
    assert_eq!((status, &error["code"]), (StatusCode::NOT_FOUND, &json!("table_not_found")));
    let (_, elsewhere) = ask(&router, "POST", "/query/elsewhere", query).await;
    assert_eq!(elsewhere["data"], json!([]), "rows of other nodes are absent");
    node.shutdown().await;
}
