//! How transactions end: by commit, by rollback, by what SQL text says.

use std::collections::BTreeSet;

use common::{Error, ErrorCode, Outcome, Result};
use parking_lot::Mutex;

use super::super::{Bookmark, Gateway, RequestOptions, Session};
use super::fate::{self, Fate, KeptAt};
use super::{
    Control, Interactive, Journal, REPLANNED, State, check_database, conflict, ended, name, planned_on, turn,
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
        let interactive = match self.find_transaction(id) {
            Ok(known) => known,
            Err(gone) => return self.commit_of_others(id, database, gone, options).await,
        };
        check_database(&interactive, database)?;
        let (gateway, options) = (self.clone(), options.clone());
        // In a task of its own: a client that goes away must not leave it half ended.
        let committing = tokio::spawn(async move { gateway.commit(&interactive, options).await });
        committing.await.map_err(|error| Error::internal(error.to_string()).with_outcome(Outcome::Unknown))?
    }

    /// What became of a transaction that is not known here any more, nor at the coordinator that began it.
    async fn commit_of_others(
        &self,
        id: &str,
        database: &str,
        gone: Error,
        options: &RequestOptions,
    ) -> Result<Bookmark> {
        if !fate::is_remembered(id, self.shared.surroundings.now()) {
            return Err(gone.with_outcome(Outcome::Unknown));
        }
        if !name::may_belong_to(id, database) {
            return Err(Error::bad_request("the transaction belongs to another database"));
        }
        match self.fate(id, database, KeptAt::Anywhere, options).await? {
            Fate::Committed(bookmark) => Ok(bookmark),
            Fate::Void => Err(gone.with_outcome(Outcome::NotApplied)),
        }
    }

    async fn commit(&self, interactive: &Interactive, mut options: RequestOptions) -> Result<Bookmark> {
        let mut state = turn(interactive, &options).await?;
        let open = match &mut *state {
            State::Open(open) => open,
            State::Committed(bookmark) => return Ok(bookmark.clone()),
            State::Failed(error) => return Err(error.clone()),
            State::RolledBack => return Err(ended(&state, &interactive.id)),
            State::InDoubt(..) => return self.resolve(interactive, &mut state, &options).await,
        };
        options.bookmark.merge(&open.bookmark);
        let session = self.begin(&interactive.database, &options).await?;
        let home = open.journal.lock().first().and_then(|index| session.access.target(index).ok());
        let committed = if planned_on(session.planner.database()) == open.planned_on {
            commit_journal(&session, &interactive.id, &open.journal).await
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
            Err(error) if error.outcome == Outcome::Unknown => {
                let at = home.map_or(KeptAt::Anywhere, |home| KeptAt::Partition(home.partition));
                interactive.end(&mut state, State::InDoubt(at, session.access.bookmark()));
                return self.resolve(interactive, &mut state, &options).await;
            }
            // Only somebody has not confirmed it yet.
            Err(error) if error.outcome == Outcome::Applied => {
                interactive.end(&mut state, State::Committed(session.access.bookmark()));
            }
            Err(error) if is_over => interactive.end(&mut state, State::Failed(error.clone())),
            Err(_) => interactive.touch(),
        }
        committed
    }

    /// Learns whether a transaction in doubt has committed. From then on that is known.
    async fn resolve(
        &self,
        interactive: &Interactive,
        state: &mut State,
        options: &RequestOptions,
    ) -> Result<Bookmark> {
        let State::InDoubt(at, bookmark) = state else { return Err(ended(state, &interactive.id)) };
        let mut options = options.clone();
        options.bookmark.merge(bookmark);
        match self.fate(&interactive.id, &interactive.database, *at, &options).await? {
            Fate::Committed(bookmark) => {
                *state = State::Committed(bookmark.clone());
                Ok(bookmark)
            }
            Fate::Void => {
                let error = conflict("a partition's leader was lost while it was committed");
                *state = State::Failed(error.clone());
                Err(error)
            }
        }
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
        if matches!(*state, State::InDoubt(..)) {
            // An error says that it was rolled back, or that this is not known.
            if let Err(error) = self.resolve(&interactive, &mut state, options).await
                && error.outcome == Outcome::Unknown
            {
                return Err(error);
            }
        }
        if let State::Open(open) = &*state {
            let session = self.begin(&interactive.database, options).await?;
            self.unlock(&session, &open.journal);
        }
        match &*state {
            State::Open(_) | State::RolledBack => interactive.end(&mut state, State::RolledBack),
            State::Failed(error) if error.outcome == Outcome::NotApplied => {}
            State::Committed(_) | State::Failed(_) | State::InDoubt(..) => {
                return Err(Error::new(ErrorCode::TransactionGone, "the transaction was committed already")
                    .with_outcome(Outcome::NotApplied));
            }
        }
        Ok(())
    }
}

/// Sends all that a transaction has read and changed to its partitions.
async fn commit_journal(session: &Session, id: &str, journal: &Mutex<Journal>) -> Result<Bookmark> {
    let (work, changes_rows, locks) = {
        let journal = journal.lock();
        let locks = journal.locks.as_ref().filter(|locks| !locks.held().is_empty());
        (journal.work(), journal.changes_rows(), locks.map(|locks| locks.name))
    };
    let access = &session.access;
    let home = work.first().map(|(index, _)| access.target(*index)).transpose()?;
    let written = match (home, locks) {
        (None, _) => Ok(true),
        (Some(home), _) if changes_rows => access.commit_as(id, home.partition, work, locks).await,
        // What changes nothing can be sent again, and need not be remembered.
        (Some(_), None) => access.write_work(work, 0).await.map(|_| true),
        // Its locks let in what carries its name.
        (Some(_), Some(name)) => access.write_many_as(Some(name), work, 0).await.map(|_| true),
    };
    match written {
        Ok(true) => Ok(access.bookmark()),
        Ok(false) => Err(conflict("it was ended while it was committed")),
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
