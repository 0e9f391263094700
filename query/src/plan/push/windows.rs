//! Window functions whose windows each lie in one partition: they mean there what they mean in one file.

use super::Why;
use super::expression::{check, contains_key};
use super::one_table::OneTable;
use super::partial::has_groups;
use crate::ast::{self, Expr, Literal, Over};
use crate::functions::Aggregate;

/// Functions of windows that are no aggregates.
const FUNCTIONS: [&str; 11] = [
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// Whether an expression is a call of a function over a window.
fn is_window(expression: &Expr) -> bool {
    match expression {
        Expr::FunctionCall { filter_over, .. } | Expr::FunctionCallStar { filter_over, .. } => {
            filter_over.over_clause.is_some()
        }
        _ => false,
    }
}

/// Whether results are computed over windows.
pub(super) fn has_windows(one: &OneTable) -> bool {
    one.results().any(|expression| ast::any(expression, &is_window))
}

/// An expression with NULL in the place of each function over a window.
pub(super) fn without_windows(expression: &Expr) -> Expr {
    let mut rest = expression.clone();
    ast::rewrite(&mut rest, &mut |part| is_window(part).then_some(Expr::Literal(Literal::Null)));
    rest
}

/// Refuses windows that may span partitions, and those of which an order shows that one file chooses.
pub(super) fn check_windows(one: &OneTable) -> Result<(), Why> {
    if !has_windows(one) {
        return Ok(());
    }
    if has_groups(one) || one.distinct || one.table.joined.is_some() {
        return Err("windows are over groups or joined rows");
    }
    if one.order.is_empty() {
        return Err("rows come in the order of their windows");
    }
    one.results().try_for_each(|expression| check_calls(expression, one))
}

fn check_calls(expression: &Expr, one: &OneTable) -> Result<(), Why> {
    if !is_window(expression) {
        return ast::children(expression).into_iter().try_for_each(|child| check_calls(child, one));
    }
    let (name, arguments, tail) = match expression {
        Expr::FunctionCall { name, args, distinctness: None, order_by, within_group, filter_over }
            if order_by.is_empty() && within_group.is_empty() =>
        {
            (name.as_str(), args.len(), filter_over)
        }
        Expr::FunctionCallStar { name, filter_over } => (name.as_str(), 0, filter_over),
        _ => return Err("a function is not known to mean the same everywhere"),
    };
    let is_known = FUNCTIONS.iter().any(|known| known.eq_ignore_ascii_case(name));
    if !is_known && Aggregate::of(name, arguments).is_none() {
        return Err("a function is not known to mean the same everywhere");
    }
    let Some(Over::Window(window)) = tail.over_clause.as_deref() else {
        return Err("the statement has windows");
    };
    if window.base.is_some() || !contains_key(window.partition_by.iter().map(AsRef::as_ref), &one.table) {
        return Err("a window may span partitions");
    }
    for part in ast::children_and_windows(expression) {
        check(part, false)?;
        if ast::any(part, &|part| matches!(part, Expr::Variable(_)) || ast::is_subquery(part)) {
            return Err("a window has a parameter");
        }
    }
    Ok(())
}
