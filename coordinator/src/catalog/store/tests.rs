//! Coordinators over real connections, each with a data directory of its own.

use std::time::Duration;

use common::{ErrorCode, NodeId, Outcome};
use consensus_runtime::RuntimeOptions;
use polylite_client::peer::{PeerOptions, PeerPool};
use tempfile::TempDir;

use super::running::{Coordinator, LONG};
use super::*;

async fn register(coordinator: &Coordinator, name: &str) {
    coordinator.store.propose_within(registration(name), LONG).await.unwrap();
}

fn registration(name: &str) -> Command {
    Command::RegisterNode {
        node: Some(name.into()),
        instance: Some(format!("instance of {name}")),
        host: name.into(),
        port: 1,
    }
}

fn folders(count: usize) -> Vec<TempDir> {
    (0..count).map(|_| tempfile::tempdir().unwrap()).collect()
}

/// A founder and coordinators that join it, once all of them vote.
async fn cluster(folders: &[TempDir]) -> Vec<Coordinator> {
    let mut coordinators = vec![Coordinator::start(folders[0].path(), None, 1_000).await];
    for folder in &folders[1..] {
        let next = Coordinator::start(folder.path(), Some(&coordinators[0]), 1_000).await;
        coordinators.push(next);
        coordinators[0].sees_voters(coordinators.len()).await;
    }
    for coordinator in &coordinators {
        coordinator.sees_voters(folders.len()).await;
    }
    coordinators
}

/// What all coordinators agree on, without what only says how far a view has come.
fn essence(catalog: &Catalog) -> Catalog {
    Catalog { version: 0, ..catalog.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let first = Coordinator::start(folder.path(), None, 1_000).await;
    register(&first, "n1").await;
    let before = first.store.view();
    let cluster = first.store.cluster().to_owned();
    first.stop().await;

    let again = Coordinator::start(folder.path(), None, 1_000).await;
    let after = again.store.confirmed_within(LONG).await.unwrap();
    assert_eq!((&after.nodes, after.next_replica), (&before.nodes, before.next_replica));
    assert_eq!(again.store.cluster(), cluster);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_has_seen_many_bytes_of_commands_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = Coordinator::start(folder.path(), None, 1_000).await;
    let many = 3 * RuntimeOptions::new(0).backlog_bytes_max;
    let (mut bytes, long) = (0, "x".repeat(256 << 10));
    while bytes < many {
        let host = long.clone();
        bytes += host.len() as u64;
        let command = Command::RegisterNode { node: Some("n".into()), instance: None, host, port: 1 };
        // Whether it is accepted does not matter.
        let answered = first.store.propose_within(command, LONG).await;
        assert!(!matches!(answered, Err(error) if error.code == ErrorCode::NoQuorum), "after {bytes} bytes");
    }
    register(&first, "n1").await;
    first.stop().await;
    // All of them are applied again.
    let again = Coordinator::start(folder.path(), None, 1_000).await;
    let after = again.store.confirmed_within(LONG).await.unwrap();
    assert_eq!(after.nodes[&NodeId("n1".to_owned())].host, "n1");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_comes_back_elsewhere_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let first = Coordinator::start(folder.path(), None, 1_000).await;
    let old = first.store.address().to_owned();
    first.stop().await;
    let again = Coordinator::start(folder.path(), None, 1_000).await;
    let new = again.store.address().to_owned();
    assert_ne!(old, new);
    let moved = |catalog: &Catalog| {
        catalog.coordinators.values().any(|coordinator| coordinator.address() == new).then_some(())
    };
    again.sees(moved).await;
    assert_eq!(again.store.view().coordinators.len(), 1);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = Coordinator::start(folder.path(), None, 1_000).await;
    let options = CatalogOptions::new(folder.path().to_owned(), "127.0.0.1", 1);
    let second = CatalogStore::open(options, PeerPool::new(PeerOptions::default())).await;
    assert!(matches!(second, Err(OpenCatalogError::Directory(DirectoryError::InUse(_)))));
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_truncated_behind_snapshots_and_a_restart_begins_there() {
    let folder = tempfile::tempdir().unwrap();
    let first = Coordinator::start(folder.path(), None, 16).await;
    for number in 0..100 {
        register(&first, &format!("n{number}")).await;
    }
    let before = first.store.view();
    // Truncation is seen in the group's status after its next round, of which each proposal makes one.
    while first.store.inner.group.status().first_index < 50 {
        register(&first, "n0").await;
    }
    first.stop().await;

    let snapshot = snapshot::read(&folder.path().join("catalog-0.snapshot")).unwrap().unwrap();
    assert!(snapshot.position.index >= 50, "the snapshot stands at {}", snapshot.position.index);
    assert!(!snapshot.position.configuration.configuration.voters.is_empty());
    let again = Coordinator::start(folder.path(), None, 16).await;
    let after = again.store.confirmed_within(LONG).await.unwrap();
    assert_eq!(after.nodes, before.nodes);
    register(&again, "one-more").await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_of_three_coordinators_takes_commands_and_knows_what_the_others_acknowledged() {
    let folders = folders(3);
    let coordinators = cluster(&folders).await;
    for (number, coordinator) in coordinators.iter().enumerate() {
        register(coordinator, &format!("n{number}")).await;
        for other in &coordinators {
            let catalog = other.store.confirmed_within(LONG).await.unwrap();
            assert_eq!(catalog.nodes.len(), number + 1);
        }
    }
    assert_eq!(coordinators.iter().filter(|coordinator| coordinator.store.is_leader()).count(), 1);
    let catalogs: Vec<Catalog> =
        coordinators.iter().map(|coordinator| essence(&coordinator.store.view())).collect();
    assert!(catalogs.windows(2).all(|pair| pair[0] == pair[1]));
    for coordinator in coordinators {
        coordinator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_restart_and_lose_nothing() {
    let folders = folders(3);
    let coordinators = cluster(&folders).await;
    register(&coordinators[2], "n1").await;
    let addresses: Vec<String> =
        coordinators.iter().map(|coordinator| coordinator.store.address().to_owned()).collect();
    for coordinator in coordinators {
        coordinator.stop().await;
    }
    let starts = folders
        .iter()
        .zip(&addresses)
        .map(|(folder, address)| Coordinator::start_at(folder.path(), address, None, 1_000));
    let again = futures_util::future::join_all(starts).await;
    for coordinator in &again {
        let catalog = coordinator.store.confirmed_within(LONG).await.unwrap();
        assert!(catalog.nodes.contains_key(&NodeId::from("n1")));
        assert_eq!(catalog.coordinators.len(), 3);
    }
    for coordinator in again {
        coordinator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_go_on_when_the_leader_ends() {
    let folders = folders(3);
    let mut coordinators = cluster(&folders).await;
    let leader = coordinators.iter().position(|coordinator| coordinator.store.is_leader()).unwrap();
    coordinators.remove(leader).stop().await;
    register(&coordinators[0], "n1").await;
    let catalog = coordinators[1].store.confirmed_within(LONG).await.unwrap();
    assert!(catalog.nodes.contains_key(&NodeId::from("n1")));
    for coordinator in coordinators {
        coordinator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_the_answer_is_no_quorum_in_time() {
    let folders = folders(3);
    let mut coordinators = cluster(&folders).await;
    let last = coordinators.pop().unwrap();
    for coordinator in coordinators {
        coordinator.stop().await;
    }
    let limit = Duration::from_secs(1);
    let before = tokio::time::Instant::now();
    let refused = last.store.propose_within(registration("n1"), limit).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoQuorum);
    let refused = last.store.confirmed_within(limit).await.unwrap_err();
    assert_eq!((refused.code, refused.outcome), (ErrorCode::NoQuorum, Outcome::NotApplied));
    assert!(before.elapsed() < 3 * limit, "it took {:?}", before.elapsed());
    // What it knows it still knows.
    assert_eq!(last.store.view().coordinators.len(), 3);
    last.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_lacks_truncated_entries_gets_the_snapshot() {
    let folders = folders(2);
    let founder = Coordinator::start(folders[0].path(), None, 16).await;
    for number in 0..60 {
        register(&founder, &format!("n{number}")).await;
    }
    let joined = Coordinator::start(folders[1].path(), Some(&founder), 16).await;
    founder.sees_voters(2).await;
    joined.sees_voters(2).await;
    assert_eq!(joined.store.inner.shared.generation(), 1, "it came by snapshot");
    let catalog = joined.store.confirmed_within(LONG).await.unwrap();
    assert_eq!(essence(&catalog), essence(&founder.store.view()));
    assert_eq!(joined.store.cluster(), founder.store.cluster());

    // The snapshot is its state now, also after a restart.
    let address = joined.store.address().to_owned();
    joined.stop().await;
    let again = Coordinator::start_at(folders[1].path(), &address, None, 16).await;
    assert_eq!(again.store.confirmed_within(LONG).await.unwrap().nodes.len(), 60);
    again.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_is_repeated_gives_the_same_replica() {
    let folder = tempfile::tempdir().unwrap();
    let founder = Coordinator::start(folder.path(), None, 1_000).await;
    let join = || async {
        let reply = founder.store.admit("127.0.0.1".into(), 9, "somebody".into()).await.unwrap();
        let CoordinatorReply::Joined { replica, .. } = reply else { panic!("{reply:?}") };
        replica
    };
    assert_eq!(join().await, join().await);
    assert_eq!(founder.store.view().coordinators.len(), 2);
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_another_cluster_is_dropped() {
    let folders = folders(2);
    let one = Coordinator::start(folders[0].path(), None, 1_000).await;
    let other = Coordinator::start(folders[1].path(), None, 1_000).await;
    let received = || one.store.inner.runtime.metrics().snapshot().messages_received;
    let before = received();
    let batch = |cluster: &str| transport::tests::batch_with_one_message(cluster);
    one.store.deliver(&batch(other.store.cluster()));
    assert_eq!(received(), before);
    one.store.deliver(&batch(one.store.cluster()));
    assert_eq!(received(), before + 1);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_coordinators_to_join_the_first_that_answers_takes_one_in() {
    let folders = folders(2);
    let first = Coordinator::start(folders[0].path(), None, 1_000).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = taken.local_addr().unwrap();
    drop(taken);
    let mut options = CatalogOptions::new(folders[1].path().to_owned(), "127.0.0.1", 1);
    options.join = vec![format!("http://{nobody}"), format!("http://{}", first.store.address())];
    options.log = consensus_runtime::LogOptions::small();
    let second = CatalogStore::open(options, PeerPool::new(PeerOptions::default())).await.unwrap();
    assert_eq!(second.cluster(), first.store.cluster());
    second.shutdown().await;
    first.stop().await;
}
