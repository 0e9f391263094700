//! Which writes over several partitions commit together. A partition takes part in one transaction at a time, so while
//! one is on its way, the writes that need its partitions gather here, and the next transaction has all of them.
//! They come to their turn in the order in which they came.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use common::protocol::{PartitionTarget, WorkItem};
use common::{Error, ErrorCode, Outcome, PartitionId, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Gateway;
use super::joint::{Attempted, JointWrite, Order, Part, Written, first_of};

/// Most writes of a transaction.
const WRITES_MAX: usize = 128;
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
pub(super) struct Joining {
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
struct Waiting {
    number: u64,
    write: JointWrite,
    /// It shares its transaction with no other.
    alone: bool,
    answer: oneshot::Sender<Result<Written>>,
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
        !waiting.alone
            && self.members.len() < WRITES_MAX
            && self.members.iter().all(|member| !member.alone && planned_alike(member))
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
            if waiting.answer.is_closed() {
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
    pub(super) async fn write_jointly(&self, write: JointWrite) -> Result<Written> {
        let deadline = write.deadline;
        let alone = !may_share(&write);
        let (answer, mut answered) = oneshot::channel();
        let number = {
            let mut queue = self.shared.joining.queue.lock();
            queue.next += 1;
            let number = queue.next;
            queue.waiting.push_back(Waiting { number, write, alone, answer });
            number
        };
        self.join_ready();
        let received = match tokio::time::timeout_at(deadline, &mut answered).await {
            Ok(received) => received,
            Err(_) if self.leave_queue(number) => return Err(kept_too_long()),
            // It is on its way, which ends soon.
            Err(_) => answered.await,
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
                gateway.commit_together(members).await;
                drop(busy);
            });
        }
    }

    /// Commits writes as one transaction; those that are refused, or that a failure has kept from being tried, get one
    /// of their own.
    async fn commit_together(&self, mut members: Vec<Waiting>) {
        let (mut order, mut attempts) = (Order::AtOnce, 0);
        while !members.is_empty() {
            attempts += 1;
            let writes: Vec<&JointWrite> = members.iter().map(|member| &member.write).collect();
            let is_single = writes.len() == 1;
            let attempted = self.attempt_jointly(rand::random(), &writes, order).await;
            match attempted {
                Attempted::Committed(written) => {
                    return members
                        .into_iter()
                        .zip(written)
                        .for_each(|(member, written)| member.end(Ok(written)));
                }
                Attempted::Refused(errors) if is_single => {
                    let error = first_of(errors);
                    return members.into_iter().for_each(|member| member.end(Err(error.clone())));
                }
                Attempted::Refused(errors) => {
                    let (refused, others): (Vec<_>, Vec<_>) =
                        members.into_iter().enumerate().partition(|(number, _)| errors.contains_key(number));
                    self.try_alone(refused.into_iter().map(|(_, member)| member));
                    members = others.into_iter().map(|(_, member)| member).collect();
                }
                Attempted::Kept(_) if order == Order::AtOnce => order = Order::InLine,
                Attempted::Failed(error) if attempts < ATTEMPTS_MAX && has_lost_leader(&error, &members) => {}
                Attempted::Failed(error) | Attempted::Kept(error) if !is_single && !is_stale(&error) => {
                    return self.try_alone(members.into_iter());
                }
                Attempted::Failed(error) | Attempted::Kept(error) | Attempted::Lost(error) => {
                    return members.into_iter().for_each(|member| member.end(Err(error.clone())));
                }
            }
        }
    }

    /// Lets writes wait again, for transactions of their own.
    fn try_alone(&self, members: impl Iterator<Item = Waiting>) {
        let mut queue = self.shared.joining.queue.lock();
        queue.waiting.extend(members.map(|member| Waiting { alone: true, ..member }));
    }
}

impl Waiting {
    fn end(self, written: Result<Written>) {
        // Whoever asked may have gone.
        let _ = self.answer.send(written);
    }
}

/// Whether the write's refusal says something about itself, and it takes a moment only.
fn may_share(write: &JointWrite) -> bool {
    let rows = |item: &WorkItem| match item {
        WorkItem::Statement(_) => Some(1),
        WorkItem::Effects(effects) => Some(effects.rows.len()),
        // What was computed from rows is refused if a neighbour changes these, so it is better off alone.
        WorkItem::Proof(_)
        | WorkItem::Key(_)
        | WorkItem::Repeated(_)
        | WorkItem::Undone(_)
        | WorkItem::Adopted(_) => None,
    };
    let items = write.parts.iter().flat_map(|part| &part.request.work);
    let rows = items.map(rows).sum::<Option<usize>>();
    rows.is_some_and(|rows| rows <= SHARED_ROWS_MAX) && write.deadline > Instant::now() + SHARED_TIME_MIN
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
