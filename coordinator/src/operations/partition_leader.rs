//! Reaching the replica that leads a partition.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use common::protocol::ReplicaReport;
use common::{Error, ErrorCode, Outcome, PartitionId, ReplicaId, Result};
use tokio::time::Instant;

use super::cluster::Cluster;
use crate::placement::peers;

/// First pause after an attempt in vain; it grows by a half up to the last.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// How often a new partition without a leader is looked after.
const NUDGE_INTERVAL: Duration = Duration::from_millis(100);
/// How long one schema change of one partition may take: an index over many rows is built in it.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(600);

/// A growing pause.
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Pauses {
        Pauses(PAUSE_MIN)
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 3 / 2).min(PAUSE_MAX);
    }
}

/// Brings a partition's schema to a version. Tries until its leader has answered; an error is the leader's
/// refusal. Whoever needs a limit brings it.
pub(super) async fn change_schema(
    cluster: &impl Cluster,
    partition: PartitionId,
    version: u64,
    statements: &[String],
) -> Result<()> {
    let (mut pauses, mut turn, mut hint) = (Pauses::new(), 0, None);
    loop {
        let addresses = addresses(cluster, partition)?;
        let hinted = hint.take().and_then(|leader| addresses.get(&leader));
        let in_turn = || addresses.values().nth(turn % addresses.len().max(1));
        if let Some(address) = hinted.or_else(in_turn) {
            let statements = statements.to_vec();
            let changed =
                cluster.change_schema(address, partition, version, statements, SCHEMA_TIMEOUT).await;
            match changed {
                Err(error) if is_refusal(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(%partition, address, %error, "a schema is not changed yet");
                    hint = error.leader;
                }
                Ok(()) => return Ok(()),
            }
        }
        turn += usize::from(hint.is_none());
        pauses.pause().await;
    }
}

/// Asks the replica that leads a partition, for as long as nobody has answered, but no longer than `within`. Who has not
/// answered may have done what was asked only where the error says so.
pub(super) async fn ask<T, F>(
    cluster: &impl Cluster,
    partition: PartitionId,
    within: Duration,
    ask: impl Fn(String) -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + within;
    let (mut pauses, mut turn) = (Pauses::new(), 0);
    let mut hint = cluster.presumed_leader(partition);
    loop {
        let addresses = addresses(cluster, partition)?;
        let hinted = hint.take().and_then(|leader| addresses.get(&leader));
        let in_turn = || addresses.values().nth(turn % addresses.len().max(1));
        let asked = match hinted.or_else(in_turn) {
            Some(address) => ask(address.clone()).await,
            None => Err(Error::new(ErrorCode::NoQuorum, "the partition has no replicas")),
        };
        match asked {
            Err(error) if is_passing(&error) && Instant::now() < deadline => {
                tracing::debug!(%partition, %error, "a partition's leader is looked for");
                hint = error.leader;
            }
            answered => return answered,
        }
        turn += usize::from(hint.is_none());
        pauses.pause().await;
    }
}

/// Whether another replica, or the same a little later, may do what was not done.
fn is_passing(error: &Error) -> bool {
    error.outcome == Outcome::NotApplied
        && matches!(
            error.code,
            ErrorCode::NotLeader
                | ErrorCode::LeadershipLost
                | ErrorCode::NoQuorum
                | ErrorCode::Unavailable
                | ErrorCode::Timeout
                | ErrorCode::PartitionNotFound
        )
}

/// Has the replica that is meant to lead a new partition stand for election again, for as long as nobody leads.
/// The votes that it asked for when it was started may have been lost on nodes that had not started theirs;
/// waiting for its time-out would take a second. Runs until it is dropped.
pub(super) async fn nudge(cluster: &impl Cluster, partition: PartitionId) -> Infallible {
    loop {
        tokio::time::sleep(NUDGE_INTERVAL).await;
        let facts = cluster.facts(partition).await;
        let Ok(addresses) = addresses(cluster, partition) else { continue };
        if let (None, Some((first, address))) = (facts.leader, addresses.first_key_value())
            && let Err(error) = cluster.transfer_leader(address, partition, *first).await
        {
            tracing::debug!(%partition, %error, "a partition without a leader was not given one");
        }
    }
}

/// The report of a partition's leader, as of now, once there is one that takes writes.
pub(super) async fn report(cluster: &impl Cluster, partition: PartitionId) -> Result<ReplicaReport> {
    let mut pauses = Pauses::new();
    loop {
        addresses(cluster, partition)?;
        let facts = cluster.facts(partition).await;
        if let Some(report) = facts.leader_report().filter(|report| report.writable) {
            return Ok(report.clone());
        }
        pauses.pause().await;
    }
}

/// Asks a replica that leads to hand over to another one.
pub(super) async fn hand_over(
    cluster: &impl Cluster,
    partition: PartitionId,
    from: ReplicaId,
    to: ReplicaId,
) -> Result<()> {
    match addresses(cluster, partition)?.get(&from) {
        Some(address) => cluster.transfer_leader(address, partition, to).await,
        None => Ok(()),
    }
}

/// Where the partition's replicas are, the one that is meant to lead first. Fails when the partition is gone.
pub(super) fn addresses(cluster: &impl Cluster, id: PartitionId) -> Result<BTreeMap<ReplicaId, String>> {
    let catalog = cluster.view();
    let partition = catalog
        .partitions
        .get(&id)
        .ok_or_else(|| Error::new(ErrorCode::PartitionNotFound, format!("Partition {id} not found")))?;
    Ok(peers(&catalog, partition).into_iter().map(|(replica, peer)| (replica, peer.address)).collect())
}

/// Whether the leader has looked at the change and does not make it, now or later: the text or the data do not
/// allow it.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::BadRequest
            | ErrorCode::SqlError
            | ErrorCode::SqlForbidden
            | ErrorCode::UniqueViolation
            | ErrorCode::NotNullViolation
            | ErrorCode::CheckViolation
            | ErrorCode::ForeignKeyViolation
            | ErrorCode::ValueTooBig
            | ErrorCode::BodyTooLarge
            | ErrorCode::ResultTooBig
            | ErrorCode::NotSupported
    )
}
