//! Which writes over several partitions commit together. A partition takes part in one transaction at a time, so while
//! one is on its way, the writes that need its partitions gather here, and the next transaction has all of them.
//! They come to their turn in the order in which they came.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use common::idempotency::KEPT_ANSWER_MAX;
use common::limits::FRAME_MAX;
use common::protocol::{PartitionTarget, WorkItem};
use common::{Error, ErrorCode, Outcome, PartitionId, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::Gateway;
use super::answers::Listener;
use super::write::{JointWrite, Part, Refusal, Told};
use super::{Attempted, Order};

/// Most writes of a transaction.
const WRITES_MAX: usize = 128;
/// Most writes of a transaction whose answers are kept: these go to the decider with one message.
const ANSWERS_MAX: usize = FRAME_MAX / KEPT_ANSWER_MAX * 3 / 4;
/// Most partitions of a transaction that several writes share: the slowest one holds up all of them.
const PARTITIONS_MAX: usize = 32;
/// Statements and rows of a write that shares a transaction, at most.
const SHARED_ROWS_MAX: usize = 256;
/// A write that has less time left is not to hurry others.
const SHARED_TIME_MIN: Duration = Duration::from_secs(2);
/// Attempts at writes that come to nothing because a leader is lost.
const ATTEMPTS_MAX: usize = 3;

/// Writes that wait for their turn.
#[derive(Default)]
pub(in crate::gateway) struct Joining {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Partitions that take part in a transaction.
    busy: BTreeSet<PartitionId>,
    next: u64,
}

/// A write, and who waits for it.
pub(super) struct Waiting {
    number: u64,
    pub(super) write: Arc<JointWrite>,
    /// It shares its transaction with no other.
    alone: bool,
    pub(super) listener: Listener,
}

/// Writes that are one transaction.
#[derive(Default)]
struct Together {
    partitions: BTreeSet<PartitionId>,
    members: Vec<Waiting>,
}

impl Together {
    /// Whether a write can be a part of it.
    fn takes(&self, waiting: &Waiting) -> bool {
        let planned_alike = |member: &Waiting| member.write.parts.iter().all(|part| waiting.agrees(part));
        // Of two attempts at the same request the second one is to find what the first one has kept.
        let is_other = |member: &Waiting| match (&member.write.key, &waiting.write.key) {
            (Some(one), Some(other)) => one.key != other.key,
            _ => true,
        };
        let goes_with = |member: &Waiting| !member.alone && is_other(member) && planned_alike(member);
        let answers = self.members.iter().filter(|member| member.write.key.is_some()).count();
        !waiting.alone
            && self.members.len() < WRITES_MAX
            && (waiting.write.key.is_none() || answers < ANSWERS_MAX)
            && self.members.iter().all(goes_with)
    }

    fn add(&mut self, waiting: Waiting) {
        self.partitions.extend(waiting.write.partitions());
        self.members.push(waiting);
    }
}

impl Waiting {
    fn needs_any(&self, partitions: &BTreeSet<PartitionId>) -> bool {
        self.write.partitions().any(|partition| partitions.contains(&partition))
    }

    /// Whether it was planned on the same version of a partition as another write's part.
    fn agrees(&self, other: &Part) -> bool {
        let target = |part: &Part| -> (PartitionId, u64, u64) {
            let PartitionTarget { partition, epoch, schema_version, .. } = part.target;
            (partition, epoch, schema_version)
        };
        let same_partition = |part: &&Part| part.target.partition == other.target.partition;
        self.write.parts.iter().find(same_partition).is_none_or(|part| target(part) == target(other))
    }
}

impl Queue {
    /// Takes the writes out whose turn it is, by transaction. A write that has to wait keeps its place: what came later
    /// and needs one of its partitions waits behind it.
    fn take_ready(&mut self) -> Vec<Together> {
        let mut kept = self.busy.clone();
        let mut ready: Vec<Together> = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.listener.is_closed() {
                continue;
            }
            if waiting.needs_any(&kept) {
                kept.extend(waiting.write.partitions());
                self.waiting.push_back(waiting);
                continue;
            }
            let (met, apart): (Vec<_>, Vec<_>) =
                ready.into_iter().partition(|together| waiting.needs_any(&together.partitions));
            ready = apart;
            let writes: usize = met.iter().map(|together| together.members.len()).sum();
            let mut partitions: BTreeSet<PartitionId> = waiting.write.partitions().collect();
            met.iter().for_each(|together| partitions.extend(&together.partitions));
            let fits = writes < WRITES_MAX && (met.is_empty() || partitions.len() <= PARTITIONS_MAX);
            if !fits || !met.iter().all(|together| together.takes(&waiting)) {
                kept.extend(waiting.write.partitions());
                self.waiting.push_back(waiting);
                ready.extend(met);
                continue;
            }
            let mut together = Together::default();
            met.into_iter().flat_map(|met| met.members).for_each(|member| together.add(member));
            together.add(waiting);
            ready.push(together);
        }
        self.busy.extend(ready.iter().flat_map(|together| &together.partitions));
        ready
    }
}

/// Partitions that take part in a transaction, until this is dropped.
struct Busy {
    gateway: Gateway,
    partitions: BTreeSet<PartitionId>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut queue = self.gateway.shared.joining.queue.lock();
        queue.busy.retain(|partition| !self.partitions.contains(partition));
        drop(queue);
        self.gateway.join_ready();
    }
}

impl Gateway {
    /// Commits a write, together with others that wait for the same partitions.
    pub(super) async fn write_jointly(&self, write: Arc<JointWrite>) -> Result<Told> {
        let deadline = write.deadline;
        let alone = !may_share(&write);
        let (sender, mut told) = oneshot::channel();
        let listener = Listener::All(sender);
        let number = if write.name.is_some() {
            // Others wait where it has locked.
            let waiting = Waiting { number: 0, write, alone: true, listener };
            let gateway = self.clone();
            tokio::spawn(async move { gateway.commit_together(vec![waiting], Order::InLine).await });
            0
        } else {
            let mut queue = self.shared.joining.queue.lock();
            queue.next += 1;
            let number = queue.next;
            queue.waiting.push_back(Waiting { number, write, alone, listener });
            number
        };
        self.join_ready();
        let received = match tokio::time::timeout_at(deadline, &mut told).await {
            Ok(received) => received,
            Err(_) if self.leave_queue(number) => return Err(kept_too_long()),
            // It is on its way, which ends soon.
            Err(_) => told.await,
        };
        received.unwrap_or_else(|_| {
            Err(Error::internal("a transaction has ended without an answer").with_outcome(Outcome::Unknown))
        })
    }

    /// Says whether the write still waited for its turn.
    fn leave_queue(&self, number: u64) -> bool {
        let mut queue = self.shared.joining.queue.lock();
        let before = queue.waiting.len();
        queue.waiting.retain(|waiting| waiting.number != number);
        queue.waiting.len() < before
    }

    /// Begins the transactions whose partitions are free.
    fn join_ready(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let ready = self.shared.joining.queue.lock().take_ready();
        for Together { partitions, members } in ready {
            let gateway = self.clone();
            let busy = Busy { gateway: gateway.clone(), partitions };
            runtime.spawn(async move {
                gateway.commit_together(members, Order::AtOnce).await;
                drop(busy);
            });
        }
    }

    /// Commits writes as one transaction; those that are refused, or that a failure has kept from being tried, get one
    /// of their own.
    async fn commit_together(&self, mut members: Vec<Waiting>, mut order: Order) {
        let mut attempts = 0;
        let entered = members.iter().find_map(|member| member.write.entered);
        if let Some(entered) = entered {
            order = entered.order;
        }
        while !members.is_empty() {
            attempts += 1;
            let writes = members.iter().map(|member| member.write.clone()).collect();
            let name = members.iter().find_map(|member| member.write.name);
            let named = name.unwrap_or_else(|| self.shared.surroundings.drawn_name());
            let mut attempted = self.attempt_jointly(named, writes, order).await;
            if let Attempted::Prepared(attempt) = attempted {
                let before = members.len();
                attempted = attempt.commit_with_answers(&mut members).await;
                if members.len() < before && !matches!(attempted, Attempted::Lost(_)) {
                    // It is not for the others' sake that nothing was committed.
                    return self.try_alone(members.into_iter());
                }
            }
            let is_single = members.len() == 1;
            match attempted {
                Attempted::Committed(written) => {
                    return members
                        .into_iter()
                        .zip(written)
                        .for_each(|(member, written)| member.listener.tell(Ok(Told::Written(written))));
                }
                Attempted::Refused(mut refused) => {
                    let mut others = Vec::with_capacity(members.len());
                    for (number, member) in members.into_iter().enumerate() {
                        match refused.remove(&number) {
                            None => others.push(member),
                            Some(refusal) if is_single || is_final(&refusal, &member.write) => {
                                member.listener.tell(refusal.told());
                            }
                            Some(_) => self.try_alone([member].into_iter()),
                        }
                    }
                    members = others;
                }
                Attempted::Nothing(written) => {
                    if let Some(only) = members.pop() {
                        only.listener.tell(Ok(Told::Nothing(written)));
                    }
                    return;
                }
                Attempted::Kept(_) if order == Order::AtOnce && entered.is_none() => order = Order::InLine,
                Attempted::Failed(error)
                    if attempts < ATTEMPTS_MAX
                        && name.is_none()
                        && entered.is_none()
                        && has_lost_leader(&error, &members) => {}
                Attempted::Failed(error) | Attempted::Kept(error) if !is_single && !is_stale(&error) => {
                    return self.try_alone(members.into_iter());
                }
                Attempted::Failed(error) | Attempted::Kept(error) | Attempted::Lost(error) => {
                    let told = |member: Waiting| member.listener.tell(Err(error.clone()));
                    return members.into_iter().for_each(told);
                }
                Attempted::Prepared(_) => unreachable!("it was committed or given up above"),
            }
        }
    }

    /// Lets writes wait again, for transactions of their own.
    fn try_alone(&self, members: impl Iterator<Item = Waiting>) {
        let mut queue = self.shared.joining.queue.lock();
        queue.waiting.extend(members.map(|member| Waiting { alone: true, ..member }));
    }
}

/// Whether the write's refusal says something about itself, and it takes a moment only.
fn may_share(write: &JointWrite) -> bool {
    let rows: usize = write.items().map(rows_of).sum();
    write.entered.is_none() && rows <= SHARED_ROWS_MAX && write.deadline > Instant::now() + SHARED_TIME_MIN
}

/// Statements and rows of an item.
fn rows_of(item: &WorkItem) -> usize {
    match item {
        WorkItem::Statement(_) | WorkItem::Proof(_) | WorkItem::Key(_) => 1,
        WorkItem::Effects(effects) | WorkItem::Adopted(effects) => effects.rows.len(),
        WorkItem::Schema(step) => step.statements.len().max(1),
        WorkItem::Repeated(repeated) => repeated.effects.rows.len().max(1),
        WorkItem::Undone(items) => items.iter().map(rows_of).sum(),
    }
}

/// Whether a write that was refused among others need not be tried by itself: what it was computed from has changed, and
/// it will be computed again; or it was done before.
fn is_final(refusal: &Refusal, write: &JointWrite) -> bool {
    match refusal {
        Refusal::Known(_) => true,
        Refusal::Nothing => false,
        Refusal::Error(error) => {
            let of_transaction =
                |item: &WorkItem| matches!(item, WorkItem::Repeated(_) | WorkItem::Undone(_));
            error.code == ErrorCode::SerializationFailure
                && write.items().any(|item| matches!(item, WorkItem::Proof(_)))
                && !write.items().any(of_transaction)
        }
    }
}

fn is_stale(error: &Error) -> bool {
    matches!(error.code, ErrorCode::StaleSchema | ErrorCode::StalePartitionMap)
}

/// Whether a leader was lost before anything was applied, and there is time for another attempt.
fn has_lost_leader(error: &Error, members: &[Waiting]) -> bool {
    error.outcome == Outcome::NotApplied
        && matches!(error.code, ErrorCode::LeadershipLost | ErrorCode::NoQuorum | ErrorCode::Unavailable)
        && members.iter().all(|member| member.write.deadline > Instant::now() + SHARED_TIME_MIN)
}

/// It has not come to its turn.
fn kept_too_long() -> Error {
    let text = "transactions over several partitions kept these too long";
    Error::new(ErrorCode::SerializationFailure, text).with_hint("send the request again")
}
