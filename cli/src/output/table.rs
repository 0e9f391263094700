//! Aligned columns.

use std::io::{self, IsTerminal as _, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle, presets};
use common::Value;

use super::{RowSet, text};

/// Corners everywhere, so that columns can be followed through the line below their names.
const STYLE: TableStyle = presets::ASCII_FULL_CONDENSED.header_separator(LineStyle::new('+', '=', '+', '+'));

/// Writes a table; on a terminal it fits the screen.
pub fn write(set: &RowSet, headers: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(STYLE);
    let arrangement =
        if io::stdout().is_terminal() { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
    table.set_content_arrangement(arrangement);
    if headers {
        table.set_header(set.columns.iter().map(|name| Cell::new(text::for_terminal(name))));
    }
    for row in &set.rows {
        table.add_row(row.iter().map(cell));
    }
    writeln!(out, "{table}")
}

fn cell(value: &Value) -> Cell {
    let shown = text::of_value(value, "NULL");
    let alignment = match value {
        Value::Integer(_) | Value::Real(_) => CellAlignment::Right,
        _ => CellAlignment::Left,
    };
    Cell::new(text::for_terminal(&shown)).set_alignment(alignment)
}
