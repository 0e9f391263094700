//! The outcome: the changed rows become work for the buckets where they lie.

use std::collections::HashMap;

use common::Result;
use common::entry::Effects;

use super::Computation;
use crate::access::PartitionAccess;
use crate::sql::entries::Entries;
use crate::sql::write::{Combine, Pending};
use crate::sql::{images, sequences};

impl<A: PartitionAccess> Computation<'_, A> {
    /// The work that the changes come to.
    pub(super) async fn pending(
        mut self,
        effects: Effects,
        counters: &HashMap<String, i64>,
    ) -> Result<Pending> {
        let counted = self.counted_beyond(&effects, counters);
        self.release_unused(&effects, counters).await;
        let entries = Entries::of_changes(self.planner, self.access, &effects).await?;
        let mut routed = images::route(self.planner, effects, entries)?;
        for (table, counter) in counted {
            if let Some((change, proof)) = sequences::advance(self.access, &table, counter).await? {
                routed.images.push(0, sequences::TABLE, change);
                self.known.proofs.extend(proof);
            }
        }
        let mut unready = Vec::new();
        for changed in routed.tables {
            let allocated = self.allocated.get(&changed.table.name);
            let end = allocated.map_or(i64::MIN, |(first, count)| first.saturating_add_unsigned(*count));
            // Rowids below are allocated, or lower than allocated ones.
            if let Some(greatest) = changed.greatest_new_rowid.filter(|greatest| *greatest >= end)
                && !self.counts_itself(&changed.table.name)
            {
                self.access.rowids_set(&changed.table.name, greatest).await?;
            }
            if changed.table.lost_columns || changed.table.global_indexes.iter().any(|index| index.building) {
                unready.push((changed.table, changed.changed));
            }
        }
        let allocated: Vec<(String, i64, u64)> = self
            .allocated
            .iter()
            .filter(|(table, _)| !self.counts_itself(table))
            .map(|(table, (first, count))| (table.clone(), *first, *count))
            .collect();
        Ok(Pending {
            work: routed.images.into_work().collect(),
            proofs: self.known.proofs,
            combine: Combine::Known(Box::default()),
            allocated,
            computed: true,
            copies: false,
            meets_rows: self.footprint.meets_rows,
            unready,
            greatest_rowid: None,
        })
    }
}
