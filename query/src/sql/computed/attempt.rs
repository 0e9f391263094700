//! Trying: the statements run in the workspace, on a thread where they hold nobody up, and are undone.

use std::sync::Arc;

use common::entry::Effects;
use common::{Error, Result};
use sqlite::{ForeignKeys, Trial, TrialDatabase};

use super::Computation;
use crate::access::PartitionAccess;
use crate::sql::gather::budget;
use crate::sql::waiting::Waiting;

impl<A: PartitionAccess> Computation<'_, A> {
    pub(super) async fn attempt(&mut self, foreign_keys: ForeignKeys) -> Result<Trial> {
        let (steps, max_rows) = (Arc::clone(&self.steps), self.limits.max_rows);
        let waiting = Waiting::new(self.access.workspace(), self.access.deadline());
        let watch = waiting.watch();
        let trial = self
            .work(move |workspace| {
                let interrupted = || watch.is_over();
                Ok(workspace.attempt(&steps, foreign_keys, &budget(max_rows, &interrupted))?)
            })
            .await;
        waiting.answered();
        trial
    }

    /// Does work on the workspace where it does not hold up others.
    pub(super) async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut TrialDatabase) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut workspace = self.take_workspace()?;
        let (workspace, done) = self
            .access
            .compute(move || {
                let done = work(&mut workspace);
                (workspace, done)
            })
            .await;
        self.workspace = Some(workspace);
        done
    }

    pub(super) fn take_workspace(&mut self) -> Result<TrialDatabase> {
        self.workspace.take().ok_or_else(|| Error::internal("a workspace was lost"))
    }

    /// The rows that the statements try to store, refused ones too.
    pub(super) async fn attempted_rows(&mut self) -> Result<Effects> {
        let (steps, max_rows) = (Arc::clone(&self.steps), self.limits.max_rows);
        let written =
            self.footprint.tables.iter().filter(|table| self.footprint.writes.contains(&table.name));
        let written: Vec<sqlite::schema::Table> = written.map(|table| table.definition().clone()).collect();
        let waiting = Waiting::new(self.access.workspace(), self.access.deadline());
        let watch = waiting.watch();
        let rows = self
            .work(move |workspace| {
                let interrupted = || watch.is_over();
                Ok(workspace.attempted_rows(&steps, &written, &budget(max_rows, &interrupted))?)
            })
            .await;
        waiting.answered();
        rows
    }
}
