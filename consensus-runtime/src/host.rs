//! What a group needs from its partition.

use std::collections::BTreeMap;

use common::{NodeId, PartitionId, ReplicaId};
use consensus::{AppliedConfiguration, Committed, Configuration, RoleChange, SnapshotOffer, SnapshotRequest};
use serde::{Deserialize, Serialize};

/// Where a replica lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerAddress {
    /// The node.
    pub node: NodeId,
    /// Its address, as the transport understands it.
    pub address: String,
}

/// What a group is started with.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// The group.
    pub group: PartitionId,
    /// This replica.
    pub replica: ReplicaId,
    /// Where the replicas live; this one may be left out.
    pub peers: BTreeMap<ReplicaId, PeerAddress>,
    /// The voters of a new group, equal on all of them. `None`: this replica joins a group and waits for its
    /// first snapshot. Of no account for a replica that is in the log already. Must be `None` for a replica that
    /// may ever have run before: one that lost its log has forgotten its votes, and comes back only under a new id.
    pub initial: Option<Configuration>,
    /// The index that the state machine stands at; 0 if it is new.
    pub applied: u64,
    /// Whether to start an election at once instead of waiting for a time-out.
    pub campaign_now: bool,
}

/// A staged snapshot: files of a new generation, complete and synced, not yet in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Index of the last entry that its state has applied; at least the offered one.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The members as of that entry.
    pub configuration: AppliedConfiguration,
    /// Number of the generation that the files belong to.
    pub generation: u64,
}

/// An offered snapshot could not be staged. The leader is told, and offers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRefused;

/// What became of a staged snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagedOutcome {
    /// The log has switched to it, durably. Every later entry lands on the new generation.
    Adopted {
        /// The generation.
        generation: u64,
        /// The index of its state.
        index: u64,
    },
    /// It was overtaken by the log: the old generation stays, the staged one is to be deleted.
    Discarded {
        /// The generation.
        generation: u64,
    },
}

/// A partition, as its group sees it. Called on the worker thread, which all groups share: every call must
/// return at once, typically after putting its argument into the partition's own queue.
pub trait GroupHost: Send {
    /// These entries are to be applied, in order; none is told twice while the group runs. After a restart
    /// they begin after [`GroupSpec::applied`]. Report progress through [`crate::GroupHandle::applied`], and before
    /// through [`crate::GroupHandle::taken_over`] if there is room for more by then; without either no more are
    /// handed out, see [`crate::RuntimeOptions::backlog_bytes_max`].
    fn committed(&mut self, entries: Vec<Committed>);

    /// This replica's part in the group has changed.
    fn role_changed(&mut self, change: RoleChange);

    /// A follower needs a snapshot. Make one in the background, at an applied index of at least the requested
    /// one, and call [`crate::GroupHandle::snapshot_ready`].
    fn make_snapshot(&mut self, request: SnapshotRequest);

    /// The leader offers a snapshot that this replica needs. Stage it in the background: fetch the file from
    /// the sender's node, as a new generation, and call [`crate::GroupHandle::snapshot_installed`]. No other
    /// offer is passed on until then.
    fn install_snapshot(&mut self, offer: SnapshotOffer);

    /// The staged snapshot was switched to, or is no longer wanted.
    fn snapshot_staged(&mut self, outcome: StagedOutcome);

    /// The shared log would like this group to be truncated as far as its state allows, because its old entries
    /// keep files from being reused. To ignore it costs disk space.
    fn truncation_wanted(&mut self) {}

    /// The group has failed and is no longer run: its log is damaged or contradicts what its leader says. The
    /// replica neither votes nor acknowledges any more and has to be rebuilt under a new id.
    fn failed(&mut self, reason: String);
}
