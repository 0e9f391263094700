//! Statements that change the schema, and EXPLAIN QUERY PLAN.

use std::sync::Arc;

use common::protocol::{Params, Statement, StatementResult};
use common::row::RowBlock;
use common::{Error, Result, Value};

use super::{Limits, run_one};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::Planned;
use crate::schema::{Definition, define, define_all};

/// Runs a statement of DDL; also answers what later statements are planned on.
pub(super) async fn run(
    planner: &Planner,
    access: &impl PartitionAccess,
    sql: &str,
    limits: Limits,
) -> Result<(StatementResult, Option<Planner>)> {
    let Some(definition) = define(planner.database(), sql)? else {
        return Ok((StatementResult::default(), None));
    };
    let fill = definition.fill.clone();
    let newer = carry_out(planner, access, definition).await?;
    let mut result = StatementResult::default();
    if let Some(sql) = fill {
        let insert = Statement { sql, params: Params::None };
        // The boxed future breaks the cycle of a statement that runs a statement.
        let filled = Box::pin(run_one(&newer, access, &insert, limits.max_rows)).await;
        result.affected_rows = filled
            .map_err(|mut error| {
                error.hint = Some("the table was made and is empty; fill it with INSERT … SELECT".to_owned());
                error.with_outcome(common::Outcome::Partial)
            })?
            .affected_rows;
    }
    Ok((result, Some(newer)))
}

/// Runs several as one change.
pub(super) async fn run_all(
    planner: &Planner,
    access: &impl PartitionAccess,
    statements: &[Statement],
) -> Result<Vec<StatementResult>> {
    let texts: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
    if let Some(definition) = define_all(planner.database(), &texts)? {
        carry_out(planner, access, definition).await?;
    }
    Ok(vec![StatementResult::default(); statements.len()])
}

async fn carry_out(
    planner: &Planner,
    access: &impl PartitionAccess,
    definition: Definition,
) -> Result<Planner> {
    if let Some(table) = &definition.must_be_empty {
        check_empty(planner, access, table).await?;
    }
    let mut database = planner.database().as_ref().clone();
    database.schema = definition.change.schema.clone();
    access.change_schema(definition.change).await?;
    Planner::new(Arc::new(database))
}

/// A new global index would lack the rows that are there.
async fn check_empty(planner: &Planner, access: &impl PartitionAccess, table: &str) -> Result<()> {
    if planner.table(table).is_none() {
        // The same request makes it.
        return Ok(());
    }
    let name = common::names::quote_identifier(table);
    let statement = Statement { sql: format!("SELECT 1 FROM {name} LIMIT 1"), params: Params::None };
    for bucket in 0..planner.buckets() {
        if access.read(bucket, statement.clone(), 1).await?.rows.rows > 0 {
            return Err(Error::not_supported(
                "a UNIQUE index without the partition key cannot be made on a table that has rows",
                "create it before the rows, or add the partition key's columns to it",
            ));
        }
    }
    Ok(())
}

/// The plan of another statement in SQLite's four columns.
pub(super) fn explain(planner: &Planner, planned: &Planned, values: &[Value]) -> StatementResult {
    let lines = planned.describe(planner.database(), values);
    let mut rows: Vec<Vec<Value>> = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let id = i64::try_from(index).unwrap_or(i64::MAX) + 1;
        let parent = if index == 0 { 0 } else { 1 };
        rows.push(vec![id.into(), parent.into(), 0.into(), line.trim_start().into()]);
    }
    StatementResult {
        is_read: true,
        columns: ["id", "parent", "notused", "detail"].map(str::to_owned).to_vec(),
        types: vec![String::new(); 4],
        rows: RowBlock::from_values(4, &rows),
        ..StatementResult::default()
    }
}
