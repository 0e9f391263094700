//! How the rows of a table are spread over the buckets, and what keeps the uniqueness that its partition key
//! does not imply.

use common::catalog::Database;
use common::hash::Collation;
use common::names::quote_identifier;
use common::schema::{ComputedEntries, GlobalIndex, TableKind, TableSpec};
use common::value::Affinity;
use common::{Error, Result};
use sqlite::schema::{Index, IndexOrigin, Table};

use super::column_groups::part_of_index;
use crate::ast::{self, Cmd, Stmt};
use crate::table::{Key, Part, key_of};

/// The column of a hidden table that holds the rowid of the row indexed.
const ROWID_COLUMN: &str = "_rowid";

/// The partition key of a new table: what it names itself, else the database's if the table has that column and
/// stores it, else its primary key, else its rowid (no columns).
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
    let is_stored = |position: &usize| !table.columns[*position].is_generated();
    let of_database = database.partition_key.as_deref().and_then(|name| table.column(name));
    if let Some(position) = of_database.filter(is_stored) {
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
    let mut wanted: Vec<Wanted> = Vec::new();
    if let (Some(alias), Key::Columns(_), false) = (table.rowid_alias, &key, placing.one_bucket) {
        wanted.push(Wanted { columns: vec![table.columns[alias].name.clone()], ..Wanted::default() });
    }
    for index in table.indexes.iter().filter(|index| index.unique) {
        // An INTEGER PRIMARY KEY may be declared UNIQUE as well.
        if let Some(index) = indexed_globally(table, spec, index, &key, placing)?
            && !wanted.contains(&index)
        {
            wanted.push(index);
        }
    }
    Ok(wanted
        .into_iter()
        .map(|Wanted { name, columns, computed }| {
            // One whose build was interrupted lacks rows, so it is made anew.
            let is_kept =
                |kept: &&GlobalIndex| !kept.building && kept.index == name && kept.columns == columns;
            match spec.global_indexes.iter().find(is_kept) {
                // The table or its columns may have other names now.
                Some(kept) => GlobalIndex { computed, ..kept.clone() },
                None => {
                    *next += 1;
                    let hidden = format!("_unique_{next}");
                    GlobalIndex { table: hidden, columns, index: name, building: false, computed }
                }
            }
        })
        .collect())
}

/// A global index that a table needs.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    /// Of the CREATE INDEX statement.
    name: Option<String>,
    /// Of the base table, or of the hidden one if entries are computed.
    columns: Vec<String>,
    computed: Option<ComputedEntries>,
}

/// The global index of a unique index whose equal rows may lie in different buckets, or `None` if they cannot.
fn indexed_globally(
    table: &Table,
    spec: &TableSpec,
    index: &Index,
    key: &Key,
    placing: Placing<'_>,
) -> Result<Option<Wanted>> {
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
    // Values that are the same byte by byte are in one bucket, whatever the column's collation.
    let tells = |column: &usize| {
        index.terms.iter().any(|term| {
            let is_it = term.column == Some(*column);
            is_it && (plain.contains(column) || Collation::parse(&term.collation) == Some(Collation::Binary))
        })
    };
    let in_one_bucket = placing.one_bucket || !key_columns.is_empty() && key_columns.iter().all(tells);
    let in_one_part = placing.parts.len() == 1 || part_of_index(placing.parts, index).is_some();
    if in_one_bucket && in_one_part {
        return Ok(None);
    }
    let name = (index.origin == IndexOrigin::Statement).then(|| index.name.clone());
    let is_plain = !index.partial
        && plain.len() == index.terms.len()
        && plain.iter().all(|&position| !table.columns[position].is_generated());
    let columns: Vec<String> = plain.iter().map(|&position| table.columns[position].name.clone()).collect();
    let has_a_name_left = !columns.iter().any(|column| column.eq_ignore_ascii_case(ROWID_COLUMN));
    if index.terms.iter().any(|term| Collation::parse(&term.collation).is_none()) {
        return Err(unsupported(table, "a UNIQUE index with an unknown collation"));
    }
    if is_plain && has_a_name_left {
        return Ok(Some(Wanted { name, columns, computed: None }));
    }
    if spec.kind != TableKind::Relational {
        return Err(unsupported(table, "a UNIQUE index over expressions of documents"));
    }
    let columns = (0..index.terms.len()).map(|position| term_column(index, position)).collect();
    Ok(Some(Wanted { name, columns, computed: Some(computed_entries(table, index)?) }))
}

/// The hidden table's column for a term of an index whose entries are computed.
pub(crate) fn term_column(index: &Index, position: usize) -> String {
    match index.origin {
        IndexOrigin::Statement => format!("_term_{position}"),
        // SQLite numbers a table's constraints.
        _ => format!("_{}_term_{position}", index.name.rsplit('_').next().unwrap_or_default()),
    }
}

fn unsupported(table: &Table, what: &str) -> Error {
    Error::not_supported(
        format!("{what} must lie in one column group and contain the partition key (table {})", table.name),
        "add the partition key's columns to it, or create the database with one partition",
    )
}

/// How SQLite is asked for the entries of an index's rows.
fn computed_entries(table: &Table, index: &Index) -> Result<ComputedEntries> {
    let from = quote_identifier(&table.name);
    let names: Vec<Option<&str>> = index
        .terms
        .iter()
        .map(|term| term.column.map(|position| table.columns[position].name.as_str()))
        .collect();
    let query = match &index.sql {
        None => {
            let columns: Vec<String> = names.iter().flatten().map(|name| quote_identifier(name)).collect();
            format!("SELECT {} FROM {from}", columns.join(", "))
        }
        Some(sql) => {
            let Some(Cmd::Stmt(Stmt::CreateIndex { columns, where_clause, .. })) = ast::parse(sql) else {
                return Err(Error::internal("the text of an index makes none"));
            };
            let terms: Vec<String> = columns.iter().map(|column| column.expr.to_string()).collect();
            let filter = where_clause.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
            format!("SELECT {} FROM {from}{filter}", terms.join(", "))
        }
    };
    let named = |name: &&str| format!("{}.{name}", table.name);
    let violated = match names.iter().copied().collect::<Option<Vec<&str>>>() {
        Some(names) => names.iter().map(named).collect::<Vec<String>>().join(", "),
        None => format!("index '{}'", index.name.replace('\'', "''")),
    };
    let collations = index.terms.iter().map(|term| term.collation.clone()).collect();
    Ok(ComputedEntries { query, collations, violated })
}

/// The statement that makes the hidden table of a global index.
pub(super) fn index_table_ddl(table: &Table, index: &GlobalIndex) -> String {
    let mut columns = Vec::with_capacity(index.columns.len() + 1);
    let mut key = Vec::with_capacity(index.columns.len());
    for (term, name) in index.columns.iter().enumerate() {
        let column = table.column(name).filter(|_| index.computed.is_none());
        let column = column.map(|position| &table.columns[position]);
        // What is computed has the affinity already that it is compared with.
        let affinity = column.map_or(Affinity::Blob, |column| column.affinity);
        let computed = index.computed.as_ref().and_then(|computed| computed.collations.get(term));
        let collation = column.map(|column| &column.collation).or(computed).map_or("BINARY", String::as_str);
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
