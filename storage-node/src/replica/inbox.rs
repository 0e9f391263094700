//! What a replica's worker is told.

use bytes::Bytes;
use common::protocol::{Assignment, Verdict};
use common::replacing::ReplacingReply;
use common::{Error, RequestId};
use consensus_runtime::{
    Committed, GroupHandle, GroupHost, Installed, ProposeError, Proposed, RoleChange, SnapshotDescription,
    SnapshotOffer, SnapshotRefused, SnapshotRequest, StagedOutcome,
};
use polylite_client::peer::Caller;
use sqlite::Finding;
use tokio::sync::oneshot;

use super::event_queue::EventSender;
use super::machine::{Compared, Job, Reply};

/// Something for the worker.
pub(super) enum Event {
    /// Somebody wants something changed.
    Job { job: Job, deadline_ms: u64, caller: Caller, answer: oneshot::Sender<Result<Reply, Error>> },
    /// Entries to apply.
    Committed(Vec<Committed>),
    /// Another part in the group.
    Role(RoleChange),
    /// Where a proposal stands.
    Proposed(RequestId, Result<Proposed, ProposeError>),
    /// Whether this replica was still the leader after a batch ran.
    Confirmed(u64, bool),
    /// Another replica needs a snapshot.
    MakeSnapshot(SnapshotRequest),
    /// The snapshot for another replica is made, or could not be.
    SnapshotMade(Option<SnapshotDescription>),
    /// This replica needs a snapshot.
    InstallSnapshot(SnapshotOffer),
    /// The snapshot's file is here, or could not be fetched.
    SnapshotFetched(Result<Installed, SnapshotRefused>),
    /// A copy of the leader's file is here to take the place of the damaged one, or could not be fetched.
    CopyFetched(Option<u64>),
    /// The log has switched to the fetched file, or not.
    Staged(StagedOutcome),
    /// The log would like to be shorter.
    Truncate,
    /// The group is no longer run.
    Failed(String),
    /// What the coordinators say of this replica.
    Assigned(Box<Assignment>),
    /// An answer from another partition about a transaction prepared here.
    Resolved { transaction: common::TransactionId, verdict: Verdict },
    /// The coordinator of a transaction prepared here is gone.
    CoordinatorGone { transaction: common::TransactionId },
    /// What other replicas' digests were at an index.
    Voted { compared: Compared, others: Vec<u128> },
    /// The file of a generation was read again.
    Scrubbed { generation: u64, finding: Finding },
    /// Nobody will ask about these transactions any more.
    Confirmations(Vec<common::TransactionId>),
    /// A lease was given back, or is over.
    LeaseEnded,
    /// Somebody wants to know which rows have changed, see [`super::machine::Machine::changed_rows`].
    ChangedRows { since: Option<u64>, answer: oneshot::Sender<ReplacingReply> },
    /// The end.
    Stop,
}

/// Puts what the group tells into the worker's queue. A worker that has ended needs nothing any more.
pub(super) struct Host {
    pub(super) inbox: EventSender,
}

impl Host {
    fn tell(&self, event: Event) {
        let _ = self.inbox.send(event);
    }
}

impl GroupHost for Host {
    fn committed(&mut self, entries: Vec<Committed>) {
        self.tell(Event::Committed(entries));
    }

    fn role_changed(&mut self, change: RoleChange) {
        self.tell(Event::Role(change));
    }

    fn make_snapshot(&mut self, request: SnapshotRequest) {
        self.tell(Event::MakeSnapshot(request));
    }

    fn install_snapshot(&mut self, offer: SnapshotOffer) {
        self.tell(Event::InstallSnapshot(offer));
    }

    fn snapshot_staged(&mut self, outcome: StagedOutcome) {
        self.tell(Event::Staged(outcome));
    }

    fn truncation_wanted(&mut self) {
        self.tell(Event::Truncate);
    }

    fn failed(&mut self, reason: String) {
        self.tell(Event::Failed(reason));
    }
}

/// Proposes an entry; the worker is told where it stands.
pub(super) fn propose(handle: &GroupHandle, inbox: &EventSender, request: RequestId, data: Bytes) {
    let inbox = inbox.clone();
    handle.propose_with(data, move |answer| {
        let _ = inbox.send(Event::Proposed(request, answer));
    });
}
