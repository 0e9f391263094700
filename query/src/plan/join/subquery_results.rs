//! What a subquery answers on a partition, where its rows are visited in another order than in one file: only what does
//! not depend on that order, or what is put in the order of the keys.

use common::hash::Collation;
use sqlite::schema::IndexOrigin;

use super::names::Level;
use super::output;
use super::subqueries::{Around, Form};
use super::subquery_tables::{Query, Search, inside};
use crate::ast::{self, Expr, Limit, Literal, Name, ResultColumn, SortOrder, SortedColumn};
use crate::functions::Aggregate;
use crate::plan::push::{self, Call, Why};
use crate::route::KeyColumn;

/// What a subquery answers.
pub(super) struct Rendered {
    pub(super) columns: Vec<ResultColumn>,
    pub(super) order_by: Vec<SortedColumn>,
    pub(super) limit: Option<Limit>,
}

const ORDER_MATTERS: Why = "it may matter in which order a subquery meets its rows";

impl Around<'_> {
    /// The results of a subquery, with the names that columns have on a partition.
    pub(super) fn results(
        &mut self,
        query: &Query<'_>,
        own: &Level<'_>,
        form: Form<'_>,
        search: Option<Search>,
    ) -> Result<Rendered, Why> {
        let mut rendered = Rendered { columns: Vec::new(), order_by: Vec::new(), limit: None };
        if matches!(form, Form::Existence) {
            check_existence(query)?;
            let one = Expr::Literal(Literal::Numeric("1".to_owned()));
            rendered.columns.push(ResultColumn::Expr(Box::new(one), None));
            return Ok(rendered);
        }
        let [ResultColumn::Expr(result, _)] = query.columns else {
            return Err("a subquery answers several columns");
        };
        let mut result = result.clone();
        self.expression(&mut result, own, true)?;
        query.check(&result, true)?;
        let is_unique = search.is_some_and(|search| search.is_unique);
        if push::is_aggregate(&result) {
            if query.is_distinct || !query.select.order_by.is_empty() || query.select.limit.is_some() {
                return Err("a subquery orders or counts what it aggregates");
            }
            self.check_aggregates(query, &result)?;
            if !is_unique {
                self.put_in_order(query, &mut result, search)?;
            }
        } else if matches!(form, Form::Membership { .. }) {
            // Of equal values any one is as good as another, if they are equal to the same values.
            if query.select.limit.is_some() || query.is_distinct && !self.is_plain(query, &result) {
                return Err(ORDER_MATTERS);
            }
        } else {
            self.order_of_values(query, own, is_unique, &mut rendered)?;
        }
        rendered.columns.push(ResultColumn::Expr(result, None));
        Ok(rendered)
    }

    /// Whether a result is a column whose equal values are equal to the same values.
    fn is_plain(&self, query: &Query<'_>, result: &Expr) -> bool {
        let Some((table, plain)) = self.of_one_table(query, result) else { return false };
        push::collation(&plain, &self.tables[table]) == Some(Collation::Binary)
    }

    /// An expression over columns of one table of the subquery, and that table.
    fn of_one_table(&self, query: &Query<'_>, expression: &Expr) -> Option<(usize, Expr)> {
        let (mut plain, mut tables) = (expression.clone(), Vec::new());
        ast::rewrite(&mut plain, &mut |part| match part {
            Expr::Qualified(table, name) => {
                tables.push(table.as_str().to_owned());
                Some(Expr::Id(name.clone()))
            }
            _ => None,
        });
        let mut own = query.base..query.base + query.joined.len();
        let table = own.find(|reference| tables.contains(&inside(*reference)))?;
        tables.iter().all(|name| *name == inside(table)).then_some((table, plain))
    }

    /// Refuses columns beside aggregates, and aggregates that are those of a query around.
    fn check_aggregates(&self, query: &Query<'_>, result: &Expr) -> Result<(), Why> {
        let own: Vec<String> = (query.base..query.base + query.joined.len()).map(inside).collect();
        let is_own = |name: &Name| own.iter().any(|own| own == name.as_str());
        let names_own = |part: &Expr| matches!(part, Expr::Qualified(table, _) if is_own(table));
        let names_any = |part: &Expr| matches!(part, Expr::Qualified(..)) || ast::is_subquery(part);
        let mut beside = result.clone();
        ast::rewrite(&mut beside, &mut |part| {
            Call::of(part).is_some().then_some(Expr::Literal(Literal::Null))
        });
        if ast::any(&beside, &names_own) {
            return Err("a subquery has columns beside aggregates");
        }
        let mut found = Vec::new();
        push::calls(result, &mut found);
        for call in found {
            let parts = ast::children(call);
            let is_of_rows = parts.iter().any(|part| ast::any(part, &names_own));
            if parts.iter().any(|part| ast::any(part, &ast::is_subquery))
                || !is_of_rows && parts.iter().any(|part| ast::any(part, &names_any))
            {
                return Err("an aggregate in a subquery may be one of the query around");
            }
        }
        Ok(())
    }

    /// Has aggregates meet the rows in the order of their keys, where that matters.
    fn put_in_order(&self, query: &Query<'_>, result: &mut Expr, search: Option<Search>) -> Result<(), Why> {
        let is_in_order = query.joined.len() == 1 && visits_in_order(query, search);
        let mut refused = None;
        ast::rewrite(result, &mut |part| {
            let call = Call::of(part)?;
            let matters = match call.aggregate {
                Aggregate::Count => false,
                Aggregate::Min | Aggregate::Max => {
                    let plain = call.argument.and_then(|argument| self.of_one_table(query, argument));
                    plain.is_none_or(|(table, plain)| push::is_ambiguous(&plain, &self.tables[table]))
                }
                Aggregate::Sum | Aggregate::Total | Aggregate::Average | Aggregate::Sequence => true,
            };
            if !matters || is_in_order {
                return None;
            }
            let mut ordered = part.clone();
            match &mut ordered {
                Expr::FunctionCall { order_by, .. }
                    if query.joined.len() == 1 && !call.is_extreme() && !call.distinct =>
                {
                    *order_by = row_order(query);
                }
                _ => refused = Some(ORDER_MATTERS),
            }
            Some(ordered)
        });
        refused.map_or(Ok(()), Err)
    }

    /// ORDER BY and LIMIT, so that the first row is the one that one file meets first.
    fn order_of_values(
        &mut self,
        query: &Query<'_>,
        own: &Level<'_>,
        is_unique: bool,
        rendered: &mut Rendered,
    ) -> Result<(), Why> {
        if query.is_distinct {
            return Err(ORDER_MATTERS);
        }
        rendered.limit.clone_from(&query.select.limit);
        let is_number = |bound: &Expr| matches!(bound, Expr::Literal(Literal::Numeric(_)));
        if let Some(limit) = &rendered.limit
            && !(is_number(&limit.expr) && limit.offset.as_deref().is_none_or(is_number))
        {
            return Err("LIMIT in a subquery is computed");
        }
        if is_unique {
            return Ok(());
        }
        let order = row_order(query);
        if query.joined.len() != 1 || order.is_empty() {
            return Err(ORDER_MATTERS);
        }
        for term in &query.select.order_by {
            let mut term = term.clone();
            self.expression(&mut term.expr, own, true)?;
            query.check(&term.expr, false)?;
            // A constant might be the number of a result.
            if !ast::any(&term.expr, &|part| matches!(part, Expr::Qualified(..))) {
                return Err("a subquery is ordered by the number of a result");
            }
            rendered.order_by.push(term);
        }
        rendered.order_by.extend(order);
        Ok(())
    }
}

/// Refuses what makes a subquery answer a row whatever there is, or none although there is something.
fn check_existence(query: &Query<'_>) -> Result<(), Why> {
    let of_one_row = |expression: &Expr| output::is_of_one_row(expression);
    let results = query.columns.iter().all(|column| match column {
        ResultColumn::Expr(expression, _) => of_one_row(expression),
        ResultColumn::Star | ResultColumn::TableStar(_) => true,
    });
    if !results || !query.select.order_by.iter().all(|term| of_one_row(&term.expr)) {
        return Err("a subquery aggregates");
    }
    let is_positive = |limit: &Limit| {
        limit.offset.is_none()
            && matches!(&*limit.expr, Expr::Literal(Literal::Numeric(text)) if text.parse().is_ok_and(|limit: u32| limit > 0))
    };
    if query.select.limit.as_ref().is_none_or(is_positive) {
        Ok(())
    } else {
        Err("LIMIT in a subquery is computed")
    }
}

/// Whether the rows of the only table are visited in the order of their keys, whatever index they are found by.
fn visits_in_order(query: &Query<'_>, search: Option<Search>) -> bool {
    let table = &query.joined[0].table;
    let found_by = search.and_then(|search| match search.first {
        KeyColumn::Position(position) => Some(position),
        KeyColumn::Rowid => None,
    });
    table.indexes.iter().all(|index| {
        let is_key = table.without_rowid && index.origin == IndexOrigin::PrimaryKey;
        let is_of_one_value =
            index.terms.len() == 1 && found_by.is_some() && index.terms[0].column == found_by;
        is_key || is_of_one_value
    })
}

/// The terms that put the rows of the only table in the order of their keys.
fn row_order(query: &Query<'_>) -> Vec<SortedColumn> {
    let terms = push::row_order(&query.joined[0].table).into_iter();
    terms
        .map(|term| {
            let mut expression = term.expression;
            ast::rewrite(&mut expression, &mut |part| match part {
                Expr::Id(name) => Some(Expr::Qualified(Name::from_string(inside(query.base)), name.clone())),
                _ => None,
            });
            let order = term.descending.then_some(SortOrder::Desc);
            SortedColumn { expr: Box::new(expression), order, nulls: term.nulls }
        })
        .collect()
}
