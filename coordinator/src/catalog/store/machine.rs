//! The task that applies the catalog's log, makes snapshots of the state and installs those of a leader.

use std::sync::Arc;

use common::PartitionId;
use consensus_runtime::{
    Committed, CommittedKind, GroupHandle, Installed, SnapshotOffer, SnapshotRefused, SnapshotRequest,
    StagedOutcome,
};
use polylite_client::node::CoordinatorClient;
use tokio::sync::mpsc;

use super::directory::Directory;
use super::fetch;
use super::host::Event;
use super::shared::Shared;
use super::snapshot::{self, Position, Snapshot};
use crate::catalog::command::Proposal;
use crate::catalog::{CatalogState, random};

/// A snapshot of the state is written after so many entries …
pub(super) const SNAPSHOT_INTERVAL: u64 = 4_096;
/// … and so many entries before it stay in the log, so that a coordinator that was away for a moment catches
/// up without one.
const ENTRIES_KEPT: u64 = 1_024;

pub(super) struct Machine {
    pub(super) directory: Arc<Directory>,
    pub(super) shared: Arc<Shared>,
    pub(super) group: GroupHandle,
    pub(super) client: CoordinatorClient,
    pub(super) state: CatalogState,
    pub(super) position: Position,
    /// Index of the newest snapshot in the file.
    pub(super) snapshot_index: u64,
    pub(super) snapshot_interval: u64,
    pub(super) staged: Option<(u64, Box<Snapshot>)>,
    pub(super) writing: bool,
    /// A follower waits for a snapshot of at least this index.
    pub(super) requested: Option<SnapshotRequest>,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

impl Machine {
    /// Runs until the group has ended.
    pub(super) async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        self.group.update_peers(self.shared.peers());
        while let Some(event) = events.recv().await {
            match event {
                Event::Committed(entries) => self.apply(entries),
                Event::MakeSnapshot(request) => self.requested = Some(request),
                Event::Offered(offer) => self.fetch(offer),
                Event::Fetched { generation, snapshot } => self.staged = Some((generation, snapshot)),
                Event::Staged(outcome) => self.switch(outcome),
                Event::Written(result) => self.written(result),
                Event::TruncationWanted => self.write_snapshot(),
                Event::Failed(reason) => {
                    // Without its catalog a coordinator can only give wrong answers.
                    tracing::error!(reason, "the catalog's group has failed, the process ends");
                    eprintln!("polylite: the catalog's group has failed: {reason}");
                    std::process::abort();
                }
            }
            self.make_due_snapshot();
        }
    }

    /// Applies entries, then publishes, then answers: an answer is never ahead of the view.
    fn apply(&mut self, entries: Vec<Committed>) {
        let mut answers = Vec::new();
        let coordinators = self.state.catalog.coordinators.clone();
        for entry in entries {
            match &entry.kind {
                CommittedKind::Normal => answers.push(self.apply_proposal(&entry)),
                CommittedKind::Empty => {}
                CommittedKind::Configuration(configuration) => {
                    self.position.configuration = configuration.clone();
                }
            }
            self.position.index = entry.index;
            self.position.term = entry.term;
        }
        if !answers.is_empty() {
            self.shared.publish(self.state.catalog.clone());
        }
        if self.state.catalog.coordinators != coordinators {
            self.group.update_peers(self.shared.peers());
        }
        self.group.applied(self.position.index);
        self.shared.reached(self.position.index);
        for (request, applied) in answers {
            self.shared.answer(request, &applied);
        }
    }

    fn apply_proposal(&mut self, entry: &Committed) -> (common::RequestId, super::shared::Applied) {
        // An entry that is skipped here and not elsewhere would make two catalogs out of one.
        let proposal = Proposal::decode(&entry.data).unwrap_or_else(|error| {
            eprintln!("polylite: entry {} of the catalog's log is {error}; the process ends", entry.index);
            std::process::abort()
        });
        (proposal.request, (entry.index, self.state.apply(entry.index, &proposal)))
    }

    /// Writes a snapshot if the log has grown enough, or if a follower waits for one that can be made now.
    fn make_due_snapshot(&mut self) {
        if let Some(request) = self.requested {
            if self.snapshot_index >= request.index_min && self.snapshot_index > 0 {
                self.offer_snapshot();
            } else if self.position.index >= request.index_min {
                self.write_snapshot();
            }
        }
        if self.position.index >= self.snapshot_index + self.snapshot_interval {
            self.write_snapshot();
        }
    }

    fn write_snapshot(&mut self) {
        if self.writing || self.position.index == self.snapshot_index {
            return;
        }
        self.writing = true;
        let (position, state) = (self.position.clone(), self.state.clone());
        let (path, events) = (self.directory.snapshot(self.shared.generation()), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let written = snapshot::write(&path, &snapshot::encode(&position, &state));
            // The machine may have ended; the file stands by itself.
            drop(events.send(Event::Written(written.map(|()| position.index))));
        });
    }

    fn written(&mut self, result: std::io::Result<u64>) {
        self.writing = false;
        match result {
            Ok(index) => {
                self.snapshot_index = self.snapshot_index.max(index);
                self.group.truncate(index.saturating_sub(ENTRIES_KEPT.min(self.snapshot_interval / 4)));
            }
            Err(error) => {
                tracing::error!(%error, "a snapshot of the catalog could not be written");
                if self.requested.take().is_some() {
                    self.group.snapshot_ready(None);
                }
            }
        }
    }

    /// The file may be newer than the position told; whoever fetches it says what it got.
    fn offer_snapshot(&mut self) {
        self.requested = None;
        let path = self.directory.snapshot(self.shared.generation());
        let group = self.group.clone();
        tokio::task::spawn_blocking(move || match snapshot::read(&path) {
            Ok(Some(snapshot)) => group.snapshot_ready(Some(snapshot.position.description())),
            Ok(None) => group.snapshot_ready(None),
            Err(error) => {
                tracing::error!(%error, "the catalog's snapshot could not be read");
                group.snapshot_ready(None);
            }
        });
    }

    /// Fetches a snapshot and stages it as the next generation.
    fn fetch(&self, offer: SnapshotOffer) {
        let generation = self.shared.generation() + 1;
        let path = self.directory.snapshot(generation);
        let address = self.shared.addresses().get(&offer.from).cloned();
        let (client, group, events) = (self.client.clone(), self.group.clone(), self.events.clone());
        tokio::spawn(async move {
            let fetched = fetch::snapshot(&client, address, offer.description.index, path).await;
            let installed = fetched.map(|snapshot| {
                let Position { index, term, configuration } = snapshot.position.clone();
                drop(events.send(Event::Fetched { generation, snapshot: Box::new(snapshot) }));
                Installed { index, term, configuration, generation }
            });
            group.snapshot_installed(installed.map_err(|error| {
                tracing::warn!(%error, "the leader's snapshot of the catalog could not be fetched");
                SnapshotRefused
            }));
        });
    }

    /// The log has switched to the staged snapshot, or has overtaken it.
    fn switch(&mut self, outcome: StagedOutcome) {
        match outcome {
            StagedOutcome::Adopted { generation, index } => {
                let (staged, snapshot) = self.staged.take().expect("only a staged snapshot is adopted");
                assert_eq!(
                    (staged, snapshot.position.index),
                    (generation, index),
                    "another snapshot was staged"
                );
                self.shared.set_generation(generation);
                self.snapshot_index = index;
                self.position = snapshot.position;
                self.state = snapshot.state;
                self.shared.publish(self.state.catalog.clone());
                self.group.update_peers(self.shared.peers());
                self.group.applied(index);
                self.shared.reached(index);
                for request in self.shared.awaited() {
                    if let Some(answer) = self.state.answer_to(request) {
                        self.shared.answer(request, &(index, answer));
                    }
                }
            }
            StagedOutcome::Discarded { .. } => self.staged = None,
        }
        if let Err(error) = self.directory.keep_generation(self.shared.generation()) {
            tracing::warn!(%error, "old snapshots of the catalog could not be removed");
        }
    }
}

/// The name of a new cluster.
pub(super) fn new_cluster_name() -> String {
    random::uuid()
}

/// The catalog's group.
pub(super) const GROUP: PartitionId = PartitionId::CATALOG;
