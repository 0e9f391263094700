//! A SELECT of one table with its names resolved: the form in which the rules look at it.

use std::sync::Arc;

use super::Why;
use super::expression::{check, is_constant, is_open_subquery};
use super::fragment::row_order;
use super::windows::{check_windows, without_windows};
use crate::ast::{
    self, Distinctness, Expr, FromClause, Literal, NullsOrder, OneSelect, ResultColumn, Select, SelectTable,
    SortOrder, SortedColumn,
};
use crate::functions;
use crate::plan::join;
use crate::plan::rules::{Rule, Rules};
use crate::route::{KeyColumn, Operand, Route};
use crate::scope::Scope;
use crate::table::Table;

/// A SELECT of one table. In its expressions each column is called by its own name, quoted, or by the
/// table's name for the rowid; names that the client gave to results are replaced by what they stand for;
/// parameters go by number.
#[derive(Clone, Debug)]
pub(super) struct OneTable {
    pub(super) table: Arc<Table>,
    pub(super) route: Route,
    pub(super) distinct: bool,
    pub(super) outputs: Vec<Expr>,
    pub(super) condition: Option<Expr>,
    pub(super) groups: Vec<Expr>,
    pub(super) having: Option<Expr>,
    pub(super) order: Vec<Term>,
    pub(super) limit: Option<Limit>,
}

/// A term of ORDER BY.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Term {
    pub(crate) expression: Expr,
    pub(crate) descending: bool,
    pub(crate) nulls: Option<NullsOrder>,
}

/// LIMIT and OFFSET.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) count: Operand,
    pub(super) offset: Option<Operand>,
    /// Both as SQL.
    pub(super) text: String,
}

impl OneTable {
    /// Reads a SELECT.
    pub(super) fn of(
        select: &Select,
        rules: Rules,
        find: &dyn Fn(&str) -> Option<Arc<Table>>,
    ) -> Result<OneTable, Why> {
        if select.with.is_some() {
            return Err("the statement has a WITH clause");
        }
        if !select.body.compounds.is_empty() {
            return Err("the statement is a compound");
        }
        let OneSelect::Select { from, window_clause, .. } = &select.body.select else {
            return Err("the statement is VALUES");
        };
        if !window_clause.is_empty() {
            return Err("the statement has windows");
        }
        let scope = single_scope(from.as_ref(), find)?;
        let table = Arc::clone(&scope.items[0].table);
        // Those of a join were looked at together with its tables.
        let local = match join::has_subqueries(select) && table.joined.is_none() {
            true if rules.has(Rule::LocalSubqueries) => {
                Some(join::of_one_table(select, &table, &scope.items[0].alias, find)?)
            }
            true => return Err("there is a subquery"),
            false => None,
        };
        OneTable::of_scope(local.as_ref().unwrap_or(select), &scope)
    }

    /// Reads a SELECT of the one table of a scope.
    fn of_scope(select: &Select, scope: &Scope) -> Result<OneTable, Why> {
        let OneSelect::Select { distinctness, columns, where_clause, group_by, .. } = &select.body.select
        else {
            return Err("the statement is VALUES");
        };
        let table = Arc::clone(&scope.items[0].table);
        let mut names = Names { scope, table: &table, aliases: Vec::new() };
        let outputs = names.outputs(columns)?;
        let conditions = where_clause.as_deref().map(ast::conjuncts).unwrap_or_default();
        let route =
            Route::of(&table, &conditions, &|expression| scope.resolve(expression).map(|(_, column)| column));
        let resolved = |expression: &Option<Box<Expr>>| {
            expression.as_deref().map(|expression| names.resolved(expression)).transpose()
        };
        let condition = resolved(where_clause)?;
        let (mut groups, mut having) = (Vec::new(), None);
        if let Some(group_by) = group_by {
            groups = names.groups(&group_by.exprs, &outputs)?;
            having = resolved(&group_by.having)?;
        }
        let order = select
            .order_by
            .iter()
            .map(|term| names.term(term, &outputs))
            .collect::<Result<Vec<Term>, Why>>()?;
        let distinct = *distinctness == Some(Distinctness::Distinct);
        let one = OneTable {
            route,
            distinct,
            outputs,
            condition,
            groups,
            having,
            order,
            limit: names.limit(select)?,
            table,
        };
        one.check()?;
        Ok(one)
    }

    fn check(&self) -> Result<(), Why> {
        for expression in self.condition.iter().chain(&self.groups) {
            check(expression, false)?;
        }
        check_windows(self)?;
        self.results().try_for_each(|expression| check(&without_windows(expression), true))
    }

    /// Whether partitions evaluate subqueries over its rows.
    pub(super) fn has_subqueries(&self) -> bool {
        let expressions = self.condition.iter().chain(&self.groups).chain(self.results());
        expressions.into_iter().any(|expression| ast::any(expression, &is_open_subquery))
    }

    /// The expressions that are evaluated on groups where there are groups.
    pub(super) fn results(&self) -> impl Iterator<Item = &Expr> {
        self.outputs.iter().chain(&self.having).chain(self.order.iter().map(|term| &term.expression))
    }
}

impl OneTable {
    /// Whether a function of time is over moments that the rows tell.
    pub(super) fn has_moments_of_rows(&self) -> bool {
        let expressions = self.condition.iter().chain(&self.groups).chain(self.results());
        expressions.into_iter().any(|expression| ast::any(expression, &functions::is_fixed_moment))
    }

    /// What puts groups in order that ORDER BY leaves equal. SQLite sorts rows to find the groups; where ORDER
    /// BY has as many terms, it sorts in the directions of these.
    pub(super) fn group_order(&self) -> Vec<Term> {
        let rows = row_order(&self.table);
        // Rows that come in order already are not sorted.
        let sorted = rows.iter().zip(&self.groups).any(|(row, group)| row.expression != *group);
        let follows = sorted && self.order.len() == self.groups.len();
        let falls = |index: usize| rows.get(index).is_some_and(|row| row.descending);
        let descending =
            |index: usize| if sorted { follows && self.order[index].descending } else { falls(index) };
        self.groups
            .iter()
            .enumerate()
            .map(|(index, group)| Term {
                expression: group.clone(),
                descending: descending(index),
                nulls: None,
            })
            .collect()
    }
}

fn single_scope(from: Option<&FromClause>, find: &dyn Fn(&str) -> Option<Arc<Table>>) -> Result<Scope, Why> {
    let from = from.ok_or("the statement has no table")?;
    if !from.joins.is_empty() {
        return Err("the statement joins");
    }
    if matches!(*from.select, SelectTable::Table(_, _, Some(_))) {
        return Err("the statement names an index");
    }
    let SelectTable::Table(name, alias, None) = &*from.select else {
        return Err("the statement reads something else than a table");
    };
    let main = name.namespace.as_ref().is_none_or(|space| space.as_str().eq_ignore_ascii_case("main"));
    let table = find(name.name.as_str()).filter(|_| main);
    let table = table.ok_or("the statement reads something else than a table")?;
    if table.reference {
        return Err("every bucket has all rows");
    }
    if table.rowid_name.is_none() && table.primary_key.is_empty() {
        return Err("the table's rows have no order");
    }
    Ok(Scope::single(table, alias.as_ref().map(|alias| alias.name().as_str())))
}

/// Resolves names as SQLite does.
struct Names<'a> {
    scope: &'a Scope,
    table: &'a Table,
    /// Results with names that the client gave them.
    aliases: Vec<(String, Expr)>,
}

impl Names<'_> {
    fn outputs(&mut self, columns: &[ResultColumn]) -> Result<Vec<Expr>, Why> {
        let mut outputs = Vec::new();
        let mut aliases = Vec::new();
        for column in columns {
            match column {
                ResultColumn::Expr(expression, alias) => {
                    let resolved = self.resolved(expression)?;
                    if let Some(alias) = alias.as_ref().filter(|alias| alias.is_explicit()) {
                        aliases.push((alias.name().as_str().to_owned(), resolved.clone()));
                    }
                    outputs.push(resolved);
                }
                // There is one table, so the qualifier is its name.
                ResultColumn::Star | ResultColumn::TableStar(_) => {
                    outputs.extend(
                        self.table.columns.iter().map(|column| Expr::Id(ast::quoted_name(&column.name))),
                    );
                }
            }
        }
        self.aliases = aliases;
        Ok(outputs)
    }

    fn column(&self, column: KeyColumn) -> Option<Expr> {
        column.name(self.table).map(Expr::Id)
    }

    fn alias(&self, expression: &Expr) -> Option<&Expr> {
        let Expr::Id(name) = ast::bare(expression) else { return None };
        self.aliases
            .iter()
            .find(|(alias, _)| alias.eq_ignore_ascii_case(name.as_str()))
            .map(|(_, expression)| expression)
    }

    /// With a column's name before a result's.
    fn resolved(&self, expression: &Expr) -> Result<Expr, Why> {
        let mut resolved = expression.clone();
        let mut unknown = false;
        ast::rewrite(&mut resolved, &mut |part| match part {
            Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) | Expr::DoublyQualified(..) => {
                let found = match self.scope.resolve(part) {
                    Some((_, column)) => self.column(column),
                    None => self.alias(part).map(|known| Expr::Parenthesized(vec![Box::new(known.clone())])),
                };
                unknown |= found.is_none();
                found
            }
            Expr::Variable(variable) => Some(ast::parameter(variable.index.get() as usize)),
            _ => None,
        });
        ast::rewrite(&mut resolved, &mut functions::fixed_moment);
        if unknown { Err("a name is no column of the table") } else { Ok(resolved) }
    }

    fn limit(&self, select: &Select) -> Result<Option<Limit>, Why> {
        let Some(limit) = &select.limit else { return Ok(None) };
        let operand = |expression: &Expr| Operand::of(expression).ok_or("LIMIT is computed");
        let count = operand(&limit.expr)?;
        let mut text = format!("LIMIT {}", self.resolved(&limit.expr)?);
        let mut offset = None;
        if let Some(expression) = limit.offset.as_deref() {
            offset = Some(operand(expression)?);
            text.push_str(&format!(" OFFSET {}", self.resolved(expression)?));
        }
        Ok(Some(Limit { count, offset, text }))
    }

    fn groups(&self, groups: &[Box<Expr>], outputs: &[Expr]) -> Result<Vec<Expr>, Why> {
        groups
            .iter()
            .map(|group| match position(group, outputs)? {
                Some(output) => Ok(output.clone()),
                None => self.resolved(group),
            })
            .map(|group| group.and_then(without_constants))
            .collect()
    }

    fn term(&self, term: &SortedColumn, outputs: &[Expr]) -> Result<Term, Why> {
        let named = match position(&term.expr, outputs)? {
            Some(output) => Some(output),
            None => self.alias(&term.expr),
        };
        let expression = match named {
            Some(output) => output.clone(),
            None => self.resolved(&term.expr)?,
        };
        Ok(Term {
            expression: without_constants(expression)?,
            descending: term.order == Some(SortOrder::Desc),
            nulls: term.nulls,
        })
    }
}

/// The result that a term names by its number.
fn position<'a>(term: &Expr, outputs: &'a [Expr]) -> Result<Option<&'a Expr>, Why> {
    let Expr::Literal(Literal::Numeric(text)) = ast::bare(term) else { return Ok(None) };
    let number: usize = text.parse().map_err(|_| "a term is a constant")?;
    let output = number.checked_sub(1).and_then(|index| outputs.get(index));
    output.map(Some).ok_or("a term is a constant")
}

/// A constant would be read as the number of a result.
fn without_constants(term: Expr) -> Result<Expr, Why> {
    if is_constant(&term) { Err("a term is a constant") } else { Ok(term) }
}
