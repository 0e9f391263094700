//! Subqueries that each partition answers by itself: all rows of them that matter for a row of the query around lie in
//! that row's partition, since their tables are reference tables or are partitioned by columns that equal its key.
//!
//! In the text for the partitions every table of such a subquery has a name of its own and every column is
//! qualified, those of the query around by [`AROUND`]. So no name can be taken for another one.

use std::sync::Arc;

use super::local::key_of;
use super::names::{Item, Level, Names, Place, Relation};
use super::output;
use super::subquery_results::Rendered;
use super::subquery_tables::{Query, inside};
use crate::ast::{
    self, As, Expr, FromClause, JoinConstraint, JoinedSelectTable, Literal, Name, OneSelect, Operator,
    QualifiedName, ResultColumn, Select, SelectBody, SelectTable,
};
use crate::plan::push::{self, Why};
use crate::table::Table;

/// What the rows around subqueries are called on a partition.
pub(crate) const AROUND: &str = "_around";

/// Why a subquery is not left to partitions that would answer it slowly.
const NOT_SEARCHED: Why = "a partition would look through a table for each row around a subquery";

/// The query around subqueries, on whose rows they depend.
pub(super) struct Around<'a> {
    pub(super) find: &'a dyn Fn(&str) -> Option<Arc<Table>>,
    /// Tables by number of reference: those of the query around, then those of subqueries.
    pub(super) tables: Vec<Arc<Table>>,
    /// How many tables the query around has.
    own: usize,
    /// Columns whose value tells in which partition a row around lies.
    pub(super) together: Vec<Place>,
    /// What a column of a row around is called on a partition.
    name: &'a mut dyn FnMut(Place) -> Result<Name, Why>,
    /// The least number of a reference that was named, to tell whether a subquery depends on what is around it.
    least: usize,
}

/// What a subquery is asked for.
#[derive(Clone, Copy)]
pub(super) enum Form<'e> {
    /// Whether there is a row.
    Existence,
    /// Its first row's value.
    Value,
    /// Whether a value is among its rows' values.
    Membership {
        value: &'e Expr,
        /// Whether false and unknown make no difference.
        is_filter: bool,
    },
}

/// Whether a SELECT has subqueries in its expressions that were not answered already.
pub(crate) fn has_subqueries(select: &Select) -> bool {
    ast::expressions(select).into_iter().any(|expression| ast::any(expression, &push::is_open_subquery))
}

/// A SELECT of one table with its subqueries as partitions are to evaluate them. Other names stay what they are.
pub(crate) fn of_one_table(
    select: &Select,
    table: &Arc<Table>,
    alias: &str,
    find: &dyn Fn(&str) -> Option<Arc<Table>>,
) -> Result<Select, Why> {
    let OneSelect::Select { columns, .. } = &select.body.select else { return Ok(select.clone()) };
    let item =
        Item { alias: Some(alias.to_owned()), relation: Relation::of_table(0, table), nullable: false };
    let names = Names { items: vec![item], aliases: output::aliases(columns), ..Names::default() };
    let mut name = |place: Place| name_on_partition(place, table);
    let together = key_of(0, table).into_iter().collect();
    Around::new(find, vec![Arc::clone(table)], together, &mut name).statement(select, &names)
}

impl<'a> Around<'a> {
    /// Around subqueries of a SELECT of some tables, whose rows lie where the columns `together` say.
    pub(super) fn new(
        find: &'a dyn Fn(&str) -> Option<Arc<Table>>,
        tables: Vec<Arc<Table>>,
        together: Vec<Place>,
        name: &'a mut dyn FnMut(Place) -> Result<Name, Why>,
    ) -> Around<'a> {
        Around { find, own: tables.len(), tables, together, name, least: usize::MAX }
    }

    /// The SELECT with each subquery as partitions are to evaluate it. Other names stay what they are.
    pub(super) fn statement(mut self, select: &Select, names: &Names) -> Result<Select, Why> {
        let level = Level { names, outer: None };
        let mut local = select.clone();
        for term in &mut local.order_by {
            self.expression(&mut term.expr, &level, false)?;
        }
        if let OneSelect::Select { columns, where_clause, group_by, .. } = &mut local.body.select {
            for column in columns {
                if let ResultColumn::Expr(expression, _) = column {
                    self.expression(expression, &level, false)?;
                }
            }
            if let Some(condition) = where_clause {
                self.filter(condition, &level, false)?;
            }
            if let Some(group_by) = group_by {
                for term in group_by.exprs.iter_mut().chain(&mut group_by.having) {
                    self.expression(term, &level, false)?;
                }
            }
        }
        Ok(local)
    }

    /// A condition that chooses rows: whether it is false or unknown makes no difference.
    pub(super) fn filter(
        &mut self,
        condition: &mut Expr,
        level: &Level<'_>,
        renames: bool,
    ) -> Result<(), Why> {
        match condition {
            Expr::Binary(left, Operator::And | Operator::Or, right) => {
                self.filter(left, level, renames)?;
                self.filter(right, level, renames)
            }
            Expr::Parenthesized(items) if items.len() == 1 => self.filter(&mut items[0], level, renames),
            other if push::is_open_subquery(other) => {
                *other = self.subquery(other, level, renames, true)?;
                Ok(())
            }
            other => self.expression(other, level, renames),
        }
    }

    /// Any expression; `renames`: its columns get the names that they have on a partition.
    pub(super) fn expression(
        &mut self,
        expression: &mut Expr,
        level: &Level<'_>,
        renames: bool,
    ) -> Result<(), Why> {
        let mut failed = None;
        ast::rewrite(expression, &mut |part| {
            let replaced = match part {
                Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) | Expr::DoublyQualified(..) if renames => {
                    self.column(part, level)
                }
                Expr::Variable(variable) if renames => Ok(ast::parameter(variable.index.get() as usize)),
                _ if push::is_open_subquery(part) => self.subquery(part, level, renames, false),
                _ => return None,
            };
            replaced.map_err(|why| failed = failed.or(Some(why))).ok()
        });
        failed.map_or(Ok(()), Err)
    }

    fn column(&mut self, name: &Expr, level: &Level<'_>) -> Result<Expr, Why> {
        let place = place(name, level).ok_or("a name in a subquery is no column of a table")?;
        self.least = self.least.min(place.reference);
        if place.reference < self.own {
            return Ok(Expr::Qualified(Name::from_string(AROUND), (self.name)(place)?));
        }
        let name = name_on_partition(place, &self.tables[place.reference])?;
        Ok(Expr::Qualified(Name::from_string(inside(place.reference)), name))
    }

    fn subquery(
        &mut self,
        part: &Expr,
        level: &Level<'_>,
        renames: bool,
        is_filter: bool,
    ) -> Result<Expr, Why> {
        match part {
            Expr::Exists(select) => match self.query(select, level, Form::Existence) {
                Ok(query) => Ok(Expr::Exists(Box::new(query))),
                Err(NOT_SEARCHED) => {
                    let membership = self.membership(select, level).ok_or(NOT_SEARCHED)?;
                    let found = self.subquery(&membership, level, renames, true)?;
                    Ok(if is_filter { found } else { known(found) })
                }
                Err(why) => Err(why),
            },
            Expr::Subquery(select) => Ok(Expr::Subquery(Box::new(self.query(select, level, Form::Value)?))),
            Expr::InSelect { lhs, not, rhs } => {
                let form = Form::Membership { value: lhs, is_filter: is_filter && !not };
                let query = self.query(rhs, level, form)?;
                let mut lhs = lhs.clone();
                self.expression(&mut lhs, level, renames)?;
                Ok(Expr::InSelect { lhs, not: *not, rhs: Box::new(query) })
            }
            _ => Err("there is a subquery"),
        }
    }

    fn query(&mut self, select: &Select, level: &Level<'_>, form: Form<'_>) -> Result<Select, Why> {
        let least = std::mem::replace(&mut self.least, usize::MAX);
        let together = self.together.len();
        let local = self.local_query(select, level, form);
        self.together.truncate(together);
        self.least = self.least.min(least);
        local
    }

    fn local_query(&mut self, select: &Select, level: &Level<'_>, form: Form<'_>) -> Result<Select, Why> {
        let query = Query::of(select, self.tables.len(), self.find)?;
        self.tables.extend(query.joined.iter().map(|joined| Arc::clone(&joined.table)));
        let own = Level { names: &query.names, outer: Some(level) };
        self.lie_together(&query, &own, form)?;
        let search = query.search(&self.tables, &own);
        let from = self.from(&query, &own)?;
        let mut condition = query.condition.cloned();
        if let Some(condition) = &mut condition {
            self.filter(condition, &own, true)?;
            query.check(condition, false)?;
        }
        let Rendered { columns, order_by, limit } = self.results(&query, &own, form, search)?;
        if self.least < query.base && search.is_none() {
            return Err(NOT_SEARCHED);
        }
        let select = OneSelect::Select {
            distinctness: None,
            columns,
            from: Some(from),
            where_clause: condition.map(Box::new),
            group_by: None,
            window_clause: Vec::new(),
        };
        Ok(Select { with: None, body: SelectBody { select, compounds: Vec::new() }, order_by, limit })
    }

    /// The tables under their own names, and the conditions of the joins.
    fn from(&mut self, query: &Query<'_>, own: &Level<'_>) -> Result<FromClause, Why> {
        let table = |index: usize| {
            let name = QualifiedName::single(ast::quoted_name(&query.joined[index].table.name));
            let alias = As::As(Name::from_string(inside(query.base + index)));
            Box::new(SelectTable::Table(name, Some(alias), None))
        };
        let mut joins = Vec::with_capacity(query.from.joins.len());
        for (index, join) in query.from.joins.iter().enumerate() {
            let mut constraint = join.constraint.clone();
            if let Some(JoinConstraint::On(condition)) = &mut constraint {
                if ast::any(condition, &push::is_open_subquery) {
                    return Err("a join in a subquery has subqueries");
                }
                self.expression(condition, own, true)?;
                query.check(condition, false)?;
            }
            joins.push(JoinedSelectTable { operator: join.operator, table: table(index + 1), constraint });
        }
        Ok(FromClause { select: table(0), joins })
    }

    /// EXISTS over a column's equality with a column around, as the question whether the one is among the others:
    /// these are found once, not for each row around.
    fn membership(&self, select: &Select, level: &Level<'_>) -> Option<Expr> {
        let query = Query::of(select, self.tables.len(), self.find).ok()?;
        let mut tables = self.tables.clone();
        tables.extend(query.joined.iter().map(|joined| Arc::clone(&joined.table)));
        let own = Level { names: &query.names, outer: Some(level) };
        let equality = query.filter.iter().enumerate().find_map(|(at, condition)| {
            let Expr::Binary(left, Operator::Equals, right) = ast::bare(condition) else { return None };
            let pairs = [(left, right), (right, left)];
            let (key, value) = pairs.into_iter().find(|(key, value)| {
                let inner = |expression: &Expr| {
                    place(expression, &own).is_some_and(|place| place.reference >= query.base)
                };
                inner(key) && place(value, &own).is_some() && !inner(value)
            })?;
            Some((at, key, value))
        });
        let (at, key, value) = equality?;
        let others = query.filter.iter().enumerate().filter(|(other, _)| *other != at);
        let rest = others
            .fold(None, |all, (_, condition)| Some(ast::joined(all, Operator::And, (*condition).clone())));
        let select = OneSelect::Select {
            distinctness: None,
            columns: vec![ResultColumn::Expr(key.clone(), None)],
            from: Some(query.from.clone()),
            where_clause: rest.map(Box::new),
            group_by: None,
            window_clause: Vec::new(),
        };
        let body = SelectBody { select, compounds: Vec::new() };
        let rhs = Select { with: None, body, order_by: Vec::new(), limit: None };
        Some(Expr::InSelect { lhs: value.clone(), not: false, rhs: Box::new(rhs) })
    }
}

/// The column of a table that an expression is.
pub(super) fn place(expression: &Expr, level: &Level<'_>) -> Option<Place> {
    level.resolve(ast::bare(expression))?.2.origins.first().copied()
}

/// A condition that is false where it is unknown.
fn known(condition: Expr) -> Expr {
    ast::call("coalesce", vec![condition, Expr::Literal(Literal::Numeric("0".to_owned()))])
}

fn name_on_partition(place: Place, table: &Table) -> Result<Name, Why> {
    place.column.name(table).ok_or("the rowid has no name")
}
