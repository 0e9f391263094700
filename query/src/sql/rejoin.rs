//! Puts the rows of a table together whose columns lie in several column groups.
//!
//! The groups' rows arrive in the order of their keys and are joined by key; the anchor says which rows there
//! are. What is read of two groups may be of different moments, with a write over both in between. So each row
//! of the anchor carries, for every other group, the stamp of the row's part there: a digest of its values. A
//! write that changes a part changes part and stamp in one transaction, so parts whose stamps are the anchor's
//! are the ones that belonged to the row when it was as the anchor has it. Rows with other stamps are read again
//! by their keys until they fit. A row that a group lacks was not there yet, or not any more, when the group
//! was read, or a condition on the group's columns leaves it out: it is left out as well.

use std::cmp::Ordering;
use std::pin::Pin;

use common::catalog::Database;
use common::limits::ROW_BLOCK;
use common::protocol::Statement;
use common::row::{RowBlock, RowBlockBuilder, ValueRef};
use common::{Error, ErrorCode, Result, Value};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use sqlite::document_fields::joined;

use super::computed_columns::Computing;
use super::cursor::RowCursor;
use crate::access::PartitionAccess;
use crate::plan::{Piece, Source};
use crate::table::{Divided, Table};

/// How often a row is read whose parts do not fit: each time takes a round trip to the partitions, while a
/// transaction is carried out within a few.
const ATTEMPTS_MAX: usize = 64;

/// If a condition on one group's columns leaves no more rows than this, the other groups are asked for these
/// alone.
const SELECTIVE_ROWS: usize = 512;

/// Rows that are asked for by their keys at once.
const KEYS_PER_READ: usize = 128;

/// Blocks of rows while their request lasts.
pub(super) type JoinedBlocks<'a> = Pin<Box<dyn Stream<Item = Result<RowBlock>> + Send + 'a>>;

/// What is read of a table in one bucket, whose columns are needed from several column groups.
#[derive(Clone, Debug)]
pub(crate) struct Joint {
    source: Source,
    /// Positions of the columns that rows are put together of.
    columns: Vec<usize>,
    pieces: Vec<Piece>,
    /// The partition of each piece, and what it is asked.
    asked: Vec<(usize, Statement)>,
    /// What makes the source's columns of these, if some of them are computed here.
    computing: Option<Computing>,
}

impl Joint {
    /// The pieces of a source in a bucket.
    pub(super) fn new(database: &Database, source: &Source, bucket: usize, values: &[Value]) -> Joint {
        let pieces = source.pieces();
        let asked = pieces.iter().map(|piece| {
            let index = database.partition_index(piece.group, bucket);
            (index, piece.statement(&source.table, values))
        });
        let columns = source.read_columns();
        let computing = Computing::of(source, &columns);
        Joint { asked: asked.collect(), source: source.clone(), columns, pieces, computing }
    }

    /// The rows: rowid, where the table has one, and the source's columns.
    pub(super) async fn open<'a>(&'a self, access: &'a impl PartitionAccess) -> Result<JoinedBlocks<'a>> {
        let rejoin = Rejoin { access, joint: self };
        let input = rejoin.begin().await?;
        let blocks = stream::unfold(Some(Running { rejoin, input }), |running| async move {
            let mut running = running?;
            match running.next_block().await {
                Ok(Some(block)) => Some((Ok(block), Some(running))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(match &self.computing {
            None => blocks.boxed(),
            Some(computing) => blocks.and_then(|block| computing.run(access, block)).boxed(),
        })
    }
}

/// The pieces of one table in one bucket on their way together.
struct Rejoin<'a, A> {
    access: &'a A,
    joint: &'a Joint,
}

/// The same under way.
struct Running<'a, A> {
    rejoin: Rejoin<'a, A>,
    input: Input,
}

/// Where rows come from.
enum Input {
    /// All groups, side by side in the order of the key.
    Streams(Vec<RowCursor>),
    /// The keys that a selective group left, to be asked for.
    Keys(std::vec::IntoIter<Vec<Value>>),
    /// Nowhere any more.
    Done,
}

/// What the groups have of one row; `None` where a group has nothing.
type Parts = Vec<Option<Vec<Value>>>;

impl<A: PartitionAccess> Rejoin<'_, A> {
    fn table(&self) -> &Table {
        &self.joint.source.table
    }

    /// How many values name a row.
    fn key_width(&self) -> usize {
        if self.table().rowid_name.is_some() { 1 } else { self.table().primary_key.len() }
    }

    /// Begins with the group whose rows a condition of its own thins out, if there is one.
    async fn begin(&self) -> Result<Input> {
        let pieces = &self.joint.pieces;
        let common = pieces.iter().map(|piece| piece.filters.len()).min().unwrap_or(0);
        let Some(first) = pieces.iter().position(|piece| piece.filters.len() > common) else {
            let opened = (0..pieces.len()).map(|at| self.stream(at));
            return side_by_side(future::try_join_all(opened).await?).await;
        };
        let mut cursor = self.stream(first).await?;
        let mut ahead = Vec::new();
        while ahead.len() <= SELECTIVE_ROWS {
            cursor.advance().await?;
            match cursor.next.take() {
                Some(row) => ahead.push(row),
                None => {
                    let width = self.key_width();
                    ahead.iter_mut().for_each(|row| row.truncate(width));
                    return Ok(Input::Keys(ahead.into_iter()));
                }
            }
        }
        // Too many to be asked for one by one.
        cursor.put_back(ahead);
        let opened = (0..pieces.len()).filter(|at| *at != first).map(|at| self.stream(at));
        let mut cursors = future::try_join_all(opened).await?;
        cursors.insert(first, cursor);
        side_by_side(cursors).await
    }

    async fn stream(&self, at: usize) -> Result<RowCursor> {
        let (index, statement) = &self.joint.asked[at];
        Ok(RowCursor::new(self.access.stream(*index, statement.clone()).await?.blocks))
    }

    /// The row that parts make, read again as long as they do not fit; `None` if there is no such row.
    async fn settled(&self, mut parts: Parts) -> Result<Option<Vec<Value>>> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(found) = parts.into_iter().collect::<Option<Vec<Vec<Value>>>>() else {
                return Ok(None);
            };
            if self.fit(&found) {
                return self.row(&found).map(Some);
            }
            let key = found[0][..self.key_width()].to_vec();
            parts = self.read_parts(&[key]).await?.pop().unwrap_or_default();
            if parts.is_empty() {
                return Ok(None);
            }
        }
        Err(Error::new(
            ErrorCode::SerializationFailure,
            format!("a row of {} kept changing while its column groups were read", self.table().name),
        )
        .with_hint("send the request again"))
    }

    /// What each group has of the rows with these keys.
    async fn read_parts(&self, keys: &[Vec<Value>]) -> Result<Vec<Parts>> {
        let reads = self.joint.pieces.iter().zip(&self.joint.asked).map(|(piece, (index, _))| async move {
            let rows = self.access.stream(*index, piece.by_keys(self.table(), keys)).await?;
            let (mut cursor, mut found) = (RowCursor::new(rows.blocks), Vec::new());
            loop {
                cursor.advance().await?;
                match cursor.next.take() {
                    Some(row) => found.push(row),
                    None => return Ok::<_, Error>(found),
                }
            }
        });
        let mut groups = future::try_join_all(reads).await?;
        let width = self.key_width();
        let part_of = |rows: &mut Vec<Vec<Value>>, key: &[Value]| {
            let at = rows.iter().position(|row| compare_keys(self.table(), &row[..width], key).is_eq())?;
            Some(rows.swap_remove(at))
        };
        Ok(keys.iter().map(|key| groups.iter_mut().map(|rows| part_of(rows, key)).collect()).collect())
    }

    /// Whether every part is the one that the anchor's row was written with.
    fn fit(&self, parts: &[Vec<Value>]) -> bool {
        let width = self.key_width();
        (1..parts.len()).all(|at| parts[0][width + at - 1] == parts[at][width])
    }

    fn row(&self, parts: &[Vec<Value>]) -> Result<Vec<Value>> {
        let mut row: Vec<Value> = self.table().rowid_name.map(|_| parts[0][0].clone()).into_iter().collect();
        for column in &self.joint.columns {
            row.push(match &self.table().divided {
                Some(divided) if divided.document == *column => self.document(divided, parts)?,
                _ => self.value(*column, parts).cloned().unwrap_or_default(),
            });
        }
        Ok(row)
    }

    fn value<'p>(&self, column: usize, parts: &'p [Vec<Value>]) -> Option<&'p Value> {
        self.joint.pieces.iter().zip(parts).find_map(|(piece, part)| {
            let at = piece.columns.iter().position(|other| *other == column)?;
            part.get(piece.lead(self.table()) + at)
        })
    }

    /// A document as a whole.
    fn document(&self, divided: &Divided, parts: &[Vec<Value>]) -> Result<Value> {
        let bytes = |column: &usize| match self.value(*column, parts) {
            Some(Value::Blob(bytes)) => Some(bytes.as_ref()),
            _ => None,
        };
        let shares: Option<Vec<&[u8]>> = divided.shares.iter().map(bytes).collect();
        let whole = bytes(&divided.order).zip(shares).and_then(|(order, shares)| joined(order, &shares));
        whole.map(Value::Blob).ok_or_else(|| {
            Error::internal(format!("a document of {} lacks some of its attributes", self.table().name))
        })
    }
}

impl<A: PartitionAccess> Running<'_, A> {
    async fn next_block(&mut self) -> Result<Option<RowBlock>> {
        let width = self.rejoin.joint.columns.len() + usize::from(self.rejoin.table().rowid_name.is_some());
        let mut block = RowBlockBuilder::new(width.max(1));
        while block.len() < ROW_BLOCK {
            let rows = match std::mem::replace(&mut self.input, Input::Done) {
                Input::Done => break,
                Input::Streams(cursors) => self.next_of_streams(cursors).await?.into_iter().collect(),
                Input::Keys(keys) => self.next_of_keys(keys).await?,
            };
            for row in rows {
                block.push(row.iter().map(ValueRef::from));
            }
        }
        Ok((!block.is_empty()).then(|| block.finish()))
    }

    /// The next row of streams that are all at or behind the last one; leaves them as the input.
    async fn next_of_streams(&mut self, mut cursors: Vec<RowCursor>) -> Result<Option<Vec<Value>>> {
        let width = self.rejoin.key_width();
        'rows: loop {
            let Some(anchor) = cursors[0].next.take() else { return Ok(None) };
            cursors[0].advance().await?;
            let mut parts: Parts = Vec::with_capacity(cursors.len());
            for cursor in &mut cursors[1..] {
                let mut part = None;
                while let Some(next) = &cursor.next {
                    match compare_keys(&self.rejoin.joint.source.table, &next[..width], &anchor[..width]) {
                        Ordering::Less => cursor.advance().await?,
                        Ordering::Equal => {
                            part = cursor.next.take();
                            cursor.advance().await?;
                            break;
                        }
                        Ordering::Greater => break,
                    }
                }
                if part.is_none() {
                    continue 'rows;
                }
                parts.push(part);
            }
            parts.insert(0, Some(anchor));
            if let Some(row) = self.rejoin.settled(parts).await? {
                self.input = Input::Streams(cursors);
                return Ok(Some(row));
            }
        }
    }

    /// The rows with the next few keys; leaves the others as the input.
    async fn next_of_keys(&mut self, mut keys: std::vec::IntoIter<Vec<Value>>) -> Result<Vec<Vec<Value>>> {
        let batch: Vec<Vec<Value>> = keys.by_ref().take(KEYS_PER_READ).collect();
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = Vec::with_capacity(batch.len());
        for parts in self.rejoin.read_parts(&batch).await? {
            rows.extend(self.rejoin.settled(parts).await?);
        }
        self.input = Input::Keys(keys);
        Ok(rows)
    }
}

/// Streams that each stand at their first row.
async fn side_by_side(mut cursors: Vec<RowCursor>) -> Result<Input> {
    for cursor in &mut cursors {
        cursor.advance().await?;
    }
    Ok(Input::Streams(cursors))
}

/// The order in which partitions give the rows of a table.
fn compare_keys(table: &Table, left: &[Value], right: &[Value]) -> Ordering {
    let pairs = left.iter().zip(right).enumerate();
    pairs
        .map(|(at, (left, right))| table.folded_key(at, left).compare(&table.folded_key(at, right)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}
