//! Rows in binary, as they travel between nodes: written once from SQLite's columns, read once into JSON
//! at the edge, with no tree in between.
//!
//! A row is its columns one after another: a tag byte, then a zigzag varint (integer), eight bytes
//! (real), or a varint length and the bytes (text, blob). The number of columns is known to both sides.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use std::cmp::Ordering;

use crate::Value;
use crate::hash::Collation;
use crate::value::compare_integer_real;

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// A column of a row, borrowed from its encoding or from SQLite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A float.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// Text that is not UTF-8, as a CAST of bytes can make it. It stays as it is on its way between nodes;
    /// clients get replacement characters.
    RawText(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

impl ValueRef<'_> {
    /// An owned copy.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::Real(number) => Value::from(number),
            ValueRef::Text(text) => Value::Text(text.to_owned()),
            ValueRef::RawText(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        }
    }

    /// The bytes of a text.
    fn text(&self) -> Option<&[u8]> {
        match self {
            ValueRef::Text(text) => Some(text.as_bytes()),
            ValueRef::RawText(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// SQLite's order: NULL, then numbers, text under a collation, blobs. Total.
    #[must_use]
    pub fn compare(self, other: ValueRef<'_>, collation: Collation) -> Ordering {
        use ValueRef::{Blob, Integer, Null, Real};
        if let (Some(a), Some(b)) = (self.text(), other.text()) {
            return collation.compare(a, b);
        }
        match (self, other) {
            (Null, Null) => Ordering::Equal,
            (Integer(a), Integer(b)) => a.cmp(&b),
            (Real(a), Real(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Integer(a), Real(b)) => compare_integer_real(a, b),
            (Real(a), Integer(b)) => compare_integer_real(b, a).reverse(),
            (Blob(a), Blob(b)) => a.cmp(b),
            _ => self.class_rank().cmp(&other.class_rank()),
        }
    }

    fn class_rank(self) -> u8 {
        match self {
            ValueRef::Null => 0,
            ValueRef::Integer(_) | ValueRef::Real(_) => 1,
            ValueRef::Text(_) | ValueRef::RawText(_) => 2,
            ValueRef::Blob(_) => 3,
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

/// Appends one column to a row being written.
pub fn write_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.push(NULL),
        ValueRef::Integer(number) => {
            out.push(INTEGER);
            #[allow(clippy::cast_sign_loss)]
            write_varint(out, ((number << 1) ^ (number >> 63)) as u64);
        }
        ValueRef::Real(number) => {
            out.push(REAL);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        ValueRef::Text(text) => write_bytes(out, TEXT, text.as_bytes()),
        ValueRef::RawText(bytes) => write_bytes(out, TEXT, bytes),
        ValueRef::Blob(bytes) => write_bytes(out, BLOB, bytes),
    }
}

fn write_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    write_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        #[allow(clippy::cast_possible_truncation)]
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    #[allow(clippy::cast_possible_truncation)]
    out.push(number as u8);
}

/// The encoding was cut short or is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed row")]
pub struct MalformedRow;

/// Takes one column off the front of `input`.
pub fn read_value<'a>(input: &mut &'a [u8]) -> Result<ValueRef<'a>, MalformedRow> {
    let tag = take(input, 1)?[0];
    match tag {
        NULL => Ok(ValueRef::Null),
        INTEGER => {
            let zigzag = read_varint(input)?;
            #[allow(clippy::cast_possible_wrap)]
            Ok(ValueRef::Integer((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)))
        }
        REAL => {
            let bytes: [u8; 8] = take(input, 8)?.try_into().map_err(|_| MalformedRow)?;
            Ok(ValueRef::Real(f64::from_bits(u64::from_le_bytes(bytes))))
        }
        TEXT => {
            let bytes = take_prefixed(input)?;
            Ok(std::str::from_utf8(bytes).map_or(ValueRef::RawText(bytes), ValueRef::Text))
        }
        BLOB => Ok(ValueRef::Blob(take_prefixed(input)?)),
        _ => Err(MalformedRow),
    }
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], MalformedRow> {
    let (head, tail) = input.split_at_checked(count).ok_or(MalformedRow)?;
    *input = tail;
    Ok(head)
}

fn take_prefixed<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], MalformedRow> {
    let length = usize::try_from(read_varint(input)?).map_err(|_| MalformedRow)?;
    take(input, length)
}

fn read_varint(input: &mut &[u8]) -> Result<u64, MalformedRow> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(input, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(MalformedRow)
}

/// A run of encoded rows, all of the same number of columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowBlock {
    /// Columns of each row.
    pub columns: u32,
    /// How many rows.
    pub rows: u32,
    /// The rows, one after another.
    pub data: Bytes,
}

impl RowBlock {
    /// Encodes rows of owned values. `columns` must be the length of each.
    #[must_use]
    pub fn from_values(columns: usize, rows: &[Vec<Value>]) -> RowBlock {
        let mut builder = RowBlockBuilder::new(columns);
        for row in rows {
            builder.push(row.iter().map(ValueRef::from));
        }
        builder.finish()
    }

    /// Visits the rows in order; each is handed as its borrowed columns.
    pub fn for_each<E: From<MalformedRow>>(
        &self,
        mut visit: impl FnMut(&[ValueRef<'_>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut input = &self.data[..];
        let mut row = Vec::with_capacity(self.columns as usize);
        for _ in 0..self.rows {
            row.clear();
            for _ in 0..self.columns {
                row.push(read_value(&mut input)?);
            }
            visit(&row)?;
        }
        Ok(())
    }

    /// All rows as owned values.
    pub fn to_values(&self) -> Result<Vec<Vec<Value>>, MalformedRow> {
        let mut rows = Vec::with_capacity(self.rows as usize);
        self.for_each(|row| {
            rows.push(row.iter().map(|value| value.to_value()).collect());
            Ok::<_, MalformedRow>(())
        })?;
        Ok(rows)
    }
}

/// Collects rows into a [`RowBlock`].
#[derive(Debug, Default)]
pub struct RowBlockBuilder {
    columns: usize,
    rows: u32,
    data: Vec<u8>,
}

impl RowBlockBuilder {
    /// An empty block for rows of `columns` columns.
    #[must_use]
    pub fn new(columns: usize) -> RowBlockBuilder {
        RowBlockBuilder { columns, rows: 0, data: Vec::new() }
    }

    /// Appends a row.
    ///
    /// # Panics
    /// If the row has another number of columns than the block.
    pub fn push<'a>(&mut self, row: impl IntoIterator<Item = ValueRef<'a>>) {
        let mut count = 0;
        for value in row {
            write_value(&mut self.data, value);
            count += 1;
        }
        assert_eq!(count, self.columns, "a row of another width than its block");
        self.rows += 1;
    }

    /// Appends a row of the block's width whose columns are encoded already.
    pub fn push_encoded(&mut self, row: &[u8]) {
        self.data.extend_from_slice(row);
        self.rows += 1;
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether it holds no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The block, leaving an empty one of the same width behind.
    pub fn finish(&mut self) -> RowBlock {
        let data = Bytes::from(std::mem::take(&mut self.data));
        RowBlock {
            columns: u32::try_from(self.columns).unwrap_or(u32::MAX),
            rows: std::mem::take(&mut self.rows),
            data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_written() {
        let rows = vec![
            vec![Value::Null, Value::Integer(i64::MIN), Value::Real(-0.5)],
            vec![Value::Text("grüß".into()), Value::Blob(vec![0, 255]), Value::Integer(i64::MAX)],
        ];
        let block = RowBlock::from_values(3, &rows);
        assert_eq!(block.rows, 2);
        assert_eq!(block.to_values().unwrap(), rows);
    }

    #[test]
    fn text_that_is_not_utf_8_stays_as_it_is_until_it_reaches_a_client() {
        let mut builder = RowBlockBuilder::new(1);
        builder.push([ValueRef::RawText(b"a\xff")]);
        let block = builder.finish();
        assert_eq!(read_value(&mut &block.data[..]), Ok(ValueRef::RawText(b"a\xff")));
        assert_eq!(block.to_values().unwrap(), [[Value::Text("a\u{fffd}".into())]]);
        let order = ValueRef::RawText(b"B\xff").compare(ValueRef::Text("a"), Collation::NoCase);
        assert_eq!(order, Ordering::Greater);
    }

    #[test]
    fn a_block_cut_short_is_an_error() {
        let block = RowBlock::from_values(1, &[vec![Value::Text("hello".into())]]);
        for length in 0..block.data.len() {
            let cut = RowBlock { data: block.data.slice(..length), ..block.clone() };
            assert_eq!(cut.to_values(), Err(MalformedRow));
        }
    }
}
