//! Writes over several partitions that commit together, as one transaction: each request is a part of its own on every
//! partition, and is answered by itself.
//!
//! 1. All parts but those on the greatest partition are prepared. Side by side: then none waits where another transaction
//!    keeps a partition, but is refused at once. Or in ascending order, one after the other, each waiting in line.
//!    Either way whoever waits holds smaller partitions only, so no two transactions wait for each other.
//! 2. The greatest partition is the decider. One entry of its log has its part and the commit; the first decision there
//!    counts. Until that proposal nothing can commit.
//! 3. The decision is carried out on the others side by side, and the clients are answered when all have confirmed.
//!
//! Where a request has an idempotency key, its home takes part as well, and notes there who the decider is. The decider's
//! part is prepared like the others then, and the commit waits for the request's answer, which it keeps: see [`answers`].
//!
//! If a partition refuses a request, nothing of the transaction stays, and the others are run again without it. A refusal
//! may be due to a neighbour that came to nothing, so the request is run once more by itself, and told what it
//! meets then.

mod answers;
mod joining;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::idempotency::Keyed;
use common::protocol::{JointPurpose, JointReply, JointRequest, StorageReply, StorageRequest, Verdict};
use common::{Error, ErrorCode, Outcome, PartitionId, Result};
use futures_util::future::join_all;
use tokio::time::Instant;

pub(super) use answers::HeldBack;
pub(super) use joining::Joining;
pub(super) use write::{Entered, Told};

use super::Gateway;
use super::partition_call::{From, Repeat, Unanswered};
use super::transaction::{DECISION_TIME_MIN, Transaction, new_id, not_applied};
use crate::metrics::{Conflict, Wait};
use write::{JointWrite, Part, Refusal, Written};

/// How long a transaction keeps partitions for one that does not answer.
pub(super) const KEPT_MAX: Duration = Duration::from_secs(10);
/// How long it is waited for an abort to be carried out before the next attempt; then that one waits in line.
const ABORT_AWAITED: Duration = Duration::from_secs(1);

/// How an attempt to commit some writes ended.
enum Attempted {
    /// All are applied: one answer for each.
    Committed(Vec<Written>),
    /// All are prepared, and answers are missing that are to be kept.
    Prepared(Box<Attempt>),
    /// Nothing is applied, because the only write would change nothing.
    Nothing(Written),
    /// Nothing is applied, because partitions refuse these.
    Refused(BTreeMap<usize, Refusal>),
    /// Nothing is applied.
    Failed(Error),
    /// Nothing is applied, because others keep a partition.
    Kept(Error),
    /// All may be applied, or are and it is not known what to answer.
    Lost(Error),
}

fn no_reason() -> Error {
    Error::internal("a request is refused without a reason")
}

/// How parts are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Side by side, and only if nobody is in the way.
    AtOnce,
    /// One after the other, waiting for others.
    InLine,
}

/// A transaction of several writes, on its way.
struct Attempt {
    gateway: Gateway,
    transaction: Transaction,
    writes: Vec<Arc<JointWrite>>,
    /// What each partition is asked to do: number of the write, and of its part.
    parts: BTreeMap<PartitionId, Vec<(usize, usize)>>,
    deadline: Instant,
    /// Who may have prepared.
    asked: Vec<PartitionId>,
    written: Vec<Written>,
    /// Writes that partitions have refused, with what the first of these said.
    refused: BTreeMap<usize, Refusal>,
}

impl Gateway {
    /// Tries to commit some writes as one transaction.
    async fn attempt_jointly(&self, name: u128, writes: Vec<Arc<JointWrite>>, order: Order) -> Attempted {
        let mut parts: BTreeMap<PartitionId, Vec<(usize, usize)>> = BTreeMap::new();
        for (number, write) in writes.iter().enumerate() {
            for (place, partition) in write.partitions().enumerate() {
                parts.entry(partition).or_default().push((number, place));
            }
        }
        let participants: Vec<PartitionId> = parts.keys().copied().collect();
        let Some(&decider) = participants.last() else { return Attempted::Committed(Vec::new()) };
        let first = writes.iter().map(|write| write.deadline).min().unwrap_or_else(Instant::now);
        let deadline = if participants.len() > 1 { first.min(Instant::now() + KEPT_MAX) } else { first };
        let entered = writes.iter().find_map(|write| write.entered);
        let now = self.shared.surroundings.now();
        let id = entered.map_or_else(|| new_id(name, deadline, now), |entered| entered.id);
        let transaction = Transaction::new(id, participants, decider);
        let written = writes.iter().map(|write| write.unwritten()).collect();
        let (asked, refused) = (Vec::new(), BTreeMap::new());
        let gateway = self.clone();
        Attempt { gateway, transaction, writes, parts, deadline, asked, written, refused }.run(order).await
    }
}

impl Attempt {
    async fn run(mut self, order: Order) -> Attempted {
        let prepared = self.prepare(order).await;
        self.transaction.phases.end_of(Wait::Prepare, &self.gateway.shared.transactions);
        if prepared.is_err() || !self.refused.is_empty() {
            return self.give_up(prepared.err()).await;
        }
        if self.keeps_answers() {
            return self.await_answers().await;
        }
        let purpose = JointPurpose::Commit { prepared_at: self.transaction.at };
        let decider = self.transaction.decider;
        let committed = self.ask(decider, purpose).await;
        self.transaction.phases.end_of(Wait::Decision, &self.gateway.shared.transactions);
        match committed {
            Ok(reply) => {
                self.take(decider, reply);
                if !self.refused.is_empty() {
                    return self.give_up(None).await;
                }
                self.carry_out().await
            }
            Err(error) if error.outcome == Outcome::NotApplied => self.give_up(Some(error)).await,
            Err(error) => self.resolve(error).await,
        }
    }

    fn keeps_answers(&self) -> bool {
        self.writes.iter().any(|write| write.key.is_some())
    }

    /// Leaves writes out that have nothing to commit. One that shares the transaction is tried by itself: its neighbours
    /// may not commit, and it would have changed something then.
    async fn await_answers(mut self) -> Attempted {
        for (number, (write, written)) in self.writes.iter().zip(&self.written).enumerate() {
            if write.has_changed_nothing(written) {
                self.refused.insert(number, Refusal::Nothing);
            }
        }
        match (self.refused.is_empty(), self.writes.len()) {
            (true, _) => Attempted::Prepared(Box::new(self)),
            (false, 1) => {
                let written = self.take_written(0);
                let _ = self.give_up(None).await;
                Attempted::Nothing(written)
            }
            (false, _) => self.give_up(None).await,
        }
    }

    fn take_written(&mut self, number: usize) -> Written {
        std::mem::replace(&mut self.written[number], self.writes[number].unwritten())
    }

    /// Commits what is prepared everywhere, and keeps answers with it.
    async fn commit_keyed(mut self, keyed: Vec<Keyed>) -> Attempted {
        let decided = self.gateway.decide_keyed(&mut self.transaction, keyed, self.deadline).await;
        match decided {
            Ok(true) => self.carry_out().await,
            Ok(false) => {
                self.gateway.shared.transactions.conflict(Conflict::Decision);
                self.give_up(Some(aborted())).await
            }
            Err(error) if error.outcome == Outcome::NotApplied => self.give_up(Some(error)).await,
            Err(error) => self.resolve(error).await,
        }
    }

    /// Prepares all parts but the decider's, and that one too where answers are to be kept.
    async fn prepare(&mut self, order: Order) -> Result<()> {
        let partitions: Vec<PartitionId> = match self.keeps_answers() {
            true => self.transaction.participants.clone(),
            false => self.transaction.others().collect(),
        };
        // To wait for a single one is to wait in line.
        let waits = order == Order::InLine || partitions.len() == 1;
        let purpose = JointPurpose::Prepare { decider: self.transaction.decider, waits };
        if !waits {
            self.asked.clone_from(&partitions);
            let replies = join_all(partitions.iter().map(|&partition| self.ask(partition, purpose))).await;
            return partitions.into_iter().zip(replies).try_for_each(|(partition, reply)| {
                self.take(partition, reply?);
                Ok(())
            });
        }
        for partition in partitions {
            self.asked.push(partition);
            let reply = self.ask(partition, purpose).await?;
            self.take(partition, reply);
            if !self.refused.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Numbers of the writes that have a part on the partition, with that part.
    fn parts_on(&self, partition: PartitionId) -> impl Iterator<Item = (usize, &Part)> {
        let parts = self.parts.get(&partition).into_iter().flatten();
        parts.map(|&(number, place)| (number, &self.writes[number].parts[place]))
    }

    async fn ask(&self, partition: PartitionId, purpose: JointPurpose) -> Result<JointReply> {
        let Some((_, first)) = self.parts_on(partition).next() else {
            return Err(Error::internal("a part without work"));
        };
        let decider = self.transaction.decider;
        let work = |(number, part): (usize, &Part)| self.writes[number].request_of(part, decider);
        let joint = JointRequest {
            target: first.target.clone(),
            transaction: self.transaction.id,
            participants: self.transaction.participants.clone(),
            requests: self.parts_on(partition).map(work).collect(),
            purpose,
        };
        let asked_count = joint.requests.len();
        let mut request = StorageRequest::Joint(joint);
        let asked =
            self.gateway.ask(partition, From::Leader, Repeat::Never, self.deadline, &mut request).await;
        match asked {
            Ok(StorageReply::Joint(reply)) if reply.results.len() == asked_count => Ok(reply),
            Ok(StorageReply::Decided(Verdict { commit: false, .. })) => Err(aborted()),
            Ok(_) => {
                Err(Error::internal("a storage node sent a reply of another kind")
                    .with_outcome(Outcome::Unknown))
            }
            Err(Unanswered::Refused(error) | Unanswered::Stale(error)) => Err(error),
        }
    }

    /// Takes note of what a partition says.
    fn take(&mut self, partition: PartitionId, mut reply: JointReply) {
        self.transaction.at = self.transaction.at.max(reply.hlc);
        let results = std::mem::take(&mut reply.results);
        for (&(number, place), result) in self.parts[&partition].iter().zip(results) {
            let part = &self.writes[number].parts[place];
            let Err(refusal) = part.take(&mut self.written[number], &reply, result) else { continue };
            let known = matches!(refusal, Refusal::Known(_));
            let refused = self.refused.entry(number).or_insert_with(|| refusal.clone());
            if known {
                // What was done before counts, whatever else keeps it from being done again.
                *refused = refusal;
            }
        }
    }

    async fn carry_out(mut self) -> Attempted {
        let told = self.gateway.carry_out(&mut self.transaction, self.deadline).await;
        self.gateway.ended(&self.transaction, &told);
        let keyed = self.writes.iter().filter(|write| write.key.is_some()).count();
        self.gateway.shared.transactions.committed(self.writes.len(), keyed);
        match told {
            Ok(()) => Attempted::Committed(self.written),
            Err(error) => Attempted::Lost(error),
        }
    }

    /// Nothing was proposed that could commit, or the decider has refused it.
    async fn give_up(self, failed: Option<Error>) -> Attempted {
        let metrics = &self.gateway.shared.transactions;
        let failed = failed.map(not_applied);
        let refused = self.refused.values().find_map(|refusal| match refusal {
            Refusal::Error(error) => Some(error),
            Refusal::Known(_) | Refusal::Nothing => None,
        });
        let reason = failed.as_ref().or(refused);
        let ended: Result<()> = Err(reason.cloned().unwrap_or_else(no_reason));
        if reason.is_some_and(|error| error.code == ErrorCode::SerializationFailure) {
            metrics.conflict(Conflict::Prepare);
        }
        self.gateway.ended(&self.transaction, &ended);
        let aborting = self.gateway.abort_in_background(self.transaction, self.asked);
        // Whoever comes next would meet what is being taken away.
        let _ = tokio::time::timeout(ABORT_AWAITED, aborting).await;
        match failed {
            Some(error) if error.code == ErrorCode::SerializationFailure => Attempted::Kept(error),
            Some(error) => Attempted::Failed(error),
            None => Attempted::Refused(self.refused),
        }
    }

    /// The decider's leader was lost. Whoever asks first what became of a transaction that is not decided decides that
    /// it aborts.
    async fn resolve(mut self, error: Error) -> Attempted {
        let deadline = self.deadline.max(Instant::now() + DECISION_TIME_MIN);
        let transaction = &self.transaction;
        let asked =
            self.gateway.decision(transaction, transaction.decider, Verdict::ABORT, true, deadline).await;
        match asked {
            Ok(Verdict { commit: true, at }) => {
                self.transaction.at = at;
                // With answers that are kept, all results are known that there are.
                let lost = (!self.keeps_answers()).then(|| error.with_outcome(Outcome::Applied));
                match (self.carry_out().await, lost) {
                    (Attempted::Committed(_), Some(lost)) => Attempted::Lost(lost),
                    (carried_out, _) => carried_out,
                }
            }
            Ok(_) => {
                self.gateway.shared.transactions.conflict(Conflict::Decision);
                self.give_up(Some(error)).await
            }
            Err(_) => {
                let error = error.with_outcome(Outcome::Unknown);
                self.gateway.ended::<()>(&self.transaction, &Err(error.clone()));
                Attempted::Lost(error)
            }
        }
    }
}

/// The decider has heard of an abort before.
fn aborted() -> Error {
    Error::new(ErrorCode::SerializationFailure, "the transaction was aborted by a participant")
        .with_hint("send the request again")
}
