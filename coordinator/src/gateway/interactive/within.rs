//! Reads and writes of a request that belongs to a transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::digest::RowsDigest;
use common::entry::Effects;
use common::limits::RESULT_MAX;
use common::protocol::{
    Proof, Statement, StatementResult, StorageReply, StorageRequest, WorkItem, WriteRequest,
};
use common::row::RowBlock;
use common::tries::{LockClaim, TimeAndChance, Tried, TryRequest};
use common::{Error, ErrorCode, Result};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use parking_lot::Mutex;
use query::access::RowStream;
use tokio::time::Instant;

use super::super::access::RequestAccess;
use super::super::contention::LOCKED_MAX;
use super::super::moment::Moment;
use super::super::partition_call::{From, Repeat, Unanswered};
use super::super::surroundings::unix_ms;
use super::Journal;

/// Most bytes of rows that one read of a partition may bring to a transaction that also writes.
const READ_MAX: usize = 64 << 20;

/// The transaction that a request belongs to.
#[derive(Clone)]
pub(in crate::gateway) enum Within {
    /// One that only reads, at a moment.
    ReadOnly(Arc<Moment>),
    /// One that may change something.
    ReadWrite(Arc<Mutex<Journal>>),
}

/// The locks of a transaction.
#[derive(Debug)]
pub(in crate::gateway) struct Locks {
    /// The transaction as the partitions know it.
    pub(super) name: u128,
    /// When it began, in milliseconds since the Unix epoch.
    pub(super) began_ms: u64,
    /// When it took the first one.
    since: Option<Instant>,
    held: BTreeSet<usize>,
    /// Whether the request under way takes locks.
    pub(super) taking: bool,
}

impl Locks {
    pub(super) fn new(name: u128, began_ms: u64) -> Locks {
        Locks { name, began_ms, since: None, held: BTreeSet::new(), taking: false }
    }

    /// The partitions that it has locked.
    pub(super) fn held(&self) -> Vec<usize> {
        self.held.iter().copied().collect()
    }

    /// Notes that a partition is to be locked; nothing once the time for locks is over.
    fn claim(&mut self, index: usize) -> Option<LockClaim> {
        if !self.taking {
            return None;
        }
        let left = LOCKED_MAX.checked_sub(self.since.get_or_insert_with(Instant::now).elapsed())?;
        let holds_others = self.held.iter().any(|held| *held != index);
        self.held.insert(index);
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(0);
        Some(LockClaim { transaction: self.name, began_ms: self.began_ms, holds_others, left_ms })
    }
}

impl RequestAccess {
    /// Reads a partition with the transaction's own changes, and notes what was found. Answers all rows.
    pub(in crate::gateway) async fn read_within(
        &self,
        journal: &Mutex<Journal>,
        index: usize,
        statement: Statement,
    ) -> Result<(StatementResult, u64)> {
        let (own, locks) = {
            let journal = journal.lock();
            (journal.own(index), journal.locks.as_ref().is_some_and(|locks| locks.taking))
        };
        let mut pinned = None;
        let (result, log_index) = if own.rows.is_empty() && !locks && !may_vary(&statement.sql) {
            let request = self.read_request(index, statement.clone(), None)?;
            collect(self.stream_newest(request).await?).await?
        } else {
            let work = vec![WorkItem::Statement(statement.clone())];
            let held = *pinned.insert(self.pinned_now());
            let mut tried = self.attempt(journal, index, (own, work.clone()), u32::MAX, held).await?;
            if tried.refusal.is_some() {
                return Err(refused(journal, index, (work, u32::MAX, held), &tried)?);
            }
            let result = tried.results.pop().ok_or_else(|| Error::internal("a read was not answered"))?;
            if result.truncated {
                return Err(too_large(RESULT_MAX));
            }
            (result, tried.index)
        };
        let mut digest = RowsDigest::default();
        digest.add(&result.rows);
        let proof = Proof { statement, digest: digest.finish(), index: log_index, pinned };
        journal.lock().note_read(index, proof)?;
        Ok((result, log_index))
    }

    /// Tries work on its partitions with the transaction's own changes, and notes what came of it.
    pub(in crate::gateway) async fn write_within(
        &self,
        journal: &Mutex<Journal>,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        let pinned = self.pinned_now();
        let tries = work.iter().map(|(index, items)| {
            let own = journal.lock().own(*index);
            self.attempt(journal, *index, (own, items.clone()), max_rows, pinned)
        });
        let tried = join_all(tries).await;
        let (mut results, mut items_before) = (Vec::with_capacity(work.len()), 0);
        for ((index, items), tried) in work.into_iter().zip(tried) {
            let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
            let name_item = |mut error: Error| {
                error.statement = error.statement.map(|item| item.saturating_add(items_before));
                error
            };
            let tried = tried.map_err(name_item)?;
            if tried.refusal.is_some() {
                return Err(name_item(refused(journal, index, (items, max_rows, pinned), &tried)?));
            }
            journal.lock().note_tried(index, items, max_rows, pinned, &tried)?;
            items_before = items_before.saturating_add(count);
            results.push(tried.results);
        }
        Ok(results)
    }

    /// Time and chance as they are.
    fn pinned_now(&self) -> TimeAndChance {
        let surroundings = &self.gateway.shared.surroundings;
        TimeAndChance { now_ms: unix_ms(surroundings.now()), seed: surroundings.drawn() }
    }

    async fn attempt(
        &self,
        journal: &Mutex<Journal>,
        index: usize,
        (own, work): (Effects, Vec<WorkItem>),
        max_rows: u32,
        pinned: TimeAndChance,
    ) -> Result<Tried> {
        let target = self.target(index)?;
        let partition = target.partition;
        let write = WriteRequest { target, work, max_rows };
        let lock = journal.lock().locks.as_mut().and_then(|locks| locks.claim(index));
        let mut request = StorageRequest::Try(TryRequest { write, own, lock, pinned });
        let asked =
            self.gateway.ask(partition, From::Leader, Repeat::Freely, self.deadline, &mut request).await;
        match asked {
            Ok(StorageReply::Tried(tried)) => Ok(tried),
            Ok(_) => Err(Error::internal("a storage node sent a reply of another kind")),
            // Nothing of it stays in any case.
            Err(Unanswered::Refused(error) | Unanswered::Stale(error)) => {
                Err(error.with_outcome(common::Outcome::NotApplied))
            }
        }
    }
}

/// Notes work that was refused, if that tells the client something of the rows; answers the error.
fn refused(
    journal: &Mutex<Journal>,
    index: usize,
    (work, max_rows, pinned): (Vec<WorkItem>, u32, TimeAndChance),
    tried: &Tried,
) -> Result<Error> {
    let Some(refusal) = &tried.refusal else { return Err(Error::internal("what was done is no refusal")) };
    let mut journal = journal.lock();
    if tells_of_rows(&refusal.error) {
        journal.note_tried(index, work, max_rows, pinned, tried)?;
    }
    Ok(Error { ends_transaction: refusal.ends_transaction, ..refusal.error.clone() })
}

/// Whether an error may depend on what is stored: then it must be the same when the transaction commits.
pub(in crate::gateway) fn tells_of_rows(error: &Error) -> bool {
    !error.code.retryable() && matches!(error.code.http_status(), 400 | 404 | 409 | 412 | 413)
}

/// Whether a statement may ask for time or chance. That it does not is certain; it is done with both held otherwise.
fn may_vary(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    ["random", "date", "time", "julianday", "epoch", "now"].iter().any(|word| sql.contains(word))
}

/// All rows of a stream, and the log index of its snapshot.
async fn collect(mut rows: RowStream) -> Result<(StatementResult, u64)> {
    let (mut data, mut count) = (Vec::new(), 0);
    let columns = u32::try_from(rows.header.columns.len()).unwrap_or(u32::MAX);
    while let Some(block) = rows.blocks.next().await {
        let block = block?;
        data.extend_from_slice(&block.data);
        count += block.rows;
        if data.len() > READ_MAX {
            return Err(too_large(READ_MAX));
        }
    }
    let result = StatementResult {
        is_read: true,
        columns: rows.header.columns,
        types: rows.header.types,
        rows: RowBlock { columns, rows: count, data: data.into() },
        ..StatementResult::default()
    };
    Ok((result, rows.header.index))
}

fn too_large(bytes: usize) -> Error {
    let text = format!("a read within a transaction brings more than {} MiB of rows", bytes >> 20);
    Error::new(ErrorCode::ResultTooBig, text)
        .with_hint("read fewer rows, or read them in a transaction that only reads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_ask_for_time_or_chance_is_told_from_what_cannot() {
        for sql in
            ["SELECT RANDOM()", "SELECT * FROM t WHERE at < datetime('now')", "SELECT Current_Timestamp"]
        {
            assert!(may_vary(sql), "{sql}");
        }
        assert!(!may_vary("SELECT n FROM account WHERE id = 3"));
    }

    #[test]
    fn errors_that_depend_on_rows_are_told_from_others() {
        let tells = |code| tells_of_rows(&Error::new(code, "x"));
        assert!(tells(ErrorCode::UniqueViolation) && tells(ErrorCode::DocumentNotFound));
        assert!(tells(ErrorCode::PreconditionFailed) && tells(ErrorCode::SqlError));
        for other in [ErrorCode::SerializationFailure, ErrorCode::StatementTimeout, ErrorCode::NoQuorum] {
            assert!(!tells(other), "{other}");
        }
    }
}
