//! Statements that change the schema, and EXPLAIN QUERY PLAN.

use std::sync::Arc;
use std::time::Instant;

use common::catalog::Database;
use common::protocol::{Params, Statement, StatementResult};
use common::row::RowBlock;
use common::schema::Schema;
use common::{Outcome, Result, Value};

use super::{Limits, index_build, run_one};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::Planned;
use crate::schema::{Definition, define, define_all};

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
    let newer = carry_out(planner, access, definition).await?;
    let mut result = StatementResult::default();
    if let Some(sql) = fill {
        let insert = Statement { sql, params: Params::None };
        // The boxed future breaks the cycle of a statement that runs a statement.
        let filled = Box::pin(run_one(&newer, access, &insert, limits.max_rows)).await;
        result.affected_rows = filled
            .map_err(|mut error| {
                error.hint = Some("the table was made and is empty; fill it with INSERT … SELECT".to_owned());
                error.with_outcome(Outcome::Partial)
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
