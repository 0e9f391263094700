//! Snapshots. A group moves only their descriptions; the files travel outside of it.

use bytes::{BufMut, Bytes, BytesMut};
use common::ReplicaId;
use raft::eraftpb;

use crate::configuration::{AppliedConfiguration, Configuration};

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotDescription {
    /// Index of the last entry that its state has applied.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The members as of that entry.
    pub configuration: AppliedConfiguration,
    /// The host's own words, small: what a receiver needs to fetch the file.
    pub bytes: Bytes,
}

/// A snapshot that a leader offers to this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// The leader.
    pub from: ReplicaId,
    /// What it offers.
    pub description: SnapshotDescription,
}

/// A follower needs entries that the log no longer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The follower.
    pub to: ReplicaId,
    /// The snapshot must hold at least this index.
    pub index_min: u64,
}

/// Bytes of the configuration's index, which raft's own metadata has no field for.
const PREFIX: usize = size_of::<u64>();

impl SnapshotDescription {
    pub(crate) fn to_raft(&self) -> eraftpb::Snapshot {
        let mut data = BytesMut::with_capacity(PREFIX + self.bytes.len());
        data.put_u64_le(self.configuration.index);
        data.put_slice(&self.bytes);
        let mut snapshot = eraftpb::Snapshot { data: data.freeze(), ..Default::default() };
        let metadata = snapshot.mut_metadata();
        metadata.index = self.index;
        metadata.term = self.term;
        metadata.set_conf_state(self.configuration.configuration.to_raft());
        snapshot
    }

    /// `None` if the bytes in front of the host's are missing.
    pub(crate) fn from_raft(snapshot: &eraftpb::Snapshot) -> Option<SnapshotDescription> {
        let index = snapshot.data.first_chunk::<PREFIX>()?;
        let metadata = snapshot.get_metadata();
        Some(SnapshotDescription {
            index: metadata.index,
            term: metadata.term,
            configuration: AppliedConfiguration {
                index: u64::from_le_bytes(*index),
                configuration: Configuration::from_raft(metadata.get_conf_state()),
            },
            bytes: snapshot.data.slice(PREFIX..),
        })
    }
}
