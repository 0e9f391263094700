//! Whether the replicas of a partition are equal: by the position that running nodes tell, and by the files
//! of stopped ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use polylite_client::{Client, Request};
use serde_json::Value as Json;
use sqlite::{Location, Maintenance};

use crate::process_cluster::ProcessCluster;

/// Longest wait for replicas to reach the same position.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `replicas` replicas of every partition have applied the same log and no transaction is open,
/// then stops all processes and compares the files.
///
/// # Panics
/// If they do not come to rest, or are not equal.
pub fn assert_equal_after_stop(cluster: &mut ProcessCluster, database: &str, replicas: usize) {
    await_equal_positions(cluster, database, replicas);
    cluster.stop_all();
    let mut digests: BTreeMap<String, Vec<(String, u128)>> = BTreeMap::new();
    for node in cluster.node_folders() {
        for (partition, file) in partition_files(&node) {
            let maintenance = Maintenance::open(&Location::file(&file)).expect("the file opens");
            let digest = maintenance.digest().expect("the file is sound").0;
            digests.entry(partition).or_default().push((node.display().to_string(), digest));
        }
    }
    assert!(!digests.is_empty(), "no file was compared");
    for (partition, found) in digests {
        assert_eq!(found.len(), replicas, "replicas of partition {partition}: {found:?}");
        assert!(
            found.iter().all(|(_, digest)| *digest == found[0].1),
            "replicas of partition {partition} differ: {found:#?}"
        );
    }
}

/// Waits until `replicas` replicas of every partition have applied the same log and no transaction is open.
///
/// # Panics
/// If that does not happen in time.
pub fn await_equal_positions(cluster: &ProcessCluster, database: &str, replicas: usize) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (positions, in_doubt) = runtime
            .block_on(async { (positions(cluster, database).await, in_doubt_transactions(cluster).await) });
        let rests =
            |applied: &Vec<u64>| applied.len() == replicas && applied.iter().all(|a| *a == applied[0]);
        if !positions.is_empty() && positions.values().all(rests) && in_doubt == Some(0) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "replicas do not come to rest: applied {positions:?}, in doubt {in_doubt:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Applied indexes by partition, as the running nodes tell them.
async fn positions(cluster: &ProcessCluster, database: &str) -> BTreeMap<String, Vec<u64>> {
    let mut applied: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for url in cluster.running_node_urls() {
        let client = Client::new([url]).expect("an address");
        // A node that is starting answers later.
        let Ok(answer) = client.send::<Json>(&Request::get(format!("/partitions/{database}"))).await else {
            continue;
        };
        for partition in answer["partitions"].as_array().into_iter().flatten() {
            let id = partition["id"].as_str().expect("an id").to_owned();
            applied.entry(id).or_default().push(partition["applied_index"].as_u64().expect("an index"));
        }
    }
    applied
}

async fn in_doubt_transactions(cluster: &ProcessCluster) -> Option<u64> {
    let client = Client::new(cluster.coordinator_urls()).expect("addresses");
    let status: Json = client.send(&Request::get("/cluster/status")).await.ok()?;
    status["in_doubt_transactions"].as_u64()
}

/// The newest generation of every partition's file in a stopped node's folder.
fn partition_files(node: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for partition in entries(&node.join("partitions")) {
        let generations = entries(&partition).into_iter().filter_map(|path| {
            let number: u64 = path.file_name()?.to_str()?.parse().ok()?;
            Some((number, path.join("data.db")))
        });
        if let Some((_, file)) = generations.filter(|(_, file)| file.exists()).max() {
            let name = partition.file_name().expect("folders have names").to_string_lossy().into_owned();
            files.insert(name, file);
        }
    }
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(folder).expect("the folder is there");
    listed.map(|entry| entry.expect("the folder is readable").path()).collect()
}
