//! Puts sorted rows of several partitions into one order as they arrive, a block of each in memory at a time.

use std::cmp::Ordering;

use common::hash::Collation;
use common::limits::ROW_BLOCK;
use common::protocol::{RowsHeader, StatementResult};
use common::row::{MalformedRow, RowBlock, RowBlockBuilder, ValueRef, read_value};
use common::{Error, Result};
use futures_util::{StreamExt as _, future, stream};

use crate::access::{PartitionAccess, RowBlocks, RowStream};
use crate::plan::{OrderedRun, SortKey};

/// Asks the partitions, and answers the rows in order.
///
/// # Errors
/// The first that a partition meets; the others are stopped.
pub(super) async fn stream(
    access: &impl PartitionAccess,
    partitions: &[usize],
    run: OrderedRun,
    keys: Vec<SortKey>,
    hidden: usize,
    header: RowsHeader,
) -> Result<RowStream> {
    if run.most == Some(0) {
        return Ok(merged(Vec::new(), run, keys, hidden, header));
    }
    let opened = partitions.iter().map(|&partition| access.stream(partition, run.statement.clone()));
    let streams = future::try_join_all(opened).await?;
    let blocks = streams.into_iter().map(|stream| stream.blocks).collect();
    Ok(merged(blocks, run, keys, hidden, header))
}

/// The rows that partitions answered, each in order.
pub(super) fn merged(
    blocks: Vec<RowBlocks>,
    run: OrderedRun,
    keys: Vec<SortKey>,
    hidden: usize,
    header: RowsHeader,
) -> RowStream {
    let merge = OrderedMerge { skip: run.skip, most: run.most, ..OrderedMerge::new(blocks, keys, hidden) };
    RowStream { header, blocks: merge.into_blocks() }
}

/// The first rows of a stream as an answer; the others are left out, and the answer says so. `bytes` counts as
/// in [`sqlite::Budget`].
pub(super) async fn collect(mut rows: RowStream, most: u32, bytes: usize) -> Result<StatementResult> {
    let width = rows.header.columns.len();
    let mut answer = RowBlockBuilder::new(width);
    let mut truncated = false;
    while !truncated && let Some(block) = rows.blocks.next().await {
        let block = block?;
        let mut rest = &block.data[..];
        for _ in 0..block.rows {
            if answer.rows() >= most || answer.len() >= bytes {
                truncated = true;
                break;
            }
            let row = take_row(&mut rest, width).map_err(malformed)?;
            answer.push_encoded(row);
        }
    }
    Ok(StatementResult {
        is_read: true,
        columns: rows.header.columns,
        types: rows.header.types,
        rows: answer.finish(),
        truncated,
        ..StatementResult::default()
    })
}

/// Merges streams that are each in the order of their first `width` columns, compared as SQLite compares
/// without a collation. `hidden` of the first columns are left out of the rows.
pub(crate) fn merge_ordered(mut streams: Vec<RowBlocks>, width: usize, hidden: usize) -> RowBlocks {
    if streams.len() == 1 && hidden == 0 {
        return streams.remove(0);
    }
    let ascending =
        |column| SortKey { column, collation: Collation::Binary, descending: false, nulls_first: true };
    OrderedMerge::new(streams, (0..width).map(ascending).collect(), hidden).into_blocks()
}

fn take_row<'a>(rest: &mut &'a [u8], width: usize) -> std::result::Result<&'a [u8], MalformedRow> {
    let before = *rest;
    for _ in 0..width {
        read_value(rest)?;
    }
    Ok(&before[..before.len() - rest.len()])
}

fn malformed(error: MalformedRow) -> Error {
    Error::internal(error.to_string())
}

/// Sorted rows of one partition on their way.
struct Source {
    blocks: RowBlocks,
    block: RowBlock,
    /// Rows of the block behind the one at hand.
    left: u32,
    /// Where each column of the row at hand begins in the block, and where the row ends.
    starts: Vec<usize>,
    end: usize,
    ended: bool,
}

impl Source {
    fn new(blocks: RowBlocks) -> Source {
        Source { blocks, block: RowBlock::default(), left: 0, starts: Vec::new(), end: 0, ended: false }
    }

    /// Goes on to the next row.
    async fn advance(&mut self) -> Result<()> {
        while self.left == 0 {
            match self.blocks.next().await {
                Some(block) => {
                    self.block = block?;
                    self.left = self.block.rows;
                    self.end = 0;
                }
                None => {
                    self.ended = true;
                    return Ok(());
                }
            }
        }
        self.left -= 1;
        self.starts.clear();
        let mut rest = &self.block.data[self.end..];
        for _ in 0..self.block.columns {
            self.starts.push(self.block.data.len() - rest.len());
            read_value(&mut rest).map_err(malformed)?;
        }
        self.end = self.block.data.len() - rest.len();
        Ok(())
    }

    /// A column of the row at hand; it was read once already.
    fn value(&self, column: usize) -> ValueRef<'_> {
        let start = self.starts.get(column).copied().unwrap_or(self.block.data.len());
        read_value(&mut &self.block.data[start..]).unwrap_or(ValueRef::Null)
    }

    /// The row at hand without its first columns.
    fn row(&self, hidden: usize) -> &[u8] {
        &self.block.data[self.starts.get(hidden).copied().unwrap_or(self.end)..self.end]
    }
}

/// A merge of sorted rows.
struct OrderedMerge {
    sources: Vec<Source>,
    /// Sources that have a row, as a heap whose first has the least.
    heap: Vec<usize>,
    keys: Vec<SortKey>,
    /// Columns in front that are for sorting alone.
    hidden: usize,
    skip: u64,
    most: Option<u64>,
    started: bool,
}

impl OrderedMerge {
    /// A merge of streams that are sorted by `keys`.
    fn new(streams: Vec<RowBlocks>, keys: Vec<SortKey>, hidden: usize) -> OrderedMerge {
        let sources: Vec<Source> = streams.into_iter().map(Source::new).collect();
        let heap = Vec::with_capacity(sources.len());
        OrderedMerge { sources, heap, keys, hidden, skip: 0, most: None, started: false }
    }

    /// The rows in blocks; after an error there is nothing more.
    fn into_blocks(self) -> RowBlocks {
        stream::unfold(Some(self), |merge| async move {
            let mut merge = merge?;
            match merge.next_block().await {
                Ok(Some(block)) => Some((Ok(block), Some(merge))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn next_block(&mut self) -> Result<Option<RowBlock>> {
        if !self.started {
            self.started = true;
            for index in 0..self.sources.len() {
                self.sources[index].advance().await?;
                if !self.sources[index].ended {
                    self.heap.push(index);
                }
            }
            for position in (0..self.heap.len() / 2).rev() {
                self.sink(position);
            }
        }
        let columns = self.heap.first().map_or(0, |&index| self.sources[index].block.columns as usize);
        let mut block = RowBlockBuilder::new(columns.saturating_sub(self.hidden));
        while block.len() < ROW_BLOCK && self.most != Some(0) {
            let Some(&least) = self.heap.first() else { break };
            if self.skip > 0 {
                self.skip -= 1;
            } else {
                block.push_encoded(self.sources[least].row(self.hidden));
                self.most = self.most.map(|most| most - 1);
            }
            // With the last row wanted nothing more is read, and the partitions are stopped.
            if self.most != Some(0) {
                self.sources[least].advance().await?;
                if self.sources[least].ended {
                    self.heap.swap_remove(0);
                }
                self.sink(0);
            }
        }
        Ok((!block.is_empty()).then(|| block.finish()))
    }

    /// Lets a source down the heap to where those below it have greater rows.
    fn sink(&mut self, mut position: usize) {
        loop {
            let mut least = position;
            for child in [2 * position + 1, 2 * position + 2] {
                if child < self.heap.len() && self.compare(self.heap[child], self.heap[least]).is_lt() {
                    least = child;
                }
            }
            if least == position {
                return;
            }
            self.heap.swap(position, least);
            position = least;
        }
    }

    fn compare(&self, left: usize, right: usize) -> Ordering {
        let (left, right) = (&self.sources[left], &self.sources[right]);
        self.keys
            .iter()
            .map(|key| key.compare(left.value(key.column), right.value(key.column)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl SortKey {
    fn compare(&self, left: ValueRef<'_>, right: ValueRef<'_>) -> Ordering {
        let null = |value| matches!(value, ValueRef::Null);
        match (null(left), null(right)) {
            (true, true) => Ordering::Equal,
            (true, false) if self.nulls_first => Ordering::Less,
            (false, true) if self.nulls_first => Ordering::Greater,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if self.descending => right.compare(left, self.collation),
            (false, false) => left.compare(right, self.collation),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::Value;

    use super::*;

    fn blocks(rows: &[&[i64]]) -> RowBlocks {
        let blocks: Vec<Result<RowBlock>> = rows
            .iter()
            .map(|rows| {
                let mut block = RowBlockBuilder::new(2);
                for row in *rows {
                    block.push([ValueRef::Integer(*row), ValueRef::Integer(row * 10)]);
                }
                Ok(block.finish())
            })
            .collect();
        stream::iter(blocks).boxed()
    }

    async fn merged(streams: Vec<RowBlocks>, hidden: usize) -> Vec<Vec<Value>> {
        let mut rows = Vec::new();
        let mut merged = merge_ordered(streams, 1, hidden);
        while let Some(block) = merged.next().await {
            rows.extend(block.unwrap().to_values().unwrap());
        }
        rows
    }

    #[tokio::test]
    async fn rows_of_several_streams_come_in_one_order() {
        let streams = || vec![blocks(&[&[2, 3], &[], &[9]]), blocks(&[]), blocks(&[&[1, 4], &[5, 7]])];
        let expected: Vec<Vec<Value>> =
            [1, 2, 3, 4, 5, 7, 9].iter().map(|row: &i64| vec![(*row).into(), (row * 10).into()]).collect();
        assert_eq!(merged(streams(), 0).await, expected);
        let visible: Vec<Vec<Value>> = expected.iter().map(|row| row[1..].to_vec()).collect();
        assert_eq!(merged(streams(), 1).await, visible);
        assert_eq!(merged(vec![blocks(&[&[4, 6]])], 1).await, [[Value::from(40)], [Value::from(60)]]);
    }

    #[tokio::test]
    async fn an_error_ends_the_merged_rows() {
        let broken = stream::iter([Err(Error::internal("lost"))]).boxed();
        let mut merged = merge_ordered(vec![blocks(&[&[1]]), broken], 1, 0);
        assert!(merged.next().await.unwrap().is_err());
        assert!(merged.next().await.is_none());
    }
}
