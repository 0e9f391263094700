//! Tells how a statement is run: its plan, what SQLite does on a partition for each text that is sent there,
//! and, if it is run for that, what each of these texts brings back.

use std::time::Instant;

use common::protocol::Statement;
use common::{Error, Result, Value};
use futures_util::StreamExt as _;

use super::measured::{Measured, Measuring};
use super::stream;
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::{Action, PlanNode};

/// Most lines of one of SQLite's own plans.
const LINES_MAX: u32 = 1_000;

/// The plan of a statement. With `analyze` the statement is run, which is refused if it would change something.
pub async fn explain(
    planner: &Planner,
    access: &impl PartitionAccess,
    statement: Statement,
    analyze: bool,
) -> Result<PlanNode> {
    let mut planned = planner.plan(&statement.sql)?;
    if let Action::Explain(other) = &planned.action {
        planned = other.clone();
    }
    let statement = Statement { sql: planned.text.clone(), params: statement.params };
    let mut plan = planner.describe(&statement)?;
    if analyze {
        if !planned.is_read {
            return Err(Error::not_supported(
                "to analyze a statement is to run it, and this one would change something",
                "leave 'analyze' out, or analyze a SELECT that touches the same rows",
            ));
        }
        measure(planner, access, &statement, &mut plan).await?;
    }
    if planned.is_read {
        // Neither tables nor partitions: nothing is sent.
        Box::pin(add_plans_of_partitions(access, &statement, &mut plan)).await?;
    }
    Ok(plan)
}

/// Runs the statement and notes what it brought back, in all and by text.
async fn measure(
    planner: &Planner,
    access: &impl PartitionAccess,
    statement: &Statement,
    plan: &mut PlanNode,
) -> Result<()> {
    let (measuring, began) = (Measuring::new(access), Instant::now());
    let mut whole = Measured::default();
    let mut rows = stream(planner, &measuring, statement.clone()).await?;
    while let Some(block) = rows.blocks.next().await {
        let block = block?;
        whole.add(u64::from(block.rows), block.data.len(), began.elapsed());
    }
    drop(rows);
    whole.time = began.elapsed();
    note_measures(plan, &measuring);
    plan.measured = Some(whole);
    Ok(())
}

fn note_measures<A>(node: &mut PlanNode, measuring: &Measuring<'_, A>) {
    node.measured = measuring.of(node.statement.as_ref().map_or(&node.detail, |statement| &statement.sql));
    for child in &mut node.children {
        note_measures(child, measuring);
    }
}

/// Below each text that goes to partitions, what SQLite does for it on the first of them.
async fn add_plans_of_partitions(
    access: &impl PartitionAccess,
    whole: &Statement,
    node: &mut PlanNode,
) -> Result<()> {
    for child in &mut node.children {
        Box::pin(add_plans_of_partitions(access, whole, child)).await?;
    }
    let first = node.partitions.as_ref().and_then(|partitions| partitions.asked.first().copied());
    let sent = match (&node.statement, node.node.as_str()) {
        (Some(statement), _) => Some(statement),
        (None, "SINGLE") => Some(whole),
        (None, _) => None,
    };
    if let (Some(partition), Some(Statement { sql, params })) = (first, sent) {
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        let asked = Statement { sql, params: params.clone() };
        let lines = access.read(partition, asked, LINES_MAX).await?;
        let rows = lines.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
        let children = tree(&rows, 0, 0);
        node.children.extend(children);
    }
    Ok(())
}

/// SQLite's lines (id, parent, not used, detail) below one of them.
fn tree(rows: &[Vec<Value>], parent: i64, depth: usize) -> Vec<PlanNode> {
    // The tree is no deeper than there are lines; this guards against lines that name each other.
    if depth > rows.len() {
        return Vec::new();
    }
    rows.iter()
        .filter_map(|row| match row.as_slice() {
            [Value::Integer(id), Value::Integer(above), _, Value::Text(detail)] if *above == parent => {
                Some(PlanNode::new("SQLITE", detail.as_str()).over(tree(rows, *id, depth + 1)))
            }
            _ => None,
        })
        .collect()
}
