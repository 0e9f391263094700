//! Brings the parts that partitions computed together and merges them in SQLite.

use std::sync::Arc;

use common::protocol::{Statement, StatementResult};
use common::row::{MalformedRow, RowBlock, ValueRef};
use common::{Error, ErrorCode, Result};
use sqlite::grouping::REFUSED;

use super::gather;
use super::relations::{Purpose, Relation, Relations};
use crate::access::PartitionAccess;
use crate::plan::{Partial, PartialRun};

/// The one integer that a column with a numeric type holds as a real too; which of the two stands for a group
/// is not known then.
const LEAST: i64 = i64::MIN;
const LEAST_REAL: f64 = -9_223_372_036_854_775_808.0;

/// Asks the partitions, and answers the merged rows.
///
/// # Errors
/// `sql_error` where the rows themselves have to be gathered, among others.
pub(super) async fn run(
    access: &impl PartitionAccess,
    partitions: &[usize],
    partial: &Partial,
    run: PartialRun,
    max_rows: u32,
) -> Result<StatementResult> {
    let PartialRun { fragment, hashed, merge } = run;
    if let Some(hashed) = hashed {
        let relations = relations(partitions, partial, &hashed, true, &merge);
        match gather::answer(access, relations, merge.clone(), max_rows).await {
            Err(error) if error.message.contains(REFUSED) => partial.refuse_hashing(),
            answer => return answer,
        }
    }
    let relations = relations(partitions, partial, &fragment, false, &merge);
    gather::answer(access, relations, merge, max_rows).await
}

/// The answer of parts that are here.
///
/// # Errors
/// As [`run`].
pub(super) async fn merged(
    access: &impl PartitionAccess,
    partial: &Partial,
    parts: Vec<RowBlock>,
    merge: Statement,
    max_rows: u32,
) -> Result<StatementResult> {
    parts.iter().try_for_each(refuse_doubtful)?;
    let mut relations = relations(&[], partial, &merge, false, &merge);
    relations.tables.iter_mut().for_each(|table| table.fetched = Some(parts.clone()));
    gather::answer(access, relations, merge, max_rows).await
}

/// The parts as the relation that they are merged from.
fn relations(
    partitions: &[usize],
    partial: &Partial,
    fragment: &Statement,
    packed: bool,
    merge: &Statement,
) -> Relations {
    let parts = Relation {
        table: Arc::clone(&partial.parts),
        columns: (0..partial.parts.columns.len()).collect(),
        fragments: partitions.iter().map(|&partition| (partition, fragment.clone())).collect(),
        packed,
        joints: Vec::new(),
        fetched: None,
        rows_expected: None,
        lookups: Vec::new(),
        refuses: Some(refuse_doubtful),
    };
    Relations { tables: vec![parts], views: Vec::new(), text: merge.sql.clone(), purpose: Purpose::Read }
}

fn refuse_doubtful(block: &RowBlock) -> Result<()> {
    let checked = block.for_each(|row| {
        let doubtful = |value: &ValueRef<'_>| {
            matches!(value, ValueRef::Integer(LEAST)) || matches!(value, ValueRef::Real(LEAST_REAL))
        };
        if row.iter().any(doubtful) { Err(Refused::Doubtful) } else { Ok(()) }
    });
    checked.map_err(|refused| match refused {
        Refused::Doubtful => Error::new(ErrorCode::SqlError, "a part holds -2^63"),
        Refused::Malformed(error) => Error::internal(error.to_string()),
    })
}

enum Refused {
    Doubtful,
    Malformed(MalformedRow),
}

impl From<MalformedRow> for Refused {
    fn from(error: MalformedRow) -> Refused {
        Refused::Malformed(error)
    }
}
