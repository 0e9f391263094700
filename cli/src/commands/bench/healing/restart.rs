//! A storage node is killed in the moment after it was loaded, and starts again.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{LOOK, PATIENCE};
use crate::commands::bench::http_load::HttpConnection;
use crate::commands::bench::own_cluster::{OwnCluster, Plan, node_name};
use crate::commands::bench::workload::Subject;
use crate::failure::Failure;

/// By when a node should serve, whatever it holds.
pub const GOAL: Duration = Duration::from_secs(5);

/// How long a start took.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// Until the process said that it is ready.
    pub ready: Duration,
    /// Until a row could be written.
    pub written: Duration,
}

/// Fills the only node of a cluster, kills it at once, and starts it again.
pub async fn kill_after_load(folder: &Path, mib: u64) -> Result<Restart, Failure> {
    let plan = Plan { nodes: 1, coordinator: &[] };
    let mut cluster = OwnCluster::start_as(folder, plan).await?;
    let measured = measure(&mut cluster, mib).await;
    cluster.stop().await?;
    measured
}

async fn measure(cluster: &mut OwnCluster, mib: u64) -> Result<Restart, Failure> {
    let subject = Subject::prepare(cluster.url.clone(), 2).await?;
    subject.fill_up(mib << 20).await?;
    let number = cluster.kill_node(&node_name(0)).await?;
    let begun = Instant::now();
    cluster.spawn_again(number).await?;
    let ready = begun.elapsed();
    let mut http = HttpConnection::open(&subject.url).await?;
    while let Err(failure) = subject.insert_one(&mut http).await {
        if begun.elapsed() > PATIENCE {
            return Err(failure);
        }
        tokio::time::sleep(LOOK).await;
        http = HttpConnection::open(&subject.url).await?;
    }
    Ok(Restart { ready, written: begun.elapsed() })
}
