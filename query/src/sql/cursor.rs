//! One row after another out of blocks that arrive.

use common::{Error, Result, Value};
use futures_util::StreamExt as _;

use crate::access::RowBlocks;

/// Rows of one partition on their way.
pub(crate) struct RowCursor {
    blocks: RowBlocks,
    rows: std::vec::IntoIter<Vec<Value>>,
    /// The row that is next, once [`RowCursor::advance`] was called; `None` at the end.
    pub(crate) next: Option<Vec<Value>>,
}

impl RowCursor {
    /// Stands before the first row.
    pub(crate) fn new(blocks: RowBlocks) -> RowCursor {
        RowCursor { blocks, rows: Vec::new().into_iter(), next: None }
    }

    /// Has rows that were taken come again, before those that follow.
    pub(crate) fn put_back(&mut self, mut taken: Vec<Vec<Value>>) {
        taken.extend(self.rows.by_ref());
        self.rows = taken.into_iter();
    }

    /// Goes to the following row.
    pub(crate) async fn advance(&mut self) -> Result<()> {
        loop {
            self.next = self.rows.next();
            if self.next.is_some() {
                return Ok(());
            }
            match self.blocks.next().await {
                None => return Ok(()),
                Some(block) => {
                    let rows = block?.to_values().map_err(|error| Error::internal(error.to_string()))?;
                    self.rows = rows.into_iter();
                }
            }
        }
    }
}
