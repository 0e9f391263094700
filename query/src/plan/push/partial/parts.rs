//! The two texts of a plan in parts: what each partition computes, and what merges it.

use super::columns::Columns;
use super::merging::{Inner, finish, limit_parameters, outer};
use super::representative::{representative, shows_first_met, shows_row, shows_rows, told_apart};
use super::{PARTS, plain};
use crate::ast::{self, Expr};
use crate::functions::Aggregate;
use crate::plan::push::Why;
use crate::plan::push::expression::{Call, calls, is_ambiguous, is_constant, parameters};
use crate::plan::push::fragment::Fragment;
use crate::plan::push::one_table::{OneTable, Term};

/// The two texts and what lies between them.
pub(super) struct Parts {
    pub(super) fragment: Fragment,
    /// The row that stands for a part, if that matters.
    pub(super) row: Option<Expr>,
    pub(super) columns: Columns,
    pub(super) merge: String,
    pub(super) merge_parameters: usize,
    /// Whether the first parts of each partition make the first rows of the answer.
    pub(super) first_are_enough: bool,
}

impl Parts {
    /// SELECT DISTINCT of rows: groups of equal rows.
    pub(super) fn of_rows(one: &OneTable, row: &Expr) -> Result<Parts, Why> {
        let mut columns = Columns::default();
        let mut fragment = Fragment::of_rows(one);
        let mut outputs = Vec::new();
        for output in &one.outputs {
            outputs.push(columns.row_value(output, &one.table)?);
            if !is_constant(output) && !fragment.groups.contains(output) {
                fragment.groups.push(output.clone());
            }
        }
        if fragment.groups.is_empty() {
            return Err("all results are constants");
        }
        fragment.in_row_order = shows_first_met(&fragment.groups, one);
        // SQLite may sort before it tells rows apart, and then another of equal rows is the first.
        let sorts_first = !one.order.is_empty() && one.order.len() == one.outputs.len();
        if sorts_first && one.outputs.iter().any(|output| is_ambiguous(output, &one.table)) {
            return Err("ORDER BY decides which of equal rows is shown");
        }
        let order = one
            .order
            .iter()
            .map(|term| {
                let name = columns.row_value(&term.expression, &one.table)?;
                Ok(Term { expression: Expr::Id(ast::Name::from_string(name)), ..term.clone() })
            })
            .collect::<Result<Vec<Term>, Why>>()?;
        // Rows that are sorted by all that they show need no other order.
        let sorted = |output: &Expr| one.order.iter().any(|term| term.expression == *output);
        let is_sorted = one.order.iter().all(|term| one.outputs.contains(&term.expression))
            && fragment.groups.iter().all(|group| sorted(group) && !is_ambiguous(group, &one.table));
        let row = (!is_sorted).then(|| ast::call("min", vec![row.clone()]));
        let values = columns.parts.iter().map(|(expression, ..)| expression.clone());
        fragment.columns = row.iter().cloned().chain(values).collect();
        fragment.order = one.order.iter().cloned().chain(row.clone().map(plain)).collect();
        let mut merge = format!("SELECT DISTINCT {} FROM {PARTS}", outputs.join(", "));
        finish(&mut merge, &order, one.limit.as_ref());
        Ok(Parts {
            first_are_enough: one.order.iter().all(|term| one.outputs.contains(&term.expression)),
            merge_parameters: limit_parameters(one),
            row,
            fragment,
            columns,
            merge,
        })
    }

    /// Aggregates and GROUP BY.
    pub(super) fn of_groups(one: &OneTable, row: &Expr) -> Result<Parts, Why> {
        let table = &one.table;
        let mut found = Vec::new();
        one.results().for_each(|expression| calls(expression, &mut found));
        let aggregates: Vec<(&Expr, Call<'_>)> =
            found.iter().filter_map(|expression| Some((*expression, Call::of(expression)?))).collect();
        let mut representative = representative(one, &aggregates, row)?;
        if table.joined.is_some()
            && (representative.in_row_order || representative.is_extreme || shows_rows(one))
        {
            return Err("it may matter in which order joined rows are visited");
        }
        let told_apart = told_apart(&aggregates, representative.is_extreme)?;
        // How many values are distinct does not depend on the order in which they are met.
        let only_counted = |call: &Call<'_>| !call.distinct || call.aggregate == Aggregate::Count;
        let counted = told_apart.is_none() || aggregates.iter().all(|(_, call)| only_counted(call));
        if !representative.matters && counted {
            representative.row = None;
        }

        let mut columns = Columns::default();
        let mut fragment = Fragment::of_rows(one);
        fragment.in_row_order = representative.in_row_order;
        if one.having.as_ref().is_some_and(|having| shows_row(having, one)) {
            return Err("HAVING chooses rows of a group");
        }
        let mut keys = Vec::new();
        for group in &one.groups {
            keys.push(columns.row_value(group, table)?);
            fragment.groups.push(group.clone());
        }
        if let Some(value) = told_apart {
            if is_constant(value) && one.groups.is_empty() {
                return Err("a partition without rows would answer the constant whose values are told apart");
            }
            columns.row_value(value, table)?;
            if !is_constant(value) && !fragment.groups.contains(value) {
                fragment.groups.push(value.clone());
            }
        }
        fragment.in_row_order |= representative.row.is_some() && shows_first_met(&fragment.groups, one);
        if fragment.groups.is_empty() && representative.row.is_some() {
            // A partition without rows would answer a part that no row stands for.
            fragment.having = Some(Expr::Binary(
                Box::new(count_of_rows()),
                ast::Operator::Greater,
                Box::new(Expr::Literal(ast::Literal::Numeric("0".to_owned()))),
            ));
        }
        let mut inner = Inner { one, columns: &mut columns, results: Vec::new() };
        let results: Vec<Expr> =
            one.results().map(|expression| inner.over(expression)).collect::<Result<_, Why>>()?;
        let ties: Vec<Term> = one
            .group_order()
            .into_iter()
            .zip(&keys)
            .filter(|_| !one.order.is_empty())
            .map(|(term, key)| Term { expression: inner.result(key.clone()), ..term })
            .collect();
        let inner = inner.text(&keys);
        let merge = outer(one, &results, ties, &inner);
        fragment.columns = representative
            .row
            .iter()
            .cloned()
            .chain(columns.parts.iter().map(|(expression, ..)| expression.clone()))
            .collect();
        fragment.order = one.order.iter().cloned().chain(one.group_order()).collect();
        let is_key = |term: &Term| one.groups.contains(&term.expression);
        Ok(Parts {
            first_are_enough: told_apart.is_none()
                && !one.distinct
                && one.having.is_none()
                && !one.groups.is_empty()
                && one.order.iter().all(is_key),
            merge_parameters: results.iter().map(parameters).max().unwrap_or(0).max(limit_parameters(one)),
            row: representative.row,
            fragment,
            columns,
            merge,
        })
    }
}

fn count_of_rows() -> Expr {
    Expr::FunctionCallStar {
        name: ast::Name::exact("count".to_owned()),
        filter_over: ast::FunctionTail { filter_clause: None, over_clause: None },
    }
}
