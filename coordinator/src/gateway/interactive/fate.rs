//! What became of a commit whose answer was lost.
//!
//! With the changes of a transaction its name is kept, in the same log entry of one partition: of the only one that it
//! changes, or of the first. Whoever does not know what became of a commit has that partition keep under the same
//! name that there is none, unless something is kept already. From then on one of both is true for ever, whatever is
//! still on its way: an entry that would commit finds the name taken. Where the coordinator is gone that knew the
//! partition, all partitions of the database are asked.
//!
//! Names are kept as long as idempotency keys. Of a transaction that began longer ago nothing can be learnt.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use common::idempotency::{IdempotencyKey, KEY_LIFE_MS, Keeps, Kept, Keyed, KeyedRequest};
use common::protocol::{StorageReply, StorageRequest, WorkItem, WriteRequest};
use common::{Error, Outcome, PartitionId, Result};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::super::access::RequestAccess;
use super::super::joint::Told;
use super::super::once::kept_in;
use super::super::partition_call::{From, Repeat};
use super::super::surroundings::unix_ms;
use super::super::{Bookmark, Gateway, RequestOptions, Session};
use super::name::began_ms;

/// What is kept under the name of a transaction that has committed.
const COMMITTED: &[u8] = b"committed";
/// What is kept under the name of one that has not, and will not.
const VOID: &[u8] = b"void";
/// A lost answer is looked for at least so long, even if the client's time is up.
const SEARCH_MIN: Duration = Duration::from_secs(5);
/// How much the clocks of coordinators and partitions may differ where names are forgotten.
const CLOCK_SLACK_MS: u64 = 60_000;

/// What became of a commit.
pub(super) enum Fate {
    /// It is done.
    Committed(Bookmark),
    /// It is not, and will not be.
    Void,
}

/// Where the name of a transaction is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeptAt {
    /// At this partition, if at all.
    Partition(PartitionId),
    /// Nobody remembers.
    Anywhere,
}

fn named(id: &str, kept: &'static [u8]) -> Keyed {
    let request = KeyedRequest { key: IdempotencyKey::of_transaction(id), digest: 0 };
    Keyed { request, keeps: Keeps::Answer(Bytes::from_static(kept)) }
}

impl RequestAccess {
    /// Commits work under the name of its transaction, which is kept at the partition `home`. Says no if it was kept
    /// there before that it does not commit. `locks` is the name by which partitions let it in.
    pub(super) async fn commit_as(
        &self,
        id: &str,
        home: PartitionId,
        mut work: Vec<(usize, Vec<WorkItem>)>,
        locks: Option<u128>,
    ) -> Result<bool> {
        let keyed = named(id, COMMITTED);
        if work.len() == 1 && locks.is_none() {
            let (index, mut items) = work.remove(0);
            items.insert(0, WorkItem::Key(keyed));
            let target = self.target(index)?;
            let mut request = StorageRequest::Write(WriteRequest { target, work: items, max_rows: 0 });
            // The name makes it safe to send the write again.
            let asked =
                self.gateway.ask(home, From::Leader, Repeat::Freely, self.deadline, &mut request).await;
            let StorageReply::Write(reply) = asked.map_err(|unanswered| self.gave_up(unanswered))? else {
                return Err(self.wrong_reply());
            };
            self.see(home, reply.index);
            return Ok(kept_in(&reply.results)?.is_none_or(|kept| is_committed(&kept)));
        }
        let at_home =
            |(index, _): &&mut (usize, _)| self.target(*index).is_ok_and(|target| target.partition == home);
        let Some((_, items)) = work.iter_mut().find(at_home) else {
            return Err(Error::internal("the home of a transaction takes no part in it"));
        };
        items.insert(0, WorkItem::Key(keyed));
        match self.write_jointly(locks, None, work, 0).await? {
            Told::Written(_) => Ok(true),
            Told::Known(kept) => Ok(is_committed(&kept)),
            Told::Prepared(_) | Told::Nothing(_) => {
                Err(Error::internal("a transaction's answer is known before")
                    .with_outcome(Outcome::NotApplied))
            }
        }
    }

    /// Learns what became of a commit.
    async fn settle(&self, id: &str, at: KeptAt) -> Result<Fate> {
        let partitions: Vec<PartitionId> = self.database().partitions().map(|(_, _, id)| id).collect();
        let everywhere: Vec<usize> = (0..partitions.len()).collect();
        let asked = match at {
            KeptAt::Partition(home) => partitions
                .iter()
                .position(|known| *known == home)
                .map_or(everywhere.clone(), |index| vec![index]),
            KeptAt::Anywhere => everywhere.clone(),
        };
        let kept = self.keep_at(asked, &named(id, VOID)).await;
        if kept.iter().any(|kept| matches!(kept, Ok(Some(kept)) if is_committed(kept))) {
            // Which partitions it has changed nobody remembers: the bookmark holds for all. And each answers once it knows
            // what became of what is prepared there, so that reads that follow see it.
            let look = Keyed { keeps: Keeps::Nothing, ..named(id, COMMITTED) };
            self.keep_at(everywhere, &look).await.into_iter().collect::<Result<Vec<_>>>()?;
            return Ok(Fate::Committed(self.bookmark()));
        }
        kept.into_iter().collect::<Result<Vec<_>>>().map(|_| Fate::Void)
    }

    /// Has partitions keep something; answers what was kept before.
    async fn keep_at(&self, indexes: Vec<usize>, keyed: &Keyed) -> Vec<Result<Option<Kept>>> {
        let asked = indexes.into_iter().map(|index| async move {
            let (kept, at) = self.keep(index, keyed.clone()).await?;
            self.see(self.target(index)?.partition, at);
            Ok(kept)
        });
        join_all(asked).await
    }
}

fn is_committed(kept: &Kept) -> bool {
    matches!(kept, Kept::Answer(answer) if &answer[..] == COMMITTED)
}

impl Gateway {
    /// Learns what became of a transaction's commit, once and for all. An error says that this cannot be learnt now.
    pub(super) async fn fate(
        &self,
        id: &str,
        database: &str,
        at: KeptAt,
        options: &RequestOptions,
    ) -> Result<Fate> {
        let deadline = options.deadline.max(Instant::now() + SEARCH_MIN);
        let options = RequestOptions { deadline, once: None, transaction: None, ..options.clone() };
        let settle = |session: Arc<Session>| async move { session.access.settle(id, at).await };
        let settled = self.run(database, &options, settle).await;
        settled.map(|(fate, _)| fate).map_err(|error| error.with_outcome(Outcome::Unknown))
    }
}

/// Whether the name of a transaction would still be kept if it had committed.
pub(super) fn is_remembered(id: &str, now: SystemTime) -> bool {
    began_ms(id).is_some_and(|began| unix_ms(now).abs_diff(began) < KEY_LIFE_MS - CLOCK_SLACK_MS)
}
