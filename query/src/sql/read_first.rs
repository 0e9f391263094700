//! What a computed write reads before the rest, as [`super::ship`] does for statements that only read: tables that
//! conditions make small, whose values tell which rows of the others matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::row::RowBlock;
use common::{Result, Value};
use sqlite::TrialDatabase;

use super::proven::Proofs;
use super::{proven, ship};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::{Source, Step};
use crate::table::Table;

/// What is read before the rest, for the values that the rest is compared with.
pub(super) struct First {
    /// By number of source.
    pub(super) rows: BTreeMap<usize, Vec<RowBlock>>,
    /// What the rows are of: table and columns, by number of source.
    sources: Vec<(Arc<Table>, Vec<usize>)>,
    pub(super) proofs: Proofs,
}

impl First {
    /// Reads it, and narrows the other sources to rows that match.
    pub(super) async fn read(
        planner: &Planner,
        access: &impl PartitionAccess,
        steps: &[Step],
        sources: &mut [(Source, Vec<Value>)],
    ) -> Result<First> {
        let proving = proven::Proving::new(access);
        let mut narrowed: Vec<Source> = sources.iter().map(|(source, _)| source.clone()).collect();
        let values = sources.first().map(|(_, values)| values.clone()).unwrap_or_default();
        let rows = ship::first(planner, &proving, &mut narrowed, steps, &values).await?;
        for ((source, _), narrowed) in sources.iter_mut().zip(narrowed) {
            *source = narrowed;
        }
        let of = |(source, _): &(Source, Vec<Value>)| (Arc::clone(&source.table), source.columns.clone());
        Ok(First { rows, sources: sources.iter().map(of).collect(), proofs: proving.proofs() })
    }

    pub(super) fn add_to(&self, workspace: &mut TrialDatabase) -> Result<()> {
        for (number, blocks) in &self.rows {
            let (table, columns) = &self.sources[*number];
            for block in blocks {
                workspace.add(&proven::gathered(table, columns), block)?;
            }
        }
        Ok(())
    }
}
