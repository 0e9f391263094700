//! The shadow of a database: its schema without its rows, in memory. It is the authority on what a client's
//! text means: errors, names, types, which columns are read, whether it may be run at all.

use std::collections::BTreeMap;

use common::names::{is_internal_table, quote_identifier};
use common::protocol::{Statement, StatementResult};
use common::schema::{ObjectKind, SchemaObject};
use common::{Error, ErrorCode};
use rusqlite::OptionalExtension as _;
use rusqlite::config::DbConfig;
use rusqlite::ffi;

use crate::authorizer::Role;
use crate::budget::{Budget, Watch};
use crate::connection::{ClientStatement, Connection, ours};
use crate::error::{Failure, Result};
use crate::join_columns::JoinColumns;
use crate::query::{Access, answer, columns};
use crate::recipe;
use crate::schema::DatabaseSchema;

/// Instructions that compiling or checking one statement may take; a legal statement of thousands of terms
/// needs a fraction.
const CHECKING_INSTRUCTIONS: u64 = 20_000_000;

/// What a statement is and touches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// Names of the columns it answers.
    pub columns: Vec<String>,
    /// Their declared types, `""` for expressions.
    pub types: Vec<String>,
    /// Its parameters by position: the name without its first character, `None` for a plain `?`.
    pub parameters: Vec<Option<String>>,
    /// Whether SQLite calls it read-only.
    pub read_only: bool,
    /// Whether it changes the schema (DDL, ANALYZE, REINDEX).
    pub changes_schema: bool,
    /// Whether it is EXPLAIN or EXPLAIN QUERY PLAN.
    pub explain: bool,
    /// Tables and views it reads, with the columns; without columns if only rows are counted. What foreign
    /// keys make it read is here too.
    pub reads: Vec<TableAccess>,
    /// Tables it changes, with the columns that an UPDATE sets. What foreign keys make it change is here too.
    pub writes: Vec<TableAccess>,
    /// Tables and views of which it may hold the name, and reads and writes nothing: what SQLite leaves out as
    /// unused must exist all the same.
    pub mentions: Vec<String>,
    /// Functions it calls, in lower case.
    pub functions: Vec<String>,
    /// What it does beyond changing rows directly, if it changes rows.
    pub consequences: Consequences,
}

/// What a statement that changes rows sets off, and what it looks at by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consequences {
    /// Whether triggers belong to it.
    pub fires_triggers: bool,
    /// Whether foreign keys are checked or act.
    pub checks_foreign_keys: bool,
    /// Tables whose rows it, or a trigger's body, looks through. Looking up the rows that a constraint or a
    /// foreign key is about does not count.
    pub scans: Vec<String>,
    /// Those of them whose rows the body of a trigger looks through, changes or deletes.
    pub scans_inside: Vec<String>,
    /// Tables in which it, or a trigger's body, inserts rows.
    pub inserts: Vec<String>,
}

/// A table and some of its columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableAccess {
    /// The table or view, as its definition writes it.
    pub table: String,
    /// Columns, as the definition writes them; the rowid is `ROWID`, or the column that is it.
    pub columns: Vec<String>,
}

/// An empty database with a schema.
pub struct Shadow {
    connection: Connection,
    schema: DatabaseSchema,
}

impl Shadow {
    /// Builds one from statements that were checked when they were first run.
    pub fn new<'s>(statements: impl IntoIterator<Item = &'s str>) -> Result<Shadow> {
        let connection = recipe::in_memory(Role::Shadow)?;
        connection.run(ours!("BEGIN"))?;
        for sql in statements {
            connection.raw().execute_batch(sql)?;
        }
        connection.run(ours!("COMMIT"))?;
        let schema = DatabaseSchema::read(connection.raw())?;
        Ok(Shadow { connection, schema })
    }

    /// The schema as plain values.
    #[must_use]
    pub fn schema(&self) -> &DatabaseSchema {
        &self.schema
    }

    /// Compiles a client's statement and says what it is. The errors are SQLite's own; text that a client
    /// may not run is `sql_forbidden`.
    pub fn prepare(&self, sql: &str) -> Result<Description> {
        let (mut description, trace) = self.connection.traced(|raw| {
            let budget = Budget { instructions: Some(CHECKING_INSTRUCTIONS), ..Budget::default() };
            let _watch = Watch::begin(raw, &budget);
            // Kept statements would not be compiled again, and so would not say what they touch.
            let mut prepared = ClientStatement::prepare_once(raw, sql)?;
            Ok(describe(prepared.get()))
        })?;
        description.changes_schema = trace.changes_schema;
        description.functions = trace.functions;
        if !description.read_only && !description.changes_schema && !description.explain {
            description.consequences = self.consequences(sql, &trace.accessors, trace.changed_inside)?;
            description.consequences.inserts = trace.inserts;
        }
        for (table, column) in trace.reads {
            note(&mut description.reads, table, Some(column).filter(|column| !column.is_empty()));
        }
        for (table, column) in trace.writes {
            if !description.changes_schema && is_internal_table(&table) {
                return Err(Error::new(ErrorCode::SqlForbidden, format!("the table {table} is internal"))
                    .with_hint("names that begin with '_' or 'sqlite_' belong to the system")
                    .into());
            }
            note(&mut description.writes, table, column);
        }
        self.note_what_is_not_reported(sql, &mut description);
        Ok(description)
    }

    fn consequences(&self, sql: &str, accessors: &[String], changed: Vec<String>) -> Result<Consequences> {
        let is_trigger = |name: &String| self.schema.triggers.iter().any(|trigger| trigger.name == *name);
        let has_foreign_keys = self.schema.tables.iter().any(|table| !table.foreign_keys.is_empty());
        let raw = self.connection.raw();
        let whole = program(raw, sql)?;
        let checks_foreign_keys = has_foreign_keys && whole.checks_foreign_keys;
        let (mut scans, inside) = if has_foreign_keys {
            raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
            let without = program(raw, sql);
            raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
            // Foreign keys look through tables by keys alone, but triggers that they set off do so like any others.
            let Program { scans, mut scans_inside, .. } = without?;
            for (trigger, tables) in whole.scans_inside.into_iter().filter(|(name, _)| name != FOREIGN_KEY) {
                scans_inside.entry(trigger).or_insert(tables);
            }
            (scans, scans_inside)
        } else {
            (whole.scans, whole.scans_inside)
        };
        let mut scans_inside: Vec<String> = inside.into_values().flatten().collect();
        scans_inside.extend(changed);
        scans.extend(scans_inside.iter().cloned());
        for names in [&mut scans, &mut scans_inside] {
            names.sort_unstable();
            names.dedup();
        }
        let fires_triggers = accessors.iter().any(is_trigger);
        Ok(Consequences { fires_triggers, checks_foreign_keys, scans, scans_inside, inserts: Vec::new() })
    }

    /// Adds the columns that joins compare without the authorizer hearing of it, and the tables of which
    /// nothing else is read. Views count whose names are mentioned, directly or by such views.
    fn note_what_is_not_reported(&self, sql: &str, description: &mut Description) {
        let mut joined = JoinColumns::default();
        joined.add(sql);
        let mut views: Vec<_> = self.schema.views.iter().collect();
        while let Some(next) = views.iter().position(|view| joined.mentions(&view.name)) {
            let view = views.swap_remove(next);
            joined.add(&view.sql);
            if !description.reads.iter().any(|access| access.table.eq_ignore_ascii_case(&view.name)) {
                description.mentions.push(view.name.clone());
            }
        }
        for table in self.schema.tables.iter().filter(|table| joined.mentions(&table.name)) {
            let mut known = description.reads.iter().chain(&description.writes);
            if known.any(|access| access.table.eq_ignore_ascii_case(&table.name)) {
                continue;
            }
            if joined.is_any() {
                description.reads.push(TableAccess { table: table.name.clone(), columns: Vec::new() });
            } else {
                description.mentions.push(table.name.clone());
            }
        }
        for access in &mut description.reads {
            let columns = self.schema.table(&access.table).map_or(&[][..], |table| &table.columns);
            let missing = columns.iter().filter(|column| joined.contains(&column.name));
            for column in missing.map(|column| &column.name) {
                if !access.columns.contains(column) {
                    access.columns.push(column.clone());
                }
            }
        }
    }

    /// Answers a statement from the schema alone: one without tables, or one that reads `sqlite_schema` or
    /// an allowed PRAGMA. Tables are empty here.
    pub fn query(&self, statement: &Statement, budget: &Budget<'_>) -> Result<StatementResult> {
        self.connection.forget_statements_before()?;
        answer(&self.connection, statement, Access::Read, budget)
    }

    /// As [`Shadow::query`], where AUTOINCREMENT's counters are these: tables, and the greatest rowid that each
    /// has had.
    pub fn query_with_sequences(
        &self,
        statement: &Statement,
        sequences: &[(String, i64)],
        budget: &Budget<'_>,
    ) -> Result<StatementResult> {
        self.connection.run(ours!("SAVEPOINT counters"))?;
        let answered = self.set_sequences(sequences).and_then(|()| self.query(statement, budget));
        self.connection.run(ours!("ROLLBACK TO counters"))?;
        self.connection.run(ours!("RELEASE counters"))?;
        answered
    }

    fn set_sequences(&self, sequences: &[(String, i64)]) -> Result<()> {
        let sql = ours!("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)");
        for sequence in sequences {
            self.connection.raw().prepare_cached(sql)?.execute((&sequence.0, sequence.1))?;
        }
        // `changes()` does not tell of them.
        self.connection.run(ours!("DELETE FROM sqlite_sequence WHERE 0"))
    }

    /// The objects in order of creation.
    pub fn objects(&self) -> Result<Vec<SchemaObject>> {
        read_objects(self.connection.raw())
    }

    /// The objects as they would be after a client's DDL statement, which is checked and undone.
    /// CREATE TABLE … AS SELECT leaves the table without its rows.
    pub fn objects_after(&self, sql: &str) -> Result<Vec<SchemaObject>> {
        self.connection.run(ours!("SAVEPOINT trial"))?;
        let tried = self.try_schema_change(sql);
        self.connection.run(ours!("ROLLBACK TO trial"))?;
        self.connection.run(ours!("RELEASE trial"))?;
        tried
    }

    fn try_schema_change(&self, sql: &str) -> Result<Vec<SchemaObject>> {
        let budget = Budget { instructions: Some(CHECKING_INSTRUCTIONS), ..Budget::default() };
        let (_, trace) = self.connection.traced(|raw| {
            let _watch = Watch::begin(raw, &budget);
            let mut prepared = ClientStatement::prepare_once(raw, sql)?;
            let mut rows = prepared.get().raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        })?;
        if !trace.changes_schema {
            return Err(Error::internal("a statement was taken for DDL that is not").into());
        }
        let objects = read_objects(self.connection.raw())?;
        for object in &objects {
            if !matches!(object.kind, ObjectKind::Index | ObjectKind::Trigger) {
                common::names::check_table_name(&object.name)?;
            }
            match object.kind {
                ObjectKind::Table => self.check_rowid_is_named(&object.name)?,
                ObjectKind::View => self.check_view(&object.name)?,
                ObjectKind::Index | ObjectKind::Trigger => {}
            }
        }
        Ok(objects)
    }

    /// Row images name rows by their rowid, so it must have a name that no column has taken.
    fn check_rowid_is_named(&self, table: &str) -> Result<()> {
        crate::layout::Layouts::check(self.connection.raw(), table)
    }

    /// A view may be made over what does not exist; over the system's tables it may not.
    fn check_view(&self, view: &str) -> Result<()> {
        let read = format!("SELECT * FROM {}", quote_identifier(view));
        match self.prepare(&read) {
            Err(Failure::Refused(error)) if error.code == ErrorCode::SqlError => {
                let missing = error.message.strip_prefix("no such table: ");
                let table = missing.map(|name| name.strip_prefix("main.").unwrap_or(name));
                match table {
                    Some(table) if is_internal_table(table) => {
                        Err(Error::new(ErrorCode::SqlForbidden, format!("the table {table} is internal"))
                            .into())
                    }
                    _ => Ok(()),
                }
            }
            other => other.map(|_| ()),
        }
    }
}

/// What the programs say that SQLite makes of a statement and of the triggers that belong to it
/// (<https://sqlite.org/opcode.html>).
#[derive(Default)]
struct Program {
    checks_foreign_keys: bool,
    scans: Vec<String>,
    /// By trigger.
    scans_inside: BTreeMap<String, Vec<String>>,
}

/// What foreign keys do are triggers without a name.
const FOREIGN_KEY: &str = "";

fn program(raw: &rusqlite::Connection, sql: &str) -> Result<Program> {
    let mut found = Program::default();
    let sql = sql.trim_start_matches(|c: char| c == ';' || c.is_ascii_whitespace() || c == '\u{feff}');
    let mut statement = raw.prepare(&format!("{}EXPLAIN {sql}", ours!("")))?;
    let mut rows = statement.raw_query();
    let (mut last, mut inside, mut trigger) = (-1, false, String::new());
    while let Some(row) = rows.next()? {
        let address: i64 = row.get(0)?;
        // The programs of triggers follow, each with addresses of its own.
        inside |= std::mem::replace(&mut last, address) >= address;
        let (opcode, root, database): (String, i64, i64) = (row.get(1)?, row.get(3)?, row.get(4)?);
        match opcode.as_str() {
            "FkCounter" => found.checks_foreign_keys = true,
            "Halt" if row.get::<_, i32>(2)? == ffi::SQLITE_CONSTRAINT_FOREIGNKEY => {
                found.checks_foreign_keys = true;
            }
            "Init" if inside => {
                let name: Option<String> = row.get(5)?;
                trigger = name
                    .as_deref()
                    .and_then(|name| name.strip_prefix("-- TRIGGER "))
                    .unwrap_or(FOREIGN_KEY)
                    .to_owned();
                found.scans_inside.entry(trigger.clone()).or_default();
            }
            "OpenRead" if database == 0 && inside => {
                found.scans_inside.entry(trigger.clone()).or_default().extend(table_at(raw, root)?);
            }
            "OpenRead" if database == 0 => found.scans.extend(table_at(raw, root)?),
            _ => {}
        }
    }
    Ok(found)
}

/// The table that a page is the root of, or of whose index.
fn table_at(raw: &rusqlite::Connection, root: i64) -> Result<Option<String>> {
    let sql = ours!("SELECT tbl_name FROM sqlite_schema WHERE rootpage = ?");
    Ok(raw.prepare_cached(sql)?.query_row([root], |row| row.get(0)).optional()?)
}

fn describe(statement: &rusqlite::Statement<'_>) -> Description {
    let (columns, types) = columns(statement);
    let parameters = (1..=statement.parameter_count())
        .map(|index| statement.parameter_name(index).map(|name| name[1..].to_owned()))
        .collect();
    Description {
        columns,
        types,
        parameters,
        read_only: statement.readonly(),
        explain: statement.is_explain() != 0,
        ..Description::default()
    }
}

fn note(accesses: &mut Vec<TableAccess>, table: String, column: Option<String>) {
    let index = accesses.iter().position(|access| access.table == table).unwrap_or_else(|| {
        accesses.push(TableAccess { table, columns: Vec::new() });
        accesses.len() - 1
    });
    accesses[index].columns.extend(column);
}

fn read_objects(raw: &rusqlite::Connection) -> Result<Vec<SchemaObject>> {
    let mut statement = raw.prepare_cached(ours!(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL ",
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
    ))?;
    let rows = statement.query_map([], |row| {
        let kind: String = row.get(0)?;
        Ok(SchemaObject {
            kind: match kind.as_str() {
                "index" => ObjectKind::Index,
                "view" => ObjectKind::View,
                "trigger" => ObjectKind::Trigger,
                _ => ObjectKind::Table,
            },
            name: row.get(1)?,
            table: row.get(2)?,
            sql: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
