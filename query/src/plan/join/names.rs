//! What names mean inside one SELECT: the items of its FROM clause and their columns, each traced back to the
//! columns of base tables that it is a plain copy of.

use std::sync::Arc;

use crate::ast::Expr;
use crate::route::KeyColumn;
use crate::table::Table;

/// A column of a base table, as one reference to that table gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the reference in the statement.
    pub(crate) reference: usize,
    pub(crate) column: KeyColumn,
}

/// A column that an item of a FROM clause gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    /// Its name, where it has one of its own.
    pub(super) name: Option<String>,
    /// The columns that its values are copies of: one, or one per branch of a UNION ALL; none if they are
    /// computed.
    pub(super) origins: Vec<Place>,
    /// Whether a row of an origin that fails a condition on this column may be left out.
    pub(super) filterable: bool,
}

/// What a table, a view, a WITH or a subquery gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Relation {
    /// In order; `None` if they are not known.
    pub(super) columns: Option<Vec<Column>>,
    /// The reference and the table, if it is one.
    pub(super) base: Option<(usize, Arc<Table>)>,
}

impl Relation {
    /// A reference to a base table.
    pub(super) fn of_table(reference: usize, table: &Arc<Table>) -> Relation {
        let column = |(position, column): (usize, &sqlite::schema::Column)| Column {
            name: Some(column.name.clone()),
            origins: vec![Place { reference, column: KeyColumn::Position(position) }],
            filterable: true,
        };
        let columns = table.columns.iter().enumerate().map(column).collect();
        Relation { columns: Some(columns), base: Some((reference, Arc::clone(table))) }
    }
}

/// An item of a FROM clause.
#[derive(Clone, Debug, Default)]
pub(super) struct Item {
    /// What it is called there; brackets around a join have no name.
    pub(super) alias: Option<String>,
    pub(super) relation: Relation,
    /// Whether a join may supply NULLs in place of its rows.
    pub(super) nullable: bool,
}

/// The names that expressions of one SELECT can use.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) items: Vec<Item>,
    /// Columns that USING makes one of several.
    pub(super) merged: Vec<String>,
    /// There is a NATURAL join: any column may be one of several.
    pub(super) natural: bool,
    /// Names that the result list gives.
    pub(super) aliases: Vec<String>,
}

/// What a name turned out to be.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// A column of the item with this number.
    Column(usize, Column),
    /// Nothing here; it may be a name of the query around.
    Absent,
    /// It cannot be told.
    Doubtful,
}

impl Names {
    /// What an expression means, if it is a name. SQLite has found the statement valid, so a name that one
    /// item is known to have is not ambiguous.
    pub(super) fn resolve(&self, expression: &Expr) -> Found {
        match expression {
            Expr::Id(name) | Expr::Name(name) => self.unqualified(name.as_str()),
            Expr::Qualified(qualifier, name) => self.qualified(qualifier.as_str(), name.as_str()),
            _ => Found::Doubtful,
        }
    }

    /// The item and column that an expression is, if there is no doubt.
    pub(super) fn column(&self, expression: &Expr) -> Option<(usize, Column)> {
        match self.resolve(expression) {
            Found::Column(item, column) => Some((item, column)),
            Found::Absent | Found::Doubtful => None,
        }
    }

    /// Whether the result list gives a name.
    pub(super) fn is_alias(&self, name: &str) -> bool {
        self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }

    fn unqualified(&self, name: &str) -> Found {
        if self.natural || self.merged.iter().any(|merged| merged.eq_ignore_ascii_case(name)) {
            return Found::Doubtful;
        }
        let mut found = None;
        let mut uncertain = false;
        for (index, item) in self.items.iter().enumerate() {
            match item.named(name) {
                Found::Column(..) if found.is_some() => return Found::Doubtful,
                Found::Column(_, column) => found = Some(Found::Column(index, column)),
                Found::Absent => {}
                Found::Doubtful => uncertain = true,
            }
        }
        match (found, self.items.as_slice()) {
            (Some(found), _) => found,
            (None, [item]) if item.rowid(name).is_some() => {
                item.rowid(name).map_or(Found::Doubtful, |column| Found::Column(0, column))
            }
            (None, _) => {
                if uncertain || self.is_alias(name) || is_rowid(name) {
                    Found::Doubtful
                } else {
                    Found::Absent
                }
            }
        }
    }

    fn qualified(&self, qualifier: &str, name: &str) -> Found {
        let is_called =
            |item: &Item| item.alias.as_ref().is_some_and(|alias| alias.eq_ignore_ascii_case(qualifier));
        let mut called = self.items.iter().enumerate().filter(|(_, item)| is_called(item));
        match (called.next(), called.next()) {
            (Some((index, item)), None) => match item.named(name) {
                Found::Column(_, column) => Found::Column(index, column),
                _ => item.rowid(name).map_or(Found::Doubtful, |column| Found::Column(index, column)),
            },
            (None, _) if self.items.iter().all(|item| item.alias.is_some()) => Found::Absent,
            _ => Found::Doubtful,
        }
    }
}

impl Item {
    /// Its column of a name; the number of the item is left to the caller.
    fn named(&self, name: &str) -> Found {
        let Some(columns) = &self.relation.columns else { return Found::Doubtful };
        let is_called =
            |column: &&Column| column.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        let mut called = columns.iter().filter(is_called);
        match (called.next(), called.next()) {
            (Some(column), None) => Found::Column(0, column.clone()),
            (None, _) if columns.iter().all(|column| column.name.is_some()) => Found::Absent,
            _ => Found::Doubtful,
        }
    }

    /// Its rowid, if the name is one of those that it has.
    fn rowid(&self, name: &str) -> Option<Column> {
        let (reference, table) = self.relation.base.as_ref()?;
        let column = match table.column(name) {
            None if table.names_rowid(name) => KeyColumn::Rowid,
            _ => return None,
        };
        let origins = vec![Place { reference: *reference, column }];
        Some(Column { name: None, origins, filterable: true })
    }
}

fn is_rowid(name: &str) -> bool {
    ["rowid", "_rowid_", "oid"].iter().any(|rowid| rowid.eq_ignore_ascii_case(name))
}

/// The names of a query and of those around it.
#[derive(Clone, Copy)]
pub(super) struct Level<'p> {
    pub(super) names: &'p Names,
    pub(super) outer: Option<&'p Level<'p>>,
}

impl Level<'_> {
    /// The column that an expression is, here or in a query around: how many queries further out, the item
    /// there, the column.
    pub(super) fn resolve(&self, expression: &Expr) -> Option<(usize, usize, Column)> {
        let mut level = self;
        let mut distance = 0;
        loop {
            match level.names.resolve(expression) {
                Found::Column(item, column) => return Some((distance, item, column)),
                Found::Absent => {
                    level = level.outer?;
                    distance += 1;
                }
                Found::Doubtful => return None,
            }
        }
    }
}
