//! What generated columns are computed from, as the text of their table says.
//!
//! SQLite tells of a generated column that it is one, not how it is computed.

use std::collections::BTreeSet;

use sqlite::schema::{Generated, Table};

use crate::ast::{self, Cmd, ColumnConstraint, CreateTableBody, Expr, Stmt};

/// A generated column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GeneratedColumn {
    /// Its position.
    pub(crate) column: usize,
    /// Positions of the stored columns that its value follows from, be it through other generated ones.
    pub(crate) reads: BTreeSet<usize>,
    /// The expression.
    expression: String,
    stored: bool,
}

impl GeneratedColumn {
    /// How a definition says it behind name, type and collation.
    pub(crate) fn clause(&self) -> String {
        format!("AS ({}) {}", self.expression, if self.stored { "STORED" } else { "VIRTUAL" })
    }

    /// The same for a column whose value is not kept.
    pub(crate) fn computed_clause(&self) -> String {
        format!("AS ({}) VIRTUAL", self.expression)
    }
}

/// The generated columns of a table in their order; `None` if its text is not understood.
pub(crate) fn generated_columns(table: &Table) -> Option<Vec<GeneratedColumn>> {
    let is_generated = |position: usize| table.columns[position].is_generated();
    let positions: Vec<usize> = (0..table.columns.len()).filter(|&position| is_generated(position)).collect();
    if positions.is_empty() {
        return Some(Vec::new());
    }
    let Some(Cmd::Stmt(Stmt::CreateTable {
        body: CreateTableBody::ColumnsAndConstraints { columns, .. },
        ..
    })) = ast::parse(&table.sql)
    else {
        return None;
    };
    let expression = |position: usize| {
        let constraints = &columns.get(position)?.constraints;
        constraints.iter().find_map(|constraint| match &constraint.constraint {
            ColumnConstraint::Generated { expr, .. } => Some(expr.as_ref()),
            _ => None,
        })
    };
    let column = |&position: &usize| {
        let mut reads = BTreeSet::new();
        follow(table, &expression, position, &mut reads)?;
        reads.retain(|&position| !is_generated(position));
        Some(GeneratedColumn {
            column: position,
            reads,
            expression: expression(position)?.to_string(),
            stored: table.columns[position].generated == Generated::Stored,
        })
    };
    positions.iter().map(column).collect()
}

/// Adds the columns that a generated one is computed from, and those that they are computed from.
fn follow<'e>(
    table: &Table,
    expression: &impl Fn(usize) -> Option<&'e Expr>,
    position: usize,
    reads: &mut BTreeSet<usize>,
) -> Option<()> {
    let mut named = Vec::new();
    add_named(table, expression(position)?, &mut named);
    for column in named {
        if reads.insert(column) && table.columns[column].is_generated() {
            follow(table, expression, column, reads)?;
        }
    }
    Some(())
}

/// Adds the columns that an expression names. What names none is a text in double quotes.
fn add_named(table: &Table, expression: &Expr, named: &mut Vec<usize>) {
    let name = match expression {
        Expr::Id(name) | Expr::Name(name) | Expr::Qualified(_, name) | Expr::DoublyQualified(_, _, name) => {
            Some(name)
        }
        _ => None,
    };
    named.extend(name.and_then(|name| table.column(name.as_str())));
    ast::children_and_windows(expression).into_iter().for_each(|child| add_named(table, child, named));
}
