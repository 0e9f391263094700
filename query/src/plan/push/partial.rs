//! Groups and sets of which each partition computes its part: aggregates, GROUP BY, DISTINCT.
//!
//! A part is one group of one partition. It carries the key of the row that stands for it: the group's first
//! row, or the one that `min` or `max` took its value from, because that row's values are the group's where
//! the client asks for columns that are no aggregate, and for `1` where the group holds `1` and `1.0`. The
//! merging SQLite keeps the parts in the order of these keys, so that it meets them as one file meets the rows.

use std::fmt::Write as _;
use std::sync::Arc;

use common::Value;
use common::hash::Collation;
use common::protocol::{Params, Statement};
use sqlite::schema::Table as Definition;

use super::Why;
use super::expression::{Call, affinity, calls, collation, column, is_ambiguous, is_constant, parameters};
use super::fragment::{Fragment, list, row_order, terms};
use super::one_table::{Limit, OneTable, Term};
use super::ordered::integer;
use crate::ast::{self, Expr};
use crate::functions::Aggregate;
use crate::plan::rules::{Rule, Rules};
use crate::route::{Operand, Route};
use crate::table::Table;

/// What the parts are called in the merging SQLite.
const PARTS: &str = "parts";

/// A plan whose parts are merged.
#[derive(Clone, Debug)]
pub(crate) struct Partial {
    pub(crate) table: Arc<Table>,
    pub(crate) route: Route,
    /// The text for the partitions, without LIMIT, and the parameters of the client that it uses.
    fragment: String,
    parameters: usize,
    /// Whether parts begin with the row that stands for them.
    has_rows: bool,
    /// What the parts are, as a relation whose rows begin with the row that stands for the part.
    pub(crate) parts: Arc<Table>,
    /// The text that merges them, and the parameters of the client that it uses.
    merge: String,
    merge_parameters: usize,
    /// LIMIT, where the first parts of each partition are enough.
    limit: Option<Limit>,
}

/// A [`Partial`] plan with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct PartialRun {
    /// What each partition runs.
    pub(crate) fragment: Statement,
    /// What merges the parts.
    pub(crate) merge: Statement,
}

/// Whether results are computed from groups of rows.
pub(super) fn has_groups(one: &OneTable) -> bool {
    !one.groups.is_empty()
        || one.having.is_some()
        || one.results().any(|expression| ast::any(expression, &|part| Call::of(part).is_some()))
}

/// Whether it matters which row of a group stands for it.
pub(super) fn shows_rows(one: &OneTable) -> bool {
    one.results().any(|expression| shows_row(expression, one))
}

fn shows_row(expression: &Expr, one: &OneTable) -> bool {
    if Call::of(expression).is_some() {
        return false;
    }
    if matches!(expression, Expr::Id(_)) {
        let found = column(expression, &one.table);
        let is_key = one.groups.iter().any(|group| column(group, &one.table) == found);
        return !is_key || is_ambiguous(expression, &one.table);
    }
    if one.groups.contains(expression) && !is_ambiguous(expression, &one.table) {
        return false;
    }
    ast::children(expression).into_iter().any(|child| shows_row(child, one))
}

impl Partial {
    /// Plans the parts.
    pub(super) fn of(one: &OneTable, rules: Rules) -> Result<Partial, Why> {
        let rule = if has_groups(one) { Rule::PartialAggregates } else { Rule::Distinct };
        if !rules.has(rule) {
            return Err("the rule is turned off");
        }
        let order = row_order(&one.table);
        let [row] = order.as_slice() else { return Err("the table's key has several columns") };
        let parts = if has_groups(one) { Parts::of_groups(one, row)? } else { Parts::of_rows(one, row)? };
        let limit = one.limit.clone().filter(|_| rules.has(Rule::Limit) && parts.first_are_enough);
        let merge_parameters = parts.merge_parameters;
        let mut fragment = parts.fragment;
        if limit.is_none() {
            fragment.order = parts.row.clone().map(plain).into_iter().collect();
        }
        Ok(Partial {
            table: Arc::clone(&one.table),
            route: one.route.clone(),
            parameters: fragment.expressions().map(parameters).max().unwrap_or(0),
            fragment: fragment.text(),
            has_rows: parts.row.is_some(),
            parts: Arc::new(Table::new(parts.columns.definition(&one.table), None)),
            merge: parts.merge,
            merge_parameters,
            limit,
        })
    }

    /// With the request's parameters; `None` if SQLite should judge them.
    pub(crate) fn bind(&self, values: &[Value]) -> Option<PartialRun> {
        let mut params = values.get(..self.parameters)?.to_vec();
        let mut sql = self.fragment.clone();
        if let Some(limit) = &self.limit {
            let count = u64::try_from(integer(&limit.count, values)?).ok();
            let offset = match &limit.offset {
                Some(offset) => u64::try_from(integer(offset, values)?).unwrap_or(0),
                None => 0,
            };
            let wanted = count.and_then(|count| i64::try_from(count.checked_add(offset)?).ok());
            if let Some(wanted) = wanted {
                params.push(wanted.into());
                let _ = write!(sql, " LIMIT ?{}", params.len());
            }
            // Parts are merged in the order of the rows that stand for them.
            if self.has_rows {
                sql = format!("SELECT * FROM ({sql}) ORDER BY 1");
            }
        }
        if !self.has_rows {
            sql = format!("SELECT NULL, * FROM ({sql})");
        }
        Some(PartialRun {
            fragment: statement(sql, params),
            merge: statement(self.merge.clone(), values.get(..self.merge_parameters)?.to_vec()),
        })
    }
}

fn statement(sql: String, params: Vec<Value>) -> Statement {
    let params = if params.is_empty() { Params::None } else { Params::Positional(params) };
    Statement { sql, params }
}

/// The fragment's columns after the row that stands for the part.
#[derive(Default)]
struct Columns {
    /// Expression, declared type, collation.
    parts: Vec<(Expr, &'static str, Collation)>,
}

impl Columns {
    /// The name of a column; equal expressions share one.
    fn add(&mut self, expression: Expr, declared: &'static str, collation: Collation) -> String {
        let found = self.parts.iter().position(|(known, ..)| *known == expression);
        let index = found.unwrap_or_else(|| {
            self.parts.push((expression, declared, collation));
            self.parts.len() - 1
        });
        format!("p{index}")
    }

    /// A column whose value is that of an expression on the row that stands for the part.
    fn row_value(&mut self, expression: &Expr, table: &Table) -> Result<String, Why> {
        let declared = match column(expression, table) {
            Some(Some(position)) => affinity(position, table).declared_type(),
            Some(None) => "INTEGER",
            None => "",
        };
        let collation = collation(expression, table).ok_or("a collation is unknown")?;
        Ok(self.add(expression.clone(), declared, collation))
    }

    /// A column of computed values that compare under a collation.
    fn untyped(&mut self, evaluated: Expr, collation: Collation) -> String {
        self.add(evaluated, "", collation)
    }

    fn definition(&self, table: &Table) -> Definition {
        let columns = self
            .parts
            .iter()
            .enumerate()
            .map(|(index, (_, declared, collation))| (format!("p{index}"), *declared, *collation));
        if table.without_rowid {
            let key = &table.columns[table.primary_key[0]];
            let collation = key.known_collation().unwrap_or_default();
            let key_type = affinity(table.primary_key[0], table).declared_type();
            let key = ("row".to_owned(), key_type, collation);
            return Definition::keyed(PARTS, std::iter::once(key).chain(columns));
        }
        Definition::plain(PARTS, columns)
    }
}

/// The two texts and what lies between them.
struct Parts {
    fragment: Fragment,
    /// The row that stands for a part, if that matters.
    row: Option<Expr>,
    columns: Columns,
    merge: String,
    merge_parameters: usize,
    /// Whether the first parts of each partition make the first rows of the answer.
    first_are_enough: bool,
}

impl Parts {
    /// SELECT DISTINCT of rows: groups of equal rows.
    fn of_rows(one: &OneTable, row: &Expr) -> Result<Parts, Why> {
        let mut columns = Columns::default();
        let mut fragment = Fragment::of_rows(one);
        let mut outputs = Vec::new();
        for output in &one.outputs {
            outputs.push(columns.row_value(output, &one.table)?);
            if !is_constant(output) && !fragment.groups.contains(output) {
                fragment.groups.push(output.clone());
            }
        }
        if fragment.groups.is_empty() {
            return Err("all results are constants");
        }
        fragment.in_row_order = shows_first_met(&fragment.groups, one);
        // SQLite may sort before it tells rows apart, and then another of equal rows is the first.
        let sorts_first = !one.order.is_empty() && one.order.len() == one.outputs.len();
        if sorts_first && one.outputs.iter().any(|output| is_ambiguous(output, &one.table)) {
            return Err("ORDER BY decides which of equal rows is shown");
        }
        let order = one
            .order
            .iter()
            .map(|term| {
                let name = columns.row_value(&term.expression, &one.table)?;
                Ok(Term { expression: Expr::Id(ast::Name::from_string(name)), ..term.clone() })
            })
            .collect::<Result<Vec<Term>, Why>>()?;
        // Rows that are sorted by all that they show need no other order.
        let sorted = |output: &Expr| one.order.iter().any(|term| term.expression == *output);
        let is_sorted = one.order.iter().all(|term| one.outputs.contains(&term.expression))
            && fragment.groups.iter().all(|group| sorted(group) && !is_ambiguous(group, &one.table));
        let row = (!is_sorted || one.table.without_rowid).then(|| call("min", row));
        let values = columns.parts.iter().map(|(expression, ..)| expression.clone());
        fragment.columns = row.iter().cloned().chain(values).collect();
        fragment.order = one.order.iter().cloned().chain(row.clone().map(plain)).collect();
        let mut merge = format!("SELECT DISTINCT {} FROM {PARTS}", outputs.join(", "));
        finish(&mut merge, &order, one.limit.as_ref());
        Ok(Parts {
            first_are_enough: one.order.iter().all(|term| one.outputs.contains(&term.expression)),
            merge_parameters: limit_parameters(one),
            row,
            fragment,
            columns,
            merge,
        })
    }

    /// Aggregates and GROUP BY.
    fn of_groups(one: &OneTable, row: &Expr) -> Result<Parts, Why> {
        let table = &one.table;
        let mut found = Vec::new();
        one.results().for_each(|expression| calls(expression, &mut found));
        let aggregates: Vec<(&Expr, Call<'_>)> =
            found.iter().filter_map(|expression| Some((*expression, Call::of(expression)?))).collect();
        let mut representative = representative(one, &aggregates, row)?;
        if table.joined.is_some()
            && (representative.in_row_order || representative.is_extreme || shows_rows(one))
        {
            return Err("it may matter in which order joined rows are visited");
        }
        let told_apart = told_apart(&aggregates, representative.is_extreme)?;
        // How many values are distinct does not depend on the order in which they are met.
        let only_counted = |call: &Call<'_>| !call.distinct || call.aggregate == Aggregate::Count;
        let counted = told_apart.is_none() || aggregates.iter().all(|(_, call)| only_counted(call));
        if !representative.matters && counted && !table.without_rowid {
            representative.row = None;
        }

        let mut columns = Columns::default();
        let mut fragment = Fragment::of_rows(one);
        fragment.in_row_order = representative.in_row_order;
        if one.having.as_ref().is_some_and(|having| shows_row(having, one)) {
            return Err("HAVING chooses rows of a group");
        }
        let mut keys = Vec::new();
        for group in &one.groups {
            keys.push(columns.row_value(group, table)?);
            fragment.groups.push(group.clone());
        }
        if let Some(value) = told_apart {
            columns.row_value(value, table)?;
            if !is_constant(value) && !fragment.groups.contains(value) {
                fragment.groups.push(value.clone());
            }
        }
        fragment.in_row_order |= representative.row.is_some() && shows_first_met(&fragment.groups, one);
        if fragment.groups.is_empty() && representative.row.is_some() {
            // A partition without rows would answer a part that no row stands for.
            fragment.having = Some(Expr::Binary(
                Box::new(count_of_rows()),
                ast::Operator::Greater,
                Box::new(Expr::Literal(ast::Literal::Numeric("0".to_owned()))),
            ));
        }
        let mut inner = Inner { one, columns: &mut columns, results: Vec::new() };
        let results: Vec<Expr> =
            one.results().map(|expression| inner.over(expression)).collect::<Result<_, Why>>()?;
        let ties: Vec<Term> = one
            .group_order()
            .into_iter()
            .zip(&keys)
            .filter(|_| !one.order.is_empty())
            .map(|(term, key)| Term { expression: inner.result(key.clone()), ..term })
            .collect();
        let inner = inner.text(&keys);
        let merge = outer(one, &results, ties, &inner);
        fragment.columns = representative
            .row
            .iter()
            .cloned()
            .chain(columns.parts.iter().map(|(expression, ..)| expression.clone()))
            .collect();
        fragment.order = one.order.iter().cloned().chain(one.group_order()).collect();
        let is_key = |term: &Term| one.groups.contains(&term.expression);
        Ok(Parts {
            first_are_enough: told_apart.is_none()
                && !one.distinct
                && one.having.is_none()
                && !one.groups.is_empty()
                && one.order.iter().all(is_key),
            merge_parameters: results.iter().map(parameters).max().unwrap_or(0).max(limit_parameters(one)),
            row: representative.row,
            fragment,
            columns,
            merge,
        })
    }
}

/// Whether a term of GROUP BY shows the row that a partition meets first, whatever row stands for the part: SQLite
/// does so with terms that are no plain columns.
fn shows_first_met(groups: &[Expr], one: &OneTable) -> bool {
    groups.iter().any(|group| column(group, &one.table).is_none() && is_ambiguous(group, &one.table))
}

/// The row that stands for a part.
struct Representative {
    row: Option<Expr>,
    /// Whether the answer depends on it.
    matters: bool,
    /// Whether it is the one that `min` or `max` took its value from.
    is_extreme: bool,
    /// Whether it is found by visiting rows in order.
    in_row_order: bool,
}

fn representative(
    one: &OneTable,
    aggregates: &[(&Expr, Call<'_>)],
    row: &Expr,
) -> Result<Representative, Why> {
    let extremes: Vec<&Call<'_>> =
        aggregates.iter().map(|(_, call)| call).filter(|call| call.is_extreme()).collect();
    let ambiguous =
        extremes.iter().any(|call| call.argument.is_some_and(|argument| is_ambiguous(argument, &one.table)));
    let matters = ambiguous || shows_rows(one);
    if extremes.is_empty() || !matters {
        return Ok(Representative {
            row: Some(call("min", row)),
            matters,
            is_extreme: false,
            in_row_order: false,
        });
    }
    // A result that repeats a term of GROUP BY is the first row's, whatever row the others are of.
    let of_first = |group: &Expr| column(group, &one.table).is_none() && is_ambiguous(group, &one.table);
    if one.groups.iter().any(of_first) {
        return Err("min or max decides which row stands for its group, but for a term of GROUP BY");
    }
    match extremes.as_slice() {
        // SQLite takes the columns that are no aggregates from the row of a single min or max.
        [only] if only.filter.is_none() => {
            Ok(Representative { row: Some(row.clone()), matters, is_extreme: true, in_row_order: true })
        }
        [_] => Err("min or max of some rows decides which row stands for its group"),
        _ => Err("several of min and max decide which row stands for its group"),
    }
}

/// The one expression whose distinct values aggregates ask for.
fn told_apart<'a>(aggregates: &[(&'a Expr, Call<'a>)], is_extreme: bool) -> Result<Option<&'a Expr>, Why> {
    let mut told_apart = None;
    for (_, call) in aggregates.iter().filter(|(_, call)| call.distinct && !call.is_extreme()) {
        if call.filter.is_some() {
            return Err("an aggregate is of distinct values of some rows");
        }
        if is_extreme && call.aggregate != Aggregate::Count {
            return Err("distinct values would be met in another order");
        }
        if told_apart.is_some() && told_apart != call.argument {
            return Err("aggregates are of distinct values of several expressions");
        }
        told_apart = call.argument;
    }
    Ok(told_apart)
}

/// The query that merges parts to groups.
struct Inner<'a> {
    one: &'a OneTable,
    columns: &'a mut Columns,
    /// Its results, named `c0` and so on.
    results: Vec<String>,
}

impl Inner<'_> {
    /// An expression of the client over the merged groups.
    fn over(&mut self, expression: &Expr) -> Result<Expr, Why> {
        let mut over = expression.clone();
        let mut refused = None;
        ast::rewrite(&mut over, &mut |part| {
            let merged = match (Call::of(part), part) {
                (Some(call), _) => self.merged(part, &call),
                (None, Expr::Id(_)) => self.columns.row_value(part, &self.one.table),
                _ => return None,
            };
            match merged {
                Ok(merged) => Some(self.result(merged)),
                Err(why) => {
                    refused = Some(why);
                    Some(part.clone())
                }
            }
        });
        refused.map_or(Ok(over), Err)
    }

    fn result(&mut self, merged: String) -> Expr {
        let known = self.results.iter().position(|known| *known == merged);
        let index = known.unwrap_or_else(|| {
            self.results.push(merged);
            self.results.len() - 1
        });
        Expr::Id(ast::Name::from_string(format!("c{index}")))
    }

    /// How an aggregate's parts are merged.
    fn merged(&mut self, expression: &Expr, call: &Call<'_>) -> Result<String, Why> {
        let table = &self.one.table;
        if call.distinct && !call.is_extreme() {
            let Some(argument) = call.argument else { return Err("an aggregate has no argument") };
            let name = match call.aggregate {
                Aggregate::Count => "count",
                Aggregate::Sum => "sum",
                Aggregate::Total => "total",
                Aggregate::Average => "avg",
                _ => return Err("an aggregate depends on the order of the rows"),
            };
            let value = self.columns.row_value(argument, table)?;
            return Ok(format!("{name}(DISTINCT {value})"));
        }
        match call.aggregate {
            Aggregate::Count => {
                let part = self.columns.untyped(expression.clone(), Collation::Binary);
                Ok(format!("coalesce(sum({part}), 0)"))
            }
            Aggregate::Min | Aggregate::Max => {
                let argument = call.argument.ok_or("an aggregate has no argument")?;
                let name = if call.aggregate == Aggregate::Min { "min" } else { "max" };
                // Its value is compared as the argument is, but has no type of its own.
                let collation = collation(argument, table).ok_or("a collation is unknown")?;
                let part = self.columns.untyped(expression.clone(), collation);
                Ok(format!("{name}({part})"))
            }
            Aggregate::Sum | Aggregate::Total | Aggregate::Average => {
                let name = match call.aggregate {
                    Aggregate::Sum => sqlite::partial_sum::MERGE_SUM,
                    Aggregate::Total => sqlite::partial_sum::MERGE_TOTAL,
                    _ => sqlite::partial_sum::MERGE_AVERAGE,
                };
                let part = self.columns.untyped(partial_sum(expression), Collation::Binary);
                Ok(format!("{name}({part})"))
            }
            Aggregate::Sequence => Err("an aggregate depends on the order of the rows"),
        }
    }

    fn text(&self, keys: &[String]) -> String {
        let mut results: Vec<String> =
            self.results.iter().enumerate().map(|(index, merged)| format!("{merged} AS c{index}")).collect();
        if results.is_empty() {
            results.push("1 AS c0".to_owned());
        }
        let mut text = format!("SELECT {} FROM {PARTS}", results.join(", "));
        if !keys.is_empty() {
            let _ = write!(text, " GROUP BY {}", keys.join(", "));
        }
        text
    }
}

/// The client's results, conditions and order over the merged groups.
fn outer(one: &OneTable, results: &[Expr], ties: Vec<Term>, inner: &str) -> String {
    let (outputs, rest) = results.split_at(one.outputs.len());
    let (having, order) = rest.split_at(usize::from(one.having.is_some()));
    let order: Vec<Term> = one
        .order
        .iter()
        .zip(order)
        .map(|(term, expression)| Term { expression: expression.clone(), ..term.clone() })
        .chain(ties)
        .collect();
    let distinct = if one.distinct { "DISTINCT " } else { "" };
    let mut text = format!("SELECT {distinct}{} FROM ({inner})", list(outputs));
    if let [having] = having {
        let _ = write!(text, " WHERE {having}");
    }
    finish(&mut text, &order, one.limit.as_ref());
    text
}

fn finish(text: &mut String, order: &[Term], limit: Option<&Limit>) {
    if !order.is_empty() {
        let _ = write!(text, " ORDER BY {}", terms(order));
    }
    if let Some(limit) = limit {
        let _ = write!(text, " {}", limit.text);
    }
}

fn limit_parameters(one: &OneTable) -> usize {
    let number = |operand: &Operand| match operand {
        Operand::Parameter(index) => index + 1,
        Operand::Constant(_) => 0,
    };
    let limit = one.limit.as_ref();
    limit.map_or(0, |limit| number(&limit.count).max(limit.offset.as_ref().map_or(0, number)))
}

fn plain(expression: Expr) -> Term {
    Term { expression, descending: false, nulls: None }
}

/// A call of a function of one argument.
fn call(name: &str, argument: &Expr) -> Expr {
    Expr::FunctionCall {
        name: ast::Name::exact(name.to_owned()),
        distinctness: None,
        args: vec![Box::new(argument.clone())],
        order_by: Vec::new(),
        within_group: Vec::new(),
        filter_over: ast::FunctionTail { filter_clause: None, over_clause: None },
    }
}

fn count_of_rows() -> Expr {
    Expr::FunctionCallStar {
        name: ast::Name::exact("count".to_owned()),
        filter_over: ast::FunctionTail { filter_clause: None, over_clause: None },
    }
}

/// The call with the function that sums up one partition.
fn partial_sum(expression: &Expr) -> Expr {
    let mut partial = expression.clone();
    if let Expr::FunctionCall { name, .. } = &mut partial {
        *name = ast::Name::exact(sqlite::partial_sum::PART.to_owned());
    }
    partial
}
