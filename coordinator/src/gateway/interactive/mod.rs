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

mod ending;
mod fate;
mod journal;
mod name;
mod requests;
mod within;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::catalog::Database;
use common::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use tokio::time::Instant;

pub(super) use journal::{Journal, Mark};
pub use name::is_transaction_name;
pub(super) use within::{Locks, Within, tells_of_rows};

use fate::KeptAt;

use super::moment::Moment;
use super::surroundings::unix_ms;
use super::{Bookmark, Gateway, RequestOptions};
use crate::metrics::{InteractiveEnd, TransactionMetrics};

/// Transactions of one coordinator that may be open at a time.
const OPEN_MAX: usize = 1_000;
/// How long it is remembered what became of a transaction.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Savepoints of a transaction: what is taken back lies in each other in messages.
const SAVEPOINTS_MAX: usize = 32;
/// Reads at once of each partition that a reading transaction has pinned.
const PINNED_READS: usize = 4;

/// Why a transaction cannot go on whose statements were planned otherwise.
const REPLANNED: &str = "the schema or the partitions have changed since it began";

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
    metrics: TransactionMetrics,
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
    /// It may have committed: where that is to be learnt, and what its client has seen.
    InDoubt(KeptAt, Bookmark),
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
    /// Takes note of the schema and the map that a request is planned on.
    fn plan_on(&mut self, database: &Database) -> Result<()> {
        let now = planned_on(database);
        if now == self.planned_on {
            return Ok(());
        }
        if self.moment.is_some() || !self.journal.lock().is_empty() {
            return Err(disturbed(REPLANNED));
        }
        self.planned_on = now;
        Ok(())
    }

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
                self.journal.lock().take_back(&self.savepoints[position].1);
            }
            Control::Begin | Control::Commit | Control::RollBack => {}
        }
        Ok(())
    }
}

impl Interactive {
    /// Lets it take locks, if it may change something.
    fn give_locks(&self, name: u128) {
        if self.options.read_only {
            return;
        }
        if let Ok(mut state) = self.state.try_lock()
            && let State::Open(open) = &mut *state
        {
            open.journal.lock().locks = Some(Locks::new(name, unix_ms(self.began.1)));
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
        self.metrics.interactive_ended(match &end {
            State::Committed(_) => InteractiveEnd::Committed,
            State::Failed(error) if error.code == ErrorCode::SerializationFailure => InteractiveEnd::Conflict,
            State::Failed(_) | State::InDoubt(..) => InteractiveEnd::Failed,
            State::RolledBack if !self.is_open() => InteractiveEnd::Expired,
            State::RolledBack | State::Open(_) => InteractiveEnd::RolledBack,
        });
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
    // Buckets that have taken the place of others have partitions of their own.
    let map = database.buckets.iter().flat_map(|bucket| {
        let partitions = bucket.partitions.iter().map(|partition| partition.0);
        std::iter::once(bucket.epoch).chain(partitions)
    });
    (database.schema.version, map.collect())
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
        let now = (Instant::now(), self.shared.surroundings.now());
        let interactive = Arc::new(Interactive {
            id: self.new_transaction_id(database, now.1),
            database: database.to_owned(),
            options: transaction,
            metrics: self.shared.transactions.clone(),
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
        interactive.give_locks(self.shared.surroundings.drawn_name());
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

    fn find_transaction(&self, id: &str) -> Result<Arc<Interactive>> {
        self.shared.interactive.known.lock().get(id).cloned().ok_or_else(|| gone(id))
    }

    fn new_transaction_id(&self, database: &str, began: SystemTime) -> String {
        let surroundings = &self.shared.surroundings;
        name::new_name(surroundings.replica(), database, began, surroundings.drawn())
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
        State::Failed(error) => {
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

/// Why a transaction cannot go on.
fn disturbed(why: &str) -> Error {
    Error::new(ErrorCode::SerializationFailure, why)
}

/// What a client is told then.
fn conflict(why: &str) -> Error {
    let text = format!("the transaction was rolled back: {why}");
    Error::new(ErrorCode::SerializationFailure, text).with_hint("run the whole transaction again")
}
