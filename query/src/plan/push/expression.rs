//! What partitions may evaluate, and what is known of the values.

use common::hash::Collation;
use common::value::Affinity;

use super::{Why, answers};
use crate::ast::{self, Expr, LIKE_OPERATORS, Literal, Operator, Select, UnaryOperator, expressions};
use crate::functions::{self, Aggregate};
use crate::plan::join::AROUND;
use crate::table::{Key, Table};

/// A call of an aggregate.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) aggregate: Aggregate,
    /// `None` for `count(*)` and `count()`.
    pub(crate) argument: Option<&'a Expr>,
    pub(crate) distinct: bool,
    pub(super) filter: Option<&'a Expr>,
}

impl<'a> Call<'a> {
    /// The call that an expression is.
    pub(crate) fn of(expression: &'a Expr) -> Option<Call<'a>> {
        let (name, arguments, distinct, tail) = match expression {
            Expr::FunctionCall { name, args, distinctness, filter_over, .. } => {
                let distinct = *distinctness == Some(ast::Distinctness::Distinct);
                (name, args.as_slice(), distinct, filter_over)
            }
            Expr::FunctionCallStar { name, filter_over } => (name, [].as_slice(), false, filter_over),
            _ => return None,
        };
        if tail.over_clause.is_some() {
            return None;
        }
        Some(Call {
            aggregate: Aggregate::of(name.as_str(), arguments.len())?,
            argument: arguments.first().map(AsRef::as_ref),
            distinct,
            filter: tail.filter_clause.as_deref(),
        })
    }

    pub(crate) fn is_extreme(&self) -> bool {
        matches!(self.aggregate, Aggregate::Min | Aggregate::Max)
    }
}

/// The calls of aggregates in an expression, from left to right.
pub(crate) fn calls<'a>(expression: &'a Expr, found: &mut Vec<&'a Expr>) {
    if Call::of(expression).is_some() {
        if !found.contains(&expression) {
            found.push(expression);
        }
        return;
    }
    for child in ast::children(expression) {
        calls(child, found);
    }
}

/// Whether partitions may evaluate an expression whose names are resolved, in subqueries too. An error that it raises
/// there is raised wherever its rows are evaluated.
pub(crate) fn check(expression: &Expr, aggregates: bool) -> Result<(), Why> {
    let mut inner = aggregates;
    match expression {
        Expr::Binary(_, Operator::ArrayContains | Operator::ArrayOverlap, _) => {
            return Err("an operator is unknown");
        }
        Expr::Literal(
            Literal::Numeric(_)
            | Literal::String(_)
            | Literal::Blob(_)
            | Literal::Null
            | Literal::True
            | Literal::False,
        )
        | Expr::Binary(..)
        | Expr::Between { .. }
        | Expr::Case { .. }
        | Expr::Cast { .. }
        | Expr::Collate(..)
        | Expr::Id(_)
        | Expr::InList { .. }
        | Expr::IsNull(_)
        | Expr::NotNull(_)
        | Expr::Unary(..)
        | Expr::Variable(_) => {}
        Expr::Parenthesized(items) if items.len() == 1 => {}
        Expr::Parenthesized(_) => return Err("an expression is a row of values"),
        Expr::Like { op, .. } if LIKE_OPERATORS.contains(op) => {}
        Expr::Literal(_) => return Err("the time must be one for all partitions"),
        Expr::FunctionCall { filter_over, within_group, order_by, .. } => {
            if filter_over.over_clause.is_some() {
                return Err("a window may span partitions");
            }
            if !within_group.is_empty() {
                return Err("a function is not known to mean the same everywhere");
            }
            if !order_by.is_empty() {
                return Err("an aggregate orders its rows");
            }
            inner &= check_function(expression, aggregates)?;
        }
        Expr::FunctionCallStar { filter_over, .. } => {
            if filter_over.over_clause.is_some() {
                return Err("a window may span partitions");
            }
            inner &= check_function(expression, aggregates)?;
        }
        // Whoever resolves names has looked at them.
        Expr::Exists(_) | Expr::InSelect { .. } | Expr::Subquery(_) => {}
        _ if ast::is_subquery(expression) => return Err("there is a subquery"),
        _ => return Err("an expression is not known to mean the same everywhere"),
    }
    ast::children(expression).into_iter().try_for_each(|child| check(child, inner))
}

/// Answers whether there may be aggregates among its arguments.
fn check_function(expression: &Expr, aggregates: bool) -> Result<bool, Why> {
    if Call::of(expression).is_some() {
        return if aggregates { Ok(false) } else { Err("an aggregate is where none may be") };
    }
    match expression {
        Expr::FunctionCall { name, args, distinctness: None, filter_over, .. }
            if filter_over.filter_clause.is_none()
                && (functions::is_scalar(name.as_str(), args.len())
                    || functions::is_of_fixed_moment(name.as_str(), args)) =>
        {
            Ok(true)
        }
        _ => Err("a function is not known to mean the same everywhere"),
    }
}

/// Whether rows that have all terms in common lie in one partition: the columns of the partition key are among the
/// terms, compared as they are where they choose the partition.
pub(super) fn contains_key<'e>(terms: impl Iterator<Item = &'e Expr> + Clone, table: &Table) -> bool {
    let has = |wanted: Option<usize>| {
        terms.clone().any(|term| {
            let found = column(term, table);
            found == Some(wanted)
                || found.is_some() && found == table.rowid_alias.map(Some) && wanted.is_none()
        })
    };
    match &table.key {
        Key::Rowid => has(None),
        Key::Columns(columns) => columns
            .iter()
            .all(|&position| table.columns[position].known_collation().is_some() && has(Some(position))),
    }
}

/// Whether it names no column, and is over no window.
pub(super) fn is_constant(expression: &Expr) -> bool {
    !ast::any(expression, &|part| match part {
        Expr::Id(_) | Expr::FunctionCallStar { .. } => true,
        Expr::FunctionCall { filter_over, .. } => filter_over.over_clause.is_some(),
        other => is_open_subquery(other),
    })
}

/// The greatest number of a parameter in it; 0 if it has none.
pub(crate) fn parameters(expression: &Expr) -> usize {
    let own = match expression {
        Expr::Variable(variable) => variable.index.get() as usize,
        _ => answers::parameter(expression).unwrap_or_else(|| {
            let inside = query(expression).map(expressions).unwrap_or_default();
            inside.into_iter().map(parameters).max().unwrap_or(0)
        }),
    };
    ast::children(expression).into_iter().map(parameters).max().unwrap_or(0).max(own)
}

/// The query that an expression is about.
fn query(expression: &Expr) -> Option<&Select> {
    match expression {
        Expr::Subquery(select) | Expr::Exists(select) | Expr::InSelect { rhs: select, .. } => Some(select),
        _ => None,
    }
}

/// Whether it is a subquery that was not answered already.
pub(crate) fn is_open_subquery(expression: &Expr) -> bool {
    ast::is_subquery(expression) && answers::parameter(expression).is_none()
}

/// The columns of the rows around a subquery on which its value depends, where partitions evaluate it.
pub(super) fn columns_around(expression: &Expr) -> Vec<Expr> {
    let mut found = Vec::new();
    let inside = query(expression).map(expressions).unwrap_or_default();
    for expression in inside {
        collect_around(expression, &mut found);
    }
    found
}

fn collect_around(expression: &Expr, found: &mut Vec<Expr>) {
    match expression {
        Expr::Qualified(table, name) if table.as_str() == AROUND => found.push(Expr::Id(name.clone())),
        _ => found.extend(columns_around(expression)),
    }
    ast::children(expression).into_iter().for_each(|child| collect_around(child, found));
}

/// The position of the column that an expression is; `None` within for the rowid.
pub(super) fn column(expression: &Expr, table: &Table) -> Option<Option<usize>> {
    let Expr::Id(name) = ast::bare(expression) else { return None };
    match table.column(name.as_str()) {
        Some(position) => Some(Some(position)),
        None if table.names_rowid(name.as_str()) => Some(None),
        None => None,
    }
}

/// How a column converts what it is compared with.
pub(crate) fn affinity(position: usize, table: &Table) -> Affinity {
    let column = &table.columns[position];
    // In a strict table ANY converts nothing.
    let is_any = table.strict && column.declared_type.eq_ignore_ascii_case("ANY");
    if is_any { Affinity::Blob } else { column.affinity }
}

/// The collation under which an expression is compared, where there is no doubt.
pub(crate) fn collation(expression: &Expr, table: &Table) -> Option<Collation> {
    if let Some(column) = column(expression, table) {
        return match column {
            Some(position) => table.columns[position].known_collation(),
            None => Some(Collation::Binary),
        };
    }
    match ast::bare(expression) {
        Expr::Collate(inner, name) if !has_collation(inner) => Collation::parse(name.as_str()),
        Expr::Cast { expr, .. } | Expr::Unary(UnaryOperator::Positive, expr) => collation(expr, table),
        // A collation anywhere inside is that of the whole, by rules of SQLite's own.
        other if has_collation(other) => None,
        _ => Some(Collation::Binary),
    }
}

fn has_collation(expression: &Expr) -> bool {
    ast::any(expression, &|part| matches!(part, Expr::Collate(..)))
}

/// Whether two values that are equal may still differ (`1` and `1.0`; `'a'` and `'A'`), so that it matters
/// which row a value is of. A column with a numeric type turns every real that is an integer into one, all but
/// -2^63, which whoever relies on this has to look out for.
pub(crate) fn is_ambiguous(expression: &Expr, table: &Table) -> bool {
    match column(expression, table) {
        Some(None) => false,
        Some(Some(position)) => {
            affinity(position, table) == Affinity::Blob
                || table.columns[position].known_collation() != Some(Collation::Binary)
        }
        None => {
            let known = is_integer(expression, table) || is_text(expression) || is_signless_real(expression);
            !known || collation(expression, table) != Some(Collation::Binary)
        }
    }
}

/// Whether it is an integer, a real that no integer equals, or NULL.
fn is_integer(expression: &Expr, table: &Table) -> bool {
    if let Some(column) = column(expression, table) {
        return column.is_none_or(|position| {
            table.rowid_alias == Some(position)
                || table.strict && table.columns[position].affinity == Affinity::Integer
        });
    }
    match ast::bare(expression) {
        Expr::Literal(Literal::Numeric(text)) => text.bytes().all(|byte| byte.is_ascii_digit()),
        Expr::Exists(_) | Expr::InSelect { .. } => true,
        Expr::Unary(_, inner) => is_integer(inner, table),
        Expr::Cast { .. } => is_cast_to("INTEGER", expression),
        Expr::Binary(
            left,
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Modulus
            | Operator::BitwiseAnd
            | Operator::BitwiseOr
            | Operator::LeftShift
            | Operator::RightShift,
            right,
        ) => is_integer(left, table) && is_integer(right, table),
        Expr::FunctionCall { name, .. } => {
            let name = name.as_str();
            ["instr", "length", "octet_length", "unicode"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
        }
        _ => false,
    }
}

/// Whether it is a real, and zero without a sign: what zero is added to.
fn is_signless_real(expression: &Expr) -> bool {
    let is_zero =
        |other: &Expr| matches!(ast::bare(other), Expr::Literal(Literal::Numeric(text)) if text == "0.0");
    match ast::bare(expression) {
        Expr::Binary(left, Operator::Add, right) => is_cast_to("REAL", left) && is_zero(right),
        _ => false,
    }
}

fn is_cast_to(name: &str, expression: &Expr) -> bool {
    match ast::bare(expression) {
        Expr::Cast { type_name: Some(given), .. } => given.name.eq_ignore_ascii_case(name),
        _ => false,
    }
}

/// Whether it is text, a blob or NULL.
fn is_text(expression: &Expr) -> bool {
    const FUNCTIONS: [&str; 14] = [
        "char", "date", "datetime", "format", "hex", "lower", "printf", "quote", "replace", "strftime",
        "substr", "time", "typeof", "upper",
    ];
    match ast::bare(expression) {
        Expr::Literal(Literal::String(_)) | Expr::Binary(_, Operator::Concat, _) => true,
        Expr::FunctionCall { name, .. } => {
            FUNCTIONS.iter().any(|known| known.eq_ignore_ascii_case(name.as_str()))
        }
        _ => false,
    }
}
