//! Inserting rows: they are computed once, at the coordinator; the stored values of each decide its bucket.

use common::protocol::{Params, Statement, WorkItem};
use common::row::{MalformedRow, RowBlock, ValueRef};
use common::value::Affinity;
use common::{Error, Result, Value};

use super::evaluate;
use super::images::{Images, index_row};
use super::whole_rows;
use super::write::{Combine, Pending};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::ast;
use crate::plan::{Insert, InsertSource, Place, Planned};
use crate::table::{Key, Table, bucket_of, bucket_of_index_row};

/// Rows of one statement on a partition: few enough for SQLite's 32,766 parameters at 100 columns, and the
/// same number again and again, so that the prepared statement is used again.
pub(crate) const ROWS_PER_STATEMENT: usize = 128;

/// Values that SQLite is asked about at once.
const VALUES_PER_QUESTION: usize = 400;

/// Most parameters of a statement.
pub(crate) const PARAMETERS_MAX: usize = 32_766;

/// Rows on their way into a table: values for the places named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) places: Vec<Place>,
    pub(crate) rows: Vec<Vec<Value>>,
    /// The rowids among them were allocated, so nobody need be told of them.
    pub(crate) rowids_allocated: bool,
    /// The greatest rowid that earlier statements of the same request insert: generated ones are greater.
    pub(crate) above: Option<i64>,
}

/// Turns an INSERT into work. `above` is the greatest rowid that earlier statements of the same request insert into
/// its table.
pub(super) async fn prepare(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    insert: &Insert,
    values: &[Value],
    above: Option<i64>,
) -> Result<Pending> {
    let rows = Rows { above, ..compute(access, insert, values).await? };
    let text = |places: &[Place], count: usize| insert.statement(places, count);
    let mut pending = insert_rows(planner, access, &insert.target, rows, &text).await?;
    if insert.returns_rows {
        match &mut pending.combine {
            Combine::Sum { header, .. } => {
                *header = Some((planned.columns.clone(), planned.types.clone()));
            }
            Combine::Known(result) => {
                (result.columns, result.types) = (planned.columns.clone(), planned.types.clone());
            }
        }
    }
    Ok(pending)
}

async fn compute(access: &impl PartitionAccess, insert: &Insert, values: &[Value]) -> Result<Rows> {
    let rows = match &insert.source {
        InsertSource::Defaults => vec![Vec::new()],
        InsertSource::Rows(rows) => rows
            .iter()
            .map(|row| {
                let value = |operand: &crate::route::Operand| operand.value(values);
                row.iter()
                    .map(value)
                    .collect::<Option<Vec<Value>>>()
                    .ok_or_else(|| Error::bad_request("a parameter is missing"))
            })
            .collect::<Result<_>>()?,
        InsertSource::Query(query) => rows_of_query(access, query, values).await?,
    };
    Ok(Rows { places: insert.places.clone(), rows, ..Rows::default() })
}

/// The rows of a query without tables.
async fn rows_of_query(
    access: &impl PartitionAccess,
    query: &Planned,
    values: &[Value],
) -> Result<Vec<Vec<Value>>> {
    // The query stands first in the statement, so its parameters are the first ones.
    let values = &values[..query.parameters.len().min(values.len())];
    let params = if values.is_empty() { Params::None } else { Params::Positional(values.to_vec()) };
    // Parameters keep their names in the text; by position they are found all the same.
    let result = evaluate(access, Statement { sql: query.text.clone(), params }, u32::MAX).await?;
    if result.truncated {
        return Err(Error::new(
            common::ErrorCode::ResultTooBig,
            "the rows to insert are larger than 512 MiB",
        )
        .with_hint("insert them in several statements"));
    }
    to_be_stored(&result.rows)
}

/// Rows as they are to be stored. A text that is not UTF-8 would be another one.
fn to_be_stored(rows: &RowBlock) -> Result<Vec<Vec<Value>>> {
    let (mut owned, mut is_text) = (Vec::new(), true);
    let visited = rows.for_each(|row| {
        is_text &= !row.iter().any(|value| matches!(value, ValueRef::RawText(_)));
        owned.push(row.iter().map(|value| value.to_value()).collect());
        Ok::<_, MalformedRow>(())
    });
    visited.map_err(|error| Error::internal(error.to_string()))?;
    if is_text { Ok(owned) } else { Err(Error::malformed_text()) }
}

/// Turns rows into work: defaults that decide a place are evaluated, rowids allocated, buckets chosen, rows
/// of global indexes made. `text` makes the statement for some places and a number of rows.
pub(crate) async fn insert_rows(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    mut rows: Rows,
    text: &(dyn Fn(&[Place], usize) -> String + Sync),
) -> Result<Pending> {
    if rows.rows.is_empty() {
        return Ok(Pending::default());
    }
    if table.is_split() {
        let (rowids, allocated) = add_rowids(access, table, &mut rows).await?;
        let greatest_rowid = greatest(&rowids);
        let allocated =
            allocated.map(|(first, count)| (table.name.clone(), first, count)).into_iter().collect();
        let statements = statements(1, rows.clone(), &vec![0; rows.rows.len()], text);
        let pending = whole_rows::insert(planner, access, table, statements, allocated).await?;
        return Ok(Pending { greatest_rowid, ..pending });
    }
    if planner.buckets() == 1 {
        // SQLite evaluates defaults and allocates rowids there by itself.
        let buckets = vec![0; rows.rows.len()];
        return Ok(Pending { work: statements(1, rows, &buckets, text), ..Pending::default() });
    }
    add_defaults(access, table, &mut rows).await?;
    let (rowids, allocated) = add_rowids(access, table, &mut rows).await?;
    let placed = place(planner, access, table, &rows, &rowids).await;
    let (buckets, images) = match placed {
        Ok(placed) => placed,
        Err(error) => {
            give_back(access, table, allocated).await;
            return Err(error);
        }
    };
    let greatest_rowid = greatest(&rowids);
    let rowids = rowids.into_iter().flatten().flatten().collect();
    let mut work = match table.reference {
        true => copies(planner.buckets(), &statements(1, rows, &buckets, text)),
        false => statements(planner.buckets(), rows, &buckets, text),
    };
    work.extend(images.into_work());
    Ok(Pending {
        work,
        combine: Combine::Sum { header: None, rowids },
        allocated: allocated.map(|(first, count)| (table.name.clone(), first, count)).into_iter().collect(),
        copies: table.reference,
        greatest_rowid,
        ..Pending::default()
    })
}

fn greatest(rowids: &Rowids) -> Option<i64> {
    rowids.iter().flatten().flatten().copied().max()
}

/// The same work in every bucket.
fn copies(bucket_count: usize, work: &[(usize, WorkItem)]) -> Vec<(usize, WorkItem)> {
    let in_bucket = |bucket| work.iter().map(move |(_, item)| (bucket, item.clone()));
    (0..bucket_count).flat_map(in_bucket).collect()
}

/// Rows by bucket, in statements of equal size as far as possible.
fn statements(
    bucket_count: usize,
    rows: Rows,
    buckets: &[usize],
    text: &(dyn Fn(&[Place], usize) -> String + Sync),
) -> Vec<(usize, WorkItem)> {
    let places = rows.places;
    let per_statement = ROWS_PER_STATEMENT.min((PARAMETERS_MAX / places.len().max(1)).max(1));
    let mut by_bucket: Vec<Vec<Vec<Value>>> = vec![Vec::new(); bucket_count];
    for (row, &bucket) in rows.rows.into_iter().zip(buckets) {
        by_bucket[bucket].push(row);
    }
    let mut work = Vec::new();
    let mut full: Option<String> = None;
    for (bucket, rows) in by_bucket.into_iter().enumerate() {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let chunk: Vec<Vec<Value>> = rows.by_ref().take(per_statement).collect();
            let sql = if chunk.len() == per_statement {
                full.get_or_insert_with(|| text(&places, per_statement)).clone()
            } else {
                text(&places, chunk.len())
            };
            let params = Params::Positional(chunk.into_iter().flatten().collect());
            work.push((bucket, WorkItem::Statement(Statement { sql, params })));
        }
    }
    work
}

/// Evaluates, for each row, the defaults of absent columns that decide where the row or its index rows go.
async fn add_defaults(access: &impl PartitionAccess, table: &Table, rows: &mut Rows) -> Result<()> {
    // All copies of a row must have the same values.
    let mut deciding = if table.reference { table.stored().collect() } else { table.key_columns() };
    for index in &table.global_indexes {
        deciding.extend(table.index_columns(index));
    }
    deciding.sort_unstable();
    deciding.dedup();
    for position in deciding {
        let given = rows.places.contains(&Place::Column(position));
        if given || table.rowid_alias == Some(position) {
            continue;
        }
        let Some(default) = &table.columns[position].default else {
            rows.places.push(Place::Column(position));
            rows.rows.iter_mut().for_each(|row| row.push(Value::Null));
            continue;
        };
        rows.places.push(Place::Column(position));
        if let Some(value) = ast::constant(default) {
            rows.rows.iter_mut().for_each(|row| row.push(value.clone()));
            continue;
        }
        // Each row has a random number of its own, and all have the same time.
        let sql = format!(
            "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?) SELECT ({default}) FROM c"
        );
        let count = i64::try_from(rows.rows.len()).unwrap_or(i64::MAX);
        let statement = Statement { sql, params: Params::Positional(vec![count.into()]) };
        let values = column_of(access, statement).await?;
        if values.len() != rows.rows.len() {
            return Err(Error::internal("a default has no value"));
        }
        rows.rows.iter_mut().zip(values).for_each(|(row, value)| row.push(value));
    }
    Ok(())
}

type Rowids = Option<Vec<Option<i64>>>;

/// Fills in the rowids: those that the client gives are announced, the others allocated. The rowids
/// answered are those of the rows in order; `None` where the partition will refuse the value.
async fn add_rowids(
    access: &impl PartitionAccess,
    table: &Table,
    rows: &mut Rows,
) -> Result<(Rowids, Option<(i64, u64)>)> {
    if table.rowid_name.is_none() {
        return Ok((None, None));
    }
    let wanted: Vec<usize> = (0..rows.places.len())
        .filter(|&index| match rows.places[index] {
            Place::Rowid => true,
            Place::Column(position) => table.rowid_alias == Some(position),
        })
        .collect();
    let column = match wanted.last() {
        Some(&column) => column,
        None => {
            rows.places.push(table.rowid_alias.map_or(Place::Rowid, Place::Column));
            rows.rows.iter_mut().for_each(|row| row.push(Value::Null));
            rows.places.len() - 1
        }
    };
    let values: Vec<Value> = rows.rows.iter().map(|row| row[column].clone()).collect();
    let stored = stored_values(access, Affinity::Integer, &values).await?;
    let generated = stored.iter().filter(|value| value.is_null()).count() as u64;
    let allocated = match generated {
        0 => None,
        count => Some((access.allocate_rowids(&table.name, count).await?, count)),
    };
    // A generated rowid is greater than those before it, also within the request; one that is given later may
    // be equal to it.
    let mut last =
        allocated.map_or(i64::MIN, |(first, _)| first.saturating_sub(1)).max(rows.above.unwrap_or(i64::MIN));
    let (mut rowids, mut any_given) = (Vec::with_capacity(stored.len()), rows.above.is_some());
    for (row, value) in rows.rows.iter_mut().zip(stored) {
        let rowid = match value {
            Value::Integer(rowid) => {
                any_given = true;
                last = last.max(rowid);
                Some(rowid)
            }
            Value::Null => {
                let Some(next) = last.checked_add(1) else {
                    give_back(access, table, allocated).await;
                    return Err(full());
                };
                last = next;
                row[column] = Value::Integer(next);
                Some(next)
            }
            _ => None,
        };
        rowids.push(rowid);
    }
    // What is allocated is beyond all that was written before.
    let is_beyond = allocated.is_none_or(|(first, count)| last >= first.saturating_add_unsigned(count));
    if any_given && is_beyond && !rows.rowids_allocated {
        access.rowids_set(&table.name, last).await?;
    }
    Ok((Some(rowids), allocated))
}

/// Gives rowids back that were allocated and not used.
async fn give_back(access: &impl PartitionAccess, table: &Table, allocated: Option<(i64, u64)>) {
    if let Some((first, count)) = allocated {
        access.release_rowids(&table.name, first, count).await;
    }
}

fn full() -> Error {
    Error::new(common::ErrorCode::SqlError, "database or disk is full")
        .with_hint("the table's greatest rowid is the greatest integer; give rowids yourself")
}

/// The bucket of each row, and the rows of global indexes.
async fn place(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    rows: &Rows,
    rowids: &Rowids,
) -> Result<(Vec<usize>, Images)> {
    if table.reference {
        return Ok((vec![0; rows.rows.len()], Images::default()));
    }
    let buckets = match &table.key {
        Key::Rowid => rowids
            .iter()
            .flatten()
            // A value that is no rowid is refused by whichever partition it reaches.
            .map(|rowid| rowid.map_or(0, |rowid| bucket_of(planner.database(), &[Value::Integer(rowid)])))
            .collect(),
        Key::Columns(columns) => {
            let keys = folded_columns(access, table, rows, columns).await?;
            keys.iter().map(|(_, folded)| bucket_of(planner.database(), folded)).collect()
        }
    };
    let mut images = Images::default();
    for index in &table.global_indexes {
        let columns = table.index_columns(index);
        let keys = folded_columns(access, table, rows, &columns).await?;
        for (row, (stored, folded)) in keys.into_iter().enumerate() {
            if stored.iter().any(Value::is_null) {
                continue;
            }
            let rowid = rowids.as_ref().and_then(|rowids| rowids[row]).map_or(Value::Null, Value::Integer);
            let bucket = bucket_of_index_row(planner.database(), &folded);
            images.push(bucket, &index.table, index_row(stored, rowid));
        }
    }
    Ok((buckets, images))
}

/// For each row, the values of some columns as stored, and folded by their collations.
async fn folded_columns(
    access: &impl PartitionAccess,
    table: &Table,
    rows: &Rows,
    columns: &[usize],
) -> Result<Vec<(Vec<Value>, Vec<Value>)>> {
    let mut found = vec![(Vec::new(), Vec::new()); rows.rows.len()];
    for &position in columns {
        // The last one wins where a column is named twice, which SQLite ignores; so does the first here.
        let place = rows.places.iter().position(|place| *place == Place::Column(position));
        let place = place.ok_or_else(|| Error::internal("a key column has no value"))?;
        let given: Vec<Value> = rows.rows.iter().map(|row| row[place].clone()).collect();
        let stored = stored_values(access, table.columns[position].affinity, &given).await?;
        for (row, value) in found.iter_mut().zip(stored) {
            let folded = table
                .folded(position, value.clone())
                .ok_or_else(|| Error::internal("a key column has an unknown collation"))?;
            row.0.push(value);
            row.1.push(folded);
        }
    }
    Ok(found)
}

/// Values as a column of the affinity stores them. SQLite itself is asked where its rules are subtle.
pub(super) async fn stored_values(
    access: &impl PartitionAccess,
    affinity: Affinity,
    values: &[Value],
) -> Result<Vec<Value>> {
    let mut stored: Vec<Option<Value>> = values.iter().map(|value| affinity.apply(value)).collect();
    let unsure: Vec<usize> = (0..values.len()).filter(|&index| stored[index].is_none()).collect();
    for chunk in unsure.chunks(VALUES_PER_QUESTION) {
        let asked: Vec<Value> = chunk.iter().map(|&index| values[index].clone()).collect();
        for (&index, answer) in chunk.iter().zip(ask_sqlite(access, affinity, asked).await?) {
            stored[index] = Some(answer);
        }
    }
    stored
        .into_iter()
        .collect::<Option<Vec<Value>>>()
        .ok_or_else(|| Error::internal("SQLite answered fewer values than it was asked for"))
}

async fn ask_sqlite(
    access: &impl PartitionAccess,
    affinity: Affinity,
    values: Vec<Value>,
) -> Result<Vec<Value>> {
    // A comparison with a NUMERIC expression gives text that is a number, and no other, numeric affinity.
    let expression = match affinity {
        Affinity::Text => "CAST(x AS TEXT)",
        Affinity::Real => "CASE WHEN CAST(x AS NUMERIC) = x THEN CAST(x AS REAL) ELSE x END",
        _ => "CASE WHEN CAST(x AS NUMERIC) = x THEN CAST(x AS NUMERIC) ELSE x END",
    };
    let marks = vec!["(?)"; values.len()].join(", ");
    let sql = format!("WITH v(x) AS (VALUES {marks}) SELECT {expression} FROM v");
    column_of(access, Statement { sql, params: Params::Positional(values) }).await
}

/// The only column of a statement without tables.
async fn column_of(access: &impl PartitionAccess, statement: Statement) -> Result<Vec<Value>> {
    let result = evaluate(access, statement, u32::MAX).await?;
    let rows = to_be_stored(&result.rows)?;
    Ok(rows.into_iter().flatten().collect())
}
