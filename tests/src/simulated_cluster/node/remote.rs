//! What a coordinator asks of a replica while partitions are moved and replaced.

use common::entry::{Change, Effects};
use common::protocol::ReplicaReport;
use common::replacing::{ImagesHeader, ReplacingReply, RowKey};
use consensus::{MembershipStep, Role};
use sqlite::Flow;

use super::{Broken, Node, Sound, broken};

/// The whole state of a replica at a moment.
#[derive(Debug)]
pub struct PinnedState {
    /// Log index of the newest change in it.
    pub index: u64,
    /// The schema.
    pub header: ImagesHeader,
    /// Its place in the map.
    pub epoch: u64,
    /// All rows.
    pub images: Vec<Effects>,
}

impl PinnedState {
    /// Rows by their keys: those that are there as insertions, others as deletions, in the order of the keys.
    #[must_use]
    pub fn by_key(&self, keys: &[RowKey]) -> Effects {
        let mut found = Effects::default();
        for wanted in keys {
            let known = found.tables.iter().position(|table| *table == wanted.table);
            let table = known.unwrap_or_else(|| {
                found.tables.push(wanted.table.clone());
                found.tables.len() - 1
            });
            let change = self
                .find(wanted)
                .unwrap_or_else(|| Change::Delete { key: wanted.key.clone(), old_row: None });
            let table = u16::try_from(table).expect("few tables");
            found.rows.push(common::entry::Effect { table, change });
        }
        found
    }

    fn find(&self, wanted: &RowKey) -> Option<Change> {
        let of_table = self.images.iter().filter(|images| images.tables[0] == wanted.table);
        of_table.flat_map(|images| &images.rows).map(|effect| &effect.change).find_map(
            |change| match change {
                Change::Insert { key, .. } if *key == wanted.key => Some(change.clone()),
                _ => None,
            },
        )
    }
}

impl Node {
    /// What this replica's file holds.
    pub(super) fn state(&mut self) -> Result<PinnedState, Broken> {
        let epoch = self.epoch();
        let sound = self.sound.as_mut().ok_or_else(|| Broken("no sound file".into()))?;
        let snapshot = sound.reader.snapshot().map_err(|error| broken("open a snapshot")(&error))?;
        let broken = broken("read a snapshot");
        let mut images = Vec::new();
        let hand_on = |effects| {
            images.push(effects);
            Flow::Continue
        };
        snapshot.images(hand_on).map_err(|error| broken(&error))?;
        let index = snapshot.system().position().map_err(|error| broken(&error))?.index;
        let schema_version = snapshot.system().schema_version().map_err(|error| broken(&error))?;
        let statements = snapshot.definition().map_err(|error| broken(&error))?;
        Ok(PinnedState { index, header: ImagesHeader { schema_version, statements }, epoch, images })
    }

    /// The keys of rows that have changed, as far as this replica knows.
    pub fn changed_rows(&mut self, since: Option<u64>) -> ReplacingReply {
        let (applied, keys) = match &mut self.sound {
            Some(Sound { machine, .. }) => (machine.state().position.index, machine.changed_rows(since)),
            None => (0, None),
        };
        ReplacingReply::ChangedRows { applied, keys }
    }

    /// Whether nobody will need a decision of its log any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.sound.as_ref().is_some_and(|sound| sound.machine.is_settled())
    }

    /// Its place in the map.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        let ownership = self.sound.as_ref().and_then(|sound| sound.machine.state().ownership.as_ref());
        ownership.map_or(0, |ownership| ownership.epoch)
    }

    pub(super) fn change_members(&mut self, step: MembershipStep, index: u64) {
        // Whoever asked looks at the members again.
        let _ = self.group.propose_membership(&step.into(), index);
    }

    pub(super) fn hand_over(&mut self, to: common::ReplicaId) {
        let status = self.group.status();
        match status.leader {
            None if to == status.id => self.group.campaign(),
            // It does not lead any more.
            _ => drop(self.group.transfer_leader(to)),
        }
    }

    /// How it runs.
    #[must_use]
    pub fn report(&self) -> ReplicaReport {
        let status = self.group.status();
        let state = self.sound.as_ref().map(|sound| sound.machine.state());
        let matched = |id| status.peers.iter().find(|peer| peer.replica == id).map_or(0, |peer| peer.matched);
        ReplicaReport {
            partition: self.setup.partition,
            replica: self.setup.replica,
            leader: status.leader,
            term: status.term,
            applied: state.map_or(0, |state| state.position.index),
            committed: status.commit,
            schema_version: state.map_or(0, |state| state.schema_version),
            rows: 0,
            table_rows: Vec::new(),
            bytes: 0,
            configuration_index: status.configuration_index,
            voters: status.configuration.voters.iter().copied().collect(),
            learners: status.configuration.learners.iter().map(|id| (*id, matched(*id))).collect(),
            in_doubt: 0,
            writable: status.role == Role::Leader && self.is_writable(),
            digest: None,
            quarantined: None,
            used_bytes: 0,
            requests: 0,
        }
    }
}
