//! Reads whose answers are kept, and given again when nothing that they depend on has changed.
//!
//! An answer is kept with the partitions that were read for it and the log index of the oldest state that was
//! seen of each, which is what bookmarks are made of. Before it is given again, each of these partitions has to
//! have stayed as it was since then, or at least the tables that were read, or the rows, where the question names them
//! by a key. That is known in one of two ways:
//!
//! - This coordinator holds a lease on the partition ([`common::lease`]): its state changes for nobody to see
//!   before the lease is given back or is over. Nobody is asked.
//! - The partition's leader says whether any entry has changed its state, and has a majority confirm that it
//!   leads, just as for a read. This asks nothing of clocks, and with it comes a lease, unless the partition is
//!   written so often that its writers would be kept waiting.
//!
//! So an answer out of the cache is as fresh as a linearizable read, whoever wrote, through whichever coordinator, and
//! by whatever way. The leases alone suppose that no clock runs a tenth faster than another; a read that passes the
//! cache by does not.
//!
//! All snapshots were taken before the leases are looked at, all at one moment, and before the first confirmation
//! begins. When every partition has stayed as it was from its snapshot to that moment, and beyond it to its
//! confirmation, all of them were so together at a moment within the request that asks: the answer is that moment's.
//!
//! A partition with a transaction in doubt confirms nothing and grants nothing; a read decides then what is to be
//! seen of it.

use std::sync::Arc;

use common::catalog::Database;
use common::dependency::Dependency;
use common::lease::LEASE;
use common::protocol::{PartitionTarget, ReadLevel, Statement, StorageReply, StorageRequest};
use common::{Error, PartitionId, Result};
use consensus_runtime::lease_clock;
use futures_util::future::join_all;
use query::Planner;
use tokio::time::Instant;

use super::partition_call::{From, Repeat};
use super::{Bookmark, Gateway, RequestAccess, RequestOptions, Session, may_repeat, ready};
use crate::result_cache::leases::Standing;
use crate::result_cache::{CacheStats, Kept, Question, ResultCache, Weighed};

/// What the cache had to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// The answer comes from it.
    Hit,
    /// It had no answer that was still true.
    Miss,
    /// It was not asked.
    Bypass,
}

impl CacheUse {
    /// As the header `X-Cache` says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CacheUse::Hit => "hit",
            CacheUse::Miss => "miss",
            CacheUse::Bypass => "bypass",
        }
    }
}

/// An answer, what its client has seen with it, and where it comes from.
pub struct Found<T> {
    /// The answer.
    pub answer: Arc<T>,
    /// What its client has seen then.
    pub bookmark: Bookmark,
    /// Where it comes from.
    pub cache: CacheUse,
}

/// What may be a read whose answer can be kept.
pub trait Asking: Sync {
    /// Texts of SQL that have to be planned before the question is known.
    fn texts(&self) -> &[Statement] {
        &[]
    }

    /// What is asked. `None` if the answer may not be kept, whatever the schema says.
    fn question(&self) -> Option<Question>;

    /// Whether the answer may be kept: nothing is written, and it is the same each time.
    fn is_repeatable(&self, _planner: &Planner) -> bool {
        true
    }

    /// What the answer depends on. Without names it is everything.
    fn dependencies(&self, _planner: &Planner) -> Vec<Dependency> {
        Vec::new()
    }
}

/// A question that is known whatever the schema says.
pub struct Known<D> {
    /// What is asked, if the answer may be kept.
    pub question: Option<Question>,
    /// Says what the answer depends on.
    pub dependencies: D,
}

impl<D: Fn(&Planner) -> Vec<Dependency> + Sync> Asking for Known<D> {
    fn question(&self) -> Option<Question> {
        self.question.clone()
    }

    fn dependencies(&self, planner: &Planner) -> Vec<Dependency> {
        (self.dependencies)(planner)
    }
}

/// What the leases say of an answer that is kept.
#[derive(Default)]
struct Standings {
    /// Partitions that have stayed as they were, with a log index up to which that is so.
    unchanged: Vec<(PartitionId, u64)>,
    /// Leases that are to be asked for again: partitions with the log index that the answer is of.
    to_renew: Vec<(PartitionId, u64)>,
    /// Partitions of which the leases say too little, with the log index that the answer is of.
    unknown: Vec<(PartitionId, u64)>,
}

impl Gateway {
    /// As [`Gateway::run`], for what may be a read whose answer can be kept.
    pub async fn read<T, F>(
        &self,
        database: &str,
        options: &RequestOptions,
        asking: &impl Asking,
        work: impl Fn(Arc<Session>) -> F + Send + Sync,
    ) -> Result<Found<T>>
    where
        T: Weighed + Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send,
    {
        match self.recall(database, options, asking) {
            Some(found) => Ok(found),
            // On the heap: what a hit hands from one to the next is small then.
            None => Box::pin(self.confirm_or_read(database, options, asking, work)).await,
        }
    }

    /// The answer that is kept, if the leases alone say that it is true still.
    fn recall<T: Send + Sync + 'static>(
        &self,
        database: &str,
        options: &RequestOptions,
        asking: &impl Asking,
    ) -> Option<Found<T>> {
        let cache = &self.shared.cache;
        let catalog = self.shared.surroundings.view();
        if !may_use_cache(options) || catalog.version < options.bookmark.catalog || !cache.obey(catalog.cache)
        {
            return None;
        }
        let now = ready(&catalog, database)?;
        // Whatever is kept was found to be repeatable.
        let kept = cache.get(&asking.question()?)?;
        let standings = self.standings(&kept, now)?;
        let answer = kept.answer.clone().downcast().ok()?;
        if !standings.unknown.is_empty() {
            return None;
        }
        if !standings.to_renew.is_empty() {
            let access = RequestAccess::new(self.clone(), kept.database.clone(), options);
            standings
                .to_renew
                .into_iter()
                .for_each(|(partition, since)| self.renew(&access, partition, since));
        }
        let mut bookmark = options.bookmark.clone();
        bookmark.catalog = catalog.version;
        standings.unchanged.into_iter().for_each(|(partition, index)| bookmark.see(partition, index));
        cache.count_leased();
        cache.count(database, true);
        Some(Found { answer, bookmark, cache: CacheUse::Hit })
    }

    /// Gives the answer that is kept once the partitions' leaders have confirmed it, or reads.
    async fn confirm_or_read<T, F>(
        &self,
        database: &str,
        options: &RequestOptions,
        asking: &impl Asking,
        work: impl Fn(Arc<Session>) -> F + Send + Sync,
    ) -> Result<Found<T>>
    where
        T: Weighed + Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send,
    {
        if let Some(transaction) = &options.transaction {
            let (answer, bookmark) = self.run_within(transaction, database, options, work).await?;
            return Ok(Found { answer: Arc::new(answer), bookmark, cache: CacheUse::Bypass });
        }
        let cache = &self.shared.cache;
        let may_use = may_use_cache(options) && cache.obey(self.shared.surroundings.view().cache);
        loop {
            let session = self.begin(database, options).await?;
            let question = if may_use {
                session.prepare(asking.texts()).await;
                asking.question().filter(|_| asking.is_repeatable(&session.planner))
            } else {
                None
            };
            let known = question.as_ref().and_then(|question| cache.get(question));
            if let Some(kept) = known {
                if let Some(answer) = self.confirmed(&session.access, &kept).await {
                    cache.count(database, true);
                    return Ok(Found { answer, bookmark: session.access.bookmark(), cache: CacheUse::Hit });
                }
                question.iter().for_each(|question| cache.forget(question));
            }
            let worked = match session.access.look_up().await {
                Ok(()) => work(session.clone()).await,
                Err(error) => Err(error),
            };
            match worked {
                Ok(answer) => {
                    let answer = Arc::new(answer);
                    let bookmark = session.access.bookmark();
                    let Some(question) = question else {
                        return Ok(Found { answer, bookmark, cache: CacheUse::Bypass });
                    };
                    cache.count(database, false);
                    if let Some(read) = session.access.states_read() {
                        let planned = session.planner.database().clone();
                        let dependencies = asking.dependencies(&session.planner);
                        cache.put(question, Kept::new(answer.clone(), planned, read, dependencies));
                    }
                    return Ok(Found { answer, bookmark, cache: CacheUse::Miss });
                }
                Err(error) if session.access.lost_moment() && may_repeat(&session, &error) => {}
                Err(error) => self.may_start_again(&session, error).await?,
            }
        }
    }

    /// What the leases say of an answer, for a request to the database as it is now. `None` if it is not true any more.
    fn standings(&self, kept: &Kept, database: &Database) -> Option<Standings> {
        if !is_same(&kept.database, database) {
            return None;
        }
        let read = kept.read();
        let mut found = Standings::default();
        for (standing, (partition, since)) in
            self.shared.leases.standings(&read, lease_clock).into_iter().zip(read)
        {
            match standing {
                Standing::Unchanged { index, renew } => {
                    found.unchanged.push((partition, index));
                    if renew {
                        found.to_renew.push((partition, since));
                    }
                }
                // Of single tables and rows the leader knows more than the lease.
                Standing::Changed if kept.dependencies.is_empty() => return None,
                Standing::Changed | Standing::Unknown => found.unknown.push((partition, since)),
            }
        }
        Some(found)
    }

    /// The answer that is kept, if it is still true.
    async fn confirmed<T: Send + Sync + 'static>(
        &self,
        access: &RequestAccess,
        kept: &Kept,
    ) -> Option<Arc<T>> {
        let standings = self.standings(kept, &access.database())?;
        let answer = kept.answer.clone().downcast().ok()?;
        standings.unchanged.into_iter().for_each(|(partition, index)| access.see(partition, index));
        standings.to_renew.into_iter().for_each(|(partition, since)| self.renew(access, partition, since));
        if standings.unknown.is_empty() {
            self.shared.cache.count_leased();
            return Some(answer);
        }
        let confirmations = standings
            .unknown
            .into_iter()
            .map(|(partition, since)| self.is_unchanged(access, kept, partition, since));
        join_all(confirmations).await.into_iter().all(|unchanged| unchanged).then_some(answer)
    }

    /// Whether a partition's state is the one of a log index still. Any error means no: the read that follows
    /// meets it again, and says more about it. With the answer may come a lease, so that the next one need not ask.
    async fn is_unchanged(
        &self,
        access: &RequestAccess,
        kept: &Kept,
        partition: PartitionId,
        since: u64,
    ) -> bool {
        let Ok(target) = access.target_of(partition) else { return false };
        match self.ask_for_lease(target, since, kept.dependencies.clone(), access.deadline).await {
            Some((unchanged, index)) => {
                access.see(partition, index);
                if unchanged {
                    kept.confirm(partition, index);
                }
                unchanged
            }
            None => false,
        }
    }

    /// Asks for a lease again while the one before still holds. Nobody waits for it.
    fn renew(&self, access: &RequestAccess, partition: PartitionId, since: u64) {
        let Ok(target) = access.target_of(partition) else { return };
        let gateway = self.clone();
        tokio::spawn(async move {
            gateway.ask_for_lease(target, since, Vec::new(), Instant::now() + LEASE).await
        });
    }

    /// Asks whether a partition has stayed as it was, and for a lease. Answers that, and up to which log index.
    async fn ask_for_lease(
        &self,
        target: PartitionTarget,
        since: u64,
        dependencies: Vec<Dependency>,
        deadline: Instant,
    ) -> Option<(bool, u64)> {
        let (partition, leases) = (target.partition, &self.shared.leases);
        let mut request =
            StorageRequest::Unchanged { target, since, dependencies, holder: leases.holder().clone() };
        // Before it is sent for the first time.
        let asked_for = leases.ask(partition, lease_clock());
        let asked = self.ask(partition, From::Leader, Repeat::Freely, deadline, &mut request).await;
        let Ok(StorageReply::Unchanged { unchanged, index, lease }) = asked else {
            leases.answered(asked_for, None);
            return None;
        };
        leases.answered(asked_for, lease);
        Some((unchanged, index))
    }

    /// The answers that this coordinator keeps.
    #[must_use]
    pub fn cache(&self) -> &ResultCache {
        &self.shared.cache
    }

    /// What has become of them so far.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.shared.cache.obey(self.shared.surroundings.view().cache);
        self.shared.cache.stats()
    }
}

impl RequestAccess {
    /// The partitions that were read, each with the log index of the oldest state that was seen of it. `None` if the
    /// answer depends on anything else: on no partition, or on what the request itself wrote.
    fn states_read(&self) -> Option<Vec<(PartitionId, u64)>> {
        let oldest = self.oldest.lock();
        let depends_on_them = !self.wrote() && !oldest.is_empty();
        depends_on_them.then(|| oldest.iter().map(|(partition, index)| (*partition, *index)).collect())
    }

    /// What a request to a partition carries.
    fn target_of(&self, partition: PartitionId) -> Result<PartitionTarget> {
        let index = self.database().partitions().position(|(_, _, id)| id == partition);
        let missing = || Error::internal(format!("partition {partition} is of another database"));
        self.target(index.ok_or_else(missing)?)
    }
}

/// Whether a request may be answered from the cache.
fn may_use_cache(options: &RequestOptions) -> bool {
    options.cache && options.transaction.is_none() && options.level == ReadLevel::Linearizable
}

/// Whether a plan for one is a plan for the other.
fn is_same(kept: &Database, now: &Database) -> bool {
    std::ptr::eq(kept, now)
        || (kept.name == now.name
            && kept.schema.version == now.schema.version
            && kept.buckets == now.buckets
            && kept.column_groups == now.column_groups)
}
