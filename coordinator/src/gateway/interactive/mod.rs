//! Transactions over several requests of a client.
//!
//! Nothing is held on the partitions in between. What a transaction has read and changed so far is noted here, in
//! the memory of the coordinator that began it ([`Journal`]): reads with a digest of what they found, changes as
//! statements with what they answered and changed. Each statement is tried on the partitions' present state with the
//! transaction's own changes on top, and taken back ([`within`]). At the commit everything goes to all partitions
//! at once, in its order: what would find, answer or change something else by then makes the transaction fail
//! with `serialization_failure`. So whatever commits has seen, as a whole, the state that it commits on. One that
//! is bound to fail may have seen states that do not fit together.
//!
//! A transaction that only reads has all partitions pinned at one moment instead, and always succeeds.

mod journal;
mod within;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::catalog::Database;
use common::protocol::{ReadLevel, StorageRequest};
use common::{Error, ErrorCode, Outcome, Result};
use parking_lot::Mutex;
use tokio::time::Instant;

pub(super) use journal::{Journal, Mark};
pub(super) use within::{Locks, Within};

use super::moment::Moment;
use super::partition_call::{From, Repeat};
use super::{Bookmark, Gateway, RequestOptions, Session};

/// Transactions of one coordinator that may be open at a time.
const OPEN_MAX: usize = 1_000;
/// How long it is remembered what became of a transaction.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How long it is tried to give a lock back.
const UNLOCK_TIME: Duration = Duration::from_secs(2);
/// Savepoints of a transaction.
const SAVEPOINTS_MAX: usize = 1_000;
/// Reads at once of each partition that a reading transaction has pinned.
const PINNED_READS: usize = 4;

/// How a transaction is to be.
#[derive(Clone, Copy, Debug)]
pub struct TransactionOptions {
    /// It only reads: what it sees is the state of one moment.
    pub read_only: bool,
    /// Every statement locks what it touches.
    pub pessimistic: bool,
    /// How long it may rest between two requests.
    pub idle: Duration,
    /// How long it may take in all.
    pub longest: Duration,
}

/// An open transaction, for lists.
#[derive(Clone, Debug)]
pub struct OpenTransaction {
    /// Its name.
    pub id: String,
    /// Its database.
    pub database: String,
    /// Whether it only reads.
    pub read_only: bool,
    /// When it began.
    pub began: SystemTime,
    /// When it is rolled back unless it is used before.
    pub expires: SystemTime,
    /// Requests so far.
    pub requests: u64,
}

/// What SQL text can ask of the transaction that it belongs to. Savepoints' names are in small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Refused: it has begun.
    Begin,
    /// Its end.
    Commit,
    /// Its end without effect.
    RollBack,
    /// A state to go back to.
    Savepoint(String),
    /// Forgets a savepoint and those after it.
    Release(String),
    /// Goes back to a savepoint, which stays.
    RollBackTo(String),
}

/// The transactions that this coordinator has begun.
#[derive(Default)]
pub(super) struct Transactions {
    known: Mutex<HashMap<String, Arc<Interactive>>>,
}

/// One transaction.
struct Interactive {
    id: String,
    database: String,
    options: TransactionOptions,
    began: (Instant, SystemTime),
    used: Mutex<Used>,
    /// Held while a request runs.
    state: tokio::sync::Mutex<State>,
}

#[derive(Clone, Copy)]
struct Used {
    last: Instant,
    requests: u64,
    ended: bool,
}

enum State {
    Open(Open),
    Committed(Bookmark),
    Failed(Error),
    RolledBack,
}

/// What an open transaction consists of.
struct Open {
    /// What it reads, if it only reads.
    moment: Option<Arc<Moment>>,
    journal: Arc<Mutex<Journal>>,
    /// The versions of schema and map that it began with.
    planned_on: (u64, Vec<u64>),
    bookmark: Bookmark,
    savepoints: Vec<(String, Mark)>,
}

impl Open {
    fn control(&mut self, control: Control) -> Result<()> {
        let known = |savepoints: &[(String, Mark)], name: &str| {
            let no_such = || Error::new(ErrorCode::SqlError, format!("no such savepoint: {name}"));
            savepoints.iter().rposition(|(other, _)| other == name).ok_or_else(no_such)
        };
        match control {
            Control::Savepoint(_) if self.savepoints.len() >= SAVEPOINTS_MAX => {
                let text = format!("a transaction has at most {SAVEPOINTS_MAX} savepoints");
                return Err(Error::new(ErrorCode::SqlError, text));
            }
            Control::Savepoint(name) => self.savepoints.push((name, self.journal.lock().mark())),
            Control::Release(name) => self.savepoints.truncate(known(&self.savepoints, &name)?),
            Control::RollBackTo(name) => {
                let position = known(&self.savepoints, &name)?;
                self.savepoints.truncate(position + 1);
                self.journal.lock().cut(&self.savepoints[position].1);
            }
            Control::Begin | Control::Commit | Control::RollBack => {}
        }
        Ok(())
    }
}

impl Interactive {
    /// Lets it take locks, if it may change something.
    fn give_locks(&self) {
        if self.options.read_only {
            return;
        }
        let since_epoch = self.began.1.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let began_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        if let Ok(mut state) = self.state.try_lock()
            && let State::Open(open) = &mut *state
        {
            open.journal.lock().locks = Some(Locks::new(rand::random(), began_ms));
        }
    }

    /// When it ends by itself.
    fn expires(&self) -> Instant {
        (self.used.lock().last + self.options.idle).min(self.began.0 + self.options.longest)
    }

    fn is_open(&self) -> bool {
        !self.used.lock().ended && Instant::now() < self.expires()
    }

    fn touch(&self) {
        let mut used = self.used.lock();
        (used.last, used.requests) = (Instant::now(), used.requests + 1);
    }

    fn end(&self, state: &mut State, end: State) {
        *state = end;
        let mut used = self.used.lock();
        (used.last, used.ended) = (Instant::now(), true);
    }

    fn shown(&self) -> OpenTransaction {
        let at = |instant: Instant| self.began.1 + instant.saturating_duration_since(self.began.0);
        OpenTransaction {
            id: self.id.clone(),
            database: self.database.clone(),
            read_only: self.options.read_only,
            began: self.began.1,
            expires: at(self.expires()),
            requests: self.used.lock().requests,
        }
    }
}

fn planned_on(database: &Database) -> (u64, Vec<u64>) {
    (database.schema.version, database.buckets.iter().map(|bucket| bucket.epoch).collect())
}

impl Gateway {
    /// Begins a transaction.
    pub async fn begin_transaction(
        &self,
        database: &str,
        transaction: TransactionOptions,
        options: &RequestOptions,
    ) -> Result<OpenTransaction> {
        let open = self.shared.interactive.known.lock().values().filter(|known| known.is_open()).count();
        if open >= OPEN_MAX {
            let text = format!("{OPEN_MAX} transactions are open at this coordinator");
            return Err(Error::new(ErrorCode::RateLimited, text).with_hint("end some of them first"));
        }
        let session = self.begin(database, options).await?;
        let planned = session.planner.database();
        let moment = if transaction.read_only {
            let partitions: Vec<usize> = (0..planned.partitions().count()).collect();
            Some(Arc::new(session.access.agree_on_moment(&partitions, PINNED_READS).await?))
        } else {
            None
        };
        let now = (Instant::now(), SystemTime::now());
        let interactive = Arc::new(Interactive {
            id: self.new_transaction_id(),
            database: database.to_owned(),
            options: transaction,
            began: now,
            used: Mutex::new(Used { last: now.0, requests: 0, ended: false }),
            state: tokio::sync::Mutex::new(State::Open(Open {
                moment,
                journal: Arc::default(),
                planned_on: planned_on(planned),
                bookmark: session.access.bookmark(),
                savepoints: Vec::new(),
            })),
        });
        interactive.give_locks();
        let shown = interactive.shown();
        self.shared.interactive.known.lock().insert(shown.id.clone(), interactive);
        Ok(shown)
    }

    /// The open transactions of this coordinator, oldest first.
    #[must_use]
    pub fn open_transactions(&self) -> Vec<OpenTransaction> {
        let known = self.shared.interactive.known.lock();
        let mut open: Vec<OpenTransaction> =
            known.values().filter(|known| known.is_open()).map(|known| known.shown()).collect();
        open.sort_by_key(|transaction| transaction.began);
        open
    }

    /// Runs a request of a transaction: it changes nothing yet, and nothing of it stays if it fails.
    pub(super) async fn run_within<T, F>(
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
        if interactive.database != database {
            let text = format!("the transaction belongs to the database '{}'", interactive.database);
            return Err(Error::bad_request(text));
        }
        let mut state = turn(&interactive, options).await?;
        let State::Open(open) = &mut *state else { return Err(ended(&state, id)) };
        let mut options = RequestOptions { level: ReadLevel::Linearizable, ..options.clone() };
        options.bookmark.merge(&open.bookmark);
        let session = self.begin(database, &options).await?;
        if planned_on(session.planner.database()) != open.planned_on {
            interactive.end(&mut state, State::RolledBack);
            return Err(conflict("the schema or the partitions have changed since the transaction began"));
        }
        let step = Step::begin(&open.journal);
        if let Some(locks) = &mut open.journal.lock().locks {
            locks.taking = options.lock || interactive.options.pessimistic;
        }
        let within = match &open.moment {
            Some(moment) => Within::ReadOnly(moment.clone()),
            None => Within::ReadWrite(open.journal.clone()),
        };
        let session = session.within(within);
        match work(session.clone()).await {
            Ok(answer) => {
                step.keep();
                open.bookmark = session.access.bookmark();
                interactive.touch();
                Ok((answer, open.bookmark.clone()))
            }
            Err(error) => {
                drop(step);
                interactive.touch();
                let is_over = session.access.lost_moment()
                    || matches!(
                        error.code,
                        ErrorCode::SerializationFailure
                            | ErrorCode::StaleSchema
                            | ErrorCode::StalePartitionMap
                    );
                if !is_over {
                    return Err(error.with_outcome(Outcome::NotApplied));
                }
                self.unlock(&session, &open.journal);
                interactive.end(&mut state, State::RolledBack);
                Err(conflict(&error.message))
            }
        }
    }

    /// Lets other writers go on; nobody waits for it.
    fn unlock(&self, session: &Session, journal: &Mutex<Journal>) {
        let Some(locks) = journal.lock().locks.take() else { return };
        let targets = locks.held().into_iter().filter_map(|index| session.access.target(index).ok());
        for partition in targets.map(|target| target.partition) {
            let (gateway, transaction) = (self.clone(), locks.name);
            tokio::spawn(async move {
                let mut request = StorageRequest::Unlock { partition, transaction };
                let deadline = Instant::now() + UNLOCK_TIME;
                let asked =
                    gateway.ask(partition, From::Leader, Repeat::Freely, deadline, &mut request).await;
                if let Err(error) = asked {
                    tracing::debug!(%partition, ?error, "a lock is left to its end by time");
                }
            });
        }
    }

    /// Commits a transaction; a second time answers what the first one did.
    pub async fn commit_transaction(
        &self,
        id: &str,
        database: &str,
        options: &RequestOptions,
    ) -> Result<Bookmark> {
        let interactive = self.find_transaction(id)?;
        check_database(&interactive, database)?;
        let mut state = turn(&interactive, options).await?;
        let open = match &mut *state {
            State::Open(open) => open,
            State::Committed(bookmark) => return Ok(bookmark.clone()),
            State::Failed(error) => return Err(error.clone()),
            State::RolledBack => return Err(ended(&state, id)),
        };
        let mut options = options.clone();
        options.bookmark.merge(&open.bookmark);
        let (journal, planned_on) = (open.journal.clone(), open.planned_on.clone());
        let committed = self.commit_journal(database, &options, &journal, &planned_on).await;
        match committed {
            Ok(bookmark) => {
                interactive.end(&mut state, State::Committed(bookmark.clone()));
                Ok(bookmark)
            }
            Err(error) => {
                interactive.end(&mut state, State::Failed(error.clone()));
                Err(error)
            }
        }
    }

    async fn commit_journal(
        &self,
        database: &str,
        options: &RequestOptions,
        journal: &Mutex<Journal>,
        began_on: &(u64, Vec<u64>),
    ) -> Result<Bookmark> {
        let work = journal.lock().take_work();
        let session = self.begin(database, options).await?;
        if work.is_empty() {
            return Ok(session.access.bookmark());
        }
        if planned_on(session.planner.database()) != *began_on {
            return Err(conflict("the schema or the partitions have changed since the transaction began"));
        }
        let locked =
            journal.lock().locks.as_ref().filter(|locks| !locks.held().is_empty()).map(|locks| locks.name);
        let written = match locked {
            None => session.access.write_work(work, 0).await,
            // Its locks let in what carries its name.
            Some(name) => session.access.write_many_as(name, work, 0).await,
        };
        self.unlock(&session, journal);
        match written {
            Ok(_) => Ok(session.access.bookmark()),
            // What fitted when it was tried does not any more.
            Err(error)
                if error.outcome == Outcome::NotApplied
                    && (!error.code.retryable()
                        || matches!(error.code, ErrorCode::StaleSchema | ErrorCode::StalePartitionMap)) =>
            {
                Err(conflict(&error.message))
            }
            Err(mut error) => {
                error.statement = None;
                Err(error)
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

    fn find_transaction(&self, id: &str) -> Result<Arc<Interactive>> {
        self.shared.interactive.known.lock().get(id).cloned().ok_or_else(|| gone(id))
    }

    fn new_transaction_id(&self) -> String {
        format!("{}-{:032x}", self.shared.catalog.replica().0, rand::random::<u128>())
    }
}

impl Transactions {
    /// Lets go of what expired transactions hold, and forgets those that ended long ago. To be called now and then.
    pub(super) fn tidy(&self) {
        let known: Vec<Arc<Interactive>> = self.known.lock().values().cloned().collect();
        for interactive in known.into_iter().filter(|known| !known.is_open()) {
            if let Ok(mut state) = interactive.state.try_lock()
                && matches!(*state, State::Open(_))
            {
                interactive.end(&mut state, State::RolledBack);
            }
        }
        let now = Instant::now();
        self.known.lock().retain(|_, known| {
            let used = *known.used.lock();
            !used.ended || now.saturating_duration_since(used.last) < REMEMBERED
        });
    }
}

/// Waits for the transaction's other requests; rolls it back if its time is up.
async fn turn<'a>(
    interactive: &'a Interactive,
    options: &RequestOptions,
) -> Result<tokio::sync::MutexGuard<'a, State>> {
    let waited = tokio::time::timeout_at(options.deadline, interactive.state.lock()).await;
    let mut state = waited.map_err(|_| {
        Error::new(ErrorCode::Timeout, "another request of the transaction is under way")
            .with_hint("send the requests of a transaction one after the other")
    })?;
    if matches!(*state, State::Open(_)) && !interactive.is_open() {
        interactive.end(&mut state, State::RolledBack);
    }
    Ok(state)
}

fn check_database(interactive: &Interactive, database: &str) -> Result<()> {
    if interactive.database == database {
        return Ok(());
    }
    Err(Error::bad_request(format!("the transaction belongs to the database '{}'", interactive.database)))
}

fn ended(state: &State, id: &str) -> Error {
    match state {
        State::Failed(error) if error.outcome != Outcome::Unknown => {
            Error::new(ErrorCode::TransactionGone, format!("the transaction has failed: {}", error.message))
        }
        _ => gone(id),
    }
}

fn gone(id: &str) -> Error {
    let shown: String = id.chars().take(80).collect();
    Error::new(ErrorCode::TransactionGone, format!("there is no open transaction '{shown}'"))
        .with_hint("it has ended, was idle for too long, or its coordinator is gone; begin it again")
}

fn conflict(why: &str) -> Error {
    let text = format!("the transaction was rolled back: {why}");
    Error::new(ErrorCode::SerializationFailure, text).with_hint("run the whole transaction again")
}

/// A request within a transaction: unless it is kept, nothing of it is.
struct Step {
    journal: Arc<Mutex<Journal>>,
    mark: Option<Mark>,
}

impl Step {
    fn begin(journal: &Arc<Mutex<Journal>>) -> Step {
        Step { journal: journal.clone(), mark: Some(journal.lock().mark()) }
    }

    fn keep(mut self) {
        self.mark = None;
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            self.journal.lock().cut(&mark);
        }
    }
}
