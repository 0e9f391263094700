//! Which columns of a table lie in which column group, and the DDL of the groups' partitions.
//!
//! A table that lies in one group has the client's own DDL there. A split table has, in each of its groups, a
//! table of the same name: the system's stamps first, then the key columns and the group's own, with the
//! client's types and collations, in the client's order. Of its constraints the partitions keep the keys and
//! what is unique within a group; all others concern the whole row and hold where rows are made, at the
//! coordinator.

use common::catalog::Database;
use common::names::quote_identifier;
use common::schema::{PartitionType, Schema};
use common::{Error, Result};
use sqlite::schema::{Index, Table as Definition};

use super::group_ddl::create_part;
use super::statement::Kind;
use crate::ast::Stmt;
use crate::generated::generated_columns;
use crate::shadow::Shadow;
use crate::table::{LOST_COLUMNS, Part, STAMP_PREFIX, Table, repeated_columns};

/// Groups as a declaration names them: name and columns, in order.
pub(super) type NamedGroups = Vec<(String, Vec<String>)>;

/// The columns of each group of the database, besides the key columns; nothing for a table that lies whole in
/// the anchor.
pub(super) fn of_new_table(
    database: &Database,
    table: &Definition,
    partition_key: &[String],
    said: Option<&NamedGroups>,
) -> Result<Vec<Vec<String>>> {
    match said {
        Some(_) if database.partition_type == PartitionType::Horizontal => {
            Err(Error::bad_request("column_groups go with the partition types VERTICAL and MIXED"))
        }
        Some(groups) => declared(database, table, partition_key, groups),
        None => Ok(automatic(database, table, partition_key)),
    }
}

fn declared(
    database: &Database,
    table: &Definition,
    partition_key: &[String],
    groups: &NamedGroups,
) -> Result<Vec<Vec<String>>> {
    can_be_split(table)?;
    let repeated = repeated_columns(table, partition_key);
    let mut assigned = vec![Vec::new(); database.column_groups.len()];
    let mut seen = Vec::new();
    let position = |name: &String| {
        database.column_groups.iter().position(|known| known == name).ok_or_else(|| {
            Error::not_supported(
                format!("database '{}' has no column group '{name}'", database.name),
                format!("it has {}; others must be named when it is made", database.column_groups.join(", ")),
            )
        })
    };
    for (group, columns) in groups {
        let group = position(group)?;
        for name in columns {
            let column = table.column(name).ok_or_else(|| {
                Error::bad_request(format!(
                    "column_groups names {name}, which is no column of {}",
                    table.name
                ))
            })?;
            if seen.contains(&column) {
                return Err(Error::bad_request(format!("column {name} is named twice in column_groups")));
            }
            seen.push(column);
            if !repeated.contains(&column) && is_stored(table, column) {
                assigned[group].push(table.columns[column].name.clone());
            }
        }
    }
    if let Some((first, _)) = groups.first() {
        let first = position(first)?;
        let rest = (0..table.columns.len()).filter(|column| !seen.contains(column));
        let rest = rest.filter(|&column| !repeated.contains(&column) && is_stored(table, column));
        assigned[first].extend(rest.map(|column| table.columns[column].name.clone()));
    }
    Ok(whole_if_alone(assigned))
}

/// The same where nobody says: columns are spread evenly in their order. Nothing for a table that is better
/// left whole.
fn automatic(database: &Database, table: &Definition, partition_key: &[String]) -> Vec<Vec<String>> {
    let groups = database.column_groups.len();
    if groups == 1 || can_be_split(table).is_err() || has_references(database, table) {
        return Vec::new();
    }
    let repeated = repeated_columns(table, partition_key);
    let spread: Vec<String> = (0..table.columns.len())
        .filter(|&column| !repeated.contains(&column) && is_stored(table, column))
        .map(|column| table.columns[column].name.clone())
        .collect();
    let is_supported = |index: &Index| !index.unique || plain_columns(index).is_some();
    if !table.indexes.iter().all(is_supported) {
        return Vec::new();
    }
    let boundary = |group: usize| (group * spread.len()).div_ceil(groups);
    let assigned = (0..groups).map(|group| spread[boundary(group)..boundary(group + 1)].to_vec());
    whole_if_alone(assigned.collect())
}

/// Whether a group keeps the column's values. Others are computed wherever all is that they are computed from.
fn is_stored(table: &Definition, column: usize) -> bool {
    !table.columns[column].is_generated()
}

fn whole_if_alone(assigned: Vec<Vec<String>>) -> Vec<Vec<String>> {
    if assigned.iter().skip(1).all(Vec::is_empty) { Vec::new() } else { assigned }
}

/// Whether foreign keys may concern the table: rows are looked up in a table that lies whole with fewer reads.
fn has_references(database: &Database, table: &Definition) -> bool {
    // One that refers to this table may have been made before it.
    let refers = |sql: &str| sql.to_ascii_uppercase().contains("REFERENCES");
    !table.foreign_keys.is_empty() || database.schema.objects.iter().any(|object| refers(&object.sql))
}

/// Refuses tables whose rows cannot be taken apart.
fn can_be_split(table: &Definition) -> Result<()> {
    let refused = |what: &str, hint: &str| {
        Err(Error::not_supported(format!("{what} in several column groups (table {})", table.name), hint))
    };
    if generated_columns(table).is_none() {
        return refused("the table's text is not understood", "write it in a simpler form");
    }
    if let Some(column) = table.columns.iter().find(|column| is_ours(&column.name)) {
        return refused(&format!("the column name {} is taken", column.name), "choose another name");
    }
    if table.rowid_name.is_none() && !table.without_rowid {
        return refused("the rowid has no name left", "rename the columns rowid, _rowid_ and oid");
    }
    Ok(())
}

fn is_ours(column: &str) -> bool {
    column.get(..STAMP_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(STAMP_PREFIX))
}

/// The part that holds all columns of an index, if there is one and the index is made of columns alone.
pub(super) fn part_of_index<'a>(parts: &'a [Part], index: &Index) -> Option<&'a Part> {
    let columns = plain_columns(index)?;
    parts.iter().find(|part| part.holds(&columns))
}

/// The part that has the column group's share of documents over which an index is, if it is over one share alone.
fn part_of_paths<'a>(table: &'a Table, index: &Index) -> Option<&'a Part> {
    let (divided, sql) = (table.divided.as_ref()?, index.sql.as_ref()?);
    let is_named = |column: &&usize| sql.contains(&quote_identifier(&table.columns[**column].name));
    let mut named = divided.shares.iter().filter(is_named);
    let share = named.next().filter(|_| named.next().is_none())?;
    table.parts.iter().find(|part| part.own.contains(share))
}

/// The part whose partitions have an index, if there is one.
fn part_with<'a>(table: &'a Table, index: &Index) -> Option<&'a Part> {
    part_of_index(&table.parts, index).or_else(|| part_of_paths(table, index))
}

/// The columns of an index without expressions and without WHERE.
fn plain_columns(index: &Index) -> Option<Vec<usize>> {
    let columns = index.terms.iter().map(|term| term.column).collect::<Option<Vec<usize>>>()?;
    (!index.partial).then_some(columns)
}

/// The DDL of a statement by column group: `text` for tables that lie whole in the anchor, DDL of their parts
/// for split ones. Views are expanded at the coordinator.
pub(super) fn statements(
    database: &Database,
    after: &Schema,
    statement: &Stmt,
    kind: &Kind,
    text: &str,
) -> Result<Vec<Vec<String>>> {
    let mut groups = vec![Vec::new(); database.column_groups.len()];
    let Some(name) = table_of(&database.schema, statement) else { return Ok(groups) };
    let tables = Tables { before: find(&database.schema, &name)?, after: None };
    let name_after = match kind {
        Kind::RenameTable { to, .. } => to.clone(),
        _ => name,
    };
    let tables = Tables { after: find(after, &name_after)?, ..tables };
    if !tables.before.iter().chain(&tables.after).any(Table::is_split) {
        groups[0].push(text.to_owned());
        return Ok(groups);
    }
    tables.changes(kind, &mut groups)?;
    Ok(groups)
}

/// The columns that lie in the partitions of each column group, as `table.column`; the key columns are in each.
pub fn columns_of_groups(database: &Database) -> Result<Vec<Vec<String>>> {
    let mut groups = vec![Vec::new(); database.column_groups.len()];
    for definition in Shadow::new(&database.schema)?.definitions() {
        let spec = database.schema.table(&definition.name);
        let table = Table::new(definition, spec);
        for part in &table.parts {
            let name = |&column: &usize| format!("{}.{}", table.name, table.columns[column].name);
            groups[part.group].extend(part.columns.iter().map(name));
        }
        // A share's own column holds the attributes that nobody has named.
        let said = database.attribute_groups.iter().enumerate().filter(|_| table.divided.is_some());
        for (group, names) in said {
            groups[group].extend(names.iter().map(|name| format!("{}.{name}", table.name)));
        }
    }
    Ok(groups)
}

fn find(schema: &Schema, name: &str) -> Result<Option<Table>> {
    let definitions = Shadow::new(schema)?.definitions();
    let found = definitions.into_iter().find(|table| table.name.eq_ignore_ascii_case(name));
    Ok(found.map(|definition| {
        let spec = schema.table(&definition.name);
        Table::new(definition, spec)
    }))
}

/// The table, by its name before the statement, that a statement is about; `None` for views.
fn table_of(before: &Schema, statement: &Stmt) -> Option<String> {
    match statement {
        Stmt::CreateTable { tbl_name, .. } | Stmt::DropTable { tbl_name, .. } => {
            Some(tbl_name.name.as_str().to_owned())
        }
        Stmt::CreateIndex { tbl_name, .. } => Some(tbl_name.as_str().to_owned()),
        Stmt::AlterTable(alter) => Some(alter.name.name.as_str().to_owned()),
        Stmt::DropIndex { idx_name, .. } => {
            let is_it = |name: &str| name.eq_ignore_ascii_case(idx_name.name.as_str());
            before.objects.iter().find(|object| is_it(&object.name)).map(|object| object.table.clone())
        }
        _ => None,
    }
}

/// A table before and after a change, at least one of them there.
struct Tables {
    before: Option<Table>,
    after: Option<Table>,
}

impl Tables {
    fn changes(&self, kind: &Kind, groups: &mut [Vec<String>]) -> Result<()> {
        match (&self.before, &self.after) {
            (None, Some(after)) => {
                for part in &after.parts {
                    groups[part.group].push(create_part(after, part));
                }
            }
            (Some(before), None) => {
                for part in &before.parts {
                    groups[part.group].push(format!("DROP TABLE {}", quote_identifier(&before.name)));
                }
            }
            (Some(before), Some(after)) => alter(before, after, kind, groups)?,
            (None, None) => {}
        }
        Ok(())
    }
}

fn alter(before: &Table, after: &Table, kind: &Kind, groups: &mut [Vec<String>]) -> Result<()> {
    let table = quote_identifier(&before.name);
    match kind {
        Kind::RenameTable { to, .. } => {
            for part in &before.parts {
                groups[part.group].push(format!("ALTER TABLE {table} RENAME TO {}", quote_identifier(to)));
            }
            return Ok(());
        }
        Kind::RenameColumn { from, to, .. } => {
            let renamed =
                before.column(from).ok_or_else(|| Error::internal("a renamed column is missing"))?;
            let (from, to) = (quote_identifier(from), quote_identifier(to));
            for part in before.parts.iter().filter(|part| part.columns.contains(&renamed)) {
                groups[part.group].push(format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}"));
            }
            return can_be_split(after.definition());
        }
        _ => {}
    }
    for column in before.columns.iter().filter(|column| after.column(&column.name).is_none()) {
        let position = before.column(&column.name).unwrap_or_default();
        for part in before.parts.iter().filter(|part| part.columns.contains(&position)) {
            let name = quote_identifier(&column.name);
            groups[part.group].push(format!("ALTER TABLE {table} DROP COLUMN {name}"));
        }
    }
    let is_new = |position: &usize| before.column(&after.columns[*position].name).is_none();
    for position in (0..after.columns.len()).filter(is_new) {
        can_be_split(after.definition())?;
        let added = added_column(after, position);
        for part in after.parts.iter().filter(|part| part.columns.contains(&position)) {
            groups[part.group].push(format!("ALTER TABLE {table} ADD COLUMN {added}"));
        }
    }
    let is_new = |index: &&Index| !before.indexes.iter().any(|old| old.name == index.name);
    for index in after.indexes.iter().filter(is_new) {
        if let (Some(part), Some(sql)) = (part_with(after, index), &index.sql) {
            groups[part.group].push(sql.clone());
        }
    }
    let is_gone = |index: &&Index| !after.indexes.iter().any(|new| new.name == index.name);
    for index in before.indexes.iter().filter(is_gone) {
        if let Some(part) = part_with(before, index) {
            groups[part.group].push(format!("DROP INDEX IF EXISTS {}", quote_identifier(&index.name)));
        }
    }
    Ok(())
}

/// Has the marker stand in a column group for the columns that are gone from it.
pub(super) fn mark_lost_columns(table: &Definition, groups: &mut [Vec<String>]) {
    for names in groups.iter_mut().skip(1) {
        let before = names.len();
        names.retain(|name| name != LOST_COLUMNS && table.column(name).is_some());
        if names.len() < before {
            names.push(LOST_COLUMNS.to_owned());
        }
    }
}

fn added_column(table: &Table, position: usize) -> String {
    let (mut text, column) = (super::group_ddl::column(table, position), &table.columns[position]);
    if column.is_generated() {
        // Whether the rows that are there may have its values is tried over whole rows.
        return text;
    }
    if column.not_null {
        text.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default {
        text.push_str(&format!(" DEFAULT ({default})"));
    }
    text
}
