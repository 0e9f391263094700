//! Names of a statement that changes a table: which of its columns they mean.

use std::sync::Arc;

use crate::ast::{Expr, ResultColumn};
use crate::route::KeyColumn;
use crate::table::Table;

/// A table as a statement names it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// What it is called there.
    pub(crate) alias: String,
    pub(crate) table: Arc<Table>,
}

/// The tables that names may belong to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) items: Vec<Item>,
}

impl Scope {
    /// One table, as in UPDATE and DELETE.
    pub(crate) fn single(table: Arc<Table>, alias: Option<&str>) -> Scope {
        let alias = alias.unwrap_or(&table.name).to_owned();
        Scope { items: vec![Item { alias, table }] }
    }

    /// The table and column that an expression names, if it is a name and there is no doubt.
    pub(crate) fn resolve(&self, expression: &Expr) -> Option<(usize, KeyColumn)> {
        match expression {
            Expr::Id(name) | Expr::Name(name) => {
                let name = name.as_str();
                let mut owners = self
                    .items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| Some((index, column(&item.table, name)?)));
                let found = owners.next()?;
                owners.next().is_none().then_some(found)
            }
            Expr::Qualified(qualifier, name) => {
                let mut owners = self
                    .items
                    .iter()
                    .enumerate()
                    .filter(|(_, item)| item.alias.eq_ignore_ascii_case(qualifier.as_str()));
                let (index, item) = owners.next()?;
                if owners.next().is_some() {
                    return None;
                }
                Some((index, column(&item.table, name.as_str())?))
            }
            _ => None,
        }
    }
}

fn column(table: &Table, name: &str) -> Option<KeyColumn> {
    match table.column(name) {
        Some(position) => Some(KeyColumn::Position(position)),
        None => table.names_rowid(name).then_some(KeyColumn::Rowid),
    }
}

/// The expressions of a result list or a RETURNING clause.
pub(crate) fn result_expressions(columns: &[ResultColumn]) -> Vec<&Expr> {
    columns
        .iter()
        .filter_map(|column| match column {
            ResultColumn::Expr(expression, _) => Some(expression.as_ref()),
            ResultColumn::Star | ResultColumn::TableStar(_) => None,
        })
        .collect()
}
