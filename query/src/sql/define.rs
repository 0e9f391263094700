//! Statements that change the schema, and EXPLAIN QUERY PLAN.

use std::sync::Arc;
use std::time::Instant;

use common::catalog::Database;
use common::protocol::{Statement, StatementResult};
use common::row::RowBlock;
use common::schema::Schema;
use common::{Outcome, Result, Value};

use super::{Limits, index_build, migration};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::ast::{self, AlterTableBody, Cmd, ColumnConstraint, ColumnDefinition, Stmt};
use crate::plan::Planned;
use crate::schema::{Defined, Definition, define_all};

/// The part of a request's time that an index may be built for; the rest is for taking it back.
const BUILD_SHARE: (u32, u32) = (3, 4);

/// Runs statements of DDL as one change; also answers what later statements are planned on.
pub(super) async fn run(
    planner: &Planner,
    access: &impl PartitionAccess,
    statements: &[Statement],
    limits: Limits,
) -> Result<(Vec<StatementResult>, Option<Planner>)> {
    let texts: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
    let defined = match define_all(planner.database(), &texts) {
        Ok(defined) => defined.filter(|_| !concern_rows(planner, &texts)),
        // Of several, an earlier one may be refused for the rows that are there.
        Err(error) if statements.len() == 1 => return Err(error),
        Err(_) => None,
    };
    // SQLite counts no rows as changed by a statement of DDL.
    let results = vec![StatementResult::default(); statements.len()];
    match defined {
        Some(Defined::Nothing) => Ok((results, None)),
        Some(Defined::Change(definition)) => {
            let newer = carry_out(planner, access, *definition).await?;
            Ok((results, Some(newer)))
        }
        None => migration::run(planner, access, statements, limits).await,
    }
}

/// Whether one of the statements changes rows, or is about rows that no partition has as a whole.
fn concern_rows(planner: &Planner, statements: &[&str]) -> bool {
    statements.iter().any(|sql| match ast::parse(sql) {
        // Foreign keys of other tables act on their rows.
        Some(Cmd::Stmt(Stmt::DropTable { tbl_name, .. })) => {
            !planner.references_to(tbl_name.name.as_str()).is_empty()
        }
        // A new column with a CHECK, with a value that must be another table's, or with computed ones that may be refused.
        Some(Cmd::Stmt(Stmt::AlterTable(alter))) => {
            let split = planner.table(alter.name.name.as_str()).filter(|table| table.is_split());
            split.is_some_and(|table| {
                matches!(&alter.body, AlterTableBody::AddColumn(column) if is_checked(column, table.strict))
            })
        }
        _ => false,
    })
}

fn is_checked(column: &ColumnDefinition, strict: bool) -> bool {
    let has = |is_it: fn(&ColumnConstraint) -> bool| {
        column.constraints.iter().any(|constraint| is_it(&constraint.constraint))
    };
    let is_computed = has(|constraint| matches!(constraint, ColumnConstraint::Generated { .. }));
    has(|constraint| {
        matches!(constraint, ColumnConstraint::Check { .. } | ColumnConstraint::ForeignKey { .. })
    }) || is_computed && (strict || has(|constraint| matches!(constraint, ColumnConstraint::NotNull { .. })))
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
