//! Conditions that may run on the partitions.
//!
//! A filter is a courtesy: the client's text is run over the rows that come back and filters again. So a
//! filter may let too much through, never too little, and must not raise an error that the client's text
//! would not raise.

use common::Value;
use common::schema::TableKind;

use crate::ast::{self, Expr, LIKE_OPERATORS, Literal, Operator};
use crate::route::{KeyColumn, Operand};
use crate::scope::Scope;
use crate::table::Table;

/// Functions that depend on their arguments alone and never fail.
const FUNCTIONS: [&str; 23] = [
    "ceil",
    "ceiling",
    "coalesce",
    "floor",
    "hex",
    "ifnull",
    "iif",
    "instr",
    "length",
    "lower",
    "ltrim",
    "nullif",
    "octet_length",
    "round",
    "rtrim",
    "sign",
    "substr",
    "substring",
    "trim",
    "trunc",
    "typeof",
    "unicode",
    "upper",
];

/// Functions that fail on what is not JSON; a collection's documents always are.
const JSON_FUNCTIONS: [&str; 4] = ["json_extract", "json_type", "json_array_length", "jsonb_extract"];

/// A condition over the columns of one table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filter {
    condition: Expr,
    operands: Vec<Operand>,
}

impl Filter {
    /// The filter that a conjunct is for the table at `item` of the scope, if it may be pushed there.
    pub(crate) fn of(conjunct: &Expr, scope: &Scope, item: usize) -> Option<Filter> {
        let table = &scope.items[item].table;
        let named = |expression: &Expr| scope.resolve(expression).is_some();
        if !ast::any(conjunct, &named) || !pushable(conjunct, scope, item, table) {
            return None;
        }
        let (mut condition, mut operands) = (conjunct.clone(), Vec::new());
        ast::rewrite(&mut condition, &mut |expression| match expression {
            Expr::Variable(variable) => {
                operands.push(Operand::Parameter(variable.index.get() as usize - 1));
                Some(ast::parameter(operands.len()))
            }
            Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) => {
                let name = match scope.resolve(expression)?.1 {
                    KeyColumn::Rowid => ast::Name::from_string(table.rowid_name?),
                    KeyColumn::Position(position) => ast::quoted_name(&table.columns[position].name),
                };
                Some(Expr::Id(name))
            }
            _ => None,
        });
        Some(Filter { condition, operands })
    }

    /// Its text, with parameters numbered after those in `params`, which its own are appended to. `None` if
    /// the request does not give one.
    pub(crate) fn render(&self, given: &[Value], params: &mut Vec<Value>) -> Option<String> {
        let offset = params.len();
        for operand in &self.operands {
            params.push(operand.value(given)?);
        }
        let mut condition = self.condition.clone();
        ast::rewrite(&mut condition, &mut |expression| match expression {
            Expr::Variable(variable) => Some(ast::parameter(variable.index.get() as usize + offset)),
            _ => None,
        });
        Some(format!("({condition})"))
    }
}

fn pushable(expression: &Expr, scope: &Scope, item: usize, table: &Table) -> bool {
    let json = table.kind == TableKind::Collection;
    let allowed = match expression {
        Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) => {
            return scope.resolve(expression).is_some_and(|(owner, column)| {
                owner == item && (column != KeyColumn::Rowid || table.rowid_name.is_some())
            });
        }
        Expr::Binary(_, operator, _) => match operator {
            Operator::ArrowRight | Operator::ArrowRightShift => json,
            Operator::Concat | Operator::ArrayContains | Operator::ArrayOverlap => false,
            _ => true,
        },
        Expr::Literal(literal) => matches!(
            literal,
            Literal::Numeric(_)
                | Literal::String(_)
                | Literal::Blob(_)
                | Literal::Null
                | Literal::True
                | Literal::False
        ),
        Expr::FunctionCall { name, distinctness: None, order_by, within_group, filter_over, .. } => {
            let known = |list: &[&str]| list.iter().any(|known| known.eq_ignore_ascii_case(name.as_str()));
            order_by.is_empty()
                && within_group.is_empty()
                && filter_over.filter_clause.is_none()
                && filter_over.over_clause.is_none()
                && (known(&FUNCTIONS) || json && known(&JSON_FUNCTIONS))
        }
        Expr::Like { op, .. } => LIKE_OPERATORS.contains(op),
        Expr::Between { .. }
        | Expr::Cast { .. }
        | Expr::Collate(..)
        | Expr::InList { .. }
        | Expr::IsNull(_)
        | Expr::NotNull(_)
        | Expr::Parenthesized(_)
        | Expr::Unary(..)
        | Expr::Variable(_) => true,
        _ => false,
    };
    allowed && ast::children(expression).into_iter().all(|child| pushable(child, scope, item, table))
}
