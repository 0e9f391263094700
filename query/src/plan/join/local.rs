//! Joins whose rows each lie in one partition: every table is either a reference table, of which each partition
//! has all rows, or joined by its partition key to the key of the table that leads, and such keys lie together.
//! A small table that is neither can be sent to all partitions, and then is like a reference table.
//!
//! Such a join is looked at as one table, made of a subquery on the partitions, so that the rules for one
//! table apply to it. Each of its rows is named by the key of the leading table's row: all others are joined by a
//! unique key, so there is one row at most of each.

use std::sync::Arc;

use common::hash::Collation;
use common::value::Affinity;

use super::joined_rows::{Columns, relation};
use super::names::{Item, Names, Place, Relation as Given};
use super::subqueries::has_subqueries;
use super::{Objects, output, sent};
use crate::ast::{
    self, Expr, FromClause, JoinConstraint, JoinOperator, JoinType, OneSelect, Operator, Select, SelectTable,
};
use crate::plan::Source;
use crate::plan::push::{Why, affinity};
use crate::route::KeyColumn;
use crate::table::{Key, Subquery, Table};

/// A SELECT over a local join, as a SELECT of one table.
pub(crate) struct LocalJoin {
    pub(crate) select: Select,
    pub(crate) table: Arc<Table>,
    /// Tables that are sent, as numbers of sources, in the order of the parameters that hold their rows.
    pub(crate) sent: Vec<usize>,
}

/// Whether tables may be sent.
#[derive(Clone, Copy)]
pub(crate) struct Sending<'a> {
    pub(crate) is_allowed: bool,
    /// What is read of each table.
    pub(crate) sources: &'a [Source],
    /// Parameters of the client; those of the sent rows follow.
    pub(crate) parameters: usize,
}

/// One table of the FROM clause.
pub(super) struct Joined<'a> {
    pub(super) table: Arc<Table>,
    /// Whether its columns are NULL where it has no row that fits.
    pub(super) is_left: bool,
    pub(super) conditions: Vec<&'a Expr>,
    /// Its definition and its source, if its rows are sent.
    pub(super) sent: Option<(String, usize)>,
}

impl LocalJoin {
    /// Reads a SELECT, with `subqueries` also one that has some which partitions can answer. Without a reason it does
    /// not join.
    pub(crate) fn of(
        select: &Select,
        objects: Objects<'_>,
        sending: Sending<'_>,
        subqueries: bool,
    ) -> Result<LocalJoin, Option<Why>> {
        let OneSelect::Select { from: Some(from), where_clause, columns, .. } = &select.body.select else {
            return Err(None);
        };
        if select.with.is_some() || !select.body.compounds.is_empty() || from.joins.is_empty() {
            return Err(None);
        }
        let (mut joined, mut names) = tables(from, 0, objects.table)?;
        let (lead, together) = leading(&mut joined, &names, where_clause.as_deref(), sending)?;
        names.aliases = output::aliases(columns);
        if names.aliases.iter().any(|alias| alias.contains('.')) {
            return Err(Some("a result is called like a column of a join"));
        }
        let mut columns = Columns { joined: &joined, names: &names, used: Vec::new(), parameters: 0 };
        let key = columns.key(lead)?;
        let row = columns.row(lead)?;
        let local = match (has_subqueries(select), subqueries) {
            (true, true) => Some(columns.with_subqueries(select, together, objects.table)?),
            (true, false) => return Err(Some("there is a subquery")),
            (false, _) => None,
        };
        let rewritten = columns.select(local.as_ref().unwrap_or(select))?;
        let used = std::mem::take(&mut columns.used);
        let text = columns.text(&used)?;
        let definition = relation(&joined, &used, row);
        let sent: Vec<usize> = joined.iter().filter_map(|joined| Some(joined.sent.as_ref()?.1)).collect();
        let of_sent = if sent.is_empty() { 0 } else { sending.parameters + sent.len() };
        let subquery = Subquery { text, parameters: columns.parameters.max(of_sent) };
        Ok(LocalJoin { select: rewritten, table: Arc::new(Table::of_join(definition, key, subquery)), sent })
    }
}

/// The tables of a FROM clause of base tables, and their names. They are numbered from `base` on.
pub(super) fn tables<'a>(
    from: &'a FromClause,
    base: usize,
    find: &dyn Fn(&str) -> Option<Arc<Table>>,
) -> Result<(Vec<Joined<'a>>, Names), Why> {
    let (mut joined, mut names) = (Vec::new(), Names::default());
    let first = std::iter::once((&from.select, JoinType::INNER, None));
    let others = from.joins.iter().map(|join| {
        let kind = match join.operator {
            JoinOperator::TypedJoin(Some(kind)) => kind,
            JoinOperator::TypedJoin(None) | JoinOperator::Comma => JoinType::INNER,
        };
        (&join.table, kind, join.constraint.as_ref())
    });
    for (table, kind, constraint) in first.chain(others) {
        let SelectTable::Table(name, alias, None) = &**table else {
            return Err("the statement joins something else than tables");
        };
        let is_main = name.namespace.as_ref().is_none_or(|space| space.as_str().eq_ignore_ascii_case("main"));
        let found = find(name.name.as_str()).filter(|table| is_main && !table.is_split());
        let table = found.ok_or("the statement joins something else than whole tables")?;
        if kind.intersects(JoinType::NATURAL | JoinType::RIGHT)
            || (kind.contains(JoinType::OUTER) && !kind.contains(JoinType::LEFT))
        {
            return Err("the join is natural, or keeps rows of its right side");
        }
        let conditions = match constraint {
            None => Vec::new(),
            Some(JoinConstraint::On(condition)) => ast::conjuncts(condition),
            Some(JoinConstraint::Using(_)) => return Err("the join has USING"),
        };
        let alias = alias.as_ref().map_or(&name.name, ast::As::name).as_str().to_owned();
        let relation = Given::of_table(base + joined.len(), &table);
        let is_left = kind.contains(JoinType::LEFT);
        names.items.push(Item { alias: Some(alias), relation, nullable: is_left });
        joined.push(Joined { table, is_left, conditions, sent: None });
    }
    Ok((joined, names))
}

/// The table that leads: a partitioned one to which all others are joined by unique keys, those that are
/// partitioned by the columns that they are partitioned by, or else are sent. Of several the one for which the
/// fewest are sent. With it the columns whose value tells where the joined rows lie.
fn leading(
    joined: &mut [Joined<'_>],
    names: &Names,
    filter: Option<&Expr>,
    sending: Sending<'_>,
) -> Result<(usize, Vec<Place>), Why> {
    let filter = filter.map(ast::conjuncts).unwrap_or_default();
    if joined.iter().all(|joined| joined.table.reference) {
        return Err("all tables are reference tables");
    }
    let candidates =
        (0..joined.len()).filter(|&index| !joined[index].table.reference && !joined[index].is_left);
    let reached = candidates.filter_map(|lead| Some((lead, reached(lead, joined, names, &filter, sending)?)));
    let (lead, Reach { together, sent }) = reached
        .min_by_key(|(_, reach)| reach.sent.len())
        .ok_or("the tables are not joined by keys that lie together")?;
    for (number, index) in sent.into_iter().enumerate() {
        let name = &joined[index].table.name;
        let source = sending.sources.iter().position(|source| source.table.name == *name);
        let source = source.ok_or("a table that would be sent is not read")?;
        let parameter = sending.parameters + number + 1;
        let definition = sent::definition(index, joined[index].is_left, &sending.sources[source], parameter)?;
        joined[index].sent = Some((definition, source));
    }
    Ok((lead, together))
}

/// How all tables are joined to one that leads.
struct Reach {
    /// Columns whose value tells where the leading table's row lies.
    together: Vec<Place>,
    /// The tables that must be sent, in order.
    sent: Vec<usize>,
}

/// How all tables are joined to one that leads; `None` if they are not.
fn reached(
    lead: usize,
    joined: &[Joined<'_>],
    names: &Names,
    filter: &[&Expr],
    sending: Sending<'_>,
) -> Option<Reach> {
    let mut reached = vec![false; joined.len()];
    reached[lead] = true;
    // Tables whose rows lie where the leading table's row lies, by the same column of the key.
    let mut together: Vec<Place> = key_of(lead, &joined[lead].table).into_iter().collect();
    let mut sent = Vec::new();
    while !reached.iter().all(|reached| *reached) {
        let next = |may_be_sent: bool| {
            (0..joined.len()).filter(|&index| !reached[index]).find_map(|index| {
                let how = reach(index, joined, names, filter, &reached, &together, may_be_sent)?;
                Some((index, how))
            })
        };
        let (index, how) = next(false).or_else(|| next(true).filter(|_| sending.is_allowed))?;
        reached[index] = true;
        match how {
            Reached::Together(place) => together.push(place),
            Reached::Everywhere => {}
            Reached::Sent => sent.push(index),
        }
    }
    sent.sort_unstable();
    Some(Reach { together, sent })
}

/// Why a table's rows are where those are that they are joined with.
enum Reached {
    /// They lie together, by this key.
    Together(Place),
    /// Each partition has all of them.
    Everywhere,
    /// They are sent.
    Sent,
}

/// Whether a table is joined by a unique key to tables that are reached.
fn reach(
    index: usize,
    joined: &[Joined<'_>],
    names: &Names,
    filter: &[&Expr],
    reached: &[bool],
    together: &[Place],
    may_be_sent: bool,
) -> Option<Reached> {
    let own = &joined[index];
    // Conditions of other joins hold for rows that this one has let through, those of left joins do not.
    let inner = joined.iter().filter(|other| !other.is_left).flat_map(|other| &other.conditions);
    let conditions: Vec<&Expr> = match own.is_left {
        true => own.conditions.clone(),
        false => filter.iter().chain(inner).copied().collect(),
    };
    conditions.into_iter().find_map(|condition| {
        let Expr::Binary(left, Operator::Equals, right) = ast::bare(condition) else { return None };
        let (left, right) = (place(left, names)?, place(right, names)?);
        let (mine, other) = match (left.reference == index, right.reference == index) {
            (true, false) => (left, right),
            (false, true) => (right, left),
            _ => return None,
        };
        if !reached[other.reference] || !is_rowid(&own.table, mine.column) {
            return None;
        }
        if own.table.reference {
            return Some(Reached::Everywhere);
        }
        if may_be_sent {
            return Some(Reached::Sent);
        }
        let other_table = &joined[other.reference].table;
        let compared = (Affinity::Integer, Collation::Binary);
        let is_key = key_of(index, &own.table).is_some_and(|key| is_rowid(&own.table, key.column));
        let lies_together = is_key
            && together.iter().any(|key| same_column(other_table, *key, other))
            && comparison(other_table, other.column) == Some(compared);
        lies_together.then_some(Reached::Together(mine))
    })
}

pub(super) fn same_column(table: &Table, one: Place, other: Place) -> bool {
    let is_rowid = |place: Place| is_rowid(table, place.column);
    one.reference == other.reference && (one.column == other.column || is_rowid(one) && is_rowid(other))
}

pub(super) fn place(expression: &Expr, names: &Names) -> Option<Place> {
    names.column(ast::bare(expression))?.1.origins.first().copied()
}

pub(super) fn is_rowid(table: &Table, column: KeyColumn) -> bool {
    match column {
        KeyColumn::Rowid => true,
        KeyColumn::Position(position) => table.rowid_alias == Some(position),
    }
}

/// The only column that a table is partitioned by.
pub(super) fn key_of(reference: usize, table: &Table) -> Option<Place> {
    let column = match &table.key {
        _ if table.reference => return None,
        Key::Rowid => KeyColumn::Rowid,
        Key::Columns(columns) => match columns.as_slice() {
            &[position] => KeyColumn::Position(position),
            _ => return None,
        },
    };
    Some(Place { reference, column })
}

pub(super) fn comparison(table: &Table, column: KeyColumn) -> Option<(Affinity, Collation)> {
    match column {
        KeyColumn::Rowid => Some((Affinity::Integer, Collation::Binary)),
        KeyColumn::Position(position) => {
            Some((affinity(position, table), table.columns[position].known_collation()?))
        }
    }
}
