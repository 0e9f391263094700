//! Transactions over several partitions: two-phase commit with the decision in a participant's log.
//!
//! 1. The parts are prepared. Whoever waits for a partition does so in ascending order, so no two transactions wait for
//!    each other.
//! 2. Once all are prepared, the commit is proposed to the decider's log; the first decision there counts. Until that
//!    proposal nothing can commit, so every failure before it is truthfully `not_applied`.
//! 3. The decision is carried out on the others side by side, and the client is answered when all have
//!    confirmed.
//!
//! Here are the messages of the second and the third step; [`super::joint`] takes requests through all of them.
//!
//! A coordinator that dies in between leaves participants in doubt; they ask the decider themselves.

use std::time::{Duration, SystemTime};

use common::idempotency::Keyed;
use common::protocol::{StorageReply, StorageRequest, Verdict};
use common::{Error, Hlc, Outcome, PartitionId, Result, TransactionId};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::Gateway;
use super::partition_call::{From, Repeat, Unanswered, millis};
use super::surroundings::unix_ms;
use crate::metrics::{Phases, Wait};

/// How much later than the client's deadline a prepare or a commit is still accepted: clocks differ.
const CLOCK_SLACK: Duration = Duration::from_secs(10);
/// How long an abort is told to participants; afterwards they find out by themselves.
const ABORT_TIME: Duration = Duration::from_secs(10);
/// A decision that was sent deserves an answer, even if the client's time is up.
pub(super) const DECISION_TIME_MIN: Duration = Duration::from_secs(2);

/// A transaction under way.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) id: TransactionId,
    /// In ascending order.
    pub(super) participants: Vec<PartitionId>,
    pub(super) decider: PartitionId,
    /// The greatest clock of its prepares; once it has committed, when it did.
    pub(super) at: Hlc,
    pub(super) phases: Phases,
}

impl Transaction {
    /// One that begins now.
    pub(super) fn new(
        id: TransactionId,
        participants: Vec<PartitionId>,
        decider: PartitionId,
    ) -> Transaction {
        Transaction { id, participants, decider, at: Hlc::default(), phases: Phases::default() }
    }

    /// Everybody who is told what was decided.
    pub(super) fn others(&self) -> impl Iterator<Item = PartitionId> {
        self.participants.iter().copied().filter(|partition| *partition != self.decider)
    }
}

/// Where a part stands in the request's work.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Number of the part.
    pub(super) position: usize,
    /// Items of the parts before it.
    pub(super) items_before: usize,
}

impl Place {
    /// The partition has named the item within its part; the request counts through all parts.
    pub(super) fn name_item(self, mut error: Error) -> Error {
        let offset = u32::try_from(self.items_before).ok();
        error.statement = error.statement.and_then(|item| item.checked_add(offset?));
        error
    }
}

impl Gateway {
    /// Proposes the commit to the decider, with the answers that are to be kept. Says no if it was aborted before.
    pub(super) async fn decide_keyed(
        &self,
        transaction: &mut Transaction,
        keyed: Vec<Keyed>,
        deadline: Instant,
    ) -> Result<bool> {
        let deadline = deadline.max(Instant::now() + DECISION_TIME_MIN);
        let mut request = StorageRequest::DecideKeyed {
            partition: transaction.decider,
            transaction: transaction.id,
            participants: transaction.participants.clone(),
            keyed,
            prepared_at: transaction.at,
            timeout_ms: 0,
        };
        let asked = self.ask(transaction.decider, From::Leader, Repeat::Freely, deadline, &mut request).await;
        transaction.phases.end_of(Wait::Decision, &self.shared.transactions);
        let verdict = verdict_of(asked)?;
        transaction.at = verdict.at;
        Ok(verdict.commit)
    }

    /// Tells the others that the transaction has committed, and waits until all know.
    pub(super) async fn carry_out(&self, transaction: &mut Transaction, deadline: Instant) -> Result<()> {
        let deadline = deadline.max(Instant::now() + DECISION_TIME_MIN);
        let told = {
            let transaction = &*transaction;
            let tell = |partition| self.tell_commit(transaction, partition, deadline);
            join_all(transaction.others().map(tell)).await
        };
        transaction.phases.end_of(Wait::CarryOut, &self.shared.transactions);
        match told.into_iter().find_map(Result::err) {
            None => Ok(()),
            // The decision is in the decider's log: whoever has not confirmed will ask there.
            Some(error) => Err(error.with_outcome(Outcome::Applied)),
        }
    }

    /// Counts a transaction that has ended, and logs it if it was slow.
    pub(super) fn ended<T>(&self, transaction: &Transaction, result: &Result<T>) {
        let Transaction { id, participants, phases, .. } = transaction;
        self.shared.transactions.ended(*id, participants, phases, result);
    }

    /// Tells a participant the decision, or proposes it to the decider; answers what the log says.
    pub(super) async fn decision(
        &self,
        transaction: &Transaction,
        partition: PartitionId,
        verdict: Verdict,
        decides: bool,
        deadline: Instant,
    ) -> Result<Verdict> {
        let id = transaction.id;
        let mut request =
            StorageRequest::Decide { partition, transaction: id, verdict, decides, timeout_ms: 0 };
        verdict_of(self.ask(partition, From::Leader, Repeat::Freely, deadline, &mut request).await)
    }

    /// Tells a participant that the transaction has committed. Its leader answers once no read misses it.
    async fn tell_commit(
        &self,
        transaction: &Transaction,
        partition: PartitionId,
        deadline: Instant,
    ) -> Result<Verdict> {
        let (id, at) = (transaction.id, transaction.at);
        let mut request = StorageRequest::CarryOut { partition, transaction: id, at, timeout_ms: 0 };
        verdict_of(self.ask(partition, From::Leader, Repeat::Freely, deadline, &mut request).await)
    }

    /// Frees participants that may hold a prepare. The client need not wait for it.
    pub(super) fn abort_in_background(
        &self,
        transaction: Transaction,
        reached: Vec<PartitionId>,
    ) -> tokio::task::JoinHandle<()> {
        let gateway = self.clone();
        tokio::spawn(async move {
            let deadline = Instant::now() + ABORT_TIME;
            let told = reached.iter().map(|&partition| {
                let decides = partition == transaction.decider;
                gateway.decision(&transaction, partition, Verdict::ABORT, decides, deadline)
            });
            for error in join_all(told).await.into_iter().filter_map(Result::err) {
                tracing::debug!(transaction = %transaction.id, %error, "a participant did not hear of an abort");
            }
        })
    }
}

/// What the log says, or why it is not known.
fn verdict_of(answer: Result<StorageReply, Unanswered>) -> Result<Verdict> {
    match answer {
        Ok(StorageReply::Decided(verdict)) => Ok(verdict),
        Ok(_) => {
            Err(Error::internal("a storage node sent a reply of another kind").with_outcome(Outcome::Unknown))
        }
        Err(Unanswered::Refused(error) | Unanswered::Stale(error)) => Err(error),
    }
}

/// An error of a prepare. No commit was proposed and none will be, whatever became of the prepares.
pub(super) fn not_applied(error: Error) -> Error {
    if error.outcome == Outcome::NotApplied {
        return error;
    }
    let message = "a partition's leader was lost while the write was prepared; nothing was applied";
    Error { message: message.to_owned(), ..error }.with_outcome(Outcome::NotApplied)
}

/// The id of a transaction that begins now, under a name that nobody has used before. Its deadline lies behind the client's, so that no part of it can be accepted long
/// after everybody has forgotten it.
pub(super) fn new_id(unique: u128, deadline: Instant, now: SystemTime) -> TransactionId {
    let left = deadline.saturating_duration_since(Instant::now()).max(DECISION_TIME_MIN);
    TransactionId { deadline: Hlc::from_millis(unix_ms(now) + millis(left + CLOCK_SLACK)), unique }
}
