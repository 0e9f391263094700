//! DDL as SQL text. The shadow runs the client's statement and says what objects there are afterwards; here
//! it is found out what that means for the partitions.

use std::collections::{BTreeMap, BTreeSet};

use common::catalog::Database;
use common::names::{check_table_name, quote_identifier};
use common::schema::{DeclaredTable, GlobalIndex, ObjectKind, Schema, SchemaObject, TableKind, TableSpec};
use common::{Error, ErrorCode, Result};

use super::column_groups::{self, NamedGroups};
use super::spread::Placing;
use super::{SchemaChange, spread};
use crate::ast::{self, AlterTableBody, Cmd, CreateTableBody, Stmt};
use crate::shadow::Shadow;
use crate::table::{computed_by_group, parts_of};

/// What a statement of DDL does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    /// The change.
    pub(crate) change: SchemaChange,
    /// The INSERT that fills the table which CREATE TABLE … AS SELECT made.
    pub(crate) fill: Option<String>,
    /// Global indexes of tables that may have rows: they are built before the change is made.
    pub(crate) builds: Vec<Build>,
    /// Names in lower case of the tables that the change makes.
    made: BTreeSet<String>,
    /// Whether a table or a column gets another name.
    renames: bool,
}

/// A global index to be filled with the rows that are there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Build {
    /// The base table.
    pub(crate) table: String,
    /// The index as it is afterwards.
    pub(crate) index: GlobalIndex,
    /// The statement that makes its hidden table.
    ddl: String,
}

impl Definition {
    /// The change that comes first if there are indexes to build: writers of `database` maintain them from
    /// its publication on. Only the hidden tables are made; clients see nothing of it yet.
    pub(crate) fn beginning(&self, database: &Database) -> SchemaChange {
        let mut schema = Schema { version: database.schema.version + 1, ..database.schema.clone() };
        for build in &self.builds {
            if let Some(spec) = schema.tables.get_mut(&build.table.to_ascii_lowercase()) {
                spec.global_indexes.push(GlobalIndex { building: true, ..build.index.clone() });
            }
        }
        let statements = self.builds.iter().map(|build| build.ddl.clone()).collect();
        SchemaChange { schema, statements, group_statements: Vec::new() }
    }

    /// The change itself, after [`Definition::beginning`] if that was made.
    pub(crate) fn completion(self) -> SchemaChange {
        let mut change = self.change;
        change.schema.version += u64::from(!self.builds.is_empty());
        change
    }

    /// The DDL for the partitions of a column group where the rows that are there are entered by the same request:
    /// new hidden tables first.
    pub(crate) fn statements_of(&self, group: usize) -> Vec<String> {
        match group.checked_sub(1) {
            None => {
                let hidden = self.builds.iter().map(|build| &build.ddl);
                hidden.chain(&self.change.statements).cloned().collect()
            }
            Some(other) => self.change.group_statements.get(other).cloned().unwrap_or_default(),
        }
    }

    /// The change that takes [`Definition::beginning`] back.
    pub(crate) fn withdrawal(&self, database: &Database) -> SchemaChange {
        let schema = Schema { version: database.schema.version + 2, ..database.schema.clone() };
        let drop = |build: &Build| format!("DROP TABLE {}", quote_identifier(&build.index.table));
        let statements = self.builds.iter().map(drop).collect();
        SchemaChange { schema, statements, group_statements: Vec::new() }
    }
}

/// What is said of new tables besides their text.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// By name in lower case.
    pub(super) partition_keys: BTreeMap<String, Vec<String>>,
    /// By name in lower case.
    pub(super) declared: BTreeMap<String, DeclaredTable>,
    /// Names in lower case of those that every bucket has a copy of.
    pub(super) references: BTreeSet<String>,
    /// Names in lower case of collections.
    pub(super) collections: BTreeSet<String>,
    /// By name in lower case.
    pub(super) column_groups: BTreeMap<String, NamedGroups>,
}

/// Checks a statement of DDL; `None` if it changes nothing (IF NOT EXISTS, IF EXISTS).
pub(crate) fn define(database: &Database, sql: &str) -> Result<Option<Definition>> {
    define_with(database, sql, &Said::default())
}

/// Several statements of DDL as one change; `None` if it is none that could be made without changing rows together with
/// the schema. The number in the error is the statement's.
pub(crate) fn define_all(database: &Database, statements: &[&str]) -> Result<Option<Defined>> {
    let before = database;
    let mut database = database.clone();
    let version = database.schema.version + 1;
    let mut all: Option<Definition> = None;
    for (index, sql) in statements.iter().enumerate() {
        let Some(next) = define(&database, sql).map_err(|error| error.at_statement(index))? else { continue };
        if next.fill.is_some() {
            return Ok(None);
        }
        database.schema = next.change.schema.clone();
        all = Some(match all {
            None => next,
            Some(mut all) => {
                all.change.schema = next.change.schema;
                for build in next.builds {
                    // A table that this request makes has no rows.
                    if all.made.contains(&build.table.to_ascii_lowercase()) {
                        all.change.statements.push(build.ddl);
                    } else {
                        all.builds.push(build);
                    }
                }
                all.change.append(next.change.statements, next.change.group_statements);
                all.made.extend(next.made);
                all.renames |= next.renames;
                all
            }
        });
    }
    let Some(mut all) = all else { return Ok(Some(Defined::Nothing)) };
    all.change.schema.version = version;
    Ok(can_build_before(before, &mut all).then(|| Defined::Change(Box::new(all))))
}

/// What statements of DDL come to.
pub(crate) enum Defined {
    /// They leave the schema as it is.
    Nothing,
    /// One change.
    Change(Box<Definition>),
}

/// Whether rows can be entered into new global indexes before the rest of the request is carried out: the tables must
/// be the same before and after.
fn can_build_before(before: &Database, all: &mut Definition) -> bool {
    let after = &all.change.schema;
    let text = |schema: &Schema, name: &str| {
        let is_it = |object: &&SchemaObject| object.kind == ObjectKind::Table && object.name == name;
        schema.objects.iter().find(is_it).map(|object| object.sql.clone())
    };
    // An index that the same request drops again needs no rows, only the table that is dropped.
    let is_kept = |build: &Build| {
        after.table(&build.table).is_some_and(|spec| spec.global_indexes.contains(&build.index))
    };
    let (kept, dropped) = std::mem::take(&mut all.builds).into_iter().partition(is_kept);
    all.builds = kept;
    let dropped: Vec<Build> = dropped;
    all.change.statements.splice(0..0, dropped.into_iter().map(|build| build.ddl));
    let changes = |build: &Build| {
        let known = text(&before.schema, &build.table);
        known.is_none() || known != text(after, &build.table)
    };
    !all.builds.iter().any(|build| all.renames || changes(build))
}

/// ANALYZE or REINDEX, which change no object: every partition gathers statistics of its own rows, for its own
/// plans, or makes its own indexes anew.
fn upkeep(database: &Database, sql: &str, everything: &str) -> Definition {
    let groups = database.column_groups.len();
    // What it names need not lie in every column group.
    let text = if groups == 1 { sql } else { everything }.to_owned();
    let schema = Schema { version: database.schema.version + 1, ..database.schema.clone() };
    let group_statements = vec![vec![text.clone()]; groups - 1];
    Definition {
        change: SchemaChange { schema, statements: vec![text], group_statements },
        fill: None,
        builds: Vec::new(),
        made: BTreeSet::new(),
        renames: false,
    }
}

pub(super) fn define_with(database: &Database, sql: &str, said: &Said) -> Result<Option<Definition>> {
    let Some(Cmd::Stmt(statement)) = ast::parse(sql) else { return define_view(database, sql) };
    let everything = match statement {
        Stmt::Analyze { .. } => Some("ANALYZE"),
        Stmt::Reindex { .. } => Some("REINDEX"),
        _ => None,
    };
    if let Some(everything) = everything {
        Shadow::new(&database.schema)?.check(sql)?;
        return Ok(Some(upkeep(database, sql, everything)));
    }
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
    let mut hidden = Vec::new();
    let (builds, made) = spread_tables(database, &mut schema, &kind, said, &mut hidden)?;
    // Triggers belong to whoever computes changes; partitions have none.
    let is_trigger = matches!(statement, Stmt::CreateTrigger { .. } | Stmt::DropTrigger { .. });
    let (mut statements, group_statements) = if is_trigger {
        (Vec::new(), Vec::new())
    } else if database.column_groups.len() == 1 {
        (vec![text], Vec::new())
    } else {
        let mut groups = column_groups::statements(database, &schema, &statement, &kind, &text)?;
        (groups.remove(0), groups)
    };
    statements.extend(hidden);
    let renames = matches!(kind, Kind::RenameTable { .. } | Kind::RenameColumn { .. });
    Ok(Some(Definition {
        change: SchemaChange { schema, statements, group_statements },
        fill,
        builds,
        made,
        renames,
    }))
}

/// A statement that only SQLite understands: it may make views whose columns are not those of their queries, which
/// fail once they are read.
fn define_view(database: &Database, sql: &str) -> Result<Option<Definition>> {
    let shadow = Shadow::new(&database.schema)?;
    // It knows what is wrong with a statement.
    if !shadow.check(sql)?.changes_schema {
        return Ok(None);
    }
    let before = &database.schema.objects;
    let objects = shadow.objects_after(sql)?;
    let is_new_view = |object: &SchemaObject| object.kind == ObjectKind::View && !before.contains(object);
    if !objects.iter().all(|object| before.contains(object) || is_new_view(object))
        || !before.iter().all(|object| objects.contains(object))
    {
        return Err(Error::not_supported(
            "this form of the statement is not understood",
            "write it in a simpler form",
        ));
    }
    check_names(before, &objects)?;
    let version = database.schema.version + 1;
    let schema = Schema { version, objects, tables: database.schema.tables.clone() };
    let is_whole = database.column_groups.len() == 1;
    let statements = if is_whole { vec![sql.to_owned()] } else { Vec::new() };
    Ok(Some(Definition {
        change: SchemaChange { schema, statements, group_statements: Vec::new() },
        fill: None,
        builds: Vec::new(),
        made: BTreeSet::new(),
        renames: false,
    }))
}

/// What matters of a statement beyond the objects that it leaves.
pub(super) enum Kind {
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
            | Stmt::CreateTrigger { .. }
            | Stmt::DropTrigger { .. }
            | Stmt::DropTable { .. }
            | Stmt::DropIndex { .. }
            | Stmt::DropView { .. } => Kind::Other,
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

/// Decides how the tables of the schema are spread; appends the DDL of hidden tables. Answers the global
/// indexes that are to be built, and the names of new tables in lower case.
fn spread_tables(
    database: &Database,
    schema: &mut Schema,
    kind: &Kind,
    said: &Said,
    statements: &mut Vec<String>,
) -> Result<(Vec<Build>, BTreeSet<String>)> {
    let before = &database.schema.tables;
    let hidden_before: BTreeSet<String> =
        before.values().flat_map(|spec| &spec.global_indexes).map(|index| index.table.clone()).collect();
    let mut next = hidden_before
        .iter()
        .filter_map(|name| name.strip_prefix("_unique_")?.parse::<u64>().ok())
        .max()
        .unwrap_or(0);
    let (mut builds, mut made) = (Vec::new(), BTreeSet::new());
    let mut hidden_after = BTreeSet::new();
    for table in Shadow::new(schema)?.definitions() {
        let lower = table.name.to_ascii_lowercase();
        let known = known_spec(before, kind, &table.name);
        let is_new = known.is_none();
        let mut spec = match known {
            Some(mut spec) => {
                column_groups::mark_lost_columns(&table, &mut spec.column_groups);
                spec
            }
            None => {
                let reference = said.references.contains(&lower);
                let own = said.partition_keys.get(&lower).map(Vec::as_slice);
                let key = if reference { Vec::new() } else { spread::partition_key(database, &table, own)? };
                let groups = if reference {
                    Vec::new()
                } else {
                    let said_groups = said.column_groups.get(&lower);
                    column_groups::of_new_table(database, &table, &key, said_groups)?
                };
                let kind = match said.collections.contains(&lower) {
                    true => TableKind::Collection,
                    false => TableKind::Relational,
                };
                let declared = said.declared.get(&lower).cloned();
                TableSpec { kind, declared, ..spread::new_spec(&table, key, reference, groups) }
            }
        };
        let parts = parts_of(&table, Some(&spec), &computed_by_group(&table, Some(&spec)));
        if database.buckets.len() > 1 || parts.len() > 1 {
            check_key_is_there(&table, &spec)?;
            spread::check(&table, &spec)?;
            let placing = Placing { parts: &parts, one_bucket: database.buckets.len() == 1 };
            let indexes = spread::global_indexes(&table, &spec, placing, &mut next)?;
            for index in indexes.iter().filter(|index| !hidden_before.contains(&index.table)) {
                let ddl = spread::index_table_ddl(&table, index);
                if is_new {
                    statements.push(ddl);
                } else {
                    builds.push(Build { table: table.name.clone(), index: index.clone(), ddl });
                }
            }
            let kept = indexes.iter().filter(|index| hidden_before.contains(&index.table));
            statements.extend(kept.filter_map(|index| rename_in_hidden(index, &lower, kind)));
            hidden_after.extend(indexes.iter().map(|index| index.table.clone()));
            spec.global_indexes = indexes;
        }
        if is_new {
            made.insert(lower.clone());
        }
        schema.tables.insert(lower, spec);
    }
    for gone in hidden_before.difference(&hidden_after) {
        statements.push(format!("DROP TABLE {}", quote_identifier(gone)));
    }
    Ok((builds, made))
}

/// The statement that gives a column its new name in the hidden table of a global index, too.
fn rename_in_hidden(index: &GlobalIndex, table: &str, kind: &Kind) -> Option<String> {
    let Kind::RenameColumn { table: renamed, from, to } = kind else { return None };
    (renamed == table && index.computed.is_none() && index.columns.contains(to)).then(|| {
        format!(
            "ALTER TABLE {} RENAME COLUMN {} TO {}",
            quote_identifier(&index.table),
            quote_identifier(from),
            quote_identifier(to)
        )
    })
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
        let columns = columns.chain(spec.column_groups.iter_mut().flatten());
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
