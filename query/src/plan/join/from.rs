//! FROM clauses: their items, and for which of them each condition of the joins holds.

use super::names::{Item, Level, Names, Relation};
use super::walk::{Ctes, Walk};
use crate::ast::{self, Expr, FromClause, JoinConstraint, JoinOperator, JoinType, Name, SelectTable};

/// A condition that must be true, and for which items: of those, a row that fails it whatever the others hold
/// is in no joined row, and no row of NULLs takes its place.
pub(super) struct Condition<'a> {
    pub(super) expression: &'a Expr,
    pub(super) items: Vec<bool>,
}

/// A FROM clause.
#[derive(Default)]
pub(super) struct From<'a> {
    pub(super) names: Names,
    pub(super) conditions: Vec<Condition<'a>>,
    /// Expressions whose queries inside are still to be walked, once all names are known: arguments of
    /// table-valued functions.
    arguments: Vec<&'a Expr>,
}

impl<'a> Walk<'a> {
    /// Reads a FROM clause, walking the queries in it.
    pub(super) fn from(
        &mut self,
        clause: &'a FromClause,
        ctes: Option<&Ctes<'a, '_>>,
        outer: Option<&Level<'_>>,
    ) -> Option<From<'a>> {
        let mut from = From::default();
        self.item(&clause.select, &mut from, ctes, outer)?;
        for join in &clause.joins {
            let kind = match join.operator {
                JoinOperator::TypedJoin(Some(kind)) => kind,
                JoinOperator::TypedJoin(None) | JoinOperator::Comma => JoinType::INNER,
            };
            from.names.natural |= kind.contains(JoinType::NATURAL);
            self.item(&join.table, &mut from, ctes, outer)?;
            from.join(kind, join.constraint.as_ref());
        }
        let width = from.names.items.len();
        from.conditions.iter_mut().for_each(|condition| condition.items.resize(width, false));
        let level = Level { names: &from.names, outer };
        from.arguments.iter().try_for_each(|argument| self.expression(argument, ctes, Some(&level)))?;
        Some(from)
    }

    fn item(
        &mut self,
        table: &'a SelectTable,
        from: &mut From<'a>,
        ctes: Option<&Ctes<'a, '_>>,
        outer: Option<&Level<'_>>,
    ) -> Option<()> {
        let (relation, alias) = match table {
            SelectTable::Table(name, alias, _) => {
                let called = alias.as_ref().map_or(&name.name, ast::As::name);
                (self.named(name, ctes)?, Some(called))
            }
            SelectTable::TableCall(name, arguments, alias) => {
                from.arguments.extend(arguments.iter().map(AsRef::as_ref));
                (Relation::default(), Some(alias.as_ref().map_or(&name.name, ast::As::name)))
            }
            SelectTable::Select { lateral: true, .. } => return None,
            SelectTable::Select { select, alias, .. } => {
                (self.select(select, ctes, outer, None)?, alias.as_ref().map(ast::As::name))
            }
            SelectTable::Sub(inner, alias) => {
                let inner = self.from(inner, ctes, outer)?;
                self.use_conditions(&inner, ctes, outer, None)?;
                (Relation::default(), alias.as_ref().map(ast::As::name))
            }
        };
        let alias = alias.map(|name: &Name| name.as_str().to_owned());
        from.names.items.push(Item { alias, relation, nullable: false });
        Some(())
    }
}

impl<'a> From<'a> {
    /// Joins the last item to those before it.
    fn join(&mut self, kind: JoinType, constraint: Option<&'a JoinConstraint>) {
        let last = self.names.items.len() - 1;
        let is_full =
            kind.contains(JoinType::OUTER) && kind.contains(JoinType::LEFT) == kind.contains(JoinType::RIGHT);
        let keeps_left = is_full || kind.contains(JoinType::LEFT);
        let keeps_right = is_full || kind.contains(JoinType::RIGHT);
        match constraint {
            Some(JoinConstraint::On(condition)) => {
                let held = |(index, item): (usize, &Item)| {
                    let kept = if index == last { keeps_right } else { keeps_left };
                    !kept && !item.nullable
                };
                let items: Vec<bool> = self.names.items.iter().enumerate().map(held).collect();
                self.conditions.extend(
                    ast::conjuncts(condition)
                        .into_iter()
                        .map(|expression| Condition { expression, items: items.clone() }),
                );
            }
            Some(JoinConstraint::Using(columns)) => {
                self.names.merged.extend(columns.iter().map(|name| name.as_str().to_owned()));
            }
            None => {}
        }
        for (index, item) in self.names.items.iter_mut().enumerate() {
            item.nullable |= if index == last { keeps_left } else { keeps_right };
        }
    }

    /// Adds WHERE, which every joined row must pass.
    pub(super) fn filter(&mut self, condition: &'a Expr) {
        let items: Vec<bool> = self.names.items.iter().map(|item| !item.nullable).collect();
        self.conditions.extend(
            ast::conjuncts(condition)
                .into_iter()
                .map(|expression| Condition { expression, items: items.clone() }),
        );
    }
}
