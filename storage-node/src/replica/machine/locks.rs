//! Locks that transactions over several requests take: other writers wait in the queue, for a second at most. A
//! lock is the leader's own, and not replicated: who loses it with the leader learns so when committing, as
//! whoever had none.

use common::tries::LockClaim;
use common::{Error, ErrorCode};

use super::Machine;
use super::job::Job;

/// A lock that a transaction holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lock {
    claim: LockClaim,
    /// On the driver's clock, in milliseconds.
    until_ms: u64,
}

impl Machine {
    /// Takes the lock, or keeps it.
    pub(super) fn take_lock(&mut self, claim: LockClaim, now_ms: u64) {
        let until_ms = now_ms.saturating_add(claim.left_ms);
        self.lock = Some(Lock { claim, until_ms });
    }

    /// The transaction has ended.
    pub(super) fn release_lock(&mut self, transaction: u128) {
        self.lock.take_if(|lock| lock.claim.transaction == transaction);
    }

    pub(super) fn expire_lock(&mut self, now_ms: u64) {
        self.lock.take_if(|lock| lock.until_ms <= now_ms);
    }

    /// Whether another transaction's lock keeps the job waiting.
    pub(super) fn is_locked_out(&self, job: &Job) -> bool {
        self.lock.is_some_and(|lock| match (job, job.is_part_of()) {
            (_, Some(transaction)) => transaction.unique != lock.claim.transaction,
            (Job::Try(request), None) => {
                request.lock.is_some_and(|claim| claim.transaction != lock.claim.transaction)
            }
            (job, None) => job.waits_for_gate(),
        })
    }

    /// Of two transactions that hold locks the younger one does not wait for the older: so none wait for each other.
    pub(super) fn deadlock(&self, job: &Job) -> Option<Error> {
        let Job::Try(request) = job else { return None };
        let (held, claim) = (self.lock?.claim, request.lock?);
        let is_younger = (claim.began_ms, claim.transaction) > (held.began_ms, held.transaction);
        if held.transaction == claim.transaction || !claim.holds_others || !is_younger {
            return None;
        }
        let text = "an older transaction has locked what this one needs, which has locks of its own";
        Some(Error::new(ErrorCode::SerializationFailure, text).with_hint("run the transaction again"))
    }
}
