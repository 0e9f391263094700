//! The text that a partition runs, made of resolved expressions.

use std::fmt::Write as _;

use super::expression::{is_open_subquery, parameters};
use super::one_table::{OneTable, Term};
use crate::ast::{self, Expr, Literal, NullsOrder};
use crate::plan::join::AROUND;
use crate::table::Table;

/// A SELECT for partitions.
#[derive(Clone, Debug, Default)]
pub(super) struct Fragment {
    from: String,
    pub(super) columns: Vec<Expr>,
    pub(super) condition: Option<Expr>,
    pub(super) groups: Vec<Expr>,
    pub(super) having: Option<Expr>,
    pub(super) order: Vec<Term>,
    /// Whether rows must be visited in the order of their keys, whatever indexes offer.
    pub(super) in_row_order: bool,
    has_indexes: bool,
    /// Parameters that the FROM clause uses.
    parameters: usize,
}

impl Fragment {
    /// The rows that a SELECT is about, without columns as yet.
    pub(super) fn of_rows(one: &OneTable) -> Fragment {
        // Without rowid the primary key is an index too, the one that rows are visited by anyway.
        let has_indexes =
            one.table.indexes.iter().any(|index| {
                !one.table.without_rowid || index.origin != sqlite::schema::IndexOrigin::PrimaryKey
            });
        let name = if one.has_subqueries() { format!(" AS {AROUND}") } else { String::new() };
        Fragment {
            from: format!("{}{name}", one.table.source_text()),
            condition: one.condition.clone(),
            has_indexes,
            parameters: one.table.parameters(),
            ..Fragment::default()
        }
    }

    /// The client's parameters that it uses: the greatest number of one.
    pub(super) fn parameters(&self) -> usize {
        let expressions = self
            .columns
            .iter()
            .chain(&self.groups)
            .chain(&self.having)
            .chain(self.order.iter().map(|term| &term.expression));
        expressions.map(parameters).max().unwrap_or(0).max(self.source_parameters())
    }

    /// The same of [`Fragment::source`].
    pub(super) fn source_parameters(&self) -> usize {
        self.condition.as_ref().map_or(0, parameters).max(self.parameters)
    }

    fn filter(&self) -> String {
        self.condition.as_ref().map(|condition| format!(" WHERE {condition}")).unwrap_or_default()
    }

    /// FROM and WHERE, for rows in any order.
    pub(super) fn source(&self) -> String {
        format!(" FROM {}{}", self.from, self.filter())
    }

    pub(super) fn text(&self) -> String {
        // Groups of which nothing is computed are distinct rows, which SQLite finds without sorting.
        let same = |one: &[Expr], other: &[Expr]| one.iter().all(|expression| other.contains(expression));
        let distinct = self.having.is_none()
            && !self.groups.is_empty()
            && same(&self.columns, &self.groups)
            && same(&self.groups, &self.columns);
        let word = if distinct { "DISTINCT " } else { "" };
        let in_row_order = if self.in_row_order && self.has_indexes { " NOT INDEXED" } else { "" };
        let mut sql =
            format!("SELECT {word}{} FROM {}{in_row_order}{}", list(&self.columns), self.from, self.filter());
        // Writing to a string cannot fail.
        if !self.groups.is_empty() && !distinct {
            let _ = write!(sql, " GROUP BY {}", list(&self.groups));
        }
        if let Some(having) = &self.having {
            let _ = write!(sql, " HAVING {having}");
        }
        if !self.order.is_empty() {
            let order: Vec<Term> = self.order.iter().map(|term| self.once(term)).collect();
            let _ = write!(sql, " ORDER BY {}", terms(&order));
        }
        sql
    }

    /// A term of ORDER BY, by the number of its column if SQLite would evaluate it twice.
    fn once(&self, term: &Term) -> Term {
        let is_open = ast::any(&term.expression, &is_open_subquery);
        match self.columns.iter().position(|column| *column == term.expression).filter(|_| is_open) {
            Some(at) => {
                Term { expression: Expr::Literal(Literal::Numeric((at + 1).to_string())), ..term.clone() }
            }
            None => term.clone(),
        }
    }
}

/// The terms by which SQLite keeps the rows of a table in order.
pub(crate) fn row_order(table: &Table) -> Vec<Term> {
    let name = |position: usize| Expr::Id(ast::quoted_name(&table.columns[position].name));
    let ascending = |expression| Term { expression, descending: false, nulls: None };
    match (table.rowid_alias, table.rowid_name) {
        (Some(alias), _) => vec![ascending(name(alias))],
        (None, Some(rowid)) => vec![ascending(Expr::Id(ast::Name::from_string(rowid)))],
        (None, None) => {
            let key = table.key_terms();
            let key = key.iter().filter_map(|term| Some((term.column?, term)));
            key.map(|(position, term)| {
                let is_own = !table.columns[position].collation.eq_ignore_ascii_case(&term.collation);
                let expression = match is_own {
                    true => Expr::Collate(Box::new(name(position)), ast::quoted_name(&term.collation)),
                    false => name(position),
                };
                Term { expression, descending: term.descending, nulls: None }
            })
            .collect()
        }
    }
}

/// Expressions as a list.
pub(super) fn list(expressions: &[Expr]) -> String {
    expressions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Terms of ORDER BY.
pub(super) fn terms(terms: &[Term]) -> String {
    let text = |term: &Term| {
        let mut text = term.expression.to_string();
        if term.descending {
            text.push_str(" DESC");
        }
        match term.nulls {
            Some(NullsOrder::First) => text.push_str(" NULLS FIRST"),
            Some(NullsOrder::Last) => text.push_str(" NULLS LAST"),
            None => {}
        }
        text
    };
    terms.iter().map(text).collect::<Vec<_>>().join(", ")
}
