//! What partitions can do of a SELECT of one table, and how their answers are put together.
//!
//! Queries in FROM, views and WITH that only pick rows are put together with the query around them ([`mod@flattened`]).
//! [`one_table`] resolves the names; then the rules are tried in the order of what they save: rows that need
//! nothing but their own partition ([`ordered`]), groups and sets of which each partition computes a part
//! ([`partial`]). Where none applies, queries within the statement may still be answered so and the rest evaluated over
//! the answers ([`mod@composed`]); else the statement is gathered.

mod answers;
mod composed;
mod expression;
mod flattened;
mod fragment;
mod one_table;
mod ordered;
mod partial;
mod windows;

use std::sync::Arc;

use common::Value;
use common::catalog::Database;

pub(crate) use answers::{Answer, answered_first};
pub(crate) use composed::{Composed, composed, makes_groups};
pub(crate) use expression::{
    Call, affinity, calls, check, collation, is_ambiguous, is_open_subquery, parameters,
};
pub(crate) use flattened::flattened;
pub(crate) use fragment::row_order;
pub(crate) use ordered::{Ordered, OrderedRun, SortKey};
pub(crate) use partial::{Partial, PartialRun};

use self::one_table::OneTable;
use super::describe::{Partitions, PlanNode};
use crate::ast::{self, Expr, Select};
use crate::plan::rules::Rules;
use crate::table::Table;

/// Why a rule does not apply.
pub(crate) type Why = &'static str;

/// A plan that needs less than all rows.
#[derive(Clone, Debug)]
pub(crate) enum Pushed {
    /// Sorted rows are put together.
    Ordered(Box<Ordered>),
    /// Parts of groups are merged.
    Partial(Box<Partial>),
    /// The statement is evaluated over the answers of queries within it.
    Composed(Box<Composed>),
}

impl Pushed {
    /// The plan with its parameters as a tree; `None` if with them it is gathered.
    pub(crate) fn describe(&self, database: &Database, group: usize, params: &[Value]) -> Option<PlanNode> {
        let (title, statement) = match self {
            Pushed::Ordered(ordered) => {
                (PlanNode::new("UNION", ordered.title), ordered.bind(params)?.statement)
            }
            Pushed::Partial(partial) => {
                let run = partial.bind(params)?;
                (PlanNode::new("MERGE", run.merge.sql), run.hashed.unwrap_or(run.fragment))
            }
            Pushed::Composed(composed) => return Some(PlanNode::new("EVALUATE", composed.text.clone())),
        };
        let asked = Partitions::of_group(database, group, &self.buckets(database, params));
        let fragment = PlanNode::new("FRAGMENT", statement.sql.clone()).on(asked);
        Some(title.over([PlanNode { statement: Some(statement), ..fragment }]))
    }

    /// The partitions of a column group that have rows which matter.
    pub(crate) fn partitions(&self, database: &Database, group: usize, params: &[Value]) -> Vec<usize> {
        let buckets = self.buckets(database, params).into_iter();
        buckets.map(|bucket| database.partition_index(group, bucket)).collect()
    }

    fn buckets(&self, database: &Database, params: &[Value]) -> Vec<usize> {
        let (route, table) = match self {
            Pushed::Ordered(ordered) => (&ordered.route, &ordered.table),
            Pushed::Partial(partial) => (&partial.route, &partial.table),
            // The queries within find theirs.
            Pushed::Composed(_) => return Vec::new(),
        };
        route.buckets(database, table, params)
    }
}

/// Whether a value is computed from groups of rows.
pub(crate) fn is_aggregate(expression: &Expr) -> bool {
    ast::any(expression, &|part| Call::of(part).is_some())
}

/// Plans a SELECT of one table.
pub(crate) fn plan_push(
    select: &Select,
    rules: Rules,
    find: &dyn Fn(&str) -> Option<Arc<Table>>,
) -> Result<Pushed, Why> {
    let one = OneTable::of(select, rules, find)?;
    if one.table.joined.is_some() {
        // One file visits joined rows in an order of its own choice, which must not show.
        let is_sorted = !one.order.is_empty() || one.limit.is_some();
        if one.distinct || is_sorted && !partial::has_groups(&one) {
            return Err("it may matter in which order joined rows are visited");
        }
    }
    // Rows are handed on as they come: a partition must not fail late where one file would not.
    let may_fail_late = one.has_moments_of_rows();
    if !partial::has_groups(&one) && !one.distinct {
        if may_fail_late {
            return Err("the clock may decide what a moment means");
        }
        return Ok(Pushed::Ordered(Box::new(Ordered::of_rows(&one, rules)?)));
    }
    if !may_fail_late && let Ok(ordered) = Ordered::of_local_groups(&one, rules) {
        return Ok(Pushed::Ordered(Box::new(ordered)));
    }
    Ok(Pushed::Partial(Box::new(Partial::of(&one, rules)?)))
}
