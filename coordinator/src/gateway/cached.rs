//! Reads whose answers are kept, and given again when nothing that they depend on has changed.
//!
//! An answer is kept with the partitions that were read for it and the log index of the oldest state that was
//! seen of each, which is what bookmarks are made of. Before it is given again, each of these partitions has to
//! have stayed as it was since then, or at least the tables that were read, where the question names them. That is
//! known in one of two ways:
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
use common::lease::LEASE;
use common::protocol::{PartitionTarget, ReadLevel, StorageReply, StorageRequest};
use common::{Error, PartitionId, Result};
use consensus_runtime::lease_clock;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::partition_call::{From, Repeat};
use super::{Bookmark, Gateway, RequestAccess, RequestOptions, Session, may_repeat};
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

impl Gateway {
    /// As [`Gateway::run`], for what may be a read whose answer can be kept. `question` says what is asked, or
    /// `None` if the answer may not be kept: because something is written, or because it may differ each time.
    pub async fn read<T, Q, F>(
        &self,
        database: &str,
        options: &RequestOptions,
        question: impl Fn(Arc<Session>) -> Q,
        work: impl Fn(Arc<Session>) -> F,
    ) -> Result<Found<T>>
    where
        T: Weighed + Send + Sync + 'static,
        Q: Future<Output = Option<Question>> + Send,
        F: Future<Output = Result<T>> + Send,
    {
        if let Some(transaction) = &options.transaction {
            let (answer, bookmark) = self.run_within(transaction, database, options, work).await?;
            return Ok(Found { answer: Arc::new(answer), bookmark, cache: CacheUse::Bypass });
        }
        let cache = &self.shared.cache;
        let may_use = options.cache
            && options.level == ReadLevel::Linearizable
            && cache.obey(self.shared.catalog.view().cache);
        loop {
            let session = self.begin(database, options).await?;
            let question = if may_use { question(session.clone()).await } else { None };
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
                        let tables = question.tables();
                        cache.put(question, Kept::new(answer.clone(), planned, read, tables));
                    }
                    return Ok(Found { answer, bookmark, cache: CacheUse::Miss });
                }
                Err(error) if session.access.lost_moment() && may_repeat(&session, &error) => {}
                Err(error) => self.may_start_again(&session, error).await?,
            }
        }
    }

    /// The answer that is kept, if it is still true.
    async fn confirmed<T: Send + Sync + 'static>(
        &self,
        access: &RequestAccess,
        kept: &Kept,
    ) -> Option<Arc<T>> {
        if !is_same(&kept.database, &access.database()) {
            return None;
        }
        let answer = kept.answer.clone().downcast().ok()?;
        let read = kept.read();
        let standings = self.shared.leases.standings(&read, lease_clock);
        // Of single tables the leader knows more than the lease.
        if kept.tables.is_empty() && standings.contains(&Standing::Changed) {
            return None;
        }
        let mut unknown = Vec::new();
        for ((partition, since), standing) in read.into_iter().zip(standings) {
            match standing {
                Standing::Unchanged { index, renew } => {
                    access.see(partition, index);
                    if renew {
                        self.renew(access, partition, since);
                    }
                }
                Standing::Changed | Standing::Unknown => unknown.push((partition, since)),
            }
        }
        if unknown.is_empty() {
            self.shared.cache.count_leased();
            return Some(answer);
        }
        let confirmations =
            unknown.into_iter().map(|(partition, since)| self.is_unchanged(access, kept, partition, since));
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
        match self.ask_for_lease(target, since, kept.tables.to_vec(), access.deadline).await {
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
        tables: Vec<String>,
        deadline: Instant,
    ) -> Option<(bool, u64)> {
        let (partition, leases) = (target.partition, &self.shared.leases);
        let mut request =
            StorageRequest::Unchanged { target, since, tables, holder: leases.holder().clone() };
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
        self.shared.cache.obey(self.shared.catalog.view().cache);
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

/// Whether a plan for one is a plan for the other.
fn is_same(kept: &Arc<Database>, now: &Arc<Database>) -> bool {
    Arc::ptr_eq(kept, now)
        || (kept.name == now.name
            && kept.schema.version == now.schema.version
            && kept.buckets == now.buckets
            && kept.column_groups == now.column_groups)
}
