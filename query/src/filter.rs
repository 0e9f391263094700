//! Conditions that may run on the partitions.
//!
//! A filter is a courtesy: the client's text is run over the rows that come back and filters again. So a
//! filter may let too much through, never too little, and must not raise an error that the client's text
//! would not raise.

use common::Value;
use common::schema::TableKind;

use crate::ast::{self, Expr, LIKE_OPERATORS, Literal, Operator};
use crate::functions;
use crate::route::{KeyColumn, Operand, Resolve};
use crate::scope::Scope;
use crate::table::Table;

/// A condition over the columns of one table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filter {
    condition: Expr,
    operands: Vec<Operand>,
    /// Positions of the columns that it reads.
    columns: Vec<usize>,
}

impl Filter {
    /// The filter that a conjunct is for the table at `item` of the scope, if it may be pushed there.
    pub(crate) fn of(conjunct: &Expr, scope: &Scope, item: usize) -> Option<Filter> {
        Filter::of_table(conjunct, &scope.items[item].table, &|expression| {
            scope.resolve(expression).filter(|(owner, _)| *owner == item).map(|(_, column)| column)
        })
    }

    /// What a condition asks of the rows of one table, whose columns `resolve` tells; `None` if nothing of
    /// it may be pushed.
    pub(crate) fn of_table(condition: &Expr, table: &Table, resolve: &Resolve<'_>) -> Option<Filter> {
        let mut condition = implied(condition, table, resolve)?;
        if !ast::any(&condition, &|expression| resolve(expression).is_some()) {
            return None;
        }
        let (mut operands, mut columns) = (Vec::new(), Vec::new());
        ast::rewrite(&mut condition, &mut |expression| match expression {
            Expr::Variable(variable) => {
                operands.push(Operand::Parameter(variable.index.get() as usize - 1));
                Some(ast::parameter(operands.len()))
            }
            Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) => {
                let column = resolve(expression)?;
                if let KeyColumn::Position(position) = column {
                    columns.push(position);
                }
                column.name(table).map(Expr::Id)
            }
            _ => None,
        });
        Some(Filter { condition, operands, columns })
    }

    /// Positions of the columns that it reads.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// That a column equals one of some values, under a collation if that is not its own.
    pub(crate) fn among(
        table: &Table,
        column: KeyColumn,
        collation: Option<&str>,
        values: Vec<Operand>,
    ) -> Option<Filter> {
        let mut lhs = Expr::Id(column.name(table)?);
        if let Some(collation) = collation {
            lhs = Expr::Collate(Box::new(lhs), ast::quoted_name(collation));
        }
        let read = match column {
            KeyColumn::Rowid => Vec::new(),
            KeyColumn::Position(position) => vec![position],
        };
        let rhs = (1..=values.len()).map(|number| Box::new(ast::parameter(number))).collect();
        Some(Filter {
            condition: Expr::InList { lhs: Box::new(lhs), not: false, rhs },
            operands: values,
            columns: read,
        })
    }

    /// Roughly how much it leaves out, from 1.
    pub(crate) fn weight(&self) -> u32 {
        match ast::bare(&self.condition) {
            Expr::Binary(_, Operator::Equals | Operator::Is, _) | Expr::InList { not: false, .. } => 3,
            Expr::Between { not: false, .. } | Expr::Like { not: false, .. } => 2,
            _ => 1,
        }
    }

    /// Whether it leaves out few rows, as patterns do that must not be met: to gather the rest costs as much as to gather all,
    /// and the client's text looks at each row again.
    pub(crate) fn leaves_out_few(&self) -> bool {
        matches!(ast::bare(&self.condition), Expr::Like { not: true, .. })
    }

    /// Filters that let through what passes any of some lists of filters.
    pub(crate) fn either(mut alternatives: Vec<Vec<Filter>>) -> Vec<Filter> {
        alternatives.dedup();
        if alternatives.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        let (mut condition, mut operands): (Option<Expr>, Vec<Operand>) = (None, Vec::new());
        let mut columns = Vec::new();
        if alternatives.len() == 1 {
            return alternatives.remove(0);
        }
        for filters in alternatives {
            let mut all: Option<Expr> = None;
            for filter in filters {
                let shifted = filter.condition_after(operands.len());
                operands.extend(filter.operands);
                columns.extend(filter.columns);
                all = Some(ast::joined(all, Operator::And, shifted));
            }
            condition = all.map(|all| ast::joined(condition.take(), Operator::Or, all));
        }
        condition.map(|condition| Filter { condition, operands, columns }).into_iter().collect()
    }

    /// The condition with its parameters numbered after `offset` others.
    fn condition_after(&self, offset: usize) -> Expr {
        let mut condition = self.condition.clone();
        ast::rewrite(&mut condition, &mut |expression| match expression {
            Expr::Variable(variable) => Some(ast::parameter(variable.index.get() as usize + offset)),
            _ => None,
        });
        condition
    }

    /// Its text, with parameters numbered after those in `params`, which its own are appended to. `None` if
    /// the request does not give one.
    pub(crate) fn render(&self, given: &[Value], params: &mut Vec<Value>) -> Option<String> {
        let offset = params.len();
        for operand in &self.operands {
            params.push(operand.value(given)?);
        }
        Some(format!("({})", self.condition_after(offset)))
    }
}

/// The part of a condition that is over the table alone: what a row must pass for the condition to be true,
/// whatever the other tables hold.
fn implied(condition: &Expr, table: &Table, resolve: &Resolve<'_>) -> Option<Expr> {
    let condition = ast::bare(condition);
    if pushable(condition, table, resolve) {
        return Some(condition.clone());
    }
    let Expr::Binary(left, operator, right) = condition else { return None };
    let (left, right) = (implied(left, table, resolve), implied(right, table, resolve));
    match operator {
        Operator::And => match (left, right) {
            (Some(left), Some(right)) => Some(ast::joined(Some(left), Operator::And, right)),
            (left, right) => left.or(right),
        },
        Operator::Or => Some(ast::joined(Some(ast::joined(None, Operator::Or, left?)), Operator::Or, right?)),
        _ => None,
    }
}

fn pushable(expression: &Expr, table: &Table, resolve: &Resolve<'_>) -> bool {
    let json = table.kind == TableKind::Collection;
    let allowed = match expression {
        Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) => {
            return resolve(expression)
                .is_some_and(|column| column != KeyColumn::Rowid || table.rowid_name.is_some());
        }
        Expr::Binary(_, operator, _) => match operator {
            Operator::ArrowRight | Operator::ArrowRightShift => json,
            Operator::Concat | Operator::ArrayContains | Operator::ArrayOverlap => false,
            _ => true,
        },
        Expr::Literal(literal) => matches!(
            literal,
            Literal::Numeric(_)
                | Literal::String(_)
                | Literal::Blob(_)
                | Literal::Null
                | Literal::True
                | Literal::False
        ),
        Expr::FunctionCall { name, args, distinctness: None, order_by, within_group, filter_over } => {
            order_by.is_empty()
                && within_group.is_empty()
                && filter_over.filter_clause.is_none()
                && filter_over.over_clause.is_none()
                && (functions::never_fails(name.as_str(), json)
                    || functions::is_of_known_time(name.as_str(), args))
        }
        Expr::Like { op, .. } => LIKE_OPERATORS.contains(op),
        Expr::Between { .. }
        | Expr::Case { .. }
        | Expr::Cast { .. }
        | Expr::Collate(..)
        | Expr::InList { .. }
        | Expr::IsNull(_)
        | Expr::NotNull(_)
        | Expr::Parenthesized(_)
        | Expr::Unary(..)
        | Expr::Variable(_) => true,
        _ => false,
    };
    allowed && ast::children(expression).into_iter().all(|child| pushable(child, table, resolve))
}
