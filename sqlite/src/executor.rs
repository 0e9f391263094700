//! The leader's writing connection: it runs clients' statements in one open transaction, a savepoint for
//! each request, and captures the rows they change.

mod adopting;
mod defining;
mod tries;

use std::sync::Arc;

use common::digest::RowsDigest;
use common::entry::{Change, Effect, Effects};
use common::idempotency::{Keeps, Kept, KeptResults, Keyed};
use common::protocol::{Proof, Statement, StatementResult, WorkItem};
use common::row::RowBlock;
use common::{Error, ErrorCode, Hlc, Value};
use rusqlite::config::DbConfig;
use rusqlite::ffi;

use crate::binding::value_of;
use crate::budget::{Budget, Watch};
use crate::capture::{Capture, Mark};
use crate::connection::{Connection, ours};
use crate::error::{Failure, Result};
use crate::keys::Keys;
use crate::layout::{Layout, Layouts, SEQUENCES, schema_cookie};
use crate::pinned;
use crate::query::{self, Access, Flow, answer};
use crate::recipe::{self, Location};
use crate::row_images::{Landing, land, layout_at, layouts_of};
use crate::system::System;
use crate::table_sums::TableSums;
use crate::touched_keys::{TouchedKeys, WatchList};

/// The executing connection of a partition's leader.
///
/// Life of a batch: [`begin`](Executor::begin), [`run`](Executor::run) for each request,
/// [`take_effects`](Executor::take_effects), and once the log has them [`commit`](Executor::commit), else
/// [`rollback`](Executor::rollback).
pub struct Executor {
    capture: Capture,
    connection: Connection,
    /// AUTOINCREMENT's counters as of the last request that succeeded.
    sequences: Vec<Sequence>,
    open: bool,
    /// Whether this partition has all rows that foreign keys relate.
    enforces_foreign_keys: bool,
    place: BatchPlace,
    /// Whether the request that runs is the first of its batch that changes anything.
    is_first: bool,
    /// Rows that the request has changed by keeping its key, if it is the first one of its batch.
    kept_rows: usize,
    /// Whether the batch has changed the schema.
    defined: bool,
}

/// Where and when a batch is expected to take effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchPlace {
    /// The clock that its entry will carry.
    pub clock: Hlc,
    /// The log index that its entry will have, if no other comes in between.
    pub index: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Sequence {
    rowid: i64,
    table: Value,
    counter: Value,
}

impl Executor {
    /// Opens the executing connection of a partition's file.
    pub fn open(location: &Location) -> Result<Executor> {
        let connection = recipe::executor(location)?;
        let capture = Capture::install(connection.raw(), false);
        Ok(Executor {
            capture,
            connection,
            sequences: Vec::new(),
            open: false,
            enforces_foreign_keys: true,
            place: BatchPlace::default(),
            is_first: true,
            kept_rows: 0,
            defined: false,
        })
    }

    /// Whether changes carry the columns that the row had, for change feeds and digests.
    pub fn keep_old_rows(&mut self, keep: bool) {
        self.capture.keep_old_rows(keep);
    }

    /// Whether foreign keys are checked here: only a partition that owns all rows of its database can. Where
    /// there are several, whoever computes changes has checked them.
    pub fn enforce_foreign_keys(&mut self, enforced: bool) -> Result<()> {
        if self.enforces_foreign_keys != enforced {
            self.connection.raw().set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, enforced)?;
            self.enforces_foreign_keys = enforced;
        }
        Ok(())
    }

    /// Opens the transaction of a batch. The writer's lock is taken at once, so that what is read is what
    /// the applier left.
    ///
    /// # Panics
    /// If one is open.
    pub fn begin(&mut self) -> Result<()> {
        assert!(!self.open, "a batch is open already");
        self.connection.run(ours!("BEGIN IMMEDIATE"))?;
        self.open = true;
        self.capture.take();
        self.capture.take_touched();
        let prepared = self.follow_schema();
        if prepared.is_err() {
            self.rollback();
        }
        prepared
    }

    /// Says where the batch that is open, or the next one, is expected to take effect.
    pub fn expect_at(&mut self, place: BatchPlace) {
        self.place = place;
    }

    fn follow_schema(&mut self) -> Result<()> {
        if schema_cookie(self.connection.raw())? != self.capture.layouts().schema_cookie {
            self.capture.follow(Arc::new(Layouts::read(self.connection.raw())?));
        }
        self.sequences = self.read_sequences()?;
        Ok(())
    }

    /// Whether a batch is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Runs a request: all of its work, or none. A failure leaves the batch as it was before the request,
    /// even if SQLite ended the whole transaction (`ON CONFLICT ROLLBACK`, an interrupted write): then the
    /// earlier requests' rows are put back.
    ///
    /// A [`Failure::Storage`] means that the batch is lost.
    ///
    /// # Panics
    /// If no batch is open.
    pub fn run(&mut self, work: &[WorkItem], budget: &Budget<'_>) -> Result<Vec<StatementResult>> {
        assert!(self.open, "no batch is open");
        self.check_is_alone(work)?;
        let mark = self.capture.mark();
        self.is_first = self.effect_count() == 0;
        self.connection.run(ours!("SAVEPOINT request"))?;
        self.connection.forget_statements_before()?;
        let done = self.run_items(work, budget).and_then(|results| {
            self.finish_request()?;
            self.connection.run(ours!("RELEASE request"))?;
            Ok(results)
        });
        if done.is_err() {
            self.undo(mark)?;
        }
        done
    }

    /// Runs plain statements as one request, see [`Executor::run`].
    pub fn run_statements(
        &mut self,
        statements: &[Statement],
        budget: &Budget<'_>,
    ) -> Result<Vec<StatementResult>> {
        let work: Vec<WorkItem> = statements.iter().cloned().map(WorkItem::Statement).collect();
        self.run(&work, budget)
    }

    /// What the requests of the batch changed, in order. To be taken once, after the last request.
    pub fn take_effects(&mut self) -> Effects {
        self.capture.take()
    }

    /// How many rows the batch has changed so far.
    #[must_use]
    pub fn effect_count(&self) -> usize {
        self.capture.effects().rows.len()
    }

    /// The same, and what it does to the tables' sums.
    pub fn take_changes(&mut self) -> (Effects, TableSums) {
        self.capture.take_with_sums()
    }

    /// Notes which keys of some columns the batches touch, from the next one on.
    pub fn watch(&mut self, list: &WatchList) {
        self.capture.watch(list);
    }

    /// The keys that the batch has touched, leaving none. Those are among them that were undone.
    pub fn take_touched(&mut self) -> TouchedKeys {
        self.capture.take_touched()
    }

    /// Commits the batch together with what `record` writes into the system tables. On an error the batch
    /// is rolled back.
    ///
    /// # Panics
    /// If no batch is open.
    pub fn commit(&mut self, record: impl FnOnce(&System<'_>) -> Result<()>) -> Result<()> {
        assert!(self.open, "no batch is open");
        let done =
            record(&System::of(self.connection.raw())).and_then(|()| self.connection.run(ours!("COMMIT")));
        match done {
            Ok(()) => (self.open, self.defined) = (false, false),
            Err(_) => self.rollback(),
        }
        done
    }

    /// Drops the batch.
    pub fn rollback(&mut self) {
        if !self.connection.raw().is_autocommit() {
            // The only failure is that SQLite has rolled back already.
            let _ = self.connection.run(ours!("ROLLBACK"));
        }
        self.capture.take();
        self.forget_definition();
        self.open = false;
    }

    /// The system tables as the open batch, or else the last commit, sees them.
    #[must_use]
    pub fn system(&self) -> System<'_> {
        System::of(self.connection.raw())
    }

    fn run_items(&mut self, work: &[WorkItem], budget: &Budget<'_>) -> Result<Vec<StatementResult>> {
        let mut results = Vec::with_capacity(work.len());
        let keyed = key_of(work);
        if let Some(keyed) = keyed
            && let Some(kept) = self.begin_keyed(keyed)?
        {
            return Ok(vec![kept]);
        }
        self.kept_rows = if self.is_first { self.effect_count() } else { 0 };
        for (index, item) in work.iter().enumerate() {
            let result = match item {
                WorkItem::Key(_) if index == 0 => Ok(StatementResult::default()),
                WorkItem::Key(_) => Err(Error::internal("an idempotency key is not the first item").into()),
                WorkItem::Statement(statement) => {
                    answer_captured(&self.connection, &mut self.capture, statement, budget)
                }
                WorkItem::Effects(effects) => self.run_effects(effects, budget),
                WorkItem::Proof(proof) => self.check_proof(proof, budget),
                WorkItem::Repeated(repeated) => self.repeat(repeated, budget),
                WorkItem::Undone(work) => self.check_undone(work, budget),
                WorkItem::Adopted(effects) => self.adopt(effects, budget),
                WorkItem::Schema(step) => self.define(step, budget),
            };
            results.push(result.map_err(|failure| failure.at_statement(index))?);
        }
        if let Some(keyed) = keyed {
            self.end_keyed(keyed, &results)?;
        }
        Ok(results)
    }

    /// Answers what is kept under a key; else keeps what can be kept before the work is done.
    fn begin_keyed(&self, keyed: &Keyed) -> Result<Option<StatementResult>> {
        let keys = Keys::at(self.connection.raw(), self.place.clock);
        let request = &keyed.request;
        match (keys.recall(request)?, &keyed.keeps) {
            (None, Keeps::Claim(partition)) => keys.keep(request, &Kept::Elsewhere(*partition))?,
            (None | Some(Kept::Elsewhere(_)), Keeps::Decider(partition)) => {
                keys.keep(request, &Kept::Decided(*partition))?;
            }
            (None | Some(Kept::Elsewhere(_)), Keeps::Committed(answer)) => {
                keys.keep(request, &Kept::Committed(answer.clone()))?;
            }
            (None | Some(Kept::Elsewhere(_)), Keeps::Answer(answer)) => {
                keys.keep(request, &Kept::Answer(answer.clone()))?;
            }
            (Some(Kept::Elsewhere(_)), Keeps::Release) => keys.release(&request.key)?,
            (None, _) | (Some(Kept::Elsewhere(_)), Keeps::Results(_)) | (Some(_), Keeps::Release) => {}
            (Some(kept), _) => return Ok(Some(kept_result(&kept))),
        }
        Ok(None)
    }

    /// Keeps the results of the work.
    fn end_keyed(&self, keyed: &Keyed, results: &[StatementResult]) -> Result<()> {
        let Keeps::Results(context) = &keyed.keeps else { return Ok(()) };
        let kept = KeptResults {
            context: context.clone(),
            index: self.place.index,
            results: results.get(1..).unwrap_or_default().to_vec(),
        };
        let keys = Keys::at(self.connection.raw(), self.place.clock);
        keys.keep(&keyed.request, &Kept::Results(kept))
    }

    /// Fails if a read that the request was computed from would find other rows now.
    fn check_proof(&self, proof: &Proof, budget: &Budget<'_>) -> Result<StatementResult> {
        let unread = StatementResult { is_read: true, ..StatementResult::default() };
        if self.effect_count() == self.kept_rows && self.system().position()?.base <= proof.index {
            return Ok(unread);
        }
        let _held = proof.pinned.map(pinned::hold);
        let mut digest = RowsDigest::default();
        let whole = Budget { rows: u64::MAX, bytes: usize::MAX, ..*budget };
        query::stream(
            &self.connection,
            &proof.statement,
            &whole,
            &mut |_, _| Flow::Continue,
            &mut |block| {
                digest.add(&block);
                Flow::Continue
            },
        )?;
        if digest.finish() == proof.digest {
            return Ok(unread);
        }
        let message = "rows that the statement read were changed by another request";
        Err(Error::new(ErrorCode::SerializationFailure, message).into())
    }

    /// Lands row images as a part of a request: rows must be those that the images were computed on.
    fn run_effects(&mut self, effects: &Effects, budget: &Budget<'_>) -> Result<StatementResult> {
        let layouts = Arc::clone(self.capture.layouts());
        let tables = layouts_of(&layouts, &effects.tables).map_err(as_stale)?;
        let _watch = Watch::begin(self.connection.raw(), budget);
        let _constraints = ForeignKeysOff::begin(
            self.connection.raw(),
            self.enforces_foreign_keys && layouts.has_foreign_keys,
        )?;
        let _triggers = TriggersOff::begin(self.connection.raw(), layouts.has_triggers)?;
        for effect in &effects.rows {
            let layout = layout_at(&tables, effect.table).map_err(as_stale)?;
            match land(self.connection.raw(), layout, &effect.change, true)? {
                Landing::Done => {}
                Landing::Unfit => {
                    return Err(stale(format!("a change of {} is of another schema", layout.name)));
                }
                Landing::Missing | Landing::Differs => {
                    return Err(Error::new(
                        ErrorCode::SerializationFailure,
                        format!("a row of {} was changed by another request", layout.name),
                    )
                    .into());
                }
            }
        }
        Ok(StatementResult { affected_rows: effects.rows.len() as u64, ..StatementResult::default() })
    }

    /// What COMMIT would refuse must be refused now, before the log has the request.
    fn finish_request(&mut self) -> Result<()> {
        self.capture.check()?;
        check_deferred_violations(self.connection.raw())?;
        self.capture_sequences()
    }

    /// The hook does not see AUTOINCREMENT's counters, so they are compared.
    fn capture_sequences(&mut self) -> Result<()> {
        let sequences = self.read_sequences()?;
        for sequence in &sequences {
            if !self.sequences.contains(sequence) {
                let change = Change::Insert {
                    key: vec![Value::Integer(sequence.rowid)],
                    row: vec![sequence.table.clone(), sequence.counter.clone()],
                };
                self.capture.push(SEQUENCES, change);
            }
        }
        self.sequences = sequences;
        Ok(())
    }

    fn read_sequences(&self) -> Result<Vec<Sequence>> {
        if !self.capture.layouts().has_sequences {
            return Ok(Vec::new());
        }
        let sql = ours!("SELECT rowid, name, seq FROM sqlite_sequence");
        let mut statement = self.connection.raw().prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            Ok(Sequence {
                rowid: row.get(0)?,
                table: value_of(row.get_ref(1)?),
                counter: value_of(row.get_ref(2)?),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Brings the batch back to where it was at the mark.
    fn undo(&mut self, mark: Mark) -> Result<()> {
        let undone = if self.connection.raw().is_autocommit() {
            self.capture.cut(mark);
            self.reopen()
        } else {
            self.capture.pause(true);
            let undone = self
                .connection
                .run(ours!("ROLLBACK TO request"))
                .and_then(|()| self.connection.run(ours!("RELEASE request")));
            self.capture.pause(false);
            self.capture.cut(mark);
            undone
        };
        let undone = undone.and_then(|()| self.undo_definition());
        if undone.is_err() {
            self.rollback();
        }
        undone.map_err(|failure| match failure {
            storage @ Failure::Storage { .. } => storage,
            Failure::Refused(error) => Failure::Storage {
                code: error.sqlite_code.unwrap_or(ffi::SQLITE_ERROR),
                message: format!("a batch could not be put back: {}", error.message),
            },
        })
    }

    /// A statement ended the whole transaction: opens another and puts the earlier requests' rows back.
    fn reopen(&mut self) -> Result<()> {
        self.connection.run(ours!("BEGIN IMMEDIATE"))?;
        let layouts = Arc::clone(self.capture.layouts());
        let _constraints = ForeignKeysOff::begin(
            self.connection.raw(),
            self.enforces_foreign_keys && layouts.has_foreign_keys,
        )?;
        self.capture.pause(true);
        let effects = self.capture.effects().clone();
        let landed = land_all(self.connection.raw(), &layouts, &effects);
        self.capture.pause(false);
        landed
    }
}

/// The idempotency key that work begins with.
fn key_of(work: &[WorkItem]) -> Option<&Keyed> {
    match work.first() {
        Some(WorkItem::Key(keyed)) => Some(keyed),
        _ => None,
    }
}

/// What is kept as a result: one row, one blob.
fn kept_result(kept: &Kept) -> StatementResult {
    let bytes = common::protocol::encode(kept).to_vec();
    let rows = RowBlock::from_values(1, &[vec![Value::Blob(bytes)]]);
    StatementResult { is_read: true, columns: vec!["kept".to_owned()], rows, ..StatementResult::default() }
}

/// Lands effects that must fit, unguarded.
pub(crate) fn land_all(raw: &rusqlite::Connection, layouts: &Layouts, effects: &Effects) -> Result<()> {
    let tables = layouts_of(layouts, &effects.tables)?;
    effects.rows.iter().try_for_each(|effect| land_surely(raw, layout_at(&tables, effect.table)?, effect))
}

/// Lands one of those.
pub(crate) fn land_surely(raw: &rusqlite::Connection, layout: &Layout, effect: &Effect) -> Result<()> {
    let landed = land(raw, layout, &effect.change, false).map_err(|failure| match failure {
        Failure::Refused(error) => {
            Failure::diverged(format!("a change of {} does not fit: {}", layout.name, error.message))
        }
        storage @ Failure::Storage { .. } => storage,
    })?;
    if landed == Landing::Done {
        return Ok(());
    }
    Err(Failure::diverged(format!("a change of {} does not land: {landed:?}", layout.name)))
}

/// A coordinator's images of another schema are its mistake, not damage here.
fn as_stale(failure: Failure) -> Failure {
    match failure {
        Failure::Storage { message, .. } => stale(message),
        refused @ Failure::Refused(_) => refused,
    }
}

fn stale(message: String) -> Failure {
    Error::new(ErrorCode::StaleSchema, message).into()
}

/// Runs a statement whose changes are captured.
pub(crate) fn answer_captured(
    connection: &Connection,
    capture: &mut Capture,
    statement: &Statement,
    budget: &Budget<'_>,
) -> Result<StatementResult> {
    capture.take_inserted();
    let mut result = answer(connection, statement, Access::Write, budget)?;
    capture.check()?;
    if !result.is_read {
        result.affected_rows = connection.raw().changes();
        if capture.take_inserted() {
            result.last_insert_rowid = Some(connection.raw().last_insert_rowid());
        }
    }
    Ok(result)
}

/// COMMIT would refuse while a foreign key is violated, deferred or not.
pub(crate) fn check_deferred_violations(raw: &rusqlite::Connection) -> Result<()> {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the handle is open while the connection is borrowed; both pointers are to live integers.
    let code = unsafe {
        ffi::sqlite3_db_status(
            raw.handle(),
            ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
            &raw mut current,
            &raw mut highest,
            0,
        )
    };
    if code == ffi::SQLITE_OK && current == 0 {
        return Ok(());
    }
    let message = "FOREIGN KEY constraint failed".to_owned();
    Err(Failure::from_sqlite(ffi::SQLITE_CONSTRAINT_FOREIGNKEY, message, false))
}

/// Row images carry what foreign keys' actions did already; doing it again would find rows missing. The
/// setting throws away prepared statements, so it is left alone where no table has a foreign key.
struct ForeignKeysOff<'c>(Option<&'c rusqlite::Connection>);

impl<'c> ForeignKeysOff<'c> {
    fn begin(raw: &'c rusqlite::Connection, enforced: bool) -> Result<ForeignKeysOff<'c>> {
        if !enforced {
            return Ok(ForeignKeysOff(None));
        }
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
        Ok(ForeignKeysOff(Some(raw)))
    }
}

impl Drop for ForeignKeysOff<'_> {
    fn drop(&mut self) {
        if let Some(raw) = self.0 {
            raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)
                .expect("a setting of an open connection can be set");
        }
    }
}

/// Row images carry what triggers did already. The setting throws away prepared statements as well.
struct TriggersOff<'c>(Option<&'c rusqlite::Connection>);

impl<'c> TriggersOff<'c> {
    fn begin(raw: &'c rusqlite::Connection, has_triggers: bool) -> Result<TriggersOff<'c>> {
        if !has_triggers {
            return Ok(TriggersOff(None));
        }
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        Ok(TriggersOff(Some(raw)))
    }
}

impl Drop for TriggersOff<'_> {
    fn drop(&mut self) {
        if let Some(raw) = self.0 {
            raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)
                .expect("a setting of an open connection can be set");
        }
    }
}
