//! Coordinators leave for good and are replaced, while clients count.

use std::time::Instant;

use polylite_client::{Client, CreateDatabase, Request};
use serde_json::{Value as Json, json};
use tests::counting_clients::CountingClients;
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tests::raw_http::send;
use tokio::runtime::Runtime;

fn ask(runtime: &Runtime, cluster: &ProcessCluster, number: usize, request: &Request) -> Json {
    let client = Client::new([cluster.coordinator_url(number)]).expect("an address");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match runtime.block_on(client.send(request)) {
            Ok(answer) => return answer,
            Err(error) => assert!(error.retryable && Instant::now() < deadline, "{request:?}: {error:?}"),
        }
    }
}

fn address_of(cluster: &ProcessCluster, number: usize) -> String {
    cluster.coordinator_url(number).trim_start_matches("http://").to_owned()
}

/// Addresses of the coordinators that a coordinator knows.
fn known_to(runtime: &Runtime, cluster: &ProcessCluster, number: usize) -> Vec<String> {
    let status = ask(runtime, cluster, number, &Request::get("/cluster/status"));
    let coordinators = status["coordinators"].as_array().expect("a list");
    coordinators.iter().map(|one| one["address"].as_str().expect("an address").to_owned()).collect()
}

#[test]
fn a_coordinator_leaves_another_is_lost_and_replaced_and_the_last_one_stays() {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut cluster = ProcessCluster::start(3, 1);
    let create = |cluster: &ProcessCluster, number: usize, name: &str| {
        let client = Client::new([cluster.coordinator_url(number)]).expect("an address");
        runtime.block_on(client.create_database(&CreateDatabase::sql(name))).expect("a database is made");
    };
    create(&cluster, 0, "counted");
    let clients = CountingClients::start(&[cluster.coordinator_url(0)], "counted", 2);
    clients.await_progress(5, PATIENCE);
    let leave = |body: Json| Request::post("/cluster/leave", &body).expect("JSON").reads();
    ask(&runtime, &cluster, 1, &leave(json!({})));
    let refused = send(&cluster.coordinator_url(1), "GET", "/databases", &Json::Null);
    assert_eq!((refused.status, refused.body["code"].as_str()), (503, Some("unavailable")), "{refused:?}");
    let hint = refused.body["hint"].as_str().unwrap_or_default();
    assert!(hint.contains(&address_of(&cluster, 0)) && hint.contains(&address_of(&cluster, 2)), "{hint}");
    assert!(!hint.contains(&address_of(&cluster, 1)), "{hint}");
    assert_eq!(send(&cluster.coordinator_url(1), "GET", "/health/live", &Json::Null).status, 200);
    cluster.stop_coordinator(1);
    let left = known_to(&runtime, &cluster, 0);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(!left.contains(&address_of(&cluster, 1)), "{left:?}");
    create(&cluster, 2, "after_one_has_left");
    clients.await_progress(5, PATIENCE);

    let joined = cluster.add_coordinator();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = ask(&runtime, &cluster, 0, &Request::get("/cluster/status"));
        let voters =
            status["coordinators"].as_array().expect("a list").iter().filter(|one| one["role"] == "voter");
        if voters.count() == 3 {
            break;
        }
        assert!(Instant::now() < deadline, "the new coordinator votes in time");
    }
    let lost = address_of(&cluster, 2);
    cluster.kill_coordinator(2);
    ask(&runtime, &cluster, 0, &leave(json!({ "address": lost })));
    assert!(!known_to(&runtime, &cluster, 0).contains(&lost));
    create(&cluster, joined, "after_one_was_lost");
    ask(&runtime, &cluster, joined, &leave(json!({})));
    cluster.stop_coordinator(joined);
    clients.await_progress(5, PATIENCE);
    create(&cluster, 0, "alone");
    let refused = send(&cluster.coordinator_url(0), "POST", "/cluster/leave", &json!({}));
    assert_eq!((refused.status, refused.body["code"].as_str()), (409, Some("node_in_use")));
    clients.finish();
}
