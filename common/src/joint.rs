//! Transactions that several requests share, as coordinators and partitions speak of them.

use serde::{Deserialize, Serialize};

use crate::protocol::{PartitionTarget, StatementResult, WorkItem};
use crate::{Error, Hlc, PartitionId, TransactionId};

/// What one of several requests that are one transaction does on a partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestWork {
    /// The work, all or nothing.
    pub work: Vec<WorkItem>,
    /// Most rows that a statement answers.
    pub max_rows: u32,
}

/// What requests that are one transaction do on a partition. Each is run by itself, on top of what those before it
/// have changed; if one is refused, nothing of the part stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JointRequest {
    /// Where.
    pub target: PartitionTarget,
    /// The transaction.
    pub transaction: TransactionId,
    /// All participants.
    pub participants: Vec<PartitionId>,
    /// The requests.
    pub requests: Vec<RequestWork>,
    /// What becomes of the part.
    pub purpose: JointPurpose,
}

/// What becomes of a part of a joint transaction that nothing stands in the way of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JointPurpose {
    /// It is prepared.
    Prepare {
        /// Whose log holds the decision.
        decider: PartitionId,
        /// Whether it waits in line while others keep the partition. Who does not wait may prepare in any order,
        /// for nobody waits for one who waits himself.
        waits: bool,
    },
    /// All other parts are prepared: it is landed, and the transaction committed, with one entry.
    Commit {
        /// The greatest clock of the prepares.
        prepared_at: Hlc,
    },
}

/// Answer to [`JointRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JointReply {
    /// One for each request: a result for each [`WorkItem`], or why it is refused.
    pub results: Vec<Result<Vec<StatementResult>, Error>>,
    /// Log index at which the part is prepared or landed (a bookmark).
    pub index: u64,
    /// Clock of the entry: of the preparation, or when the transaction has committed.
    pub hlc: Hlc,
}
