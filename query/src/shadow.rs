//! The empty database with the client's schema: the authority on what a text means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use common::protocol::{Statement, StatementResult};
use common::schema::{Schema, SchemaObject};
use common::{Error, Result};
use sqlite::{Budget, Consequences};

use crate::expansion::Sizes;
use crate::table::Table;

/// Functions whose result depends on more than their arguments.
const NOT_DETERMINISTIC: [&str; 16] = [
    "random",
    "randomblob",
    "changes",
    "total_changes",
    "last_insert_rowid",
    "date",
    "time",
    "datetime",
    "julianday",
    "strftime",
    "unixepoch",
    "timediff",
    "current_date",
    "current_time",
    "current_timestamp",
    "sqlite_offset",
];

/// Functions that tell of the statements before, in the same connection.
const OF_STATEMENTS_BEFORE: [&str; 3] = ["changes", "last_insert_rowid", "total_changes"];

/// Where SQLite keeps AUTOINCREMENT's counters.
const SEQUENCES: &str = "sqlite_sequence";

/// A shadow database, shared by requests.
pub(crate) struct Shadow {
    inner: Mutex<sqlite::Shadow>,
    sizes: Sizes,
}

/// What the shadow says of a statement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checked {
    pub(crate) columns: Vec<String>,
    /// Their declared types; empty for expressions.
    pub(crate) types: Vec<String>,
    pub(crate) parameters: Vec<Option<String>>,
    pub(crate) is_read: bool,
    pub(crate) changes_schema: bool,
    /// Base tables that it names, by their names as written, also through views.
    pub(crate) tables: BTreeMap<String, Usage>,
    /// Tables and views of which it may hold the name, and reads and writes nothing.
    pub(crate) mentions: Vec<String>,
    /// Base tables that it changes, what triggers and foreign keys change included.
    pub(crate) writes: BTreeSet<String>,
    /// What it sets off and looks through, if it changes rows.
    pub(crate) consequences: Consequences,
    /// Whether it reads the schema itself.
    pub(crate) reads_schema: bool,
    /// Whether it reads AUTOINCREMENT's counters, which count as a part of the schema.
    pub(crate) reads_sequences: bool,
    /// Whether it reads a view, be it one over no table.
    pub(crate) reads_view: bool,
    functions: Vec<String>,
}

/// The columns of a table that a statement reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    columns: Vec<String>,
}

impl Usage {
    /// All columns of a table.
    pub(crate) fn of_all(table: &Table) -> Usage {
        Usage { columns: table.columns.iter().map(|column| column.name.clone()).collect() }
    }

    /// Their positions in order.
    pub(crate) fn positions(&self, table: &Table) -> Vec<usize> {
        let named = |position: &usize| {
            let name = &table.columns[*position].name;
            // A WITHOUT ROWID table is kept in the order of its key.
            self.columns.iter().any(|column| column.eq_ignore_ascii_case(name))
                || (table.without_rowid && table.primary_key.contains(position))
        };
        (0..table.columns.len()).filter(named).collect()
    }
}

impl Checked {
    /// Whether it answers the same wherever and whenever it runs on the same rows.
    pub(crate) fn is_deterministic(&self) -> bool {
        !self.functions.iter().any(|name| NOT_DETERMINISTIC.contains(&name.as_str()))
    }

    /// Whether it asks what statements before it in the same request have changed.
    pub(crate) fn asks_of_statements_before(&self) -> bool {
        self.functions.iter().any(|name| OF_STATEMENTS_BEFORE.contains(&name.as_str()))
    }
}

impl Shadow {
    /// Builds the schema.
    pub(crate) fn new(schema: &Schema) -> Result<Shadow> {
        let statements = schema.objects.iter().map(|object| object.sql.as_str());
        let inner = sqlite::Shadow::new(statements).map_err(Error::from)?;
        Ok(Shadow { inner: Mutex::new(inner), sizes: Sizes::of(schema) })
    }

    fn with<T>(&self, work: impl FnOnce(&sqlite::Shadow) -> T) -> T {
        // It holds no state between calls that a panic could have torn.
        work(&self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The definitions of the tables.
    pub(crate) fn definitions(&self) -> Vec<sqlite::schema::Table> {
        self.with(|shadow| shadow.schema().tables.clone())
    }

    /// Checks a statement.
    pub(crate) fn check(&self, sql: &str) -> Result<Checked> {
        self.sizes.check(sql)?;
        let (description, schema) =
            self.with(|shadow| shadow.prepare(sql).map(|found| (found, shadow.schema().clone())))?;
        let mut tables: BTreeMap<String, Usage> = BTreeMap::new();
        let (mut reads_schema, mut reads_sequences, mut reads_view) = (false, false, false);
        for access in description.reads.iter().chain(&description.writes) {
            if let Some(table) = schema.table(&access.table) {
                tables.entry(table.name.clone()).or_default().columns.extend(access.columns.clone());
            } else if is_schema_source(&access.table) {
                reads_schema = true;
                reads_sequences |= access.table.eq_ignore_ascii_case(SEQUENCES);
            } else {
                reads_view |= schema.views.iter().any(|view| view.name.eq_ignore_ascii_case(&access.table));
            }
        }
        let written = description.writes.iter().filter_map(|access| schema.table(&access.table));
        Ok(Checked {
            writes: written.map(|table| table.name.clone()).collect(),
            consequences: description.consequences,
            columns: description.columns,
            types: description.types,
            mentions: description.mentions,
            parameters: description.parameters,
            is_read: description.read_only && !description.changes_schema,
            changes_schema: description.changes_schema,
            tables,
            reads_schema,
            reads_sequences,
            reads_view,
            functions: description.functions,
        })
    }

    /// Answers from the schema alone.
    pub(crate) fn query(&self, statement: &Statement, max_rows: u32) -> Result<StatementResult> {
        let budget = Budget { rows: u64::from(max_rows), ..Budget::default() };
        Ok(self.with(|shadow| shadow.query(statement, &budget))?)
    }

    /// The same with AUTOINCREMENT's counters: tables and the greatest rowid that each has had.
    pub(crate) fn query_with_sequences(
        &self,
        statement: &Statement,
        sequences: &[(String, i64)],
        max_rows: u32,
    ) -> Result<StatementResult> {
        let budget = Budget { rows: u64::from(max_rows), ..Budget::default() };
        Ok(self.with(|shadow| shadow.query_with_sequences(statement, sequences, &budget))?)
    }

    /// The objects after a statement of DDL, which is tried and undone.
    pub(crate) fn objects_after(&self, sql: &str) -> Result<Vec<SchemaObject>> {
        Ok(self.with(|shadow| shadow.objects_after(sql))?)
    }
}

fn is_schema_source(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.starts_with("sqlite_") || lower.starts_with("pragma_")
}
