//! How a partition speaks to its group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use common::{PartitionId, ReplicaId};
use consensus::{
    LogError, MembershipChange, MembershipError, ProposeError, Proposed, SnapshotDescription, Status,
};
use parking_lot::RwLock;

use crate::host::{Installed, PeerAddress, SnapshotRefused};
use crate::inbox::{Event, GroupEvent, Inbox};
use crate::reply::Reply;
use crate::runtime::Stopped;

/// What the worker and the handles of a group share.
pub(crate) struct Shared {
    /// Reported by the host, read by the worker at its next round or tick: no wake-up for each batch.
    pub(crate) applied: AtomicU64,
    /// Reported by the host: what it has taken over, whether or not it has an effect yet.
    pub(crate) taken_over: AtomicU64,
    /// Set by the worker while entries wait until the host has taken over more.
    pub(crate) waits_for_host: AtomicBool,
    /// For the host to read entries again.
    pub(crate) log: Arc<dyn CommittedLog>,
    /// Published by the worker after every round that changed it.
    pub(crate) status: RwLock<Arc<Status>>,
}

/// Entries that a host was handed, to be read again: those of a set that has an effect only as a whole need not
/// be kept in memory until it is complete.
pub trait CommittedLog: Send + Sync {
    /// The data of an entry. Blocks on the disk.
    ///
    /// # Errors
    /// If the log does not hold the entry, or cannot be read. It holds whatever was handed to the host and is not
    /// applied.
    fn data(&self, index: u64) -> Result<Bytes, LogError>;
}

/// Why a read index was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another replica leads.
    #[error("this replica does not lead its group")]
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<ReplicaId>,
    },
    /// The group or its worker has stopped, or too many requests wait.
    #[error("the group does not answer")]
    Unavailable,
}

/// A running group. Cheap to clone; the group runs on when the last handle is dropped.
#[derive(Clone)]
pub struct GroupHandle {
    pub(crate) group: PartitionId,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) shared: Arc<Shared>,
}

impl GroupHandle {
    /// The group.
    #[must_use]
    pub fn group(&self) -> PartitionId {
        self.group
    }

    /// Puts bytes into the log; must not be empty. The answer says where they stand, not that they are committed:
    /// that is told to the host.
    pub fn propose(&self, data: Bytes) -> Reply<Result<Proposed, ProposeError>> {
        let (sender, reply) = Reply::new(Err(ProposeError::NotLeader { leader: None }));
        self.propose_with(data, move |answer| {
            // Whoever asked may have gone.
            let _ = sender.send(answer);
        });
        reply
    }

    /// Like [`GroupHandle::propose`]; the answer is given to a callback on the worker thread, before the host is
    /// told of the entry's commit. The callback must not block. It is dropped uncalled if the group stops.
    pub fn propose_with(
        &self,
        data: Bytes,
        answer: impl FnOnce(Result<Proposed, ProposeError>) + Send + 'static,
    ) {
        let event = Event::Group(self.group, GroupEvent::Propose(data, Box::new(answer)));
        if let Err(Event::Group(_, GroupEvent::Propose(_, answer))) = self.inbox.push(event) {
            answer(Err(ProposeError::Busy));
        }
    }

    /// The index that a linearizable read beginning now has to wait for. All reads that wait on the group share
    /// one round of messages. Repeated until it is answered or the replica no longer leads: the caller brings
    /// the deadline, and drops the reply.
    pub fn read_index(&self) -> Reply<Result<u64, ReadError>> {
        let (sender, reply) = Reply::new(Err(ReadError::Unavailable));
        // A refused event drops the sender, and so answers.
        drop(self.inbox.push(Event::Group(self.group, GroupEvent::Read(sender))));
        reply
    }

    /// The state machine has applied everything up to the index, and so taken it over. Seen by the worker at the
    /// latest with the next tick.
    pub fn applied(&self, index: u64) {
        self.shared.applied.fetch_max(index, Ordering::Release);
        self.taken_over(index);
    }

    /// Lets the log be truncated up to the index, which a durable checkpoint must hold. It is kept from there on
    /// for as long as a snapshot in transit needs it.
    pub fn truncate(&self, index: u64) {
        self.send(GroupEvent::Truncate(index));
    }

    /// Changes the members, if the configuration in force is that of the expected index
    /// ([`Status::configuration_index`]). The answer comes when the change is in the log; it is in force when
    /// the host is handed it.
    pub fn change_membership(
        &self,
        change: MembershipChange,
        expected_index: u64,
    ) -> Reply<Result<Proposed, MembershipError>> {
        let (sender, reply) = Reply::new(Err(MembershipError::NotLeader { leader: None }));
        self.send(GroupEvent::ChangeMembership(change, expected_index, sender));
        reply
    }

    /// Hands leadership to another voter, if this replica leads.
    pub fn transfer_leader(&self, to: ReplicaId) {
        self.send(GroupEvent::TransferLeader(to));
    }

    /// Starts an election now, if this replica may lead.
    pub fn campaign(&self) {
        self.send(GroupEvent::Campaign);
    }

    /// Where the replicas live from now on.
    pub fn update_peers(&self, peers: BTreeMap<ReplicaId, PeerAddress>) {
        self.send(GroupEvent::Peers(peers));
    }

    /// The host has taken over everything up to the index, so that it has room for more. To be told also of
    /// entries that are not applied yet, such as the pieces of a set.
    pub fn taken_over(&self, index: u64) {
        self.shared.taken_over.fetch_max(index, Ordering::AcqRel);
        if self.shared.waits_for_host.swap(false, Ordering::AcqRel) {
            self.send(GroupEvent::HostHasRoom);
        }
    }

    /// The entries that the host was handed, to be read again.
    #[must_use]
    pub fn log(&self) -> Arc<dyn CommittedLog> {
        self.shared.log.clone()
    }

    /// The snapshot that [`crate::GroupHost::make_snapshot`] asked for; `None` if it could not be made.
    pub fn snapshot_ready(&self, snapshot: Option<SnapshotDescription>) {
        self.send(GroupEvent::SnapshotReady(snapshot));
    }

    /// The snapshot that [`crate::GroupHost::install_snapshot`] offered is staged, or could not be.
    pub fn snapshot_installed(&self, result: Result<Installed, SnapshotRefused>) {
        self.send(GroupEvent::SnapshotInstalled(result));
    }

    /// The state of the group as of its last round; costs no visit to the worker.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.shared.status.read().clone()
    }

    /// Ends the group in this process; its log stays.
    pub fn stop(&self) -> Reply<Result<(), Stopped>> {
        self.end(false)
    }

    /// Ends the group in this process and removes its log, durably. Its replica id must not come back.
    pub fn remove(&self) -> Reply<Result<(), Stopped>> {
        self.end(true)
    }

    fn end(&self, remove: bool) -> Reply<Result<(), Stopped>> {
        let (done, reply) = Reply::new(Err(Stopped));
        self.send(GroupEvent::Stop { remove, done });
        reply
    }

    /// Such events are refused only by a worker that has ended, to which they no longer matter.
    fn send(&self, event: GroupEvent) {
        drop(self.inbox.push(Event::Group(self.group, event)));
    }
}
