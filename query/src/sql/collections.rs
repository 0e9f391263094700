//! Writes of clients' SQL to the tables of collections.
//!
//! A collection's table is an ordinary one as long as a document is its columns. Where it has columns that follow from
//! the document (those of unique indexes, and the shares of column groups), only the routes of
//! documents know what to write there.

use common::schema::TableKind;
use common::{Error, Result};

use super::Writer;
use crate::Planner;
use crate::ast::{self, Cmd, Stmt};
use crate::documents::has_derived_columns;
use crate::plan::Planned;
use crate::table::Table;

/// Refuses a statement that would write documents without what follows from them.
pub(super) fn check_write(planner: &Planner, planned: &Planned, writer: Writer) -> Result<()> {
    if writer == Writer::Documents || planned.is_read || !planner.tables().any(|table| has_derived(table)) {
        return Ok(());
    }
    let Some(footprint) = planner.footprint(&planned.text) else { return Ok(()) };
    for name in &footprint.writes {
        let Some(table) = planner.table(name).filter(|table| has_derived(table)) else { continue };
        if deletes_from(&planned.text, &table) {
            continue;
        }
        return Err(Error::not_supported(
            format!("writing documents of {} by SQL", table.name),
            "use the routes of documents, or `polylite docs`: its unique indexes or column groups follow from the documents",
        ));
    }
    Ok(())
}

fn has_derived(table: &Table) -> bool {
    table.kind == TableKind::Collection && has_derived_columns(table)
}

/// Whether a statement deletes rows of a table itself.
fn deletes_from(text: &str, table: &Table) -> bool {
    match ast::parse(text) {
        Some(Cmd::Stmt(Stmt::Delete { tbl_name, .. })) => {
            tbl_name.name.as_str().eq_ignore_ascii_case(&table.name)
        }
        _ => false,
    }
}
