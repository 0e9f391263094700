//! How long writes stand still when a partition's leader is killed.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::http_load::HttpConnection;
use super::own_cluster::OwnCluster;
use super::workload::{DATABASE, Subject};
use crate::failure::Failure;

/// By when 99 of 100 times all partitions are written again.
pub const GOAL: Duration = Duration::from_secs(2);
/// A cluster that does not write again within this time has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause after a write that was refused.
const PAUSE: Duration = Duration::from_millis(5);
/// Rows written at the same moment: so many that every partition has one of them.
const ROWS: usize = 32;

/// Kills the storage node that leads most partitions and waits until rows of all partitions are written; answers how long
/// that took. The node is started again after it.
pub async fn kill_a_leader(cluster: &mut OwnCluster, subject: &Subject) -> Result<Duration, Failure> {
    let leader = busiest_leader(subject).await?;
    let connections = try_join_all((0..ROWS).map(|_| HttpConnection::open(&subject.url))).await?;
    let number = cluster.kill_node(&leader).await?;
    let killed = Instant::now();
    try_join_all(connections.into_iter().map(|http| write_one(subject, http, killed))).await?;
    let recovered = killed.elapsed();
    cluster.restart_node(number).await?;
    Ok(recovered)
}

/// Writes one row, however often it is refused.
async fn write_one(subject: &Subject, mut http: HttpConnection, killed: Instant) -> Result<(), Failure> {
    while let Err(failure) = subject.insert_one(&mut http).await {
        if killed.elapsed() > PATIENCE {
            return Err(failure);
        }
        tokio::time::sleep(PAUSE).await;
        http = HttpConnection::open(&subject.url).await?;
    }
    Ok(())
}

/// The node that leads most partitions of the database, once all have a leader.
pub async fn busiest_leader(subject: &Subject) -> Result<String, Failure> {
    let asked = Instant::now();
    loop {
        let answer = subject.connection.get(&format!("/partitions/{DATABASE}")).await?;
        let partitions = answer["partitions"].as_object().into_iter().flat_map(|found| found.values());
        let leaders: Option<Vec<&str>> = partitions.map(|partition| partition["leader"].as_str()).collect();
        let count = |leaders: &[&str], name: &str| leaders.iter().filter(|leader| **leader == name).count();
        if let Some(leaders) = leaders
            && let Some(busiest) = leaders.iter().max_by_key(|name| count(&leaders, name))
        {
            return Ok((*busiest).to_owned());
        }
        if asked.elapsed() > PATIENCE {
            return Err(Failure::refused("a partition has no leader"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
