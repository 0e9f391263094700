//! What this coordinator knows to have changed: answers that it can give up without asking anybody.

use std::collections::HashMap;

use common::PartitionId;
use parking_lot::RwLock;

/// Log indexes of the newest writes that went through this coordinator. Of others it knows nothing.
#[derive(Default)]
pub(super) struct Changes {
    newest: RwLock<HashMap<PartitionId, u64>>,
}

impl Changes {
    /// A partition was written at a log index.
    pub(super) fn note(&self, partition: PartitionId, index: u64) {
        if self.newest.read().get(&partition).is_some_and(|newest| *newest >= index) {
            return;
        }
        let mut newest = self.newest.write();
        let newest = newest.entry(partition).or_default();
        *newest = index.max(*newest);
    }

    /// Whether any of these states is older than a write.
    pub(super) fn since(&self, states: &[(PartitionId, u64)]) -> bool {
        let newest = self.newest.read();
        states.iter().any(|(partition, index)| newest.get(partition).is_some_and(|newest| newest > index))
    }

    /// Forgets partitions that are gone.
    pub(super) fn retain(&self, exists: impl Fn(PartitionId) -> bool) {
        self.newest.write().retain(|partition, _| exists(*partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_older_than_the_newest_write_of_their_partition_only() {
        let changes = Changes::default();
        let (one, two) = (PartitionId(1), PartitionId(2));
        assert!(!changes.since(&[(one, 1)]));
        changes.note(one, 5);
        changes.note(one, 4);
        assert!(changes.since(&[(two, 9), (one, 4)]));
        assert!(!changes.since(&[(two, 1), (one, 5)]), "the write itself is in this state");
        changes.retain(|partition| partition == two);
        assert!(!changes.since(&[(one, 4)]));
    }
}
