//! Puts the rows of several partitions into one order, as they arrive.

use std::cmp::Ordering;

use common::row::{MalformedRow, RowBlock, read_value};
use common::{Error, Result, Value, limits};
use futures_util::{StreamExt as _, stream};

use crate::access::RowBlocks;

/// Merges streams that are each in the order of their first `width` columns, compared as SQLite compares
/// without a collation. `hidden` of the first columns are left out of the rows.
pub(crate) fn merge_ordered(mut streams: Vec<RowBlocks>, width: usize, hidden: usize) -> RowBlocks {
    if streams.len() == 1 && hidden == 0 {
        return streams.remove(0);
    }
    let heads = streams.into_iter().map(Head::new).collect();
    let merge = Merge { heads, order: Vec::new(), width, hidden, started: false };
    stream::unfold(Some(merge), |merge| async move {
        let mut merge = merge?;
        match merge.next_block().await {
            Ok(Some(block)) => Some((Ok(block), Some(merge))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

struct Merge {
    heads: Vec<Head>,
    /// The heads that have a row, the one with the least last.
    order: Vec<usize>,
    width: usize,
    hidden: usize,
    started: bool,
}

/// The row of a stream that is next.
struct Head {
    blocks: RowBlocks,
    block: RowBlock,
    rows_left: u32,
    /// Where the row begins and ends in the block, and where its visible columns begin.
    start: usize,
    visible: usize,
    end: usize,
    key: Vec<Value>,
}

impl Head {
    fn new(blocks: RowBlocks) -> Head {
        Head {
            blocks,
            block: RowBlock::default(),
            rows_left: 0,
            start: 0,
            visible: 0,
            end: 0,
            key: Vec::new(),
        }
    }

    /// Moves to the next row; `false` after the last.
    async fn advance(&mut self, width: usize, hidden: usize) -> Result<bool> {
        while self.rows_left == 0 {
            let Some(block) = self.blocks.next().await else { return Ok(false) };
            self.block = block?;
            self.rows_left = self.block.rows;
            self.end = 0;
        }
        self.rows_left -= 1;
        self.read_row(width, hidden).map_err(|error| Error::internal(error.to_string()))?;
        Ok(true)
    }

    fn read_row(&mut self, width: usize, hidden: usize) -> std::result::Result<(), MalformedRow> {
        let data = &self.block.data;
        self.start = self.end;
        self.key.clear();
        let mut rest = &data[self.start..];
        for column in 0..self.block.columns as usize {
            if column == hidden {
                self.visible = data.len() - rest.len();
            }
            let value = read_value(&mut rest)?;
            if column < width {
                self.key.push(value.to_value());
            }
        }
        self.end = data.len() - rest.len();
        Ok(())
    }
}

impl Merge {
    async fn next_block(&mut self) -> Result<Option<RowBlock>> {
        if !self.started {
            self.started = true;
            for head in 0..self.heads.len() {
                self.refill(head).await?;
            }
        }
        let mut data = Vec::new();
        let (mut rows, mut columns) = (0, 0);
        while data.len() < limits::ROW_BLOCK {
            let Some(least) = self.order.pop() else { break };
            let head = &self.heads[least];
            columns = head.block.columns as usize - self.hidden;
            data.extend_from_slice(&head.block.data[head.visible..head.end]);
            rows += 1;
            self.refill(least).await?;
        }
        let columns = u32::try_from(columns).unwrap_or(u32::MAX);
        Ok((rows > 0).then(|| RowBlock { columns, rows, data: data.into() }))
    }

    /// Reads the next row of a head and puts the head where it belongs. Rows of one stream often follow each
    /// other, so the search begins at the least.
    async fn refill(&mut self, head: usize) -> Result<()> {
        if !self.heads[head].advance(self.width, self.hidden).await? {
            return Ok(());
        }
        let key = &self.heads[head].key;
        let place = self
            .order
            .iter()
            .rposition(|other| compare(key, &self.heads[*other].key).is_le())
            .map_or(0, |place| place + 1);
        self.order.insert(place, head);
        Ok(())
    }
}

fn compare(left: &[Value], right: &[Value]) -> Ordering {
    let pairs = left.iter().zip(right);
    pairs.map(|(left, right)| left.compare(right)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use common::row::{RowBlockBuilder, ValueRef};

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
