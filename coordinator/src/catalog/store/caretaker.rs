//! The task that keeps the catalog's group as the catalog has it: the founder names the cluster, coordinators
//! that joined are brought from learner to voter, one that came back elsewhere says so.

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::catalog::{Catalog, Coordinator, ReplicaRole};
use common::{Error, ReplicaId, Result};
use consensus_runtime::{MembershipStep, Status};
use tokio::time::Instant;

use super::{CatalogOptions, CatalogStore};
use crate::catalog::Command;

/// How often it looks while a member is being changed. A learner's progress is no event.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);
/// How often it looks otherwise.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Entries that a learner may lack and be promoted all the same: the rest takes milliseconds.
const CAUGHT_UP: u64 = 64;

/// Waits until the first command of the cluster is in the catalog, and proposes it if this is the founder's
/// first start.
pub(super) async fn found(store: &CatalogStore, options: &CatalogOptions, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    // A founder that comes back after others have joined may not lead any more, but then it knows the cluster.
    while store.view().cluster.is_empty() {
        let catalog = store.confirmed_within(timeout).await?;
        if !catalog.cluster.is_empty() {
            break;
        }
        let command = Command::FoundCluster {
            cluster: store.cluster().to_owned(),
            replica: store.replica(),
            host: options.host.clone(),
            port: options.port,
            instance: store.instance().to_owned(),
        };
        store.propose_within(command, deadline.saturating_duration_since(Instant::now())).await?;
    }
    Ok(())
}

/// Runs until it is dropped.
pub(super) async fn run(store: CatalogStore, host: String, port: u16) {
    let (mut applied, mut role) = (store.changed(), store.leadership());
    loop {
        let busy = look(&store, &host, port).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the coordinators' group is not yet as it should be");
            true
        });
        let interval = if busy { BUSY_INTERVAL } else { IDLE_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            // The watches live as long as the store.
            _ = applied.changed(), if !busy => {}
            _ = role.changed() => {}
        }
    }
}

/// Makes the next step, if there is one; answers whether more may be to do soon.
async fn look(store: &CatalogStore, host: &str, port: u16) -> Result<bool> {
    let catalog = store.view();
    if let Some(own) = catalog.coordinators.get(&store.replica())
        && (own.host != host || own.port != port)
    {
        let command = Command::MoveCoordinator { replica: own.replica, host: host.to_owned(), port };
        store.propose(command).await?;
        return Ok(true);
    }
    if catalog.coordinators.get(&store.replica()).is_some_and(|own| own.role == ReplicaRole::Lost) {
        // Another one was asked to take it out.
        store.inner.left.store(true, Ordering::Relaxed);
    }
    if !store.is_leader() {
        return Ok(false);
    }
    if catalog.leaving && !store.is_leaving() {
        // An attempt to join another cluster ended before it could clean up.
        store.propose(Command::StayInCluster).await?;
        return Ok(true);
    }
    let status = store.inner.group.status();
    match next_step(&catalog, &status) {
        Step::None => Ok(false),
        Step::Wait => Ok(true),
        Step::Change(step) => {
            let changed = store.inner.group.change_membership(step.into(), status.configuration_index).await;
            changed.map_err(|error| Error::internal(error.to_string()))?;
            Ok(true)
        }
        Step::Enter(replica, role) => {
            store.propose(Command::SetCoordinatorRole { replica, role }).await?;
            Ok(true)
        }
        Step::Forget(replica) => {
            store.propose(Command::RemoveCoordinator { replica }).await?;
            Ok(true)
        }
        Step::HandOver(to) => {
            store.inner.group.transfer_leader(to);
            Ok(true)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    None,
    /// A learner is not far enough yet.
    Wait,
    /// The group changes.
    Change(MembershipStep),
    /// The group has changed; the catalog follows.
    Enter(ReplicaId, ReplicaRole),
    /// This leader is to leave, so another has to lead first.
    HandOver(ReplicaId),
    /// The group goes on without a coordinator that leaves.
    Forget(ReplicaId),
}

/// What brings the group one step nearer to the catalog.
fn next_step(catalog: &Catalog, status: &Status) -> Step {
    let members = &status.configuration;
    if catalog.cluster.is_empty() || members.is_joint() {
        return Step::None;
    }
    let mut waiting = false;
    for coordinator in catalog.coordinators.values().filter(|one| one.role == ReplicaRole::Learner) {
        let replica = coordinator.replica;
        if members.voters.contains(&replica) {
            return Step::Enter(replica, ReplicaRole::Voter);
        }
        if !members.learners.contains(&replica) {
            return Step::Change(MembershipStep::AddLearner(replica));
        }
        let progress = status.peers.iter().find(|peer| peer.replica == replica);
        if progress.is_some_and(|peer| peer.recently_active && peer.matched + CAUGHT_UP >= status.commit) {
            return Step::Change(MembershipStep::Promote(replica));
        }
        waiting = true;
    }
    let stays = |member: &ReplicaId| {
        catalog.coordinators.get(member).is_some_and(|known| known.role != ReplicaRole::Lost)
    };
    let removed = members.members().into_iter().find(|member| !stays(member));
    let has_left =
        |one: &&Coordinator| one.role == ReplicaRole::Lost && !members.members().contains(&one.replica);
    if let Some(left) = catalog.coordinators.values().find(has_left) {
        return Step::Forget(left.replica);
    }
    match removed {
        Some(own) if own == status.id => {
            let heir = members.voters.iter().find(|voter| **voter != own && stays(voter));
            heir.map_or(Step::None, |heir| Step::HandOver(*heir))
        }
        Some(other) => Step::Change(MembershipStep::Remove(other)),
        None if waiting => Step::Wait,
        None => Step::None,
    }
}

#[cfg(test)]
mod tests {
    use consensus_runtime::Configuration;

    use super::*;

    fn catalog(roles: &[(u64, ReplicaRole)]) -> Catalog {
        let coordinator = |&(id, role)| {
            let replica = ReplicaId(id);
            let (host, instance) = ("h".to_owned(), id.to_string());
            (replica, Coordinator { replica, host, port: 1, instance, role })
        };
        let coordinators = roles.iter().map(coordinator).collect();
        Catalog { cluster: "c".into(), coordinators, ..Catalog::default() }
    }

    fn status(voters: &[u64], learners: &[u64]) -> Status {
        let ids = |ids: &[u64]| ids.iter().map(|id| ReplicaId(*id)).collect();
        let configuration =
            Configuration { voters: ids(voters), learners: ids(learners), ..Configuration::default() };
        Status { id: ReplicaId(1), configuration, commit: 1_000, ..Status::default() }
    }

    #[test]
    fn a_coordinator_that_joined_is_added_then_awaited_then_entered() {
        use ReplicaRole::{Learner, Voter};
        let joined = catalog(&[(1, Voter), (2, Learner)]);
        let added = Step::Change(MembershipStep::AddLearner(ReplicaId(2)));
        assert_eq!(next_step(&joined, &status(&[1], &[])), added);
        assert_eq!(next_step(&joined, &status(&[1], &[2])), Step::Wait);
        assert_eq!(next_step(&joined, &status(&[1, 2], &[])), Step::Enter(ReplicaId(2), Voter));
        assert_eq!(next_step(&catalog(&[(1, Voter), (2, Voter)]), &status(&[1, 2], &[])), Step::None);
    }

    #[test]
    fn one_that_leaves_is_reached_until_the_group_goes_on_without_it() {
        use ReplicaRole::{Lost, Voter};
        let leaving = catalog(&[(1, Voter), (2, Lost)]);
        let removed = Step::Change(MembershipStep::Remove(ReplicaId(2)));
        assert_eq!(next_step(&leaving, &status(&[1, 2], &[])), removed);
        assert_eq!(next_step(&leaving, &status(&[1], &[])), Step::Forget(ReplicaId(2)));
        let handed = Step::HandOver(ReplicaId(2));
        assert_eq!(next_step(&catalog(&[(1, Lost), (2, Voter)]), &status(&[1, 2], &[])), handed);
    }

    #[test]
    fn a_removed_coordinator_leaves_and_a_removed_leader_hands_over_first() {
        use ReplicaRole::Voter;
        let removed = Step::Change(MembershipStep::Remove(ReplicaId(2)));
        assert_eq!(next_step(&catalog(&[(1, Voter)]), &status(&[1, 2], &[])), removed);
        let handed = Step::HandOver(ReplicaId(2));
        assert_eq!(next_step(&catalog(&[(2, Voter)]), &status(&[1, 2], &[])), handed);
    }
}
