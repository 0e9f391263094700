//! One SELECT: its conditions are used for the tables that it reads, and the queries inside it are walked.

use super::from::{Condition, From};
use super::names::{Column, Level, Names, Relation};
use super::output;
use super::walk::{Ctes, Exists, Walk};
use crate::ast::{self, Expr, OneSelect, Operator};
use crate::filter::Filter;
use crate::route::{KeyColumn, Route};
use crate::scope::result_expressions;

impl<'a> Walk<'a> {
    /// Walks a SELECT with its FROM clause; `terms` are those of ORDER BY.
    pub(super) fn select_core(
        &mut self,
        core: &'a OneSelect,
        terms: &[&'a Expr],
        ctes: Option<&Ctes<'a, '_>>,
        outer: Option<&Level<'_>>,
        exists: Option<Exists<'_>>,
    ) -> Option<Relation> {
        let OneSelect::Select { distinctness, columns, from, where_clause, group_by, window_clause } = core
        else {
            return None;
        };
        let mut clause = match from {
            Some(from) => self.from(from, ctes, outer)?,
            None => From::default(),
        };
        clause.names.aliases = output::aliases(columns);
        if let Some(condition) = where_clause {
            clause.filter(condition);
        }
        let results = result_expressions(columns);
        let mut others: Vec<&'a Expr> = results.iter().chain(terms).copied().collect();
        let is_plain = distinctness.is_none()
            && group_by.is_none()
            && window_clause.is_empty()
            && others.iter().all(|expression| output::is_of_one_row(expression));
        if let Some(group) = group_by {
            others.extend(group.exprs.iter().map(AsRef::as_ref));
            others.extend(group.having.iter().map(AsRef::as_ref));
        }
        others.extend(window_clause.iter().flat_map(|window| ast::window_expressions(&window.window)));
        // An aggregate without GROUP BY gives a row even where there is none.
        let exists =
            exists.filter(|_| is_plain || group_by.as_ref().is_some_and(|group| !group.exprs.is_empty()));
        self.use_conditions(&clause, ctes, outer, exists)?;
        let level = Level { names: &clause.names, outer };
        others.into_iter().try_for_each(|expression| self.expression(expression, ctes, Some(&level)))?;
        let relation = output::of_core(columns, &clause.names);
        Some(if is_plain { relation } else { output::unfilterable(relation) })
    }

    /// Uses the conditions of a FROM clause and walks the queries in them.
    pub(super) fn use_conditions(
        &mut self,
        from: &From<'a>,
        ctes: Option<&Ctes<'a, '_>>,
        outer: Option<&Level<'_>>,
        exists: Option<Exists<'_>>,
    ) -> Option<()> {
        let level = Level { names: &from.names, outer };
        for condition in &from.conditions {
            self.push(condition, &from.names);
            match ast::bare(condition.expression) {
                Expr::Binary(left, Operator::Equals, right) => {
                    self.equate(left, right, condition, &level, exists);
                }
                Expr::InSelect { lhs, not: false, rhs } => {
                    let given = self.select(rhs, ctes, Some(&level), None)?;
                    self.equate_with_query(lhs, &given, condition, &level);
                    self.expression(lhs, ctes, Some(&level))?;
                    continue;
                }
                Expr::Exists(select) => {
                    self.select(select, ctes, Some(&level), Some(Exists(&condition.items)))?;
                    continue;
                }
                _ => {}
            }
            self.expression(condition.expression, ctes, Some(&level))?;
        }
        Some(())
    }

    /// Pushes what a condition asks of the rows of each table behind its columns.
    fn push(&mut self, condition: &Condition<'_>, names: &Names) {
        let mut targets: Vec<(usize, usize, usize)> = Vec::new();
        visit(condition.expression, &mut |expression| {
            let Some((item, column)) = held_column(expression, condition, names) else { return };
            for (branch, place) in column.origins.iter().enumerate() {
                let target = (item, branch, place.reference);
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        });
        for (item, branch, reference) in targets {
            let resolve = |expression: &Expr| -> Option<KeyColumn> {
                let (owner, column) = held_column(expression, condition, names)?;
                let place = column.origins.get(branch).filter(|_| owner == item)?;
                (place.reference == reference).then_some(place.column)
            };
            let target = &mut self.references[reference];
            target.filters.extend(Filter::of_table(condition.expression, &target.table, &resolve));
            target.route.tests.extend(Route::of(&target.table, &[condition.expression], &resolve).tests);
        }
    }
}

/// The column that an expression is, if the condition may choose rows behind it.
pub(super) fn held_column(
    expression: &Expr,
    condition: &Condition<'_>,
    names: &Names,
) -> Option<(usize, Column)> {
    names.column(expression).filter(|(item, column)| condition.items[*item] && column.filterable)
}

/// Shows an expression and all in it, queries apart.
fn visit(expression: &Expr, see: &mut impl FnMut(&Expr)) {
    see(expression);
    for child in ast::children(expression) {
        visit(child, see);
    }
}
