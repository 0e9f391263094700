//! Handing a partition to another of its replicas.

use std::time::Duration;

use common::{Error, ErrorCode, PartitionId, ReplicaId, Result};

use super::cluster::Cluster;
use super::driver::{fail, finish};
use super::partition_leader::{self, Pauses};

/// The leader hands over as soon as the other replica holds everything, so a replica that does not lead after
/// this time is too far behind, or cut off.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks whoever leads to hand over until the replica leads and takes writes.
pub(super) async fn drive(
    cluster: &impl Cluster,
    id: &str,
    partition: PartitionId,
    replica: ReplicaId,
) -> Result<()> {
    match tokio::time::timeout(TRANSFER_TIMEOUT, hand_over(cluster, partition, replica)).await {
        Ok(Ok(())) => finish(cluster, id).await,
        Ok(Err(error)) => fail(cluster, id, error).await,
        Err(_) => {
            let message = format!("replica {replica} has not taken over partition {partition} in time");
            fail(cluster, id, Error::new(ErrorCode::Timeout, message)).await
        }
    }
}

async fn hand_over(cluster: &impl Cluster, partition: PartitionId, replica: ReplicaId) -> Result<()> {
    let mut pauses = Pauses::new();
    loop {
        let leader = partition_leader::report(cluster, partition).await?.replica;
        if leader == replica {
            return Ok(());
        }
        let addresses = partition_leader::addresses(cluster, partition)?;
        if let Some(address) = addresses.get(&leader)
            && let Err(error) = cluster.transfer_leader(address, partition, replica).await
        {
            tracing::debug!(%partition, %error, "a leader has not handed over yet");
        }
        pauses.pause().await;
    }
}
