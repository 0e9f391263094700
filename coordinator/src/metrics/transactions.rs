//! Numbers about transactions over partitions, and the log of the slow ones.

use std::time::Duration;

use common::{Outcome, PartitionId, Result, TransactionId};
use metrics::{Counter, Histogram};
use tokio::time::Instant;

use super::RequestMetrics;

const TRANSACTIONS: &str = "polylite_transactions_total";
const SECONDS: &str = "polylite_transaction_seconds";
const REQUESTS: &str = "polylite_transaction_requests_total";
const CONFLICTS: &str = "polylite_transaction_conflicts_total";
const INTERACTIVE: &str = "polylite_interactive_transactions_total";
const WAITS: &str = "polylite_wait_seconds";

/// What stood in the way of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A partition refused its part: rows had changed, or another transaction kept the partition too long.
    Prepare,
    /// The decider had decided to abort before the commit came.
    Decision,
}

/// How a transaction over several requests ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InteractiveEnd {
    /// All of it was applied.
    Committed,
    /// Its client, or an operator, has rolled it back.
    RolledBack,
    /// Others got in its way.
    Conflict,
    /// It rested or lasted for too long.
    Expired,
    /// Its commit was refused, or its fate is not known.
    Failed,
}

/// What a request waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Partitions to take their parts of a transaction, the gates of other transactions included.
    Prepare,
    /// The decision to lie in the decider's log.
    Decision,
    /// The other participants to carry it out.
    CarryOut,
    /// A leader to be found.
    Leader,
    /// A schema change to be known.
    Schema,
    /// A pause before work that others got in the way of.
    Conflict,
    /// Locks of partitions that others kept getting in the way on.
    Lock,
}

/// Counts and times of transactions over partitions. Cheap to clone.
#[derive(Clone)]
pub struct TransactionMetrics {
    committed: Counter,
    aborted: Counter,
    unknown: Counter,
    seconds: Histogram,
    requests: [Counter; 2],
    conflicts: [Counter; 2],
    interactive: [Counter; 5],
    waits: [Histogram; 7],
    slow: Duration,
}

/// How long the phases of a transaction took.
#[derive(Clone, Copy, Debug)]
pub struct Phases {
    begun: Instant,
    last: Instant,
    prepare: Duration,
    decision: Duration,
    carry_out: Duration,
}

impl Default for Phases {
    fn default() -> Self {
        let now = Instant::now();
        Phases {
            begun: now,
            last: now,
            prepare: Duration::ZERO,
            decision: Duration::ZERO,
            carry_out: Duration::ZERO,
        }
    }
}

impl Phases {
    /// A phase ends, and the next begins.
    pub fn end_of(&mut self, phase: Wait, metrics: &TransactionMetrics) {
        let took = self.last.elapsed();
        self.last = Instant::now();
        match phase {
            Wait::Prepare => self.prepare += took,
            Wait::Decision => self.decision += took,
            Wait::CarryOut => self.carry_out += took,
            Wait::Leader | Wait::Schema | Wait::Conflict | Wait::Lock => {}
        }
        metrics.waited(phase, took);
    }
}

impl TransactionMetrics {
    /// Numbers that start at zero; a transaction that takes longer than `slow` is logged.
    #[must_use]
    pub fn new(requests: &RequestMetrics, slow: Duration) -> TransactionMetrics {
        requests.describe_counter(TRANSACTIONS, "Transactions over partitions, by how they ended.");
        requests.describe_times(SECONDS, "Time from the first part of a transaction to its end.");
        requests.describe_counter(REQUESTS, "Requests that transactions over partitions have committed.");
        requests.describe_counter(CONFLICTS, "What stood in the way of transactions over partitions.");
        requests.describe_counter(INTERACTIVE, "Transactions over several requests, by how they ended.");
        requests.describe_times(WAITS, "What requests have waited for.");
        let ended = |outcome| requests.counter(TRANSACTIONS, "outcome", outcome);
        let of_kind = |kind| requests.counter(REQUESTS, "kind", kind);
        let conflict = |cause| requests.counter(CONFLICTS, "cause", cause);
        let interactive = |outcome| requests.counter(INTERACTIVE, "outcome", outcome);
        let wait = |cause| requests.times(WAITS, Some(("cause", cause)));
        TransactionMetrics {
            committed: ended("committed"),
            aborted: ended("aborted"),
            unknown: ended("unknown"),
            seconds: requests.times(SECONDS, None),
            requests: ["plain", "keyed"].map(of_kind),
            conflicts: [conflict("prepare"), conflict("decision")],
            interactive: ["committed", "rolled_back", "conflict", "expired", "failed"].map(interactive),
            waits: ["prepare", "decision", "carry_out", "leader", "schema", "conflict", "lock"].map(wait),
            slow,
        }
    }

    /// Something stood in the way.
    pub fn conflict(&self, conflict: Conflict) {
        self.conflicts[conflict as usize].increment(1);
    }

    /// So many requests were committed by one transaction, some of them with idempotency keys.
    pub fn committed(&self, requests: usize, keyed: usize) {
        let count = |requests: usize| u64::try_from(requests).unwrap_or(u64::MAX);
        let [plain, with_key] = &self.requests;
        plain.increment(count(requests.saturating_sub(keyed)));
        with_key.increment(count(keyed));
    }

    /// A transaction over several requests has ended.
    pub fn interactive_ended(&self, end: InteractiveEnd) {
        self.interactive[end as usize].increment(1);
    }

    /// A request has waited.
    pub fn waited(&self, cause: Wait, took: Duration) {
        self.waits[cause as usize].record(took.as_secs_f64());
    }

    /// A transaction has ended.
    pub fn ended<T>(
        &self,
        id: TransactionId,
        participants: &[PartitionId],
        phases: &Phases,
        result: &Result<T>,
    ) {
        let took = phases.begun.elapsed();
        self.seconds.record(took.as_secs_f64());
        let (counter, outcome) = match result {
            Ok(_) => (&self.committed, "committed"),
            Err(error) => match error.outcome {
                Outcome::NotApplied => (&self.aborted, "aborted"),
                Outcome::Applied => (&self.committed, "committed"),
                Outcome::Partial | Outcome::Unknown => (&self.unknown, "unknown"),
            },
        };
        counter.increment(1);
        if took >= self.slow {
            let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                transaction = %id,
                participants = ?participants.iter().map(|partition| partition.0).collect::<Vec<_>>(),
                outcome,
                milliseconds = milliseconds(took),
                prepare = milliseconds(phases.prepare),
                decision = milliseconds(phases.decision),
                carry_out = milliseconds(phases.carry_out),
                "slow transaction"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{Error, ErrorCode, Hlc};

    #[test]
    fn ends_conflicts_and_waits_are_counted_by_kind() {
        let requests = RequestMetrics::new();
        let metrics = TransactionMetrics::new(&requests, Duration::from_secs(60));
        let id = TransactionId { deadline: Hlc(1), unique: 1 };
        let mut phases = Phases::default();
        phases.end_of(Wait::Prepare, &metrics);
        metrics.ended(id, &[PartitionId(1)], &phases, &Ok(()));
        let refused = Error::new(ErrorCode::SerializationFailure, "x");
        metrics.ended::<()>(id, &[], &phases, &Err(refused.clone()));
        metrics.ended::<()>(id, &[], &phases, &Err(refused.with_outcome(Outcome::Unknown)));
        metrics.conflict(Conflict::Decision);
        metrics.committed(5, 2);
        let text = requests.render();
        for line in [
            "polylite_transactions_total{outcome=\"committed\"} 1",
            "polylite_transactions_total{outcome=\"aborted\"} 1",
            "polylite_transactions_total{outcome=\"unknown\"} 1",
            "polylite_transaction_conflicts_total{cause=\"decision\"} 1",
            "polylite_transaction_seconds_count 3",
            "polylite_transaction_requests_total{kind=\"plain\"} 3",
            "polylite_transaction_requests_total{kind=\"keyed\"} 2",
            "polylite_wait_seconds_count{cause=\"prepare\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
