//! Which buckets a statement can touch, from conditions on the partition key.
//!
//! A condition counts only where the stored value it asks for is beyond doubt: after the column's affinity
//! and under its collation. Otherwise it is left out, which means more buckets, never fewer.

use std::collections::BTreeSet;

use common::Value;
use common::catalog::Database;
use common::hash::Collation;
use common::partition_map::{PartitionMethod, buckets_of_key_range};
use common::value::Affinity;

use crate::ast::{self, Expr, Operator};
use crate::table::{Key, Table, bucket_of, bucket_of_reference};

/// More combinations of key values than this are not told apart.
const COMBINATIONS_MAX: usize = 4_096;

/// A value known when the statement runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Constant(Value),
    /// By the number that SQLite gives it, from 0.
    Parameter(usize),
}

impl Operand {
    /// The operand that an expression is, if it is one.
    pub(crate) fn of(expression: &Expr) -> Option<Operand> {
        if let Some(value) = ast::literal(expression) {
            return Some(Operand::Constant(value));
        }
        match ast::bare(expression) {
            // Named ones are numbered too, in the order of their first use, as SQLite does.
            Expr::Variable(variable) => Some(Operand::Parameter(variable.index.get() as usize - 1)),
            _ => None,
        }
    }

    /// Its value; `None` if the request does not give it (the statement is refused for that).
    pub(crate) fn value(&self, params: &[Value]) -> Option<Value> {
        match self {
            Operand::Constant(value) => Some(value.clone()),
            Operand::Parameter(index) => params.get(*index).cloned(),
        }
    }
}

/// A condition on one column of the key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// The column equals one of these.
    In(Vec<Operand>),
    AtLeast(Operand),
    AtMost(Operand),
}

/// Conditions on the columns of a table's key; all hold for every row that the statement touches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Route {
    /// (position in the key, test)
    pub(crate) tests: Vec<(usize, Test)>,
    /// If there are any, every row that the statement touches passes one of them as well.
    alternatives: Vec<Route>,
    /// Whether the statement touches no row.
    nowhere: bool,
}

/// How an expression refers to a column of the table in question.
pub(crate) type Resolve<'a> = dyn Fn(&Expr) -> Option<KeyColumn> + 'a;

/// A column as a condition names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyColumn {
    Rowid,
    Position(usize),
}

impl KeyColumn {
    /// What a table calls it on its own partitions; `None` for a rowid that has no name left.
    pub(crate) fn name(self, table: &Table) -> Option<ast::Name> {
        Some(match self {
            KeyColumn::Rowid => ast::Name::from_string(table.rowid_name?),
            KeyColumn::Position(position) => ast::quoted_name(&table.columns[position].name),
        })
    }
}

impl Route {
    /// Reads the conditions out of conjuncts.
    pub(crate) fn of(table: &Table, conjuncts: &[&Expr], resolve: &Resolve<'_>) -> Route {
        let mut tests = Vec::new();
        for conjunct in conjuncts {
            for (column, test) in tests_of(ast::bare(conjunct), resolve) {
                tests.extend(key_position(table, column).map(|position| (position, test)));
            }
        }
        Route { tests, ..Route::default() }
    }

    /// The route of a statement that names a table and reads nothing of it.
    pub(crate) fn nowhere() -> Route {
        Route { nowhere: true, ..Route::default() }
    }

    /// The route to rows whose column has one of some values.
    pub(crate) fn among(table: &Table, column: KeyColumn, values: &[Operand]) -> Route {
        let position = key_position(table, column);
        let tests = position.map(|position| (position, Test::In(values.to_vec()))).into_iter().collect();
        Route { tests, ..Route::default() }
    }

    /// The route to rows that any of some routes leads to.
    pub(crate) fn either(mut routes: Vec<Route>) -> Route {
        routes.dedup();
        if routes.len() == 1 {
            return routes.remove(0);
        }
        let anywhere = routes.iter().any(Route::leads_anywhere);
        Route { alternatives: if anywhere { Vec::new() } else { routes }, ..Route::default() }
    }

    /// Whether no condition chooses buckets.
    pub(crate) fn leads_anywhere(&self) -> bool {
        self.tests.is_empty() && self.alternatives.is_empty() && !self.nowhere
    }

    /// The buckets that may hold rows which pass, in order. Of a reference table, one that has them all.
    pub(crate) fn buckets(&self, database: &Database, table: &Table, params: &[Value]) -> Vec<usize> {
        let all = || (0..database.buckets.len()).collect();
        if self.nowhere {
            return Vec::new();
        }
        if database.buckets.len() == 1 {
            return vec![0];
        }
        if table.reference {
            return vec![bucket_of_reference(database, table)];
        }
        if !self.alternatives.is_empty() {
            let led = self.alternatives.iter().flat_map(|route| route.buckets(database, table, params));
            return led.collect::<BTreeSet<usize>>().into_iter().collect();
        }
        if let Some(exact) = self.exact(database, table, params) {
            return exact;
        }
        if database.method == PartitionMethod::Range {
            return self.between(database, table, params);
        }
        all()
    }

    /// The keys, as stored, that a row must have one of to pass; `None` if they are not known.
    pub(crate) fn keys(&self, table: &Table, params: &[Value]) -> Option<Vec<Vec<Value>>> {
        if self.nowhere {
            return Some(Vec::new());
        }
        if self.alternatives.is_empty() {
            return self.equal(table, width(table), params);
        }
        let led = self.alternatives.iter().map(|route| route.keys(table, params));
        Some(led.collect::<Option<Vec<_>>>()?.concat())
    }

    /// By equality on every column of the key.
    fn exact(&self, database: &Database, table: &Table, params: &[Value]) -> Option<Vec<usize>> {
        // Range partitioning looks at the first value alone.
        let width = if database.method == PartitionMethod::Range { 1 } else { width(table) };
        let keys = self.equal(table, width, params)?;
        let buckets: BTreeSet<usize> = keys.iter().map(|key| bucket_of(database, key)).collect();
        Some(buckets.into_iter().collect())
    }

    /// The values that the first columns of the key must have one combination of.
    fn equal(&self, table: &Table, width: usize, params: &[Value]) -> Option<Vec<Vec<Value>>> {
        let mut keys: Vec<Vec<Value>> = vec![Vec::new()];
        for position in 0..width {
            let values = self.tests.iter().find_map(|(at, test)| match test {
                Test::In(operands) if *at == position => operands
                    .iter()
                    .map(|operand| stored(table, position, operand.value(params)?))
                    .collect::<Option<Vec<Value>>>(),
                _ => None,
            })?;
            if keys.len() * values.len() > COMBINATIONS_MAX {
                return None;
            }
            keys = keys
                .iter()
                .flat_map(|key| {
                    values.iter().map(|value| {
                        let mut longer = key.clone();
                        longer.push(value.clone());
                        longer
                    })
                })
                .collect();
        }
        Some(keys)
    }

    /// By bounds on the first column of the key.
    fn between(&self, database: &Database, table: &Table, params: &[Value]) -> Vec<usize> {
        let bound = |wanted: fn(&Test) -> Option<&Operand>| {
            self.tests
                .iter()
                .filter(|(position, _)| *position == 0)
                .filter_map(|(_, test)| wanted(test))
                .find_map(|operand| stored(table, 0, operand.value(params)?))
        };
        let low = bound(|test| match test {
            Test::AtLeast(operand) => Some(operand),
            _ => None,
        });
        let high = bound(|test| match test {
            Test::AtMost(operand) => Some(operand),
            _ => None,
        });
        let found = buckets_of_key_range(&database.buckets, low.as_ref(), high.as_ref());
        // An empty range still needs somebody to say that there are no rows.
        if found.is_empty() { vec![0] } else { found }
    }
}

/// How many values the table's key has.
fn width(table: &Table) -> usize {
    match &table.key {
        Key::Rowid => 1,
        Key::Columns(columns) => columns.len(),
    }
}

/// Where a column stands in the table's key.
fn key_position(table: &Table, column: KeyColumn) -> Option<usize> {
    match (&table.key, column) {
        (Key::Rowid, KeyColumn::Rowid) => Some(0),
        (Key::Rowid, KeyColumn::Position(position)) => (table.rowid_alias == Some(position)).then_some(0),
        (Key::Columns(columns), KeyColumn::Position(position)) => {
            columns.iter().position(|&column| column == position)
        }
        (Key::Columns(_), KeyColumn::Rowid) => None,
    }
}

/// The value as the key's column stores and compares it, or `None` if only SQLite can say.
fn stored(table: &Table, position: usize, value: Value) -> Option<Value> {
    let (affinity, collation) = match &table.key {
        Key::Rowid => (Affinity::Integer, Some(Collation::Binary)),
        Key::Columns(columns) => {
            let column = &table.columns[columns[position]];
            (column.affinity, column.known_collation())
        }
    };
    Some(collation?.fold(affinity.apply(&value)?))
}

fn tests_of(condition: &Expr, resolve: &Resolve<'_>) -> Vec<(KeyColumn, Test)> {
    match condition {
        Expr::Binary(left, operator, right) => {
            let (column, operand, operator) =
                if let (Some(column), Some(operand)) = (resolve(ast::bare(left)), Operand::of(right)) {
                    (column, operand, *operator)
                } else if let (Some(operand), Some(column)) = (Operand::of(left), resolve(ast::bare(right))) {
                    (column, operand, turned(*operator))
                } else {
                    return Vec::new();
                };
            let test = match operator {
                Operator::Equals | Operator::Is => Test::In(vec![operand]),
                Operator::Greater | Operator::GreaterEquals => Test::AtLeast(operand),
                Operator::Less | Operator::LessEquals => Test::AtMost(operand),
                _ => return Vec::new(),
            };
            vec![(column, test)]
        }
        Expr::InList { lhs, not: false, rhs } if !rhs.is_empty() => {
            let operands = rhs.iter().map(|item| Operand::of(item)).collect::<Option<Vec<_>>>();
            match (resolve(ast::bare(lhs)), operands) {
                (Some(column), Some(operands)) => vec![(column, Test::In(operands))],
                _ => Vec::new(),
            }
        }
        Expr::Between { lhs, not: false, start, end } => {
            let Some(column) = resolve(ast::bare(lhs)) else { return Vec::new() };
            let low = Operand::of(start).map(|operand| (column, Test::AtLeast(operand)));
            let high = Operand::of(end).map(|operand| (column, Test::AtMost(operand)));
            low.into_iter().chain(high).collect()
        }
        _ => Vec::new(),
    }
}

/// The operator with its sides exchanged.
fn turned(operator: Operator) -> Operator {
    match operator {
        Operator::Greater => Operator::Less,
        Operator::GreaterEquals => Operator::LessEquals,
        Operator::Less => Operator::Greater,
        Operator::LessEquals => Operator::GreaterEquals,
        other => other,
    }
}
