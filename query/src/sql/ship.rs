//! Gathers in an order: tables that conditions make small are fetched first, and the values of their columns are
//! sent to the partitions of the tables that are joined with them, which then answer only rows that match. Or the
//! rows of a small table themselves are sent, and the partitions join them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use common::protocol::{Params, Statement};
use common::row::{RowBlock, ValueRef, read_value, write_value};
use common::{Error, ErrorCode, Result, Value};
use futures_util::future::{self, Either};
use futures_util::{StreamExt as _, stream};

use super::gather;
use super::relations::{Purpose, Relation, Relations};
use super::waiting::time_is_up;
use super::{Limits, Writer};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::filter::Filter;
use crate::plan::{Answer, Read, Sent, Shipment, Source, Step};
use crate::route::{KeyColumn, Operand, Route};

/// Most bytes of rows that are fetched before others; a table with more is gathered with the others.
const ROWS_MAX: usize = 4 << 20;

/// Most bytes of a table's rows that are sent to the partitions of those that it is joined with.
const SENT_MAX: usize = 2 << 20;

/// Most rows of a subquery's answer that are sent.
const ROWS_SENT_MAX: u32 = 100_000;

/// Most rows of a query's answer over which the statement around it is evaluated, and their bytes.
const ROWS_KEPT_MAX: u32 = 500_000;
const KEPT_MAX: usize = 8 << 20;

/// A table of so many rows is sent whatever it is joined with.
const ROWS_SMALL: u64 = 1_000;

/// Most values that are sent.
const KEYS_MAX: usize = 10_000;

/// Most bytes of values that are sent.
const KEY_BYTES_MAX: usize = 256 << 10;

/// What the client's text runs over, some of it here already.
pub(super) async fn relations(
    planner: &Planner,
    access: &impl PartitionAccess,
    read: &Read,
    values: &[Value],
    text: &str,
) -> Result<Relations> {
    let mut sources = read.sources.clone();
    let fetched = first(planner, access, &mut sources, &read.steps, values).await?;
    let mut relations = gather::relations(planner, &sources, values, text, Purpose::Read);
    for (index, rows) in fetched {
        relations.tables[index].fragments.clear();
        relations.tables[index].rows_expected = Some(rows.iter().map(|block| u64::from(block.rows)).sum());
        relations.tables[index].fetched = Some(rows);
    }
    Ok(relations)
}

/// Fetches what is to be fetched first, and narrows the other sources to rows that match. The rows fetched are
/// answered by number of source.
pub(super) async fn first(
    planner: &Planner,
    access: &impl PartitionAccess,
    sources: &mut [Source],
    steps: &[Step],
    values: &[Value],
) -> Result<BTreeMap<usize, Vec<RowBlock>>> {
    let mut fetched = BTreeMap::new();
    for step in steps {
        let source = sources[step.from].clone();
        let from = std::slice::from_ref(&source);
        let relation = gather::relations(planner, from, values, "", Purpose::Read).tables.remove(0);
        if !relation.joints.is_empty() {
            break;
        }
        let Some(rows) = fetch_in_time(access, &relation, ROWS_MAX).await? else { break };
        for shipment in &step.shipments {
            if let Some(keys) = keys(&source, shipment.from_column, &rows)? {
                narrow(&mut sources[shipment.to], shipment, keys);
            }
        }
        fetched.insert(step.from, rows);
    }
    Ok(fetched)
}

/// The parameters of a pushed plan: the client's and the rows that are sent to the partitions; `None` if they are
/// too many, and the rest is better gathered too.
pub(super) async fn with_sent(
    planner: &Planner,
    access: &impl PartitionAccess,
    read: &Read,
    values: &[Value],
) -> Result<Option<Vec<Value>>> {
    let mut packed = Vec::with_capacity(read.sent.len());
    for sent in &read.sent {
        let rows = match sent {
            Sent::Table(source) => small_table(planner, access, read, *source, values).await?,
            // The boxed future breaks the cycle of a statement within a statement.
            Sent::Answer(answer) => Box::pin(answer_first(planner, access, answer, values)).await?,
        };
        let Some(rows) = rows else { return Ok(None) };
        packed.push(Value::Blob(sqlite::packed::pack(&rows)));
    }
    Ok(Some(read.with_sent(values, packed)))
}

/// What a subquery answers; `None` if that is too much, or SQLite has to judge whether it fails.
async fn answer_first(
    planner: &Planner,
    access: &impl PartitionAccess,
    answer: &Answer,
    values: &[Value],
) -> Result<Option<RowBlock>> {
    let planned = &answer.planned;
    let values = &values[..planned.parameters.len().min(values.len())];
    let params = if values.is_empty() { Params::None } else { Params::Positional(values.to_vec()) };
    let statement = Statement { sql: planned.text.clone(), params };
    let (rows, bytes) = if answer.stays { (ROWS_KEPT_MAX, KEPT_MAX) } else { (ROWS_SENT_MAX, SENT_MAX) };
    let max_rows = if answer.one_row { 1 } else { rows };
    let limits = Limits { max_rows, read_only: true, writer: Writer::Client };
    match super::read(planner, access, planned, values, &statement, limits).await {
        Ok(found) if answer.one_row || !found.truncated && found.rows.data.len() <= bytes => {
            Ok(Some(found.rows))
        }
        Ok(_) => Ok(None),
        Err(error) if error.code == ErrorCode::SqlError => Ok(None),
        Err(error) => Err(error),
    }
}

/// The rows of a source; `None` if they are not few beside those that they are joined with.
async fn small_table(
    planner: &Planner,
    access: &impl PartitionAccess,
    read: &Read,
    index: usize,
    values: &[Value],
) -> Result<Option<RowBlock>> {
    let from = std::slice::from_ref(&read.sources[index]);
    let relation = gather::relations(planner, from, values, "", Purpose::Read).tables.remove(0);
    let is_sent =
        |other: usize| read.sent.iter().any(|sent| matches!(sent, Sent::Table(sent) if *sent == other));
    let others = read.sources.iter().enumerate().filter(|(other, _)| !is_sent(*other));
    let joined_with = others.filter_map(|(_, source)| {
        let buckets = source.route.buckets(planner.database(), &source.table, values);
        planner.statistics().rows(&source.table.name, &buckets)
    });
    let is_small = |rows: u64| rows <= ROWS_SMALL || joined_with.max().is_none_or(|most| rows <= most / 2);
    if !relation.joints.is_empty() || !relation.rows_expected.is_none_or(is_small) {
        return Ok(None);
    }
    Ok(fetch_in_time(access, &relation, SENT_MAX).await?.map(|blocks| one_block(&blocks)))
}

fn one_block(blocks: &[RowBlock]) -> RowBlock {
    RowBlock {
        columns: blocks.iter().map(|block| block.columns).max().unwrap_or(0),
        rows: blocks.iter().map(|block| block.rows).sum(),
        data: blocks.iter().flat_map(|block| block.data.iter().copied()).collect(),
    }
}

/// As [`fetch`], as long as the request lasts.
async fn fetch_in_time(
    access: &impl PartitionAccess,
    relation: &Relation,
    most: usize,
) -> Result<Option<Vec<RowBlock>>> {
    let rows = pin!(fetch(access, relation, most));
    let late = pin!(access.deadline_passed());
    match future::select(rows, late).await {
        Either::Left((rows, _)) => rows,
        Either::Right(_) => Err(time_is_up()),
    }
}

/// All rows of a table; `None` if they are more than `most` bytes.
async fn fetch(
    access: &impl PartitionAccess,
    relation: &Relation,
    most: usize,
) -> Result<Option<Vec<RowBlock>>> {
    let opened =
        relation.fragments.iter().map(|(partition, statement)| access.stream(*partition, statement.clone()));
    let streams = future::try_join_all(opened).await?;
    let mut arriving = stream::select_all(streams.into_iter().map(|rows| rows.blocks));
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    while let Some(block) = arriving.next().await {
        let block = block?;
        bytes += block.data.len();
        if bytes > most {
            return Ok(None);
        }
        blocks.push(block);
    }
    Ok(Some(blocks))
}

/// The different values of a column, without NULL, which equals nothing; `None` if they are too many.
fn keys(source: &Source, column: KeyColumn, rows: &[RowBlock]) -> Result<Option<Vec<Value>>> {
    let table = &source.table;
    let shift = usize::from(table.rowid_name.is_some());
    let place = match column {
        KeyColumn::Position(position) if shift == 0 || table.rowid_alias != Some(position) => {
            source.columns.iter().position(|own| *own == position).map(|index| index + shift)
        }
        _ => Some(0),
    };
    let place = place.ok_or_else(|| Error::internal("a column whose values are sent was not fetched"))?;
    let malformed = |error: common::row::MalformedRow| Error::internal(error.to_string());
    let (mut found, mut bytes) = (BTreeSet::new(), 0);
    for block in rows {
        block
            .for_each(|row| {
                if let Some(value) = row.get(place).filter(|value| !matches!(value, ValueRef::Null)) {
                    let mut encoded = Vec::new();
                    write_value(&mut encoded, *value);
                    let size = encoded.len();
                    bytes += if found.insert(encoded) { size } else { 0 };
                }
                Ok(())
            })
            .map_err(malformed)?;
        if found.len() > KEYS_MAX || bytes > KEY_BYTES_MAX {
            return Ok(None);
        }
    }
    let decoded = found.iter().map(|encoded| Ok(read_value(&mut encoded.as_slice())?.to_value()));
    decoded.collect::<std::result::Result<_, _>>().map(Some).map_err(malformed)
}

/// Asks a source's partitions for rows with these values alone.
fn narrow(source: &mut Source, shipment: &Shipment, keys: Vec<Value>) {
    let mut operands: Vec<Operand> = keys.into_iter().map(Operand::Constant).collect();
    if shipment.collation.is_none() {
        let route = Route::among(&source.table, shipment.column, &operands);
        source.route.tests.extend(route.tests);
    }
    // Few different lengths make few different texts, which partitions keep prepared.
    if let Some(last) = operands.last().cloned() {
        operands.resize(operands.len().next_power_of_two(), last);
    }
    let filter = Filter::among(&source.table, shipment.column, shipment.collation.as_deref(), operands);
    source.filters.extend(filter);
}
