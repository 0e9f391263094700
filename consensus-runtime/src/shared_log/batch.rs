//! What one round writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{PartitionId, ReplicaId};
use consensus::{
    AppliedConfiguration, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Configuration, EntryKind, HardState, LogEntry,
    LogStart, Persist,
};
use parking_lot::{Mutex, RwLock};
use raft_engine::Command;

use super::record::{self, GroupRecord, GroupState, HARD_STATE_KEY, RECORD_KEY, StoredEntry};
use super::tail::Tail;
use super::{LogWriteError, region, write_error};

/// Changes to any number of groups, made in the order in which they were added.
#[derive(Debug, Default)]
pub struct LogBatch {
    changes: Vec<(PartitionId, Change)>,
}

#[derive(Debug)]
enum Change {
    Create { replica: ReplicaId, initial: Option<Configuration> },
    Remove,
    Truncate(LogStart),
    Install { generation: u64, start: LogStart },
    HardState(HardState),
    Append(Vec<LogEntry>),
}

type Groups = RwLock<BTreeMap<PartitionId, Arc<Mutex<GroupState>>>>;

impl LogBatch {
    /// Whether nothing would be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many entries it appends, and the bytes of their data.
    #[must_use]
    pub fn entries(&self) -> (u64, u64) {
        let appended = self.changes.iter().filter_map(|(_, change)| match change {
            Change::Append(entries) => Some(entries),
            _ => None,
        });
        appended.flatten().fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.data.len() as u64))
    }

    /// Adds a group: with the voters of a new group, or empty, waiting for a snapshot.
    pub fn create(&mut self, group: PartitionId, replica: ReplicaId, initial: Option<Configuration>) {
        self.changes.push((group, Change::Create { replica, initial }));
    }

    /// Removes a group with everything that the log holds of it.
    pub fn remove(&mut self, group: PartitionId) {
        self.changes.push((group, Change::Remove));
    }

    /// Lets a group's log begin at the start, dropping all entries up to it.
    pub fn truncate(&mut self, group: PartitionId, start: LogStart) {
        self.changes.push((group, Change::Truncate(start)));
    }

    /// What a group wants persisted. If it includes a snapshot, the state that was staged as `generation`
    /// becomes the group's state.
    pub fn persist(&mut self, group: PartitionId, persist: Persist, generation: u64) {
        let Persist { snapshot, entries, hard_state, .. } = persist;
        if let Some(snapshot) = snapshot {
            let start = LogStart {
                index: snapshot.index,
                term: snapshot.term,
                configuration: snapshot.configuration,
            };
            self.changes.push((group, Change::Install { generation, start }));
        }
        if let Some(hard_state) = hard_state {
            self.changes.push((group, Change::HardState(hard_state)));
        }
        if !entries.is_empty() {
            self.changes.push((group, Change::Append(entries)));
        }
    }

    /// Makes the changes in memory and adds them to the engine's batch. A write that then fails ends the process,
    /// so the two need not be undone.
    pub(super) fn apply(
        self,
        groups: &Groups,
        encoded: &mut raft_engine::LogBatch,
    ) -> Result<(), LogWriteError> {
        for (group, change) in self.changes {
            match change {
                Change::Create { replica, initial } => {
                    let state = new_group(replica, initial);
                    put_record(encoded, group, &state.record)?;
                    put_hard_state(encoded, group, state.hard_state)?;
                    let before = groups.write().insert(group, Arc::new(Mutex::new(state)));
                    assert!(before.is_none(), "group {group} is in the log already");
                }
                Change::Remove => {
                    groups.write().remove(&group);
                    encoded.add_command(region(group), Command::Clean);
                }
                change => {
                    let state = groups.read().get(&group).cloned();
                    let state =
                        state.ok_or_else(|| LogWriteError(format!("group {group} is not in the log")))?;
                    state.lock().change(group, change, encoded)?;
                }
            }
        }
        Ok(())
    }
}

/// The log of a group before its first entry.
fn new_group(replica: ReplicaId, initial: Option<Configuration>) -> GroupState {
    let (start, hard_state) = match initial {
        Some(configuration) => (
            LogStart {
                index: BOOTSTRAP_INDEX,
                term: BOOTSTRAP_TERM,
                configuration: AppliedConfiguration { index: BOOTSTRAP_INDEX, configuration },
            },
            HardState { term: BOOTSTRAP_TERM, vote: 0, commit: BOOTSTRAP_INDEX },
        ),
        None => (LogStart::default(), HardState::default()),
    };
    let tail = Tail::empty(start.index);
    let record = GroupRecord { replica, generation: 0, start, configuration_entries: Vec::new() };
    GroupState { record, hard_state, tail }
}

impl GroupState {
    fn change(
        &mut self,
        group: PartitionId,
        change: Change,
        encoded: &mut raft_engine::LogBatch,
    ) -> Result<(), LogWriteError> {
        match change {
            Change::Create { .. } | Change::Remove => unreachable!("these change the set of groups"),
            Change::HardState(hard_state) => {
                self.hard_state = hard_state;
                put_hard_state(encoded, group, hard_state)
            }
            Change::Append(entries) => self.append(group, &entries, encoded),
            Change::Truncate(start) => {
                encoded.add_command(region(group), Command::Compact { index: start.index + 1 });
                self.tail.truncate(start.index);
                self.record.configuration_entries.retain(|index| *index > start.index);
                self.record.start = start;
                put_record(encoded, group, &self.record)
            }
            Change::Install { generation, start } => {
                encoded.add_command(region(group), Command::Compact { index: self.tail.last() + 1 });
                self.tail = Tail::empty(start.index);
                self.record.configuration_entries.clear();
                self.record.generation = generation;
                self.record.start = start;
                put_record(encoded, group, &self.record)
            }
        }
    }

    fn append(
        &mut self,
        group: PartitionId,
        entries: &[LogEntry],
        encoded: &mut raft_engine::LogBatch,
    ) -> Result<(), LogWriteError> {
        let first = entries[0].index;
        assert!(
            first > self.record.start.index && first <= self.tail.last() + 1,
            "entry {first} does not continue the log of group {group}, which ends at {}",
            self.tail.last()
        );
        let stored: Vec<_> = entries.iter().map(record::encode).collect();
        encoded.add_entries::<StoredEntry>(region(group), &stored).map_err(write_error)?;
        self.tail.append(entries);
        let changes = entries.iter().filter(|entry| entry.kind == EntryKind::Configuration);
        let changes: Vec<u64> = changes.map(|entry| entry.index).collect();
        let known = &mut self.record.configuration_entries;
        let before = known.len();
        known.retain(|index| *index < first);
        if known.len() == before && changes.is_empty() {
            return Ok(());
        }
        known.extend(changes);
        // In one batch with the entries themselves: a membership change can never be overlooked.
        put_record(encoded, group, &self.record)
    }
}

fn put_record(
    encoded: &mut raft_engine::LogBatch,
    group: PartitionId,
    record: &GroupRecord,
) -> Result<(), LogWriteError> {
    let bytes = postcard::to_stdvec(record).map_err(|error| LogWriteError(error.to_string()))?;
    encoded.put(region(group), RECORD_KEY.to_vec(), bytes).map_err(write_error)
}

fn put_hard_state(
    encoded: &mut raft_engine::LogBatch,
    group: PartitionId,
    state: HardState,
) -> Result<(), LogWriteError> {
    let bytes = postcard::to_stdvec(&state).map_err(|error| LogWriteError(error.to_string()))?;
    encoded.put(region(group), HARD_STATE_KEY.to_vec(), bytes).map_err(write_error)
}
