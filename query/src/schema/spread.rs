//! How the rows of a table are spread over the buckets, and what keeps the uniqueness that its partition key
//! does not imply.

use common::catalog::Database;
use common::names::quote_identifier;
use common::schema::{GlobalIndex, TableKind, TableSpec};
use common::value::Affinity;
use common::{Error, Result};
use sqlite::schema::{Generated, Index, IndexOrigin, Table};

use super::column_groups::part_of_index;
use crate::table::{Key, Part, key_of};

/// The column of a hidden table that holds the rowid of the row indexed.
const ROWID_COLUMN: &str = "_rowid";

/// The partition key of a new table: what it names itself, else the database's if the table has that column,
/// else its primary key, else its rowid (no columns).
pub(super) fn partition_key(
    database: &Database,
    table: &Table,
    own: Option<&[String]>,
) -> Result<Vec<String>> {
    let written = |positions: &[usize]| {
        positions.iter().map(|&position| table.columns[position].name.clone()).collect::<Vec<String>>()
    };
    if let Some(names) = own {
        let positions =
            names.iter().map(|name| table.column(name).ok_or(name)).collect::<Result<Vec<_>, _>>();
        return positions.map(|positions| written(&positions)).map_err(|name| {
            Error::bad_request(format!("the partition key {name} is no column of table {}", table.name))
        });
    }
    if let Some(position) = database.partition_key.as_deref().and_then(|name| table.column(name)) {
        return Ok(written(&[position]));
    }
    Ok(written(&table.primary_key))
}

/// What the catalog keeps of a new table.
pub(super) fn new_spec(
    table: &Table,
    partition_key: Vec<String>,
    reference: bool,
    column_groups: Vec<Vec<String>>,
) -> TableSpec {
    TableSpec {
        name: table.name.clone(),
        kind: TableKind::Relational,
        partition_key,
        reference,
        global_indexes: Vec::new(),
        next_rowid: 1,
        rowids_set_by_client: false,
        column_groups,
        declared: None,
    }
}

/// Refuses what does not work over several partitions.
pub(super) fn check(table: &Table, spec: &TableSpec) -> Result<()> {
    let refused = |what: &str, hint: &str| {
        Err(Error::not_supported(format!("{what} over several partitions (table {})", table.name), hint))
    };
    if table.rowid_name.is_none() && !table.without_rowid {
        return refused("the rowid has no name left", "rename the columns rowid, _rowid_ and oid");
    }
    if let Key::Columns(columns) = key_of(table, &spec.partition_key) {
        for position in columns {
            let column = &table.columns[position];
            if column.generated != Generated::No {
                return refused("a generated column cannot be the partition key", "name a stored column");
            }
            if column.known_collation().is_none() {
                return refused("the partition key's collation is not known", "use BINARY, NOCASE or RTRIM");
            }
        }
    }
    Ok(())
}

/// Where rows lie, as far as uniqueness is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placing<'a> {
    /// The table's parts in column groups.
    pub(super) parts: &'a [Part],
    /// Whether all rows lie in one bucket.
    pub(super) one_bucket: bool,
}

/// The global indexes that a table needs; those that it has keep their tables, new ones take the numbers
/// from `next` on.
pub(super) fn global_indexes(
    table: &Table,
    spec: &TableSpec,
    placing: Placing<'_>,
    next: &mut u64,
) -> Result<Vec<GlobalIndex>> {
    if spec.reference {
        // Each copy sees all rows.
        return Ok(Vec::new());
    }
    let key = key_of(table, &spec.partition_key);
    let mut wanted: Vec<(Option<String>, Vec<String>)> = Vec::new();
    if let (Some(alias), Key::Columns(_), false) = (table.rowid_alias, &key, placing.one_bucket) {
        wanted.push((None, vec![table.columns[alias].name.clone()]));
    }
    for index in table.indexes.iter().filter(|index| index.unique) {
        if let Some(columns) = indexed_globally(table, index, &key, placing)? {
            let name = (index.origin == IndexOrigin::Statement).then(|| index.name.clone());
            // An INTEGER PRIMARY KEY may be declared UNIQUE as well.
            if !wanted.contains(&(name.clone(), columns.clone())) {
                wanted.push((name, columns));
            }
        }
    }
    Ok(wanted
        .into_iter()
        .map(|(index, columns)| {
            // One whose build was interrupted lacks rows, so it is made anew.
            let is_kept =
                |kept: &&GlobalIndex| !kept.building && kept.index == index && kept.columns == columns;
            spec.global_indexes.iter().find(is_kept).cloned().unwrap_or_else(|| {
                *next += 1;
                GlobalIndex { table: format!("_unique_{next}"), columns, index, building: false }
            })
        })
        .collect())
}

/// The columns of a unique index whose equal rows may lie in different buckets, or `None` if they cannot.
fn indexed_globally(
    table: &Table,
    index: &Index,
    key: &Key,
    placing: Placing<'_>,
) -> Result<Option<Vec<String>>> {
    let unsupported = |what: &str| {
        Error::not_supported(
            format!(
                "{what} must lie in one column group and contain the partition key (table {})",
                table.name
            ),
            "add the partition key's columns to it, or create the database with one partition",
        )
    };
    // Only plain columns under their own collations say where equal rows are.
    let plain: Vec<usize> = index
        .terms
        .iter()
        .filter_map(|term| {
            let position = term.column?;
            table.columns[position].collation.eq_ignore_ascii_case(&term.collation).then_some(position)
        })
        .collect();
    let key_columns: Vec<usize> = match key {
        Key::Rowid => table.rowid_alias.into_iter().collect(),
        Key::Columns(columns) => columns.clone(),
    };
    let in_one_bucket = placing.one_bucket
        || !key_columns.is_empty() && key_columns.iter().all(|column| plain.contains(column));
    let in_one_part = placing.parts.len() == 1 || part_of_index(placing.parts, index).is_some();
    if in_one_bucket && in_one_part {
        return Ok(None);
    }
    if index.partial {
        return Err(unsupported("a partial UNIQUE index"));
    }
    if plain.len() != index.terms.len() {
        return Err(unsupported("a UNIQUE index over expressions or other collations"));
    }
    if plain.iter().any(|&position| table.columns[position].generated != Generated::No) {
        return Err(unsupported("a UNIQUE index over generated columns"));
    }
    if plain.iter().any(|&position| table.columns[position].known_collation().is_none()) {
        return Err(unsupported("a UNIQUE index with an unknown collation"));
    }
    let columns: Vec<String> =
        plain.into_iter().map(|position| table.columns[position].name.clone()).collect();
    if columns.iter().any(|column| column.eq_ignore_ascii_case(ROWID_COLUMN)) {
        return Err(unsupported("a UNIQUE constraint over a column named _rowid"));
    }
    Ok(Some(columns))
}

/// The statement that makes the hidden table of a global index.
pub(super) fn index_table_ddl(table: &Table, index: &GlobalIndex) -> String {
    let mut columns = Vec::with_capacity(index.columns.len() + 1);
    let mut key = Vec::with_capacity(index.columns.len());
    for name in &index.columns {
        let column = table.column(name).map(|position| &table.columns[position]);
        let affinity = column.map_or(Affinity::Blob, |column| column.affinity);
        let collation = column.map_or("BINARY", |column| column.collation.as_str());
        columns.push(format!(
            "{} {} COLLATE {}",
            quote_identifier(name),
            type_of(affinity),
            quote_identifier(collation)
        ));
        key.push(quote_identifier(name));
    }
    columns.push(format!("{} INTEGER", quote_identifier(ROWID_COLUMN)));
    format!(
        "CREATE TABLE {} ({}, PRIMARY KEY ({})) WITHOUT ROWID",
        quote_identifier(&index.table),
        columns.join(", "),
        key.join(", ")
    )
}

/// A type name with the affinity.
fn type_of(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Text => "TEXT",
        Affinity::Numeric => "NUMERIC",
        Affinity::Integer => "INTEGER",
        Affinity::Real => "REAL",
        Affinity::Blob => "BLOB",
    }
}
