//! What the catalog's group tells: everything is put into the state machine's queue.

use consensus_runtime::{Committed, GroupHost, RoleChange, SnapshotOffer, SnapshotRequest, StagedOutcome};
use tokio::sync::{mpsc, watch};

use super::snapshot::Snapshot;

/// What the state machine has to do next.
pub(super) enum Event {
    /// Apply entries.
    Committed(Vec<Committed>),
    /// Make a snapshot for a follower.
    MakeSnapshot(SnapshotRequest),
    /// Fetch a snapshot from the leader.
    Offered(SnapshotOffer),
    /// A fetched snapshot, staged as a generation.
    Fetched { generation: u64, snapshot: Box<Snapshot> },
    /// What became of the staged snapshot.
    Staged(StagedOutcome),
    /// A snapshot of the own state was written, up to an index; not if it could not be.
    Written(std::io::Result<u64>),
    /// The log is full of old entries.
    TruncationWanted,
    /// The group is no longer run.
    Failed(String),
}

/// The catalog, as its group sees it.
pub(super) struct CatalogHost {
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) role: watch::Sender<RoleChange>,
}

impl CatalogHost {
    fn tell(&self, event: Event) {
        // The state machine ends after its group; what comes later is of no account.
        drop(self.events.send(event));
    }
}

impl GroupHost for CatalogHost {
    fn committed(&mut self, entries: Vec<Committed>) {
        self.tell(Event::Committed(entries));
    }

    fn role_changed(&mut self, change: RoleChange) {
        self.role.send_replace(change);
    }

    fn make_snapshot(&mut self, request: SnapshotRequest) {
        self.tell(Event::MakeSnapshot(request));
    }

    fn install_snapshot(&mut self, offer: SnapshotOffer) {
        self.tell(Event::Offered(offer));
    }

    fn snapshot_staged(&mut self, outcome: StagedOutcome) {
        self.tell(Event::Staged(outcome));
    }

    fn truncation_wanted(&mut self) {
        self.tell(Event::TruncationWanted);
    }

    fn failed(&mut self, reason: String) {
        self.tell(Event::Failed(reason));
    }
}
