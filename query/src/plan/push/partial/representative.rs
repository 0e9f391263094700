//! Which row stands for a group, and where that matters.

use crate::ast::{self, Expr};
use crate::functions::Aggregate;
use crate::plan::push::Why;
use crate::plan::push::expression::{Call, column, columns_around, is_ambiguous};
use crate::plan::push::one_table::OneTable;

/// Whether it matters which row of a group stands for it.
pub(in crate::plan::push) fn shows_rows(one: &OneTable) -> bool {
    one.results().any(|expression| shows_row(expression, one))
}

pub(super) fn shows_row(expression: &Expr, one: &OneTable) -> bool {
    if Call::of(expression).is_some() {
        return false;
    }
    if matches!(expression, Expr::Id(_)) {
        let found = column(expression, &one.table);
        let is_key = one.groups.iter().any(|group| column(group, &one.table) == found);
        return !is_key || is_ambiguous(expression, &one.table);
    }
    if one.groups.contains(expression) && !is_ambiguous(expression, &one.table) {
        return false;
    }
    columns_around(expression).iter().any(|column| shows_row(column, one))
        || ast::children(expression).into_iter().any(|child| shows_row(child, one))
}

/// Whether a term of GROUP BY shows the row that a partition meets first, whatever row stands for the part: SQLite
/// does so with terms that are no plain columns.
pub(super) fn shows_first_met(groups: &[Expr], one: &OneTable) -> bool {
    groups.iter().any(|group| column(group, &one.table).is_none() && is_ambiguous(group, &one.table))
}

/// The row that stands for a part.
pub(super) struct Representative {
    pub(super) row: Option<Expr>,
    /// Whether the answer depends on it.
    pub(super) matters: bool,
    /// Whether it is the one that `min` or `max` took its value from.
    pub(super) is_extreme: bool,
    /// Whether it is found by visiting rows in order.
    pub(super) in_row_order: bool,
}

pub(super) fn representative(
    one: &OneTable,
    aggregates: &[(&Expr, Call<'_>)],
    row: &Expr,
) -> Result<Representative, Why> {
    let extremes: Vec<&Call<'_>> =
        aggregates.iter().map(|(_, call)| call).filter(|call| call.is_extreme()).collect();
    let ambiguous =
        extremes.iter().any(|call| call.argument.is_some_and(|argument| is_ambiguous(argument, &one.table)));
    let matters = ambiguous || shows_rows(one);
    if extremes.is_empty() || !matters {
        return Ok(Representative {
            row: Some(ast::call("min", vec![row.clone()])),
            matters,
            is_extreme: false,
            in_row_order: false,
        });
    }
    // A result that repeats a term of GROUP BY is the first row's, whatever row the others are of.
    let of_first = |group: &Expr| column(group, &one.table).is_none() && is_ambiguous(group, &one.table);
    if one.groups.iter().any(of_first) {
        return Err("min or max decides which row stands for its group, but for a term of GROUP BY");
    }
    match extremes.as_slice() {
        // SQLite takes the columns that are no aggregates from the row of a single min or max.
        [only] if only.filter.is_none() => {
            Ok(Representative { row: Some(row.clone()), matters, is_extreme: true, in_row_order: true })
        }
        [_] => Err("min or max of some rows decides which row stands for its group"),
        _ => Err("several of min and max decide which row stands for its group"),
    }
}

/// The one expression whose distinct values aggregates ask for.
pub(super) fn told_apart<'a>(
    aggregates: &[(&'a Expr, Call<'a>)],
    is_extreme: bool,
) -> Result<Option<&'a Expr>, Why> {
    let mut told_apart = None;
    for (_, call) in aggregates.iter().filter(|(_, call)| call.distinct && !call.is_extreme()) {
        if call.filter.is_some() {
            return Err("an aggregate is of distinct values of some rows");
        }
        if is_extreme && call.aggregate != Aggregate::Count {
            return Err("distinct values would be met in another order");
        }
        if told_apart.is_some() && told_apart != call.argument {
            return Err("aggregates are of distinct values of several expressions");
        }
        told_apart = call.argument;
    }
    Ok(told_apart)
}
