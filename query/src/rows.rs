//! Rows in bulk: import and export.

use std::collections::BTreeSet;

use common::names::quote_identifier;
use common::protocol::{Params, RowsHeader, Statement};
use common::{Error, ErrorCode, Result, Value};
use futures_util::future;

use crate::access::{PartitionAccess, RowStream};
use crate::plan::{Action, Place};
use crate::planner::Planner;
use crate::sql::ordered::merge_ordered;
use crate::sql::{PARAMETERS_MAX, ROWS_PER_STATEMENT, Rows, SqlRequest, insert_rows, run, send};
use crate::table::Table;

/// Inserts rows given by column names; a column that is not named takes its default. One atomic write.
/// Answers how many rows went in.
pub async fn insert(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &str,
    columns: &[String],
    rows: Vec<Vec<Value>>,
) -> Result<u64> {
    let table = planner.table(table).ok_or_else(|| not_found(table))?;
    let places = places(&table, columns)?;
    if rows.iter().any(|row| row.len() != places.len()) {
        return Err(Error::bad_request("a row has another number of values than there are columns"));
    }
    let planned = planner.plan(&insert_text(&table, &places, 1))?;
    if !matches!(planned.action, Action::Insert(_) | Action::OneBucket) {
        return insert_by_statements(planner, access, &table, &places, rows).await;
    }
    let text = |places: &[Place], count: usize| insert_text(&table, places, count);
    let rows = Rows { places, rows, ..Rows::default() };
    let mut attempt = 0;
    loop {
        attempt += 1;
        let pending = insert_rows(planner, access, &table, rows.clone(), &text).await?;
        match send(planner, access, vec![pending], 0).await {
            Ok(results) => return Ok(results.iter().map(|result| result.affected_rows).sum()),
            Err(refusal) if refusal.may_pass(attempt) => {}
            Err(mut refusal) => {
                refusal.error.statement = None;
                return Err(refusal.error);
            }
        }
    }
}

/// Inserts rows by statements like a client's: triggers, foreign keys or indexes have to be computed.
async fn insert_by_statements(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    places: &[Place],
    rows: Vec<Vec<Value>>,
) -> Result<u64> {
    let size =
        if places.is_empty() { 1 } else { ROWS_PER_STATEMENT.min(PARAMETERS_MAX / places.len()).max(1) };
    let statement = |rows: &[Vec<Value>]| Statement {
        sql: insert_text(table, places, rows.len()),
        params: Params::Positional(rows.concat()),
    };
    let statements = rows.chunks(size).map(statement).collect();
    let request = SqlRequest { statements, atomic: true, max_rows: 0, read_only: false };
    let answer = run(planner, access, request).await.map_err(|error| Error { statement: None, ..error })?;
    answer.results.into_iter().map(|result| Ok(result?.affected_rows)).sum()
}

fn not_found(table: &str) -> Error {
    Error::new(ErrorCode::TableNotFound, format!("Table '{table}' does not exist"))
}

fn places(table: &Table, columns: &[String]) -> Result<Vec<Place>> {
    let mut seen = BTreeSet::new();
    columns
        .iter()
        .map(|name| {
            let position = table.column(name).ok_or_else(|| {
                Error::bad_request(format!("table {} has no column named {name}", table.name))
            })?;
            if table.columns[position].is_generated() {
                return Err(Error::bad_request(format!("cannot INSERT into generated column \"{name}\"")));
            }
            if !seen.insert(position) {
                return Err(Error::bad_request(format!("the column {name} is named twice")));
            }
            Ok(Place::Column(position))
        })
        .collect()
}

fn insert_text(table: &Table, places: &[Place], count: usize) -> String {
    let name = quote_identifier(&table.name);
    let columns: Vec<String> = places
        .iter()
        .map(|place| match place {
            Place::Column(position) => quote_identifier(&table.columns[*position].name),
            Place::Rowid => table.rowid_name.unwrap_or("rowid").to_owned(),
        })
        .collect();
    if columns.is_empty() {
        return format!("INSERT INTO {name} DEFAULT VALUES");
    }
    let row = format!("({})", vec!["?"; places.len()].join(","));
    format!("INSERT INTO {name} ({}) VALUES {}", columns.join(","), vec![row; count].join(","))
}

/// All rows of a table or a collection in the order of their keys. A collection answers `_id` and the
/// document's text.
pub async fn export(planner: &Planner, access: &impl PartitionAccess, table: &str) -> Result<RowStream> {
    let table = planner.table(table).ok_or_else(|| not_found(table))?;
    if table.is_split() {
        return crate::sql::stream(planner, access, whole_rows(&table)).await;
    }
    let (statement, width) = export_statement(&table);
    access.read_at_one_moment((0..planner.buckets()).collect(), 1).await?;
    let opened = (0..planner.buckets()).map(|bucket| access.stream(bucket, statement.clone()));
    let streams = future::try_join_all(opened).await?;
    let mut header = RowsHeader { columns: Vec::new(), types: Vec::new(), index: 0 };
    let mut sources = Vec::with_capacity(streams.len());
    for stream in streams {
        header.columns = stream.header.columns[width..].to_vec();
        header.types = stream.header.types[width..].to_vec();
        sources.push(stream.blocks);
    }
    Ok(RowStream { header, blocks: merge_ordered(sources, width, width) })
}

/// All rows of a table whose columns lie in several column groups: they are put together like those of a query.
fn whole_rows(table: &Table) -> Statement {
    let name = |position: usize| quote_identifier(&table.columns[position].name);
    let columns = exported(table);
    let order: Vec<String> = match table.rowid_name {
        Some(rowid) => vec![rowid.to_owned()],
        None => table.primary_key.iter().copied().map(name).collect(),
    };
    let (columns, order) = (columns.join(", "), order.join(", "));
    let sql = format!("SELECT {columns} FROM {} ORDER BY {order}", quote_identifier(&table.name));
    Statement { sql, params: Params::None }
}

/// What is exported of a table.
fn exported(table: &Table) -> Vec<String> {
    if table.kind == common::schema::TableKind::Collection {
        return vec!["\"_id\"".to_owned(), "json(\"doc\") AS \"doc\"".to_owned()];
    }
    table.columns.iter().map(|column| quote_identifier(&column.name)).collect()
}

/// The statement, whose first columns are the key that rows are ordered by, and how many these are.
fn export_statement(table: &Table) -> (Statement, usize) {
    let name = |position: &usize| quote_identifier(&table.columns[*position].name);
    let key: Vec<String> = match table.rowid_name {
        Some(rowid) => vec![rowid.to_owned()],
        None => table.primary_key.iter().map(name).collect(),
    };
    let columns = exported(table);
    let order: Vec<String> = (1..=key.len()).map(|number| number.to_string()).collect();
    let sql = format!(
        "SELECT {}, {} FROM {} ORDER BY {}",
        key.join(", "),
        columns.join(", "),
        quote_identifier(&table.name),
        order.join(", ")
    );
    (Statement { sql, params: Params::None }, key.len())
}
