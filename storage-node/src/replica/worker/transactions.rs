//! Transactions that nobody finishes: a leader asks the decider about what is prepared here, and has the
//! participants confirm what was decided here.

use std::time::{Duration, Instant};

use common::TransactionId;
use common::protocol::Verdict;
use polylite_client::peer::Caller;
use tokio_util::task::AbortOnDropHandle;

use super::super::inbox::Event;
use super::super::machine::Job;
use super::{Worker, long_ago};
use crate::clock::wall_millis;
use crate::config::{IN_DOUBT_AFTER, IN_DOUBT_WATCHED_AFTER};

/// Pause before a decider that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What was asked already.
#[derive(Default)]
pub(super) struct InDoubt {
    /// The transaction that is prepared here.
    seen: Option<Seen>,
    /// The term in which this replica leads and has looked at what others left prepared.
    looked_in: Option<u64>,
    /// The transaction that was prepared here last, and what tells when its coordinator is gone.
    watch: Option<(TransactionId, AbortOnDropHandle<()>)>,
    /// Participants are being asked to confirm.
    confirming: bool,
    /// Nothing is prepared here and no decision waits to be confirmed, nor can that have changed since.
    settled: bool,
}

/// A prepared transaction that was seen.
struct Seen {
    transaction: TransactionId,
    since: Instant,
    /// The question to its decider, which is asked until it answers.
    question: Option<AbortOnDropHandle<()>>,
}

impl InDoubt {
    /// Something was applied, or another leads.
    pub(super) fn look_again(&mut self) {
        self.settled = false;
    }

    /// Whether a transaction may be prepared here, or a decision wait to be confirmed.
    pub(super) fn may_be_open(&self) -> bool {
        !self.settled
    }

    /// How long a prepared transaction is left alone. A coordinator that is there may be waiting at another partition
    /// behind others, and to have it aborted would waste what all of them did.
    fn patience(&self, transaction: TransactionId) -> Duration {
        match &self.watch {
            Some((watched, _)) if *watched == transaction => IN_DOUBT_WATCHED_AFTER,
            _ => IN_DOUBT_AFTER,
        }
    }
}

impl Worker {
    /// A transaction is prepared here, which keeps others out: should its coordinator go away before it has
    /// told the decision, nobody else will tell it.
    pub(super) fn watch_coordinator(&mut self, transaction: TransactionId, coordinator: Caller) {
        let sender = self.sender.clone();
        let watch = self.tokio.spawn(async move {
            coordinator.gone().await;
            let _ = sender.send(Event::CoordinatorGone { transaction });
        });
        self.in_doubt.watch = Some((transaction, AbortOnDropHandle::new(watch)));
    }

    /// The decider is asked at once.
    pub(super) fn coordinator_gone(&mut self, transaction: TransactionId) {
        let Some(machine) = self.machine.as_ref().filter(|machine| machine.is_writable()) else { return };
        if machine.prepared().is_some_and(|prepared| prepared.transaction == transaction) {
            self.in_doubt.watch = None;
            self.ask_at_once(transaction);
        }
    }

    /// A new leader asks at once about what it finds prepared: its reads wait for the answer. If there is no decision yet,
    /// the transaction aborts, and its coordinator tries it again.
    pub(super) fn look_at_inherited(&mut self) {
        let Some(machine) = self.machine.as_ref().filter(|machine| machine.is_writable()) else { return };
        if self.in_doubt.looked_in.replace(self.role.term) == Some(self.role.term) || !machine.owes_commit() {
            return;
        }
        if let Some(transaction) = machine.prepared().map(|prepared| prepared.transaction) {
            self.ask_at_once(transaction);
        }
    }

    fn ask_at_once(&mut self, transaction: TransactionId) {
        let since = long_ago(IN_DOUBT_WATCHED_AFTER);
        self.in_doubt.seen = Some(Seen { transaction, since, question: None });
        self.ask_decider();
    }

    /// Called about once a second.
    pub(super) fn look_for_in_doubt(&mut self) {
        if self.machine.as_ref().is_none_or(|machine| !machine.is_writable()) {
            self.in_doubt = InDoubt { settled: true, ..InDoubt::default() };
            return;
        }
        self.ask_decider();
        self.ask_participants();
    }

    fn ask_decider(&mut self) {
        let machine = self.machine.as_ref();
        let Some((machine, prepared)) = machine.and_then(|machine| Some((machine, machine.prepared()?)))
        else {
            self.in_doubt.seen = None;
            return;
        };
        let (transaction, decider) = (prepared.transaction, prepared.decider);
        // Reads wait for what may have committed.
        let patience = match machine.owes_commit() {
            true => IN_DOUBT_AFTER,
            false => self.in_doubt.patience(transaction),
        };
        let seen = self.in_doubt.seen.take().filter(|seen| seen.transaction == transaction);
        let mut seen = seen.unwrap_or(Seen { transaction, since: Instant::now(), question: None });
        if seen.since.elapsed() < patience || seen.question.is_some() {
            self.in_doubt.seen = Some(seen);
            return;
        }
        if decider == self.assignment.partition {
            // Without a decision in its log, the decider's is to abort.
            self.submit_own(Job::Decide { transaction, verdict: Verdict::ABORT, decides: true });
            return;
        }
        let (neighbours, sender) = (self.neighbours.clone(), self.sender.clone());
        let question = self.tokio.spawn(async move {
            loop {
                match neighbours.resolve(decider, transaction).await {
                    Ok(verdict) => {
                        // A replica that has ended asks no more.
                        let _ = sender.send(Event::Resolved { transaction, verdict });
                        break;
                    }
                    Err(error) => tracing::debug!(%transaction, %error, "the decider does not answer"),
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        });
        seen.question = Some(AbortOnDropHandle::new(question));
        self.in_doubt.seen = Some(seen);
    }

    pub(super) fn resolved(&mut self, transaction: TransactionId, verdict: Verdict) {
        self.in_doubt.seen = None;
        self.submit_own(Job::Decide { transaction, verdict, decides: false });
    }

    /// Commits decided here are kept until all participants have carried them out. Their coordinator tells
    /// the participants; this looks after those whose time is up.
    fn ask_participants(&mut self) {
        if self.in_doubt.confirming {
            return;
        }
        let Some(machine) = &self.machine else { return };
        let Ok(mut open) = machine.decisions() else { return };
        open.retain(|decision| decision.commit && !decision.participants.is_empty());
        self.in_doubt.settled = open.is_empty() && machine.prepared().is_none();
        open.retain(|decision| decision.transaction.deadline.millis() < wall_millis());
        if open.is_empty() {
            return;
        }
        self.in_doubt.confirming = true;
        let (neighbours, sender) = (self.neighbours.clone(), self.sender.clone());
        let own = self.assignment.partition;
        self.tokio.spawn(async move {
            let mut confirmed = Vec::new();
            for decision in open {
                let mut all = true;
                for participant in decision.participants.into_iter().filter(|participant| *participant != own)
                {
                    let told = neighbours.carry_out(participant, decision.transaction, decision.at).await;
                    all &= told.is_ok_and(|verdict| verdict.commit);
                }
                if all {
                    confirmed.push(decision.transaction);
                }
            }
            let _ = sender.send(Event::Confirmations(confirmed));
        });
    }

    pub(super) fn forget(&mut self, transactions: Vec<TransactionId>) {
        self.in_doubt.confirming = false;
        if !transactions.is_empty() {
            self.submit_own(Job::Forget { transactions });
        }
    }
}
