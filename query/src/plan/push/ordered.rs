//! Rows that each partition computes and sorts by itself, and that are put together in order: filters and
//! projections in the order of the rowid, ORDER BY with or without LIMIT, and groups that lie in one partition.

use std::sync::Arc;

use common::Value;
use common::hash::Collation;
use common::protocol::{Params, Statement};

use super::Why;
use super::expression::{Call, calls, collation, contains_key, is_ambiguous};
use super::fragment::{Fragment, row_order};
use super::one_table::{Limit, OneTable, Term};
use super::windows::has_windows;
use crate::ast::{Expr, NullsOrder};
use crate::functions::Aggregate;
use crate::plan::rules::{Rule, Rules};
use crate::route::{Operand, Route};
use crate::table::Table;

/// A plan whose rows arrive sorted from each partition and leave sorted.
#[derive(Clone, Debug)]
pub(crate) struct Ordered {
    pub(crate) table: Arc<Table>,
    pub(crate) route: Route,
    /// The text for the partitions, without LIMIT.
    fragment: String,
    /// Parameters of the client that the text uses.
    parameters: usize,
    /// What the rows are sorted by.
    pub(crate) keys: Vec<SortKey>,
    /// Columns in front that are not the client's.
    pub(crate) hidden: usize,
    limit: Option<Limit>,
    /// Whether partitions stop after as many rows as are wanted in all.
    stops_early: bool,
    /// What it is, for people.
    pub(crate) title: &'static str,
}

/// A column of the fragment that rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SortKey {
    pub(crate) column: usize,
    pub(crate) collation: Collation,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// An [`Ordered`] plan with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct OrderedRun {
    /// What each partition runs.
    pub(crate) statement: Statement,
    /// Rows to leave out, and the most to answer.
    pub(crate) skip: u64,
    pub(crate) most: Option<u64>,
}

impl Ordered {
    /// Filters, projections, ORDER BY: each row by itself.
    pub(super) fn of_rows(one: &OneTable, rules: Rules) -> Result<Ordered, Why> {
        let rule = if one.order.is_empty() { Rule::Scatter } else { Rule::TopK };
        if !rules.has(rule) {
            return Err("the rule is turned off");
        }
        let ties = row_order(&one.table);
        let title = if one.order.is_empty() { "the rows in the order of their keys" } else { "sorted rows" };
        let mut fragment = Fragment::of_rows(one);
        if has_windows(one) {
            if !rules.has(Rule::LocalGroups) {
                return Err("the rule is turned off");
            }
            fragment.in_row_order = true;
        }
        Ordered::new(one, fragment, ties, rules, title)
    }

    /// Groups that no two partitions share.
    pub(super) fn of_local_groups(one: &OneTable, rules: Rules) -> Result<Ordered, Why> {
        if !rules.has(Rule::LocalGroups) {
            return Err("the rule is turned off");
        }
        if one.distinct {
            return Err("groups are told apart once more");
        }
        if !contains_key(one.groups.iter(), &one.table) {
            return Err("GROUP BY lacks the partition key");
        }
        if one.table.joined.is_some() && depends_on_order(one) {
            return Err("it may matter in which order joined rows are visited");
        }
        let mut fragment = Fragment::of_rows(one);
        fragment.groups.clone_from(&one.groups);
        fragment.having.clone_from(&one.having);
        fragment.in_row_order = depends_on_order(one);
        Ordered::new(one, fragment, one.group_order(), rules, "sorted groups")
    }

    fn new(
        one: &OneTable,
        mut fragment: Fragment,
        ties: Vec<Term>,
        rules: Rules,
        title: &'static str,
    ) -> Result<Ordered, Why> {
        fragment.order = one.order.iter().cloned().chain(ties).collect();
        let mut hidden: Vec<Expr> = Vec::new();
        for term in &fragment.order {
            if !one.outputs.contains(&term.expression) && !hidden.contains(&term.expression) {
                hidden.push(term.expression.clone());
            }
        }
        let shift = hidden.len();
        fragment.columns = hidden.into_iter().chain(one.outputs.iter().cloned()).collect();
        let keys = fragment
            .order
            .iter()
            .map(|term| {
                let at = fragment.columns.iter().position(|column| *column == term.expression);
                Ok(SortKey {
                    column: at.ok_or("a sort key is not sent")?,
                    collation: collation(&term.expression, &one.table).ok_or("a collation is unknown")?,
                    descending: term.descending,
                    nulls_first: match term.nulls {
                        Some(nulls) => nulls == NullsOrder::First,
                        None => !term.descending,
                    },
                })
            })
            .collect::<Result<Vec<SortKey>, Why>>()?;
        Ok(Ordered {
            table: Arc::clone(&one.table),
            route: one.route.clone(),
            parameters: fragment.parameters(),
            fragment: fragment.text(),
            keys,
            hidden: shift,
            limit: one.limit.clone(),
            stops_early: rules.has(Rule::Limit),
            title,
        })
    }

    /// With the request's parameters; `None` if LIMIT is something that SQLite should judge.
    pub(crate) fn bind(&self, values: &[Value]) -> Option<OrderedRun> {
        let (mut skip, mut most) = (0, None);
        if let Some(limit) = &self.limit {
            most = u64::try_from(integer(&limit.count, values)?).ok();
            if let Some(offset) = &limit.offset {
                skip = u64::try_from(integer(offset, values)?).unwrap_or(0);
            }
        }
        let mut params = values.get(..self.parameters)?.to_vec();
        let mut sql = self.fragment.clone();
        let wanted = most.and_then(|most| i64::try_from(most.checked_add(skip)?).ok());
        if let Some(wanted) = wanted.filter(|_| self.stops_early) {
            params.push(wanted.into());
            sql.push_str(&format!(" LIMIT ?{}", params.len()));
        }
        let params = if params.is_empty() { Params::None } else { Params::Positional(params) };
        Some(OrderedRun { statement: Statement { sql, params }, skip, most })
    }
}

pub(super) fn integer(operand: &Operand, values: &[Value]) -> Option<i64> {
    match operand.value(values)? {
        Value::Integer(number) => Some(number),
        _ => None,
    }
}

/// Whether it matters in which order the rows of a group are visited.
fn depends_on_order(one: &OneTable) -> bool {
    let mut aggregates = Vec::new();
    one.results().for_each(|expression| calls(expression, &mut aggregates));
    let extremes = aggregates.iter().filter_map(|call| Call::of(call)).any(|call| match call.aggregate {
        Aggregate::Count => false,
        Aggregate::Min | Aggregate::Max => {
            call.argument.is_none_or(|argument| is_ambiguous(argument, &one.table))
        }
        Aggregate::Sum | Aggregate::Total | Aggregate::Average | Aggregate::Sequence => true,
    });
    extremes || super::partial::shows_rows(one)
}
