//! What is sent for transactions over several requests: their work is tried first, and repeated when they commit.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::entry::Effects;
use crate::protocol::{StatementResult, WorkItem, WriteRequest};

/// Time and chance of work that may be done again: it finds the same ones each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeAndChance {
    /// The present, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// What random numbers begin with.
    pub seed: u64,
}

/// Work of a transaction that has not ended: what it would answer and change on top of what the transaction has
/// changed already. Nothing stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TryRequest {
    /// Where, and the work.
    pub write: WriteRequest,
    /// What the transaction has changed on the partition so far.
    pub own: Effects,
    /// The lock that it takes first, if it takes one.
    pub lock: Option<LockClaim>,
    /// Its time and chance.
    pub pinned: TimeAndChance,
}

/// What work that was tried would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Results in order, one per [`WorkItem`]; none if it was refused.
    pub results: Vec<StatementResult>,
    /// What it changed.
    pub effects: Effects,
    /// A digest of what it answered and changed, or of why it was refused.
    pub digest: u128,
    /// Log index of the state that it was tried on.
    pub index: u64,
    /// Why it was refused, if it was.
    pub refusal: Option<Refusal>,
}

/// An error that work ends with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The error.
    pub error: Error,
    /// Whether the work has said that the whole transaction is to be rolled back then.
    pub ends_transaction: bool,
}

/// Work and what came of it when it was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeated {
    /// The work.
    pub work: Vec<WorkItem>,
    /// Most rows that a statement answered.
    pub max_rows: u32,
    /// Its time and chance.
    pub pinned: TimeAndChance,
    /// What it changed.
    pub effects: Effects,
    /// A digest of what it answered and changed, or of why it was refused.
    pub digest: u128,
    /// Whether it was refused, and changed nothing.
    pub refused: bool,
    /// Log index of the state that it was tried on. As long as nothing was committed since, it need not be done
    /// again: it changes what it changed then.
    pub index: u64,
}

/// A transaction wants other writers kept out of a partition for a moment. The leader keeps the lock in its memory: a
/// lock that is lost is found out when the transaction commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockClaim {
    /// The transaction's name.
    pub transaction: u128,
    /// When it began, in milliseconds since the Unix epoch, as its coordinator has it.
    pub began_ms: u64,
    /// Whether it has locked other partitions: then it must not wait for an older one.
    pub holds_others: bool,
    /// How long it may keep its locks yet, in milliseconds.
    pub left_ms: u64,
}
