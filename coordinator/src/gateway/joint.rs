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
//! If a partition refuses a request, nothing of the transaction stays, and the others are run again without it. A refusal
//! may be due to a neighbour that came to nothing, so the request is run once more by itself, and told what it
//! meets then.

use std::collections::BTreeMap;
use std::time::Duration;

use common::protocol::{
    JointPurpose, JointReply, JointRequest, PartitionTarget, RequestWork, StatementResult, StorageReply,
    StorageRequest, Verdict, WorkItem,
};
use common::{Error, ErrorCode, Outcome, PartitionId, Result};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::Gateway;
use super::access::RequestAccess;
use super::partition_call::{From, Repeat, Unanswered};
use super::transaction::{DECISION_TIME_MIN, Place, Transaction, not_applied};
use crate::metrics::{Conflict, Wait};

/// How long partitions are kept for one that does not answer.
const KEPT_MAX: Duration = Duration::from_secs(10);
/// How long it is waited for an abort to be carried out before the next attempt; then that one waits in line.
const ABORT_AWAITED: Duration = Duration::from_secs(1);

/// What a request writes to several partitions.
pub(super) struct JointWrite {
    /// In ascending order of the partitions.
    pub(super) parts: Vec<Part>,
    pub(super) deadline: Instant,
}

/// What it writes to one of them.
pub(super) struct Part {
    pub(super) target: PartitionTarget,
    pub(super) request: RequestWork,
    place: Place,
}

impl JointWrite {
    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.parts.iter().map(|part| part.target.partition)
    }
}

/// What has become of a request's write.
pub(super) struct Written {
    /// One list for each part, in the request's own order.
    results: Vec<Vec<StatementResult>>,
    /// Where its client can see it.
    seen: Vec<(PartitionId, u64)>,
}

/// How an attempt to commit some writes ended.
pub(super) enum Attempted {
    /// All are applied: one answer for each.
    Committed(Vec<Written>),
    /// Nothing is applied, because partitions refuse these.
    Refused(BTreeMap<usize, Error>),
    /// Nothing is applied.
    Failed(Error),
    /// Nothing is applied, because others keep a partition.
    Kept(Error),
    /// All may be applied, or are and it is not known what to answer.
    Lost(Error),
}

impl RequestAccess {
    /// Writes to several partitions, all or nothing.
    pub(super) async fn write_many(
        &self,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        let name = self.contention.lock().name();
        match name {
            Some(name) => self.write_many_as(name, work, max_rows).await,
            None => {
                let write = self.joint_write(work, max_rows)?;
                let written = self.gateway.write_jointly(write).await;
                self.end_of_write(written)
            }
        }
    }

    /// The same at once, under a name by which partitions may know the transaction.
    pub(super) async fn write_many_as(
        &self,
        name: u128,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        let write = self.joint_write(work, max_rows)?;
        let written = match self.gateway.attempt_jointly(name, &[&write], Order::InLine).await {
            Attempted::Committed(mut written) => Ok(written.remove(0)),
            Attempted::Refused(errors) => Err(first_of(errors)),
            Attempted::Failed(error) | Attempted::Kept(error) | Attempted::Lost(error) => Err(error),
        };
        self.end_of_write(written)
    }

    fn joint_write(&self, work: Vec<(usize, Vec<WorkItem>)>, max_rows: u32) -> Result<JointWrite> {
        let mut parts = Vec::with_capacity(work.len());
        let mut items_before = 0;
        for (position, (bucket, work)) in work.into_iter().enumerate() {
            let place = Place { position, items_before };
            items_before += work.len();
            let target = self.target(bucket)?;
            parts.push(Part { target, request: RequestWork { work, max_rows }, place });
        }
        parts.sort_by_key(|part| part.target.partition);
        Ok(JointWrite { parts, deadline: self.deadline })
    }

    fn end_of_write(&self, written: Result<Written>) -> Result<Vec<Vec<StatementResult>>> {
        if written.as_ref().err().is_none_or(|error| error.outcome != Outcome::NotApplied) {
            self.note_written();
        }
        let Written { results, seen } = written?;
        seen.into_iter().for_each(|(partition, index)| self.see(partition, index));
        Ok(results)
    }
}

/// Why the first of the writes that are refused is.
pub(super) fn first_of(refused: BTreeMap<usize, Error>) -> Error {
    refused.into_values().next().unwrap_or_else(no_reason)
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
struct Attempt<'w> {
    gateway: &'w Gateway,
    transaction: Transaction,
    /// What each partition is asked to do: number of the write, and its part.
    parts: BTreeMap<PartitionId, Vec<(usize, &'w Part)>>,
    deadline: Instant,
    /// Who may have prepared.
    asked: Vec<PartitionId>,
    written: Vec<Written>,
    /// Writes that partitions have refused, with what the first of these said.
    refused: BTreeMap<usize, Error>,
}

impl Gateway {
    /// Tries to commit some writes as one transaction.
    pub(super) async fn attempt_jointly(
        &self,
        name: u128,
        writes: &[&JointWrite],
        order: Order,
    ) -> Attempted {
        let latest = Instant::now() + KEPT_MAX;
        let deadline = writes.iter().map(|write| write.deadline).fold(latest, Instant::min);
        let mut parts: BTreeMap<PartitionId, Vec<(usize, &Part)>> = BTreeMap::new();
        for (number, write) in writes.iter().enumerate() {
            for part in &write.parts {
                parts.entry(part.target.partition).or_default().push((number, part));
            }
        }
        let participants: Vec<PartitionId> = parts.keys().copied().collect();
        let Some(&decider) = participants.last() else { return Attempted::Committed(Vec::new()) };
        let transaction = Transaction::new(name, participants, decider, deadline);
        let nothing = |write: &&JointWrite| Written {
            results: vec![Vec::new(); write.parts.len()],
            seen: Vec::with_capacity(write.parts.len()),
        };
        let written = writes.iter().map(nothing).collect();
        let (asked, refused) = (Vec::new(), BTreeMap::new());
        Attempt { gateway: self, transaction, parts, deadline, asked, written, refused }.run(order).await
    }
}

impl Attempt<'_> {
    async fn run(mut self, order: Order) -> Attempted {
        let prepared = self.prepare(order).await;
        self.transaction.phases.end_of(Wait::Prepare, &self.gateway.shared.transactions);
        if prepared.is_err() || !self.refused.is_empty() {
            return self.give_up(prepared.err()).await;
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

    /// Prepares all parts but the decider's.
    async fn prepare(&mut self, order: Order) -> Result<()> {
        let others: Vec<PartitionId> = self.transaction.others().collect();
        // To wait for a single one is to wait in line.
        let waits = order == Order::InLine || others.len() == 1;
        let purpose = JointPurpose::Prepare { decider: self.transaction.decider, waits };
        if !waits {
            self.asked.clone_from(&others);
            let replies = join_all(others.iter().map(|&partition| self.ask(partition, purpose))).await;
            return others.into_iter().zip(replies).try_for_each(|(partition, reply)| {
                self.take(partition, reply?);
                Ok(())
            });
        }
        for partition in others {
            self.asked.push(partition);
            let reply = self.ask(partition, purpose).await?;
            self.take(partition, reply);
            if !self.refused.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn ask(&self, partition: PartitionId, purpose: JointPurpose) -> Result<JointReply> {
        let parts = &self.parts[&partition];
        let Some((_, first)) = parts.first() else { return Err(Error::internal("a part without work")) };
        let mut request = StorageRequest::Joint(JointRequest {
            target: first.target.clone(),
            transaction: self.transaction.id,
            participants: self.transaction.participants.clone(),
            requests: parts.iter().map(|(_, part)| part.request.clone()).collect(),
            purpose,
        });
        let asked =
            self.gateway.ask(partition, From::Leader, Repeat::Never, self.deadline, &mut request).await;
        match asked {
            Ok(StorageReply::Joint(reply)) if reply.results.len() == parts.len() => Ok(reply),
            Ok(StorageReply::Decided(Verdict { commit: false, .. })) => Err(aborted()),
            Ok(_) => {
                Err(Error::internal("a storage node sent a reply of another kind")
                    .with_outcome(Outcome::Unknown))
            }
            Err(Unanswered::Refused(error) | Unanswered::Stale(error)) => Err(error),
        }
    }

    /// Takes note of what a partition says.
    fn take(&mut self, partition: PartitionId, reply: JointReply) {
        self.transaction.at = self.transaction.at.max(reply.hlc);
        for ((number, part), result) in self.parts[&partition].iter().zip(reply.results) {
            match result {
                Ok(results) => {
                    self.written[*number].results[part.place.position] = results;
                    self.written[*number].seen.push((partition, reply.index));
                }
                Err(error) => {
                    self.refused.entry(*number).or_insert_with(|| not_applied(part.place.name_item(error)));
                }
            }
        }
    }

    async fn carry_out(mut self) -> Attempted {
        let told = self.gateway.carry_out(&mut self.transaction, self.deadline).await;
        self.gateway.ended(&self.transaction, &told);
        match told {
            Ok(()) => Attempted::Committed(self.written),
            Err(error) => Attempted::Lost(error),
        }
    }

    /// Nothing was proposed that could commit, or the decider has refused it.
    async fn give_up(self, failed: Option<Error>) -> Attempted {
        let metrics = &self.gateway.shared.transactions;
        let failed = failed.map(not_applied);
        let reason = failed.as_ref().or(self.refused.values().next());
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
                let lost = error.with_outcome(Outcome::Applied);
                match self.carry_out().await {
                    Attempted::Lost(error) => Attempted::Lost(error),
                    _ => Attempted::Lost(lost),
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
