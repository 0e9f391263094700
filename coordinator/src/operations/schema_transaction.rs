//! A change of a schema that one transaction makes on all partitions, together with changes of rows.
//!
//! The coordinator that was asked for it carries the transaction out and ends the operation. Should that coordinator go
//! away, whoever leads finds out what became of the transaction. Partitions that are at the new version have committed. If
//! none is seen there for longer than the coordinator takes at most, the decider is asked, and from then on is bound to
//! abort what it has not committed. It forgets a commit once every participant has carried it out; but then it is at the
//! new version itself, and nobody else can have brought it there: other changes wait for the operation's end.

use std::time::Duration;

use common::catalog::{OperationWork, SchemaTransaction};
use common::protocol::{PartitionTarget, WriteRequest};
use common::{Error, ErrorCode, Result};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::driver::{fail, finish};
use super::partition_leader;
use crate::catalog::is_open;

/// How often the decider's version is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long the decider is asked at a time.
const ASK: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
struct Change {
    transaction: SchemaTransaction,
    /// The version that it leads to.
    version: u64,
    /// Of the decider's place in the map.
    epoch: u64,
}

pub(super) async fn drive(cluster: &impl Cluster, id: &str) -> Result<()> {
    let begun = Instant::now();
    let change = loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        // It ended meanwhile if there is none.
        let Some(change) = find(cluster, id) else { return Ok(()) };
        let facts = cluster.facts(change.transaction.decider).await;
        if facts.leader_report().is_some_and(|report| report.schema_version >= change.version) {
            return finish(cluster, id).await;
        }
        if begun.elapsed() >= Duration::from_millis(change.transaction.patience_ms) {
            break change;
        }
    };
    if is_committed(cluster, change).await? {
        return finish(cluster, id).await;
    }
    let text = "the coordinator that changed the schema and rows has gone; nothing was applied";
    let error = Error::new(ErrorCode::SerializationFailure, text).with_hint("send the request again");
    fail(cluster, id, error).await
}

fn find(cluster: &impl Cluster, id: &str) -> Option<Change> {
    let catalog = cluster.view();
    let operation = catalog.operations.get(id).filter(|operation| is_open(operation))?;
    let OperationWork::ChangeSchema { database, schema, transaction: Some(transaction), .. } =
        &operation.work
    else {
        return None;
    };
    let database = catalog.databases.get(database)?;
    let (_, bucket, _) = database.partitions().find(|(_, _, id)| *id == transaction.decider)?;
    Some(Change { transaction: *transaction, version: schema.version, epoch: bucket.epoch })
}

/// Whether the transaction has committed. If not, it never will.
async fn is_committed(cluster: &impl Cluster, change: Change) -> Result<bool> {
    let SchemaTransaction { id, decider, .. } = change.transaction;
    let resolve = |address: String| async move { cluster.resolve(&address, decider, id).await };
    if partition_leader::ask(cluster, decider, ASK, resolve).await?.commit {
        return Ok(true);
    }
    // A write of nothing, planned on the version before.
    let write = WriteRequest {
        target: PartitionTarget {
            partition: decider,
            epoch: change.epoch,
            schema_version: change.version.saturating_sub(1),
            timeout_ms: u64::try_from(ASK.as_millis()).unwrap_or(u64::MAX),
        },
        work: Vec::new(),
        max_rows: 1,
    };
    let try_it = |address: String| {
        let write = write.clone();
        async move { cluster.write(&address, write).await }
    };
    match partition_leader::ask(cluster, decider, ASK, try_it).await {
        Ok(()) => Ok(false),
        Err(error) if error.code == ErrorCode::StaleSchema => Ok(true),
        Err(error) => Err(error),
    }
}
