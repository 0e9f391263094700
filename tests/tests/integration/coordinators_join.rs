//! Coordinators that join a cluster while they run, by a request instead of a flag.

use std::collections::BTreeSet;
use std::time::Instant;

use polylite_client::{Client, CreateDatabase, Request, Result};
use serde_json::{Value as Json, json};
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tokio::runtime::Runtime;

fn client_of(cluster: &ProcessCluster, number: usize) -> Client {
    Client::new([cluster.coordinator_url(number)]).expect("an address")
}

fn join(runtime: &Runtime, cluster: &ProcessCluster, number: usize, url: &str) -> Result<Json> {
    let request = Request::post("/cluster/join", &json!({ "coordinator_address": url }));
    runtime.block_on(client_of(cluster, number).send(&request.expect("a request")))
}

/// Waits until a coordinator knows of so many that vote; answers their addresses.
fn await_voters(
    runtime: &Runtime,
    cluster: &ProcessCluster,
    number: usize,
    count: usize,
) -> BTreeSet<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = runtime.block_on(client_of(cluster, number).status()).expect("it tells its status");
        let coordinators = status.more["coordinators"].as_array().expect("a list");
        let voters = coordinators.iter().filter(|one| one["role"] == "voter");
        let voters: BTreeSet<String> = voters.map(|one| one["address"].to_string()).collect();
        if voters.len() == count {
            return voters;
        }
        assert!(Instant::now() < deadline, "{count} coordinators vote in time: {coordinators:?}");
    }
}

#[test]
fn three_coordinators_become_one_cluster_by_requests_and_restart_without_flags() {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut cluster = ProcessCluster::start(1, 1);
    for _ in 0..2 {
        cluster.add_lone_coordinator();
    }
    runtime
        .block_on(client_of(&cluster, 0).create_database(&CreateDatabase::sql("before")))
        .expect("the first cluster has a database");
    let first = cluster.coordinator_url(0);
    for number in 1..3 {
        let answer = join(&runtime, &cluster, number, &first).expect("a coordinator without data joins");
        assert_eq!(answer["success"], true);
        assert_eq!(answer["message"], format!("Joined cluster with coordinator at {first}"));
        // An answer that was lost is asked for again.
        join(&runtime, &cluster, number, &first).expect("joining again changes nothing");
        await_voters(&runtime, &cluster, 0, number + 1);
    }
    let voters = await_voters(&runtime, &cluster, 0, 3);
    for number in 1..3 {
        assert_eq!(await_voters(&runtime, &cluster, number, 3), voters);
        let listed = runtime.block_on(client_of(&cluster, number).list_databases()).expect("it serves");
        assert_eq!(listed, ["before"]);
    }

    (0..3).for_each(|number| cluster.kill_coordinator(number));
    (1..3).for_each(|number| cluster.restart_coordinator(number));
    // Two of three are a majority: what joined votes, without the coordinator that it joined through.
    runtime
        .block_on(client_of(&cluster, 2).create_database(&CreateDatabase::sql("after")))
        .expect("the catalog is changed by the two that joined");
    cluster.restart_coordinator(0);
    for number in 0..3 {
        let listed = runtime.block_on(client_of(&cluster, number).list_databases()).expect("it serves");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), ["after", "before"].map(String::from).into());
    }
}

#[test]
fn a_coordinator_in_use_does_not_join_and_works_on() {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut cluster = ProcessCluster::start(1, 1);
    let lone = cluster.add_lone_coordinator();
    let code = |number, url: &str| {
        let error = join(&runtime, &cluster, number, url).expect_err("it is refused");
        assert!(error.hint.is_some(), "{error:?}");
        (error.status.expect("an answer"), error.code)
    };
    let other = cluster.coordinator_url(lone);
    assert_eq!(code(0, &other), (422, "not_supported".to_owned()), "it has a storage node");
    assert_eq!(code(lone, &other), (400, "bad_request".to_owned()), "it is itself");
    assert_eq!(code(lone, "nonsense"), (400, "bad_request".to_owned()));
    assert_eq!(code(lone, "http://127.0.0.1:1"), (422, "node_unreachable".to_owned()));
    let node = cluster.node_url(0);
    assert_eq!(code(lone, &node), (422, "node_unreachable".to_owned()), "a storage node takes nobody in");
    // The attempts in vain have left no trace: it still founds databases, and can still join.
    let url = cluster.coordinator_url(0);
    join(&runtime, &cluster, lone, &url).expect("it joins in the end");
    await_voters(&runtime, &cluster, lone, 2);
}
