//! The database in which a coordinator runs the client's own text over gathered rows: private, temporary,
//! in memory up to a bound and in unlinked files beyond it.

use std::sync::Arc;

use common::Error;
use common::names::quote_identifier;
use common::protocol::{Statement, StatementResult};
use common::row::RowBlock;

use crate::authorizer::Role;
use crate::binding::Bound;
use crate::budget::Budget;
use crate::connection::{ClientStatement, Connection, ours};
use crate::error::{Failure, Result};
use crate::partial_sum;
use crate::query::{self, Access, Flow};
use crate::recipe;
use crate::scan_plan::{self, PlanLine};
use crate::schema::{Index, IndexOrigin, IndexTerm, Table};
use crate::spill::SpillVfs;
use crate::stream_table::{self, MODULE_NAME, RowSource, Stream, Streams};
use crate::workspace::{Share, Workspace};

/// Rows that a stream counts as when nobody knows: as many as SQLite takes for an unknown table.
const ROWS_UNKNOWN: i64 = 1_048_576;

/// A temporary database of gathered rows.
pub struct MergeDatabase {
    connection: Connection,
    streams: Streams,
    share: Arc<Share>,
    /// After the connection, whose files it opens.
    _vfs: SpillVfs,
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
    /// An empty one within a workspace's limits.
    pub fn new(workspace: &Workspace) -> Result<MergeDatabase> {
        let share = workspace.share();
        let vfs = SpillVfs::new(Arc::clone(&share));
        let connection = recipe::temporary(Role::Merge, vfs.name(), share.memory)?;
        let streams = stream_table::load_module(connection.raw())?;
        partial_sum::load_merge(connection.raw())?;
        Ok(MergeDatabase { connection, streams, share, _vfs: vfs })
    }

    /// Makes a relation that reads like a table: same name, columns, types, collations, rowid or key order,
    /// but without constraints, since columns that nobody reads are not gathered and stay NULL. Generated
    /// columns become plain ones, gathered like others.
    pub fn create_relation(&mut self, gathered: &Gathered<'_>) -> Result<()> {
        Ok(self.connection.raw().execute_batch(&relation_ddl(gathered))?)
    }

    /// Makes a relation of rows that are still to come, about `rows_expected` of them. It can be scanned once,
    /// in bounded memory: [`MergeDatabase::scanned_once`] tells whether a text does. Before the text runs it
    /// is told its source by [`MergeDatabase::feed`].
    pub fn create_stream(&mut self, gathered: &Gathered<'_>, rows_expected: Option<u64>) -> Result<()> {
        let shift = usize::from(gathered.rowid);
        let places = (0..gathered.table.columns.len())
            .map(|column| gathered.columns.iter().position(|index| *index == column).map(|at| at + shift));
        let rows_expected = rows_expected.and_then(|rows| i64::try_from(rows).ok());
        let stream = Stream {
            declaration: stream_ddl(gathered.table),
            places: places.collect(),
            rowid: gathered.rowid.then_some(0),
            rows_expected: rows_expected.unwrap_or(ROWS_UNKNOWN).max(1),
            source: None,
        };
        self.streams.lock().add(&gathered.table.name, stream);
        let table = quote_identifier(&gathered.table.name);
        let sql = format!("CREATE VIRTUAL TABLE {table} USING {MODULE_NAME}()");
        Ok(self.connection.raw().execute_batch(&sql)?)
    }

    /// Makes an ordinary relation of a stream that was not fed.
    pub fn settle(&mut self, gathered: &Gathered<'_>) -> Result<()> {
        let drop = format!("DROP TABLE {}", quote_identifier(&gathered.table.name));
        self.connection.raw().execute_batch(&drop)?;
        self.streams.lock().remove(&gathered.table.name);
        self.create_relation(gathered)
    }

    /// Tells SQLite's planner how many rows relations will have, which it could not know while they are empty.
    pub fn expect_rows<'t>(&mut self, expected: impl IntoIterator<Item = (&'t str, u64)>) -> Result<()> {
        // The first makes the table of statistics, the last has SQLite read it.
        self.connection.raw().execute_batch("ANALYZE main")?;
        {
            self.connection.run(ours!("DELETE FROM sqlite_stat1"))?;
            let sql = ours!("INSERT INTO sqlite_stat1(tbl, idx, stat) VALUES (?, NULL, ?)");
            let mut insert = self.connection.raw().prepare_cached(sql)?;
            for (table, rows) in expected {
                insert.execute((table, rows.max(1).to_string()))?;
            }
        }
        Ok(self.connection.raw().execute_batch("ANALYZE sqlite_schema")?)
    }

    /// Says where a stream's rows come from.
    pub fn feed(&mut self, table: &str, source: RowSource) -> Result<()> {
        if self.streams.lock().feed(table, source) {
            return Ok(());
        }
        Err(Error::internal(format!("there is no stream {table}")).into())
    }

    /// The streams that SQLite's plan of a text scans exactly once. The others must be settled, after which
    /// the plan may be another one: ask again until all that are left are scanned once. `surely`: none, if the
    /// plan has queries within queries, of which it does not tell all that happens.
    pub fn scanned_once(&self, sql: &str, surely: bool) -> Result<Vec<String>> {
        let explained = format!("EXPLAIN QUERY PLAN {sql}");
        let plan = self.connection.as_client(|raw| {
            let mut statement = ClientStatement::prepare_once(raw, &explained)?;
            let lines = statement
                .get()
                .raw_query()
                .mapped(|row| Ok(PlanLine { id: row.get(0)?, parent: row.get(1)?, detail: row.get(3)? }));
            Ok(lines.collect::<rusqlite::Result<Vec<_>>>()?)
        })?;
        if surely && !scan_plan::is_flat(&plan) {
            return Ok(Vec::new());
        }
        let streams = self.streams.lock();
        let names = scan_plan::scanned_once(&plan).into_iter().filter_map(|number| streams.name(number));
        Ok(names.map(str::to_owned).collect())
    }

    /// Makes an index that the client's text names in INDEXED BY. It does not enforce uniqueness.
    pub fn create_index(&mut self, table: &Table, index: &Index) -> Result<()> {
        let sql = match (&index.sql, index.origin) {
            (Some(sql), IndexOrigin::Statement) if !index.unique => sql.clone(),
            _ => index_ddl(table, index),
        };
        Ok(self.connection.raw().execute_batch(&sql)?)
    }

    /// Makes indexes by which rows are looked up, one for each column, unless they are there. Rows with the same value
    /// are met in the order of their rowids, as without an index.
    pub fn create_lookups(&mut self, table: &Table, terms: &[IndexTerm]) -> Result<()> {
        for (number, term) in terms.iter().enumerate() {
            let (name, on) = (lookup_name(table, number), quote_identifier(&table.name));
            let term = terms_of(table, std::slice::from_ref(term));
            let sql = format!("CREATE INDEX IF NOT EXISTS {name} ON {on}({term})");
            self.connection.raw().execute_batch(&sql)?;
        }
        Ok(())
    }

    /// Takes back what [`MergeDatabase::create_lookups`] has made.
    pub fn drop_lookups(&mut self, table: &Table, terms: &[IndexTerm]) -> Result<()> {
        for number in 0..terms.len() {
            let sql = format!("DROP INDEX IF EXISTS {}", lookup_name(table, number));
            self.connection.raw().execute_batch(&sql)?;
        }
        Ok(())
    }

    /// Runs checked DDL: a view.
    pub fn create(&mut self, sql: &str) -> Result<()> {
        Ok(self.connection.raw().execute_batch(sql)?)
    }

    /// Adds gathered rows.
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
        let loading = Loading::begin(&self.connection)?;
        let result = loading.insert(&gathered.table.name, &names, rows);
        drop(loading);
        result.map_err(|failure| self.share.explain(failure, &format!("the rows of {}", gathered.table.name)))
    }

    /// Answers the client's text; rows past the budget are left out, and the answer says so.
    pub fn query(&self, statement: &Statement, budget: &Budget<'_>) -> Result<StatementResult> {
        let answered = self
            .connection
            .forget_statements_before()
            .and_then(|()| query::answer(&self.connection, statement, Access::Read, budget));
        answered.map_err(|failure| self.cause(failure))
    }

    /// The error of a stream's source, or of the workspace, in place of SQLite's report.
    fn cause(&self, failure: Failure) -> Failure {
        let of_stream = self.streams.lock().take_failure();
        let failure = of_stream.map_or(failure, Failure::refused);
        self.share.explain(failure, "the rows that the statement sorts, groups or joins")
    }

    /// Runs the client's text and hands its rows on in blocks, see [`crate::Snapshot::stream`].
    pub fn stream(
        &self,
        statement: &Statement,
        budget: &Budget<'_>,
        mut header: impl FnMut(Vec<String>, Vec<String>) -> Flow,
        mut block: impl FnMut(RowBlock) -> Flow,
    ) -> Result<()> {
        self.connection
            .forget_statements_before()
            .and_then(|()| query::stream(&self.connection, statement, budget, &mut header, &mut block))
            .map_err(|failure| self.cause(failure))
    }

    /// How many rows a relation holds.
    pub fn count(&self, table: &str) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {}", quote_identifier(table));
        let rows: i64 = self.connection.raw().query_row(&sql, [], |row| row.get(0))?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }
}

/// While rows are loaded.
struct Loading<'m> {
    connection: &'m Connection,
    in_transaction: bool,
}

impl<'m> Loading<'m> {
    fn begin(connection: &'m Connection) -> Result<Loading<'m>> {
        connection.run(ours!("BEGIN"))?;
        Ok(Loading { connection, in_transaction: true })
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
    }
}

pub(crate) fn relation_ddl(gathered: &Gathered<'_>) -> String {
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
        parts.push(format!("PRIMARY KEY ({})", terms_of(table, &table.key_terms())));
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
            // ANY means no affinity in a STRICT table, and NUMERIC in every other.
            let is_any = table.strict && column.declared_type.eq_ignore_ascii_case("ANY");
            let declared_type = if is_any { "" } else { column.declared_type.as_str() };
            format!("{name} {declared_type} COLLATE {collation}")
        })
        .collect();
    format!("CREATE TABLE x({})", columns.join(","))
}

fn lookup_name(table: &Table, number: usize) -> String {
    quote_identifier(&format!("_lookup_{number}_{}", table.name))
}

fn index_ddl(table: &Table, index: &Index) -> String {
    let (name, on) = (quote_identifier(&index.name), quote_identifier(&table.name));
    format!("CREATE INDEX {name} ON {on}({})", terms_of(table, &index.terms))
}

/// Terms of a key, without expressions.
fn terms_of(table: &Table, terms: &[IndexTerm]) -> String {
    let text = |term: &IndexTerm| {
        let column = term.column.map_or_else(
            || table.rowid_name.unwrap_or("rowid").to_owned(),
            |column| quote_identifier(&table.columns[column].name),
        );
        let order = if term.descending { " DESC" } else { "" };
        format!("{column} COLLATE {}{order}", quote_identifier(&term.collation))
    };
    terms.iter().map(text).collect::<Vec<_>>().join(",")
}
