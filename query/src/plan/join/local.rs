//! Joins whose rows each lie in one partition: every table is either a reference table, of which each partition
//! has all rows, or joined by its partition key to the key of the table that leads, and such keys lie together.
//!
//! Such a join is looked at as one table, made of a subquery on the partitions, so that the rules for one
//! table apply to it. Each of its rows is named by the key of the leading table's row: all others are joined by a
//! unique key, so there is one row at most of each.

use std::fmt::Write as _;
use std::sync::Arc;

use common::hash::Collation;
use common::names::quote_identifier;
use common::value::Affinity;
use sqlite::schema::{Column as Definition, Generated, Table as Relation};

use super::names::{Item, Names, Place, Relation as Given};
use super::{Objects, output};
use crate::ast::{
    self, Expr, FromClause, JoinConstraint, JoinOperator, JoinType, OneSelect, Operator, QualifiedName,
    ResultColumn, Select, SelectTable,
};
use crate::plan::push::{self, Why};
use crate::route::KeyColumn;
use crate::table::{Key, Table};

/// What the joined rows are called as a table.
const NAME: &str = "joined";

/// A SELECT over a local join, as a SELECT of one table.
pub(crate) struct LocalJoin {
    pub(crate) select: Select,
    pub(crate) table: Arc<Table>,
}

/// One table of the FROM clause.
struct Joined<'a> {
    table: Arc<Table>,
    /// Whether its columns are NULL where it has no row that fits.
    is_left: bool,
    conditions: Vec<&'a Expr>,
}

impl LocalJoin {
    /// Reads a SELECT. Without a reason it does not join.
    pub(crate) fn of(select: &Select, objects: Objects<'_>) -> Result<LocalJoin, Option<Why>> {
        let OneSelect::Select { from: Some(from), where_clause, columns, .. } = &select.body.select else {
            return Err(None);
        };
        if select.with.is_some() || !select.body.compounds.is_empty() || from.joins.is_empty() {
            return Err(None);
        }
        let (joined, mut names) = tables(from, objects)?;
        let lead = leading(&joined, &names, where_clause.as_deref())?;
        names.aliases = output::aliases(columns);
        if names.aliases.iter().any(|alias| alias.contains('.')) {
            return Err(Some("a result is called like a column of a join"));
        }
        let mut columns = Columns { joined: &joined, names: &names, used: Vec::new() };
        let key = columns.key(lead)?;
        let row = columns.row(lead)?;
        let rewritten = columns.select(select)?;
        let used = std::mem::take(&mut columns.used);
        let text = columns.text(&used)?;
        let definition = relation(&joined, &used, row);
        Ok(LocalJoin { select: rewritten, table: Arc::new(Table::of_join(definition, key, text)) })
    }
}

/// The tables of a FROM clause of base tables, and their names.
fn tables<'a>(from: &'a FromClause, objects: Objects<'_>) -> Result<(Vec<Joined<'a>>, Names), Why> {
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
        let found = (objects.table)(name.name.as_str()).filter(|table| is_main && !table.is_split());
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
        let relation = Given::of_table(joined.len(), &table);
        names.items.push(Item { alias: Some(alias), relation, nullable: false });
        joined.push(Joined { table, is_left: kind.contains(JoinType::LEFT), conditions });
    }
    Ok((joined, names))
}

/// The table that leads: a partitioned one to which all others are joined by unique keys, those that are
/// partitioned by the columns that they are partitioned by.
fn leading(joined: &[Joined<'_>], names: &Names, filter: Option<&Expr>) -> Result<usize, Why> {
    let filter = filter.map(ast::conjuncts).unwrap_or_default();
    let candidates =
        (0..joined.len()).filter(|&index| !joined[index].table.reference && !joined[index].is_left);
    let mut why = "all tables are reference tables";
    for lead in candidates {
        let mut reached = vec![false; joined.len()];
        reached[lead] = true;
        // Tables whose rows lie where the leading table's row lies, by the same column of the key.
        let mut together: Vec<Place> = key_of(lead, &joined[lead].table).into_iter().collect();
        loop {
            let next = (0..joined.len()).filter(|&index| !reached[index]).find_map(|index| {
                let place = reach(index, joined, names, &filter, &reached, &together)?;
                Some((index, place))
            });
            let Some((index, key)) = next else { break };
            reached[index] = true;
            together.extend(key);
        }
        if reached.iter().all(|reached| *reached) {
            return Ok(lead);
        }
        why = "the tables are not joined by keys that lie together";
    }
    Err(why)
}

/// Whether a table is joined by a unique key to tables that are reached; its key, if that lies with theirs.
fn reach(
    index: usize,
    joined: &[Joined<'_>],
    names: &Names,
    filter: &[&Expr],
    reached: &[bool],
    together: &[Place],
) -> Option<Option<Place>> {
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
            return Some(None);
        }
        let other_table = &joined[other.reference].table;
        let compared = (Affinity::Integer, Collation::Binary);
        let is_key = key_of(index, &own.table).is_some_and(|key| is_rowid(&own.table, key.column));
        let lies_together = is_key
            && together.iter().any(|key| same_column(other_table, *key, other))
            && comparison(other_table, other.column) == Some(compared);
        lies_together.then_some(Some(mine))
    })
}

fn same_column(table: &Table, one: Place, other: Place) -> bool {
    let is_rowid = |place: Place| is_rowid(table, place.column);
    one.reference == other.reference && (one.column == other.column || is_rowid(one) && is_rowid(other))
}

fn place(expression: &Expr, names: &Names) -> Option<Place> {
    names.column(ast::bare(expression))?.1.origins.first().copied()
}

fn is_rowid(table: &Table, column: KeyColumn) -> bool {
    match column {
        KeyColumn::Rowid => true,
        KeyColumn::Position(position) => table.rowid_alias == Some(position),
    }
}

/// The only column that a table is partitioned by.
fn key_of(reference: usize, table: &Table) -> Option<Place> {
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

fn comparison(table: &Table, column: KeyColumn) -> Option<(Affinity, Collation)> {
    match column {
        KeyColumn::Rowid => Some((Affinity::Integer, Collation::Binary)),
        KeyColumn::Position(position) => {
            let column = &table.columns[position];
            Some((column.affinity, column.known_collation()?))
        }
    }
}

/// The columns of the joined rows, in the order in which they are first used.
struct Columns<'a> {
    joined: &'a [Joined<'a>],
    names: &'a Names,
    used: Vec<Place>,
}

impl Columns<'_> {
    /// The position of a column among those of the joined rows.
    fn add(&mut self, place: Place) -> usize {
        let found = self.used.iter().position(|used| *used == place);
        found.unwrap_or_else(|| {
            self.used.push(place);
            self.used.len() - 1
        })
    }

    /// The columns that the leading table is partitioned by.
    fn key(&mut self, lead: usize) -> Result<Key, Why> {
        let table = &self.joined[lead].table;
        let columns = match &table.key {
            Key::Rowid => vec![KeyColumn::Rowid],
            Key::Columns(columns) => columns.iter().copied().map(KeyColumn::Position).collect(),
        };
        let places =
            columns.into_iter().map(|column| self.add(self.plain(Place { reference: lead, column })));
        let places: Vec<usize> = places.collect();
        if self.used.iter().any(|place| place.column == KeyColumn::Rowid && table.rowid_name.is_none()) {
            return Err("the table's rows have no order");
        }
        Ok(Key::Columns(places))
    }

    /// The column that names a row of the leading table.
    fn row(&mut self, lead: usize) -> Result<usize, Why> {
        if self.joined[lead].table.rowid_name.is_none() {
            return Err("the table's key has several columns");
        }
        let place = self.plain(Place { reference: lead, column: KeyColumn::Rowid });
        Ok(self.add(place))
    }

    /// The rowid by the column that is another name of it.
    fn plain(&self, place: Place) -> Place {
        match (place.column, self.joined[place.reference].table.rowid_alias) {
            (KeyColumn::Rowid, Some(alias)) => Place { column: KeyColumn::Position(alias), ..place },
            _ => place,
        }
    }

    fn name(&self, place: Place) -> Result<String, Why> {
        let table = &self.joined[place.reference].table;
        let name = match place.column {
            KeyColumn::Rowid => table.rowid_name.ok_or("the rowid has no name")?,
            KeyColumn::Position(position) => table.columns[position].name.as_str(),
        };
        Ok(format!("{}.{name}", place.reference))
    }

    /// Calls columns as the joined rows do. Names of results stay.
    fn rewrite(&mut self, expression: &mut Expr) -> Result<(), Why> {
        let mut failed = None;
        let names = self.names;
        ast::rewrite(expression, &mut |part| match part {
            Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) | Expr::DoublyQualified(..) => {
                let Some(place) = place(part, names) else {
                    let is_alias = matches!(part, Expr::Id(name) if names.is_alias(name.as_str()));
                    failed = failed.or((!is_alias).then_some("a name is no column of the joined tables"));
                    return None;
                };
                let place = self.plain(place);
                match self.name(place) {
                    Ok(name) => {
                        self.add(place);
                        Some(Expr::Id(ast::quoted_name(&name)))
                    }
                    Err(why) => {
                        failed = Some(why);
                        None
                    }
                }
            }
            _ => None,
        });
        failed.map_or(Ok(()), Err)
    }

    /// The SELECT over the joined rows.
    fn select(&mut self, select: &Select) -> Result<Select, Why> {
        let mut rewritten = select.clone();
        for term in &mut rewritten.order_by {
            self.rewrite(&mut term.expr)?;
        }
        let OneSelect::Select { columns, from, where_clause, group_by, .. } = &mut rewritten.body.select
        else {
            return Err("the statement is more than a join");
        };
        let name = QualifiedName::single(ast::quoted_name(NAME));
        *from =
            Some(FromClause { select: Box::new(SelectTable::Table(name, None, None)), joins: Vec::new() });
        *columns = self.results(std::mem::take(columns))?;
        if let Some(condition) = where_clause {
            self.rewrite(condition)?;
        }
        if let Some(group) = group_by {
            group.exprs.iter_mut().try_for_each(|term| self.rewrite(term))?;
            group.having.iter_mut().try_for_each(|having| self.rewrite(having))?;
        }
        Ok(rewritten)
    }

    fn results(&mut self, columns: Vec<ResultColumn>) -> Result<Vec<ResultColumn>, Why> {
        let mut results = Vec::new();
        for column in columns {
            match column {
                ResultColumn::Expr(mut expression, alias) => {
                    self.rewrite(&mut expression)?;
                    results.push(ResultColumn::Expr(expression, alias));
                }
                ResultColumn::Star => {
                    for index in 0..self.joined.len() {
                        self.all_of(index, &mut results)?;
                    }
                }
                ResultColumn::TableStar(qualifier) => {
                    let is_called = |item: &Item| {
                        item.alias
                            .as_ref()
                            .is_some_and(|alias| alias.eq_ignore_ascii_case(qualifier.as_str()))
                    };
                    let index = self.names.items.iter().position(is_called);
                    self.all_of(index.ok_or("a name is no table of the join")?, &mut results)?;
                }
            }
        }
        Ok(results)
    }

    fn all_of(&mut self, index: usize, results: &mut Vec<ResultColumn>) -> Result<(), Why> {
        for position in 0..self.joined[index].table.columns.len() {
            let place = Place { reference: index, column: KeyColumn::Position(position) };
            self.add(place);
            let name = ast::quoted_name(&self.name(place)?);
            results.push(ResultColumn::Expr(Box::new(Expr::Id(name)), None));
        }
        Ok(())
    }

    /// The subquery that makes the joined rows.
    fn text(&self, used: &[Place]) -> Result<String, Why> {
        let sql = |place: &Place| -> Result<String, Why> {
            let table = &self.joined[place.reference].table;
            let column = match place.column {
                KeyColumn::Rowid => table.rowid_name.ok_or("the rowid has no name")?.to_owned(),
                KeyColumn::Position(position) => quote_identifier(&table.columns[position].name),
            };
            Ok(format!("t{}.{column}", place.reference))
        };
        let mut columns = Vec::with_capacity(used.len());
        for place in used {
            columns.push(format!("{} AS {}", sql(place)?, quote_identifier(&self.name(*place)?)));
        }
        let mut text = format!("(SELECT {} FROM", columns.join(", "));
        for (index, joined) in self.joined.iter().enumerate() {
            let kind = match (index, joined.is_left) {
                (0, _) => "",
                (_, true) => " LEFT JOIN",
                (_, false) => " JOIN",
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "{kind} {} AS t{index}", quote_identifier(&joined.table.name));
            let mut conditions = Vec::with_capacity(joined.conditions.len());
            for condition in &joined.conditions {
                let mut condition = (*condition).clone();
                self.own_names(&mut condition)?;
                conditions.push(format!("({condition})"));
            }
            if !conditions.is_empty() {
                let _ = write!(text, " ON {}", conditions.join(" AND "));
            }
        }
        text.push(')');
        Ok(text)
    }

    /// Calls columns as the subquery's own FROM clause does.
    fn own_names(&self, condition: &mut Expr) -> Result<(), Why> {
        let mut resolved = condition.clone();
        ast::rewrite(&mut resolved, &mut |part| match part {
            Expr::Qualified(_, name) => Some(Expr::Id(name.clone())),
            _ => None,
        });
        push::check_row(&resolved)?;
        let mut failed = None;
        ast::rewrite(condition, &mut |part| match part {
            Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) | Expr::DoublyQualified(..) => {
                let Some(found) = place(part, self.names) else {
                    failed = Some("a name is no column of the joined tables");
                    return None;
                };
                let table = &self.joined[found.reference].table;
                let name = match found.column {
                    KeyColumn::Rowid => ast::Name::from_string(table.rowid_name?),
                    KeyColumn::Position(position) => ast::quoted_name(&table.columns[position].name),
                };
                Some(Expr::Qualified(ast::Name::from_string(format!("t{}", found.reference)), name))
            }
            Expr::Variable(_) => {
                // The fragment counts the parameters that it sees, and these it does not.
                failed = Some("a condition of the join has a parameter");
                None
            }
            _ => None,
        });
        failed.map_or(Ok(()), Err)
    }
}

/// The joined rows as a relation that is kept by one of its columns.
fn relation(joined: &[Joined<'_>], used: &[Place], row: usize) -> Relation {
    let column = |place: &Place| {
        let table = &joined[place.reference].table;
        let rowid = Definition {
            name: format!("{}.{}", place.reference, table.rowid_name.unwrap_or("rowid")),
            declared_type: "INTEGER".to_owned(),
            affinity: Affinity::Integer,
            collation: "BINARY".to_owned(),
            not_null: false,
            default: None,
            generated: Generated::No,
        };
        match place.column {
            KeyColumn::Rowid => rowid,
            KeyColumn::Position(position) => {
                let column = &table.columns[position];
                Definition {
                    name: format!("{}.{}", place.reference, column.name),
                    declared_type: column.declared_type.clone(),
                    affinity: column.affinity,
                    collation: column.collation.clone(),
                    ..rowid
                }
            }
        }
    };
    Relation {
        name: NAME.to_owned(),
        sql: String::new(),
        columns: used.iter().map(column).collect(),
        rowid_alias: None,
        rowid_name: None,
        primary_key: vec![row],
        without_rowid: true,
        strict: false,
        autoincrement: false,
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
    }
}
