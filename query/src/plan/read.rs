//! Plans of SELECT.

use std::sync::Arc;

use common::Value;
use common::catalog::Database;

use super::{PlanNode, Source, describe};
use crate::ast::{self, Expr, OneSelect, Operator, Select};
use crate::filter::Filter;
use crate::route::{KeyColumn, Route, Test};
use crate::scope::{self, Scope};
use crate::shadow::Checked;
use crate::table::{Key, Table};

/// How rows are read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    /// What to gather, one per table.
    pub(crate) sources: Vec<Source>,
    /// Where the statement is nothing but a join of tables: their routes. If all of them lead to one
    /// bucket, the statement can be answered there.
    routes: Vec<(Arc<Table>, Route)>,
}

impl Read {
    /// The one bucket that can answer the client's text by itself.
    pub(crate) fn single(&self, database: &Database, params: &[Value]) -> Option<usize> {
        let mut found = None;
        for (table, route) in &self.routes {
            let buckets = route.buckets(database, table, params);
            let &[bucket] = buckets.as_slice() else { return None };
            if found.is_some_and(|other| other != bucket) {
                return None;
            }
            found = Some(bucket);
        }
        found
    }

    pub(crate) fn describe(&self, database: &Database, params: &[Value]) -> PlanNode {
        if let Some(bucket) = self.single(database, params) {
            return PlanNode::single(database, bucket);
        }
        let why_not_single = if self.routes.is_empty() {
            "not one partition: the statement is more than a join of tables"
        } else {
            "not one partition: no condition on the partition key leaves a single one"
        };
        describe::gather("MERGE", &self.sources, database, params).over([PlanNode::why(why_not_single)])
    }
}

/// Plans a SELECT; `select` is `None` if only SQLite understands it.
pub(crate) fn plan_read(
    select: Option<&Select>,
    checked: &Checked,
    find: &dyn Fn(&str) -> Option<Arc<Table>>,
) -> Read {
    let plain: Vec<Source> = checked
        .tables
        .iter()
        .filter_map(|(name, usage)| {
            let table = find(name)?;
            let columns = usage.positions(&table);
            Some(Source { columns, ..Source::whole(&table) })
        })
        .collect();
    match select.and_then(|select| joined_tables(select, checked, find)) {
        Some((scope, conditions)) => narrowed(plain, &scope, &conditions),
        None => Read { sources: plain, routes: Vec::new() },
    }
}

/// The tables and conditions of a SELECT that is nothing but a join of base tables.
fn joined_tables<'a>(
    select: &'a Select,
    checked: &Checked,
    find: &dyn Fn(&str) -> Option<Arc<Table>>,
) -> Option<(Scope, Vec<&'a Expr>)> {
    let expressions = scope::expressions(select)?;
    if expressions.iter().any(|expression| ast::any(expression, &ast::is_subquery)) {
        return None;
    }
    let OneSelect::Select { from, where_clause, .. } = &select.body.select else { return None };
    let scope = Scope::of(from.as_ref()?, find)?;
    let named = |name: &str| scope.items.iter().any(|item| item.table.name.eq_ignore_ascii_case(name));
    if !checked.tables.keys().all(|name| named(name)) {
        return None;
    }
    Some((scope, scope::conditions(from.as_ref(), where_clause.as_deref())))
}

fn narrowed(mut sources: Vec<Source>, scope: &Scope, conditions: &[&Expr]) -> Read {
    let mut routes: Vec<Route> = (0..scope.items.len())
        .map(|item| {
            Route::of(&scope.items[item].table, conditions, &|expression| {
                scope.resolve(expression).filter(|(owner, _)| *owner == item).map(|(_, column)| column)
            })
        })
        .collect();
    follow_joins(scope, conditions, &mut routes);
    for source in &mut sources {
        let mut uses = (0..scope.items.len())
            .filter(|&item| scope.items[item].table.name.eq_ignore_ascii_case(&source.table.name));
        let (Some(item), None) = (uses.next(), uses.next()) else { continue };
        if scope.items[item].nullable {
            continue;
        }
        source.route = routes[item].clone();
        source.filters =
            conditions.iter().filter_map(|condition| Filter::of(condition, scope, item)).collect();
    }
    let routes = scope.items.iter().map(|item| Arc::clone(&item.table)).zip(routes).collect();
    Read { sources, routes }
}

/// Where `a.key = b.key` holds, values asked of one key are asked of the other.
fn follow_joins(scope: &Scope, conditions: &[&Expr], routes: &mut [Route]) {
    for condition in conditions {
        let Expr::Binary(left, Operator::Equals, right) = ast::bare(condition) else { continue };
        let (Some(left), Some(right)) = (scope.resolve(ast::bare(left)), scope.resolve(ast::bare(right)))
        else {
            continue;
        };
        let same = comparison(&scope.items[left.0].table, left.1);
        if same.is_none() || same != comparison(&scope.items[right.0].table, right.1) {
            continue;
        }
        let known = |route: &Route| route.tests.iter().find(|(_, test)| matches!(test, Test::In(_))).cloned();
        match (known(&routes[left.0]), known(&routes[right.0])) {
            (Some(test), None) => routes[right.0].tests.push(test),
            (None, Some(test)) => routes[left.0].tests.push(test),
            _ => {}
        }
    }
}

/// How a table's key compares, if the column is the whole key.
fn comparison(
    table: &Table,
    column: KeyColumn,
) -> Option<(common::value::Affinity, common::hash::Collation)> {
    use common::hash::Collation;
    use common::value::Affinity;
    match (&table.key, column) {
        (Key::Rowid, KeyColumn::Rowid) => Some((Affinity::Integer, Collation::Binary)),
        (Key::Rowid, KeyColumn::Position(position)) if table.rowid_alias == Some(position) => {
            Some((Affinity::Integer, Collation::Binary))
        }
        (Key::Columns(columns), KeyColumn::Position(position)) if columns.as_slice() == [position] => {
            let column = &table.columns[position];
            Some((column.affinity, column.known_collation()?))
        }
        _ => None,
    }
}
