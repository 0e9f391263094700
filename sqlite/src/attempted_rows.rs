//! Rows that statements try to store, those included that a constraint refuses: SQLite's error names the
//! constraint and not the row, and the capture sees a row only once it is accepted.
//!
//! A trigger before each row copies it into a table of the trial, whose changes are captured like any others.

use common::entry::{Change, Effect, Effects};
use common::names::quote_identifier;
use common::{Error, Value};

use crate::error::Result;
use crate::layout::{Key, Layout, Layouts};
use crate::schema::Table;

/// How the names of tables begin that copies go to. The shadow does not have them, so that no client can name them.
pub(crate) const ATTEMPTED: &str = "_attempted_";

/// The statements that have the rows of one of the tables copied.
pub(crate) fn copying(number: usize, table: &Table, layout: &Layout) -> Vec<String> {
    let values: Vec<String> = table
        .rowid_name
        .into_iter()
        .map(str::to_owned)
        .chain(layout.columns.iter().map(|column| quote_identifier(&column.name)))
        .map(|name| format!("NEW.{name}"))
        .collect();
    // Columns without a type keep values as they are.
    let columns: Vec<String> = (0..values.len()).map(|column| format!("c{column}")).collect();
    let mut statements = vec![format!("CREATE TABLE {ATTEMPTED}{number} ({})", columns.join(", "))];
    statements.extend(["INSERT", "UPDATE"].map(|event| {
        format!(
            "CREATE TRIGGER {ATTEMPTED}{event}_{number} BEFORE {event} ON {} BEGIN INSERT INTO {ATTEMPTED}{number} VALUES ({}); END",
            quote_identifier(&table.name),
            values.join(", ")
        )
    }));
    statements
}

/// The copied rows among captured changes, as rows inserted into their own tables. A rowid that was not chosen
/// yet is -1.
pub(crate) fn copied(effects: &Effects, tables: &[Table], layouts: &Layouts) -> Result<Effects> {
    let mut copied = Effects::default();
    for effect in &effects.rows {
        let number = effects.tables[usize::from(effect.table)].strip_prefix(ATTEMPTED);
        let Some(number) = number.and_then(|number| number.parse::<usize>().ok()) else { continue };
        let Change::Insert { row, .. } = &effect.change else { continue };
        let table = tables.get(number).ok_or_else(|| Error::internal("a copied row is of no table"))?;
        let layout = layouts.get(&table.name).ok_or_else(|| Error::internal("a copied row has no layout"))?;
        let known = copied.tables.iter().position(|name| *name == table.name);
        let number = known.unwrap_or_else(|| {
            copied.tables.push(table.name.clone());
            copied.tables.len() - 1
        });
        let table = u16::try_from(number).map_err(|_| Error::internal("rows of too many tables"))?;
        copied.rows.push(Effect { table, change: inserted(layout, row) });
    }
    Ok(copied)
}

/// A row behind its rowid, if it has one, as it is inserted.
fn inserted(layout: &Layout, copy: &[Value]) -> Change {
    match &layout.key {
        Key::Rowid { .. } => Change::Insert { key: copy[..1].to_vec(), row: copy[1..].to_vec() },
        Key::Columns(columns) => {
            let key = columns.iter().map(|column| copy[*column].clone()).collect();
            Change::Insert { key, row: copy.to_vec() }
        }
    }
}
