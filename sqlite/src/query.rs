//! Running one client statement and collecting its rows.

use common::limits::ROW_BLOCK;
use common::protocol::{Statement, StatementResult};
use common::row::{RowBlock, RowBlockBuilder};
use common::{Error, ErrorCode};

use crate::binding::{bind_params, push_row};
use crate::budget::{Budget, Watch};
use crate::connection::{ClientStatement, Connection};
use crate::error::Result;

/// Whether whoever receives rows wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Enough; the statement is ended.
    Stop,
}

/// What a statement may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only statements that SQLite itself calls read-only.
    Read,
    /// Writes too.
    Write,
}

/// Runs a statement to its end; rows past the budget are left out.
pub(crate) fn answer(
    connection: &Connection,
    statement: &Statement,
    access: Access,
    budget: &Budget<'_>,
) -> Result<StatementResult> {
    let mut result = StatementResult::default();
    let mut rows = RowBlockBuilder::new(0);
    let is_read = visit(connection, statement, access, budget, &mut |event| {
        match event {
            Event::Prepared(prepared) => {
                (result.columns, result.types) = columns(prepared);
                rows = RowBlockBuilder::new(result.columns.len());
            }
            Event::Row(row) => {
                if is_full(&rows, budget) {
                    result.truncated = true;
                    return Ok(Flow::Stop);
                }
                push_row(&mut rows, row, result.columns.len())?;
            }
        }
        Ok(Flow::Continue)
    })?;
    result.is_read = is_read;
    result.rows = rows.finish();
    Ok(result)
}

/// The rows of a reading statement; `None` if they are more than the budget.
pub(crate) fn rows(
    connection: &Connection,
    statement: &Statement,
    budget: &Budget<'_>,
) -> Result<Option<RowBlock>> {
    let (mut rows, mut width, mut is_all) = (RowBlockBuilder::new(0), 0, true);
    visit(connection, statement, Access::Read, budget, &mut |event| {
        match event {
            Event::Prepared(prepared) => {
                width = prepared.column_count();
                rows = RowBlockBuilder::new(width);
            }
            Event::Row(_) if is_full(&rows, budget) => {
                is_all = false;
                return Ok(Flow::Stop);
            }
            Event::Row(row) => push_row(&mut rows, row, width)?,
        }
        Ok(Flow::Continue)
    })?;
    Ok(is_all.then(|| rows.finish()))
}

fn is_full(rows: &RowBlockBuilder, budget: &Budget<'_>) -> bool {
    u64::from(rows.rows()) >= budget.rows || rows.len() >= budget.bytes
}

/// Runs a reading statement and hands its rows on in blocks of about 64 KiB.
pub(crate) fn stream(
    connection: &Connection,
    statement: &Statement,
    budget: &Budget<'_>,
    header: &mut dyn FnMut(Vec<String>, Vec<String>) -> Flow,
    block: &mut dyn FnMut(RowBlock) -> Flow,
) -> Result<()> {
    let mut rows = RowBlockBuilder::new(0);
    let (mut width, mut left, mut stopped) = (0, budget.rows, false);
    visit(connection, statement, Access::Read, budget, &mut |event| {
        let flow = match event {
            Event::Prepared(prepared) => {
                let (names, types) = columns(prepared);
                width = names.len();
                rows = RowBlockBuilder::new(width);
                header(names, types)
            }
            Event::Row(_) if left == 0 => return Ok(Flow::Stop),
            Event::Row(row) => {
                left -= 1;
                push_row(&mut rows, row, width)?;
                if rows.len() < ROW_BLOCK { Flow::Continue } else { block(rows.finish()) }
            }
        };
        stopped = flow == Flow::Stop;
        Ok(flow)
    })?;
    if !stopped && !rows.is_empty() {
        block(rows.finish());
    }
    Ok(())
}

/// What running a statement meets.
enum Event<'r, 's> {
    Prepared(&'r rusqlite::Statement<'s>),
    Row(&'r rusqlite::Row<'s>),
}

/// Runs a statement; says whether it only reads. A write is run to its end whatever the visitor says.
fn visit(
    connection: &Connection,
    statement: &Statement,
    access: Access,
    budget: &Budget<'_>,
    visitor: &mut dyn FnMut(Event<'_, '_>) -> Result<Flow>,
) -> Result<bool> {
    connection.forget_older_statements()?;
    connection.as_client(|raw| {
        let _watch = Watch::begin(raw, budget);
        let mut prepared = ClientStatement::prepare(raw, &statement.sql)?;
        let prepared = prepared.get();
        let is_read = prepared.readonly();
        if access == Access::Read && !is_read {
            return Err(Error::new(ErrorCode::SqlForbidden, "this route only reads").into());
        }
        bind_params(prepared, &statement.params)?;
        let mut wanted = visitor(Event::Prepared(prepared))?;
        let mut rows = prepared.raw_query();
        while wanted == Flow::Continue || !is_read {
            let Some(row) = rows.next()? else { break };
            if wanted == Flow::Continue {
                wanted = visitor(Event::Row(row))?;
            }
        }
        Ok(is_read)
    })
}

/// Names and declared types of a statement's columns.
pub(crate) fn columns(statement: &rusqlite::Statement<'_>) -> (Vec<String>, Vec<String>) {
    statement
        .columns()
        .map(|column| (column.name().to_owned(), column.decl_type().unwrap_or_default().to_owned()))
        .unzip()
}
