//! The database in which a coordinator runs the client's own text over gathered rows: private, temporary,
//! in memory up to a bound and in an unlinked file beyond it.

use std::sync::Arc;

use common::Error;
use common::entry::Effects;
use common::names::quote_identifier;
use common::protocol::{Params, Statement, StatementResult};
use common::row::RowBlock;
use rusqlite::config::DbConfig;

use crate::authorizer::Role;
use crate::binding::Bound;
use crate::budget::Budget;
use crate::capture::Capture;
use crate::connection::{ClientStatement, Connection, ours};
use crate::error::{Failure, Result};
use crate::executor::{answer_captured, check_deferred_violations};
use crate::layout::Layouts;
use crate::query::{self, Access, Flow};
use crate::recipe;
use crate::schema::{Index, IndexOrigin, Table};
use crate::stream_table::{self, MODULE_NAME, RowSource, Stream, Streams};

/// A temporary database of gathered rows.
pub struct MergeDatabase {
    capture: Capture,
    connection: Connection,
    streams: Streams,
    /// Tables that are still streams.
    unread: Vec<Unread>,
}

/// A table that was given as a stream.
struct Unread {
    table: Table,
    rowid: bool,
    columns: Vec<usize>,
}

/// Which columns gathered rows have.
#[derive(Clone, Copy, Debug)]
pub struct Gathered<'a> {
    /// The table they are of.
    pub table: &'a Table,
    /// Whether each row begins with its rowid.
    pub rowid: bool,
    /// Indexes of the columns that follow, in the rows' order.
    pub columns: &'a [usize],
}

impl MergeDatabase {
    /// An empty one. Rows beyond `memory` bytes go to a temporary file.
    pub fn new(memory: usize) -> Result<MergeDatabase> {
        let connection = recipe::temporary(Role::Merge, memory)?;
        connection.raw().set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
        let streams = stream_table::load_module(connection.raw())?;
        let capture = Capture::install(connection.raw(), true);
        Ok(MergeDatabase { capture, connection, streams, unread: Vec::new() })
    }

    /// Makes a relation that reads like a table: same name, columns, types, collations, rowid or key order,
    /// but without constraints, since columns that nobody reads are not gathered and stay NULL. Generated
    /// columns become plain ones, gathered like others.
    pub fn create_relation(&mut self, gathered: &Gathered<'_>) -> Result<()> {
        Ok(self.connection.raw().execute_batch(&relation_ddl(gathered))?)
    }

    /// Makes a relation of rows that are still to come. It can be scanned once, in bounded memory; call
    /// [`MergeDatabase::settle`] before running a text.
    pub fn create_stream(&mut self, gathered: &Gathered<'_>, source: RowSource) -> Result<()> {
        let shift = usize::from(gathered.rowid);
        let places = (0..gathered.table.columns.len())
            .map(|column| gathered.columns.iter().position(|index| *index == column).map(|at| at + shift));
        let stream = Stream {
            declaration: stream_ddl(gathered.table),
            places: places.collect(),
            rowid: gathered.rowid.then_some(0),
            source: Some(source),
        };
        self.streams.lock().add(&gathered.table.name, stream);
        let table = quote_identifier(&gathered.table.name);
        self.connection
            .raw()
            .execute_batch(&format!("CREATE VIRTUAL TABLE {table} USING {MODULE_NAME}()"))?;
        let (table, columns) = (gathered.table.clone(), gathered.columns.to_vec());
        self.unread.push(Unread { table, rowid: gathered.rowid, columns });
        Ok(())
    }

    /// Makes ready to run a text: unless it scans a single stream a single time, the streams are read to
    /// their ends into real relations. Returns whether they were.
    pub fn settle(&mut self, sql: &str) -> Result<bool> {
        if self.streams.lock().is_empty() || self.scans_once(sql)? {
            return Ok(false);
        }
        for unread in std::mem::take(&mut self.unread) {
            let source = self.streams.lock().take_source(&unread.table.name);
            let mut source =
                source.ok_or_else(|| Error::internal("a stream was read before it was settled"))?;
            let drop = format!("DROP TABLE {}", quote_identifier(&unread.table.name));
            self.connection.raw().execute_batch(&drop)?;
            let Unread { table, rowid, columns } = &unread;
            let gathered = Gathered { table, rowid: *rowid, columns };
            self.create_relation(&gathered)?;
            while let Some(block) = source()? {
                self.load(&gathered, &block)?;
            }
        }
        Ok(true)
    }

    /// Whether SQLite's plan has one loop in all, over a stream.
    fn scans_once(&self, sql: &str) -> Result<bool> {
        let explained = Statement { sql: format!("EXPLAIN QUERY PLAN {sql}"), params: Params::None };
        let plan = self.connection.as_client(|raw| {
            let mut statement = ClientStatement::prepare_once(raw, &explained.sql)?;
            let rows = statement.get().raw_query().mapped(|row| row.get::<_, String>(3));
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        })?;
        let loops = plan.iter().filter(|line| line.starts_with("SCAN") || line.starts_with("SEARCH"));
        let (mut count, mut virtual_tables) = (0, 0);
        for line in loops {
            count += 1;
            virtual_tables += usize::from(line.contains("VIRTUAL TABLE"));
        }
        let again = plan.iter().any(|line| line.contains("CORRELATED") || line.contains("RECURSIVE"));
        Ok(count == 1 && virtual_tables == 1 && !again)
    }

    /// Makes an index that the client's text names in INDEXED BY. It does not enforce uniqueness.
    pub fn create_index(&mut self, table: &Table, index: &Index) -> Result<()> {
        let sql = match (&index.sql, index.origin) {
            (Some(sql), IndexOrigin::Statement) if !index.unique => sql.clone(),
            _ => index_ddl(table, index),
        };
        Ok(self.connection.raw().execute_batch(&sql)?)
    }

    /// Runs checked DDL: a view; or, for a write, a table with its constraints and indexes as the client
    /// declared them. Rows of such a table must be gathered with all stored columns.
    pub fn create(&mut self, sql: &str) -> Result<()> {
        Ok(self.connection.raw().execute_batch(sql)?)
    }

    /// Adds gathered rows. They were checked where they are stored, so CHECK is not repeated.
    pub fn load(&mut self, gathered: &Gathered<'_>, rows: &RowBlock) -> Result<()> {
        let names: Vec<String> = gathered
            .rowid
            .then(|| gathered.table.rowid_name.unwrap_or("rowid").to_owned())
            .into_iter()
            .chain(
                gathered.columns.iter().map(|index| quote_identifier(&gathered.table.columns[*index].name)),
            )
            .collect();
        if rows.columns as usize != names.len() {
            return Err(Error::internal("gathered rows have another number of columns than announced").into());
        }
        let loading = Loading::begin(&self.connection, &mut self.capture)?;
        let result = loading.insert(&gathered.table.name, &names, rows);
        drop(loading);
        result
    }

    /// Answers the client's text; rows past the budget are left out, and the answer says so.
    pub fn query(&self, statement: &Statement, budget: &Budget<'_>) -> Result<StatementResult> {
        let answered = query::answer(&self.connection, statement, Access::Read, budget);
        answered.map_err(|failure| self.cause(failure))
    }

    /// The error of a stream's source in place of SQLite's report that the stream broke off.
    fn cause(&self, failure: Failure) -> Failure {
        self.streams.lock().take_failure().map_or(failure, Failure::refused)
    }

    /// Runs the client's text and hands its rows on in blocks, see [`crate::Snapshot::stream`].
    pub fn stream(
        &self,
        statement: &Statement,
        budget: &Budget<'_>,
        mut header: impl FnMut(Vec<String>, Vec<String>) -> Flow,
        mut block: impl FnMut(RowBlock) -> Flow,
    ) -> Result<()> {
        query::stream(&self.connection, statement, budget, &mut header, &mut block)
            .map_err(|failure| self.cause(failure))
    }

    /// Enforces foreign keys in the writes that follow. To be called when every table that they relate is
    /// here, and outside a write.
    pub fn enforce_foreign_keys(&mut self) -> Result<()> {
        self.connection.raw().set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        Ok(())
    }

    /// Runs the client's writes in order on the gathered rows, as one transaction, and gives back what they
    /// answer and the rows they change, old rows included. After a failure the database must be dropped.
    pub fn write(
        &mut self,
        statements: &[Statement],
        budget: &Budget<'_>,
    ) -> Result<(Vec<StatementResult>, Effects)> {
        self.capture.set_layouts(Arc::new(Layouts::read(self.connection.raw())?));
        self.connection.run(ours!("BEGIN"))?;
        let mut results = Vec::with_capacity(statements.len());
        for (index, statement) in statements.iter().enumerate() {
            let result = answer_captured(&self.connection, &mut self.capture, statement, budget);
            results.push(result.map_err(|failure| failure.at_statement(index))?);
        }
        check_deferred_violations(self.connection.raw())?;
        self.connection.run(ours!("COMMIT"))?;
        Ok((results, self.capture.take()))
    }

    /// How many rows a relation holds.
    pub fn count(&self, table: &str) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {}", quote_identifier(table));
        let rows: i64 = self.connection.raw().query_row(&sql, [], |row| row.get(0))?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }
}

/// While rows are loaded, nothing is captured and no CHECK is made.
struct Loading<'m> {
    connection: &'m Connection,
    capture: &'m mut Capture,
    in_transaction: bool,
}

impl<'m> Loading<'m> {
    fn begin(connection: &'m Connection, capture: &'m mut Capture) -> Result<Loading<'m>> {
        connection.run(ours!("PRAGMA ignore_check_constraints=ON"))?;
        connection.run(ours!("BEGIN"))?;
        capture.pause(true);
        Ok(Loading { connection, capture, in_transaction: true })
    }

    fn insert(&self, table: &str, names: &[String], rows: &RowBlock) -> Result<()> {
        let marks = vec!["?"; names.len()].join(",");
        let sql = format!(
            "{}INSERT INTO {}({}) VALUES ({marks})",
            ours!(""),
            quote_identifier(table),
            names.join(",")
        );
        let mut statement = self.connection.raw().prepare_cached(&sql)?;
        rows.for_each(|row| {
            for (index, value) in row.iter().enumerate() {
                statement.raw_bind_parameter(index + 1, Bound(*value))?;
            }
            statement.raw_execute()?;
            Ok(())
        })
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if std::mem::take(&mut self.in_transaction) {
            // A temporary database has nobody to wait for; a failed load has rolled back, or the next
            // statement fails on the open transaction.
            let _ = self.connection.run(ours!("COMMIT"));
        }
        let _ = self.connection.run(ours!("PRAGMA ignore_check_constraints=OFF"));
        self.capture.pause(false);
    }
}

fn relation_ddl(gathered: &Gathered<'_>) -> String {
    let table = gathered.table;
    let mut parts: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let key = if table.rowid_alias == Some(index) { " PRIMARY KEY" } else { "" };
            let name = quote_identifier(&column.name);
            format!("{name} {}{key} COLLATE {}", column.declared_type, quote_identifier(&column.collation))
        })
        .collect();
    // A WITHOUT ROWID table is read in the order of its key, if that is gathered.
    let keyed = table.without_rowid && table.primary_key.iter().all(|index| gathered.columns.contains(index));
    if keyed {
        let key: Vec<String> =
            table.primary_key.iter().map(|index| quote_identifier(&table.columns[*index].name)).collect();
        parts.push(format!("PRIMARY KEY ({})", key.join(",")));
    }
    let options = match (keyed, table.strict) {
        (true, true) => " WITHOUT ROWID, STRICT",
        (true, false) => " WITHOUT ROWID",
        (false, true) => " STRICT",
        (false, false) => "",
    };
    format!("CREATE TABLE {}({}){options}", quote_identifier(&table.name), parts.join(","))
}

/// A virtual table takes names, types and collations from this, and nothing else.
fn stream_ddl(table: &Table) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let (name, collation) = (quote_identifier(&column.name), quote_identifier(&column.collation));
            format!("{name} {} COLLATE {collation}", column.declared_type)
        })
        .collect();
    format!("CREATE TABLE x({})", columns.join(","))
}

fn index_ddl(table: &Table, index: &Index) -> String {
    let terms: Vec<String> = index
        .terms
        .iter()
        .map(|term| {
            let column = term.column.map_or_else(
                || table.rowid_name.unwrap_or("rowid").to_owned(),
                |column| quote_identifier(&table.columns[column].name),
            );
            let order = if term.descending { " DESC" } else { "" };
            format!("{column} COLLATE {}{order}", quote_identifier(&term.collation))
        })
        .collect();
    let (name, on) = (quote_identifier(&index.name), quote_identifier(&table.name));
    format!("CREATE INDEX {name} ON {on}({})", terms.join(","))
}
