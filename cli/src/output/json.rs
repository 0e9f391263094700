//! An array of objects, one row a line.

use std::io::{self, Write};

use super::RowSet;

/// Writes the rows with their columns in order; a name that comes twice is written twice, as SQLite does.
pub fn write(set: &RowSet, out: &mut dyn Write) -> io::Result<()> {
    let mut line = vec![b'['];
    for (index, row) in set.rows.iter().enumerate() {
        line.extend_from_slice(if index == 0 { b"{" } else { b",\n {" });
        for (column, (name, value)) in set.columns.iter().zip(row).enumerate() {
            if column > 0 {
                line.push(b',');
            }
            common::json::write_string(&mut line, name);
            line.push(b':');
            common::json::write_value(&mut line, value.into());
        }
        line.push(b'}');
        out.write_all(&line)?;
        line.clear();
    }
    line.extend_from_slice(b"]\n");
    out.write_all(&line)
}
