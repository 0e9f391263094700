//! The parser behind our own door. Its verdict is never the client's: where it does not understand a text
//! that SQLite does, the plan is the one that needs no understanding (gather).

use crate::nesting;
use common::Value;
use common::names::quote_identifier;
use turso_parser::ast::FrameBound;
pub(crate) use turso_parser::ast::{
    AlterTableBody, As, Cmd, ColumnConstraint, ColumnDefinition, CommonTableExpr, CompoundOperator,
    CreateTableBody, Distinctness, Expr, FromClause, FunctionTail, InsertBody, JoinConstraint, JoinOperator,
    JoinType, JoinedSelectTable, LikeOperator, Limit, Literal, Name, NullsOrder, OneSelect, Operator, Over,
    PragmaBody, QualifiedName, ResolveType, ResultColumn, Select, SelectBody, SelectTable, SortOrder,
    SortedColumn, Stmt, UnaryOperator, Upsert, UpsertDo, Variable, Window, With,
};

/// Operators of pattern matching that are built in.
pub(crate) const LIKE_OPERATORS: [LikeOperator; 2] = [LikeOperator::Like, LikeOperator::Glob];

/// The statement of a text, or `None` if the parser does not understand it, it nests too deep to be parsed
/// safely, or it holds more than one.
pub(crate) fn parse(sql: &str) -> Option<Cmd> {
    if nesting::is_too_deep(sql) {
        return None;
    }
    let mut parser = turso_parser::parser::Parser::new(sql.as_bytes());
    let command = parser.next_cmd().ok()??;
    match parser.next_cmd() {
        Ok(None) => Some(command),
        _ => None,
    }
}

/// The expressions directly inside an expression. A subquery counts as a leaf, see [`is_subquery`].
pub(crate) fn children(expression: &Expr) -> Vec<&Expr> {
    match expression {
        Expr::Between { lhs, start, end, .. } => vec![lhs, start, end],
        Expr::Binary(left, _, right) => vec![left, right],
        Expr::Case { base, when_then_pairs, else_expr } => base
            .iter()
            .map(AsRef::as_ref)
            .chain(when_then_pairs.iter().flat_map(|(when, then)| [when.as_ref(), then.as_ref()]))
            .chain(else_expr.iter().map(AsRef::as_ref))
            .collect(),
        Expr::Cast { expr, .. }
        | Expr::Collate(expr, _)
        | Expr::IsNull(expr)
        | Expr::NotNull(expr)
        | Expr::Unary(_, expr)
        | Expr::FieldAccess { base: expr, .. } => vec![expr],
        Expr::FunctionCall { args, order_by, filter_over, .. } => args
            .iter()
            .map(AsRef::as_ref)
            .chain(order_by.iter().map(|term| term.expr.as_ref()))
            .chain(filter_over.filter_clause.iter().map(AsRef::as_ref))
            .collect(),
        Expr::FunctionCallStar { filter_over, .. } => {
            filter_over.filter_clause.iter().map(AsRef::as_ref).collect()
        }
        Expr::InList { lhs, rhs, .. } => {
            std::iter::once(lhs.as_ref()).chain(rhs.iter().map(AsRef::as_ref)).collect()
        }
        Expr::InSelect { lhs, .. } | Expr::InTable { lhs, .. } => vec![lhs],
        Expr::Like { lhs, rhs, escape, .. } => {
            [lhs.as_ref(), rhs.as_ref()].into_iter().chain(escape.iter().map(AsRef::as_ref)).collect()
        }
        Expr::Parenthesized(items) | Expr::Array { elements: items } => {
            items.iter().map(AsRef::as_ref).collect()
        }
        Expr::Subscript { base, index } => vec![base, index],
        _ => Vec::new(),
    }
}

/// As [`children`], with the expressions of a function's own window.
pub(crate) fn children_and_windows(expression: &Expr) -> Vec<&Expr> {
    let mut found = children(expression);
    if let Expr::FunctionCall { within_group, .. } = expression {
        found.extend(within_group.iter().map(|term| term.expr.as_ref()));
    }
    if let Expr::FunctionCall { filter_over, .. } | Expr::FunctionCallStar { filter_over, .. } = expression
        && let Some(Over::Window(window)) = filter_over.over_clause.as_deref()
    {
        found.extend(window_expressions(window));
    }
    match expression {
        Expr::InTable { args, .. } => found.extend(args.iter().map(AsRef::as_ref)),
        Expr::Raise(_, Some(message)) => found.push(message),
        _ => {}
    }
    found
}

/// The expressions of a window's definition.
pub(crate) fn window_expressions(window: &Window) -> Vec<&Expr> {
    let frame = window.frame_clause.iter().flat_map(|frame| std::iter::once(&frame.start).chain(&frame.end));
    let bounds = frame.filter_map(|bound| match bound {
        FrameBound::Following(expression) | FrameBound::Preceding(expression) => Some(expression.as_ref()),
        _ => None,
    });
    let partition = window.partition_by.iter().map(AsRef::as_ref);
    partition.chain(window.order_by.iter().map(|term| term.expr.as_ref())).chain(bounds).collect()
}

/// As [`children`], to change them. Only the kinds that are pushed to partitions have children here.
fn pushable_children(expression: &mut Expr) -> Vec<&mut Expr> {
    match expression {
        Expr::Between { lhs, start, end, .. } => vec![lhs, start, end],
        Expr::Binary(left, _, right) => vec![left, right],
        Expr::Case { base, when_then_pairs, else_expr } => base
            .iter_mut()
            .map(AsMut::as_mut)
            .chain(when_then_pairs.iter_mut().flat_map(|(when, then)| [when.as_mut(), then.as_mut()]))
            .chain(else_expr.iter_mut().map(AsMut::as_mut))
            .collect(),
        Expr::Cast { expr, .. }
        | Expr::Collate(expr, _)
        | Expr::IsNull(expr)
        | Expr::NotNull(expr)
        | Expr::Unary(_, expr) => vec![expr],
        Expr::FunctionCall { args, filter_over, .. } => {
            args.iter_mut().map(AsMut::as_mut).chain(tail_children(filter_over)).collect()
        }
        Expr::FunctionCallStar { filter_over, .. } => tail_children(filter_over),
        Expr::InList { lhs, rhs, .. } => {
            std::iter::once(lhs.as_mut()).chain(rhs.iter_mut().map(AsMut::as_mut)).collect()
        }
        Expr::Like { lhs, rhs, escape, .. } => {
            [lhs.as_mut(), rhs.as_mut()].into_iter().chain(escape.iter_mut().map(AsMut::as_mut)).collect()
        }
        Expr::InSelect { lhs, .. } => vec![lhs],
        Expr::Parenthesized(items) => items.iter_mut().map(AsMut::as_mut).collect(),
        _ => Vec::new(),
    }
}

/// The condition behind a call, and its window.
fn tail_children(tail: &mut FunctionTail) -> Vec<&mut Expr> {
    let mut found: Vec<&mut Expr> = tail.filter_clause.iter_mut().map(AsMut::as_mut).collect();
    if let Some(Over::Window(window)) = tail.over_clause.as_deref_mut() {
        found.extend(window.partition_by.iter_mut().map(AsMut::as_mut));
        found.extend(window.order_by.iter_mut().map(|term| term.expr.as_mut()));
        let frame = window.frame_clause.iter_mut();
        let bounds = frame.flat_map(|frame| std::iter::once(&mut frame.start).chain(&mut frame.end));
        found.extend(bounds.filter_map(|bound| match bound {
            FrameBound::Following(expression) | FrameBound::Preceding(expression) => {
                Some(expression.as_mut())
            }
            _ => None,
        }));
    }
    found
}

/// Replaces leaves of an expression from the outside in.
pub(crate) fn rewrite(expression: &mut Expr, replace: &mut impl FnMut(&Expr) -> Option<Expr>) {
    if let Some(other) = replace(expression) {
        *expression = other;
        return;
    }
    for child in pushable_children(expression) {
        rewrite(child, replace);
    }
}

/// Whether the expression is itself a query.
pub(crate) fn is_subquery(expression: &Expr) -> bool {
    matches!(
        expression,
        Expr::Exists(_)
            | Expr::Subquery(_)
            | Expr::InSelect { .. }
            | Expr::InTable { .. }
            | Expr::SubqueryResult { .. }
    )
}

/// All expressions of a SELECT that has no compounds, those of its joins too. Of queries in FROM there are none.
pub(crate) fn expressions(select: &Select) -> Vec<&Expr> {
    let mut found: Vec<&Expr> = select.order_by.iter().map(|term| &*term.expr).collect();
    if let Some(limit) = &select.limit {
        found.extend(std::iter::once(&*limit.expr).chain(limit.offset.as_deref()));
    }
    let OneSelect::Select { columns, from, where_clause, group_by, .. } = &select.body.select else {
        return found;
    };
    for column in columns {
        if let ResultColumn::Expr(expression, _) = column {
            found.push(expression);
        }
    }
    for join in from.iter().flat_map(|from| &from.joins) {
        if let Some(JoinConstraint::On(condition)) = &join.constraint {
            found.push(condition);
        }
    }
    found.extend(where_clause.as_deref());
    if let Some(group_by) = group_by {
        found.extend(group_by.exprs.iter().map(AsRef::as_ref).chain(group_by.having.as_deref()));
    }
    found
}

/// Whether the expression is the time of the statement under one of its three names.
pub(crate) fn is_time(expression: &Expr) -> bool {
    matches!(
        expression,
        Expr::Literal(Literal::CurrentDate | Literal::CurrentTime | Literal::CurrentTimestamp)
    )
}

/// `VALUES` of some rows.
pub(crate) fn values(rows: Vec<Vec<Expr>>) -> Select {
    let rows = rows.into_iter().map(|row| row.into_iter().map(Box::new).collect()).collect();
    Select {
        with: None,
        body: SelectBody { select: OneSelect::Values(rows), compounds: Vec::new() },
        order_by: Vec::new(),
        limit: None,
    }
}

/// Whether some part of the expression passes the test.
pub(crate) fn any(expression: &Expr, test: &impl Fn(&Expr) -> bool) -> bool {
    test(expression) || children(expression).into_iter().any(|child| any(child, test))
}

/// The expression with its columns called by their own names alone.
pub(crate) fn unqualified(expression: &Expr) -> Expr {
    let mut plain = expression.clone();
    rewrite(&mut plain, &mut |part| match part {
        Expr::Qualified(_, name) => Some(Expr::Id(name.clone())),
        _ => None,
    });
    plain
}

/// A call of a function.
pub(crate) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    Expr::FunctionCall {
        name: Name::exact(name.to_owned()),
        distinctness: None,
        args: arguments.into_iter().map(Box::new).collect(),
        order_by: Vec::new(),
        within_group: Vec::new(),
        filter_over: FunctionTail { filter_clause: None, over_clause: None },
    }
}

/// One more operand of AND or OR, each in brackets.
pub(crate) fn joined(before: Option<Expr>, operator: Operator, condition: Expr) -> Expr {
    let bracketed = bracketed(condition);
    match before {
        Some(before) => Expr::Binary(Box::new(before), operator, Box::new(bracketed)),
        None => bracketed,
    }
}

/// An expression in brackets.
pub(crate) fn bracketed(expression: Expr) -> Expr {
    Expr::Parenthesized(vec![Box::new(expression)])
}

/// The parts of a condition that must all hold.
pub(crate) fn conjuncts(condition: &Expr) -> Vec<&Expr> {
    match condition {
        Expr::Binary(left, Operator::And, right) => {
            let mut parts = conjuncts(left);
            parts.extend(conjuncts(right));
            parts
        }
        Expr::Parenthesized(items) if items.len() == 1 => conjuncts(&items[0]),
        other => vec![other],
    }
}

/// An expression without the brackets around it.
pub(crate) fn bare(expression: &Expr) -> &Expr {
    match expression {
        Expr::Parenthesized(items) if items.len() == 1 => bare(&items[0]),
        other => other,
    }
}

/// The value of a literal, where it is beyond doubt.
pub(crate) fn literal(expression: &Expr) -> Option<Value> {
    match bare(expression) {
        Expr::Literal(Literal::Null) => Some(Value::Null),
        Expr::Literal(Literal::True) => Some(Value::Integer(1)),
        Expr::Literal(Literal::False) => Some(Value::Integer(0)),
        Expr::Literal(Literal::Numeric(text)) => number(text),
        Expr::Literal(Literal::String(text)) => string(text).map(Value::Text),
        Expr::Literal(Literal::Blob(text)) => {
            Some(Value::Blob(turso_parser::ast::blob_literal_bytes(text).collect()))
        }
        Expr::Unary(UnaryOperator::Positive, inner) => literal(inner),
        Expr::Unary(UnaryOperator::Negative, inner) => match literal(inner)? {
            Value::Integer(number) => Some(Value::Integer(number.checked_neg()?)),
            Value::Real(number) => Some(Value::Real(-number)),
            _ => None,
        },
        _ => None,
    }
}

/// The value of an expression's text, where it is a literal beyond doubt.
pub(crate) fn constant(text: &str) -> Option<Value> {
    let Cmd::Stmt(Stmt::Select(select)) = parse(&format!("SELECT {text}"))? else { return None };
    if select.limit.is_some() || !select.order_by.is_empty() {
        return None;
    }
    match (&select.body.select, select.body.compounds.is_empty()) {
        (OneSelect::Select { columns, from: None, where_clause: None, .. }, true) => match columns.as_slice()
        {
            // SQLite has no minus zero, and says what other reals are.
            [ResultColumn::Expr(expression, alias)] if !alias.as_ref().is_some_and(As::is_explicit) => {
                literal(expression).filter(|value| !matches!(value, Value::Real(_)))
            }
            _ => None,
        },
        _ => None,
    }
}

fn number(text: &str) -> Option<Value> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A literal beyond 64 bits is a real, whose value SQLite should say.
        return text.parse().ok().map(Value::Integer);
    }
    let plain = text.len() <= 15
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && text.bytes().any(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok().map(Value::Real) } else { None }
}

fn string(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    Some(inner.replace("''", "'"))
}

/// A name as a reference that SQLite cannot read otherwise.
pub(crate) fn quoted_name(name: &str) -> Name {
    Name::from_string(quote_identifier(name))
}

/// A parameter by number.
pub(crate) fn parameter(number: usize) -> Expr {
    let number = u32::try_from(number).unwrap_or(u32::MAX).max(1);
    Expr::Variable(Variable::numbered(std::num::NonZeroU32::new(number).expect("at least one")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_constant_only_if_it_is_a_literal() {
        assert_eq!(constant("-7"), Some(Value::Integer(-7)));
        assert_eq!(constant("('it''s')"), Some(Value::Text("it's".into())));
        for other in ["random()", "1 + 1", "0.5", "\"a\"", "1, 2", "1 FROM t", "1 LIMIT 1", "current_time"] {
            assert_eq!(constant(other), None, "{other}");
        }
    }

    fn expression(text: &str) -> Expr {
        let Some(Cmd::Stmt(Stmt::Select(select))) = parse(&format!("SELECT 1 WHERE {text}")) else {
            panic!("{text}")
        };
        let OneSelect::Select { where_clause: Some(condition), .. } = select.body.select else { panic!() };
        *condition
    }

    #[test]
    fn literals_have_sqlites_values() {
        for (text, value) in [
            ("12", Value::Integer(12)),
            ("-12", Value::Integer(-12)),
            ("(1.5)", Value::Real(1.5)),
            ("'it''s'", Value::Text("it's".into())),
            ("x'00ff'", Value::Blob(vec![0, 255])),
            ("NULL", Value::Null),
        ] {
            assert_eq!(literal(&expression(text)), Some(value), "{text}");
        }
        for text in ["0x10", "9223372036854775808", "1e400", "a", "1 + 1"] {
            assert_eq!(literal(&expression(text)), None, "{text}");
        }
    }

    #[test]
    fn conjuncts_are_found_through_brackets() {
        assert_eq!(conjuncts(&expression("a = 1 AND (b = 2 AND c = 3 OR d)")).len(), 2);
        assert_eq!(conjuncts(&expression("(a AND b) AND c")).len(), 3);
    }

    #[test]
    fn subqueries_are_found_anywhere() {
        assert!(any(&expression("1 + (CASE WHEN a IN (SELECT 1) THEN 1 END)"), &is_subquery));
        assert!(!any(&expression("a IN (1, 2)"), &is_subquery));
    }
}
