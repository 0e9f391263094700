//! Small tables of a join that are sent to where the other rows lie: on a partition their rows are a query over
//! a parameter.

use common::names::quote_identifier;
use sqlite::shipped_rows::{SHIPPED_ROWS, VALUES_MAX, column};

use crate::plan::Source;
use crate::plan::push::{Why, affinity};
use crate::table::Table;

/// What a join's FROM clause calls a sent table, by its place there.
pub(super) fn name(index: usize) -> String {
    format!("s{index}")
}

/// The definition of a sent table for a WITH clause: its rows are the parameter of that number, packed, as a
/// gathering statement reads them from the source.
pub(super) fn definition(
    index: usize,
    is_left: bool,
    source: &Source,
    parameter: usize,
) -> Result<String, Why> {
    let table = &source.table;
    let rowid = table.rowid_name.ok_or("a table that would be sent has no rowid")?;
    let mut columns = vec![format!("i0 AS {rowid}")];
    if let Some(alias) = table.rowid_alias {
        columns.push(format!("i0 AS {}", quote_identifier(&table.columns[alias].name)));
    }
    for (place, &position) in source.columns.iter().enumerate() {
        if Some(position) != table.rowid_alias {
            columns.push(typed(table, position, place + 1)?);
        }
    }
    if source.columns.len() >= VALUES_MAX {
        return Err("a table that would be sent has too many columns");
    }
    // An inner join looks rows up by their rowids where they are; of a left one's SQLite makes an index.
    let kept = if is_left { "MATERIALIZED" } else { "NOT MATERIALIZED" };
    Ok(format!("{} AS {kept} (SELECT {} FROM {SHIPPED_ROWS}(?{parameter}))", name(index), columns.join(", ")))
}

/// A value as the table's column: of its name, type and collation.
fn typed(table: &Table, position: usize, place: usize) -> Result<String, Why> {
    let own = &table.columns[position];
    let collation = own.known_collation().ok_or("a collation is unknown")?;
    let collate = match collation {
        common::hash::Collation::Binary => String::new(),
        other => format!(" COLLATE {}", other.name()),
    };
    Ok(format!("{}{collate} AS {}", column(place, affinity(position, table)), quote_identifier(&own.name)))
}
