//! How transactions end: by commit, by rollback, by what SQL text says.

use std::collections::BTreeSet;

use common::{Error, ErrorCode, Outcome, Result};
use parking_lot::Mutex;

use super::super::{Bookmark, Gateway, RequestOptions, Session};
use super::{
    Control, Interactive, Journal, REPLANNED, State, check_database, conflict, ended, planned_on, turn,
};

impl Gateway {
    /// Lets other writers go on; nobody waits for it.
    pub(super) fn unlock(&self, session: &Session, journal: &Mutex<Journal>) {
        let Some(locks) = journal.lock().locks.take() else { return };
        let targets = locks.held().into_iter().filter_map(|index| session.access.target(index).ok());
        self.unlock_partitions(locks.name, targets.map(|target| target.partition).collect());
    }

    /// Commits a transaction; a second time answers what the first one did.
    pub async fn commit_transaction(
        &self,
        id: &str,
        database: &str,
        options: &RequestOptions,
    ) -> Result<Bookmark> {
        // One that is not known here any more may have been committed long ago.
        let unknown = |error: Error| error.with_outcome(Outcome::Unknown);
        let interactive = self.find_transaction(id).map_err(unknown)?;
        check_database(&interactive, database)?;
        let (gateway, options) = (self.clone(), options.clone());
        // In a task of its own: a client that goes away must not leave it half ended.
        let committing = tokio::spawn(async move { gateway.commit(&interactive, options).await });
        committing.await.map_err(|error| unknown(Error::internal(error.to_string())))?
    }

    async fn commit(&self, interactive: &Interactive, mut options: RequestOptions) -> Result<Bookmark> {
        let mut state = turn(interactive, &options).await?;
        let open = match &mut *state {
            State::Open(open) => open,
            State::Committed(bookmark) => return Ok(bookmark.clone()),
            State::Failed(error) => return Err(error.clone()),
            State::RolledBack => return Err(ended(&state, &interactive.id)),
        };
        options.bookmark.merge(&open.bookmark);
        let session = self.begin(&interactive.database, &options).await?;
        let committed = if planned_on(session.planner.database()) == open.planned_on {
            commit_journal(&session, &open.journal).await
        } else {
            Err(conflict(REPLANNED))
        };
        let is_over = committed.as_ref().err().is_none_or(|error| !may_be_sent_again(error));
        if is_over {
            self.unlock(&session, &open.journal);
        }
        let rowids_set = std::mem::take(&mut open.journal.lock().rowids_set);
        if committed.is_ok() {
            self.note_rowids(&interactive.database, rowids_set).await;
        }
        match &committed {
            Ok(bookmark) => interactive.end(&mut state, State::Committed(bookmark.clone())),
            Err(error) if is_over => interactive.end(&mut state, State::Failed(error.clone())),
            Err(_) => interactive.touch(),
        }
        committed
    }

    /// Rowids that a transaction has set itself count from now on.
    async fn note_rowids(&self, database: &str, tables: BTreeSet<String>) {
        for table in tables {
            if let Err(error) = self.rowids_set(database, &table).await {
                tracing::debug!(%error, database, table, "rowids that were set are found when they collide");
            }
        }
    }

    /// Does what SQL text asks of its own transaction.
    pub async fn control_transaction(
        &self,
        id: &str,
        database: &str,
        control: Control,
        options: &RequestOptions,
    ) -> Result<Bookmark> {
        match control {
            Control::Commit => return self.commit_transaction(id, database, options).await,
            Control::RollBack => {
                self.roll_back_transaction(id, Some(database), options).await?;
                return Ok(options.bookmark.clone());
            }
            Control::Begin => {
                let text = "cannot start a transaction within a transaction";
                return Err(Error::new(ErrorCode::SqlError, text).with_hint("use SAVEPOINT"));
            }
            Control::Savepoint(_) | Control::Release(_) | Control::RollBackTo(_) => {}
        }
        let interactive = self.find_transaction(id)?;
        check_database(&interactive, database)?;
        let mut state = turn(&interactive, options).await?;
        let State::Open(open) = &mut *state else { return Err(ended(&state, id)) };
        open.control(control)?;
        interactive.touch();
        Ok(open.bookmark.clone())
    }

    /// Ends a transaction of which nothing stays. One that has ended so already is as good.
    pub async fn roll_back_transaction(
        &self,
        id: &str,
        database: Option<&str>,
        options: &RequestOptions,
    ) -> Result<()> {
        let interactive = self.find_transaction(id)?;
        if let Some(database) = database {
            check_database(&interactive, database)?;
        }
        let mut state = turn(&interactive, options).await?;
        if let State::Open(open) = &*state {
            let session = self.begin(&interactive.database, options).await?;
            self.unlock(&session, &open.journal);
        }
        match &*state {
            State::Open(_) | State::RolledBack => interactive.end(&mut state, State::RolledBack),
            State::Failed(error) if error.outcome == Outcome::NotApplied => {}
            State::Committed(_) | State::Failed(_) => {
                return Err(Error::new(ErrorCode::TransactionGone, "the transaction was committed already")
                    .with_outcome(Outcome::NotApplied));
            }
        }
        Ok(())
    }
}

/// Sends all that a transaction has read and changed to its partitions.
async fn commit_journal(session: &Session, journal: &Mutex<Journal>) -> Result<Bookmark> {
    let (work, locked) = {
        let journal = journal.lock();
        let locks = journal.locks.as_ref().filter(|locks| !locks.held().is_empty());
        (journal.work(), locks.map(|locks| locks.name))
    };
    let written = match locked {
        _ if work.is_empty() => Ok(Vec::new()),
        None => session.access.write_work(work, 0).await,
        // Its locks let in what carries its name.
        Some(name) => session.access.write_many_as(name, work, 0).await,
    };
    match written {
        Ok(_) => Ok(session.access.bookmark()),
        // What it was planned on was changed meanwhile.
        Err(error) if matches!(error.code, ErrorCode::StaleSchema | ErrorCode::StalePartitionMap) => {
            Err(conflict(REPLANNED).with_outcome(error.outcome))
        }
        // No request has a number here.
        Err(error) => Err(Error { statement: None, ..error }),
    }
}

/// Whether nothing is wrong but that the partitions could not be reached: the transaction is still open then.
fn may_be_sent_again(error: &Error) -> bool {
    error.outcome == Outcome::NotApplied
        && error.code.retryable()
        && error.code != ErrorCode::SerializationFailure
}
