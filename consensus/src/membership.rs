//! Which configuration was in force at which index.

use protobuf::Message as _;
use raft::eraftpb::ConfChangeV2;
use raft::storage::MemStorage;
use raft::{Config, RawNode};

use crate::configuration::{AppliedConfiguration, Configuration};
use crate::errors::{LogError, OpenError};
use crate::log::{EntryKind, LogView};

/// The configurations from the log's start up to the newest one handed out for apply, ascending by index.
/// Never empty.
pub(crate) struct ConfigurationHistory(Vec<AppliedConfiguration>);

impl ConfigurationHistory {
    pub(crate) fn from(first: AppliedConfiguration) -> ConfigurationHistory {
        ConfigurationHistory(vec![first])
    }

    /// The history up to a state machine's applied index, from the configuration at the log's start and the
    /// changes since. So the log alone knows it, whichever of its writes the state machine has lost.
    pub(crate) fn read<L: LogView>(view: &L, applied: u64) -> Result<ConfigurationHistory, OpenError> {
        let start = view.start();
        let mut history = ConfigurationHistory::from(start.configuration);
        let indexes = view.configuration_entries();
        for index in indexes.into_iter().filter(|index| (start.index + 1..=applied).contains(index)) {
            let entries = view.entries(index, index + 1, u64::MAX)?;
            let Some(entry) = entries.into_iter().find(|entry| entry.kind == EntryKind::Configuration) else {
                continue;
            };
            let change = decode(&entry.data)?;
            if let Some(configuration) = changed(&history.current().configuration, &change) {
                history.push(AppliedConfiguration { index, configuration });
            }
        }
        Ok(history)
    }

    pub(crate) fn current(&self) -> &AppliedConfiguration {
        self.0.last().expect("a history is never empty")
    }

    /// The configuration in force after the entry at that index.
    pub(crate) fn at(&self, index: u64) -> &AppliedConfiguration {
        let newer = self.0.partition_point(|configuration| configuration.index <= index);
        &self.0[newer.saturating_sub(1)]
    }

    pub(crate) fn push(&mut self, configuration: AppliedConfiguration) {
        self.0.push(configuration);
    }

    /// Forgets what was in force only before the index.
    pub(crate) fn truncate(&mut self, index: u64) {
        let newer = self.0.partition_point(|configuration| configuration.index <= index);
        self.0.drain(..newer.saturating_sub(1));
    }
}

/// Reads a configuration entry's content.
pub(crate) fn decode(data: &[u8]) -> Result<ConfChangeV2, LogError> {
    ConfChangeV2::parse_from_bytes(data).map_err(|error| LogError::Damaged(error.to_string()))
}

/// The configuration after a change; `None` if the change does not fit and is therefore ignored, as every
/// replica does. The library offers this only on a whole node, so a node without a log serves.
fn changed(before: &Configuration, change: &ConfChangeV2) -> Option<Configuration> {
    let store = MemStorage::new_with_conf_state(before.to_raft());
    let id = before.members().first()?.0;
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut node = RawNode::new(&Config::new(id), store, &logger).ok()?;
    node.apply_conf_change(change).ok().map(|state| Configuration::from_raft(&state))
}
