//! Requests of a transaction.

use std::sync::Arc;

use common::protocol::ReadLevel;
use common::{Error, ErrorCode, Outcome, Result};
use parking_lot::Mutex;

use super::super::{Bookmark, Gateway, RequestOptions, Session};
use super::{
    Interactive, Journal, Mark, Open, State, Within, check_database, conflict, disturbed, ended, planned_on,
    tells_of_rows, turn,
};

impl Gateway {
    /// Runs a request of a transaction: it changes nothing yet, and nothing of it stays if it fails.
    pub(in crate::gateway) async fn run_within<T, F>(
        &self,
        id: &str,
        database: &str,
        options: &RequestOptions,
        work: impl Fn(Arc<Session>) -> F,
    ) -> Result<(T, Bookmark)>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let interactive = self.find_transaction(id)?;
        check_database(&interactive, database)?;
        let mut state = turn(&interactive, options).await?;
        let State::Open(open) = &mut *state else { return Err(ended(&state, id)) };
        if options.streams && open.moment.is_none() {
            return Err(Error::not_supported(
                "a transaction that may change something answers no streams",
                "begin one with \"read_only\": true to read much, or read in pieces",
            ));
        }
        let mut options = RequestOptions { level: ReadLevel::Linearizable, ..options.clone() };
        options.bookmark.merge(&open.bookmark);
        loop {
            let session = self.begin(database, &options).await?;
            let worked = match open.plan_on(session.planner.database()) {
                Ok(()) => self.step(&interactive, open, &session, &options, &work).await,
                Err(changed) => Err(changed),
            };
            let error = match worked {
                Ok(answer) => return Ok((answer, open.bookmark.clone())),
                Err(error) => error,
            };
            if open.journal.lock().is_empty() && self.was_planned_on_older(&session, &error).await {
                // A name may be newer than what this coordinator knew.
                continue;
            }
            if ends_it(&error) {
                self.unlock(&session, &open.journal);
                let conflict = conflict(&error.message);
                interactive.end(&mut state, State::Failed(conflict.clone()));
                return Err(conflict);
            }
            if error.ends_transaction {
                self.unlock(&session, &open.journal);
                interactive.end(&mut state, State::RolledBack);
            }
            return Err(error.with_outcome(Outcome::NotApplied));
        }
    }

    /// Does the work of a request.
    async fn step<T, F>(
        &self,
        interactive: &Interactive,
        open: &mut Open,
        session: &Arc<Session>,
        options: &RequestOptions,
        work: &impl Fn(Arc<Session>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut step = Step::begin(&open.journal);
        if let Some(locks) = &mut open.journal.lock().locks {
            locks.taking = options.lock || interactive.options.pessimistic;
        }
        let within = match &open.moment {
            Some(moment) => Within::ReadOnly(moment.clone()),
            None => Within::ReadWrite(open.journal.clone()),
        };
        let session = session.clone().within(within);
        let worked = work(session.clone()).await;
        interactive.touch();
        step.end(worked.as_ref().err());
        if session.access.lost_moment() {
            return Err(disturbed("a partition that the transaction reads has lost its leader"));
        }
        // A collection that it has made is no surprise.
        open.planned_on = planned_on(&session.access.database());
        if worked.is_ok() {
            open.bookmark = session.access.bookmark();
        }
        worked
    }

    /// Whether an error may be due to a view of the catalog that was older than what others know.
    async fn was_planned_on_older(&self, session: &Session, error: &Error) -> bool {
        let names_something = [ErrorCode::SqlError, ErrorCode::TableNotFound, ErrorCode::CollectionNotFound]
            .contains(&error.code);
        if !names_something && !ends_it(error) {
            return false;
        }
        let planned = planned_on(session.planner.database());
        match self.shared.surroundings.confirmed().await {
            Ok(catalog) => catalog
                .databases
                .get(&session.planner.database().name)
                .is_some_and(|known| planned_on(known) != planned),
            Err(_) => false,
        }
    }
}

/// Whether a transaction cannot go on after an error.
fn ends_it(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::SerializationFailure | ErrorCode::StaleSchema | ErrorCode::StalePartitionMap
    )
}

/// A request within a transaction. If nobody learns how it ended, nothing of it is kept.
struct Step {
    journal: Arc<Mutex<Journal>>,
    mark: Option<Mark>,
}

impl Step {
    fn begin(journal: &Arc<Mutex<Journal>>) -> Step {
        Step { journal: journal.clone(), mark: Some(journal.lock().mark()) }
    }

    /// It has ended. What failed changes nothing, but may have told something.
    fn end(&mut self, error: Option<&Error>) {
        match error {
            None => self.mark = None,
            Some(error) if tells_of_rows(error) => {
                if let Some(mark) = self.mark.take() {
                    self.journal.lock().take_back(&mark);
                }
            }
            Some(_) => {}
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            self.journal.lock().cut(&mark);
        }
    }
}
