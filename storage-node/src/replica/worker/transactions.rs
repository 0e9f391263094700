//! Transactions that nobody finishes: a leader asks the decider about what is prepared here, and has the
//! participants confirm what was decided here.

use std::time::Instant;

use common::TransactionId;
use sqlite::system::Decision;

use super::super::inbox::Event;
use super::super::machine::Job;
use super::Worker;
use crate::clock::wall_millis;
use crate::config::IN_DOUBT_AFTER;

/// What was asked already.
#[derive(Default)]
pub(super) struct InDoubt {
    /// The transaction that is prepared here, since when, and whether its decider is being asked.
    seen: Option<(TransactionId, Instant, bool)>,
    /// Participants are being asked to confirm.
    confirming: bool,
}

impl Worker {
    /// Called about once a second.
    pub(super) fn look_for_in_doubt(&mut self) {
        if self.machine.as_ref().is_none_or(|machine| !machine.is_writable()) {
            self.in_doubt = InDoubt::default();
            return;
        }
        self.ask_decider();
        self.ask_participants();
    }

    fn ask_decider(&mut self) {
        let Some(prepared) = self.machine.as_ref().and_then(|machine| machine.prepared()) else {
            self.in_doubt.seen = None;
            return;
        };
        let (transaction, decider) = (prepared.transaction, prepared.decider);
        let (since, asking) = match self.in_doubt.seen {
            Some((seen, since, asking)) if seen == transaction => (since, asking),
            _ => (Instant::now(), false),
        };
        let due = since.elapsed() >= IN_DOUBT_AFTER && !asking;
        self.in_doubt.seen = Some((transaction, since, asking || due));
        if !due {
            return;
        }
        if decider == self.assignment.partition {
            // Without a decision in its log, the decider's is to abort.
            self.in_doubt.seen = None;
            self.submit_own(Job::Decide { transaction, commit: false, decides: true });
            return;
        }
        let (neighbours, sender) = (self.neighbours.clone(), self.sender.clone());
        self.tokio.spawn(async move {
            match neighbours.resolve(decider, transaction).await {
                Ok(commit) => drop(sender.send(Event::Resolved { transaction, commit })),
                Err(error) => {
                    tracing::debug!(%transaction, %error, "the decider does not answer");
                    // An empty list of confirmations only ends the asking.
                    let _ = sender.send(Event::Confirmations(Vec::new()));
                }
            }
        });
    }

    pub(super) fn resolved(&mut self, transaction: TransactionId, commit: bool) {
        self.in_doubt.seen = None;
        self.submit_own(Job::Decide { transaction, commit, decides: false });
    }

    /// Commits decided here are kept until all participants have carried them out. Their coordinator tells
    /// the participants; this looks after those whose time is up.
    fn ask_participants(&mut self) {
        if self.in_doubt.confirming {
            return;
        }
        let Some(Ok(decisions)) = self.machine.as_ref().map(|machine| machine.decisions()) else { return };
        let is_over = |decision: &Decision| decision.transaction.deadline.millis() < wall_millis();
        let open: Vec<Decision> = decisions
            .into_iter()
            .filter(|decision| decision.commit && !decision.participants.is_empty() && is_over(decision))
            .collect();
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
                    all &= neighbours.carry_out(participant, decision.transaction).await == Ok(true);
                }
                if all {
                    confirmed.push(decision.transaction);
                }
            }
            let _ = sender.send(Event::Confirmations(confirmed));
        });
    }

    pub(super) fn forget(&mut self, transactions: Vec<TransactionId>) {
        self.in_doubt = InDoubt::default();
        if !transactions.is_empty() {
            self.submit_own(Job::Forget { transactions });
        }
    }
}
