//! Changing the members of a partition's group through its leader.

use common::catalog::NodeStatus;
use common::protocol::{MembershipChange, ReplicaReport};
use common::{Error, ErrorCode, NodeId, PartitionId, ReplicaId, Result};

use super::cluster::Cluster;
use super::driver::{fail, finish};
use super::partition_leader::{self, Pauses};
use crate::catalog::Command;

/// Entries that a learner may lack and be promoted all the same: the rest takes milliseconds.
const CAUGHT_UP: u64 = 64;

/// A replica to be made, and the one whose place it takes.
#[derive(Clone, Copy)]
pub(super) struct NewReplica {
    pub(super) partition: PartitionId,
    pub(super) replica: ReplicaId,
    pub(super) replaces: Option<ReplicaId>,
}

/// Brings a new replica from nothing to learner to voter; then the one that it replaces leaves the group.
pub(super) async fn add(cluster: &impl Cluster, id: &str, new: NewReplica, node: &NodeId) -> Result<()> {
    start(cluster, id).await?;
    let mut pauses = Pauses::new();
    loop {
        let report = partition_leader::report(cluster, new.partition).await?;
        let next = next_for_new(&report, new);
        // Once the other one has left, nothing may be taken back any more.
        if next != Next::Done && !is_there(cluster, node) {
            let message = format!("Storage node '{node}' has left before its replica had caught up");
            return fail(cluster, id, Error::new(ErrorCode::Unavailable, message)).await;
        }
        match next {
            Next::Done => return finish(cluster, id).await,
            Next::Wait => {}
            Next::HandOver(from) => {
                let handed = partition_leader::hand_over(cluster, new.partition, from, new.replica).await;
                if let Err(error) = handed {
                    tracing::debug!(partition = %new.partition, %error, "a leader has not handed over yet");
                }
            }
            Next::Change(change) => try_change(cluster, &report, change).await,
        }
        pauses.pause().await;
    }
}

/// Takes a lost replica out of its group.
pub(super) async fn remove(
    cluster: &impl Cluster,
    id: &str,
    partition: PartitionId,
    replica: ReplicaId,
) -> Result<()> {
    start(cluster, id).await?;
    let mut pauses = Pauses::new();
    loop {
        let report = partition_leader::report(cluster, partition).await?;
        if !is_member(&report, replica) {
            return finish(cluster, id).await;
        }
        try_change(cluster, &report, MembershipChange::Remove(replica)).await;
        pauses.pause().await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Done,
    /// The learner is not far enough yet.
    Wait,
    Change(MembershipChange),
    /// The one that is to leave leads: the new one takes over first, so that nobody waits for an election.
    HandOver(ReplicaId),
}

/// What brings a new replica one step further, by its leader's report.
fn next_for_new(report: &ReplicaReport, new: NewReplica) -> Next {
    let NewReplica { replica, replaces, .. } = new;
    if report.voters.contains(&replica) {
        return match replaces.filter(|leaving| is_member(report, *leaving)) {
            None => Next::Done,
            Some(leaving) if report.replica == leaving => Next::HandOver(leaving),
            Some(leaving) => Next::Change(MembershipChange::Remove(leaving)),
        };
    }
    match report.learners.iter().find(|(learner, _)| *learner == replica) {
        None => Next::Change(MembershipChange::AddLearner(replica)),
        // 0: the leader does not know yet that it holds anything.
        Some((_, held)) if *held > 0 && held + CAUGHT_UP >= report.committed => {
            Next::Change(MembershipChange::Promote(replica))
        }
        Some(_) => Next::Wait,
    }
}

fn is_member(report: &ReplicaReport, replica: ReplicaId) -> bool {
    report.voters.contains(&replica) || report.learners.iter().any(|(learner, _)| *learner == replica)
}

/// Asks the leader for a change. Whether it came about, the next report says.
async fn try_change(cluster: &impl Cluster, report: &ReplicaReport, change: MembershipChange) {
    let partition = report.partition;
    let catalog = cluster.view();
    let leader = catalog.partitions.get(&partition).and_then(|partition| {
        let node = &partition.replicas.iter().find(|replica| replica.id == report.replica)?.node;
        catalog.nodes.get(node)
    });
    let Some(leader) = leader else { return };
    let index = report.configuration_index;
    let changed = cluster.change_membership(&leader.address(), partition, change, index).await;
    if let Err(error) = changed {
        tracing::debug!(%partition, ?change, %error, "a group was not changed yet");
    }
}

fn is_there(cluster: &impl Cluster, node: &NodeId) -> bool {
    let catalog = cluster.view();
    catalog.nodes.get(node).is_some_and(|node| node.status != NodeStatus::Inactive)
}

pub(super) async fn start(cluster: &impl Cluster, id: &str) -> Result<()> {
    cluster.propose(Command::StartOperation { operation: id.to_owned() }).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(voters: &[u64], learners: &[(u64, u64)]) -> ReplicaReport {
        ReplicaReport {
            partition: PartitionId(1),
            replica: ReplicaId(1),
            leader: Some(ReplicaId(1)),
            term: 1,
            applied: 1_000,
            committed: 1_000,
            schema_version: 1,
            rows: 0,
            table_rows: Vec::new(),
            bytes: 0,
            configuration_index: 7,
            voters: voters.iter().map(|id| ReplicaId(*id)).collect(),
            learners: learners.iter().map(|(id, held)| (ReplicaId(*id), *held)).collect(),
            in_doubt: 0,
            writable: true,
            digest: None,
            quarantined: None,
            used_bytes: 0,
            requests: 0,
        }
    }

    #[test]
    fn a_new_replica_learns_then_votes() {
        let new = ReplicaId(9);
        let made = NewReplica { partition: PartitionId(1), replica: new, replaces: None };
        let next = |voters, learners| next_for_new(&report(voters, learners), made);
        assert_eq!(next(&[1, 2], &[]), Next::Change(MembershipChange::AddLearner(new)));
        assert_eq!(next(&[1, 2], &[(9, 0)]), Next::Wait);
        assert_eq!(next(&[1, 2], &[(9, 500)]), Next::Wait);
        assert_eq!(next(&[1, 2], &[(9, 990)]), Next::Change(MembershipChange::Promote(new)));
        assert_eq!(next(&[1, 2, 9], &[]), Next::Done);
    }

    #[test]
    fn the_replaced_one_leaves_when_the_new_one_votes_and_never_as_the_leader() {
        let replace = |leaving| NewReplica {
            partition: PartitionId(1),
            replica: ReplicaId(9),
            replaces: Some(ReplicaId(leaving)),
        };
        let next = |leaving, voters, learners| next_for_new(&report(voters, learners), replace(leaving));
        assert_eq!(next(2, &[1, 2], &[(9, 0)]), Next::Wait);
        assert_eq!(next(2, &[1, 2, 9], &[]), Next::Change(MembershipChange::Remove(ReplicaId(2))));
        assert_eq!(next(1, &[1, 2, 9], &[]), Next::HandOver(ReplicaId(1)));
        assert_eq!(next(2, &[1, 9], &[]), Next::Done);
    }
}
