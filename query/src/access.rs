//! How a query reaches the partitions. The coordinator's gateway implements it, one value per client
//! request; tests implement it over files in one process.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use common::Result;
use common::protocol::{RowsHeader, Statement, StatementResult, WorkItem};
use common::row::RowBlock;
use futures_util::Stream;
use sqlite::{DoneBefore, Workspace};

use crate::schema::SchemaChange;

/// Blocks of rows as they arrive.
pub type RowBlocks = Pin<Box<dyn Stream<Item = Result<RowBlock>> + Send>>;

/// Rows of one partition.
pub struct RowStream {
    /// Columns of the rows.
    pub header: RowsHeader,
    /// The rows; dropping it stops the partition's statement.
    pub blocks: RowBlocks,
}

/// The partitions of one database, addressed by bucket, for one request of a client: it carries the read
/// level, the bookmark and the deadline.
pub trait PartitionAccess: Send + Sync {
    /// Reads at most `max_rows` rows of one bucket.
    fn read(
        &self,
        bucket: usize,
        statement: Statement,
        max_rows: u32,
    ) -> impl Future<Output = Result<StatementResult>> + Send;

    /// Reads any number of rows of one bucket.
    fn stream(&self, bucket: usize, statement: Statement) -> impl Future<Output = Result<RowStream>> + Send;

    /// Has the reads that follow see these partitions as they were at one moment, until something is written.
    /// So many of a partition may be under way at once. By default each read sees the newest state.
    fn read_at_one_moment(
        &self,
        _partitions: Vec<usize>,
        _reads: usize,
    ) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Asks partitions for the same, as they are at one moment, if each can answer at once with few rows. `None` if
    /// one cannot, or if they find no common moment: then the read has to be done the other way. Reads that follow are
    /// of moments of their own.
    fn read_briefly(
        &self,
        _partitions: &[usize],
        _statement: &Statement,
    ) -> impl Future<Output = Result<Option<Vec<RowBlock>>>> + Send {
        std::future::ready(Ok(None))
    }

    /// Changes buckets, all of them or none. The answer has one list per element of `work`, with one result
    /// per item. An element's buckets are distinct. The `statement` of an error is the number of the item that
    /// failed, counted through all elements in their order.
    fn write(
        &self,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> impl Future<Output = Result<Vec<Vec<StatementResult>>>> + Send;

    /// Whether reads of the request do not see what it has written itself: then what must be seen goes along with
    /// the write, as one atomic batch.
    fn holds_writes_back(&self) -> bool {
        false
    }

    /// Whether the request belongs to a transaction of several, which commits with none of them.
    fn commits_later(&self) -> bool {
        false
    }

    /// What the statements of the transaction's requests before this one have done; `None` if there were none, or if
    /// it belongs to no transaction of several.
    fn done_before(&self) -> Option<DoneBefore> {
        None
    }

    /// Says what a client's statements have done, for the requests of the transaction that follow.
    fn note_done(&self, _results: &[StatementResult]) {}

    /// Takes `count` rowids of a table in a row; answers the first.
    fn allocate_rowids(&self, table: &str, count: u64) -> impl Future<Output = Result<i64>> + Send;

    /// Gives rowids back that were allocated and not used.
    fn release_rowids(&self, table: &str, first: i64, count: u64) -> impl Future<Output = ()> + Send;

    /// Says, before the rows are written, that the client chose rowids itself, up to `greatest`.
    fn rowids_set(&self, table: &str, greatest: i64) -> impl Future<Output = Result<()>> + Send;

    /// Changes the schema on every partition and publishes it. Afterwards this access addresses partitions
    /// at the new version.
    fn change_schema(&self, change: SchemaChange) -> impl Future<Output = Result<()>> + Send;

    /// Changes the schema and rows of every partition, all of it or nothing, and publishes the schema. Each partition has an
    /// element in `work` with a [`WorkItem::Schema`] at least; results and errors are as in [`write`](Self::write).
    /// Afterwards this access addresses partitions at the new version.
    fn change_schema_and_rows(
        &self,
        change: SchemaChange,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> impl Future<Output = Result<Vec<Vec<StatementResult>>>> + Send;

    /// Waits before a write that others got in the way of is tried again, for a time that is drawn by chance
    /// and grows with the number of attempts made. By default not at all.
    fn back_off(&self, _attempts: usize) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// When the request must have ended; work in the merging SQLite is interrupted then.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Ends when the deadline has passed; by default never.
    fn deadline_passed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// What merging rows may take of memory and disk.
    fn workspace(&self) -> Workspace {
        Workspace::default()
    }

    /// Starts work that goes on beside the caller and may block: it makes an answer while the client takes
    /// it. By default on a thread of its own.
    fn detach(&self, work: impl FnOnce() + Send + 'static) {
        std::thread::spawn(work);
    }

    /// Whether the work that [`compute`](Self::compute) and [`detach`](Self::detach) are given may wait for what other tasks
    /// do. It may not where they run it in their caller's task.
    fn may_wait(&self) -> bool {
        true
    }

    /// Runs work that computes for a while (SQLite merging rows) where it does not hold up others. By
    /// default that is here and now.
    fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        async move { work() }
    }
}
