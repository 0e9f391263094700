//! Statements that change the schema, and EXPLAIN QUERY PLAN.

use std::sync::Arc;
use std::time::Instant;

use common::catalog::Database;
use common::protocol::{Params, Statement, StatementResult};
use common::row::RowBlock;
use common::schema::Schema;
use common::{Error, Outcome, Result, Value};

use super::{Limits, computed, index_build, run_one, send};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::ast::{self, AlterTableBody, Cmd, ColumnConstraint, Stmt};
use crate::plan::Planned;
use crate::schema::{Definition, define, define_all};
use crate::table::Table;

/// The part of a request's time that an index may be built for; the rest is for taking it back.
const BUILD_SHARE: (u32, u32) = (3, 4);

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
    try_on_rows(planner, access, &[sql], limits).await?;
    let released = drop_rows(planner, access, &[sql], limits).await?;
    let newer = carry_out(planner, access, definition).await.map_err(|error| told(error, released))?;
    if let Some(sql) = fill {
        let insert = Statement { sql, params: Params::None };
        // The boxed future breaks the cycle of a statement that runs a statement.
        let filled = Box::pin(run_one(&newer, access, &insert, limits.max_rows)).await;
        filled.map_err(|mut error| {
            error.hint = Some("the table was made and is empty; fill it with INSERT … SELECT".to_owned());
            error.with_outcome(Outcome::Partial)
        })?;
    }
    // SQLite counts no rows as changed by a statement that makes a table.
    Ok((StatementResult::default(), Some(newer)))
}

/// Runs several as one change.
pub(super) async fn run_all(
    planner: &Planner,
    access: &impl PartitionAccess,
    statements: &[Statement],
    limits: Limits,
) -> Result<Vec<StatementResult>> {
    let texts: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
    if let Some(definition) = define_all(planner.database(), &texts)? {
        try_on_rows(planner, access, &texts, limits).await?;
        let released = drop_rows(planner, access, &texts, limits).await?;
        carry_out(planner, access, definition).await.map_err(|error| told(error, released))?;
    }
    Ok(vec![StatementResult::default(); statements.len()])
}

/// A new column with a CHECK, or with a value that must be another table's, concerns rows that no partition has as a
/// whole, if the table is split.
async fn try_on_rows(
    planner: &Planner,
    access: &impl PartitionAccess,
    statements: &[&str],
    limits: Limits,
) -> Result<()> {
    for (index, sql) in statements.iter().enumerate() {
        let Some(table) = checked_column(sql).and_then(|name| planner.table(&name)) else { continue };
        if table.is_split() {
            let tried = computed::try_definition(planner, access, &table, sql, limits).await;
            tried.map_err(|error| error.at_statement(index))?;
        }
    }
    Ok(())
}

/// The table to which a statement adds a column that rows must bear.
fn checked_column(sql: &str) -> Option<String> {
    let Some(Cmd::Stmt(Stmt::AlterTable(alter))) = ast::parse(sql) else { return None };
    let AlterTableBody::AddColumn(column) = &alter.body else { return None };
    let concerns_rows = |constraint: &ColumnConstraint| {
        matches!(constraint, ColumnConstraint::Check { .. } | ColumnConstraint::ForeignKey { .. })
    };
    let is_tried = column.constraints.iter().any(|constraint| concerns_rows(&constraint.constraint));
    is_tried.then(|| alter.name.name.as_str().to_owned())
}

/// Does what foreign keys do to the rows of other tables before a table goes, or refuses to let it go. Says
/// whether rows were changed.
async fn drop_rows(
    planner: &Planner,
    access: &impl PartitionAccess,
    statements: &[&str],
    limits: Limits,
) -> Result<bool> {
    let (mut changed, mut dropped) = (false, Vec::new());
    for (index, sql) in statements.iter().enumerate() {
        let Some(table) = dropped_table(sql).and_then(|name| planner.table(&name)) else { continue };
        let is_gone = |child: &Arc<Table>| dropped.contains(&child.name);
        let children = planner.references_to(&table.name);
        let gone = children.iter().filter(|(child, _)| is_gone(child)).count();
        if gone < children.len() {
            if gone > 0 {
                return Err(Error::not_supported(
                    format!(
                        "table {} cannot be dropped together with some tables that refer to it",
                        table.name
                    ),
                    "drop them in requests of their own, those that refer to others first",
                ));
            }
            let done = drop_rows_of(planner, access, &table, limits).await;
            changed |= done.map_err(|error| told(error, changed).at_statement(index))?;
        }
        dropped.push(table.name.clone());
    }
    Ok(changed)
}

async fn drop_rows_of(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Arc<Table>,
    limits: Limits,
) -> Result<bool> {
    let Some(footprint) = planner.footprint_of_emptying(table) else { return Ok(false) };
    let mut attempt = 0;
    loop {
        attempt += 1;
        let pending = computed::prepare_drop(planner, access, table, footprint.clone(), limits).await?;
        let changes = !pending.work.is_empty();
        match send(planner, access, vec![pending], limits.max_rows).await {
            Ok(_) => return Ok(changes),
            Err(refusal) if refusal.may_pass(attempt) => {
                refusal.clear_the_way(planner, access).await?;
                access.back_off(attempt).await;
            }
            Err(refusal) => return Err(refusal.error),
        }
    }
}

/// The table that a statement drops.
fn dropped_table(sql: &str) -> Option<String> {
    match ast::parse(sql) {
        Some(Cmd::Stmt(Stmt::DropTable { tbl_name, .. })) => Some(tbl_name.name.as_str().to_owned()),
        _ => None,
    }
}

/// An error after rows were changed.
fn told(mut error: Error, rows_changed: bool) -> Error {
    if rows_changed && error.outcome == Outcome::NotApplied {
        error.hint = Some("rows that referred to the table were changed, and it is still there".to_owned());
        error = error.with_outcome(Outcome::Partial);
    }
    error
}

async fn carry_out(
    planner: &Planner,
    access: &impl PartitionAccess,
    definition: Definition,
) -> Result<Planner> {
    if !definition.builds.is_empty() {
        build_indexes(planner, access, &definition).await?;
    }
    let change = definition.completion();
    let newer = with_schema(planner, change.schema.clone());
    access.change_schema(change).await?;
    Planner::new(Arc::new(newer), planner.rules())
}

/// Makes global indexes over rows that exist. Once their hidden tables are published every writer maintains
/// them (requests planned before are refused by the partitions), and only then are the rows entered that were
/// there already. The client's own change, and with it the promise of uniqueness, follows when all are in.
async fn build_indexes(
    planner: &Planner,
    access: &impl PartitionAccess,
    definition: &Definition,
) -> Result<()> {
    let until = access.deadline().map(|deadline| {
        let now = Instant::now();
        now + deadline.saturating_duration_since(now) * BUILD_SHARE.0 / BUILD_SHARE.1
    });
    let beginning = definition.beginning(planner.database());
    let during = with_schema(planner, beginning.schema.clone());
    access.change_schema(beginning).await?;
    let during = Planner::new(Arc::new(during), planner.rules())?;
    let Err(mut error) = index_build::fill(&during, access, &definition.builds, until).await else {
        return Ok(());
    };
    during.reword(&mut error);
    // What cannot be taken back now stays hidden, is maintained, and goes with the next schema change.
    if let Err(other) = access.change_schema(definition.withdrawal(planner.database())).await {
        error.hint = Some(format!(
            "what was begun could not be taken back ({other}); any change of the schema does so"
        ));
    }
    Err(error.with_outcome(Outcome::NotApplied))
}

fn with_schema(planner: &Planner, schema: Schema) -> Database {
    Database { schema, ..planner.database().as_ref().clone() }
}

/// The plan of another statement in SQLite's four columns.
pub(super) fn explain(planner: &Planner, planned: &Planned, values: &[Value]) -> StatementResult {
    let number = |count: usize| Value::from(i64::try_from(count).unwrap_or(i64::MAX));
    let rows: Vec<Vec<Value>> = planned
        .describe(planner.database(), values)
        .rows()
        .into_iter()
        .map(|row| vec![number(row.id), number(row.parent), 0.into(), row.detail.as_str().into()])
        .collect();
    StatementResult {
        is_read: true,
        columns: ["id", "parent", "notused", "detail"].map(str::to_owned).to_vec(),
        types: vec![String::new(); 4],
        rows: RowBlock::from_values(4, &rows),
        ..StatementResult::default()
    }
}
