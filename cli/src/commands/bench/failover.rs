//! How long writes stand still when a partition's leader is killed.

use std::time::{Duration, Instant};

use super::http_load::HttpConnection;
use super::own_cluster::OwnCluster;
use super::workload::{DATABASE, Subject};
use crate::failure::Failure;

/// A cluster that does not write again within this time has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause after a write that was refused.
const PAUSE: Duration = Duration::from_millis(5);
/// Writes that have to succeed one after the other, so that every partition has been written to.
const WRITES_IN_A_ROW: u32 = 32;

/// Kills the storage node that leads most partitions and waits until writes to all partitions succeed again;
/// answers how long that took. The node is started again after it.
pub async fn kill_a_leader(cluster: &mut OwnCluster, subject: &Subject) -> Result<Duration, Failure> {
    let leader = busiest_leader(subject).await?;
    let mut http = HttpConnection::open(&subject.url).await?;
    let number = cluster.kill_node(&leader).await?;
    let killed = Instant::now();
    let mut in_a_row = 0;
    let mut recovered = killed;
    while in_a_row < WRITES_IN_A_ROW {
        match subject.insert_one(&mut http).await {
            Ok(()) => {
                in_a_row += 1;
                recovered = Instant::now();
            }
            Err(failure) if killed.elapsed() > PATIENCE => return Err(failure),
            Err(_) => {
                in_a_row = 0;
                tokio::time::sleep(PAUSE).await;
                http = HttpConnection::open(&subject.url).await?;
            }
        }
    }
    cluster.restart_node(number).await?;
    Ok(recovered - killed)
}

/// The node that leads most partitions of the database, once all have a leader.
async fn busiest_leader(subject: &Subject) -> Result<String, Failure> {
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
