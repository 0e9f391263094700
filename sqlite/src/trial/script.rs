//! Trying statements of which some change the schema: what they change is told apart by the schema that it was
//! changed under.

use std::collections::HashMap;
use std::sync::Arc;

use common::Error;
use common::entry::{Change, Effect, Effects};
use common::protocol::{Statement, StatementResult};

use super::{ForeignKeys, Refused, Trial, TrialDatabase};
use crate::binding::values_of;
use crate::budget::{Budget, Watch};
use crate::capture::Capture;
use crate::error::Result;
use crate::executor::answer_captured;
use crate::layout::Layouts;

/// What is tried for a statement.
#[derive(Clone, Debug)]
pub enum TrialStep {
    /// It reads or changes rows.
    Statement(Statement),
    /// It says whether foreign keys wait for the end of the transaction.
    DeferForeignKeys(bool),
    /// What it answers is known.
    Answered(StatementResult),
    /// It changes the schema.
    Definition {
        /// Checked DDL; nothing if it has no effect on what is tried here.
        sql: Option<String>,
        /// Tables whose rows are asked for as they are then.
        reads: Vec<String>,
    },
}

impl From<Statement> for TrialStep {
    fn from(statement: Statement) -> TrialStep {
        TrialStep::Statement(statement)
    }
}

/// What changed up to a change of the schema.
#[derive(Debug, Default)]
pub struct Segment {
    /// The rows that changed before it, and by it in other tables: the tables have the names and columns of before.
    pub effects: Effects,
    /// The rows that the tables which were asked for have after it, as rows that are inserted.
    pub rows: Effects,
}

/// What became of a script that was tried.
#[derive(Debug)]
pub struct ScriptTrial {
    /// The answers of its statements, or the error of one of them, with its number.
    pub outcome: Result<Vec<StatementResult>>,
    /// What an error says of a transaction.
    pub refused: Refused,
    /// One for each change of the schema.
    pub segments: Vec<Segment>,
    /// The rows that changed after the last of these.
    pub rest: Effects,
    /// AUTOINCREMENT's counters then, by table.
    pub counters: HashMap<String, i64>,
}

impl TrialDatabase {
    /// Runs a script as one transaction, and undoes it. All rows that it may look at must be here.
    pub fn attempt_script(&mut self, script: &[TrialStep], budget: &Budget<'_>) -> Result<ScriptTrial> {
        let mut segments = Vec::new();
        let checked = ForeignKeys::Checked;
        let trial = self.undone(checked, |database| database.run(script, checked, budget, &mut segments))?;
        // The tables are again what they were.
        self.is_changed = true;
        let Trial { outcome, refused, effects: rest, counters } = trial;
        Ok(ScriptTrial { outcome, refused, segments, rest, counters })
    }

    pub(super) fn run(
        &mut self,
        steps: &[TrialStep],
        foreign_keys: ForeignKeys,
        budget: &Budget<'_>,
        segments: &mut Vec<Segment>,
    ) -> Result<Vec<StatementResult>> {
        let mut results = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            let result = match step {
                TrialStep::Statement(statement) => {
                    let answered = answer_captured(&self.connection, &mut self.capture, statement, budget);
                    if answered.as_ref().is_ok_and(|result| !result.is_read) {
                        self.connection.counts().note_change();
                    }
                    answered
                }
                TrialStep::DeferForeignKeys(deferred) => self.defer_foreign_keys(*deferred, foreign_keys),
                TrialStep::Answered(result) => Ok(result.clone()),
                TrialStep::Definition { sql, reads } => {
                    let segment = self.segment(sql.as_deref(), reads, budget);
                    segment.map(|segment| {
                        segments.push(segment);
                        StatementResult::default()
                    })
                }
            };
            results.push(result.map_err(|failure| failure.at_statement(index))?);
        }
        Ok(results)
    }

    fn defer_foreign_keys(&self, deferred: bool, foreign_keys: ForeignKeys) -> Result<StatementResult> {
        // Where they are not checked they are deferred from the beginning.
        if foreign_keys == ForeignKeys::Checked {
            let setting = if deferred { "ON" } else { "OFF" };
            // SQLite takes the setting over while it compiles the text.
            self.connection.raw().execute_batch(&format!("PRAGMA defer_foreign_keys={setting}"))?;
        }
        Ok(StatementResult { is_read: true, ..StatementResult::default() })
    }

    fn segment(&mut self, sql: Option<&str>, reads: &[String], budget: &Budget<'_>) -> Result<Segment> {
        if let Some(sql) = sql {
            let _watch = Watch::begin(self.connection.raw(), budget);
            self.connection.raw().execute_batch(sql)?;
        }
        self.capture.check()?;
        let effects = self.capture.take();
        self.capture.set_layouts(Arc::new(Layouts::read(self.connection.raw())?));
        let mut rows = Effects::default();
        for name in reads {
            self.read_into(name, &mut rows)?;
        }
        Ok(Segment { effects, rows })
    }

    /// Appends all rows of a table.
    fn read_into(&self, name: &str, rows: &mut Effects) -> Result<()> {
        let layouts = Capture::layouts(&self.capture);
        let layout = layouts.get(name).ok_or_else(|| Error::internal("a table to be read is not tried"))?;
        let table = u16::try_from(rows.tables.len()).unwrap_or(u16::MAX);
        rows.tables.push(name.to_owned());
        let width = layout.key_width();
        let mut statement = self.connection.raw().prepare(&layout.scan)?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let key = values_of(row, 0..width)?;
            let row = values_of(row, width..width + layout.stored.len())?;
            rows.rows.push(Effect { table, change: Change::Insert { key, row } });
        }
        Ok(())
    }
}
