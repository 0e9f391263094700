//! The tables of a subquery: whether their rows lie where the row around lies, and how they are found there.

use std::sync::Arc;

use common::schema::TableKind;

use super::local::{Joined, comparison, is_rowid, key_of, same_column, tables};
use super::names::{Level, Names, Place};
use super::output;
use super::subqueries::{Around, Form, place};
use crate::ast::{self, Distinctness, Expr, FromClause, OneSelect, Operator, ResultColumn, Select};
use crate::functions;
use crate::plan::push::{self, Call, Why};
use crate::route::KeyColumn;
use crate::table::Table;

/// What a table of a subquery is called on a partition, by its number of reference.
pub(super) fn inside(reference: usize) -> String {
    format!("_in{reference}")
}

/// A subquery of base tables.
pub(super) struct Query<'a> {
    pub(super) select: &'a Select,
    pub(super) columns: &'a [ResultColumn],
    pub(super) is_distinct: bool,
    pub(super) from: &'a FromClause,
    pub(super) joined: Vec<Joined<'a>>,
    pub(super) names: Names,
    pub(super) condition: Option<&'a Expr>,
    /// What the condition is made of.
    pub(super) filter: Vec<&'a Expr>,
    /// The number of reference of its first table.
    pub(super) base: usize,
}

/// How the rows of a subquery are found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Search {
    /// Whether there is one at most.
    pub(super) is_unique: bool,
    /// The column of its first table by which rows are found there.
    pub(super) first: KeyColumn,
}

impl<'a> Query<'a> {
    pub(super) fn of(
        select: &'a Select,
        base: usize,
        find: &dyn Fn(&str) -> Option<Arc<Table>>,
    ) -> Result<Query<'a>, Why> {
        let OneSelect::Select {
            distinctness,
            columns,
            from: Some(from),
            where_clause,
            group_by,
            window_clause,
        } = &select.body.select
        else {
            return Err("a subquery has no table");
        };
        if select.with.is_some() || !select.body.compounds.is_empty() {
            return Err("a subquery has a WITH clause or is a compound");
        }
        if group_by.is_some() || !window_clause.is_empty() {
            return Err("a subquery has groups or windows");
        }
        let (joined, mut names) = tables(from, base, find)?;
        names.aliases = output::aliases(columns);
        let condition = where_clause.as_deref();
        Ok(Query {
            select,
            columns,
            is_distinct: *distinctness == Some(Distinctness::Distinct),
            from,
            joined,
            names,
            condition,
            filter: condition.map(ast::conjuncts).unwrap_or_default(),
            base,
        })
    }

    /// Whether partitions may evaluate an expression, whose names are those on a partition, on rows that one file
    /// may never get to.
    pub(super) fn check(&self, expression: &Expr, aggregates: bool) -> Result<(), Why> {
        push::check(&ast::unqualified(expression), aggregates)?;
        let is_json = self.joined.iter().all(|joined| joined.table.kind == TableKind::Collection);
        let may_fail = |part: &Expr| match part {
            Expr::Binary(_, Operator::ArrowRight | Operator::ArrowRightShift, _) => !is_json,
            Expr::FunctionCall { name, args, .. } => {
                Call::of(part).is_none()
                    && !functions::never_fails(name.as_str(), is_json)
                    && !functions::is_of_known_time(name.as_str(), args)
            }
            _ => false,
        };
        if ast::any(expression, &may_fail) { Err("a function in a subquery may fail") } else { Ok(()) }
    }

    /// The conditions that every row of a table has to pass, by the number of the table in the subquery.
    fn conditions(&self, index: usize) -> Vec<&'a Expr> {
        if self.joined[index].is_left {
            return self.joined[index].conditions.clone();
        }
        let inner = self.joined.iter().filter(|joined| !joined.is_left);
        self.filter.iter().chain(inner.flat_map(|joined| &joined.conditions)).copied().collect()
    }

    /// Columns of a table that must equal something.
    fn equalities(&self, index: usize, own: &Level<'_>) -> Vec<(Place, &'a Expr)> {
        let mut found = Vec::new();
        for condition in self.conditions(index) {
            let Expr::Binary(left, Operator::Equals, right) = ast::bare(condition) else { continue };
            for (mine, other) in [(left, right), (right, left)] {
                let place = place(mine, own).filter(|place| place.reference == self.base + index);
                found.extend(place.map(|place| (place, &**other)));
            }
        }
        found
    }

    /// How rows are found without looking through whole tables; `None` if they are not.
    pub(super) fn search(&self, tables: &[Arc<Table>], own: &Level<'_>) -> Option<Search> {
        let mut found: Vec<Option<KeyColumn>> = vec![None; self.joined.len()];
        let mut is_unique = true;
        while let Some(index) = found.iter().position(Option::is_none) {
            let next = (index..found.len()).filter(|&index| found[index].is_none()).find_map(|index| {
                let is_known = |expression: &Expr| {
                    !ast::any(expression, &|part| match part {
                        Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) => {
                            let inner = |place: &Place| place.reference.checked_sub(self.base);
                            place(part, own)
                                .is_none_or(|place| inner(&place).is_some_and(|other| found[other].is_none()))
                        }
                        other => ast::is_subquery(other),
                    })
                };
                let table = &tables[self.base + index];
                let known = self.equalities(index, own).into_iter().filter(|(_, other)| is_known(other));
                let mut columns =
                    known.map(|(mine, _)| mine.column).filter(|column| is_searched(table, *column));
                let first = columns.next()?;
                let unique = is_rowid(table, first) || columns.any(|column| is_rowid(table, column));
                Some((index, first, unique))
            });
            let (index, column, unique) = next?;
            found[index] = Some(column);
            is_unique &= unique;
        }
        Some(Search { is_unique, first: found.first().copied().flatten()? })
    }
}

/// Whether a table's rows are found by a column.
fn is_searched(table: &Table, column: KeyColumn) -> bool {
    let KeyColumn::Position(position) = column else { return true };
    let collation = &table.columns[position].collation;
    is_rowid(table, column)
        || table.indexes.iter().any(|index| {
            !index.partial
                && index.terms.first().is_some_and(|term| {
                    term.column == Some(position) && term.collation.eq_ignore_ascii_case(collation)
                })
        })
}

impl Around<'_> {
    /// Makes sure that all rows that matter lie where the row around lies, and notes the columns that say so.
    pub(super) fn lie_together(
        &mut self,
        query: &Query<'_>,
        own: &Level<'_>,
        form: Form<'_>,
    ) -> Result<(), Why> {
        let among = self.membership_equality(query, own, form);
        let mut missing: Vec<usize> =
            (0..query.joined.len()).filter(|&index| !query.joined[index].table.reference).collect();
        while !missing.is_empty() {
            let placed = missing.iter().enumerate().find_map(|(at, &index)| {
                let key = key_of(query.base + index, &query.joined[index].table)?;
                let mut equal: Vec<(Place, Place)> = query
                    .equalities(index, own)
                    .into_iter()
                    .filter_map(|(mine, other)| Some((mine, place(other, own)?)))
                    .collect();
                equal.extend(among.filter(|(mine, _)| mine.reference == key.reference));
                equal.into_iter().any(|(mine, other)| self.is_together(key, mine, other)).then_some((at, key))
            });
            let (at, key) = placed.ok_or("the rows of a subquery may lie in other partitions")?;
            missing.swap_remove(at);
            self.together.push(key);
        }
        Ok(())
    }

    /// Whether a table's rows lie where others lie because a column of it, which has to be its key, equals another.
    fn is_together(&self, key: Place, mine: Place, other: Place) -> bool {
        let (own_table, other_table) = (&self.tables[key.reference], &self.tables[other.reference]);
        let compared = comparison(own_table, mine.column);
        same_column(own_table, key, mine)
            && compared.is_some()
            && compared == comparison(other_table, other.column)
            && self.together.iter().any(|known| same_column(other_table, *known, other))
    }

    /// The column that a subquery answers and the one around that is looked for among its values, where rows of no
    /// other value make a difference.
    fn membership_equality(
        &self,
        query: &Query<'_>,
        own: &Level<'_>,
        form: Form<'_>,
    ) -> Option<(Place, Place)> {
        let Form::Membership { value, is_filter } = form else { return None };
        let [ResultColumn::Expr(result, _)] = query.columns else { return None };
        let mine = place(result, own).filter(|place| place.reference >= query.base)?;
        let other = place(value, own.outer?)?;
        let is_left = query.joined[mine.reference - query.base].is_left;
        // NULL on either side makes the answer unknown, also where it is in another partition.
        let never_null = |place: Place| is_never_null(&self.tables[place.reference], place.column);
        let is_exact = is_filter || never_null(mine) && never_null(other) && !is_nullable(value, own.outer?);
        (is_exact && query.select.limit.is_none() && !is_left).then_some((mine, other))
    }
}

/// Whether a join may supply NULL in place of the column that an expression is.
fn is_nullable(expression: &Expr, level: &Level<'_>) -> bool {
    let Some((distance, item, _)) = level.resolve(ast::bare(expression)) else { return true };
    let owner = (0..distance).try_fold(level, |level, _| level.outer);
    owner.is_none_or(|level| level.names.items[item].nullable)
}

fn is_never_null(table: &Table, column: KeyColumn) -> bool {
    match column {
        KeyColumn::Rowid => true,
        KeyColumn::Position(position) => is_rowid(table, column) || table.columns[position].not_null,
    }
}
