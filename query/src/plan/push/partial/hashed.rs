//! The text that has a partition find groups by hashing, where SQLite would sort all rows to find them.

use common::hash::Collation;
use sqlite::grouping::{Column, GROUPS};

use super::columns::Columns;
use crate::ast::{Expr, Literal};
use crate::functions::Aggregate;
use crate::plan::push::expression::{Call, calls, column, parameters};
use crate::plan::push::fragment::{Fragment, list};
use crate::table::Table;

/// Most arguments, as connections for clients' texts allow a function 127.
const ARGUMENTS_MAX: usize = 126;

/// A text whose answer is the fragment's parts as one value, see [`sqlite::grouping`].
#[derive(Clone, Debug)]
pub(super) struct Hashed {
    pub(super) text: String,
    /// Parameters of the client that the text uses.
    pub(super) parameters: usize,
}

impl Hashed {
    /// The same parts as a fragment's, if they can be found by hashing and should be.
    pub(super) fn of(
        fragment: &Fragment,
        row: Option<&Expr>,
        columns: &Columns,
        table: &Table,
    ) -> Option<Hashed> {
        let groups = &fragment.groups;
        if groups.is_empty() || fragment.having.is_some() || is_in_order(groups, table) {
            return None;
        }
        let (mut spelled, mut arguments) = (Vec::new(), Vec::new());
        match row {
            // The row of a min or max is another one than the group's first.
            Some(row) => {
                let first = Call::of(row).filter(|call| call.aggregate == Aggregate::Min)?;
                spelled.push(Column::Row);
                arguments.push(first.argument?.clone());
            }
            None => spelled.push(Column::Nothing),
        }
        for (expression, _, collation) in &columns.parts {
            let (column, argument) = column_of(expression, *collation, groups)?;
            spelled.push(column);
            arguments.extend(argument);
        }
        let is_there = |group: &Expr| columns.parts.iter().any(|(expression, ..)| expression == group);
        if !groups.iter().all(is_there) || arguments.len() > ARGUMENTS_MAX {
            return None;
        }
        let (spelled, source) = (Column::spell(&spelled), fragment.source());
        Some(Hashed {
            text: format!("SELECT {GROUPS}('{spelled}', {}){source}", list(&arguments)),
            parameters: arguments.iter().map(parameters).max().unwrap_or(0).max(fragment.source_parameters()),
        })
    }
}

/// Whether an index, or the table itself, may keep the rows of a group together.
fn is_in_order(groups: &[Expr], table: &Table) -> bool {
    let is_group = |position: usize| groups.iter().any(|group| column(group, table) == Some(Some(position)));
    let is_first = |index: &sqlite::schema::Index| index.terms.first().map(|term| term.column);
    let indexed = table.indexes.iter().filter_map(is_first).any(|first| match first {
        Some(position) => is_group(position),
        // An expression, which may be a group's.
        None => true,
    });
    let by_rowid = groups.iter().any(|group| column(group, table) == Some(None));
    indexed || by_rowid || table.rowid_alias.is_some_and(is_group)
}

fn column_of(expression: &Expr, collation: Collation, groups: &[Expr]) -> Option<(Column, Option<Expr>)> {
    if groups.contains(expression) {
        return Some((Column::Term(collation), Some(expression.clone())));
    }
    if let Some((argument, filter)) = partial_sum(expression) {
        return Some((Column::Sum, Some(only_where(argument, filter))));
    }
    let Some(call) = Call::of(expression) else {
        let mut found = Vec::new();
        calls(expression, &mut found);
        return found.is_empty().then(|| (Column::Value, Some(expression.clone())));
    };
    let column = match call.aggregate {
        Aggregate::Count if call.distinct => return None,
        Aggregate::Count => match (call.argument, call.filter) {
            (None, None) => return Some((Column::Rows, None)),
            _ => Column::Count,
        },
        Aggregate::Min => Column::Min(collation),
        Aggregate::Max => Column::Max(collation),
        Aggregate::Sum | Aggregate::Total | Aggregate::Average | Aggregate::Sequence => return None,
    };
    let one = Expr::Literal(Literal::Numeric("1".to_owned()));
    Some((column, Some(only_where(call.argument.unwrap_or(&one), call.filter))))
}

/// The argument and the filter of a part of a sum.
fn partial_sum(expression: &Expr) -> Option<(&Expr, Option<&Expr>)> {
    let Expr::FunctionCall { name, args, distinctness: None, filter_over, .. } = expression else {
        return None;
    };
    let is_part = name.as_str() == sqlite::partial_sum::PART;
    let argument = args.first().filter(|_| is_part)?;
    Some((argument, filter_over.filter_clause.as_deref()))
}

/// The argument on rows that pass a filter, and NULL, which counts for nothing, on others.
fn only_where(argument: &Expr, filter: Option<&Expr>) -> Expr {
    let Some(filter) = filter else { return argument.clone() };
    Expr::Case {
        base: None,
        when_then_pairs: vec![(Box::new(filter.clone()), Box::new(argument.clone()))],
        else_expr: None,
    }
}
