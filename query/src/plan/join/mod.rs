//! What a statement over several tables needs of each of them: every place where it names a table, through
//! views, WITH and subqueries, with the conditions that the rows there must pass to matter.
//!
//! A row that is left out must not be missed: by no join that would have supplied NULLs in its place, by no
//! aggregate, LIMIT or window that would have counted it. So a condition is only used for a table in the FROM
//! clause of the SELECT that has the condition, or further in through columns that are handed out unchanged.

mod core;
mod equality;
mod from;
mod joined_rows;
mod local;
mod names;
mod output;
mod sent;
mod shipping;
mod subqueries;
mod subquery_results;
mod subquery_tables;
mod walk;

use std::sync::Arc;

use crate::ast::Select;
use crate::filter::Filter;
use crate::route::{KeyColumn, Route};
use crate::shadow::Checked;
use crate::table::Table;

pub(crate) use equality::Equality;
pub(crate) use local::{LocalJoin, Sending};
pub(crate) use names::Place;
pub(crate) use shipping::{Shipment, Step, shown, steps};
pub(crate) use subqueries::{AROUND, has_subqueries, of_one_table};
use walk::Walk;

/// A view, parsed.
#[derive(Debug)]
pub(crate) struct View {
    /// Names that it gives its columns; none: those of its query.
    pub(crate) columns: Vec<String>,
    pub(crate) select: Select,
}

/// The objects that names in a statement may mean.
#[derive(Clone, Copy)]
pub(crate) struct Objects<'a> {
    pub(crate) table: &'a dyn Fn(&str) -> Option<Arc<Table>>,
    pub(crate) view: &'a dyn Fn(&str) -> Option<&'a View>,
}

/// A place where a statement names a base table.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) table: Arc<Table>,
    /// What rows must pass to matter.
    pub(crate) filters: Vec<Filter>,
    /// Where such rows are.
    pub(crate) route: Route,
    /// Columns whose value must also be one that another reference has.
    pub(crate) equalities: Vec<Equality>,
    /// Columns, with collations, by which rows are looked up for each row of a query around.
    pub(crate) lookups: Vec<(KeyColumn, String)>,
}

impl Reference {
    /// Any row of it may matter.
    pub(crate) fn want_all(&mut self) {
        (self.filters, self.route, self.equalities) = (Vec::new(), Route::default(), Vec::new());
    }
}

/// All places where a SELECT names tables; `None` if part of it is not understood.
pub(crate) fn references<'a>(
    select: &'a Select,
    checked: &Checked,
    objects: Objects<'a>,
) -> Option<Vec<Reference>> {
    let mut walk = Walk::new(objects);
    walk.select(select, None, None, None)?;
    let mut references = walk.references;
    // Whatever SQLite reads must have been found.
    let found = |name: &str| references.iter().any(|found| found.table.name.eq_ignore_ascii_case(name));
    if !checked.tables.keys().all(|name| found(name)) {
        return None;
    }
    equality::follow(&mut references);
    Some(references)
}
