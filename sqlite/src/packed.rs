//! Many rows as one value: what the functions that partitions have beside SQLite's own take and answer.

use common::row::RowBlock;

/// Rows as one value.
#[must_use]
pub fn pack(rows: &RowBlock) -> Vec<u8> {
    let mut packed = Vec::with_capacity(rows.data.len() + 8);
    packed.extend_from_slice(&rows.columns.to_le_bytes());
    packed.extend_from_slice(&rows.rows.to_le_bytes());
    packed.extend_from_slice(&rows.data);
    packed
}

/// The rows of a value that [`pack`] made; `None` if it is something else.
#[must_use]
pub fn unpack(packed: &[u8]) -> Option<RowBlock> {
    let (columns, rest) = packed.split_first_chunk()?;
    let (rows, data) = rest.split_first_chunk()?;
    let (columns, rows) = (u32::from_le_bytes(*columns), u32::from_le_bytes(*rows));
    Some(RowBlock { columns, rows, data: data.to_vec().into() })
}
