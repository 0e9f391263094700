//! What lies between the partitions' texts and the one that merges: the columns of parts.

use common::hash::Collation;
use sqlite::schema::Table as Definition;

use super::PARTS;
use crate::ast::Expr;
use crate::plan::push::Why;
use crate::plan::push::expression::{affinity, collation, column};
use crate::table::Table;

/// The fragment's columns after the row that stands for the part.
#[derive(Default)]
pub(super) struct Columns {
    /// Expression, declared type, collation.
    pub(super) parts: Vec<(Expr, &'static str, Collation)>,
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
    pub(super) fn row_value(&mut self, expression: &Expr, table: &Table) -> Result<String, Why> {
        let declared = match column(expression, table) {
            Some(Some(position)) => affinity(position, table).declared_type(),
            Some(None) => "INTEGER",
            None => "",
        };
        let collation = collation(expression, table).ok_or("a collation is unknown")?;
        Ok(self.add(expression.clone(), declared, collation))
    }

    /// A column of computed values that compare under a collation.
    pub(super) fn untyped(&mut self, evaluated: Expr, collation: Collation) -> String {
        self.add(evaluated, "", collation)
    }

    /// The parts as a relation; `has_row`: they are kept by the row that stands for them.
    pub(super) fn definition(&self, table: &Table, has_row: bool) -> Definition {
        let columns = self
            .parts
            .iter()
            .enumerate()
            .map(|(index, (_, declared, collation))| (format!("p{index}"), *declared, *collation));
        if table.without_rowid && has_row {
            // The key may compare otherwise than its column.
            let key = table.key_terms().swap_remove(0);
            let collation = Collation::parse(&key.collation).unwrap_or_default();
            let key_type = affinity(table.primary_key[0], table).declared_type();
            let key = ("row".to_owned(), key_type, collation);
            return Definition::keyed(PARTS, std::iter::once(key).chain(columns));
        }
        Definition::plain(PARTS, columns)
    }
}
