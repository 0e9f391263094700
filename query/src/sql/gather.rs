//! Brings the rows that a statement needs to the coordinator and runs the client's own text over them.

use std::time::{Duration, Instant};

use common::limits::RESULT_MAX;
use common::protocol::{RowsHeader, Statement, StatementResult};
use common::row::RowBlock;
use common::{Error, Result, Value};
use futures_channel::{mpsc, oneshot};
use futures_util::{SinkExt as _, StreamExt as _, stream};
use sqlite::{Budget, Flow, MergeDatabase, was_read_twice};

use super::rejoin::Joint;
use super::relations::{Filled, Purpose, Relation, Relations, fill};
use super::ship;
use super::waiting::{Waiting, Watch};
use crate::Planner;
use crate::access::{PartitionAccess, RowBlocks, RowStream};
use crate::plan::{Read, Source};

/// Most bytes of an answer that is held here because it is not the client's own.
const HELD_MAX: usize = 512 << 20;

/// Blocks of an answer that wait for the client.
const BLOCKS_WAITING: usize = 8;

/// What the client's text runs over.
pub(super) fn relations(
    planner: &Planner,
    sources: &[Source],
    values: &[Value],
    text: &str,
    purpose: Purpose,
) -> Relations {
    let (database, statistics) = (planner.database(), planner.statistics());
    let views = database.schema.objects.iter();
    let views = views.filter(|object| object.kind == common::schema::ObjectKind::View);
    let tables = sources.iter().map(|source| {
        let buckets = source.route.buckets(database, &source.table, values);
        // The first column group has a row for each row of the table, and its partitions the buckets' indexes.
        let rows_expected = statistics.rows(&source.table.name, &buckets);
        let (mut fragments, mut joints) = (Vec::new(), Vec::new());
        match source.pieces().as_slice() {
            [piece] => {
                let statement = piece.statement(&source.table, values);
                let index = |bucket| database.partition_index(piece.group, bucket);
                fragments.extend(buckets.into_iter().map(|bucket| (index(bucket), statement.clone())));
            }
            _ => {
                joints.extend(buckets.into_iter().map(|bucket| Joint::new(database, source, bucket, values)))
            }
        }
        Relation {
            table: std::sync::Arc::clone(&source.table),
            columns: source.columns.clone(),
            fragments,
            packed: false,
            joints,
            rows_expected,
            lookups: source.lookups.clone(),
            fetched: None,
            refuses: None,
        }
    });
    Relations {
        tables: tables.collect(),
        views: views.map(|object| object.sql.clone()).collect(),
        text: text.to_owned(),
        purpose,
    }
}

/// Gathers, and answers the client's text.
pub(super) async fn run(
    planner: &Planner,
    access: &impl PartitionAccess,
    read: &Read,
    values: &[Value],
    statement: Statement,
    max_rows: u32,
) -> Result<StatementResult> {
    let relations = ship::relations(planner, access, read, values, &statement.sql).await?;
    answer(access, relations, statement, max_rows).await
}

/// Answers a text over relations.
pub(super) async fn answer(
    access: &impl PartitionAccess,
    relations: Relations,
    statement: Statement,
    max_rows: u32,
) -> Result<StatementResult> {
    match answer_once(access, relations.clone(), statement.clone(), max_rows).await {
        // SQLite's plan did not tell all that it does.
        Err(error) if was_read_twice(&error) => {
            let relations = Relations { purpose: Purpose::ReadLoaded, ..relations };
            answer_once(access, relations, statement, max_rows).await
        }
        answer => answer,
    }
}

async fn answer_once(
    access: &impl PartitionAccess,
    relations: Relations,
    statement: Statement,
    max_rows: u32,
) -> Result<StatementResult> {
    let Filled { merge, waiting } = fill(access, relations).await?;
    let watch = waiting.watch();
    let answer =
        access.compute(move || Ok(merge.query(&statement, &budget(max_rows, &|| watch.is_over()))?)).await;
    waiting.answered();
    answer
}

/// Gathers, and answers the client's text as a stream.
pub(super) async fn stream(
    planner: &Planner,
    access: &impl PartitionAccess,
    read: &Read,
    values: &[Value],
    statement: Statement,
) -> Result<RowStream> {
    let relations = ship::relations(planner, access, read, values, &statement.sql).await?;
    stream_answer(access, relations, statement).await
}

/// Answers a text over relations, its rows as they are found. Until the first are there, an error is this
/// call's; after that the client has the time of the request again for each block.
pub(super) async fn stream_answer(
    access: &impl PartitionAccess,
    relations: Relations,
    statement: Statement,
) -> Result<RowStream> {
    // Once the client has rows there is no second attempt.
    let surely = Relations { purpose: Purpose::ReadSurely, ..relations.clone() };
    match stream_once(access, surely, statement.clone()).await {
        Err(error) if was_read_twice(&error) => {
            let relations = Relations { purpose: Purpose::ReadLoaded, ..relations };
            stream_once(access, relations, statement).await
        }
        answer => answer,
    }
}

async fn stream_once(
    access: &impl PartitionAccess,
    relations: Relations,
    statement: Statement,
) -> Result<RowStream> {
    let Filled { merge, waiting } = fill(access, relations).await?;
    let (header, begun) = oneshot::channel();
    let (blocks, mut arriving) = mpsc::channel(BLOCKS_WAITING);
    let deadline = access.deadline();
    let limit = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let sender = Sender { watch: waiting.watch(), limit, blocks, failed: None };
    access.detach(move || sender.run(&merge, &statement, header));
    let header = begun.await;
    let first = arriving.next().await;
    match (header, first.transpose()) {
        (Ok(header), Ok(first)) => Ok(RowStream { header, blocks: answered(first, arriving, waiting) }),
        (_, Err(error)) => {
            waiting.answered();
            Err(error)
        }
        (Err(_), Ok(_)) => Err(Error::internal("the answer's computation ended without an answer")),
    }
}

/// The blocks of an answer; dropping them stops the computation.
fn answered(
    first: Option<RowBlock>,
    arriving: mpsc::Receiver<Result<RowBlock>>,
    waiting: Waiting,
) -> RowBlocks {
    let state = first.map(|first| (Some(first), arriving, waiting));
    stream::unfold(state, |state| async move {
        let (first, mut arriving, waiting) = state?;
        let next = match first {
            Some(first) => Some(Ok(first)),
            None => arriving.next().await,
        };
        match next {
            Some(Ok(block)) => Some((Ok(block), Some((None, arriving, waiting)))),
            Some(Err(error)) => Some((Err(error), None)),
            None => {
                waiting.answered();
                None
            }
        }
    })
    .boxed()
}

/// Runs a text on a thread of its own and sends what it answers.
struct Sender {
    watch: Watch,
    /// How long the client may take for each block.
    limit: Option<Duration>,
    blocks: mpsc::Sender<Result<RowBlock>>,
    failed: Option<Error>,
}

impl Sender {
    fn run(mut self, merge: &MergeDatabase, statement: &Statement, header: oneshot::Sender<RowsHeader>) {
        let mut header = Some(header);
        let watch = self.watch.clone();
        let interrupted = || watch.is_over();
        let budget = Budget { interrupted: Some(&interrupted), ..Budget::unlimited() };
        let answered = merge.stream(
            statement,
            &budget,
            |columns, types| {
                let begun = header.take().map(|header| header.send(RowsHeader { columns, types, index: 0 }));
                if matches!(begun, Some(Ok(()))) { Flow::Continue } else { Flow::Stop }
            },
            |block| self.send(block),
        );
        let failed = answered.err().map(Error::from).or(self.failed.take());
        if let Some(error) = failed {
            // Whoever has gone needs no error. The receiver learns of it before the header's absence.
            let _ = self.watch.wait_for(self.blocks.send(Err(error)));
        }
        drop(header);
    }

    fn send(&mut self, block: RowBlock) -> Flow {
        self.watch.extend(self.limit.map(|limit| Instant::now() + limit));
        match self.watch.wait_for(self.blocks.send(Ok(block))) {
            Ok(Ok(())) => {
                self.watch.extend(self.limit.map(|limit| Instant::now() + limit));
                Flow::Continue
            }
            // The client has gone.
            Ok(Err(_)) => Flow::Stop,
            Err(error) => {
                self.failed = Some(error);
                Flow::Stop
            }
        }
    }
}

/// Evaluates a statement without tables.
pub(crate) async fn evaluate(
    access: &impl PartitionAccess,
    statement: Statement,
    max_rows: u32,
) -> Result<StatementResult> {
    let workspace = access.workspace();
    let waiting = Waiting::new(workspace.clone(), access.deadline());
    let watch = waiting.watch();
    let answer = access
        .compute(move || {
            let merge = MergeDatabase::new(&workspace)?;
            Ok(merge.query(&statement, &budget(max_rows, &|| watch.is_over()))?)
        })
        .await;
    waiting.answered();
    answer
}

pub(super) fn budget<'a>(max_rows: u32, interrupted: &'a dyn Fn() -> bool) -> Budget<'a> {
    Budget {
        interrupted: Some(interrupted),
        instructions: None,
        rows: u64::from(max_rows),
        bytes: bytes_max(max_rows),
    }
}

/// Most bytes of an answer. One that is not for the client, or that its caller measures, may be larger.
pub(super) fn bytes_max(max_rows: u32) -> usize {
    if max_rows == u32::MAX { HELD_MAX } else { RESULT_MAX }
}

/// Blocks that are here already, as a stream.
pub(crate) fn blocks_of(blocks: Vec<RowBlock>) -> RowBlocks {
    stream::iter(blocks.into_iter().map(Ok)).boxed()
}
