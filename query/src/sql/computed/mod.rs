//! Writes that no partition can decide alone: conflicts with rows elsewhere, subqueries, rows that move, foreign
//! keys, triggers, statements of a batch that read what earlier ones wrote.
//!
//! The rows that they look through are brought into a [`TrialDatabase`], and the client's own texts run there. What
//! they change says which other rows matter: these are looked up, and the texts run again, until nothing is
//! missing. Then the changed rows go to their buckets, with proofs of all that was read.

mod attempt;
mod begin;
mod outcome;
mod rowids;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::entry::{Change, Effects};
use common::protocol::StatementResult;
use common::{Error, ErrorCode, Result, Value};
use sqlite::{Failure, ForeignKeys, Refused, Trial, TrialDatabase, TrialStep};

use super::Limits;
use super::entries::Entries;
use super::lookups::{self, Finder, Known, Lookups, has_several_keys};
use super::write::{Pending, is_of_a_row};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::Footprint;
use crate::table::Table;

/// Rounds of looking up what is missing; a chain of rows that is longer is read as a whole.
const ROUNDS_MAX: usize = 24;

/// Rounds after which tables are read as a whole.
const ROUNDS_BY_KEY: usize = 12;

/// How the error begins that a value is not of its column's type.
const WRONG_TYPE: &str = "cannot store ";

/// A statement to be computed.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) step: TrialStep,
    pub(super) footprint: Footprint,
    /// Its parameters by number.
    pub(super) values: Vec<Value>,
}

/// Computes statements in order, as one: their answers, and the work that they come to.
pub(super) async fn prepare(
    planner: &Planner,
    access: &impl PartitionAccess,
    parts: Vec<Part>,
    limits: Limits,
) -> Result<(Vec<StatementResult>, Pending)> {
    let computation = Computation::begin(planner, access, parts, limits).await?;
    computation.finish().await
}

struct Computation<'a, A> {
    planner: &'a Planner,
    access: &'a A,
    limits: Limits,
    steps: Arc<[TrialStep]>,
    footprint: Footprint,
    /// Taken while work is done on another thread.
    workspace: Option<TrialDatabase>,
    /// Names of the tables that are looked through.
    scanned: BTreeSet<String>,
    known: Known,
    /// Rowids allocated by table: first and count.
    allocated: BTreeMap<String, (i64, u64)>,
    refused_before: RefusedBefore,
}

/// What attempts were refused for: where later ones are not, they may have met a row that stands in for others, and their
/// changes do not tell so.
#[derive(Clone, Copy, Debug, Default)]
struct RefusedBefore {
    /// Whether one was refused at all.
    at_all: bool,
    /// Whether it was for the type of a value.
    for_a_type: bool,
}

impl RefusedBefore {
    fn note(&mut self, failure: &Failure) {
        self.at_all = true;
        self.for_a_type |= matches!(failure, Failure::Refused(error) if is_of_a_type(error));
    }
}

/// Whether an error says that a value is not of its column's type.
fn is_of_a_type(error: &Error) -> bool {
    error.message.starts_with(WRONG_TYPE)
}

impl<A: PartitionAccess> Computation<'_, A> {
    /// The answers, and the work that the changes come to.
    async fn finish(mut self) -> Result<(Vec<StatementResult>, Pending)> {
        let trial = match self.settle().await {
            Ok(trial) => trial,
            Err(error) => {
                self.release().await;
                return Err(error);
            }
        };
        let Trial { outcome, refused, effects, counters } = trial;
        let results = match outcome {
            Ok(results) => results,
            Err(failure) => {
                self.release().await;
                return Err(of_transaction(self.access, failure.into(), refused));
            }
        };
        Ok((results, self.pending(effects, &counters).await?))
    }

    /// Tries the statements until they have met every row that matters.
    async fn settle(&mut self) -> Result<Trial> {
        let loosely =
            if self.footprint.checks_foreign_keys { ForeignKeys::Unchecked } else { ForeignKeys::Checked };
        let mut foreign_keys = loosely;
        for round in 0..ROUNDS_MAX {
            self.begin_rowids().await?;
            let trial = self.attempt(foreign_keys).await?;
            if let Err(failure) = &trial.outcome {
                self.refused_before.note(failure);
            }
            let lookups = self.lookups(&trial.effects, round).await?;
            if !lookups.is_empty() {
                foreign_keys = loosely;
                self.fetch(lookups).await?;
                continue;
            }
            let missing = self.rowids_missing(&trial);
            if !missing.is_empty() {
                foreign_keys = loosely;
                self.allocate(&missing).await?;
            } else if foreign_keys == ForeignKeys::Checked {
                let doubtful = match &trial.outcome {
                    Ok(_) => self.overlooked(round).await?,
                    Err(failure) => self.doubt(failure, round).await?,
                };
                match doubtful {
                    None => return Ok(trial),
                    Some(doubtful) if doubtful.is_empty() => {}
                    Some(doubtful) => self.fetch(doubtful).await?,
                }
                // A row whose parent is missing is refused before it shows what else it is about.
                foreign_keys = loosely;
            } else {
                foreign_keys = ForeignKeys::Checked;
            }
        }
        Err(Error::new(ErrorCode::SerializationFailure, "the rows that the statement needs kept changing")
            .with_hint("send it again"))
    }

    /// What may turn a refusal into another one, or into none, once it is known.
    async fn doubt(&mut self, failure: &Failure, round: usize) -> Result<Option<Lookups>> {
        let Failure::Refused(error) = failure else { return Ok(None) };
        if !is_of_a_row(error) {
            return Ok(None);
        }
        if !self.footprint.meets_rows {
            // A row before the one that is named may violate a constraint together with a row elsewhere.
            self.footprint.meets_rows = true;
            return Ok(Some(Lookups::default()));
        }
        if is_of_a_type(error) {
            return Ok(self.rows_met_before_types());
        }
        // The row that is refused may violate a constraint that is looked at earlier, with a row elsewhere.
        self.met_by_attempts(round).await
    }

    /// What may turn an answer into another one, once it is known.
    async fn overlooked(&mut self, round: usize) -> Result<Option<Lookups>> {
        if !self.footprint.meets_rows {
            return Ok(None);
        }
        if self.refused_before.for_a_type
            && let Some(whole) = self.rows_met_before_types()
        {
            return Ok(Some(whole));
        }
        match self.refused_before.at_all || self.may_leave_rows_out() {
            true => self.met_by_attempts(round).await,
            false => Ok(None),
        }
    }

    /// STRICT tables as a whole, as far as they are not known: their types are looked at after a conflict of the rowid, and
    /// before all others. Which rowid a row would have had is not known.
    fn rows_met_before_types(&self) -> Option<Lookups> {
        let mut lookups = Lookups::default();
        let written = self.footprint.tables.iter().filter(|table| {
            table.strict && table.rowid_alias.is_some() && self.footprint.writes.contains(&table.name)
        });
        written.for_each(|table| lookups.add_whole(&table.name, &self.known));
        (!lookups.is_empty()).then_some(lookups)
    }

    /// Whether a row that is left out for one of its keys, or changes another row instead, may have to be refused for
    /// another key.
    fn may_leave_rows_out(&self) -> bool {
        let written = |table: &&Arc<Table>| self.footprint.writes.contains(&table.name);
        self.footprint.tables.iter().filter(written).any(|table| has_several_keys(table))
    }

    /// What the rows make necessary that the statements try to store, those included that do not come to be.
    async fn met_by_attempts(&mut self, round: usize) -> Result<Option<Lookups>> {
        let attempted = self.attempted_rows().await?;
        let lookups = self.lookups(&attempted, round).await?;
        Ok((!lookups.is_empty()).then_some(lookups))
    }

    /// What the changes make necessary and is not here yet.
    async fn lookups(&mut self, effects: &Effects, round: usize) -> Result<Lookups> {
        let entries = match self.footprint.meets_rows {
            true => entries_of(self.planner, self.access, effects).await?,
            false => None,
        };
        let generated = self.generated();
        let finder = Finder { planner: self.planner, footprint: &self.footprint, generated };
        let mut lookups = finder.lookups(effects, entries, &mut self.known)?;
        if round >= ROUNDS_BY_KEY && !lookups.is_empty() {
            for table in &self.footprint.tables {
                lookups.add_whole(&table.name, &self.known);
            }
        }
        let workspace = self.workspace.as_ref().ok_or_else(|| Error::internal("a workspace was lost"))?;
        for effect in &effects.rows {
            let table = &effects.tables[usize::from(effect.table)];
            let (Change::Update { old_key, .. } | Change::Delete { key: old_key, .. }) = &effect.change
            else {
                continue;
            };
            if matches!(old_key.as_slice(), [Value::Integer(rowid)] if workspace.stand_in(table) == Some(*rowid))
            {
                lookups.add_whole(table, &self.known);
            }
        }
        Ok(lookups)
    }

    async fn fetch(&mut self, lookups: Lookups) -> Result<()> {
        let tables = self.counted_tables();
        self.work(move |workspace| {
            tables.iter().try_for_each(|table| Ok(workspace.end_rowids(table.definition())?))
        })
        .await?;
        let workspace = self.take_workspace()?;
        let fetched = lookups::fetch(self.planner, self.access, workspace, lookups, &mut self.known).await?;
        self.workspace = Some(fetched);
        Ok(())
    }
}

/// The computed entries of the rows that change in global indexes; `None` if one is no row of its table: it was refused.
async fn entries_of(
    planner: &Planner,
    access: &impl PartitionAccess,
    effects: &Effects,
) -> Result<Option<Entries>> {
    match Entries::of_changes(planner, access, effects).await {
        Ok(entries) => Ok(Some(entries)),
        Err(error)
            if is_of_a_row(&error)
                || error.code == ErrorCode::SqlError
                || error.message.starts_with(WRONG_TYPE) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The error of statements as the transaction that they may belong to has to take it.
pub(super) fn of_transaction(access: &impl PartitionAccess, error: Error, refused: Refused) -> Error {
    match refused {
        Refused::AtCommit if access.commits_later() => Error::not_supported(
            "a deferred foreign key may be violated between the requests of a transaction in a database of one \
             partition only",
            "send the statements that violate it and satisfy it again with one request",
        ),
        Refused::WithAll => Error { ends_transaction: true, ..error },
        Refused::Alone | Refused::AtCommit => error,
    }
}
