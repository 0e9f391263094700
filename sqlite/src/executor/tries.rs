//! Work of transactions over several requests: it is tried, and repeated when the transaction commits.

use common::entry::Effects;
use common::protocol::{StatementResult, WorkItem};
use common::tries::{Refusal, Repeated, Tried, TryRequest};
use common::{Error, ErrorCode};
use xxhash_rust::xxh3::Xxh3;

use super::Executor;
use crate::budget::Budget;
use crate::connection::ours;
use crate::error::{Failure, Result};
use crate::pinned;

impl Executor {
    /// Tries work on top of what its transaction has changed so far. The batch is to be rolled back afterwards.
    ///
    /// # Errors
    /// `serialization_failure` if what the transaction has changed does not fit any more. What the work itself is
    /// refused for is told in [`Tried::refusal`].
    ///
    /// # Panics
    /// If no batch is open.
    pub fn attempt(&mut self, request: &TryRequest, budget: &Budget<'_>) -> Result<Tried> {
        assert!(self.open, "no batch is open");
        self.run_effects(&request.own, budget).map_err(as_conflict)?;
        let mark = self.capture.mark();
        self.connection.forget_statements_before()?;
        let _held = pinned::hold(request.pinned);
        let ran = self.run_items(&request.write.work, budget).and_then(|results| {
            self.capture.check()?;
            Ok(results)
        });
        match ran {
            Ok(results) => {
                let effects = self.capture.since(mark);
                let digest = digest_of(&results, &effects)?;
                Ok(Tried { results, effects, digest, ..Tried::default() })
            }
            Err(Failure::Refused(error)) => {
                // Only a text that says so rolls back more than its statement; but so does an interrupt.
                let is_told = error.code.http_status() < 500 && error.code != ErrorCode::StatementTimeout;
                let ends_transaction = is_told && self.connection.raw().is_autocommit();
                let digest = digest_of_refusal(&error)?;
                let refusal = Some(Refusal { error: *error, ends_transaction });
                Ok(Tried { digest, refusal, ..Tried::default() })
            }
            Err(storage) => Err(storage),
        }
    }

    /// Does work again that was tried, unless nothing was committed since.
    pub(super) fn repeat(&mut self, repeated: &Repeated, budget: &Budget<'_>) -> Result<StatementResult> {
        if self.is_first && self.system().position()?.base <= repeated.index && !self.may_defer() {
            return self.run_effects(&repeated.effects, budget).map_err(as_conflict);
        }
        self.connection.forget_statements_before()?;
        let budget = Budget { rows: u64::from(repeated.max_rows), ..*budget };
        let _held = pinned::hold(repeated.pinned);
        let (digest, affected_rows) = if repeated.refused {
            let refused = self.taken_back(|executor| executor.run_items(&repeated.work, &budget))?;
            match refused {
                Ok(_) => (0, 0),
                Err(Failure::Refused(error)) if error.code == ErrorCode::StatementTimeout => {
                    return Err(Failure::Refused(error));
                }
                Err(Failure::Refused(error)) => (digest_of_refusal(&error)?, 0),
                Err(storage) => return Err(storage),
            }
        } else {
            let mark = self.capture.mark();
            let results = self.run_items(&repeated.work, &budget).map_err(as_conflict)?;
            let effects = self.capture.since(mark);
            (digest_of(&results, &effects)?, effects.rows.len() as u64)
        };
        if digest == repeated.digest {
            return Ok(StatementResult { affected_rows, ..StatementResult::default() });
        }
        let message = "a statement of the transaction would answer or change something else by now";
        Err(Error::new(ErrorCode::SerializationFailure, message).into())
    }

    /// Does work that its transaction has taken back, to find that what was seen is true, and takes it back.
    pub(super) fn check_undone(&mut self, work: &[WorkItem], budget: &Budget<'_>) -> Result<StatementResult> {
        self.taken_back(|executor| executor.run_items(work, budget))?.map_err(as_conflict)?;
        Ok(StatementResult { is_read: true, ..StatementResult::default() })
    }

    /// Does work of a request and takes it back; the inner result is the work's.
    fn taken_back<T>(&mut self, work: impl FnOnce(&mut Executor) -> Result<T>) -> Result<Result<T>> {
        let mark = self.capture.mark();
        self.connection.run(ours!("SAVEPOINT taken_back"))?;
        let done = work(self);
        if self.connection.raw().is_autocommit() {
            // An interrupt, mostly. The request cannot go on without what it has changed before.
            return Err(done.err().unwrap_or_else(|| {
                Error::new(ErrorCode::SerializationFailure, "the transaction was rolled back").into()
            }));
        }
        self.capture.pause(true);
        let undone = self
            .connection
            .run(ours!("ROLLBACK TO taken_back"))
            .and_then(|()| self.connection.run(ours!("RELEASE taken_back")));
        self.capture.pause(false);
        self.capture.cut(mark);
        undone.map(|()| done)
    }

    /// Whether a constraint may wait for the end of its transaction: then each statement has to be run, so that
    /// SQLite keeps count of what is violated.
    fn may_defer(&self) -> bool {
        self.enforces_foreign_keys && self.capture.layouts().has_foreign_keys
    }
}

/// What fitted when it was tried and does not any more was got in the way of by another request.
fn as_conflict(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(error)
            if !matches!(error.code, ErrorCode::StatementTimeout | ErrorCode::StaleSchema) =>
        {
            let message = format!("another request has changed what the transaction saw: {}", error.message);
            Error::new(ErrorCode::SerializationFailure, message).into()
        }
        other => other,
    }
}

/// A digest of what work answers and changes.
fn digest_of(results: &[StatementResult], effects: &Effects) -> Result<u128> {
    let mut hasher = Xxh3::new();
    hasher.update(&postcard::to_stdvec(results).map_err(unencoded)?);
    for effect in &effects.rows {
        let table = effects.tables.get(usize::from(effect.table)).map_or("", String::as_str);
        hasher.update(&postcard::to_stdvec(&(table, &effect.change)).map_err(unencoded)?);
    }
    Ok(hasher.digest128())
}

/// A digest of what a client is told of a refusal.
fn digest_of_refusal(error: &Error) -> Result<u128> {
    let told = (error.code, &error.message, error.statement, error.sqlite_code);
    Ok(xxhash_rust::xxh3::xxh3_128(&postcard::to_stdvec(&told).map_err(unencoded)?))
}

#[allow(clippy::needless_pass_by_value)]
fn unencoded(error: postcard::Error) -> Failure {
    Failure::refused(Error::internal(error.to_string()))
}
