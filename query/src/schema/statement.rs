//! DDL as SQL text. The shadow runs the client's statement and says what objects there are afterwards; here
//! it is found out what that means for the partitions.

use std::collections::{BTreeMap, BTreeSet};

use common::catalog::Database;
use common::names::{check_table_name, quote_identifier};
use common::schema::{DeclaredTable, ObjectKind, Schema, SchemaObject, TableSpec};
use common::{Error, ErrorCode, Result};

use super::{SchemaChange, spread};
use crate::ast::{self, AlterTableBody, Cmd, CreateTableBody, Stmt};
use crate::shadow::Shadow;

/// What a statement of DDL does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    /// The change.
    pub(crate) change: SchemaChange,
    /// The INSERT that fills the table which CREATE TABLE … AS SELECT made.
    pub(crate) fill: Option<String>,
    /// The table which must have no rows, because a new global index would lack theirs.
    pub(crate) must_be_empty: Option<String>,
}

/// What is said of new tables besides their text.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// By name in lower case.
    pub(super) partition_keys: BTreeMap<String, Vec<String>>,
    /// By name in lower case.
    pub(super) declared: BTreeMap<String, DeclaredTable>,
}

/// Checks a statement of DDL; `None` if it changes nothing (IF NOT EXISTS, IF EXISTS).
pub(crate) fn define(database: &Database, sql: &str) -> Result<Option<Definition>> {
    define_with(database, sql, &Said::default())
}

/// Several statements of DDL as one change. The number in the error is the statement's.
pub(crate) fn define_all(database: &Database, statements: &[&str]) -> Result<Option<Definition>> {
    let mut database = database.clone();
    let version = database.schema.version + 1;
    let mut all: Option<Definition> = None;
    for (index, sql) in statements.iter().enumerate() {
        let Some(next) = define(&database, sql).map_err(|error| error.at_statement(index))? else { continue };
        if next.fill.is_some() {
            return Err(Error::not_supported(
                "CREATE TABLE … AS SELECT must be a request of its own",
                "send it alone",
            )
            .at_statement(index));
        }
        database.schema = next.change.schema.clone();
        all = Some(match all {
            None => next,
            Some(mut all) => {
                all.change.schema = next.change.schema;
                all.change.statements.extend(next.change.statements);
                // A table that this request makes is empty.
                all.must_be_empty = all.must_be_empty.or(next.must_be_empty);
                all
            }
        });
    }
    if let Some(all) = &mut all {
        all.change.schema.version = version;
    }
    Ok(all)
}

pub(super) fn define_with(database: &Database, sql: &str, said: &Said) -> Result<Option<Definition>> {
    let Some(Cmd::Stmt(statement)) = ast::parse(sql) else {
        // The shadow knows what is wrong with it.
        Shadow::new(&database.schema)?.check(sql)?;
        return Err(Error::not_supported(
            "this form of the statement is not understood",
            "write it in a simpler form",
        ));
    };
    let kind = Kind::of(&statement)?;
    let shadow = Shadow::new(&database.schema)?;
    if !shadow.check(sql)?.changes_schema {
        return Ok(None);
    }
    let objects = shadow.objects_after(sql)?;
    if objects == database.schema.objects {
        return Ok(None);
    }
    check_names(&database.schema.objects, &objects)?;
    let (text, fill) = match &kind {
        Kind::Copy { table, query } => copy(&objects, table, query)?,
        _ => (sql.to_owned(), None),
    };
    let mut schema = Schema { version: database.schema.version + 1, objects, tables: BTreeMap::new() };
    let mut statements = vec![text];
    let must_be_empty = spread_tables(database, &mut schema, &kind, said, &mut statements)?;
    Ok(Some(Definition { change: SchemaChange { schema, statements }, fill, must_be_empty }))
}

/// What matters of a statement beyond the objects that it leaves.
enum Kind {
    /// CREATE TABLE … AS SELECT.
    Copy { table: String, query: String },
    /// ALTER TABLE … RENAME TO.
    RenameTable { from: String, to: String },
    /// ALTER TABLE … RENAME COLUMN.
    RenameColumn { table: String, from: String, to: String },
    /// Anything else.
    Other,
}

impl Kind {
    fn of(statement: &Stmt) -> Result<Kind> {
        Ok(match statement {
            Stmt::CreateTable { tbl_name, body: CreateTableBody::AsSelect(query), .. } => {
                Kind::Copy { table: tbl_name.name.as_str().to_owned(), query: query.to_string() }
            }
            Stmt::AlterTable(alter) => match &alter.body {
                AlterTableBody::RenameTo(to) => Kind::RenameTable {
                    from: alter.name.name.as_str().to_ascii_lowercase(),
                    to: to.as_str().to_owned(),
                },
                AlterTableBody::RenameColumn { old, new } => Kind::RenameColumn {
                    table: alter.name.name.as_str().to_ascii_lowercase(),
                    from: old.as_str().to_owned(),
                    to: new.as_str().to_owned(),
                },
                _ => Kind::Other,
            },
            Stmt::CreateTable { .. }
            | Stmt::CreateIndex { .. }
            | Stmt::CreateView { .. }
            | Stmt::DropTable { .. }
            | Stmt::DropIndex { .. }
            | Stmt::DropView { .. } => Kind::Other,
            Stmt::Analyze { .. } | Stmt::Reindex { .. } => {
                return Err(Error::not_supported(
                    "ANALYZE and REINDEX are not supported",
                    "leave them out; plans do not depend on them",
                ));
            }
            _ => return Err(Error::not_supported("this statement is not supported", "leave it out")),
        })
    }
}

/// New objects must not be named like the system's.
fn check_names(before: &[SchemaObject], after: &[SchemaObject]) -> Result<()> {
    let known: BTreeSet<&str> = before.iter().map(|object| object.name.as_str()).collect();
    after
        .iter()
        .filter(|object| !known.contains(object.name.as_str()))
        .try_for_each(|object| check_table_name(&object.name))
}

/// CREATE TABLE … AS SELECT as the table's definition and the INSERT that fills it.
fn copy(objects: &[SchemaObject], table: &str, query: &str) -> Result<(String, Option<String>)> {
    let made = objects
        .iter()
        .find(|object| object.kind == ObjectKind::Table && object.name.eq_ignore_ascii_case(table))
        .ok_or_else(|| Error::internal("a new table is not among the objects"))?;
    let fill = format!("INSERT INTO {} {query}", quote_identifier(&made.name));
    Ok((made.sql.clone(), Some(fill)))
}

/// Decides how the tables of the schema are spread; appends the DDL of hidden tables. Answers the table that
/// must be empty.
fn spread_tables(
    database: &Database,
    schema: &mut Schema,
    kind: &Kind,
    said: &Said,
    statements: &mut Vec<String>,
) -> Result<Option<String>> {
    let before = &database.schema.tables;
    let several = database.buckets.len() > 1;
    let hidden_before: BTreeSet<String> =
        before.values().flat_map(|spec| &spec.global_indexes).map(|index| index.table.clone()).collect();
    let mut next = hidden_before
        .iter()
        .filter_map(|name| name.strip_prefix("_unique_")?.parse::<u64>().ok())
        .max()
        .unwrap_or(0);
    let mut must_be_empty = None;
    let mut hidden_after = BTreeSet::new();
    for table in Shadow::new(schema)?.definitions() {
        let lower = table.name.to_ascii_lowercase();
        let known = known_spec(before, kind, &table.name);
        let is_new = known.is_none();
        let mut spec = match known {
            Some(spec) => spec,
            None => {
                let own = said.partition_keys.get(&lower).map(Vec::as_slice);
                let key = spread::partition_key(database, &table, own)?;
                spread::new_spec(&table, key, said.declared.get(&lower).cloned())
            }
        };
        if several {
            check_key_is_there(&table, &spec)?;
            spread::check(&table, &spec)?;
            let indexes = spread::global_indexes(&table, &spec, &mut next)?;
            for index in indexes.iter().filter(|index| !hidden_before.contains(&index.table)) {
                statements.push(spread::index_table_ddl(&table, index));
                if !is_new {
                    must_be_empty = Some(table.name.clone());
                }
            }
            hidden_after.extend(indexes.iter().map(|index| index.table.clone()));
            spec.global_indexes = indexes;
        }
        schema.tables.insert(lower, spec);
    }
    for gone in hidden_before.difference(&hidden_after) {
        statements.push(format!("DROP TABLE {}", quote_identifier(gone)));
    }
    Ok(must_be_empty)
}

/// The spec of a table that was there before, under the names of now.
fn known_spec(before: &BTreeMap<String, TableSpec>, kind: &Kind, name: &str) -> Option<TableSpec> {
    let lower = name.to_ascii_lowercase();
    let renamed = match kind {
        Kind::RenameTable { from, to } if to.eq_ignore_ascii_case(name) => before.get(from),
        _ => None,
    };
    let mut spec = renamed.or_else(|| before.get(&lower))?.clone();
    spec.name = name.to_owned();
    if let Kind::RenameColumn { table, from, to } = kind
        && *table == lower
    {
        let columns = spec.partition_key.iter_mut();
        let columns = columns.chain(spec.global_indexes.iter_mut().flat_map(|index| &mut index.columns));
        let declared = spec.declared.iter_mut().flat_map(|declared| &mut declared.columns);
        for column in columns.chain(declared.map(|column| &mut column.name)) {
            if column.eq_ignore_ascii_case(from) {
                column.clone_from(to);
            }
        }
    }
    Some(spec)
}

fn check_key_is_there(table: &sqlite::schema::Table, spec: &TableSpec) -> Result<()> {
    match spec.partition_key.iter().find(|name| table.column(name).is_none()) {
        None => Ok(()),
        Some(name) => Err(Error::new(
            ErrorCode::SqlError,
            format!("error in table {}: cannot drop column \"{name}\": PARTITION KEY", table.name),
        )),
    }
}
