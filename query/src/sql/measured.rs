//! Measures what each text that is sent to partitions brings back.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::Result;
use common::protocol::{Statement, StatementResult, WorkItem};
use futures_util::StreamExt as _;
use sqlite::Workspace;

use crate::access::{PartitionAccess, RowStream};
use crate::schema::SchemaChange;

/// What a text brought back from all partitions that it was sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Rows.
    pub rows: u64,
    /// Their size in bytes, as it travels.
    pub bytes: u64,
    /// From sending the text until its last row was here.
    pub time: Duration,
}

impl Measured {
    /// Counts what came at some time after the text was sent.
    pub(crate) fn add(&mut self, rows: u64, bytes: usize, time: Duration) {
        self.rows += rows;
        self.bytes += bytes as u64;
        self.time = self.time.max(time);
    }
}

/// Measures by text.
type Measures = Arc<Mutex<HashMap<String, Measured>>>;

/// Reaches partitions through another access and measures.
pub(super) struct Measuring<'a, A> {
    inner: &'a A,
    measures: Measures,
}

impl<'a, A> Measuring<'a, A> {
    pub(super) fn new(inner: &'a A) -> Measuring<'a, A> {
        Measuring { inner, measures: Measures::default() }
    }

    /// What a text has brought back.
    pub(super) fn of(&self, sql: &str) -> Option<Measured> {
        self.measures.lock().unwrap_or_else(PoisonError::into_inner).get(sql).copied()
    }
}

fn note(measures: &Measures, sql: &str, rows: u64, bytes: usize, time: Duration) {
    let mut measures = measures.lock().unwrap_or_else(PoisonError::into_inner);
    match measures.get_mut(sql) {
        Some(measured) => measured.add(rows, bytes, time),
        None => {
            measures.entry(sql.to_owned()).or_default().add(rows, bytes, time);
        }
    }
}

impl<A: PartitionAccess> PartitionAccess for Measuring<'_, A> {
    async fn read(&self, bucket: usize, statement: Statement, max_rows: u32) -> Result<StatementResult> {
        let (began, sql) = (Instant::now(), statement.sql.clone());
        let result = self.inner.read(bucket, statement, max_rows).await?;
        note(&self.measures, &sql, u64::from(result.rows.rows), result.rows.data.len(), began.elapsed());
        Ok(result)
    }

    async fn stream(&self, bucket: usize, statement: Statement) -> Result<RowStream> {
        let (began, sql) = (Instant::now(), statement.sql.clone());
        let RowStream { header, blocks } = self.inner.stream(bucket, statement).await?;
        note(&self.measures, &sql, 0, 0, began.elapsed());
        let measures = Arc::clone(&self.measures);
        let blocks = blocks.inspect(move |block| {
            if let Ok(block) = block {
                note(&measures, &sql, u64::from(block.rows), block.data.len(), began.elapsed());
            }
        });
        Ok(RowStream { header, blocks: blocks.boxed() })
    }

    async fn read_at_one_moment(&self, partitions: Vec<usize>, reads: usize) -> Result<()> {
        self.inner.read_at_one_moment(partitions, reads).await
    }

    async fn write(
        &self,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        self.inner.write(work, max_rows).await
    }

    async fn allocate_rowids(&self, table: &str, count: u64) -> Result<i64> {
        self.inner.allocate_rowids(table, count).await
    }

    async fn release_rowids(&self, table: &str, first: i64, count: u64) {
        self.inner.release_rowids(table, first, count).await;
    }

    async fn rowids_set(&self, table: &str, greatest: i64) -> Result<()> {
        self.inner.rowids_set(table, greatest).await
    }

    async fn change_schema(&self, change: SchemaChange) -> Result<()> {
        self.inner.change_schema(change).await
    }

    async fn change_schema_and_rows(
        &self,
        change: SchemaChange,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        self.inner.change_schema_and_rows(change, work, max_rows).await
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }

    fn deadline_passed(&self) -> impl Future<Output = ()> + Send {
        self.inner.deadline_passed()
    }

    fn workspace(&self) -> Workspace {
        self.inner.workspace()
    }

    fn detach(&self, work: impl FnOnce() + Send + 'static) {
        self.inner.detach(work);
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.inner.compute(work).await
    }
}
