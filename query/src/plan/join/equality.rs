//! Columns that a statement compares with columns of other references: only rows whose value the other side
//! has matter. That prunes buckets, and lets the values of one side be sent to the other.

use common::hash::Collation;
use common::value::Affinity;

use super::Reference;
use super::core::held_column;
use super::from::Condition;
use super::names::{Column, Level, Place, Relation};
use super::walk::{Exists, Walk};
use crate::ast::{self, Expr};
use crate::route::{KeyColumn, Test};
use crate::table::{Key, Table};

/// Rounds in which routes are handed on; one per join that lies between two tables.
const ROUNDS_MAX: usize = 8;

/// Of a reference's rows, only those matter whose value equals one that another reference has. NULL equals
/// nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Equality {
    /// The column of the rows in question.
    pub(crate) column: KeyColumn,
    pub(crate) other: Place,
    /// The collation under which the statement compares.
    pub(crate) collation: String,
}

impl Walk<'_> {
    /// Notes an equality between two expressions that must be true, if both are columns.
    pub(super) fn equate(
        &mut self,
        left: &Expr,
        right: &Expr,
        condition: &Condition<'_>,
        level: &Level<'_>,
        exists: Option<Exists<'_>>,
    ) {
        let (left, right) = (ast::bare(left), ast::bare(right));
        let (Some(found_left), Some(found_right)) = (level.resolve(left), level.resolve(right)) else {
            return;
        };
        let Some(collation) = self.collation(&found_left.2) else { return };
        for (own, own_found, other_found) in
            [(left, &found_left, &found_right), (right, &found_right, &found_left)]
        {
            if own_found.0 == 0 && other_found.0 > 0 {
                for place in &own_found.2.origins {
                    let lookup = (place.column, collation.clone());
                    self.references[place.reference].lookups.push(lookup);
                }
            }
            let &[provider] = other_found.2.origins.as_slice() else { continue };
            if own_found.0 == 0
                && let Some((_, column)) = held_column(own, condition, level.names)
            {
                self.note(&column, provider, &collation);
            }
            let holds_outside = exists
                .is_some_and(|exists| own_found.0 == 1 && exists.0[own_found.1] && own_found.2.filterable);
            if holds_outside && other_found.0 == 0 {
                self.note(&own_found.2, provider, &collation);
            }
        }
    }

    /// Notes that an expression must be one of the values that a query gives.
    pub(super) fn equate_with_query(
        &mut self,
        value: &Expr,
        given: &Relation,
        condition: &Condition<'_>,
        level: &Level<'_>,
    ) {
        let value = ast::bare(value);
        let (Some([column]), Some(found)) = (given.columns.as_deref(), level.resolve(value)) else { return };
        let Some(collation) = self.collation(&found.2) else { return };
        if let (&[provider], Some((_, held))) =
            (column.origins.as_slice(), held_column(value, condition, level.names))
        {
            self.note(&held, provider, &collation);
        }
        if let (&[provider], true) = (found.2.origins.as_slice(), column.filterable) {
            self.note(column, provider, &collation);
        }
    }

    fn note(&mut self, column: &Column, other: Place, collation: &str) {
        for place in column.origins.iter().filter(|place| place.reference != other.reference) {
            let equality = Equality { column: place.column, other, collation: collation.to_owned() };
            self.references[place.reference].equalities.push(equality);
        }
    }

    /// The collation that comes with a column that is a plain copy of one of a table.
    fn collation(&self, column: &Column) -> Option<String> {
        let place = column.origins.first()?;
        Some(match place.column {
            KeyColumn::Rowid => "BINARY".to_owned(),
            KeyColumn::Position(position) => {
                self.references[place.reference].table.columns[position].collation.clone()
            }
        })
    }
}

/// Where a column must equal the key of another reference, values asked of that one are asked of this one.
pub(super) fn follow(references: &mut [Reference]) {
    for _ in 0..ROUNDS_MAX {
        let mut learned = Vec::new();
        for (index, reference) in references.iter().enumerate() {
            if values_asked(reference).is_some() {
                continue;
            }
            let handed_on = reference.equalities.iter().find_map(|equality| {
                let other = &references[equality.other.reference];
                let same = comparison(&reference.table, equality.column)?;
                let is_same = Some(same) == comparison(&other.table, equality.other.column);
                values_asked(other).filter(|_| is_same).cloned()
            });
            learned.extend(handed_on.map(|test| (index, test)));
        }
        if learned.is_empty() {
            return;
        }
        for (index, test) in learned {
            references[index].route.tests.push((0, test));
        }
    }
}

/// The values that the first column of a reference's key may have.
fn values_asked(reference: &Reference) -> Option<&Test> {
    let tests = reference.route.tests.iter();
    tests
        .filter(|(position, _)| *position == 0)
        .map(|(_, test)| test)
        .find(|test| matches!(test, Test::In(_)))
}

/// How a table's key compares, if the column is the whole key.
fn comparison(table: &Table, column: KeyColumn) -> Option<(Affinity, Collation)> {
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
