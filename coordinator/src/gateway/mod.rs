//! The gateway carries requests to the partitions: it finds leaders, tries again where that is safe, commits
//! writes over several partitions in two phases, and allocates rowids. `DESIGN.md` beside this crate tells
//! what it promises.
//!
//! One request, step by step:
//! 1. [`Gateway::begin`] takes the catalog as this coordinator knows it, waits for the client's bookmark, and
//!    pairs a planner of the database with a [`RequestAccess`].
//! 2. `query` plans and runs the request through that access.
//! 3. If a partition refuses because the plan is of an older version, or planning fails on a name that may be
//!    newer than this coordinator's view, [`Gateway::run`] brings the view up to date and starts again,
//!    unless something was written.

mod access;
mod bookmark;
mod brief;
mod cached;
mod contention;
mod interactive;
mod joint;
mod moment;
mod once;
mod partition_call;
mod partition_stream;
mod planners;
mod replica_search;
mod rowids;
mod schema_transaction;
pub mod surroundings;
mod transaction;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::catalog::{Catalog, Database, DatabaseState};
use common::limits::STATEMENT_TIMEOUT_MS;
use common::protocol::{ReadLevel, Statement};
use common::{Error, ErrorCode, Outcome, Result};
use polylite_client::peer::PeerPool;
use query::Planner;
use query::schema::SchemaChange;
use sqlite::Workspace;
use tokio::time::Instant;

pub use access::RequestAccess;
pub use bookmark::Bookmark;
pub use cached::{Asking, CacheUse, Found, Known};
pub use interactive::{Control, OpenTransaction, TransactionOptions, is_transaction_name};
pub use once::Once;
pub use replica_search::Leaders;

use crate::catalog::database_not_found;
use crate::metrics::{TransactionMetrics, Wait};
use crate::result_cache::ResultCache;
use crate::result_cache::leases::HeldLeases;
use brief::BriefReads;
use interactive::{Transactions, Within};
use joint::Joining;
use planners::Planners;
use rowids::RowidQueues;
use surroundings::Surroundings;

/// How a request wants to be served.
#[derive(Clone, Debug)]
pub struct RequestOptions {
    /// How fresh its reads must be.
    pub level: ReadLevel,
    /// When it must have ended.
    pub deadline: Instant,
    /// What its client has seen.
    pub bookmark: Bookmark,
    /// Whether its answer may come from the cache.
    pub cache: bool,
    /// The attempt that it belongs to, if it has an idempotency key.
    pub once: Option<Arc<Once>>,
    /// The transaction that it belongs to.
    pub transaction: Option<String>,
    /// Whether it locks, for its transaction, the partitions that it touches.
    pub lock: bool,
    /// Whether its answer goes on being read when the request has ended.
    pub streams: bool,
}

impl Default for RequestOptions {
    fn default() -> Self {
        RequestOptions {
            level: ReadLevel::default(),
            deadline: Instant::now() + Duration::from_millis(STATEMENT_TIMEOUT_MS),
            bookmark: Bookmark::default(),
            cache: true,
            once: None,
            transaction: None,
            lock: false,
            streams: false,
        }
    }
}

/// A request against one version of its database.
pub struct Session {
    /// Plans its statements.
    pub planner: Arc<Planner>,
    /// Reaches its partitions.
    pub access: RequestAccess,
}

impl Session {
    /// The same within a transaction.
    fn within(self: Arc<Self>, transaction: Within) -> Arc<Session> {
        let access = self.access.within(transaction);
        Arc::new(Session { planner: self.planner.clone(), access })
    }

    /// Plans the texts that are new to the planner where that does not hold up other requests: SQLite may
    /// need milliseconds for one.
    pub async fn prepare(&self, statements: &[Statement]) {
        let is_new = |statement: &&Statement| !self.planner.knows(&statement.sql);
        let new: Vec<String> =
            statements.iter().filter(is_new).map(|statement| statement.sql.clone()).collect();
        if new.is_empty() {
            return;
        }
        let planner = self.planner.clone();
        let plan = move || new.iter().for_each(|sql| planner.prepare(sql));
        self.access.gateway.compute(plan).await;
    }
}

/// What a gateway stands on.
pub struct Reach {
    /// What the coordinators agree on, time and chance.
    pub surroundings: Arc<dyn Surroundings>,
    /// Connections to storage nodes.
    pub peers: PeerPool,
    /// The leaders that are known.
    pub leaders: Arc<Leaders>,
    /// What this coordinator may rely on without asking.
    pub leases: Arc<HeldLeases>,
}

/// The way from requests to partitions. Clones share it.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

struct Shared {
    surroundings: Arc<dyn Surroundings>,
    peers: PeerPool,
    leaders: Arc<Leaders>,
    brief_reads: BriefReads,
    planners: Planners,
    rowids: RowidQueues,
    interactive: Transactions,
    joining: Joining,
    workspace: Workspace,
    cache: ResultCache,
    leases: Arc<HeldLeases>,
    transactions: TransactionMetrics,
    /// Spreads reads that any replica may answer.
    turn: AtomicUsize,
}

impl Gateway {
    /// A gateway whose planners use `rules` and whose merged statements work within `workspace`.
    #[must_use]
    pub fn new(
        reach: Reach,
        rules: query::Rules,
        workspace: Workspace,
        transactions: TransactionMetrics,
    ) -> Gateway {
        let Reach { surroundings, peers, leaders, leases } = reach;
        let shared = Shared {
            surroundings,
            peers,
            leaders,
            brief_reads: BriefReads::default(),
            planners: Planners::new(rules),
            rowids: RowidQueues::default(),
            interactive: Transactions::default(),
            joining: Joining::default(),
            workspace,
            cache: ResultCache::default(),
            leases,
            transactions,
            turn: AtomicUsize::default(),
        };
        Gateway { shared: Arc::new(shared) }
    }

    /// Runs a request. `work` is called again when it has to be planned anew. The answer comes with what its
    /// client has seen then.
    pub async fn run<T, F>(
        &self,
        database: &str,
        options: &RequestOptions,
        work: impl Fn(Arc<Session>) -> F,
    ) -> Result<(T, Bookmark)>
    where
        F: Future<Output = Result<T>> + Send,
    {
        if let Some(transaction) = &options.transaction {
            return self.run_within(transaction, database, options, work).await;
        }
        loop {
            let session = self.begin(database, options).await?;
            let worked = match session.access.look_up().await {
                Ok(()) => work(session.clone()).await,
                Err(error) => Err(error),
            };
            match worked {
                Ok(answer) => return Ok((answer, session.access.bookmark())),
                Err(error) if session.access.lost_moment() && may_repeat(&session, &error) => {}
                Err(error) => self.may_start_again(&session, error).await?,
            }
        }
    }

    /// Plans against the catalog as it is known here, once that is as new as the client's bookmark.
    pub async fn begin(&self, database: &str, options: &RequestOptions) -> Result<Arc<Session>> {
        let mut catalog = self.shared.surroundings.view();
        if catalog.version < options.bookmark.catalog {
            catalog = self.at_version(options.bookmark.catalog, options.deadline).await?;
        }
        if ready(&catalog, database).is_none() {
            // Another coordinator may know it already.
            catalog = self.shared.surroundings.confirmed().await?;
        }
        let found = ready(&catalog, database).ok_or_else(|| database_not_found(database))?;
        let planner = self.planner_of(found).await?;
        let access = RequestAccess::new(self.clone(), planner.database().clone(), options);
        Ok(Arc::new(Session { planner, access }))
    }

    /// Whether a failed request deserves another plan: then the view is up to date; else its error is told.
    async fn may_start_again(&self, session: &Session, error: Error) -> Result<()> {
        let planned = session.access.database();
        let may_be_old = match error.code {
            ErrorCode::StaleSchema | ErrorCode::StalePartitionMap => true,
            // Names and columns may be newer than this coordinator's view.
            ErrorCode::SqlError | ErrorCode::TableNotFound | ErrorCode::CollectionNotFound => true,
            _ => false,
        };
        let deadline = session.access.deadline;
        if !may_be_old || !may_repeat(session, &error) {
            return Err(error);
        }
        let catalog = match self.shared.surroundings.confirmed().await {
            Ok(catalog) => catalog,
            Err(no_quorum) if error.code.http_status() == 404 => return Err(no_quorum),
            Err(_) => return Err(error),
        };
        let Some(found) = ready(&catalog, &planned.name) else {
            return Err(database_not_found(&planned.name));
        };
        if found.schema.version != planned.schema.version || found.buckets != planned.buckets {
            return Ok(());
        }
        if matches!(error.code, ErrorCode::StaleSchema | ErrorCode::StalePartitionMap) {
            // A change is being carried out and not published yet.
            return self.wait_for_change(catalog.version, deadline).await.map_err(|()| error);
        }
        Err(error)
    }

    /// Waits until the view is at least of a version.
    async fn at_version(&self, version: u64, deadline: Instant) -> Result<Arc<Catalog>> {
        let mut changed = self.shared.surroundings.changed();
        let reached =
            tokio::time::timeout_at(deadline, changed.wait_for(|reached| *reached >= version)).await;
        if !matches!(reached, Ok(Ok(_))) {
            let message = "this coordinator has not caught up with the bookmark in time";
            return Err(Error::new(ErrorCode::NoQuorum, message));
        }
        Ok(self.shared.surroundings.view())
    }

    async fn wait_for_change(&self, since: u64, deadline: Instant) -> Result<(), ()> {
        let mut changed = self.shared.surroundings.changed();
        let begun = Instant::now();
        let newer = tokio::time::timeout_at(deadline, changed.wait_for(|version| *version > since)).await;
        self.shared.transactions.waited(Wait::Schema, begun.elapsed());
        if matches!(newer, Ok(Ok(_))) { Ok(()) } else { Err(()) }
    }

    /// Changes a schema from the version before the one it leads to.
    async fn change_schema(&self, database: &str, change: SchemaChange, deadline: Instant) -> Result<()> {
        let before = change.schema.version.saturating_sub(1);
        let within = deadline.saturating_duration_since(Instant::now());
        self.shared.surroundings.change_schema(database.to_owned(), before, change, within).await
    }

    /// Forgets what belongs to databases that are gone. To be called now and then.
    pub fn tidy(&self) {
        let catalog = self.shared.surroundings.view();
        self.shared.leaders.retain(&catalog);
        self.shared.brief_reads.tidy();
        self.shared.planners.retain(&catalog);
        self.shared.cache.retain(&catalog);
        self.shared.leases.retain(|partition| catalog.partitions.contains_key(&partition));
        self.shared.interactive.tidy();
    }

    /// The planners of the databases in use.
    #[must_use]
    pub fn planners(&self) -> Vec<Arc<Planner>> {
        self.shared.planners.all()
    }

    /// The connections to other nodes.
    #[must_use]
    pub fn peers(&self) -> &PeerPool {
        &self.shared.peers
    }

    /// What merged statements take of memory and disk.
    #[must_use]
    pub fn workspace(&self) -> &Workspace {
        &self.shared.workspace
    }

    /// Runs work that computes for a while where it does not hold up other requests.
    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if self.shared.surroundings.computes_here() {
            return work();
        }
        join(tokio::task::spawn_blocking(work).await)
    }

    fn next_turn(&self) -> usize {
        self.shared.turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// The database of that name, if clients may see it.
#[must_use]
pub fn ready<'a>(catalog: &'a Catalog, name: &str) -> Option<&'a Database> {
    catalog.databases.get(name).filter(|database| database.state == DatabaseState::Ready)
}

/// Whether a request that failed has done nothing yet, and has time to be run again.
fn may_repeat(session: &Session, error: &Error) -> bool {
    let access = &session.access;
    error.outcome == Outcome::NotApplied && !access.wrote() && Instant::now() < access.deadline
}

/// The result of a task; its panic goes on in the caller.
fn join<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("blocking work is not cancelled once it has begun"),
        },
    }
}
