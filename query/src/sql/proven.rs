//! Reads that a write is computed from. Each leaves a proof of what it found, which goes along with the write:
//! where the same read would find something else by then, the write is refused and computed again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use common::digest::RowsDigest;
use common::protocol::{Proof, RowsHeader, Statement, StatementResult, WorkItem};
use common::row::RowBlock;
use common::{Error, Result, Value};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use sqlite::{Gathered, TrialDatabase, Workspace};

use super::rejoin::Joint;
use crate::access::{PartitionAccess, RowBlocks, RowStream};
use crate::schema::SchemaChange;
use crate::table::Table;

/// Proofs by partition index.
pub(super) type Proofs = Vec<(usize, Proof)>;

/// Rows of a table to be read.
#[derive(Clone, Debug)]
pub(super) struct Fragment {
    /// Whose rows it reads.
    pub(super) table: Arc<Table>,
    /// Positions of the columns that follow the rowid.
    pub(super) columns: Arc<[usize]>,
    pub(super) asks: Asks,
}

/// What is asked of whom.
#[derive(Clone, Debug)]
pub(super) enum Asks {
    One {
        partition: usize,
        statement: Statement,
    },
    /// Partitions of several column groups.
    Several(Arc<Joint>),
}

impl Fragment {
    fn gathered(&self) -> Gathered<'_> {
        gathered(&self.table, &self.columns)
    }
}

/// How rows of a table are gathered.
pub(super) fn gathered<'a>(table: &'a Table, columns: &'a [usize]) -> Gathered<'a> {
    Gathered { table: table.definition(), rowid: table.rowid_name.is_some(), columns }
}

/// Adds what the fragments find to the database; answers the proofs of it.
pub(super) async fn load(
    access: &impl PartitionAccess,
    mut database: TrialDatabase,
    fragments: Vec<Fragment>,
) -> Result<(TrialDatabase, Proofs)> {
    let proving = Proving::new(access);
    let opened = fragments.iter().map(|fragment| {
        let proving = &proving;
        async move {
            Ok::<_, Error>(match &fragment.asks {
                Asks::One { partition, statement } => {
                    let rows = proving.stream(*partition, statement.clone()).await?;
                    rows.blocks.map_ok(move |block| (fragment, block)).boxed()
                }
                Asks::Several(joint) => {
                    joint.open(proving).await?.map_ok(move |block| (fragment, block)).boxed()
                }
            })
        }
    });
    let mut blocks = stream::select_all(future::try_join_all(opened).await?);
    while let Some(block) = blocks.next().await {
        let (fragment, rows) = block?;
        let fragment = fragment.clone();
        database = access
            .compute(move || {
                database.add(&fragment.gathered(), &rows)?;
                Ok::<_, Error>(database)
            })
            .await?;
    }
    drop(blocks);
    Ok((database, proving.proofs()))
}

/// The rows that a fragment finds.
pub(super) async fn rows(access: &impl PartitionAccess, fragment: &Fragment) -> Result<Vec<Vec<Value>>> {
    let mut blocks = match &fragment.asks {
        Asks::One { partition, statement } => access.stream(*partition, statement.clone()).await?.blocks,
        Asks::Several(joint) => joint.open(access).await?,
    };
    let mut found = Vec::new();
    while let Some(block) = blocks.next().await {
        found.extend(block?.to_values().map_err(|error| Error::internal(error.to_string()))?);
    }
    Ok(found)
}

/// Reads a few rows of one partition; answers them with the proof.
pub(super) async fn read(
    access: &impl PartitionAccess,
    partition: usize,
    statement: Statement,
) -> Result<(Vec<Vec<Value>>, Proofs)> {
    let proving = Proving::new(access);
    let mut rows = proving.stream(partition, statement).await?;
    let mut found = Vec::new();
    while let Some(block) = rows.blocks.next().await {
        found.extend(block?.to_values().map_err(|error| Error::internal(error.to_string()))?);
    }
    Ok((found, proving.proofs()))
}

/// Partitions whose streams leave proofs when they are read to their ends. A stream that is left before needs
/// none: of several column groups the anchor is read to its end, and every change of a row changes its part
/// there.
pub(super) struct Proving<'a, A> {
    access: &'a A,
    found: Arc<Mutex<Proofs>>,
}

/// A stream on its way to its proof.
struct Unproven {
    blocks: RowBlocks,
    digest: RowsDigest,
    partition: usize,
    statement: Statement,
    index: u64,
    found: Arc<Mutex<Proofs>>,
}

impl Unproven {
    async fn next(mut self) -> Option<(Result<RowBlock>, Unproven)> {
        if let Some(block) = self.blocks.next().await {
            block.iter().for_each(|block| self.digest.add(block));
            return Some((block, self));
        }
        let proof = Proof {
            statement: self.statement,
            digest: self.digest.finish(),
            index: self.index,
            pinned: None,
        };
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push((self.partition, proof));
        None
    }
}

impl<'a, A> Proving<'a, A> {
    pub(super) fn new(access: &'a A) -> Proving<'a, A> {
        Proving { access, found: Arc::default() }
    }

    pub(super) fn proofs(self) -> Proofs {
        std::mem::take(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<A: PartitionAccess> PartitionAccess for Proving<'_, A> {
    async fn read(&self, bucket: usize, statement: Statement, max_rows: u32) -> Result<StatementResult> {
        self.access.read(bucket, statement, max_rows).await
    }

    async fn stream(&self, bucket: usize, statement: Statement) -> Result<RowStream> {
        let RowStream { header, blocks } = self.access.stream(bucket, statement.clone()).await?;
        let RowsHeader { index, .. } = header;
        let (found, digest) = (Arc::clone(&self.found), RowsDigest::default());
        let unproven = Unproven { blocks, digest, partition: bucket, statement, index, found };
        Ok(RowStream { header, blocks: stream::unfold(unproven, Unproven::next).boxed() })
    }

    async fn write(
        &self,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        self.access.write(work, max_rows).await
    }

    async fn allocate_rowids(&self, table: &str, count: u64) -> Result<i64> {
        self.access.allocate_rowids(table, count).await
    }

    async fn release_rowids(&self, table: &str, first: i64, count: u64) {
        self.access.release_rowids(table, first, count).await;
    }

    async fn rowids_set(&self, table: &str, greatest: i64) -> Result<()> {
        self.access.rowids_set(table, greatest).await
    }

    async fn change_schema(&self, change: SchemaChange) -> Result<()> {
        self.access.change_schema(change).await
    }

    async fn change_schema_and_rows(
        &self,
        change: SchemaChange,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        self.access.change_schema_and_rows(change, work, max_rows).await
    }

    fn deadline(&self) -> Option<Instant> {
        self.access.deadline()
    }

    fn workspace(&self) -> Workspace {
        self.access.workspace()
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.access.compute(work).await
    }
}
