//! One `column = value` a line, a blank line between rows.

use std::io::{self, Write};

use super::{RowSet, text};

/// Writes the rows.
pub fn write(set: &RowSet, out: &mut dyn Write) -> io::Result<()> {
    let width = set.columns.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (index, row) in set.rows.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        for (name, value) in set.columns.iter().zip(row) {
            let shown = text::of_value(value, "NULL");
            writeln!(out, "{:>width$} = {}", text::for_terminal(name), text::for_terminal(&shown))?;
        }
    }
    Ok(())
}
