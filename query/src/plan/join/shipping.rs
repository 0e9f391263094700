//! Which tables of a gathered statement are fetched first, so that the values of their columns can be sent to
//! the partitions of the tables that they are compared with.
//!
//! A value is sent as a parameter of `column IN (…)`, where SQLite applies the affinity of the column alone. The
//! statement's own comparison may convert the column instead; then nothing is sent.

use common::value::Affinity;

use super::{Equality, Reference};
use crate::filter::Filter;
use crate::plan::Source;
use crate::route::KeyColumn;
use crate::table::Table;

/// Tables that are fetched one after the other, at most: each costs the time of a request.
const STEPS_MAX: usize = 3;

/// A table that is fetched before others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Its number among the sources.
    pub(crate) from: usize,
    pub(crate) shipments: Vec<Shipment>,
}

/// Values of a column that are sent to another table's partitions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shipment {
    pub(crate) from_column: KeyColumn,
    /// Number of the other source.
    pub(crate) to: usize,
    pub(crate) column: KeyColumn,
    /// The collation of the comparison, if it is not the column's own.
    pub(crate) collation: Option<String>,
}

/// Decides what is fetched first: the narrowest table, as long as others depend on it.
pub(crate) fn steps(sources: &[Source], references: &[Reference]) -> Vec<Step> {
    let mut narrowness: Vec<u32> = sources.iter().map(narrowness).collect();
    let mut fetched = vec![false; sources.len()];
    let mut steps = Vec::new();
    while steps.len() < STEPS_MAX {
        let open = |index: &usize| !fetched[*index] && narrowness[*index] > 0;
        let candidates = (0..sources.len()).filter(open).filter_map(|from| {
            let shipments = shipments(from, sources, references, &fetched);
            (!shipments.is_empty()).then_some((from, shipments))
        });
        let Some((from, shipments)) =
            candidates.max_by_key(|(from, _)| (narrowness[*from], std::cmp::Reverse(*from)))
        else {
            break;
        };
        fetched[from] = true;
        for shipment in &shipments {
            narrowness[shipment.to] += 1 + narrowness[from] / 2;
        }
        steps.push(Step { from, shipments });
    }
    steps
}

/// How much conditions leave out, roughly.
fn narrowness(source: &Source) -> u32 {
    let filters = source.filters.iter().map(Filter::weight).sum::<u32>();
    filters + if source.route.leads_anywhere() { 0 } else { 4 }
}

/// The shipments from a source to those that are not fetched yet: one to each.
fn shipments(from: usize, sources: &[Source], references: &[Reference], fetched: &[bool]) -> Vec<Shipment> {
    let to_other = |to: usize| {
        let named: Vec<&Reference> =
            references.iter().filter(|reference| reference.table.name == sources[to].table.name).collect();
        let (first, others) = named.split_first()?;
        let is_from = |equality: &&Equality| {
            references[equality.other.reference].table.name == sources[from].table.name
        };
        // A table that is named several times is gathered once: the values must be enough for all of them.
        let everywhere = |equality: &&Equality| {
            others.iter().all(|other| {
                other.equalities.iter().filter(is_from).any(|same| {
                    same.column == equality.column
                        && same.other.column == equality.other.column
                        && same.collation.eq_ignore_ascii_case(&equality.collation)
                })
            })
        };
        let mut equalities = first.equalities.iter().filter(is_from).filter(everywhere);
        equalities.find_map(|equality| shipment(&sources[from], &sources[to], to, equality))
    };
    (0..sources.len()).filter(|&to| to != from && !fetched[to]).filter_map(to_other).collect()
}

fn shipment(from: &Source, to: &Source, number: usize, equality: &Equality) -> Option<Shipment> {
    let given = equality.other.column;
    let is_fetched = match given {
        KeyColumn::Rowid => from.table.rowid_name.is_some(),
        KeyColumn::Position(position) => from.columns.contains(&position),
    };
    let finds_all = match (affinity(&to.table, equality.column), affinity(&from.table, given)) {
        (Affinity::Integer | Affinity::Real | Affinity::Numeric, _) => true,
        (Affinity::Text, given) => matches!(given, Affinity::Text | Affinity::Blob),
        (Affinity::Blob, given) => given == Affinity::Blob,
    };
    let own_collation = match equality.column {
        KeyColumn::Rowid => None,
        KeyColumn::Position(position) => Some(to.table.columns[position].collation.as_str()),
    };
    let differs = own_collation.is_some_and(|own| !own.eq_ignore_ascii_case(&equality.collation));
    (is_fetched && finds_all).then(|| Shipment {
        from_column: given,
        to: number,
        column: equality.column,
        collation: differs.then(|| equality.collation.clone()),
    })
}

fn affinity(table: &Table, column: KeyColumn) -> Affinity {
    match column {
        KeyColumn::Rowid => Affinity::Integer,
        KeyColumn::Position(position) => table.columns[position].affinity,
    }
}

/// A column as plans show it.
pub(crate) fn shown(table: &Table, column: KeyColumn) -> String {
    let name = match column {
        KeyColumn::Rowid => "rowid",
        KeyColumn::Position(position) => table.columns[position].name.as_str(),
    };
    format!("{}.{name}", table.name)
}
