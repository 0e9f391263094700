//! Names of a FROM clause: which table a column belongs to.

use std::sync::Arc;

use crate::ast::{
    self, Expr, FromClause, JoinConstraint, JoinOperator, JoinType, OneSelect, ResultColumn, Select,
    SelectTable,
};
use crate::route::KeyColumn;
use crate::table::Table;

/// A table as it stands in a FROM clause.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// What it is called there.
    pub(crate) alias: String,
    pub(crate) table: Arc<Table>,
    /// Whether a join may supply NULLs in place of its rows, so that a condition on the joined rows says
    /// nothing about which of its rows are needed.
    pub(crate) nullable: bool,
}

/// The tables of one FROM clause.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) items: Vec<Item>,
}

impl Scope {
    /// One table, as in UPDATE and DELETE.
    pub(crate) fn single(table: Arc<Table>, alias: Option<&str>) -> Scope {
        let alias = alias.unwrap_or(&table.name).to_owned();
        Scope { items: vec![Item { alias, table, nullable: false }] }
    }

    /// The scope of a FROM clause made of base tables alone; `None` if there is anything else in it.
    pub(crate) fn of(from: &FromClause, find: &dyn Fn(&str) -> Option<Arc<Table>>) -> Option<Scope> {
        let mut items = vec![item(&from.select, find)?];
        for join in &from.joins {
            let mut joined = item(&join.table, find)?;
            if let JoinOperator::TypedJoin(Some(kind)) = join.operator {
                if kind.contains(JoinType::RIGHT)
                    || (kind.contains(JoinType::OUTER) && !kind.contains(JoinType::LEFT))
                {
                    items.iter_mut().for_each(|item| item.nullable = true);
                }
                if kind.intersects(JoinType::LEFT | JoinType::OUTER) {
                    joined.nullable = true;
                }
            }
            items.push(joined);
        }
        Some(Scope { items })
    }

    /// The table and column that an expression names, if it is a name and there is no doubt.
    pub(crate) fn resolve(&self, expression: &Expr) -> Option<(usize, KeyColumn)> {
        match expression {
            Expr::Id(name) | Expr::Name(name) => {
                let name = name.as_str();
                let mut owners = self
                    .items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| Some((index, column(&item.table, name)?)));
                let found = owners.next()?;
                owners.next().is_none().then_some(found)
            }
            Expr::Qualified(qualifier, name) => {
                let mut owners = self
                    .items
                    .iter()
                    .enumerate()
                    .filter(|(_, item)| item.alias.eq_ignore_ascii_case(qualifier.as_str()));
                let (index, item) = owners.next()?;
                if owners.next().is_some() {
                    return None;
                }
                Some((index, column(&item.table, name.as_str())?))
            }
            _ => None,
        }
    }
}

fn column(table: &Table, name: &str) -> Option<KeyColumn> {
    match table.column(name) {
        Some(position) => Some(KeyColumn::Position(position)),
        None => table.names_rowid(name).then_some(KeyColumn::Rowid),
    }
}

fn item(table: &SelectTable, find: &dyn Fn(&str) -> Option<Arc<Table>>) -> Option<Item> {
    let SelectTable::Table(name, alias, _) = table else { return None };
    let main = name.namespace.as_ref().is_none_or(|space| space.as_str().eq_ignore_ascii_case("main"));
    if !main {
        return None;
    }
    let table = find(name.name.as_str())?;
    let alias = alias.as_ref().map_or_else(|| table.name.clone(), |alias| alias.name().as_str().to_owned());
    Some(Item { alias, table, nullable: false })
}

/// The conditions that every joined row passes: WHERE, and ON of inner joins.
pub(crate) fn conditions<'a>(from: Option<&'a FromClause>, where_clause: Option<&'a Expr>) -> Vec<&'a Expr> {
    let mut conditions = where_clause.map(ast::conjuncts).unwrap_or_default();
    let joins = from.map(|from| from.joins.as_slice()).unwrap_or_default();
    let outer = |operator: &JoinOperator| {
        matches!(operator, JoinOperator::TypedJoin(Some(kind))
            if kind.intersects(JoinType::LEFT | JoinType::RIGHT | JoinType::OUTER))
    };
    if joins.iter().any(|join| outer(&join.operator)) {
        return conditions;
    }
    for join in joins {
        if let Some(JoinConstraint::On(condition)) = &join.constraint {
            conditions.extend(ast::conjuncts(condition));
        }
    }
    conditions
}

/// All expressions of a SELECT without a compound, a WITH clause or window definitions; `None` if it has one.
pub(crate) fn expressions(select: &Select) -> Option<Vec<&Expr>> {
    if select.with.is_some() || !select.body.compounds.is_empty() {
        return None;
    }
    let OneSelect::Select { columns, from, where_clause, group_by, window_clause, .. } = &select.body.select
    else {
        return None;
    };
    if !window_clause.is_empty() {
        return None;
    }
    let mut found = result_expressions(columns);
    found.extend(where_clause.iter().map(AsRef::as_ref));
    for join in from.iter().flat_map(|from| &from.joins) {
        if let Some(JoinConstraint::On(condition)) = &join.constraint {
            found.push(condition);
        }
    }
    if let Some(group) = group_by {
        found.extend(group.exprs.iter().map(AsRef::as_ref));
        found.extend(group.having.iter().map(AsRef::as_ref));
    }
    found.extend(select.order_by.iter().map(|term| term.expr.as_ref()));
    if let Some(limit) = &select.limit {
        found.push(&limit.expr);
        found.extend(limit.offset.iter().map(AsRef::as_ref));
    }
    // The window of a function call is not walked.
    let windowed = |expression: &Expr| match expression {
        Expr::FunctionCall { filter_over, .. } | Expr::FunctionCallStar { filter_over, .. } => {
            filter_over.over_clause.is_some()
        }
        _ => false,
    };
    if found.iter().any(|expression| ast::any(expression, &windowed)) { None } else { Some(found) }
}

/// The expressions of a result list or a RETURNING clause.
pub(crate) fn result_expressions(columns: &[ResultColumn]) -> Vec<&Expr> {
    columns
        .iter()
        .filter_map(|column| match column {
            ResultColumn::Expr(expression, _) => Some(expression.as_ref()),
            ResultColumn::Star | ResultColumn::TableStar(_) => None,
        })
        .collect()
}
