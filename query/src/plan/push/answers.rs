//! Subqueries that mean the same wherever they stand: they are answered first, once, and their answers sent along
//! with what the partitions are asked.
//!
//! In the text for the partitions such a subquery is one over a parameter that holds its rows. So it stays what it
//! is to SQLite, which compares the value of a subquery otherwise than a constant.

use std::sync::Arc;

use common::Result;
use common::value::Affinity;
use sqlite::shipped_rows::{SHIPPED_ROWS, column};

use super::expression::Call;
use crate::ast::{
    self, Cmd, Expr, Literal, OneSelect, ResultColumn, Select, SelectTable, Stmt, UnaryOperator,
};
use crate::plan::Planned;

/// Most subqueries of a statement that are answered first: each costs the time of a request.
const ANSWERS_MAX: usize = 4;

/// A subquery that is answered first.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) planned: Arc<Planned>,
    /// Whether its first row is enough.
    pub(crate) one_row: bool,
    /// Whether it stays at the coordinator, and may be larger than what is sent to partitions.
    pub(crate) stays: bool,
}

/// A SELECT with the subqueries of its expressions replaced whose answers the parameters behind `parameters` hold,
/// and these subqueries; `None` if there are none, or others as well.
pub(crate) fn answered_first(
    select: &Select,
    parameters: usize,
    prepare: &dyn Fn(&str) -> Result<Arc<Planned>>,
) -> Option<(Select, Vec<Answer>)> {
    let mut rewritten = select.clone();
    let mut found = Finder { parameters, prepare, answers: Vec::new() };
    let OneSelect::Select { columns, where_clause, group_by, .. } = &mut rewritten.body.select else {
        return None;
    };
    for column in columns {
        if let ResultColumn::Expr(expression, _) = column {
            found.replace(expression);
        }
    }
    where_clause.iter_mut().for_each(|condition| found.replace(condition));
    if let Some(having) = group_by.as_mut().and_then(|group_by| group_by.having.as_mut()) {
        found.replace(having);
    }
    rewritten.order_by.iter_mut().for_each(|term| found.replace(&mut term.expr));
    let is_some = (1..=ANSWERS_MAX).contains(&found.answers.len());
    is_some.then_some((rewritten, found.answers))
}

struct Finder<'a> {
    parameters: usize,
    prepare: &'a dyn Fn(&str) -> Result<Arc<Planned>>,
    answers: Vec<Answer>,
}

impl Finder<'_> {
    fn replace(&mut self, expression: &mut Expr) {
        ast::rewrite(expression, &mut |part| self.replacement(part));
    }

    fn replacement(&mut self, part: &Expr) -> Option<Expr> {
        match part {
            Expr::Subquery(select) => {
                let typed = value_type(select)?;
                let query = self.answer(select, Some(typed), true)?;
                Some(Expr::Subquery(Box::new(query)))
            }
            Expr::Exists(select) => Some(Expr::Exists(Box::new(self.answer(select, None, true)?))),
            // The left side's collation is the comparison's if it is a column.
            Expr::InSelect { lhs, not, rhs } if is_name(lhs) => {
                let typed = value_type(rhs)?;
                let query = self.answer(rhs, Some(typed), false)?;
                Some(Expr::InSelect { lhs: lhs.clone(), not: *not, rhs: Box::new(query) })
            }
            _ => None,
        }
    }

    /// The query over the parameter that holds the answer.
    fn answer(&mut self, select: &Select, typed: Option<ValueType>, one_row: bool) -> Option<Select> {
        let text = select.to_string();
        // A name for a parameter counts from the first of the whole statement.
        if self.answers.len() >= ANSWERS_MAX || text.contains([':', '@', '$']) {
            return None;
        }
        // What names a column of the statement around it is no statement by itself.
        let planned = (self.prepare)(&text).ok()?;
        if !planned.is_read || !planned.is_deterministic {
            return None;
        }
        let value = match typed {
            None => column(0, Affinity::Blob),
            Some(_) if planned.columns.len() != 1 => return None,
            Some(ValueType::None) => format!("+{}", column(0, Affinity::Blob)),
            Some(ValueType::OfColumn) => {
                let declared = planned.types.first()?;
                // Neither tells what a column without a type is, nor one of any type.
                if declared.is_empty() || declared.eq_ignore_ascii_case("ANY") {
                    return None;
                }
                column(0, Affinity::of_declared_type(declared))
            }
        };
        let parameter = self.parameters + self.answers.len() + 1;
        let query = ast::parse(&format!("SELECT {value} FROM {SHIPPED_ROWS}(?{parameter})"))?;
        let Cmd::Stmt(Stmt::Select(query)) = query else { return None };
        self.answers.push(Answer { planned, one_row, stays: false });
        Some(query)
    }
}

fn is_name(expression: &Expr) -> bool {
    matches!(ast::bare(expression), Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..))
}

/// How the value of a subquery is compared.
#[derive(Clone, Copy)]
enum ValueType {
    /// As the column that it is.
    OfColumn,
    /// As it is.
    None,
}

/// Of the only result of a SELECT, where there is no doubt.
fn value_type(select: &Select) -> Option<ValueType> {
    let OneSelect::Select { columns, .. } = &select.body.select else { return None };
    let [ResultColumn::Expr(expression, _)] = columns.as_slice() else { return None };
    if !select.body.compounds.is_empty() || ast::any(expression, &|part| matches!(part, Expr::Collate(..))) {
        return None;
    }
    match &**expression {
        Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) => Some(ValueType::OfColumn),
        Expr::Literal(Literal::Numeric(_) | Literal::String(_) | Literal::Blob(_) | Literal::Null)
        | Expr::Binary(..)
        | Expr::Unary(UnaryOperator::Negative, _) => Some(ValueType::None),
        call if Call::of(call).is_some() => Some(ValueType::None),
        _ => None,
    }
}

/// The number of the parameter that holds the answer, if the expression is a subquery that was answered first.
pub(super) fn parameter(expression: &Expr) -> Option<usize> {
    let select = match expression {
        Expr::Subquery(select) | Expr::Exists(select) => select,
        Expr::InSelect { rhs, .. } => rhs,
        _ => return None,
    };
    let OneSelect::Select { from: Some(from), .. } = &select.body.select else { return None };
    match &*from.select {
        SelectTable::TableCall(name, arguments, None) if name.name.as_str() == SHIPPED_ROWS => {
            match arguments.first().map(AsRef::as_ref) {
                Some(Expr::Variable(variable)) => Some(variable.index.get() as usize),
                _ => None,
            }
        }
        _ => None,
    }
}
