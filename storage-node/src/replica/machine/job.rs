//! What is asked of a partition, and what it answers.

use common::idempotency::Keyed;
use common::partition_map::BucketRange;
use common::protocol::{
    JointPurpose, JointReply, JointRequest, PartitionTarget, Verdict, WorkItem, WriteReply, WriteRequest,
};
use common::tries::{Tried, TryRequest};
use common::{Error, ErrorCode, Hlc, Outcome, PartitionId, ReplicaId, TransactionId};

/// Names a job to whoever waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A job and how long somebody waits for it.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Comes back with the answer.
    pub ticket: Ticket,
    /// On the driver's clock, in milliseconds; then [`super::Machine::expire`] answers in its place.
    pub deadline_ms: u64,
    /// The work.
    pub job: Job,
}

/// Work that changes a partition.
#[derive(Clone, Debug)]
pub enum Job {
    /// A client's write.
    Write(WriteRequest),
    /// The end of a transaction.
    Decide {
        /// The transaction.
        transaction: TransactionId,
        /// Whether it commits; for the decider with the greatest clock of the prepares, else with when it did.
        verdict: Verdict,
        /// Whether this partition decides; else it carries out what the decider said.
        decides: bool,
    },
    /// A transaction has committed. Answered before the log has it; whoever wants to know that it has, asks by
    /// [`Job::Decide`].
    CarryOut {
        /// The transaction.
        transaction: TransactionId,
        /// When it committed.
        at: Hlc,
    },
    /// The commit of a transaction whose requests have idempotency keys, at the decider.
    DecideKeyed {
        /// The transaction.
        transaction: TransactionId,
        /// Who carries the decision out.
        participants: Vec<PartitionId>,
        /// The keys and the answers.
        keyed: Vec<Keyed>,
        /// The greatest clock of the prepares.
        prepared_at: Hlc,
    },
    /// A part of a transaction over several partitions, which several requests may share.
    Joint(JointRequest),
    /// A part of a transaction that has not ended.
    Try(TryRequest),
    /// A transaction gives its lock back.
    Unlock {
        /// The transaction.
        transaction: u128,
    },
    /// Another schema.
    Schema {
        /// Its version.
        version: u64,
        /// DDL that leads to it.
        statements: Vec<String>,
    },
    /// Another place in the partition map.
    Assign {
        /// Its version.
        epoch: u64,
        /// What the partition owns.
        range: BucketRange,
    },
    /// The replicas are to compare their digests.
    Compare,
    /// Decisions that nobody will ask for any more.
    Forget {
        /// The transactions.
        transactions: Vec<TransactionId>,
    },
}

impl Job {
    /// What the request was planned on, where it runs a client's work.
    pub(super) fn target(&self) -> Option<&PartitionTarget> {
        match self {
            Job::Write(write) | Job::Try(TryRequest { write, .. }) => Some(&write.target),
            Job::Joint(joint) => Some(&joint.target),
            _ => None,
        }
    }

    /// The transaction that the job is a part of, where it changes rows.
    pub(super) fn is_part_of(&self) -> Option<TransactionId> {
        match self {
            Job::Joint(joint) => Some(joint.transaction),
            _ => None,
        }
    }

    /// Whether it would change the schema in a batch that others share.
    pub(super) fn changes_schema_in_batch(&self) -> bool {
        let changes_schema = |item: &WorkItem| matches!(item, WorkItem::Schema(_));
        matches!(self, Job::Write(write) if write.work.iter().any(changes_schema))
    }

    /// The transaction that the job would leave prepared.
    #[must_use]
    pub fn prepares(&self) -> Option<TransactionId> {
        match self {
            Job::Joint(JointRequest { purpose: JointPurpose::Commit { .. }, .. }) => None,
            job => job.is_part_of(),
        }
    }

    /// Whether it is refused at once where it would wait for others.
    pub(super) fn never_waits(&self) -> bool {
        let Job::Joint(joint) = self else { return false };
        matches!(joint.purpose, JointPurpose::Prepare { waits: false, .. })
    }

    /// Whether it must wait while another transaction is prepared here.
    pub(super) fn waits_for_gate(&self) -> bool {
        matches!(self, Job::Write(_) | Job::Joint(_) | Job::Try(_) | Job::Schema { .. })
    }
}

/// What a job answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The work is in the partition's state, or prepared.
    Written(WriteReply),
    /// The part is prepared or committed, or a request in it is refused.
    Joint(JointReply),
    /// What the log says of the transaction.
    Decided(Verdict),
    /// What the work would do.
    Tried(Box<Tried>),
    /// Done.
    Done,
}

/// An answer that may be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Whose.
    pub ticket: Ticket,
    /// What.
    pub result: Result<Reply, Error>,
}

/// The replica does not lead.
#[must_use]
pub fn not_leader(leader: Option<ReplicaId>) -> Error {
    let mut error = Error::new(ErrorCode::NotLeader, "this replica does not lead its partition");
    error.leader = leader;
    error
}

/// Told to nobody: whoever asked has gone.
pub(super) fn nobody_waits() -> Error {
    Error::new(ErrorCode::Unavailable, "nobody waits for the answer")
}

pub(super) fn leadership_lost(outcome: Outcome) -> Error {
    Error::new(ErrorCode::LeadershipLost, "the partition's leader changed while the request was under way")
        .with_outcome(outcome)
}

pub(super) fn no_quorum(outcome: Outcome) -> Error {
    Error::new(ErrorCode::NoQuorum, "too few replicas of the partition answered in time")
        .with_outcome(outcome)
        .with_hint("see GET /partitions for the replicas that are down")
}

/// The request was planned on another schema than the partition has.
#[must_use]
pub fn stale_schema(version: u64) -> Error {
    let mut error = Error::new(ErrorCode::StaleSchema, format!("the schema version to plan on is {version}"));
    error.version = Some(version);
    error
}

/// The request was planned on another partition map than the partition belongs to.
#[must_use]
pub fn stale_partition_map(epoch: u64) -> Error {
    let mut error = Error::new(ErrorCode::StalePartitionMap, format!("the bucket is in epoch {epoch}"));
    error.version = Some(epoch);
    error
}
