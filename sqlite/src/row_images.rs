//! Landing rows as values, found by their keys.

use common::Value;
use common::entry::Change;
use rusqlite::Connection;

use crate::binding::{bind_values, values_of};
use crate::error::{Failure, Result};
use crate::layout::{Key, Layout, Layouts};

/// Whether a change found the row that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// It did, and the row is changed.
    Done,
    /// No row has the key.
    Missing,
    /// The row is not the one that the change was computed on.
    Differs,
    /// The change was computed on another schema, and must not be landed by position.
    Unfit,
}

/// Lands one change. With `guarded`, a change that carries its old row lands only on that row.
pub(crate) fn land(raw: &Connection, layout: &Layout, change: &Change, guarded: bool) -> Result<Landing> {
    if !fits(layout, change) {
        return Ok(Landing::Unfit);
    }
    let found = match change {
        Change::Insert { key, row } => {
            let mut statement = raw.prepare_cached(&layout.insert)?;
            let next = match layout.key {
                Key::Rowid { alias: None } => bind_values(&mut statement, 1, key)?,
                Key::Rowid { alias: Some(_) } | Key::Columns(_) => 1,
            };
            bind_values(&mut statement, next, row)?;
            statement.raw_execute()?
        }
        Change::Update { old_key, key, old_row, row } => {
            if guarded && let Some(expected) = old_row {
                match compare(raw, layout, old_key, expected)? {
                    Landing::Done => {}
                    other => return Ok(other),
                }
            }
            update(raw, layout, old_key, key, row)?
        }
        Change::Delete { key, old_row } => {
            if guarded && let Some(expected) = old_row {
                match compare(raw, layout, key, expected)? {
                    Landing::Done => {}
                    other => return Ok(other),
                }
            }
            let mut statement = raw.prepare_cached(&layout.delete)?;
            bind_values(&mut statement, 1, key)?;
            statement.raw_execute()?
        }
        // It is no row's.
        Change::Schema(_) => return Ok(Landing::Unfit),
    };
    Ok(if found == 1 { Landing::Done } else { Landing::Missing })
}

fn update(
    raw: &Connection,
    layout: &Layout,
    old_key: &[Value],
    key: &[Value],
    row: &[Value],
) -> Result<usize> {
    let moved = old_key != key;
    let mut statement = raw.prepare_cached(if moved { &layout.rekey } else { &layout.update })?;
    let mut parameters = row.iter().chain(old_key).collect::<Vec<_>>();
    if moved && layout.key == (Key::Rowid { alias: None }) {
        parameters.extend(key);
    }
    bind_values(&mut statement, 1, parameters)?;
    Ok(statement.raw_execute()?)
}

/// Whether the row with that key is exactly `expected`.
fn compare(raw: &Connection, layout: &Layout, key: &[Value], expected: &[Value]) -> Result<Landing> {
    let mut statement = raw.prepare_cached(&layout.select)?;
    bind_values(&mut statement, 1, key)?;
    let mut rows = statement.raw_query();
    let Some(row) = rows.next()? else { return Ok(Landing::Missing) };
    let same = values_of(row, 0..layout.stored.len())? == expected;
    Ok(if same { Landing::Done } else { Landing::Differs })
}

/// Whether keys and rows have as many values as the table stores.
fn fits(layout: &Layout, change: &Change) -> bool {
    let key_fits = |key: &[Value]| key.len() == layout.key_width();
    let row_fits = |row: &[Value]| row.len() == layout.stored.len();
    match change {
        Change::Insert { key, row } => key_fits(key) && row_fits(row),
        Change::Update { old_key, key, row, .. } => key_fits(old_key) && key_fits(key) && row_fits(row),
        Change::Delete { key, .. } => key_fits(key),
        Change::Schema(_) => false,
    }
}

/// The layouts of the tables that effects name, in their order.
pub(crate) fn layouts_of<'l>(layouts: &'l Layouts, tables: &[String]) -> Result<Vec<&'l Layout>> {
    tables
        .iter()
        .map(|name| {
            layouts
                .get(name)
                .ok_or_else(|| Failure::diverged(format!("effects name the table {name}, which is not here")))
        })
        .collect()
}

/// The layout that a change is about.
pub(crate) fn layout_at<'l>(tables: &[&'l Layout], index: u16) -> Result<&'l Layout> {
    tables
        .get(usize::from(index))
        .copied()
        .ok_or_else(|| Failure::diverged("a change names a table that its effects do not list"))
}
