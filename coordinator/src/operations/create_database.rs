//! Starting the partitions of a new database.

use std::time::Duration;

use common::{Error, ErrorCode, PartitionId, Result};
use futures_util::future::try_join_all;

use super::cluster::Cluster;
use super::driver::{fail, finish};
use super::partition_leader;

/// A database whose partitions do not start in so long is given up. Counted anew by every leader.
const CREATE_TIMEOUT: Duration = Duration::from_secs(60);

/// The nodes were told what to run when the database was entered. What is left: each partition must have a
/// leader that takes writes, and its first schema, whose DDL is given by column group.
pub(super) async fn drive(
    cluster: &impl Cluster,
    id: &str,
    name: &str,
    statements: &[Vec<String>],
) -> Result<()> {
    let catalog = cluster.view();
    let Some(database) = catalog.databases.get(name) else {
        return fail(cluster, id, crate::catalog::database_not_found(name)).await;
    };
    let version = database.schema.version;
    let partitions = database.partitions().map(|(group, _, partition)| async move {
        let statements = statements.get(group).map(Vec::as_slice).unwrap_or_default();
        tokio::select! {
            biased;
            started = start(cluster, partition, version, statements) => started,
            never = partition_leader::nudge(cluster, partition) => match never {},
        }
    });
    match tokio::time::timeout(CREATE_TIMEOUT, try_join_all(partitions)).await {
        Ok(Ok(_)) => finish(cluster, id).await,
        Ok(Err(refusal)) => fail(cluster, id, refusal).await,
        Err(_) => {
            let message = format!("the partitions of '{name}' have not started in time");
            fail(cluster, id, Error::new(ErrorCode::NoQuorum, message)).await
        }
    }
}

async fn start(
    cluster: &impl Cluster,
    partition: PartitionId,
    version: u64,
    statements: &[String],
) -> Result<()> {
    if version == 0 {
        return partition_leader::report(cluster, partition).await.map(drop);
    }
    // A change that its leader has committed shows that it takes writes.
    partition_leader::change_schema(cluster, partition, version, statements).await
}
