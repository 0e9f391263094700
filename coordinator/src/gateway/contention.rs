//! A write that others keep getting in the way of locks its partitions in the end, so that it comes through beside
//! writers that never rest.

use std::collections::BTreeSet;
use std::time::Duration;

use common::entry::Effects;
use common::protocol::{StorageReply, StorageRequest, WriteRequest};
use common::tries::{LockClaim, TimeAndChance, TryRequest};
use common::{Error, ErrorCode, Outcome, PartitionId};
use tokio::time::Instant;

use super::Gateway;
use super::access::RequestAccess;
use super::partition_call::{From, Repeat, millis};
use super::surroundings::unix_ms;
use crate::metrics::Wait;

/// How long a request or a transaction may keep others out, in all.
pub(super) const LOCKED_MAX: Duration = Duration::from_secs(1);
/// Conflicts of a write before it locks.
const CONFLICTS_BEFORE_LOCKS: usize = 3;
/// How long it is tried to give a lock back.
const UNLOCK_TIME: Duration = Duration::from_secs(2);

/// What stands in the way of a request's writes.
#[derive(Default)]
pub(super) struct Contention {
    /// Partitions of a write that was refused because of others.
    partitions: BTreeSet<usize>,
    held: Option<HeldLocks>,
}

impl Contention {
    /// Takes note of how a write to some partitions ended.
    pub(super) fn note(&mut self, partitions: Vec<usize>, refusal: Option<&Error>) {
        let is_conflict = |error: &Error| {
            error.code == ErrorCode::SerializationFailure && error.outcome == Outcome::NotApplied
        };
        match refusal {
            Some(error) if is_conflict(error) => self.partitions.extend(partitions),
            Some(_) => {}
            None => *self = Contention::default(),
        }
    }

    /// The name by which the partitions that are locked know the request.
    pub(super) fn name(&self) -> Option<u128> {
        self.held.as_ref().map(|held| held.name)
    }
}

/// Locks of one request; they are given back when this is dropped.
struct HeldLocks {
    gateway: Gateway,
    name: u128,
    partitions: Vec<PartitionId>,
}

impl Drop for HeldLocks {
    fn drop(&mut self) {
        self.gateway.unlock_partitions(self.name, std::mem::take(&mut self.partitions));
    }
}

impl RequestAccess {
    /// Locks the partitions that the request could not write to, once others have got in its way often enough.
    pub(super) async fn lock_after(&self, conflicts: usize) {
        let partitions = self.contention.lock().partitions.clone();
        if conflicts < CONFLICTS_BEFORE_LOCKS || partitions.is_empty() || self.is_within_transaction() {
            return;
        }
        // An aborted attempt has used up the old name.
        drop(self.contention.lock().held.take());
        let begun = Instant::now();
        let name = self.gateway.shared.surroundings.drawn_name();
        let mut held = HeldLocks { gateway: self.gateway.clone(), name, partitions: Vec::new() };
        for index in partitions {
            if !self.lock_partition(&mut held, index, begun).await {
                // Whoever has it comes first.
                break;
            }
        }
        self.gateway.shared.transactions.waited(Wait::Lock, begun.elapsed());
        self.contention.lock().held = Some(held);
    }

    /// Says whether the partition is locked.
    async fn lock_partition(&self, held: &mut HeldLocks, index: usize, begun: Instant) -> bool {
        let left = LOCKED_MAX.saturating_sub(begun.elapsed());
        let (Ok(target), false) = (self.target(index), left.is_zero()) else { return false };
        let partition = target.partition;
        let lock = Some(LockClaim {
            transaction: held.name,
            began_ms: self.began_ms(),
            holds_others: !held.partitions.is_empty(),
            left_ms: u64::try_from(left.as_millis()).unwrap_or(0),
        });
        let write = WriteRequest { target, work: Vec::new(), max_rows: 0 };
        let (own, pinned) = (Effects::default(), TimeAndChance::default());
        let mut request = StorageRequest::Try(TryRequest { write, own, lock, pinned });
        let deadline = self.deadline.min(Instant::now() + 2 * LOCKED_MAX);
        let asked = self.gateway.ask(partition, From::Leader, Repeat::Freely, deadline, &mut request).await;
        // Whether it was taken need not be known to give it back.
        held.partitions.push(partition);
        matches!(asked, Ok(StorageReply::Tried(_)))
    }

    /// When the request began, in milliseconds since the Unix epoch: of those that lock, the older ones come first.
    fn began_ms(&self) -> u64 {
        let now = unix_ms(self.gateway.shared.surroundings.now());
        now.saturating_sub(millis(self.begun.elapsed()))
    }
}

impl Gateway {
    /// Lets other writers of partitions go on; nobody waits for it.
    pub(super) fn unlock_partitions(&self, transaction: u128, partitions: Vec<PartitionId>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for partition in partitions {
            let gateway = self.clone();
            runtime.spawn(async move {
                let mut request = StorageRequest::Unlock { partition, transaction };
                let deadline = Instant::now() + UNLOCK_TIME;
                let asked =
                    gateway.ask(partition, From::Leader, Repeat::Freely, deadline, &mut request).await;
                if let Err(error) = asked {
                    tracing::debug!(%partition, ?error, "a lock is left to its end by time");
                }
            });
        }
    }
}
