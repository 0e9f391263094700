//! Leases are called back before anything is written.

use std::time::Duration;

use consensus_runtime::{Role, RoleChange, lease_clock};

use super::super::inbox::Event;
use super::super::leases::{Gate, Recall};
use super::Worker;

/// What may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// Whatever comes next.
    Any,
    /// Only what is tried: it leaves the state as it is, so that no lease stands in its way.
    Tried,
}

impl Worker {
    /// To be called before the part that the replica has in its group is changed.
    pub(super) fn lead_or_follow(&mut self, change: RoleChange) {
        let leads = |role: RoleChange| (role.role == Role::Leader).then_some(role.term);
        let mut leases = self.published.leases();
        match leads(change) {
            // A replica without a sound file grants nothing in the whole term.
            Some(_) if self.machine.is_none() => leases.end_leading(),
            Some(term) if leads(self.role) != Some(term) => leases.begin_leading(lease_clock()),
            Some(_) => {}
            None => leases.end_leading(),
        }
    }

    /// What may begin now, if anything waits. If leases stand in its way, they are called back.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        let machine = self.machine.as_ref().filter(|machine| machine.may_execute())?;
        if machine.next_is_tried() {
            return Some(Batch::Tried);
        }
        let gate = self.published.leases().begin_write(machine.state().position.base, lease_clock());
        match gate {
            Gate::Open => Some(Batch::Any),
            Gate::Shut(recalls) => {
                recalls.into_iter().for_each(|recall| self.call_back(recall));
                None
            }
        }
    }

    /// Asks a holder for its leases, for as long as they last. Whoever does not answer is waited for.
    fn call_back(&self, recall: Recall) {
        let (partition, published) = (self.assignment.partition, self.published.clone());
        let (neighbours, sender) = (self.neighbours.clone(), self.sender.clone());
        self.tokio.spawn(async move {
            let left = recall.until.saturating_sub(lease_clock());
            let asked = neighbours.coordinator().give_back(&recall.holder, partition, left);
            match asked.await {
                Ok(()) => published.leases().given_back(recall.holder.process, recall.number),
                Err(error) => {
                    tracing::debug!(%partition, holder = recall.holder.address, %error, "a lease runs out");
                    wait_until(recall.until).await;
                }
            }
            let _ = sender.send(Event::LeaseEnded);
        });
    }
}

/// Waits until the clock of leases shows so much.
async fn wait_until(until: Duration) {
    while let Some(left) = until.checked_sub(lease_clock()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left).await;
    }
}
