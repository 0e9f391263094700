//! The text that merges parts to groups, and answers the client's results over them.

use std::fmt::Write as _;

use common::hash::Collation;

use super::PARTS;
use super::columns::Columns;
use crate::ast::{self, Expr};
use crate::functions::Aggregate;
use crate::plan::push::Why;
use crate::plan::push::expression::{Call, collation, is_open_subquery};
use crate::plan::push::fragment::{list, terms};
use crate::plan::push::one_table::{Limit, OneTable, Term};
use crate::route::Operand;

/// The query that merges parts to groups.
pub(super) struct Inner<'a> {
    pub(super) one: &'a OneTable,
    pub(super) columns: &'a mut Columns,
    /// Its results, named `c0` and so on.
    pub(super) results: Vec<String>,
}

impl Inner<'_> {
    /// An expression of the client over the merged groups.
    pub(super) fn over(&mut self, expression: &Expr) -> Result<Expr, Why> {
        let mut over = expression.clone();
        let mut refused = None;
        ast::rewrite(&mut over, &mut |part| {
            let merged = match (Call::of(part), part) {
                (Some(call), _) => self.merged(part, &call),
                (None, Expr::Id(_)) => self.columns.row_value(part, &self.one.table),
                (None, other) if is_open_subquery(other) => Err("a subquery is over groups"),
                _ => return None,
            };
            match merged {
                Ok(merged) => Some(self.result(merged)),
                Err(why) => {
                    refused = Some(why);
                    Some(part.clone())
                }
            }
        });
        refused.map_or(Ok(over), Err)
    }

    pub(super) fn result(&mut self, merged: String) -> Expr {
        let known = self.results.iter().position(|known| *known == merged);
        let index = known.unwrap_or_else(|| {
            self.results.push(merged);
            self.results.len() - 1
        });
        Expr::Id(ast::Name::from_string(format!("c{index}")))
    }

    /// How an aggregate's parts are merged.
    fn merged(&mut self, expression: &Expr, call: &Call<'_>) -> Result<String, Why> {
        let table = &self.one.table;
        if call.distinct && !call.is_extreme() {
            let Some(argument) = call.argument else { return Err("an aggregate has no argument") };
            let name = match call.aggregate {
                Aggregate::Count => "count",
                Aggregate::Sum => "sum",
                Aggregate::Total => "total",
                Aggregate::Average => "avg",
                _ => return Err("an aggregate depends on the order of the rows"),
            };
            let value = self.columns.row_value(argument, table)?;
            return Ok(format!("{name}(DISTINCT {value})"));
        }
        match call.aggregate {
            Aggregate::Count => {
                let part = self.columns.untyped(expression.clone(), Collation::Binary);
                Ok(format!("coalesce(sum({part}), 0)"))
            }
            Aggregate::Min | Aggregate::Max => {
                let argument = call.argument.ok_or("an aggregate has no argument")?;
                let name = if call.aggregate == Aggregate::Min { "min" } else { "max" };
                // Its value is compared as the argument is, but has no type of its own.
                let collation = collation(argument, table).ok_or("a collation is unknown")?;
                let part = self.columns.untyped(expression.clone(), collation);
                Ok(format!("{name}({part})"))
            }
            Aggregate::Sum | Aggregate::Total | Aggregate::Average => {
                let name = match call.aggregate {
                    Aggregate::Sum => sqlite::partial_sum::MERGE_SUM,
                    Aggregate::Total => sqlite::partial_sum::MERGE_TOTAL,
                    _ => sqlite::partial_sum::MERGE_AVERAGE,
                };
                let part = self.columns.untyped(partial_sum(expression), Collation::Binary);
                Ok(format!("{name}({part})"))
            }
            Aggregate::Sequence => Err("an aggregate depends on the order of the rows"),
        }
    }

    pub(super) fn text(&self, keys: &[String]) -> String {
        let mut results: Vec<String> =
            self.results.iter().enumerate().map(|(index, merged)| format!("{merged} AS c{index}")).collect();
        if results.is_empty() {
            results.push("1 AS c0".to_owned());
        }
        let mut text = format!("SELECT {} FROM {PARTS}", results.join(", "));
        if !keys.is_empty() {
            let _ = write!(text, " GROUP BY {}", keys.join(", "));
        }
        text
    }
}

/// The client's results, conditions and order over the merged groups.
pub(super) fn outer(one: &OneTable, results: &[Expr], ties: Vec<Term>, inner: &str) -> String {
    let (outputs, rest) = results.split_at(one.outputs.len());
    let (having, order) = rest.split_at(usize::from(one.having.is_some()));
    let order: Vec<Term> = one
        .order
        .iter()
        .zip(order)
        .map(|(term, expression)| Term { expression: expression.clone(), ..term.clone() })
        .chain(ties)
        .collect();
    let distinct = if one.distinct { "DISTINCT " } else { "" };
    let mut text = format!("SELECT {distinct}{} FROM ({inner})", list(outputs));
    if let [having] = having {
        let _ = write!(text, " WHERE {having}");
    }
    finish(&mut text, &order, one.limit.as_ref());
    text
}

pub(super) fn finish(text: &mut String, order: &[Term], limit: Option<&Limit>) {
    if !order.is_empty() {
        let _ = write!(text, " ORDER BY {}", terms(order));
    }
    if let Some(limit) = limit {
        let _ = write!(text, " {}", limit.text);
    }
}

pub(super) fn limit_parameters(one: &OneTable) -> usize {
    let number = |operand: &Operand| match operand {
        Operand::Parameter(index) => index + 1,
        Operand::Constant(_) => 0,
    };
    let limit = one.limit.as_ref();
    limit.map_or(0, |limit| number(&limit.count).max(limit.offset.as_ref().map_or(0, number)))
}

/// The call with the function that sums up one partition.
fn partial_sum(expression: &Expr) -> Expr {
    let mut partial = expression.clone();
    if let Expr::FunctionCall { name, .. } = &mut partial {
        *name = ast::Name::exact(sqlite::partial_sum::PART.to_owned());
    }
    partial
}
