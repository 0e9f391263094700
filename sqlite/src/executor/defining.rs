//! Changing the schema between changes of rows. A batch in which that is done has no other request.

use std::sync::Arc;

use common::Error;
use common::protocol::{SchemaStep, StatementResult, WorkItem};

use super::Executor;
use crate::budget::{Budget, Watch};
use crate::definition::define;
use crate::error::Result;
use crate::layout::Layouts;

impl Executor {
    /// Fails if a request that changes the schema would share its batch: what others have changed before could not be put
    /// back where the request ends the whole transaction, and what comes later would rest on a schema that nobody knows.
    pub(super) fn check_is_alone(&self, work: &[WorkItem]) -> Result<()> {
        let defines = work.iter().any(|item| matches!(item, WorkItem::Schema(_)));
        if self.defined || (defines && self.effect_count() > 0) {
            let text = "a request that changes the schema shares its batch with another one";
            return Err(Error::internal(text).into());
        }
        Ok(())
    }

    /// Takes a step of a change of the schema.
    pub(super) fn define(&mut self, step: &SchemaStep, budget: &Budget<'_>) -> Result<StatementResult> {
        // The step may rename or drop tables that have counters.
        self.capture_sequences()?;
        self.defined = true;
        self.capture.pause(true);
        let done = {
            let _watch = Watch::begin(self.connection.raw(), budget);
            define(&self.connection, &step.statements, self.enforces_foreign_keys, |_| Ok(()))
        };
        self.capture.pause(false);
        done?;
        let layouts = Arc::new(Layouts::read(self.connection.raw())?);
        self.capture.change_schema(step.clone(), layouts);
        // What the step has made of the counters, it makes of them everywhere.
        self.sequences = self.read_sequences()?;
        Ok(StatementResult::default())
    }

    /// A request of the batch was undone, and what it made of the schema with it.
    pub(super) fn undo_definition(&mut self) -> Result<()> {
        if self.defined {
            self.forget_definition();
            self.follow_schema()?;
        }
        Ok(())
    }

    /// The schema is what it was before the batch. SQLite's version of it is used again for another one, so nothing may
    /// be kept that rests on it.
    pub(super) fn forget_definition(&mut self) {
        if std::mem::take(&mut self.defined) {
            self.connection.forget_statements();
            self.capture.follow(Arc::default());
        }
    }
}
