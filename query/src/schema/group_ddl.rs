//! The statement that makes a column group's part of a table.

use common::names::quote_identifier;
use sqlite::schema::{Column, Index, IndexOrigin, IndexTerm};

use super::column_groups::part_of_index;
use crate::table::{Part, Table, stamp_column};

/// Makes a part: stamps, columns, keys, and what is unique within it.
pub(super) fn create_part(table: &Table, part: &Part) -> String {
    let is_anchor = part.group == table.parts[0].group;
    let stamped = table.parts[1..].iter().filter(|other| is_anchor || other.group == part.group);
    let mut items: Vec<String> =
        stamped.map(|other| format!("{} BLOB", quote_identifier(&stamp_column(other.group)))).collect();
    for &position in &part.columns {
        let mut text = column(table, position);
        if table.rowid_alias == Some(position) {
            text.push_str(" PRIMARY KEY");
            // The anchor has every row, and with it what was counted.
            if is_anchor && table.autoincrement {
                text.push_str(" AUTOINCREMENT");
            }
        }
        items.push(text);
    }
    if table.without_rowid {
        items.push(format!("PRIMARY KEY ({})", terms_of(table, &table.key_terms())));
    }
    let constraints = table.indexes.iter().filter(|index| is_constraint(table, index));
    // Documents are looked for by their ids in each column group.
    let is_key = |index: &Index| table.divided.is_some() && index.origin == IndexOrigin::PrimaryKey;
    let here = constraints.filter(|index| {
        is_key(index) || part_of_index(&table.parts, index).is_some_and(|found| found.group == part.group)
    });
    items.extend(here.map(|index| unique_constraint(table, index)));
    let options = match (table.without_rowid, table.strict) {
        (true, true) => " WITHOUT ROWID, STRICT",
        (true, false) => " WITHOUT ROWID",
        (false, true) => " STRICT",
        (false, false) => "",
    };
    format!("CREATE TABLE {} ({}){options}", quote_identifier(&table.name), items.join(", "))
}

/// Name, type and collation, and how it is computed.
pub(super) fn column(table: &Table, position: usize) -> String {
    let typed = typed_column(&table.columns[position]);
    match table.generated.iter().find(|generated| generated.column == position) {
        Some(generated) => format!("{typed} {}", generated.clause()),
        None => typed,
    }
}

/// Name, type and collation.
pub(crate) fn typed_column(column: &Column) -> String {
    let (name, collation) = (quote_identifier(&column.name), quote_identifier(&column.collation));
    format!("{name} {} COLLATE {collation}", column.declared_type)
}

fn is_constraint(table: &Table, index: &Index) -> bool {
    match index.origin {
        IndexOrigin::Statement => false,
        IndexOrigin::Unique => true,
        IndexOrigin::PrimaryKey => !table.without_rowid,
    }
}

fn unique_constraint(table: &Table, index: &Index) -> String {
    // A single INTEGER column as PRIMARY KEY would become the rowid.
    let only = if let [term] = index.terms.as_slice() { term.column } else { None };
    let is_integer =
        only.is_some_and(|column| table.columns[column].declared_type.eq_ignore_ascii_case("INTEGER"));
    let word = if index.origin == IndexOrigin::PrimaryKey && !is_integer { "PRIMARY KEY" } else { "UNIQUE" };
    format!("{word} ({})", terms_of(table, &index.terms))
}

/// Columns under the collations by which a key compares them.
fn terms_of(table: &Table, terms: &[IndexTerm]) -> String {
    let columns = terms.iter().filter_map(|term| Some((&table.columns[term.column?], term)));
    let terms = columns.map(|(column, term)| {
        format!("{} COLLATE {}", quote_identifier(&column.name), quote_identifier(&term.collation))
    });
    terms.collect::<Vec<String>>().join(", ")
}
