//! How one client request reaches the partitions of its database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::catalog::Database;
use common::protocol::{
    PartitionTarget, ReadLevel, ReadRequest, RowsHeader, Statement, StatementResult, StorageReply,
    StorageRequest, WorkItem, WriteRequest,
};
use common::row::RowBlock;
use common::schema::{Schema, TableKind, TableSpec};
use common::{Error, ErrorCode, Outcome, PartitionId, Result};
use futures_util::StreamExt as _;
use parking_lot::{Mutex, RwLock};
use query::access::{PartitionAccess, RowStream};
use query::schema::SchemaChange;
use sqlite::{DoneBefore, Workspace};
use tokio::time::Instant;

use super::contention::Contention;
use super::interactive::{Journal, Mark, Within, tells_of_rows};
use super::moment::Moment;
use super::partition_call::{From, Repeat, Unanswered};
use super::{Bookmark, Gateway, Once, RequestOptions};
use crate::metrics::Wait;

/// Half of the longest pause before a write that others got in the way of is tried for the second time. Each
/// further attempt waits up to twice as long, so that of many in each other's way some get through.
const BACK_OFF: Duration = Duration::from_millis(2);

/// The partitions of a database for one request: its read level, its bookmark, its deadline.
pub struct RequestAccess {
    pub(super) gateway: Gateway,
    /// The database as the request was planned on; changes when the request changes the schema.
    database: RwLock<Arc<Database>>,
    level: ReadLevel,
    pub(super) deadline: Instant,
    /// What the client has seen, and what this request has shown it.
    seen: Mutex<Bookmark>,
    /// Log index of the oldest state of each partition that this request has shown it.
    pub(super) oldest: Mutex<BTreeMap<PartitionId, u64>>,
    /// Whether something may have been written: then the request cannot be planned anew.
    wrote: AtomicBool,
    /// The attempt that it belongs to, if the request has an idempotency key.
    once: Option<Arc<Once>>,
    /// The moment that reads of several partitions see.
    moment: Mutex<Option<Arc<Moment>>>,
    /// Whether it was lost, with a partition's leader.
    lost_moment: AtomicBool,
    /// The transaction that the request belongs to.
    within: Option<Within>,
    /// What to go back to when work is tried again.
    tried_from: Mutex<Option<Mark>>,
    pub(super) begun: Instant,
    pub(super) contention: Mutex<Contention>,
}

impl RequestAccess {
    pub(super) fn new(gateway: Gateway, database: Arc<Database>, options: &RequestOptions) -> RequestAccess {
        RequestAccess {
            gateway,
            database: RwLock::new(database),
            level: options.level,
            deadline: options.deadline,
            seen: Mutex::new(options.bookmark.clone()),
            oldest: Mutex::default(),
            wrote: AtomicBool::new(false),
            once: options.once.clone(),
            moment: Mutex::new(None),
            lost_moment: AtomicBool::new(false),
            within: None,
            tried_from: Mutex::new(None),
            begun: Instant::now(),
            contention: Mutex::default(),
        }
    }

    /// The same request within a transaction.
    pub(super) fn within(&self, transaction: Within) -> RequestAccess {
        let (moment, mark) = match &transaction {
            Within::ReadOnly(moment) => (Some(moment.clone()), None),
            Within::ReadWrite(journal) => (None, Some(journal.lock().mark())),
        };
        let options = RequestOptions {
            level: self.level,
            deadline: self.deadline,
            bookmark: self.seen.lock().clone(),
            ..RequestOptions::default()
        };
        RequestAccess {
            moment: Mutex::new(moment),
            within: Some(transaction),
            tried_from: Mutex::new(mark),
            ..RequestAccess::new(self.gateway.clone(), self.database(), &options)
        }
    }

    pub(super) fn is_within_transaction(&self) -> bool {
        self.within.is_some()
    }

    fn journal(&self) -> Option<&Mutex<Journal>> {
        match &self.within {
            Some(Within::ReadWrite(journal)) => Some(journal),
            Some(Within::ReadOnly(_)) | None => None,
        }
    }

    /// The attempt that it belongs to, if the request has an idempotency key.
    pub(super) fn once(&self) -> Option<&Once> {
        self.once.as_deref()
    }

    /// Whether the request failed because the moment that it read at was lost: then it can be run again.
    pub(super) fn lost_moment(&self) -> bool {
        self.lost_moment.load(Ordering::Relaxed)
    }

    pub(super) fn lose_moment(&self) {
        self.lost_moment.store(true, Ordering::Relaxed);
    }

    /// The moment that reads of a partition see, if that is not the present.
    fn moment_of(&self, index: usize) -> Option<Arc<Moment>> {
        self.moment.lock().clone().filter(|moment| moment.shows(index))
    }

    /// Whether something may have been written.
    pub(super) fn wrote(&self) -> bool {
        self.wrote.load(Ordering::Relaxed)
    }

    /// What the client has seen once it has the answer.
    pub(super) fn bookmark(&self) -> Bookmark {
        if let Some(bookmark) = self.once().and_then(Once::bookmark) {
            return bookmark;
        }
        let mut bookmark = self.seen.lock().clone();
        bookmark.catalog = bookmark.catalog.max(self.gateway.shared.surroundings.view().version);
        bookmark
    }

    pub(super) fn database(&self) -> Arc<Database> {
        self.database.read().clone()
    }

    /// Addresses partitions as they are now known to be.
    pub(super) fn follow_schema(&self) {
        let view = self.gateway.shared.surroundings.view();
        let mut database = self.database.write();
        if let Some(changed) = view.databases.get(&database.name) {
            *database = Arc::new(changed.clone());
        }
    }

    pub(super) fn see(&self, partition: PartitionId, index: u64) {
        self.seen.lock().see(partition, index);
        self.oldest
            .lock()
            .entry(partition)
            .and_modify(|oldest| *oldest = index.min(*oldest))
            .or_insert(index);
    }

    /// What a read of the partition must see at least.
    pub(super) fn seen(&self, partition: PartitionId) -> u64 {
        self.seen.lock().of(partition)
    }

    /// What a request to the partition at an index carries.
    pub(super) fn target(&self, index: usize) -> Result<PartitionTarget> {
        let database = self.database.read();
        let (_, bucket, partition) = database.partition(index).ok_or_else(|| {
            Error::internal(format!("database '{}' has no partition {index}", database.name))
        })?;
        Ok(PartitionTarget {
            partition,
            epoch: bucket.epoch,
            schema_version: database.schema.version,
            timeout_ms: 0,
        })
    }

    pub(super) fn read_request(
        &self,
        bucket: usize,
        statement: Statement,
        max_rows: Option<u32>,
    ) -> Result<ReadRequest> {
        let target = self.target(bucket)?;
        let at_least = self.seen(target.partition);
        Ok(ReadRequest { target, level: self.level, at_least, statement, max_rows, pin: None })
    }

    pub(super) fn reads_from(&self) -> From {
        match self.level {
            ReadLevel::Stale | ReadLevel::StaleWithin(_) => From::Any,
            ReadLevel::Leader | ReadLevel::Linearizable => From::Leader,
        }
    }

    /// Tries a write of the transaction that the request belongs to.
    async fn write_tried(
        &self,
        journal: &Mutex<Journal>,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        let done = self.write_within(journal, work, max_rows).await;
        let mut tried_from = self.tried_from.lock();
        match (&done, tried_from.take()) {
            (Err(error), Some(mark)) if tells_of_rows(error) => journal.lock().take_back(&mark),
            // What was read for this attempt is of no use for the next one.
            (Err(_), Some(mark)) => journal.lock().cut(&mark),
            _ => {}
        }
        *tried_from = Some(journal.lock().mark());
        done
    }

    async fn write_one(
        &self,
        bucket: usize,
        work: Vec<WorkItem>,
        max_rows: u32,
    ) -> Result<Vec<StatementResult>> {
        let target = self.target(bucket)?;
        let partition = target.partition;
        let mut request = StorageRequest::Write(WriteRequest { target, work, max_rows });
        let asked =
            self.gateway.ask(partition, From::Leader, Repeat::Never, self.deadline, &mut request).await;
        match asked.map_err(|unanswered| self.gave_up(unanswered))? {
            StorageReply::Write(reply) => {
                self.wrote.store(true, Ordering::Relaxed);
                self.see(partition, reply.index);
                Ok(reply.results)
            }
            _ => Err(self.wrong_reply()),
        }
    }

    /// Changes partitions, all of them or none.
    pub(super) async fn write_work(
        &self,
        mut work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        let has_locks = self.contention.lock().name().is_some();
        match (work.len(), self.once()) {
            (0, _) => Ok(Vec::new()),
            (_, Some(once)) => self.write_once(once, work, max_rows).await,
            // Locks let in transactions over partitions, by their names.
            (1, None) if !has_locks => {
                let (bucket, items) = work.remove(0);
                Ok(vec![self.write_one(bucket, items, max_rows).await?])
            }
            (_, None) => self.write_many(work, max_rows).await,
        }
    }

    /// An error as the request sees it; a write of unknown fate ends the possibility of planning anew.
    pub(super) fn gave_up(&self, unanswered: Unanswered) -> Error {
        let (Unanswered::Refused(error) | Unanswered::Stale(error)) = unanswered;
        if error.outcome != Outcome::NotApplied {
            self.wrote.store(true, Ordering::Relaxed);
        }
        error
    }

    /// The same database for work on the catalog that others may wait for too: with a deadline of its own.
    pub(super) fn for_catalog_work(&self) -> RequestAccess {
        let options = RequestOptions::default();
        RequestAccess::new(self.gateway.clone(), self.database(), &options)
    }

    pub(super) fn note_written(&self) {
        self.wrote.store(true, Ordering::Relaxed);
    }

    pub(super) fn wrong_reply(&self) -> Error {
        self.note_written();
        Error::internal("a storage node sent a reply of another kind").with_outcome(Outcome::Unknown)
    }
}

/// Whether a change of the schema does nothing but make a collection, which no statement can have missed.
fn makes_a_collection(before: &Schema, after: &Schema) -> bool {
    let is_new = |table: &&TableSpec| before.table(&table.name).is_none();
    let new: Vec<&TableSpec> = after.tables.values().filter(is_new).collect();
    after.tables.len() == before.tables.len() + 1
        && matches!(new.as_slice(), [table] if table.kind == TableKind::Collection)
}

/// The error of a request that changes none of the client's data.
pub(super) fn nothing_written(unanswered: Unanswered) -> Error {
    let (Unanswered::Refused(error) | Unanswered::Stale(error)) = unanswered;
    error.with_outcome(Outcome::NotApplied)
}

impl PartitionAccess for RequestAccess {
    async fn read(&self, bucket: usize, statement: Statement, max_rows: u32) -> Result<StatementResult> {
        if let Some(journal) = self.journal() {
            let (mut result, _) = self.read_within(journal, bucket, statement).await?;
            result.cut(max_rows);
            return Ok(result);
        }
        self.check_nothing_prepared()?;
        let request = self.read_request(bucket, statement, Some(max_rows))?;
        if let Some(moment) = self.moment_of(bucket) {
            return self.read_at(&moment, bucket, request).await;
        }
        let partition = request.target.partition;
        let mut request = StorageRequest::Read(request);
        let from = self.reads_from();
        let asked = self.gateway.ask(partition, from, Repeat::Freely, self.deadline, &mut request).await;
        match asked.map_err(nothing_written)? {
            StorageReply::Rows { result, index } => {
                self.see(partition, index);
                Ok(result)
            }
            _ => Err(Error::internal("a storage node sent a reply of another kind")),
        }
    }

    async fn stream(&self, bucket: usize, statement: Statement) -> Result<RowStream> {
        if let Some(journal) = self.journal() {
            let (result, index) = self.read_within(journal, bucket, statement).await?;
            let header = RowsHeader { columns: result.columns, types: result.types, index };
            let blocks = futures_util::stream::iter([Ok(result.rows)]).boxed();
            return Ok(RowStream { header, blocks });
        }
        self.check_nothing_prepared()?;
        let request = self.read_request(bucket, statement, None)?;
        match self.moment_of(bucket) {
            Some(moment) => self.stream_at(&moment, bucket, request).await,
            None => self.stream_newest(request).await,
        }
    }

    async fn read_at_one_moment(&self, partitions: Vec<usize>, reads: usize) -> Result<()> {
        let is_seen = |index: &usize| self.moment_of(*index).is_some();
        // The weaker levels promise nothing about several partitions; transactions have their own ways.
        if self.within.is_some() || self.level != ReadLevel::Linearizable || partitions.iter().all(is_seen) {
            return Ok(());
        }
        let moment = self.agree_on_moment(&partitions, reads).await?;
        *self.moment.lock() = Some(Arc::new(moment));
        Ok(())
    }

    async fn read_briefly(
        &self,
        partitions: &[usize],
        statement: &Statement,
    ) -> Result<Option<Vec<RowBlock>>> {
        let has_moment = self.moment.lock().is_some();
        if self.within.is_some() || self.level != ReadLevel::Linearizable || has_moment {
            return Ok(None);
        }
        self.check_nothing_prepared()?;
        self.read_at_once(partitions, statement).await
    }

    async fn write(
        &self,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        match &self.within {
            Some(Within::ReadOnly(_)) => return Err(only_reads()),
            Some(Within::ReadWrite(journal)) => {
                return self.write_tried(journal, work, max_rows).await;
            }
            None => {}
        }
        // Reads that follow see what is written here.
        self.moment.lock().take();
        let partitions = work.iter().map(|(index, _)| *index).collect();
        let done = self.write_work(work, max_rows).await;
        let contention = &self.contention;
        contention.lock().note(partitions, done.as_ref().err());
        done
    }

    fn holds_writes_back(&self) -> bool {
        self.once.is_some()
    }

    fn commits_later(&self) -> bool {
        self.journal().is_some()
    }

    fn done_before(&self) -> Option<DoneBefore> {
        self.journal()?.lock().done
    }

    fn note_done(&self, results: &[StatementResult]) {
        if let Some(journal) = self.journal() {
            journal.lock().note_done(results);
        }
    }

    async fn allocate_rowids(&self, table: &str, count: u64) -> Result<i64> {
        let first = self.gateway.allocate_rowids(self, table, count).await?;
        let own = self.journal().and_then(|journal| journal.lock().greatest_rowid(table));
        match own.filter(|own| *own >= first && *own < i64::MAX) {
            None => Ok(first),
            // What the transaction has inserted itself comes first.
            Some(own) => {
                let behind_own = own.abs_diff(first).saturating_add(1).max(count);
                let next = self.gateway.allocate_rowids(self, table, behind_own).await?;
                Ok(next.max(own + 1))
            }
        }
    }

    async fn release_rowids(&self, table: &str, first: i64, count: u64) {
        self.gateway.release_rowids(&self.database().name, table, first, count).await;
    }

    async fn rowids_set(&self, table: &str, _greatest: i64) -> Result<()> {
        if let Some(journal) = self.journal() {
            journal.lock().rowids_set.insert(table.to_owned());
        }
        self.gateway.rowids_set(&self.database().name, table).await
    }

    async fn change_schema(&self, change: SchemaChange) -> Result<()> {
        let before = self.database();
        if matches!(self.within, Some(Within::ReadOnly(_))) {
            return Err(only_reads());
        }
        if self.within.is_some() && !makes_a_collection(&before.schema, &change.schema) {
            return Err(Error::not_supported(
                "a transaction cannot change the schema",
                "change it with a request of its own",
            ));
        }
        let name = before.name.clone();
        self.gateway.change_schema(&name, change, self.deadline).await?;
        self.note_written();
        self.note_schema_change();
        self.follow_schema();
        Ok(())
    }

    async fn change_schema_and_rows(
        &self,
        change: SchemaChange,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        // Reads that follow see what is written here.
        self.moment.lock().take();
        self.change_all(change, work, max_rows).await
    }

    async fn back_off(&self, attempts: usize) {
        let most = BACK_OFF * 2_u32.saturating_pow(u32::try_from(attempts).unwrap_or(u32::MAX).min(6));
        let most_us = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        let pause = Duration::from_micros(self.gateway.shared.surroundings.drawn() % most_us);
        let begun = Instant::now();
        tokio::time::sleep_until(self.deadline.min(begun + pause)).await;
        self.gateway.shared.transactions.waited(Wait::Conflict, begun.elapsed());
        self.lock_after(attempts).await;
    }

    fn deadline(&self) -> Option<std::time::Instant> {
        Some(self.deadline.into_std())
    }

    async fn deadline_passed(&self) {
        tokio::time::sleep_until(self.deadline).await;
    }

    fn workspace(&self) -> Workspace {
        self.gateway.workspace().clone()
    }

    fn detach(&self, work: impl FnOnce() + Send + 'static) {
        if self.may_wait() {
            // Whoever wants the answer hears of a panic by the answer's end.
            drop(tokio::task::spawn_blocking(work));
        } else {
            work();
        }
    }

    fn may_wait(&self) -> bool {
        !self.gateway.shared.surroundings.computes_here()
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.gateway.compute(work).await
    }
}

fn only_reads() -> Error {
    Error::new(ErrorCode::SqlForbidden, "the transaction only reads")
        .with_hint("begin one without \"read_only\" to change something")
}
