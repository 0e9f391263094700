//! Plain SQLite as a reference: one database in memory with nothing around it, whose answers ours are
//! compared with.

use std::cell::Cell;
use std::ffi::{c_int, c_uint};

use common::protocol::StatementResult;
use common::row::RowBlockBuilder;
use common::{Error, Value};
use rusqlite::{Connection, OpenFlags, ffi, params_from_iter};

use crate::binding::{push_row, values_of};
use crate::budget::{Budget, Watch};
use crate::change_counts::ChangeCounts;
use crate::connection::ClientStatement;
use crate::error::Failure;
use crate::query::columns;
use crate::recipe;

/// A rowid that no statement chooses: while it stands, nothing was inserted.
const NOTHING_INSERTED: i64 = i64::MIN + 0x5eed;

/// In which order rows are visited where a statement does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisitOrder {
    /// As SQLite finds it best.
    Usual,
    /// The other way round.
    Backwards,
    /// Without any of SQLite's optimizations, an index that holds all that is read among them.
    Unoptimized,
    /// Both.
    UnoptimizedBackwards,
}

impl VisitOrder {
    /// All but the usual one.
    pub const OTHERS: [VisitOrder; 3] =
        [VisitOrder::Backwards, VisitOrder::Unoptimized, VisitOrder::UnoptimizedBackwards];
}

/// A database of one file, in memory, with the limits and settings of a partition and without its
/// authorizer: what SQLite itself refuses is all that it refuses.
pub struct SingleFile {
    connection: Connection,
    counts: ChangeCounts,
    /// The rowid that the request at hand inserted last; 0 if none.
    last_inserted: Cell<i64>,
    /// Most instructions of SQLite's virtual machine that one statement may take; no limit if `None`.
    instructions: Option<u64>,
}

impl SingleFile {
    /// An empty one.
    pub fn new() -> rusqlite::Result<SingleFile> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_in_memory_with_flags(flags)?;
        let failed = |failure| rusqlite::Error::UserFunctionError(Box::new(failure));
        recipe::hostile_safe(&connection).map_err(failed)?;
        let counts = ChangeCounts::install(&connection, None).map_err(failed)?;
        Ok(SingleFile { connection, counts, last_inserted: Cell::new(0), instructions: None })
    }

    /// An empty one whose statements end with `statement_timeout` after so many instructions of SQLite's virtual
    /// machine, to within a thousand: for texts that may never end.
    pub fn with_instructions(instructions: u64) -> rusqlite::Result<SingleFile> {
        Ok(SingleFile { instructions: Some(instructions), ..SingleFile::new()? })
    }

    /// Has rows visited in another order, where a statement does not say in which: an answer that changes with it is
    /// one that SQLite does not promise.
    pub fn visit(&self, order: VisitOrder) -> rusqlite::Result<()> {
        let backwards = matches!(order, VisitOrder::Backwards | VisitOrder::UnoptimizedBackwards);
        let unoptimized = matches!(order, VisitOrder::Unoptimized | VisitOrder::UnoptimizedBackwards);
        let disabled = if unoptimized { c_uint::MAX } else { 0 };
        // SAFETY: the handle is open while the connection is borrowed; this operation takes it and an unsigned integer.
        let code = unsafe {
            ffi::sqlite3_test_control(
                ffi::SQLITE_TESTCTRL_OPTIMIZATIONS as c_int,
                self.connection.handle(),
                disabled,
            )
        };
        if code != ffi::SQLITE_OK {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
        self.connection.pragma_update(None, "reverse_unordered_selects", backwards)
    }

    /// Runs any one statement as a request of its own: an error leaves nothing, whatever its ON CONFLICT
    /// clause says.
    pub fn execute(&self, sql: &str) -> Result<StatementResult, Error> {
        Ok(self.execute_all(&[sql])?.pop().unwrap_or_default())
    }

    /// Runs any one statement with nothing around it, within the transaction that is open, if one is.
    pub fn execute_alone(&self, sql: &str) -> Result<StatementResult, Error> {
        Ok(self.answer(sql)?)
    }

    /// Whether a transaction is open.
    #[must_use]
    pub fn has_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Runs statements as one request, all or none. The error names the one that failed.
    pub fn execute_all(&self, statements: &[&str]) -> Result<Vec<StatementResult>, Error> {
        self.forget_counts()?;
        self.connection.execute_batch("SAVEPOINT request").map_err(Failure::from)?;
        self.last_inserted.set(0);
        let answer =
            |(index, sql): (usize, &&str)| self.answer(sql).map_err(|failure| failure.at_statement(index));
        let answered: crate::error::Result<Vec<StatementResult>> =
            statements.iter().enumerate().map(answer).collect();
        let answered = answered.and_then(|results| {
            self.connection.execute_batch("RELEASE request")?;
            Ok(results)
        });
        // ON CONFLICT ROLLBACK has ended the transaction already.
        if answered.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").map_err(Failure::from)?;
        }
        Ok(answered?)
    }

    /// Each request is told of its own statements alone, as if it were a connection of its own.
    fn forget_counts(&self) -> crate::error::Result<()> {
        if self.connection.changes() != 0 {
            // The client's own tables may have triggers that do not compile.
            let counts_anew = "CREATE TEMP TABLE _none (a); DELETE FROM _none; DROP TABLE _none";
            self.connection.execute_batch(counts_anew)?;
        }
        self.counts.begin_counting(&self.connection);
        Ok(())
    }

    fn answer(&self, sql: &str) -> crate::error::Result<StatementResult> {
        let asks = sql.to_ascii_lowercase().contains("last_insert_rowid");
        let before = if asks { self.last_inserted.get() } else { NOTHING_INSERTED };
        // SAFETY: the handle is open while the connection is borrowed.
        unsafe { ffi::sqlite3_set_last_insert_rowid(self.connection.handle(), before) };
        let mut prepared = ClientStatement::prepare_once(&self.connection, sql)?;
        let prepared = prepared.get();
        let mut result = StatementResult { is_read: prepared.readonly(), ..StatementResult::default() };
        // ALTER TABLE shows the columns of queries that it makes for itself.
        if !crate::connection::first_word(sql).eq_ignore_ascii_case("ALTER") {
            (result.columns, result.types) = columns(prepared);
        }
        let budget = Budget { instructions: self.instructions, ..Budget::unlimited() };
        let _watch = self.instructions.map(|_| Watch::begin(&self.connection, &budget));
        let mut block = RowBlockBuilder::new(result.columns.len());
        let mut rows = prepared.raw_query();
        while let Some(row) = rows.next().map_err(Failure::from)? {
            push_row(&mut block, row, result.columns.len())?;
        }
        drop(rows);
        result.rows = block.finish();
        if !result.is_read && changes_rows(sql) {
            result.affected_rows = self.connection.changes();
            let last = self.connection.last_insert_rowid();
            result.last_insert_rowid = (last != before).then_some(last);
            self.last_inserted.set(result.last_insert_rowid.unwrap_or(self.last_inserted.get()));
        }
        Ok(result)
    }

    /// Runs statements that answer nothing, such as DDL.
    pub fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.execute_batch(sql)
    }

    /// Inserts rows of texts, `None` for NULL, which become what the columns' affinities make of them.
    pub fn insert_texts(
        &mut self,
        insert: &str,
        rows: impl IntoIterator<Item = Vec<Option<String>>>,
    ) -> rusqlite::Result<usize> {
        let transaction = self.connection.transaction()?;
        let mut count = 0;
        {
            let mut statement = transaction.prepare(insert)?;
            for row in rows {
                count += statement.execute(params_from_iter(row))?;
            }
        }
        transaction.commit()?;
        Ok(count)
    }

    /// All rows that a text answers.
    pub fn query(&self, sql: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
        let mut statement = self.connection.prepare(sql)?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| values_of(row, 0..columns))?;
        rows.collect()
    }
}

/// Whether a text that writes is no DDL, which leaves SQLite's count of changes as it was.
fn changes_rows(sql: &str) -> bool {
    let word = crate::connection::first_word(sql);
    ["INSERT", "REPLACE", "UPDATE", "DELETE", "WITH"].iter().any(|verb| verb.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_what_their_columns_make_of_them() {
        let mut file = SingleFile::new().unwrap();
        file.run("CREATE TABLE t (a INTEGER, b REAL, c TEXT)").unwrap();
        let row = vec![Some("1".to_owned()), Some("2".to_owned()), None];
        assert_eq!(file.insert_texts("INSERT INTO t VALUES (?, ?, ?)", [row]).unwrap(), 1);
        let found = file.query("SELECT * FROM t").unwrap();
        assert_eq!(found, [[Value::Integer(1), Value::Real(2.0), Value::Null]]);
    }

    #[test]
    fn a_statement_ends_once_it_has_taken_its_instructions() {
        let file = SingleFile::with_instructions(100_000).unwrap();
        let endless =
            "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
        assert_eq!(file.execute(endless).unwrap_err().code, common::ErrorCode::StatementTimeout);
        assert_eq!(file.execute("VALUES (1)").unwrap().rows.to_values().unwrap(), [[Value::Integer(1)]]);
    }

    #[test]
    fn rows_are_visited_in_other_orders() {
        let file = SingleFile::new().unwrap();
        file.run("CREATE TABLE t (a, b); CREATE INDEX i ON t (a); INSERT INTO t (a) VALUES (2), (3), (1)")
            .unwrap();
        let visited = |order| {
            file.visit(order).unwrap();
            let rows = file.query("SELECT a FROM t").unwrap();
            rows.into_iter().map(|mut row| row.remove(0)).collect::<Vec<_>>()
        };
        assert_eq!(visited(VisitOrder::Usual), [1, 2, 3].map(Value::Integer));
        assert_eq!(visited(VisitOrder::Backwards), [3, 2, 1].map(Value::Integer));
        assert_eq!(visited(VisitOrder::Unoptimized), [2, 3, 1].map(Value::Integer));
        assert_eq!(visited(VisitOrder::UnoptimizedBackwards), [1, 3, 2].map(Value::Integer));
        assert_eq!(visited(VisitOrder::Usual), [1, 2, 3].map(Value::Integer));
    }

    #[test]
    fn a_statement_tells_what_it_did() {
        let file = SingleFile::new().unwrap();
        file.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE)").unwrap();
        let inserted = file.execute("INSERT INTO t VALUES (7, 1), (8, 2) RETURNING b").unwrap();
        assert_eq!((inserted.affected_rows, inserted.last_insert_rowid), (2, Some(8)));
        assert_eq!(inserted.rows.to_values().unwrap(), [[Value::Integer(1)], [Value::Integer(2)]]);
        let ignored = file.execute("INSERT OR IGNORE INTO t VALUES (9, 1)").unwrap();
        assert_eq!((ignored.affected_rows, ignored.last_insert_rowid), (0, None));
        let refused = file.execute("UPDATE t SET b = 1").unwrap_err();
        assert_eq!(refused.message, "UNIQUE constraint failed: t.b");
        assert_eq!(file.execute("CREATE INDEX i ON t (b)").unwrap().affected_rows, 0);
    }
}
