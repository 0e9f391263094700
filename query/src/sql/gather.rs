//! Brings the rows that a statement needs to the coordinator and runs the client's own text over them.

use std::sync::Arc;
use std::time::Instant;

use common::limits::RESULT_MAX;
use common::protocol::{RowsHeader, Statement, StatementResult};
use common::row::RowBlock;
use common::{Error, ErrorCode, Result, Value};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use sqlite::{Budget, Flow, Gathered, MergeDatabase};

use crate::Planner;
use crate::access::{PartitionAccess, RowBlocks, RowStream};
use crate::plan::Source;
use crate::table::Table;

/// Bytes of gathered rows that stay in memory; more go to a temporary file.
const MEMORY: usize = 64 << 20;

/// Most bytes of an answer that is computed here and then streamed.
const STREAM_MAX: usize = 512 << 20;

/// How relations of the merging database are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be read: without constraints, only the columns that are needed.
    Read,
    /// To be written: as the client declared them.
    Write,
}

/// Gathers, and answers the client's text.
pub(super) async fn run(
    planner: &Planner,
    access: &impl PartitionAccess,
    sources: &[Source],
    values: &[Value],
    statement: Statement,
    max_rows: u32,
) -> Result<StatementResult> {
    let merge = fill(planner, access, sources, values, &statement.sql, Purpose::Read).await?;
    let deadline = access.deadline();
    access.compute(move || Ok(merge.query(&statement, &budget(max_rows, &|| passed(deadline)))?)).await
}

/// Gathers, and answers the client's text as a stream.
pub(super) async fn stream(
    planner: &Planner,
    access: &impl PartitionAccess,
    sources: &[Source],
    values: &[Value],
    statement: Statement,
) -> Result<RowStream> {
    let merge = fill(planner, access, sources, values, &statement.sql, Purpose::Read).await?;
    let deadline = access.deadline();
    let (header, blocks) = access.compute(move || collect(&merge, &statement, deadline)).await?;
    Ok(RowStream { header, blocks: blocks_of(blocks) })
}

fn collect(
    merge: &MergeDatabase,
    statement: &Statement,
    deadline: Option<Instant>,
) -> Result<(RowsHeader, Vec<RowBlock>)> {
    let (mut header, mut blocks, mut bytes) =
        (RowsHeader { columns: Vec::new(), types: Vec::new(), index: 0 }, Vec::new(), 0);
    let interrupted = || passed(deadline);
    let budget = Budget { interrupted: Some(&interrupted), ..Budget::unlimited() };
    merge.stream(
        statement,
        &budget,
        |columns, types| {
            (header.columns, header.types) = (columns, types);
            Flow::Continue
        },
        |block| {
            bytes += block.data.len();
            blocks.push(block);
            if bytes > STREAM_MAX { Flow::Stop } else { Flow::Continue }
        },
    )?;
    if bytes > STREAM_MAX {
        return Err(Error::new(ErrorCode::ResultTooBig, "the merged answer is larger than 512 MiB")
            .with_hint("narrow the statement by the partition key, or export the table"));
    }
    Ok((header, blocks))
}

/// Evaluates a statement without tables.
pub(crate) async fn evaluate(
    access: &impl PartitionAccess,
    statement: Statement,
    max_rows: u32,
) -> Result<StatementResult> {
    let deadline = access.deadline();
    access
        .compute(move || {
            let merge = MergeDatabase::new(MEMORY)?;
            Ok(merge.query(&statement, &budget(max_rows, &|| passed(deadline)))?)
        })
        .await
}

/// All rows of one bucket's statement.
pub(super) async fn collect_stream(
    access: &impl PartitionAccess,
    bucket: usize,
    statement: Statement,
) -> Result<StatementResult> {
    let mut rows = access.stream(bucket, statement).await?;
    let (mut data, mut count, mut truncated) = (Vec::new(), 0, false);
    let columns = u32::try_from(rows.header.columns.len()).unwrap_or(u32::MAX);
    while let Some(block) = rows.blocks.next().await {
        let block = block?;
        count += block.rows;
        data.extend_from_slice(&block.data);
        if data.len() > STREAM_MAX {
            truncated = true;
            break;
        }
    }
    Ok(StatementResult {
        is_read: true,
        columns: rows.header.columns,
        types: rows.header.types,
        rows: RowBlock { columns, rows: count, data: data.into() },
        truncated,
        ..StatementResult::default()
    })
}

/// A merging database that holds what `sources` name.
pub(super) async fn fill(
    planner: &Planner,
    access: &impl PartitionAccess,
    sources: &[Source],
    values: &[Value],
    text: &str,
    purpose: Purpose,
) -> Result<MergeDatabase> {
    let tables: Vec<(Arc<Table>, Vec<usize>)> =
        sources.iter().map(|source| (Arc::clone(&source.table), source.columns.clone())).collect();
    let views = views_of(planner);
    let names_indexes = text.to_ascii_uppercase().contains("INDEXED");
    let mut merge = access.compute(move || prepare(&tables, &views, names_indexes, purpose)).await?;
    let fragments: Vec<(usize, usize, Statement)> = sources
        .iter()
        .enumerate()
        .flat_map(|(index, source)| {
            let statement = source.fragment(values);
            let buckets = source.route.buckets(planner.database(), &source.table, values);
            buckets.into_iter().map(move |bucket| (index, bucket, statement.clone()))
        })
        .collect();
    let opened = fragments.into_iter().map(|(source, bucket, statement)| async move {
        let rows = access.stream(bucket, statement).await?;
        Ok::<_, Error>(rows.blocks.map_ok(move |block| (source, block)))
    });
    let mut blocks = stream::select_all(future::try_join_all(opened).await?);
    while let Some(block) = blocks.next().await {
        let (index, rows) = block?;
        let source = sources[index].clone();
        merge = access
            .compute(move || {
                let gathered = gathered(&source.table, &source.columns);
                // A table without a column that matters still has as many rows.
                merge.load(&gathered, &rows)?;
                Ok::<_, Error>(merge)
            })
            .await?;
    }
    Ok(merge)
}

fn prepare(
    tables: &[(Arc<Table>, Vec<usize>)],
    views: &[String],
    names_indexes: bool,
    purpose: Purpose,
) -> Result<MergeDatabase> {
    let mut merge = MergeDatabase::new(MEMORY)?;
    for (table, columns) in tables {
        match purpose {
            Purpose::Write => {
                merge.create(&table.sql)?;
                for sql in table.indexes.iter().filter_map(|index| index.sql.as_ref()) {
                    merge.create(sql)?;
                }
            }
            Purpose::Read => {
                merge.create_relation(&gathered(table, columns))?;
                for index in table.indexes.iter().filter(|index| names_indexes && index.sql.is_some()) {
                    merge.create_index(table.definition(), index)?;
                }
            }
        }
    }
    for view in views {
        merge.create(view)?;
    }
    Ok(merge)
}

fn gathered<'a>(table: &'a Table, columns: &'a [usize]) -> Gathered<'a> {
    Gathered { table: table.definition(), rowid: table.rowid_name.is_some(), columns }
}

fn views_of(planner: &Planner) -> Vec<String> {
    let objects = &planner.database().schema.objects;
    objects
        .iter()
        .filter(|object| object.kind == common::schema::ObjectKind::View)
        .map(|object| object.sql.clone())
        .collect()
}

pub(super) fn budget<'a>(max_rows: u32, interrupted: &'a dyn Fn() -> bool) -> Budget<'a> {
    Budget {
        interrupted: Some(interrupted),
        instructions: None,
        rows: u64::from(max_rows),
        // An answer that is not for the client, or that its caller measures, may be larger.
        bytes: if max_rows == u32::MAX { STREAM_MAX } else { RESULT_MAX },
    }
}

pub(super) fn passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// Blocks that are here already, as a stream.
pub(crate) fn blocks_of(blocks: Vec<RowBlock>) -> RowBlocks {
    stream::iter(blocks.into_iter().map(Ok)).boxed()
}
