//! The rows of a local join as a table: its columns, the subquery that makes it, and the client's SELECT over it.

use std::fmt::Write as _;
use std::sync::Arc;

use common::names::quote_identifier;
use common::value::Affinity;
use sqlite::schema::{Column as Definition, Generated, Table as Relation};

use super::local::{Joined, place};
use super::names::{Item, Names, Place};
use super::sent;
use super::subqueries::Around;
use crate::ast::{self, Expr, FromClause, OneSelect, QualifiedName, ResultColumn, Select, SelectTable};
use crate::plan::push::{self, Why};
use crate::route::KeyColumn;
use crate::table::{Key, Table};

/// What the joined rows are called as a table.
const NAME: &str = "joined";

/// The columns of the joined rows, in the order in which they are first used.
pub(super) struct Columns<'a> {
    pub(super) joined: &'a [Joined<'a>],
    pub(super) names: &'a Names,
    pub(super) used: Vec<Place>,
    /// The greatest number of a parameter in the conditions of the join.
    pub(super) parameters: usize,
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
    pub(super) fn key(&mut self, lead: usize) -> Result<Key, Why> {
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
    pub(super) fn row(&mut self, lead: usize) -> Result<usize, Why> {
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

    /// The SELECT with its subqueries as partitions are to evaluate them. Rows lie where the columns `together` say.
    pub(super) fn with_subqueries(
        &mut self,
        select: &Select,
        together: Vec<Place>,
        find: &dyn Fn(&str) -> Option<Arc<Table>>,
    ) -> Result<Select, Why> {
        let names = self.names;
        let tables = self.joined.iter().map(|joined| Arc::clone(&joined.table)).collect();
        let mut name = |place: Place| {
            let place = self.plain(place);
            self.add(place);
            Ok(ast::quoted_name(&self.name(place)?))
        };
        Around::new(find, tables, together, &mut name).statement(select, names)
    }

    /// The SELECT over the joined rows.
    pub(super) fn select(&mut self, select: &Select) -> Result<Select, Why> {
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
    pub(super) fn text(&mut self, used: &[Place]) -> Result<String, Why> {
        let sql = |place: &Place| -> Result<String, Why> {
            let table = &self.joined[place.reference].table;
            let column = place.column.name(table).ok_or("the rowid has no name")?;
            Ok(format!("t{}.{column}", place.reference))
        };
        let mut columns = Vec::with_capacity(used.len());
        for place in used {
            columns.push(format!("{} AS {}", sql(place)?, quote_identifier(&self.name(*place)?)));
        }
        let sent: Vec<&str> =
            self.joined.iter().filter_map(|joined| Some(joined.sent.as_ref()?.0.as_str())).collect();
        let with = if sent.is_empty() { String::new() } else { format!("WITH {} ", sent.join(", ")) };
        let mut text = format!("({with}SELECT {} FROM", columns.join(", "));
        let joined = self.joined;
        for (index, joined) in joined.iter().enumerate() {
            let kind = match (index, joined.is_left) {
                (0, _) => "",
                (_, true) => " LEFT JOIN",
                (_, false) => " JOIN",
            };
            // Writing to a string cannot fail.
            let name = match joined.sent {
                Some(_) => sent::name(index),
                None => quote_identifier(&joined.table.name),
            };
            let _ = write!(text, "{kind} {name} AS t{index}");
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
    fn own_names(&mut self, condition: &mut Expr) -> Result<(), Why> {
        if ast::any(condition, &ast::is_subquery) {
            return Err("a condition of the join has a subquery");
        }
        self.parameters = self.parameters.max(push::parameters(condition));
        push::check(&ast::unqualified(condition), false)?;
        let mut failed = None;
        ast::rewrite(condition, &mut |part| match part {
            Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..) | Expr::DoublyQualified(..) => {
                let Some(found) = place(part, self.names) else {
                    failed = Some("a name is no column of the joined tables");
                    return None;
                };
                let name = found.column.name(&self.joined[found.reference].table)?;
                Some(Expr::Qualified(ast::Name::from_string(format!("t{}", found.reference)), name))
            }
            Expr::Variable(variable) => Some(ast::parameter(variable.index.get() as usize)),
            _ => None,
        });
        failed.map_or(Ok(()), Err)
    }
}

/// The joined rows as a relation that is kept by one of its columns.
pub(super) fn relation(joined: &[Joined<'_>], used: &[Place], row: usize) -> Relation {
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
